r"""What stands before an equals sign in an answer: names such as `x`, `f^{-1}(x)`, `|AB|`, `P(X=2)`, `\cos\theta`."""

import re

NAME = (
    r"(?:\\angle\s*)?[A-Za-z](?:[A-Za-z\s]|_\{[^{}]*\}|_\w)*(?:\([A-Za-z](?:\s*,\s*[A-Za-z])*\))?"
)
_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|kappa|lambda|mu|nu|xi|rho|sigma|tau"
    r"|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega|ell)(?![A-Za-z])"
)
_INDEX = r"(?:\s*_\s*(?:\{[^{}]*\}|\w|\\\w+))?"
_LETTER = rf"(?:[A-Za-z]|{_GREEK}){_INDEX}"
_LETTERS = r"\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\)"
_PRIMES = r"(?:'{1,3}|\^\s*\{?\s*(?:\\prime\s*){1,3}\}?|\^\s*\{\s*(?:-1|\(\d\))\s*\})"
_BRACKETS = r"(?:\((?:[^()]|\([^()]*\))*\)|\[(?:[^\[\]]|\[[^\[\]]*\])*\])"
_POINTS = r"[A-Z](?:[A-Z]|_\w|_\{\w+\}|'|\s){0,8}"
_ACCENT = (
    r"\\(?:bar|hat|tilde|vec|overline|overrightarrow|widehat|widetilde|mathbf|mathcal|dot|ddot)"
)
# These name a value whatever it is.
PLAIN = re.compile(
    rf"{NAME}|{_GREEK}{_INDEX}|{_LETTER}\s*{_PRIMES}\s*(?:{_LETTERS})?"
    r"|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\)|[A-Z]\s*(?=\()"
    + _LETTERS
    + r"|\(\s*[a-z]\s*\\circ\s*[a-z]\s*\)\s*\([a-z]\)"
    rf"|(?:f|g|h|p|q|F|G|H)\s*(?:{_PRIMES})?\s*\(\s*-?\d+\s*\)"
    rf"|\|\s*{_POINTS}\||\[\s*{_POINTS}\]|{_ACCENT}\s*(?:\{{\s*\w{{1,3}}\s*\}}|\w)|(?:m\s*)?\\angle\s*{_POINTS}"
)
# These are names too, unless the other side has a letter of theirs: then it is an equation, `|x| = -x`.
OPERATIONS = re.compile(
    rf"\\(?:sin|cos|tan|cot|sec|csc)\s*(?:\^\s*\{{?\s*\d\s*\}}?\s*)?(?:\d\s*)?(?:{_LETTER}|\(\s*{_LETTER}\s*\)|\\angle\s*{_POINTS})"
    rf"|(?:P|E|Pr|Var|\\Pr|\\(?:mathbb|mathrm|operatorname|text)\s*\{{\s*(?:P|E|Pr|Var)\s*\}})\s*{_BRACKETS}"
    rf"|\\(?:max|min|sup|inf|det|deg|dim|arg)\s*{_INDEX}\s*{_LETTER}(?:\([a-z]\))?"
    rf"|\|\s*{_LETTER}\s*\||\\frac\s*\{{\s*{_POINTS}\}}\s*\{{\s*{_POINTS}\}}"
)
VARIABLE = re.compile(_LETTER)
COMMAND = re.compile(rf"(?!{_GREEK})\\[A-Za-z]+")
# Words, products of points, functions, areas, remainders and sums: theirs may be the value that was asked for.
OTHER_NOTATION = re.compile(
    r"(?<![\\A-Za-z])[A-Za-z]{2}|\\pi(?![A-Za-z])|mod(?![A-Za-z])|[CP]\s*_|\\(?:sum|prod|int)"
    rf"|(?:(?<![\\A-Za-z])[A-Zfghpq]|{_GREEK})\s*\("
)
LIMIT = re.compile(r"\\lim(?![A-Za-z])\s*_\s*\{[^{}]*\}[^,;]*")
FUNCTION = re.compile(rf"(?<![A-Za-z\\])([A-Za-z](?:{_PRIMES})?)\s*\(\s*([A-Za-z])\s*\)\s*(?==)")


def is_name(left: str, right: str) -> bool:
    """Returns whether the left side of an equation names a value, so that the right side alone answers too."""
    left = left.strip()
    if PLAIN.fullmatch(left) or LIMIT.fullmatch(left):
        return True
    return OPERATIONS.fullmatch(left) is not None and not symbols_of(left) & symbols_of(right)


def symbols_of(text: str) -> set[str]:
    """Returns the letters and Greek letters of a text."""
    words = re.sub(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}", " ", text)
    return set(re.findall(_GREEK, words)) | set(
        re.findall("[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", words))
    )


def is_of_other_value(left: str, right: str) -> bool:
    r"""Returns whether the left side of an equation computes with one variable, `2x` or `\ln x`, and names no value."""
    text = re.sub(
        r"\\(?:text|mathrm|mbox|operatorname)\s*\{[^{}]*\}|\^[\s{]*\\circ[\s}]*|\\[%$]", "", left
    )
    if is_name(text, right) or OTHER_NOTATION.search(text):
        return False
    variables = {match[0] for match in VARIABLE.finditer(COMMAND.sub(" ", text))} - {"e", "i"}
    return len({re.sub(r"[\s{}]", "", variable) for variable in variables}) == 1


def with_variable_of(gold: str, answer: str) -> str:
    """Returns an answer `f(t)=t+1` with the variable of the gold answer, `f(x)=x+1`; others are unchanged."""
    wanted, found = ({*FUNCTION.findall(text)} for text in (gold, answer))
    if len({name for _, name in wanted}) != 1 or {f for f, _ in wanted} != {f for f, _ in found}:
        return answer
    ((_, new), *_), variables = wanted, {name for _, name in found}
    old = variables.pop()
    if old.isupper() and old not in symbols_of(FUNCTION.sub("", answer)):
        return answer  # P(B)=1/3: an event.
    if variables or old == new or new in symbols_of(answer) or old in symbols_of(gold):
        return answer
    return with_letter(answer, old, new)


def with_letter(text: str, old: str, new: str) -> str:
    """Returns a text with another name for one letter; words and commands stay."""
    parts = re.compile(rf"\\(?:text|mathrm|mbox)\s*\{{[^{{}}]*\}}|\\[A-Za-z]+|{old}")
    return parts.sub(lambda match: new if match[0] == old else match[0], text)
