"""IFEval: does a reply follow instructions that a program can check?

Strict checks the reply as it is. Loose checks seven variants of it too (without its first line, its last line, both,
and each of these without asterisks) and takes the best. The paper reports the share of instructions followed, strict.
Metadata needed: `instruction_id_list` and `kwargs`, a dict of arguments (or None) for each instruction.

`score` is robust: it checks the reply without thoughts and without blank lines around it, with the checks of
`ifeval_checks`. `score_paper` gives what the released code gives: the checks of `ifeval_released`, with thoughts
removed as the harness does it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.ifeval_checks import INSTRUCTIONS, check_arguments
from jaxreason.tasks.ifeval_released import RELEASED, language_of
from jaxreason.tasks.reply_text import THINK_END, strip_thinking

Instruction = tuple[str, dict[str, Any]]
Checks = Mapping[str, Callable[..., bool]]


# Metric -> the metric that is its weight: the means are over instructions, as the paper of IFEval defines them.
WEIGHTS = {
    f"instruction_{kind}{suffix}": "instructions"
    for kind in ("strict", "loose")
    for suffix in ("", "_unstripped")
}


def load_libraries() -> None:
    """Makes langdetect load its profiles in advance, so that no item pays for it."""
    language_of("One sentence of English.")


def instructions_of(example: Example) -> list[Instruction]:
    """Returns the (instruction id, arguments) pairs of an example, without arguments that have no value.

    Raises:
      UserError: metadata is missing, an instruction is unknown, or arguments are unknown or missing.
    """
    names, arguments = columns_of(example)
    unknown = [name for name in names if name not in INSTRUCTIONS]
    if unknown or not names or len(names) != len(arguments):
        raise UserError(
            f"example {example.id!r}: instructions {unknown} unknown, or the numbers of "
            f"instructions ({len(names)}) and of kwargs ({len(arguments)}) differ or are 0."
        )
    instructions = [
        (name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(names, arguments)
    ]
    for name, given in instructions:
        try:
            check_arguments(name, given)
        except TypeError as error:
            raise UserError(f"example {example.id!r}: kwargs of {name!r}: {error}.") from error
    return instructions


def columns_of(example: Example) -> tuple[list[str], list[dict[str, Any] | None]]:
    """Returns the two columns of an example; a null or missing `kwargs` stands for no arguments."""
    try:
        names = example.metadata["instruction_id_list"]
    except KeyError as error:
        raise UserError(
            f"example {example.id!r}: IFEval needs metadata {error}, got {[*example.metadata]}."
        ) from error
    if not isinstance(names, (list, tuple)):
        raise UserError(
            f"example {example.id!r}: `instruction_id_list` must be a list, got {names!r:.80}."
        )
    arguments = example.metadata.get("kwargs")
    arguments = [None] * len(names) if arguments is None else arguments
    if not isinstance(arguments, (list, tuple)) or not all(
        given is None or isinstance(given, dict) for given in arguments
    ):
        raise UserError(
            f"example {example.id!r}: `kwargs` must be a list of dicts, got {arguments!r:.80}."
        )
    return [*names], [*arguments]


def variants(text: str) -> list[str]:
    """Returns the reply and its seven relaxed forms."""
    lines = text.split("\n")
    trimmed = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return trimmed + [part.replace("*", "") for part in trimmed]


def follows(instruction: Instruction, texts: Sequence[str], checks: Checks) -> bool:
    """Returns whether any of the texts that are not blank follows the instruction.

    Raises:
      UserError: an argument has a wrong type.
    """
    name, arguments = instruction
    try:
        return any(checks[name](text, **arguments) for text in texts if text.strip())
    except (TypeError, AttributeError) as error:
        raise UserError(f"kwargs of {name!r}, {arguments!r:.80}: {error}.") from error


def instruction_metrics(
    instructions: Sequence[Instruction], text: str, checks: Checks = INSTRUCTIONS
) -> dict[str, float]:
    """Returns the share of instructions that are followed and whether all are, strict and loose."""
    others = [form for form in dict.fromkeys(variants(text)) if form != text]
    strict = [follows(instruction, [text], checks) for instruction in instructions]
    loose = [
        one or follows(instruction, others, checks)
        for one, instruction in zip(strict, instructions)
    ]
    scores = {}
    for name, followed in (("strict", strict), ("loose", loose)):
        scores[f"prompt_{name}"] = float(all(followed))
        scores[f"instruction_{name}"] = sum(followed) / len(followed)
    return scores


def score(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of one reply.

    They are `prompt_strict`, `prompt_loose`, `instruction_strict` and `instruction_loose` without thoughts and
    surrounding blank lines, the same with `_unstripped` for the whole text, and `instructions`, the number of
    instructions.

    Raises:
      UserError: for metadata as in `instructions_of`.
    """
    instructions = instructions_of(example)
    stripped = strip_thinking(text).strip()
    scores = instruction_metrics(instructions, stripped)
    whole = scores if stripped == text else instruction_metrics(instructions, text)
    unstripped = {f"{name}_unstripped": value for name, value in whole.items()}
    return scores | unstripped | {"instructions": float(len(instructions))}


def extract(example: Example, text: str) -> str | None:
    """Returns the text that is checked: the reply without its thoughts; None if nothing is left."""
    return strip_thinking(text).strip() or None


def after_thoughts(text: str) -> str:
    """Returns the reply as lm-eval leaves it: the part after the last end of thoughts, without leading white space.

    Thoughts that never end stay, and are checked as if they were the answer.
    """
    return text.rpartition(THINK_END)[2].lstrip() if THINK_END in text else text


def score_paper(example: Example, text: str) -> dict[str, float]:
    """Returns the four metrics of the released code, and `instructions`.

    Raises:
      UserError: for metadata as in `instructions_of`, and for a keyword that is not a regular expression.
    """
    instructions = instructions_of(example)
    scores = instruction_metrics(instructions, after_thoughts(text), RELEASED)
    return scores | {"instructions": float(len(instructions))}


def extract_paper(example: Example, text: str) -> str | None:
    """Returns the text that the released code checks; None if nothing is left."""
    return after_thoughts(text).strip() or None


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the metrics of a set. Prompt level: mean over replies. Instruction level: share of all instructions."""
    total = sum(row["instructions"] for row in scores)
    metrics = {}
    for name in scores[0]:
        if name == "instructions":
            metrics[name] = total / len(scores)
        elif name.startswith("instruction_"):
            metrics[name] = sum(row[name] * row["instructions"] for row in scores) / total
        else:
            metrics[name] = sum(row[name] for row in scores) / len(scores)
    return metrics
