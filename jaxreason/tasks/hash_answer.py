"""Replies that end in `#answer`: the tiny study's procedural questions."""

from jaxreason.data.examples import Example


def extract(example: Example, text: str) -> str | None:
    """Returns the text after the last `#`; None without one, or if nothing follows it."""
    _, mark, answer = text.rpartition("#")
    return (answer.strip() or None) if mark else None


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `answered` and `direct` (1 if the reply begins with `#`, so without a trace)."""
    answer = extract(example, text)
    return {
        "accuracy": float(answer == example.answer),
        "answered": float(answer is not None),
        "direct": float(text.lstrip().startswith("#")),
    }
