r"""Reads an answer written in LaTeX: tidied, then parsed as a whole or not at all.

math-verify's own search falls back to the first number it finds when an expression does not parse,
so `5?6?7` would count as 5. Here the parser sees the whole answer, and what it cannot read has no
value: it equals only the same text.
"""

import math
import re
from fractions import Fraction
from functools import lru_cache

from jaxreason.tasks.answer_units import without_currency

WORDS = r"\\(?:text(?:rm|it|bf|normal)?|mbox|math(?:rm|it|bf))\s*\{(?:[^{}]|\{[^{}]*\})*\}"
UNIT = rf"{WORDS}|\\frac\s*\{{{WORDS}\}}\{{{WORDS}\}}"
WRONG = "wrong|incorrect|false|invalid|mistaken?"
GROWING = (
    "dozen|score|squared|cubed|hundreds?|thousands?|halves|thirds"  # words that change a number
)
# "or 6" in a unit is a second answer, not a unit, and "(wrong)" is none either.
HEDGE = re.compile(
    rf"(?:\b(?:or|and|not|to|but|wait)\b|[,;?!=])[^{{}}]*\d|\b(?:{WRONG}|not (?:right|correct)|{GROWING})\b"
    r"|\band (?:a |one )?(?:half|third|quarter)\b"
)
SCALES = {"dozen": "12", "hundred": "10^{2}", "thousand": "10^{3}", "million": "10^{6}"}
SCALES |= {"billion": "10^{9}", "trillion": "10^{12}"}
BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
DEEPEST = 40  # brackets within each other
LARGEST_BITS = 1e6  # a number with more binary digits is not written out
REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\begin\{aligned\}|\\end\{aligned\}|\\[hv]?phantom\s*(?:\{[^{}]*\}|[^\s{}\\])", ""),
        (r"\\color\s*\{\w+\}|\\textcolor\s*\{\w+\}", ""),
        (r"\\(?:underline|boxed|fbox|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:underline|boxed|fbox|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"(?<!\\)(?:\$|\\[()\[\]]|\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z]))", ""),
        (r"(?<!\\)\\(?:!\s*|[,;: ])|(?<!\\)~", ""),
        (r"\{,\}|\\text\s*\{,\}", ","),
        (
            r"\\(?:text|mbox|mathrm)\s*\{\s*(?:percent|per\s+cent)\s*\}|\s*\b(?:percent|per cent)\b",
            r"\%",
        ),
        (r"(?<!\\)%", r"\%"),
        (r"[\u2212\u2013]|(?:\\(?:text|mathrm)\s*)?\{\s*-\s*\}", "-"),
        (r"\\langle(?![A-Za-z])\s*", "("),
        (r"\s*\\rangle(?![A-Za-z])", ")"),
        (r"\u221a\s*(\d+|[A-Za-z])", r"\\sqrt{\1}"),
        (r"\u221a\s*(?=\()", r"\\sqrt"),
        (r"\u00b2", "^2"),
        (r"\u00b3", "^3"),
        (r"_\s*\{\s*\\text\s*\{\s*base\s*\}\s*(\d+)\s*\}", r"_{\1}"),
        (r"\u00b0", r"^\\circ "),
        (r"\\(?:bf|it|rm|displaystyle|checkmark|blacksquare)(?![A-Za-z])", ""),
        (r"^\s*=|(?<=\S)\s*\\approx\s*-?\d*\.\d+\s*$", ""),
        (r"\\varnothing", r"\\emptyset"),
        (r"\\mathrm\s*\{e\}", "e"),
        (rf"\\(?:approx|sim(?:eq)?)(?![A-Za-z])\s*(?=-?[\d.,]+\s*(?:{WORDS})?\s*$)", ""),
        (r"\\[dt]frac", r"\\frac"),
        (r"\\frac\s*(\\[A-Za-z]+)\s*(\w)(?![A-Za-z])", r"\\frac{\1}{\2}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\d./^])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"(\w|\))!\^", r"{\1!}^"),
        (r"(?<![A-Za-z_^])(\d+|\))\s*\((?=-?[\d.]+\))", r"\1\\cdot ("),  # else a mixed number
        (r"^\s*\\text\s*\{[^{}\d]*(?:\b(?:is|are|equals)|[:=])\s*\}\s*(?=\S)", ""),
        (r"^\s*[a-z](\([^()]*\])\s*$", r"\1"),
        (r"^\s*(\*{1,2}|`|['\"])([^*`'\"]+)\1\s*$", r"\2"),
        (r"\s+", " "),
    ]
]


