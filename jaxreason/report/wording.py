"""Numbers and names as the report writes them."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

from jaxreason.results.groups import MATH, NON_REASONING, OTHER, REST, TRAINING

MINUS = "−"
GROUP_LABELS = {
    MATH: "Math",
    OTHER: "Other reasoning",
    NON_REASONING: "Non-reasoning",
    TRAINING: "Training prompts",
}
ROBUST, PAPER = "robust", "paper"  # the variants, and the ways in which a benchmark is measured
VARIANT_LABELS = {ROBUST: "robust", PAPER: "paper's way"}  # in a column's head
WAYS = {ROBUST: "in the robust way", PAPER: "in the paper's way"}  # in a sentence
THINKING = {None: "as the template has it", True: "on", False: "off"}  # the template's switch
COUNTS = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
MANY = 8  # arms; more are numbered, and counted instead of named in sentences


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign; what rounds to zero has none."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plain_number(value: float, digits: int = 1) -> str:
    """A number with a true minus sign; what rounds to zero has none."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def significant(value: float) -> str:
    """Two or three significant digits, never in exponents."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    if 0 < size < 0.01:
        digits = 5 if size < 0.001 else 4
    return plain_number(value, digits)


def count_word(number: int) -> str:
    """A count as it stands in a sentence: up to twelve in letters."""
    return COUNTS[number] if number < len(COUNTS) else f"{number:,}"


def none_of_the(number: int, the: str = "the") -> str:
    """`none of the three`, and `neither of the two`."""
    return f"{'neither' if number == 2 else 'none'} of {the} {count_word(number)}"


def all_of_the(number: int, the: str = "the") -> str:
    """`all of the three`, and `both of the two`."""
    return f"{'both' if number == 2 else 'all'} of {the} {count_word(number)}"


def group_label(name: str) -> str:
    """The name of a group for readers."""
    return "The rest" if name == REST else GROUP_LABELS.get(name, name)


def crowded(summary: dict[str, Any]) -> bool:
    """Whether there are too many arms to name each one in a sentence or beside a point."""
    return len(summary["arms"]) > MANY


def arm_labels(summary: dict[str, Any]) -> dict[str, str]:
    """Label of every base and, after it, of its arms; arms are numbered when there are many."""
    labels, numbers = {}, itertools.count(1)
    for base in summary["bases"]:
        labels[base["name"]] = base["label"]
        for arm in arms_on(summary, base["name"]):
            number = f"{next(numbers)}. " if crowded(summary) else ""
            labels[arm["name"]] = number + arm["label"]
    return labels


def arm_name(summary: dict[str, Any], arm: str) -> str:
    """An arm as sentences name it: without its number, in quotes if a comma would seem to end it."""
    label = next(one["label"] for one in summary["arms"] if one["name"] == arm)
    return f"“{label}”" if "," in label else label


def base_names(summary: dict[str, Any]) -> list[str]:
    """The bases, as models are named."""
    return [base["name"] for base in summary["bases"]]


def arms_on(summary: dict[str, Any], base: str) -> list[dict[str, Any]]:
    """The arms that are compared with a base."""
    return [arm for arm in summary["arms"] if arm["base"] == base]


def join_words(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def decoding_label(name: str) -> str:
    """The name of a decoding at the start of a sentence."""
    known = {
        "greedy": "Greedy decoding",
        "t1": "Temperature 1",
        "sample": "Sampling",
        "sampled": "Sampling",
    }
    return known.get(name, f"Decoding “{name}”")


def decimals(values: Iterable[float]) -> int:
    """How many decimals give the smallest of some distances two digits, and none more than four."""
    sizes = [abs(value) for value in values if value]
    return min(4, max(0, 1 - math.floor(math.log10(min(sizes))))) if sizes else 0
