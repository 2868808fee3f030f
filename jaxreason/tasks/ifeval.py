"""IFEval: does a reply follow instructions that a program can check?

Strict looks at the reply as it is; loose also at seven variants of it (without its first line, its
last line, both, and each of these without asterisks) and takes the best. The paper reports the
share of instructions followed, strict. Metadata needed: `instruction_id_list` and `kwargs`, a dict
of arguments for each instruction.
"""

from collections.abc import Sequence
from typing import Any

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.ifeval_checks import INSTRUCTIONS, language_of
from jaxreason.tasks.replies import strip_thinking

Instruction = tuple[str, dict[str, Any]]


# Metric -> the metric that weighs it: the means are over instructions, as the paper of IFEval defines them.
WEIGHTS = {
    f"instruction_{kind}{suffix}": "instructions"
    for kind in ("strict", "loose")
    for suffix in ("", "_unstripped")
}


def load_libraries() -> None:
    """Has langdetect read its profiles, so that no item pays for it."""
    language_of("One sentence of English.")


def instructions_of(example: Example) -> list[Instruction]:
    """(instruction id, its arguments) of an example; arguments without a value are left out.

    Raises:
      ValueError: for missing metadata or an instruction that INSTRUCTIONS does not have.
    """
    try:
        names, arguments = example.metadata["instruction_id_list"], example.metadata["kwargs"]
    except KeyError as error:
        raise UserError(
            f"example {example.id!r}: IFEval needs metadata {error}, got {[*example.metadata]}."
        ) from error
    unknown = [name for name in names if name not in INSTRUCTIONS]
    if unknown or len(names) != len(arguments):
        raise UserError(
            f"example {example.id!r}: instructions {unknown} unknown, or the numbers of "
            f"instructions ({len(names)}) and of kwargs ({len(arguments)}) differ."
        )
    return [
        (name, {key: value for key, value in given.items() if value is not None})
        for name, given in zip(names, arguments)
    ]


def variants(text: str) -> list[str]:
    """The reply and its seven relaxed forms."""
    lines = text.split("\n")
    trimmed = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return trimmed + [part.replace("*", "") for part in trimmed]


def follows(instruction: Instruction, texts: Sequence[str]) -> bool:
    """Whether any of the texts that are not blank follows the instruction."""
    name, arguments = instruction
    return any(INSTRUCTIONS[name](text, **arguments) for text in texts if text.strip())


def measure(instructions: Sequence[Instruction], text: str) -> dict[str, float]:
    """Share of instructions followed and whether all were, strict and loose."""
    scores = {}
    for name, texts in (("strict", [text]), ("loose", variants(text))):
        followed = [follows(instruction, texts) for instruction in instructions]
        scores[f"prompt_{name}"] = float(all(followed))
        scores[f"instruction_{name}"] = sum(followed) / len(followed)
    return scores


def score(example: Example, text: str) -> dict[str, float]:
    """The metrics of one reply.

    `prompt_strict`, `prompt_loose`, `instruction_strict`, `instruction_loose` without thoughts, the
    same with `_unstripped` for the whole text, and `instructions`, how many there are.
    """
    instructions = instructions_of(example)
    stripped = strip_thinking(text)
    scores = measure(instructions, stripped)
    whole = scores if stripped == text else measure(instructions, text)
    unstripped = {f"{name}_unstripped": value for name, value in whole.items()}
    return scores | unstripped | {"instructions": float(len(instructions))}


def extract(example: Example, text: str) -> str | None:
    """What is checked: the reply without its thoughts; None when nothing is left."""
    return strip_thinking(text).strip() or None


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Prompt level: the mean over replies. Instruction level: the share of all instructions."""
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