def tidy(answer: str) -> str:
    r"""Without `$`, `\(`, sizes, colours, thin spaces and final punctuation; the value is unchanged.

    Ways of writing that the parser does not know are rewritten: `1 1/4`, `\sqrt(2)`, `\frac\pi 2`,
    `0.1\overline{6}`, `12 \text{ million}`.
    """
    for pattern, replacement in REWRITES:
        answer = pattern.sub(replacement, answer)
    answer = re.sub(r"(\d*)\.(\d*)\\overline\s*\{(\d{1,20})\}", repeating, answer)
    scale = rf"(\d)\s*(?:\\text\s*\{{\s*)?\b({'|'.join(SCALES)})\b(?:\s*\}})?"
    answer = re.sub(scale, lambda m: rf"{m[1]} \cdot {SCALES[m[2]]}", answer)
    answer = re.sub(r"_\s*\{?\\text\s*\{\s*(\w+)\s*\}\}?", base, answer)
    return re.sub(r"[\s.,;]*(?:\\\\?)?[\s.,;]*$", "", answer).strip()


def base(match: re.Match) -> str:
    r"""`_{\text{two}}` as `_{2}`."""
    return f"_{{{BASES.get(match[1], match[1])}}}"


def repeating(match: re.Match) -> str:
    r"""`0.1\overline{6}` as the fraction it is."""
    whole, fixed, again = match.groups()
    first = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    rest = Fraction(int(again), 10 ** len(fixed) * (10 ** len(again) - 1))
    value = first + rest
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def without_unit(answer: str) -> str:
    r"""Without `\text{...}` at the end, which is a unit if something stands before it."""
    for _ in range(4):  # m/s, square cm
        match = re.search(rf"^(.*?\S)\s*(?:/\s*)?({UNIT})\s*(?:\^\s*\{{?-?\d\}}?)?$", answer)
        if match is None or HEDGE.search(match[2]) or not re.search(r"\w", without_words(match[1])):
            return answer
        answer = match[1]
    return answer


def without_words(answer: str) -> str:
    """What is left of an answer without its words."""
    return re.sub(WORDS, "", answer)


def read_whole(answer: str) -> list:
    """The value as a sympy object if all of the answer can be read, then its normal text.

    The last side of a chain of equations may stand for a chain that cannot be read.
    """
    value, text = _read(answer)
    return [text] if value is None else [value, text]


def read_value(answer: str):
    """The value as a sympy object if all of the answer can be read, else None."""
    return _read(answer)[0]


@lru_cache(maxsize=4096)
def _read(answer: str) -> tuple:
    from latex2sympy2_extended.latex2sympy2 import normalize_latex
    from math_verify.parser import LatexExtractionConfig, parse_latex_cached

    text = without_currency(without_unit(answer))
    if HEDGE.search("".join(re.findall(WORDS, text))) or re.search(r"_\{?\w+\}?_", text):
        return None, text
    if not is_balanced(text):
        return None, text
    text = normalize_latex(text, LatexExtractionConfig().normalization_config)
    try:
        return parse_latex_cached(text), text
    except MemoryError:
        raise
    except Exception:  # the parser has no class of its own for what it cannot read
        return None, text


def is_balanced(text: str) -> bool:
    """Whether all brackets are closed and few are within each other; [1, 2) is closed.

    The parser takes seconds for some hundred that are not, and Python's stack ends at some hundred more.
    """
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if not 0 <= depth <= DEEPEST:
            return False
    return depth == 0


def is_gigantic(value) -> bool:
    """Whether a sympy object holds a number that is too large to be written out."""
    return size(value) > LARGEST_BITS


def size(value) -> float:
    """An upper bound on log2 of the magnitudes in a sympy object, infinite beyond all use."""
    from sympy import Pow, factorial

    sizes = [size(part) for part in getattr(value, "args", ())]
    if not sizes:
        number = getattr(value, "is_Integer", False)
        return float(abs(int(value)).bit_length() + 1) if number else number_bits(value)
    if isinstance(value, Pow):
        return sizes[0] * 2 ** sizes[1] if sizes[1] < 64 else math.inf
    if isinstance(value, factorial):
        return sizes[0] * 2 ** sizes[0] if sizes[0] < 64 else math.inf
    return sum(sizes)


def number_bits(value) -> float:
    """Size of a fraction or a decimal; 1 for a symbol."""
    if getattr(value, "is_Rational", False):
        return float(max(abs(value.p).bit_length() - value.q.bit_length(), 0) + 2)
    if getattr(value, "is_Float", False):
        return max(math.log2(abs(float(value)) + 1), 0.0) + 1
    return 1.0
