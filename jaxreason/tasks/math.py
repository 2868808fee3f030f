r"""Mathematics problems whose answer is in \boxed{}: MATH-500, AIME, OlympiadBench.

Two tasks: `math` accepts every answer that equals the gold one (evaluation), `math_strict` only one that is written out
(rewards). `equivalence.py` compares answers. It partly uses sympy, which may be slow or hang, so these tasks only run
in the workers of `verify.VerifierPool`. The paper's own grader, which compares texts, is in `hendrycks.py`.

Metadata read, if present, with OlympiadBench's names: `is_multiple_answer`, `unit`, `error` (the tolerance).
"""

import json
import logging
import re
from functools import partial

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.announced_answers import announced_answer, replacing_answer
from jaxreason.tasks.answer_choices import choice_alone
from jaxreason.tasks.answer_labels import match_named
from jaxreason.tasks.answer_lists import same_list, unlabel
from jaxreason.tasks.answer_names import with_variable_of
from jaxreason.tasks.answer_points import as_points
from jaxreason.tasks.answer_ranges import without_ranges
from jaxreason.tasks.answer_units import unit_of, units_clash
from jaxreason.tasks.answer_words import TEXT
from jaxreason.tasks.compound_quantities import single_quantities
from jaxreason.tasks.equivalence import Rules, gold_unit, is_written, same, same_base
from jaxreason.tasks.latex_answers import read_value, tidy_latex
from jaxreason.tasks.number_words import in_digits
from jaxreason.tasks.reply_text import boxed_answer, quoted_boxes, score_both_ways, strip_thinking
from jaxreason.tasks.value_sizes import is_gigantic

# An answer may have this many characters more than three times those of the gold one.
MOST_CHARACTERS = 400

NEGATED = re.compile(rf"\s*(?:{TEXT}\{{\s*)?(?:not|never|neither)\b", re.I)
# Where a question shows these, \log without a base is the natural logarithm, unless it speaks of the common one.
NATURAL = re.compile(
    r"\\(?:i*int|ln|lim)(?![A-Za-z])|natural\s+log|(?<![A-Za-z\\])e\s*\^|\bintegra"
)
COMMON = re.compile(r"\\log\s*_\s*\{?\s*10|\bbase[\s$-]*10|\bcommon\s+log|\\lg(?![A-Za-z])")
LOGARITHM = re.compile(r"\\log(?![A-Za-z])(?!\s*_)")
RESIDUE = re.compile(r"^(?:[a-z]\s*\\equiv\s*)?(\d+)\s*\\pmod\s*(?:\{\s*\w+\s*\}|\w)$")
LETTER = re.compile(r"^(-?[\d.,]*\d)\s*([mghslL])$")  # 5 m, where the gold answer has a unit.
REMAINDER = re.compile(
    r"\\mod\s*\{?\s*(\w+)\s*\}?$"
)  # 3 \mod 5, where the gold answer is 3 \pmod 5.


