r"""A question as words that do not depend on its typesetting, without sentences that only say how to answer.

`\dfrac{1}{2}`, `\frac12` and `1/2`, `$x$` and `x`, `\ldots` and `...`, `30^\circ` and 30 degrees become the same words.
A word includes the sign before it (`4 - 1` and `4 + 1` differ). Figures ([asy]) are not words.
"""

import re
import unicodedata

from jaxreason.data.answer_instructions import REQUEST, without_instructions

_FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL | re.IGNORECASE)
_RAISED = str.maketrans({digit: f"^{n}" for n, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})
_SIGNS = {
    **dict.fromkeys(("leq", "le", "leqslant", "leqq"), "≤"),
    **dict.fromkeys(("geq", "ge", "geqslant", "geqq"), "≥"),
    **dict.fromkeys(("neq", "ne"), "≠"),
    **dict.fromkeys(("cdot", "times", "ast"), "*"),
    **dict.fromkeys(("div",), "/"),
    **dict.fromkeys(("dots", "ldots", "cdots", "dotsc", "dotsb", "dotsm", "vdots", "ddots"), " "),
    **dict.fromkeys(("lbrace", "rbrace", "quad", "qquad", "displaystyle", "textstyle"), " "),
    **dict.fromkeys(("left", "right", "limits", "nolimits", "hfill", "noindent", "item"), " "),
    **dict.fromkeys(("big", "bigl", "bigr", "bigg", "biggl", "biggr", "middle"), " "),
    **dict.fromkeys(("text", "textbf", "textit", "textrm", "textup", "emph", "mbox"), " "),
    **dict.fromkeys(("mathrm", "mathbf", "mathit", "mathsf", "operatorname", "boldsymbol"), " "),
    **dict.fromkeys(("bar",), " overline "),
    **dict.fromkeys(("circ", "degree"), " degrees "),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    **dict.fromkeys(("to", "rightarrow", "longrightarrow"), " rightarrow "),
    **dict.fromkeys(("binom", "dbinom", "tbinom"), " binom "),
    **dict.fromkeys(("mod", "bmod", "pmod"), " mod "),
}
_ROOM = re.compile(r"\\[hvm]space\*?\s*\{[^{}]*\}")
_CHOOSE = re.compile(r"\{([^{}]*)\\choose\b([^{}]*)\}")
_UNICODE = str.maketrans(
    {
        **{"−": "-", "–": "-", "—": " ", "‐": "-", "‑": "-", "×": "*", "·": "*", "⋅": "*"},
        **{"÷": "/", "∕": "/", "…": " ", "’": "'", "‘": "'", "°": " degrees ", "√": " sqrt "},
        **{"π": " pi ", "θ": " theta ", "α": " alpha ", "β": " beta ", "∠": " angle "},
        **{"△": " triangle ", "∞": " infty ", "→": " rightarrow ", "ω": " omega "},
    }
)
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\d|[a-z]))\s*(?:\{([^{}]*)\}|(\d|[a-z]))")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]{2,}\d*|[^\W\d_]|[-+=<>≤≥≠*/^()|!%]")
_SIGN = "-+=<>≤≥≠*/^"


def flat(text: str) -> str:
    """Returns lower-case text without markup; sentences still end in `.`, `?` or `!`."""
    text = unicodedata.normalize(
        "NFKC", _FIGURE.sub(" ", text).translate(_RAISED).translate(_UNICODE)
    )
    text = re.sub(r"\\(begin|end)\s*\{[^{}]*\}(?:\{[lcr|]*\})?", " ", text.casefold())
    text = re.sub(r"(?<=[a-z])'(?=[a-z])", "", text)
    text = re.sub(r"\\[,;:!>]|\\(?=\s)|~", "", text) if "\\" in text or "~" in text else text
    text = re.sub(r"\\not\s*=", "≠", re.sub(r"\\\\", " ", text))
    text = re.sub(r"\\[()]", " ", _CHOOSE.sub(r"\\binom{\1}{\2}", _ROOM.sub("", text)))
    text = re.sub(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\w)-(?=[a-z]{2})", " ", text)
    text = _fractions(re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", text))
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", " degrees ", text)
    text = re.sub(r"\\([a-z]+)", lambda found: _SIGNS.get(found[1], f" {found[1]} "), text)
    text = re.sub(r"[{}$\\_&\[\]\"`*]|''", lambda found: " * " if found[0] == "*" else " ", text)
    return re.sub(r"\s+", " ", text).strip()


def _fractions(text: str) -> str:
    """Rewrites fractions, innermost first, so that the content of braces has none."""
    for _ in range(4):
        made = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
        if made == text:
            break
        text = made
    return text


def tokens_of(flat_text: str) -> list[str]:
    """Returns words, numbers, signs and brackets. Adjacent letters are one word: `A x` and `Ax` are equal."""
    found: list[str] = []
    after_letter = False
    for token in _TOKEN.findall(flat_text):
        is_letter = len(token) == 1 and token.isalpha()
        if is_letter and after_letter:
            found[-1] += token
        else:
            found.append(token)
        after_letter = is_letter
    return found


def split_words(flat_text: str) -> list[str]:
    """Returns words and numbers, each with the signs before it; brackets are not words."""
    words, sign = [], ""
    for token in tokens_of(flat_text):
        if token in _SIGN:
            sign += token
        elif token not in "()|!%":
            words.append(sign + token)
            sign = ""
    return words


def read_question(text: str) -> tuple[list[str], str]:
    """Returns the words of a question without sentences about how to answer it, and its key.

    Two questions with one key are equal up to typesetting and to the way they ask ("Find", "What is"). In a key,
    brackets and figures count.
    """
    asked = without_instructions(flat(text)).strip()
    tokens = tokens_of(REQUEST.sub("", asked)) or tokens_of(asked) or [text.strip()]
    figures = _FIGURE.findall(text)
    return split_words(asked), " ".join([*tokens, *("".join(part.split()) for part in figures)])


def is_number(word: str) -> bool:
    """Returns whether a word of `split_words` is a number, with or without a sign."""
    return word.lstrip(_SIGN)[:1].isdigit()


def numbers(words: list[str]) -> list[str]:
    """Returns the numbers among words, without their signs."""
    return [word.lstrip(_SIGN) for word in words if is_number(word)]


def answer_key(text: str) -> str:
    """Returns a key that is equal for answers that differ only in their typesetting."""
    return " ".join(tokens_of(flat(text))) or text.strip()
