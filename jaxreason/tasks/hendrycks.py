r"""The paper's graders of mathematics: the last box is compared with the gold answer, as tidied *texts*.

The tidying is that of the MATH data set's own code (Hendrycks et al. 2021), which the released evaluation takes from
lm-evaluation-harness: MATH-500 and AIME through Evalchemy (`math_paper`), and OlympiadBench by a copy of it with
additions (`olympiad_paper`). Their mistakes are kept, since they are part of the published scores. Each is marked
*Mistake*, with its effect. The greatest one: nothing is computed, so an equal value that is written differently (14/3
and 4\frac{2}{3}) counts as wrong.

*Mistake*: thoughts are not removed. A reply that was cut off in its thoughts can score for a box in them, and a reply
without a box after its thoughts is graded by a box in its thoughts.
"""

import re

from jaxreason.data.examples import Example
from jaxreason.tasks.math import first_answer, gold_answer

BOX, SPACED, FRAME = "\\boxed", "\\boxed ", "\\fbox"
# These are removed, in this order, before units are. Mistake: with \left and \right the start of \leftarrow,
# \rightarrow and any other such command is removed too.
REMOVED = [(r"\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), (r"\left", "")]
REMOVED += [(r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), (r"\$", "")]
UNIT = r"\text{ "


class _RefusedError(Exception):
    """Stands for an error of the original, which then compares the two texts unchanged."""


def extract(example: Example, text: str) -> str | None:
    r"""Returns the answer by the rules of `math_paper`, or None.

    Mistake: a `\fbox` is found and then refused, so its answer is lost.
    """
    box = last_box(text)
    return None if box is None else _inside(box)


def extract_olympiad(example: Example, text: str) -> str | None:
    r"""Returns the answer by the rules of `olympiad_paper`, or None.

    Mistake: the character after `\boxed` need not be a brace, so `\boxed5 or {6}` gives ` or {6`. Mistake: an \fbox
    within a box ends the original's whole run; here the reply counts as wrong.
    """
    box = last_box(text)
    if box is None or FRAME + "{" in box:
        return box[len(FRAME) + 1 : -1] if box and box.startswith(FRAME + "{") else None
    return box[len(SPACED) :] if box.startswith(SPACED) else box[len(BOX) + 1 : -1]


def _inside(box: str) -> str | None:
    if box.startswith(SPACED):
        return box[len(SPACED) :]
    return box[len(BOX) + 1 : -1] if box.startswith(BOX + "{") else None


def last_box(text: str) -> str | None:
    r"""Returns the last box with its command, or None. Time is linear in the text.

    Mistake: if one `\boxed` is followed by a space anywhere (`\boxed {5}`), it is taken before all others, with
    everything up to a dollar sign. Mistake: a last box that was not closed hides those before it. Mistake: `\{` and
    `\}` count as braces.
    """
    if SPACED in text:
        return SPACED + text.rpartition(SPACED)[2].partition("$")[0]
    start = text.rfind(BOX)
    start = text.rfind(FRAME) if start < 0 else start
    depth = 0
    for brace in re.compile("[{}]").finditer(text, start) if start >= 0 else ():
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 and brace[0] == "}":
            return text[start : brace.end()]
    return None


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy` and `answered`, as the paper's code gives them for MATH-500 and AIME.

    Raises:
      UserError: for an empty gold answer.
    """
    gold, answer = gold_answer(example), extract(example, text)
    right = answer is not None and same_text(gold, answer)
    return {"accuracy": float(right), "answered": float(answer is not None)}


def score_olympiad(example: Example, text: str) -> dict[str, float]:
    r"""Returns `accuracy` and `answered`, as the paper's code gives them for OlympiadBench.

    Mistake: only the first gold text is compared. The 94 questions with several answers have all of them in one text,
    `1,3,5`, so the reply needs the same order and the same commas. Mistake: most gold texts that are not plain numbers
    are in dollar signs (`$\frac{1}{2}$`), which are not removed, while a box has none: these questions cannot be
    answered correctly.

    Raises:
      UserError: for an empty gold answer.
    """
    gold, answer = first_answer(example), extract_olympiad(example, text)
    right = answer is not None and same_olympiad_text(gold, answer)
    return {"accuracy": float(right), "answered": float(answer is not None)}


def same_text(gold: str, answer: str) -> bool:
    r"""Returns whether the tidied texts are the same.

    Mistake: if tidying fails for one of them (two units, one slash that does not divide integers, a `\frac` or `\sqrt`
    at the end), both are compared untidied: `\dfrac{x/2}{3}` is not `\frac{x/2}{3}`.
    """
    try:
        return tidied(gold) == tidied(answer)
    except _RefusedError:
        return gold == answer


def same_olympiad_text(gold: str, answer: str) -> bool:
    r"""Returns the result of `same_text`, after removing leading zeros and `.00`.

    Mistake: an empty box equals the gold answer 0. Mistake: only the 1 of `1.0.7` is left.
    """
    shorter = [_without_zeros(gold), _without_zeros(answer)]
    return same_text(*shorter)


def _without_zeros(text: str) -> str:
    text = text.lstrip("0")
    whole, point, rest = text.partition(".")
    return whole if point and not rest.partition(".")[0].rstrip("0") else text


def tidied(text: str) -> str:
    r"""Returns an answer as the MATH data set's code writes it.

    Mistake: `\%` is removed, so 5 and 5\% are the same, and 0.05 and 5\% are not. A bare % stays. Mistake: of all
    decimals only 0.5 becomes a fraction. Mistake: commas of thousands stay, so 1000 and 1,000 differ, and so do the
    sizes of brackets other than \left and \right.

    Raises:
      _RefusedError: the original raises an error here.
    """
    text = text.replace("\n", "")
    for old, new in REMOVED:
        text = text.replace(old, new)
    text = _without_unit(text).replace(r"\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return ""
    text = _without_name("0" + text if text[0] == "." else text)
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _slash_as_fraction(r"\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    r"""Drops the unit. Mistake: only `\text{ ` with a space is a unit, so `5\text{cm}` and `5\mbox{ cm}` stay."""
    before, unit, after = text.partition(UNIT)
    if UNIT in after:
        raise _RefusedError
    return before if unit else text


def _without_name(text: str) -> str:
    """Returns a text without a name of at most two characters, spaces included. Mistake: `ABC = 5` is not 5."""
    sides = text.split("=")
    return sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text


def _braced_roots(text: str) -> str:
    r"""Returns `\sqrt3` as `\sqrt{3}`. Mistake: `\sqrt13` becomes `\sqrt{1}3`."""
    first, *rest = text.split(r"\sqrt")
    if "" in rest:
        raise _RefusedError
    return first + "".join(r"\sqrt" + (p if p[0] == "{" else f"{{{p[0]}}}{p[1:]}") for p in rest)


def _braced_fractions(text: str) -> str:
    r"""Returns `\frac12` and `\frac1{72}` with all braces. Mistake: not `\frac{72}1`."""
    first, *rest = text.split(r"\frac")
    if "" in rest:
        raise _RefusedError
    if any(part[0] != "{" and len(part) < 2 for part in rest):
        return text
    return first + "".join(r"\frac" + _braced(part) for part in rest)


def _braced(part: str) -> str:
    if part[0] == "{":
        return part
    below = part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"
    return f"{{{part[0]}}}{below}"


def _slash_as_fraction(text: str) -> str:
    r"""Returns `a/b` of two integers as `\frac{a}{b}`."""
    sides = text.split("/")
    if len(sides) != 2:
        return text
    try:
        above, below = (int(side) for side in sides)
    except ValueError:
        raise _RefusedError from None
    return rf"\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
