r"""Answers that are one number: GSM8K (after `####`, in \boxed{}, or last), sums (the last one)."""

import re
from decimal import Decimal

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.replies import last_boxed, score_both_ways, strip_thinking

# A minus belongs to the number unless something stands before it that it could subtract from.
# Exponents (m^2) and the digits of a longer number are no numbers of their own.
MINUS = r"(?:(?<![\w)\]}$])[-\u2212])?"
NUMBER = re.compile(
    MINUS + r"\$?(?<![\d^])(?<!\d\.)(?<!\^\{)(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    rf"|{MINUS}(?<![\d.^])\.\d+"
)


def numbers(text: str) -> list[str]:
    """All numbers of a text, in plain notation: `-$1,234.50` is "-1234.50"."""
    text = text.replace("{,}", ",").replace(r"\!", "").replace(r"\$", "$").replace(r"\,", "")
    return [re.sub(r"[$,]", "", match[0]).replace("\u2212", "-") for match in NUMBER.finditer(text)]


def last_number(text: str) -> str | None:
    """The last number of a text, or None."""
    found = numbers(text)
    return found[-1] if found else None


def gsm8k_number(text: str) -> str | None:
    """The number after the last `####`, else in the last box (after its `=`), else the last one."""
    _, marked, tail = text.rpartition("####")
    for part in (tail if marked else "", (last_boxed(text) or "").rpartition("=")[2]):
        if found := numbers(part):
            return found[0]
    return last_number(text)


def grade(example: Example, answer: str) -> float:
    """1.0 for the value of the gold answer (of a worked solution: what follows `####`).

    Raises:
      ValueError: for a gold answer without a number.
    """
    gold = last_number(example.answer.rpartition("####")[2])
    if gold is None:
        raise UserError(
            f"example {example.id!r}: the gold answer {example.answer!r} has no number."
        )
    return float(Decimal(gold) == Decimal(answer))


def extract(example: Example, text: str) -> str | None:
    """The last number of the reply without its thoughts."""
    return last_number(strip_thinking(text))


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, last_number, grade)


def extract_gsm8k(example: Example, text: str) -> str | None:
    """GSM8K's answer in the reply without its thoughts."""
    return gsm8k_number(strip_thinking(text))


def score_gsm8k(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, gsm8k_number, grade)
