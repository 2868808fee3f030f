r"""Reads an answer written in LaTeX: it is tidied, then parsed as a whole or not at all.

If an expression does not parse, math-verify's own search falls back to the first number that it finds, so `5?6?7` would
count as 5. Here the parser sees the whole answer. What it cannot read has no value and equals only the same text.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from jaxreason.tasks.answer_units import without_currency
from jaxreason.tasks.value_sizes import computes_too_much

WORDS = r"\\(?:text(?:rm|it|bf|normal)?|mbox|math(?:rm|it|bf))\s*\{(?:[^{}]|\{[^{}]*\})*\}"
UNIT = rf"{WORDS}|\\frac\s*\{{{WORDS}\}}\{{{WORDS}\}}"
WRONG = "wrong|incorrect|false|invalid|mistaken?"
GROWING = (
    "dozen|score|squared|cubed|hundreds?|thousands?|half|halves|thirds|fourths|fifths|sixths|eighths"
    "|tenths?|hundredths?|thousandths?|[mbtrMBTR]r?illi(?:onen|arden?)|lakhs?|crores?"
)  # Words that change a number.
# "or 6" in a unit is a second answer and not a unit; "(wrong)" is not a unit either.
HEDGE = re.compile(
    rf"(?:\b(?:or|and|not|to|but|wait)\b|[,;?!=])[^{{}}]*\d|\b(?:{WRONG}|not (?:right|correct)|{GROWING})\b"
    r"|\band (?:a |one )?(?:half|third|quarter)\b|\{\s*k\s*\}"
)
SCALES = {"dozen": "12", "hundred": "10^{2}", "thousand": "10^{3}", "million": "10^{6}"}
SCALES |= {"billion": "10^{9}", "trillion": "10^{12}"}
BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
TEXT = r"\\(?:text(?:rm|it|bf|normal)?|mbox|math(?:rm|it|bf|sf|tt))\s*"
INSIDE = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"  # Braces, nested at most two deep.
PART = rf"{INSIDE}|\\sqrt\s*(?:{INSIDE}|\w)|\\[A-Za-z]+|\w"
ANNOUNCED = r"(?i:(?:(?:so|thus|hence|therefore|then|the|my|final|correct)[\s,]+)*answer\s*(?:is|equals|[:=])\s*)"
ENVIRONMENTS = r"aligned|align\*?|gathered|gather\*?|split|equation\*?"
THIN = r"(?<!\\)(?:\\(?:[,;: ]|(?:enspace|thinspace)(?![A-Za-z]))|~)"
# 1 000 is a number, 1 7 is not.
THOUSANDS = re.compile(
    r"(?<![\w.,^}])(?<![\w}] )\d{1,3}(?: \d{3})+(?! ?\d)|\.\d{3}(?: \d{3})* \d{1,3}(?! ?\d)"
)
GAP = re.compile(r"(?<=\d)(?<![_^]\d)\s+(?=\d)")  # Not that of \log_2 8.
DEEPEST = 40  # Nested brackets.
SIGNS = {
    "\u2264": r"\le ",
    "\u2265": r"\ge ",
    "\u2260": r"\ne ",
    "\u221e": r"\infty ",
    "\u222a": r"\cup ",
}
SIGNS |= {"\u2229": r"\cap ", "\u2208": r"\in ", "\u211d": r"\mathbb{R}", "\u2205": r"\emptyset "}
SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
]
SMALL += ["sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SPELLED = re.compile(
    rf"(?i)^\s*(?:{TEXT}\{{\s*)?((?:(?:{'|'.join(TENS)})(?:[\s-]+(?:{'|'.join(SMALL[1:10])}))?|{'|'.join(SMALL)}))"
    rf"((?:\s+(?:{'|'.join(SCALES)}))?)\s*\}}?[\s.]*$"
)
REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\s*\{(\d{1,20})\}")


def half_braced(match: re.Match) -> str:
    r"""Returns `\frac\pi{12}` and `\frac{3}4` with both braces."""
    parts = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return r"\frac" + "".join(parts)


def ungrouped(match: re.Match) -> str:
    r"""Returns `{20,000}` in `\frac{2469}{20,000}` without commas of thousands, which the parser takes for a list."""
    return match[0].replace(",", "")


def unwrapped(match: re.Match) -> str:
    r"""Returns `\mathbf{12.0}` and `\text{The answer is 5}` without their command; words stay."""
    inside = match[1][1:-1]
    bare = re.sub(r"\\[A-Za-z]+", "", inside)
    return inside if re.match(ANNOUNCED, inside) or not re.search(r"[A-Za-z]", bare) else match[0]


REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\[hv]?phantom\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s{}\\])|\\hspace\*?\s*\{[^{}]*\}", ""),
        (rf"\\(?:begin|end)\s*\{{(?:{ENVIRONMENTS})\}}", ""),
        (r"\\begin\s*\{array\}\s*\{[^{}]*\}([^&\\]*)\\end\s*\{array\}", r"\1"),
        (r"\\color\s*\{\w+\}|\\textcolor\s*\{\w+\}", ""),
        (r"\\(?:underline|underbrace|boxed|fbox|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"\\(?:underline|underbrace|boxed|fbox|boldsymbol|bm)\s*\{([^{}]*)\}", r"\1"),
        (r"(?<!\\)(?:\$|\\[()\[\]]|\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z]))", ""),
        # A thin space stays between two digits: 1\,7 is not 17.
        (rf"(?<=\d)\s*(?:{THIN}\s*|(?<!\\)\\text\s*\{{\s+\}}\s*)+(?=\d)", " "),
        (rf"(?<!\\)\\!\s*|{THIN}", ""),
        (rf"^\s*{TEXT}({INSIDE})\s*$", unwrapped),
        (rf"^\s*{ANNOUNCED}(?=\S)", ""),
        (rf"^\s*{TEXT}\{{\s*\([A-E]\)\s*\}}\s*(?=\S)", ""),
        (rf"^(\s*{TEXT}\{{)\s*an?\s+(?!or\b|and\b)", r"\1"),
        (r"\{,\}|\\text\s*\{,\}", ","),
        (r"(?<!\\)\{\s*-?\d{1,3}(?:,\d{3})+\s*\}", ungrouped),
        (r"\{:\}|\\colon(?![A-Za-z])", ":"),
        (
            r"\\(?:text|mbox|mathrm)\s*\{\s*(?:percent|per\s+cent)\s*\}|\s*\b(?:percent|per cent)\b",
            r"\%",
        ),
        (r"(?<!\\)%", r"\%"),
        (r"[\u2010-\u2014\u2212\ufe63\uff0d]|(?:\\(?:text|mathrm)\s*)?\{\s*-\s*\}", "-"),
        (r"^\s*<([^<>]*,[^<>]*)>\s*$", r"(\1)"),
        (r"\\langle(?![A-Za-z])\s*", "("),
        (r"\s*\\rangle(?![A-Za-z])", ")"),
        (r"\u221a\s*(\d+|[A-Za-z])", r"\\sqrt{\1}"),
        (r"\u221a\s*(?=\()", r"\\sqrt"),
        (r"\u00b2", "^2"),
        (r"\u00b3", "^3"),
        (r"_\s*\{\s*\\text\s*\{\s*base\s*\}?\s*(\w+)\s*\}?\s*\}", r"_{\1}"),
        (r"[\u00b0\u00ba]|\\degree(?![A-Za-z])", r"^\\circ "),
        (r"\(\s*([0-9A-Z]+)\s*\)\s*_(?=\s*\{?\w)", r"\1_"),
        (
            rf"(?<=\w)\s*(?:{TEXT}\{{)?\s*\b(?:in\s+)?base[\s-]*\}}?\s*(\w+)\s*\}}?\s*$",
            r"_{\\text{\1}}",
        ),
        (
            r"\\(?:bf|it|rm|(?:display|text|script)style|[lL]arge|LARGE|[hH]uge|checkmark|blacksquare)"
            r"(?![A-Za-z])",
            "",
        ),
        (r"^\s*=|(?<=\S)\s*\\approx\s*-?\d*\.\d+\s*$", ""),
        (r"\\log\s*_\s*(?:e|\{\s*e\s*\})(?![A-Za-z])", r"\\ln "),
        (r"\\varnothing", r"\\emptyset"),
        (rf"^\s*(?:{TEXT}\{{\s*)?[Nn]o\s+(?:real\s+)?solutions?\s*\}}?\.?\s*$", r"\\emptyset"),
        (
            rf"^\s*(?:{TEXT}\{{\s*)?[Aa]ll\s+(?:reals|real\s+numbers)\s*\}}?\.?\s*$",
            r"(-\\infty,\\infty)",
        ),
        (r"(?<=[A-Za-z])(?=\\mathrm)", " "),
        (r"\\(?:mathrm|operatorname)\s*\{\s*(e|i|\\pi)\s*\}", r"\1"),
        (rf"\\(?:approx|sim(?:eq)?)(?![A-Za-z])\s*(?=-?[\d.,]+\s*(?:{WORDS})?\s*$)", ""),
        (r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])", r"\\frac"),
        (r"(\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?", r"\1\\overline{\2\3\4}"),
        (r"(\.\d*)\\(?:bar|overline)\s*(?:\{\s*(\d+)\s*\}|(\d))", r"\1\\overline{\2\3}"),
        (r"^(-?\d*\.)\((\d+)\)$", r"\1\\overline{\2}"),
        (
            r"(\.\d*?)(?:(\d{2,20}?)\2+|(\d)\3\3+)\s*(?:\\[lc]?dots|\.\.\.|\u2026)",
            r"\1\\overline{\2\3}",
        ),
        (r"\\sqrt\s*(\[[^\[\]]*\])?\s*\(((?:[^()]|\([^()]*\))*)\)", r"\\sqrt\1{\2}"),
        (rf"\\frac\s*(?!\{{)({PART})\s*({PART})", half_braced),
        (rf"\\frac\s*(?=\{{)({INSIDE})\s*(?!\{{)({PART})", half_braced),
        (r"(?<![\d./^])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"(\w|\))!\^", r"{\1!}^"),
        # Otherwise it would be a mixed number.
        (r"(?<![A-Za-z_^])(\d+|\))\s*\((?=-?[\d.]+\))", r"\1\\cdot ("),
        (
            rf"^\s*{TEXT}\{{(?:[^{{}}\d]*(?:\b(?:is|are|equals)|[:=])"
            r"|\s*(?i:so|thus|hence|therefore|exactly|approximately|about)\s*,?)\s*\}\s*(?=\S)",
            "",
        ),
        (r"^\s*[a-z](\([^()]*\])\s*$", r"\1"),
        (r"^\s*(\*{1,2}|`|['\"])([^*`'\"]+)\1\s*$", r"\2"),
        (rf"(?<=\d)\s*{TEXT}\{{\s*to\s*\}}\s*(?=\d)", ":"),
        (rf"\s*{TEXT}\{{\s*(?:is|equals)\s*\}}\s*", "="),
        (r"\bUS(?:D|\\?\$)\s*(?=\d)", r"\\$"),
        (r"\s+", " "),
        (THOUSANDS, lambda match: match[0].replace(" ", "")),
    ]
]


def tidy_latex(answer: str) -> str:
    r"""Returns an answer without `$`, `\(`, sizes, colours, thin spaces and final punctuation; its value is unchanged.

    Notations that the parser does not know are rewritten: `1 1/4`, `\sqrt(2)`, `\frac\pi 2`, `0.1\overline{6}`, `12
    \text{ million}`.
    """
    answer = without_unicode(answer)
    for pattern, replacement in REWRITES:
        answer = pattern.sub(replacement, answer)
    answer = REPEATING.sub(repeating, answer)
    answer = SPELLED.sub(lambda m: spelled(m[1]) + m[2].lower(), answer)
    answer = re.sub(rf"({TEXT}\{{\s*)({'|'.join(SCALES)})\s+(?=[a-z])", r"\2 \1", answer)
    scale = rf"(\d)\s*(?:\\text\s*\{{\s*)?\b({'|'.join(SCALES)})\b(?:\s*\}})?"
    answer = re.sub(scale, lambda m: rf"{m[1]} \cdot {SCALES[m[2]]}", answer)
    answer = re.sub(r"_\s*\{?\\text\s*\{\s*(\w+)\s*\}\}?", base, answer)
    return re.sub(r"[\s.,;]*(?:\\\\?)?[\s.,;]*$", "", answer).strip()


def without_unicode(answer: str) -> str:
    r"""Replaces signs such as \u2264 and \u00bd by LaTeX."""
    for sign, command in SIGNS.items():
        answer = answer.replace(sign, command)
    return re.sub("[\u00bc-\u00be\u2150-\u215e]", fraction_sign, answer)


def fraction_sign(match: re.Match) -> str:
    """Returns the fraction that a single character stands for."""
    above, _, below = unicodedata.normalize("NFKC", match[0]).partition("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"


def spelled(words: str) -> str:
    """Returns a number up to 99 that is written in words, in digits."""
    tens, _, one = words.lower().replace("-", " ").rpartition(" ")
    number = SMALL.index(one) if one in SMALL else 10 * TENS.index(one) + 20
    return str(number + (10 * TENS.index(tens) + 20 if tens else 0))


def base(match: re.Match) -> str:
    r"""Returns `_{\text{two}}` as `_{2}`."""
    return f"_{{{BASES.get(match[1], match[1])}}}"


def repeating(match: re.Match) -> str:
    r"""Returns `0.1\overline{6}` as a fraction."""
    whole, fixed, again = match.groups()
    first = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    rest = Fraction(int(again), 10 ** len(fixed) * (10 ** len(again) - 1))
    value = first + rest
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def without_unit(answer: str) -> str:
    r"""Returns an answer without `\text{...}` at its end, which is a unit if something precedes it."""
    for _ in range(4):  # m/s, square cm
        match = re.search(rf"^(.*?\S)\s*(?:/\s*)?({UNIT})\s*(?:\^\s*\{{?-?\d\}}?)?$", answer)
        if match is None or HEDGE.search(match[2]) or not re.search(r"\w", without_words(match[1])):
            return answer
        answer = match[1]
    return answer


def without_words(answer: str) -> str:
    """Returns the answer without its words."""
    return re.sub(WORDS, "", answer)


def read_whole(answer: str) -> list:
    """Returns the value as a sympy object if the whole answer can be read, followed by its normal text.

    If a chain of equations cannot be read, its last side may stand for it.
    """
    value, text = _read(answer)
    return [text] if value is None else [value, text]


def read_value(answer: str):
    """Returns the value as a sympy object if the whole answer can be read, else None."""
    return _read(answer)[0]


@lru_cache(maxsize=4096)
def _read(answer: str) -> tuple:
    from latex2sympy2_extended.latex2sympy2 import normalize_latex
    from math_verify.parser import LatexExtractionConfig, parse_latex_cached

    text = without_currency(without_unit(answer))
    if HEDGE.search("".join(re.findall(WORDS, text))) or re.search(r"_\{?\w+\}?_", text):
        return None, text
    if not is_balanced(text) or GAP.search(without_words(text)) or computes_too_much(text):
        return None, text
    text = normalize_latex(text, LatexExtractionConfig().normalization_config)
    try:
        return parse_latex_cached(text), text
    except MemoryError:
        raise
    except Exception:  # The parser has no class of its own for texts that it cannot read.
        return None, text


def is_balanced(text: str) -> bool:
    """Returns whether all brackets are closed and nested only a few deep; [1, 2) is closed.

    The parser takes seconds for some hundred unclosed ones, and Python's stack overflows at some hundred more.
    """
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if not 0 <= depth <= DEEPEST:
            return False
    return depth == 0
