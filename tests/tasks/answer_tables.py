r"""Grades a table of gold answers and boxed ones: `==` right, `=.` right but not for a reward, `!=` wrong."""

from jaxreason.data.examples import Example
from jaxreason.tasks.verify import VerifierPool

MARKS = {" == ": [1.0, 1.0], " =. ": [1.0, 0.0], " != ": [0.0, 0.0]}


def example(gold: str, asked: str = "") -> Example:
    return Example(gold, "math", (), gold, "", {"question": asked})


def wrong_rows(pool: VerifierPool, table: str) -> list[tuple]:
    """Returns the rows that `math` and `math_strict` grade in another way, with both scores."""
    rows, items = table.strip().split("\n"), []
    for row in rows:
        gold, _, answer = row.partition(next(mark for mark in MARKS if mark in row))
        items.append((example(gold), rf"\boxed{{{answer}}}"))
    verdicts = [pool.score(task, items) for task in ("math", "math_strict")]
    found = [[v.scores.get("accuracy", v.error) for v in pair] for pair in zip(*verdicts)]
    wanted = [MARKS[next(mark for mark in MARKS if mark in row)] for row in rows]
    return [(row, scores) for row, scores, right in zip(rows, found, wanted) if scores != right]
