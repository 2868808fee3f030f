"""Replies that end in `#answer`: the tiny study's procedural questions."""

from jaxreason.data.examples import Example


def extract(example: Example, text: str) -> str | None:
    """The text after the last `#`; None without one, or if nothing follows it."""
    _, mark, answer = text.rpartition("#")
    return (answer.strip() or None) if mark else None


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `answered` and `direct` (1 when the reply begins with `#`: no trace)."""
    answer = extract(example, text)
    return {
        "accuracy": float(answer == example.answer),
        "answered": float(answer is not None),
        "direct": float(text.lstrip().startswith("#")),
    }
