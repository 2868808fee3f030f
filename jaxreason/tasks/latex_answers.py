r"""Reads an answer written in LaTeX: it is tidied, then parsed as a whole or not at all.

If an expression does not parse, math-verify's own search falls back to the first number that it finds, so `5?6?7` would
count as 5. Here the parser sees the whole answer. What it cannot read has no value and equals only the same text.
"""

import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from jaxreason.tasks.answer_units import without_currency
from jaxreason.tasks.answer_words import INSIDE, TEXT, WORDS
from jaxreason.tasks.degree_angles import in_radians
from jaxreason.tasks.foreign_notations import ASIAN_CHANGE, without_unicode
from jaxreason.tasks.latex_rewrites import REWRITES
from jaxreason.tasks.number_words import NUMBER_WORD, ORDINALS, SIZES, in_digits
from jaxreason.tasks.value_sizes import computes_too_much

UNIT = rf"{WORDS}|\\frac\s*\{{{WORDS}\}}\{{{WORDS}\}}"
WRONG = "wrong|incorrect|false|invalid|mistaken?"
GROWING = (
    "dozen|score|squared|cubed|hundreds?|thousands?|half|halves|thirds|fourths|fifths|sixths|sevenths|eighths"
    "|ninths|tenths?|hundredths?|thousandths?|[mbtrMBTR]r?illi(?:onen|arden?)|lakhs?|crores?|factorial|quadrillions?|quintillions?|grand|fold|doubled|tripled|quadrupled"
    f"|{ORDINALS}"
    "|(?:at|the)\\s+(?:least|most)|below\\s+(?:zero|freezing)|to\\s+the\\s+(?:power|\\w+th|third)"
    "|out\\s+of|(?:or|and)\\s+(?:more|less|fewer|greater|higher|lower|above|below|under|over|so|up|larger|smaller"
    f"|another)|(?:or|and|but|not|nor|to|by|plus|minus|times|over)\\s+(?:a\\s+)?{NUMBER_WORD}"
    f"|(?:more|less|fewer|greater)\\s+than\\s+{NUMBER_WORD}"
    f"|{NUMBER_WORD}\\s+(?:inch|inches|feet|foot|cents?|hours?|minutes?|seconds?|days?|ounces?|cm|mm|meters?)"
)  # Words that change a number.
# "or 6" in a unit is a second answer and not a unit; "(wrong)" is not a unit either.
HEDGE = re.compile(
    rf"(?:\b(?:or|and|not|to|but|wait)\b|[,;?!=])[^{{}}]*\d"
    rf"|\b(?:{WRONG}|not (?:right|correct)|{GROWING})\b"
    rf"|\{{\s*k\s*\}}|{ASIAN_CHANGE}"
)
# What stands behind a number and is not its unit: "5 or so", "5 minus x", "5 feet 6 inches". The 2 in "cm^2",
# "multiples of 7" and "3-digit numbers" are harmless.
NO_UNIT = re.compile(
    r"\{\s*(?:(?:or|and|plus|minus|but|not|nor|divided|multiplied|raised|mod(?:ulo)?|choose|vs|through)\b"
    r"|(?:more|less|fewer)\s+than\s*(?:\w\s*)?\})"
    r"|(?<![\w^.\-])(?<!\^\{)(?<!\bof )(?<!\bfrom )(?<!\bin )(?<!\bfor )"
    r"\d(?!\w*-[a-z]|\d*(?:st|nd|rd|th)\b)"
)
BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
GAP = re.compile(r"(?<=\d)(?<![_^]\d)\s+(?=\d)")  # Not that of \log_2 8.
DEEPEST = 40  # Nested brackets.
# The parser adds a whole number and a number right behind it, as in 2\frac{3}{4}. It must not where they are a product:
# 2(\frac{3}{4}), 2\binom{5}{2}, \binom{5}{2}3.
_BINOMIAL = rf"\\binom\s*{INSIDE}\s*{INSIDE}"
_COMPUTED = r"\\(?:binom|gcd|lcm|det|operatorname)(?![A-Za-z])"
_HELD = rf"\(\s*(?:\d+\s*/\s*\d+|\\frac\s*{INSIDE}\s*{INSIDE}|{_BINOMIAL})\s*\)"
FACTOR = re.compile(
    rf"((?<![\w.^])(?<![_^]\{{)\d+(?=\s*(?:{_COMPUTED}|{_HELD}))|\)(?=\s*(?:\d|\\frac|{_COMPUTED}|{_HELD}))"
    rf"|{_BINOMIAL}(?=\s*(?:[\d(]|\\frac|{_COMPUTED})))"
)
# A transpose, which the parser drops: A^T and 2^T are not A and 2. That of a matrix it computes.
TRANSPOSE = re.compile(
    r"(?<=[\w)}])\s*\^\s*(?:T|\\(?:top|intercal)(?![A-Za-z])"
    rf"|{TEXT}\{{\s*T\s*\}}|\{{\s*(?:T|\\(?:top|intercal)|{TEXT}\{{\s*T\s*\}})\s*\}})"
)
# The parser takes d and the letter behind it for a differential; in dn and d\cdot c without these they are factors.
DIFFERENTIAL = re.compile(
    rf"\\i+nt(?![A-Za-z])|\\partial|\\frac\s*(?=\{{\s*d){INSIDE}\s*\{{\s*d|/\s*d"
)
LETTER_D = re.compile(
    rf"{WORDS}|\\[A-Za-z]+|(?P<d>d)(?=\s*(?:[a-ce-qw]|\\(?:cdot|times|sqrt|frac|pi|ln|log)(?![A-Za-z])))"
)
DROPPED = re.compile(r"\\(?:approx|sim(?:eq)?|ldots)(?![A-Za-z])")  # The parser drops these too.
REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\s*\{(\d{1,20})\}")


