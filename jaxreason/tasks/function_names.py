r"""Functions, roots and binomials in the commands that the parser knows: `\operatorname{ln} 2`, `arctan(2)`, `∛2`."""

import re

from jaxreason.tasks.answer_words import INSIDE, TEXT

# Names in some languages, and the command for them.
OTHER_NAMES = {"tg": "tan", "ctg": "cot", "arctg": "arctan", "arcctg": "arccot", "cosec": "csc"}
NAMES = "arcsin|arccos|arctan|arccot|sinh|cosh|tanh|sin|cos|tan|cot|ln|log|exp"
NAMES = rf"{NAMES}|{'|'.join(sorted(OTHER_NAMES, key=len, reverse=True))}"
# "sec" is also a second, so it is only a function inside \operatorname.
OPERATOR = rf"\\(?:operatorname\*?|mathop)\s*\{{\s*(?P<operator>{NAMES}|sec|csc)\s*\}}"
ARGUMENT = r"(?=\s*(?:[\d(^_|{]|\\(?!text|mathrm|[,;: ])|[A-Za-z](?![A-Za-z])))"
ROOTS = {"\u221b": 3, "\u221c": 4}
PART = rf"{INSIDE}|\\[A-Za-z]+|\w"
ANGLE = (
    rf"\([^()]*\)|(?:\d+(?:\.\d+)?)?(?:\\frac\s*{INSIDE}\s*{INSIDE}|\\[A-Za-z]+|[A-Za-z]|(?<=\d))"
    r"(?:\s*/\s*\d+)?(?:\s*(?:\^\s*\{?\s*\\circ\s*\}?|\u00b0))?"
)
TRIGONOMETRIC = r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])"


def command(match: re.Match) -> str:
    r"""Returns `\operatorname{arctg}` as `\arctan`."""
    name = next(name for name in match.groupdict().values() if name)
    return rf"\{OTHER_NAMES.get(name, name)} "


def cis(match: re.Match) -> str:
    r"""Returns `\operatorname{cis} 60^\circ` as `(\cos(60^\circ)+i\sin(60^\circ))`."""
    angle = match[1] if match[1].startswith("(") else f"({match[1]})"
    return rf"(\cos{angle}+i\sin{angle})"


def root(match: re.Match) -> str:
    r"""Returns `∛2` as `\sqrt[3]{2}`."""
    return rf"\sqrt[{ROOTS[match[1]]}]{{{match[2] or match[3]}}}"


def braced(match: re.Match) -> str:
    r"""Returns `\binom n2` with both braces."""
    parts = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return r"\binom" + "".join(parts)


FUNCTION_REWRITES = [
    (OPERATOR, command),
    (rf"{TEXT}\{{\s*(?P<words>{NAMES})\s*\}}\s*(?:\\[,;: ]\s*)?{ARGUMENT}", command),
    (rf"(?<![\\A-Za-z])(?P<plain>{NAMES})(?:\s|\\[,;: ])*{ARGUMENT}", command),
    # cos x / sin x is a quotient, but sin x/2 may be the sine of a half.
    (rf"({TRIGONOMETRIC}\s*(?:[A-Za-z]|\\[a-z]+)(?![A-Za-z]))\s*/\s*(?={TRIGONOMETRIC})", r"(\1)/"),
    (r"([\u221b\u221c])\s*(?:(\d+|[A-Za-z])|\(([^()]*)\))", root),
    (
        rf"(?:(?:{TEXT}|\\operatorname\s*)\{{\s*cis\s*\}}|\\?(?<![A-Za-z])cis(?![A-Za-z]))\s*({ANGLE})",
        cis,
    ),
    (r"(\\(?:max|min|gcd|lcm))\s*\\\{((?:[^{}]|\{[^{}]*\})*)\\\}", r"\1(\2)"),
    (r"\\sqrt\s*(\[[^\[\]]*\])\s*(\\[A-Za-z]+|\w)", r"\\sqrt\1{\2}"),
    (r"\{([^{}]*?)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
    (rf"\\[dt]?binom\s*({PART})\s*({PART})", braced),
    (r"(?<=[\w)}])\s*\\ast(?![A-Za-z])\s*(?=[\w(\\])", r"\\cdot "),
    (r"(?<=[\w)])\s*\*\*\s*\(?(-?\w+)\)?(?!\w)", r"^{\1}"),
    (r"(?<=[\])}])\s*U\s*(?=[\[({\\])", r"\\cup "),
]
