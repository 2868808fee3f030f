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
ROBUST, PAPER = "robust", "paper"  # The variants, and the ways in which a benchmark is measured.
VARIANT_LABELS = {ROBUST: "robust", PAPER: "paper's way"}  # In a column's head.
WAYS = {ROBUST: "in the robust way", PAPER: "in the paper's way"}  # In a sentence.
THINKING = {None: "as the template has it", True: "on", False: "off"}  # The template's switch.
COUNTS = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
# Arms; if there are more, they are numbered, and sentences count them instead of naming them.
MANY = 8


def signed(value: float, digits: int = 1) -> str:
    """Returns a number with its sign; a number that rounds to zero has none."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plain_number(value: float, digits: int = 1) -> str:
    """Returns a number with a true minus sign; a number that rounds to zero has none."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def significant(value: float) -> str:
    """Returns a number with two or three significant digits, never with an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    if 0 < size < 0.01:
        digits = 5 if size < 0.001 else 4
    return plain_number(value, digits)


def count_word(number: int) -> str:
    """Returns a count as it is written in a sentence: in letters up to twelve."""
    return COUNTS[number] if number < len(COUNTS) else f"{number:,}"


def none_of_the(number: int, the: str = "the") -> str:
    """Returns `none of the three`, but `neither of the two`."""
    return f"{'neither' if number == 2 else 'none'} of {the} {count_word(number)}"


def all_of_the(number: int, the: str = "the") -> str:
    """Returns `all of the three`, but `both of the two`."""
    return f"{'both' if number == 2 else 'all'} of {the} {count_word(number)}"


def group_label(name: str) -> str:
    """Returns the name of a group for readers."""
    return "The rest" if name == REST else GROUP_LABELS.get(name, name)


def crowded(summary: dict[str, Any]) -> bool:
    """Returns whether there are too many arms to name each one in a sentence or beside a point."""
    return len(summary["arms"]) > MANY


def arm_labels(summary: dict[str, Any]) -> dict[str, str]:
    """Returns the label of every base and, after it, of its arms; arms are numbered if there are many."""
    labels, numbers = {}, itertools.count(1)
    for base in summary["bases"]:
        labels[base["name"]] = base["label"]
        for arm in arms_on(summary, base["name"]):
            number = f"{next(numbers)}. " if crowded(summary) else ""
            labels[arm["name"]] = number + arm["label"]
    return labels


def arm_name(summary: dict[str, Any], arm: str) -> str:
    """Returns an arm as sentences name it: without its number, and in quotes if its label contains a comma."""
    label = next(one["label"] for one in summary["arms"] if one["name"] == arm)
    return f"“{label}”" if "," in label else label


def base_names(summary: dict[str, Any]) -> list[str]:
    """Returns the names of the bases."""
    return [base["name"] for base in summary["bases"]]


def arms_on(summary: dict[str, Any], base: str) -> list[dict[str, Any]]:
    """Returns the arms that are compared with a base."""
    return [arm for arm in summary["arms"] if arm["base"] == base]


def join_words(parts: list[str]) -> str:
    """Returns `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def decoding_label(name: str) -> str:
    """Returns the name of a decoding at the start of a sentence."""
    known = {
        "greedy": "Greedy decoding",
        "t1": "Temperature 1",
        "sample": "Sampling",
        "sampled": "Sampling",
    }
    return known.get(name, f"Decoding “{name}”")


def decimals(values: Iterable[float]) -> int:
    """Returns how many decimals give the smallest of some distances two digits; at most four."""
    sizes = [abs(value) for value in values if value]
    return min(4, max(0, 1 - math.floor(math.log10(min(sizes))))) if sizes else 0