def tidy_latex(answer: str) -> str:
    r"""Returns an answer without `$`, `\(`, sizes, colours, thin spaces and final punctuation; its value is unchanged.

    Notations that the parser does not know are rewritten: `1 1/4`, `\sqrt(2)`, `\frac\pi 2`, `0.1\overline{6}`, `12
    \text{ million}`.
    """
    answer = without_unicode(answer)
    for pattern, replacement in REWRITES:
        answer = pattern.sub(replacement, answer)
    answer = REPEATING.sub(repeating, answer)
    answer = in_digits(answer)
    answer = re.sub(rf"({TEXT}\{{\s*)({'|'.join(SIZES)})\s+(?=[a-z])", r" \2 \1", answer)
    scale = rf"([\d}}])\s*(?:\\text\s*\{{\s*)?\b((?i:{'|'.join(SIZES)}))s?\b(?:\s*\}})?"
    answer = re.sub(scale, scaled, answer)
    answer = re.sub(r"_\s*\{?\\text\s*\{\s*(\w+)\s*\}\}?", base, answer)
    return re.sub(r"[\s.,;]*(?:\\\\?)?[\s.,;]*$", "", answer).strip()


def base(match: re.Match) -> str:
    r"""Returns `_{\text{two}}` as `_{2}`."""
    return f"_{{{BASES.get(match[1], match[1])}}}"


def scaled(match: re.Match) -> str:
    r"""Returns `5 \text{ million}` as `5 \cdot 10^{6}`."""
    size = SIZES[match[2].lower()]
    return rf"{match[1]} \cdot {size if size == 12 else f'10^{{{len(str(size)) - 1}}}'}"


def repeating(match: re.Match) -> str:
    r"""Returns `0.1\overline{6}` as a fraction."""
    whole, fixed, again = match.groups()
    first = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    rest = Fraction(int(again), 10 ** len(fixed) * (10 ** len(again) - 1))
    value = first + rest
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def transposed(match: re.Match) -> str:
    r"""Returns the power t for a transpose, which only a matrix keeps."""
    return "^T" if match.string.endswith("matrix}", 0, match.start()) else "^{t}"


def is_hedged(answer: str) -> bool:
    """Returns whether an answer has words that change its value, or words behind it that are no unit."""
    words = re.findall(WORDS, answer)
    last = words[-1] if words and re.search(rf"\w[^\w=]*(?:{WORDS})$", answer) else ""
    return HEDGE.search("".join(words)) is not None or NO_UNIT.search(last) is not None


def without_unit(answer: str) -> str:
    r"""Returns an answer without `\text{...}` at its end, which is a unit if something precedes it."""
    for _ in range(4):  # m/s, square cm
        match = re.search(rf"^(.*?\S)\s*(?:/\s*)?({UNIT})\s*(?:\^\s*\{{?-?\d\}}?)?$", answer)
        if match is None or not re.search(r"\w", without_words(match[1])):
            return answer
        if HEDGE.search(match[2]) or NO_UNIT.search(match[2]):
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
    text = TRANSPOSE.sub(transposed, FACTOR.sub(r"\1\\cdot ", in_radians(text)))
    if not DIFFERENTIAL.search(text):
        text = LETTER_D.sub(lambda match: "{d}" if match["d"] else match[0], text)
    if is_hedged(text) or DROPPED.search(text) or re.search(r"_\{?\w+\}?_", text):
        return None, text
    if not is_balanced(text) or GAP.search(without_words(text)) or computes_too_much(text):
        return None, text
    # Not the library's units: it takes the t of 2t and the c of a + b + c for one.
    rules = replace(LatexExtractionConfig().normalization_config, units=False)
    text = normalize_latex(text, rules)
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
