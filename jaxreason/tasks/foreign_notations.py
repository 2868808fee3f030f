r"""Notations of Unicode and of other languages as LaTeX: `（1，2）`, `3 × 10⁸`, `5元`, `]0,1[`, `1'000`."""

import re
import unicodedata

from jaxreason.tasks.answer_words import TEXT

SIGNS = {
    "\u2264": r"\le ",
    "\u2265": r"\ge ",
    "\u2260": r"\ne ",
    "\u221e": r"\infty ",
    "\u222a": r"\cup ",
}
SIGNS |= {"\u2229": r"\cap ", "\u2208": r"\in ", "\u211d": r"\mathbb{R}", "\u2205": r"\emptyset "}
SIGNS |= {"\u00d7": r"\times ", "\u22c5": r"\cdot ", "\u00b7": r"\cdot ", "\u00f7": r"\div "}
SIGNS |= {"\u3001": ",", "\u3002": ".", "\u27e8": r"\langle ", "\u27e9": r"\rangle "}
SIGNS |= {"\u2126": r"\Omega ", "\u03a9": r"\Omega ", "\u2044": "/", "\u2215": "/"}
RAISED = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-"
)
LOWERED = str.maketrans(
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789"
)
RAISED_OVER_LOWERED = re.compile(r"\^\s*\{?(\d+)\}?\s*/\s*_\s*\{?(\d+)\}?")
ASIAN = r"\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
# Ten thousand, "and more", "about" and the like change a number; a kilometre and a kilogram begin with a thousand.
ASIAN_CHANGE = (
    "[\u4e07\u4ebf\u767e\u5341\u534a\u591a\u4f59\u7ea6\u6216\u4e0d\u4e4b\u70b9]|\u5343(?![\u7c73\u514b])"
    "|\u4ee5[\u4e0a\u4e0b]|\u5de6\u53f3"
)
ASIAN_DIGITS = "\u96f6\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d"
FOREIGN_ANNOUNCED = (
    "(?:\u6240\u4ee5|\u56e0\u6b64)?(?:\u6700\u7ec8|\u6700\u540e)?(?:\u7684)?\u7b54\u6848?\\s*(?:\u662f|\u4e3a|[:=])"
    r"|la\s+(?:respuesta|r\u00e9ponse|risposta)(?:\s+(?:final[ea]?|correcta))?\s+(?:es|est|\u00e8)\b"
    r"|a\s+resposta(?:\s+final)?\s+\u00e9\b|die\s+antwort\s+(?:ist|lautet)\b"
    r"|(?:respuesta|r\u00e9ponse|risposta|resposta|antwort)\s*:"
)


def scientific(match: re.Match) -> str:
    r"""Returns `2.5e-3` as `2.5 \times 10^{-3}`."""
    return rf"{match[1]} \times 10^{{{int(match[2])}}}"


def joined_groups(match: re.Match) -> str:
    """Returns `1'000'000` and `1.000.000` without marks."""
    return re.sub("['.\u2019]", "", match[0])


def round_brackets(match: re.Match) -> str:
    """Returns the interval ]0,1[ as (0,1)."""
    opening, low, high, closing = match.groups()
    return ("(" if opening == "]" else "[") + f"{low},{high}" + (")" if closing == "[" else "]")


def intervals(match: re.Match) -> str:
    """Rewrites all intervals of an answer that begins with ] or ends with [."""
    return re.sub(r"([\[\]])\s*([^\[\],;]+)[,;]([^\[\],;]+)([\[\]])", round_brackets, match[0])


# 2e-3 is twice Euler's number minus 3, but 2.5e-3, 1e-3 and 2e-03 are meant as powers of ten.
FOREIGN_REWRITES = [
    (r"^(?:[^\[\]]*\\in\s*)?\].*[\[\]]\s*$|^(?:[^\[\]]*\\in\s*)?\[.*\[\s*$", intervals),
    (r"^\s*([\[(])([^\[\](){},;]+);([^\[\](){},;]+)([\])])\s*$", r"\1\2,\3\4"),  # [1;2]
    (
        r"^\s*(-?\d+(?:\.\d+)?)(?:e(?=\d|[+-]0)|(?:(?<=\.\d)|(?<=\.\d\d)|(?<=\b1))[eE](?=[+-])|(?<=\.\d)E|E(?=[+-]))"
        r"([+-]?\d{1,3})(?=\s*(?:\\(?:text|mathrm)|$))",
        scientific,
    ),
    ("^\\s*-?\\d{1,3}(?:(?:['\u2019]\\d{3})+(?:\\.\\d+)?|(?:\\.\\d{3}){2,})\\s*$", joined_groups),
    (
        "\\\\text\\s*\\{\\s*(?:\u6216\u8005?)\\s*\\}|(?<=[\\w)}\\]])\\s*\u6216\u8005?\\s*(?=[\\w(\\\\-])",
        " or ",
    ),
    (
        "\\\\text\\s*\\{\\s*(?:\u548c|\u4e0e|\u53ca|\u4ee5\u53ca)\\s*\\}"
        "|(?<=[0-9A-Za-z)}\\]])\\s*[\u548c\u4e0e\u53ca]\\s*(?=[0-9A-Za-z(\\\\-])",
        " and ",
    ),
    (
        rf"(?<=\S)\s*{TEXT}\{{\s*(?:und|et|oder|ou)\s*\}}\s*(?=\S)|(?<=\S)\s*{TEXT}\{{\s+[yo]\s+\}}\s*(?=\S)",
        r"\\text{ and }",
    ),
    (rf"(?<=[\d}}])\s*((?!{ASIAN_CHANGE})[{ASIAN}]{{1,4}})\s*$", r"\\text{ \1}"),
]


def without_unicode(answer: str) -> str:
    r"""Replaces signs such as \u2264, \u00bd, \u2078 and \uff08 by LaTeX."""
    answer = re.sub(
        "[\uff01-\uff5e]", lambda match: unicodedata.normalize("NFKC", match[0]), answer
    )
    for sign, command in SIGNS.items():
        answer = answer.replace(sign, command)
    answer = re.sub(
        "[\u2070\u00b9\u00b2\u00b3\u2074-\u207b]+",
        lambda m: f"^{{{m[0].translate(RAISED)}}}",
        answer,
    )
    answer = re.sub("[\u2080-\u2089]+", lambda m: f"_{{{m[0].translate(LOWERED)}}}", answer)
    answer = RAISED_OVER_LOWERED.sub(r"\\frac{\1}{\2}", answer)
    answer = re.sub(rf"^\s*([{ASIAN_DIGITS}]?\u5341)?([{ASIAN_DIGITS}]?)\s*$", asian_number, answer)
    return re.sub("[\u00bc-\u00be\u2150-\u215e]", fraction_sign, answer)


def asian_number(match: re.Match) -> str:
    """Returns a number below 100 that is written in Chinese digits."""
    tens, ones = match[1] or "", match[2]
    if not tens and not ones:
        return match[0]
    number = ASIAN_DIGITS.index(ones) if ones else 0
    return str(
        number + (10 * (ASIAN_DIGITS.index(tens[0]) if len(tens) == 2 else 1) if tens else 0)
    )


def fraction_sign(match: re.Match) -> str:
    """Returns the fraction that a single character stands for."""
    above, _, below = unicodedata.normalize("NFKC", match[0]).partition("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"
