r"""Mathematics problems whose answer stands in \boxed{}: MATH-500, AIME, OlympiadBench.

Equality is math-verify's (sympy underneath), which may be slow or hang, so this task only runs in
the workers of `verify.VerifierPool`; the library's own time limits (signals) are switched off
there. What is added here: lists of answers compared one to one, units, labels such as `f(x)=`, and
a tolerance where the problem states one.

Metadata read, if present, with OlympiadBench's names: `is_multiple_answer`, `unit`, `error` (the
tolerance).
"""

import json
import logging
import re

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.latex_answers import is_gigantic, read_whole, tidy
from jaxreason.tasks.replies import last_boxed, score_both_ways, strip_thinking

MOST_CHARACTERS = 1000  # of an answer; the longest gold answers have some hundred
NAME = (
    r"(?:\\angle\s*)?[A-Za-z](?:[A-Za-z\s]|_\{[^{}]*\}|_\w)*(?:\([A-Za-z](?:\s*,\s*[A-Za-z])*\))?"
)


def load_libraries() -> None:
    """Imports math-verify and reads an answer, so that no item pays for it."""
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise ImportError("grading mathematics needs the package math-verify.") from error
    logging.getLogger("math_verify").setLevel(
        logging.ERROR
    )  # one warning an item about its time limits
    verify(read_whole(r"\frac{1}{2}"), read_whole("0.5"))


def extract(example: Example, text: str) -> str | None:
    """The last box of the reply without its thoughts, or None."""
    return last_boxed(strip_thinking(text))


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `accuracy_unstripped`, `answered`, and `accuracy_flexible`.

    The last one takes an announced answer ("the answer is 5") where the reply has no box: its gap
    to `accuracy` is lost to format and not to mathematics.

    Raises:
      ValueError: for an empty gold answer. Also what sympy raises.
    """
    scores = score_both_ways(example, text, last_boxed, grade)
    flexible = scores["accuracy"]
    announced = announced_answer(strip_thinking(text))
    if not scores["answered"] and announced:
        flexible = grade(example, announced)
    return scores | {"accuracy_flexible": flexible}


def announced_answer(text: str) -> str | None:
    """The formula or the rest of the sentence after the last "answer is" or "answer:", or None."""
    found = re.findall(r"(?i)\banswer(?:\s+is|\s*:|\s*=)[\s:*]*([^\n]+)", text)
    if not found:
        return None
    formula = re.match(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", found[-1])
    plain = re.split(r"\.(?:\s|$)|\*\*", found[-1])[0]
    return next(filter(None, formula.groups())) if formula else plain.strip() or None


def gold_answer(example: Example) -> str:
    """The gold answer as one text; OlympiadBench's list of one text (also as JSON) is unpacked."""
    answer = example.answer.strip()
    if answer.startswith('["'):
        answer = _joined(answer)
    if not answer:
        raise UserError(f"example {example.id!r} has an empty gold answer.")
    return answer


