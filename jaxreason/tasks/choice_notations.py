r"""One notation for texts of choices and replies that name them: `6\,\text{m/s}` is `6 m/s`, and `25\%` is `25%`."""

import re

from jaxreason.tasks.foreign_notations import LOWERED, RAISED

SIGNS = {"times": "×", "cdot": "·", "pi": "π", "mu": "μ", "lambda": "λ", "Omega": "Ω", "Delta": "Δ"}
SIGNS |= {"alpha": "α", "beta": "β", "gamma": "γ", "theta": "θ", "sigma": "σ", "infty": "∞"}
REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"(?<!\\)\\[,;: ]|(?<=\d)~(?=[\\A-Za-z])", " "),
        (r"(?<!\\)\\([%$&#])", r"\1"),
        (r"\\[dt]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*(?:\{(\w{1,9})\}|(\d))\s*(?:\{(\w{1,9})\}|(\d))", r"\1\2/\3\4"),
        (r"[₀₁₂₃₄₅₆₇₈₉]+", lambda match: match[0].translate(LOWERED)),
        (r"(?<=\d)[ \t]*\\(?:text|mathrm|mbox)\{[ \t]*+([^{}]{1,99})\}", r" \1"),
        (r"\^[ \t]*(?:\{[ \t]*\\circ[ \t]*\}|\\circ(?![A-Za-z]))[ \t]*", "°"),
        (
            rf"\\({'|'.join(SIGNS)})(?![A-Za-z])[ \t]*",
            lambda match: SIGNS[match[1]] + ("" if match[1] not in ("times", "cdot") else " "),
        ),
        (r"([\^_])\{([-+\w]{1,9})\}", r"\1\2"),
        (r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: "^" + match[0].translate(RAISED)),
        (r"\$(\d[^$\n]{0,60})\$(?= ?[A-Za-zμΩ])", r"\1"),  # $5$ J
        (r"(?<=\d)[ \t]*×[ \t]*(?=\d)", " × "),
    ]
]
MARKED = re.compile(r"[\\~^_×⁰¹²³⁴⁵⁶⁷⁸⁹₀-₉]")


def plain_formulas(text: str) -> str:
    """Returns a text whose quantities have one notation; others are unchanged."""
    if not MARKED.search(text):
        return text
    for pattern, replacement in REWRITES:
        text = pattern.sub(replacement, text)
    return text