def load_libraries() -> None:
    """Imports math-verify and parses an answer in advance, so that no item pays for it."""
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise ImportError("grading mathematics needs the package math-verify.") from error
    logging.getLogger("math_verify").setLevel(
        logging.ERROR
    )  # It warns once per item about its time limits.
    same(r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", Rules())


def extract(example: Example, text: str) -> str | None:
    """Returns the last box of the reply without its thoughts, or None; a box that quotes the prompt does not count."""
    return _found(strip_thinking(text), quoted_boxes(example))


def _found(text: str, quoted: frozenset[str]) -> str | None:
    """Returns the last box, or what the reply announces after it has taken the box back."""
    box = boxed_answer(text, quoted)
    return box if box is None else replacing_answer(text) or box


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped`, `answered` and `accuracy_flexible`.

    The last one accepts an announced answer ("the final answer should be 5") if the reply has no box. Its difference
    from `accuracy` is lost to format and not to mathematics.

    Raises:
      UserError: for an empty gold answer. Errors of sympy are passed on.
    """
    return _score(example, text, strict=False)


def score_strict(example: Example, text: str) -> dict[str, float]:
    """Returns the same metrics, but only an answer that is written out counts.

    Raises:
      UserError: for an empty gold answer. Errors of sympy are passed on.
    """
    return _score(example, text, strict=True)


def _score(example: Example, text: str, strict: bool) -> dict[str, float]:
    quoted = quoted_boxes(example)

    def found(part: str) -> str | None:
        return _found(part, quoted)

    def graded(example: Example, answer: str) -> float:
        return grade(example, answer, strict)

    scores = score_both_ways(example, text, found, graded)
    flexible = scores["accuracy"]
    announced = None if scores["answered"] else announced_answer(strip_thinking(text))
    if announced:
        flexible = grade(example, announced, strict)
    return scores | {"accuracy_flexible": flexible}


def gold_answer(example: Example) -> str:
    """Returns the gold answer as one text; OlympiadBench's list of one text (also as JSON) is unpacked.

    Raises:
      UserError: for an empty one.
    """
    return ", ".join(gold_answers(example))


def first_answer(example: Example) -> str:
    """Returns the first text of the gold answer; it is the whole answer unless that is a list of several texts.

    Raises:
      UserError: for an empty one.
    """
    return gold_answers(example)[0]


def gold_answers(example: Example) -> list[str]:
    """Returns the texts of a gold answer that is a JSON list; any other gold answer as one text.

    Raises:
      UserError: for an empty one.
    """
    answer = example.answer.strip()
    found = _json_texts(answer) if answer.startswith('["') else [answer]
    if not "".join(found):
        raise UserError(f"example {example.id!r} has an empty gold answer.")
    return found


def _json_texts(text: str) -> list[str]:
    """Returns the texts of a JSON list; any other text stays as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return found if all(isinstance(part, str) for part in found) else [text]


def grade(example: Example, answer: str, strict: bool = False) -> float:
    """Returns 1.0 if the extracted answer equals the gold one, else 0.0; one that is very long or deep is not read."""
    gold = gold_answer(example)
    if len(answer) > MOST_CHARACTERS + 3 * len(gold):
        return 0.0
    try:
        return float(_is_right(example, gold, answer, strict))
    except RecursionError:  # Hundreds of powers of powers.
        return 0.0


def _is_right(example: Example, gold: str, answer: str, strict: bool) -> bool:
    gold, answer = choice_alone(gold, re.sub(r"\s+", " ", answer))
    gold, answer = tidy_latex(gold), tidy_latex(answer)
    if NATURAL.search(asked(example)) and not COMMON.search(asked(example)):
        gold, answer = (LOGARITHM.sub(r"\\ln ", text) for text in (gold, answer))
    gold, answer = without_ranges(gold, with_variable_of(gold, answer))
    gold, answer = as_points(gold, answer, asked(example))
    if re.search(r"\d", gold):
        answer = in_digits(answer, things=True)
    metadata = example.metadata
    rules = Rules(strict, asked(example), str(metadata.get("unit") or ""))
    tolerance = metadata.get("error")
    if tolerance and within_tolerance(gold, answer, float(str(tolerance).split(",")[0]), rules):
        return True
    if metadata.get("is_multiple_answer") in (True, "True", "true"):
        match = partial(match_named, question=rules.question)
        return same_list(gold, answer, lambda a, b: same(a, b, rules), match)
    return same_answer(gold, answer, rules)


def same_answer(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether two tidied answers are equal; 2 hours 30 minutes are 2.5 hours and 150 minutes."""
    if r"\pmod" in gold:
        answer = REMAINDER.sub(r"\\pmod{\1}", answer)
    else:
        answer = RESIDUE.sub(r"\1", answer)
    if unit_of(gold):
        answer = LETTER.sub(r"\1\\text{ \2}", answer)
    quarters = re.search(r"\bquarters\b", answer) and "quarter" not in gold + rules.question.lower()
    negated = NEGATED.match(answer) and not NEGATED.match(gold)
    if negated or quarters or (rules.strict and units_clash(gold, answer)):
        return False
    golds, answers = single_quantities(gold), single_quantities(answer)
    if not (golds or answers) or (rules.strict and not (golds and answers)):
        return same(gold, answer, rules)
    return any(same(g, a, rules) for g in golds or [gold] for a in answers or [answer])


def asked(example: Example) -> str:
    """Returns the text of the problem; "" for an example without one."""
    turns = [turn["content"] for turn in example.messages if turn["role"] == "user"]
    return str(example.metadata.get("question") or "\n".join(turns))


def within_tolerance(gold: str, answer: str, tolerance: float, rules: Rules) -> bool:
    """Returns whether both are numbers (a unit or per cent sign may follow) that differ by at most `tolerance`."""
    numbers = [number_of(unlabel(text)) for text in (gold, answer)]
    if None in numbers or not same_base(gold, answer, rules):
        return False
    if r"\%" in answer and r"\%" not in gold and not rules.asks_percentage:
        numbers[1] /= 100
    units = gold_unit(gold, answer, rules), unit_of(answer)
    if None not in units and units[0] != units[1]:
        if rules.strict or units[0][0] != units[1][0]:
            return False
        numbers[1] *= float(units[1][1] / units[0][1])
    close = abs(numbers[0] - numbers[1]) <= tolerance * (1 + 1e-9)
    return close and is_written(gold, answer, rules)


def number_of(answer: str) -> float | None:
    """Returns the value of a tidied answer that is one real number, or None."""
    value = read_value(answer.replace(r"\%", ""))
    if not getattr(value, "is_number", False) or is_gigantic(value):
        return None
    return float(value) if value.is_extended_real else None