def _joined(text: str) -> str:
    """The texts of a JSON list; what is none stays as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return ", ".join(found) if all(isinstance(part, str) for part in found) else text


def grade(example: Example, answer: str) -> float:
    """1.0 if the extracted answer equals the gold one, else 0.0; a very long one is not read."""
    gold = gold_answer(example)
    answer = re.sub(r"\s+", " ", answer)
    if len(answer) > MOST_CHARACTERS + 2 * len(gold):
        return 0.0
    tolerance = example.metadata.get("error")
    if tolerance and within(gold, answer, float(str(tolerance).split(",")[0])):
        return 1.0
    if example.metadata.get("is_multiple_answer") in (True, "True", "true"):
        return float(same_list(tidy(gold), tidy(answer)))
    return float(same(tidy(gold), tidy(answer)))


def same(gold: str, answer: str) -> bool:
    """Equal as texts, as mathematics, without labels, or without per cent signs."""
    if squeeze(gold) == squeeze(answer):
        return True
    if is_group(gold) and len(split_list(answer)) > 1:
        return False  # (2,4) is a point or an interval; "4, 2" is neither
    if other_base(gold, answer):
        return False
    if is_clock(gold) and re.fullmatch(r"\d+:\d+", squeeze(answer)):
        return [int(part) for part in squeeze(gold).split(":")] == [
            int(part) for part in squeeze(answer).split(":")
        ]
    if equal(gold, answer):
        return True
    bare_gold, bare = unlabel(gold), unlabel(answer)
    if bare_gold != gold and (squeeze(bare_gold) == squeeze(bare) or equal(bare_gold, bare)):
        return True
    if ("%" in answer) != ("%" in gold):
        return equal(*(re.sub(r"\\?%", "", text) for text in (gold, answer)))
    plainer = plain_value(answer)
    return plainer != answer and not re.search("[A-Za-z]", gold) and equal(gold, plainer)


def plain_value(answer: str) -> str:
    r"""`5 dollars` and `x \equiv 5 \pmod 7` as 5; other texts unchanged."""
    answer = re.sub(r"^[a-z]\s*\\equiv\s*(.+?)\s*\\pmod\s*\{?\w+\}?$", r"\1", answer)
    number = r"(-?[\d.,/]*\d(?:\\frac\{\d+\}\{\d+\})?)"
    word = r"(?!(?:or|and|not|to|mod|over|choose|times|plus|minus)\b)[A-Za-z]+"
    words = rf"(?=.*[a-zA-Z]{{3}}|[a-z]+/[a-z]){word}(?:[ /]{word})*"
    return re.sub(rf"^{number} {words}$", r"\1", answer)


def same_list(gold: str, answer: str) -> bool:
    """The same answers in any order, each as often."""
    wanted = split_list(gold)
    for joined in (
        answer,
        re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer),
    ):  # 2,500 may be one number
        found = split_list(joined)
        if len(found) == len(wanted) and match_all(wanted, found):
            return True
    return False


def match_all(wanted: list[str], found: list[str]) -> bool:
    """Whether the two lists pair up; equality is transitive, so the first partner will do."""
    left = list(found)
    for gold in wanted:
        partner = next((item for item in left if same(gold, item)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def split_list(text: str) -> list[str]:
    r"""The members of `1, (2, 3)`, `\{1, 2\}`, `x=1 \text{ or } x=2`, `1 \pm 2`."""
    text = re.sub(
        r"\\(?:text|mbox|mathrm)\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|;|\\quad", ",", text
    )
    text = re.sub(rf"^{NAME}\s*\\in\s*(?=\\\{{)", "", text.strip())
    if text.startswith(r"\{") and text.endswith(r"\}"):
        text = text[2:-2]
    members, depth, start = [], 0, 0
    for position, character in enumerate(text + ","):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and (depth == 0 or position == len(text)):
            members += both_signs(text[start:position].strip())
            start = position + 1
    return [member for member in members if member]


def both_signs(text: str) -> list[str]:
    r"""`a \pm b` as `a + b` and `a - b`."""
    if not re.search(r"\\pm|\\mp", text):
        return [text]
    upper = text.replace(r"\pm", "+").replace(r"\mp", "-")
    return [upper, text.replace(r"\pm", "-").replace(r"\mp", "+")]


def is_group(text: str) -> bool:
    """One bracketed pair, point or interval: (2,4), [1,2)."""
    return (
        text[:1] in ("(", "[")
        and text[-1:] in (")", "]")
        and len(split_list(text)) == 1
        and "," in text
    )


def other_base(gold: str, answer: str) -> bool:
    """Whether both are numbers with a base and the bases differ: 52_8 and 52_9."""
    bases = [re.fullmatch(r"-?\w*?\d_\{?(\d+)\}?", squeeze(text)) for text in (gold, answer)]
    return all(bases) and bases[0][1] != bases[1][1]


def is_clock(text: str) -> bool:
    """Whether the text is a time of day or a length of time such as 9:24, which is no ratio."""
    return re.fullmatch(r"\d{1,2}:\d\d", squeeze(text)) is not None


def unlabel(text: str) -> str:
    """`f(x)=2x` and `m_{max}=2x` without the name; other texts unchanged."""
    return re.sub(rf"^{NAME}\s*=\s*(?=[^=]+$)", "", text)


def squeeze(text: str) -> str:
    r"""For comparison as text: `\text{}` unwrapped, no spaces, no bracket around one letter."""
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\s", "", text).lower().rstrip(".")
    return re.sub(r"^\(([a-z])\)$", r"\1", text)


def within(gold: str, answer: str, tolerance: float) -> bool:
    """Whether both are numbers (a unit or per cent sign may follow), at most `tolerance` apart."""
    found = [number_of(tidy(text)) for text in (gold, answer)]
    if None in found:
        return False
    return abs(found[0] - found[1]) <= tolerance * (1 + 1e-9)


def number_of(answer: str) -> float | None:
    """The value of an answer that is one real number, or None."""
    value = (read_whole(re.sub(r"\\?%", "", answer)) or [""])[0]
    if isinstance(value, str) or not getattr(value, "is_number", False) or is_gigantic(value):
        return None
    return float(value) if value.is_extended_real else None


def equal(gold: str, answer: str) -> bool:
    """Equal in math-verify's sense, both read as a whole. Raises what sympy raises."""
    return verify(read_whole(gold), read_whole(answer))


def verify(gold: list, answer: list) -> bool:
    """math-verify's comparison; what sympy raises is raised here too, not taken for inequality.

    Numbers that cannot be written out are compared as they are written.
    """
    import math_verify

    if any(is_gigantic(value) for value in (*gold, *answer) if not isinstance(value, str)):
        return bool(gold and answer) and gold[-1] == answer[-1]
    return bool(gold and answer) and math_verify.verify(
        gold, answer, timeout_seconds=None, raise_on_error=True
    )
