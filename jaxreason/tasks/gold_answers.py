"""What a question's own answer must be, so that some reply can be right; checked before anything is asked.

A grader that compares with an answer of another form (the place of a choice instead of its letter) gives 0 to every
reply, and nothing in the scores would show why.
"""

from collections.abc import Callable, Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import coqa, headqa, multiple_choice, yes_no
from jaxreason.tasks.numbers_in_text import last_number

Check = Callable[[Example], object]


def has_answer(example: Example) -> None:
    """Refuses a question without an answer.

    Raises:
      UserError: the answer is blank.
    """
    if not example.answer.strip():
        raise UserError(
            f"example {example.id!r}: there is no answer to compare replies with; expected a column of it in "
            "fields.answer."
        )


def is_option(example: Example) -> None:
    """Refuses an answer that is not the label of one of HeadQA's options.

    Raises:
      UserError: with the labels; or as `headqa.labels_and_texts`.
    """
    labels, _ = headqa.labels_and_texts(example)
    if example.answer.strip() not in labels:
        raise UserError(
            f"example {example.id!r}: the answer is {example.answer[:80]!r}; expected one of {', '.join(labels)}."
        )


def has_number(example: Example) -> None:
    """Refuses an answer without a number.

    Raises:
      UserError: with the answer.
    """
    has_answer(example)
    if last_number(example.answer.rpartition("####")[2]) is None:
        raise UserError(
            f"example {example.id!r}: the answer is {example.answer[:80]!r}; expected a number in it."
        )


# Tasks that are not here need no answer (the tests of a program and the checks of IFEval are in the metadata).
CHECKS: dict[str, Check] = {
    **dict.fromkeys(("math", "math_strict", "math_paper", "olympiad_paper"), has_answer),
    **dict.fromkeys(("coqa", "coqa_paper"), coqa.references_of),
    "hash_answer": has_answer,
    **dict.fromkeys(("gpqa_paper", "acpbench_paper"), has_answer),
    **dict.fromkeys(("gsm8k", "gsm8k_strict", "last_number", "last_number_strict"), has_number),
    **dict.fromkeys(("mc_taco", "mc_taco_paper", "halueval", "halueval_paper"), yes_no.gold_of),
    "multiple_choice": multiple_choice.gold_label,
    "headqa": is_option,
}


def check_answers(task: str, examples: Sequence[Example]) -> None:
    """Refuses questions of a benchmark to which no reply could be right.

    Raises:
      UserError: with the first one, its row, and how many there are.
    """
    if told := unmatched(examples, task):
        raise UserError(f"{told}; mend or remove such rows.")


def unmatched(examples: Sequence[Example], task: str | None = None) -> str:
    """Returns the first question to which no reply could be right, and how many there are, in words; "" for none.

    Args:
      examples: the questions.
      task: that grades them; None for each question's own.
    """
    asked = [(example, task or example.task) for example in examples]
    found = [(e, t, problem) for e, t in asked if (problem := _problem(t, e))]
    if not found:
        return ""
    example, task, problem = found[0]
    return (
        f"{example.metadata.get('where', example.source)}: {problem} No reply can be right by the task {task!r} "
        f"({len(found)} of {len(examples)} questions)"
    )


def _problem(task: str, example: Example) -> str | None:
    try:
        CHECKS.get(task, lambda _: None)(example)
    except UserError as error:
        return str(error)
    return None
