"""The scores in an exported folder's README.md: rewritten when the run's evaluation is complete.

They are between two marks. A card without the marks, which somebody has rewritten, is left unchanged.
"""

import re

from etils import epath

from jaxreason.results.atomic_files import atomic_write_text
from jaxreason.results.score_files import is_finished, read_scores

CARD_FILE = "README.md"
MODEL = "model"  # An exported folder inside that of its run.
_BEGIN, _END = "<!-- scores -->", "<!-- end of scores -->"
NO_SCORES = f"{_BEGIN}\n{_END}\n"
_NOTE = (
    "From `scores.json` of the evaluation beside this folder. Scores are in percent, with their {:.0%} intervals; n is "
    "the number of questions that an interval counts."
)
_HEAD = (
    "| benchmark | variant | decoding | metric | score | interval | n | replies not graded |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def update_scores(evaluation: epath.Path, known: bool = False) -> None:
    """Writes the scores of a finished evaluation into the card of `model/` beside it, if both exist.

    Args:
      evaluation: folder of an evaluation of that model.
      known: only write if the card has scores already, which shows that the evaluation is that model's.

    Raises:
      UserError: scores.json is broken.
    """
    path = evaluation.parent / MODEL / CARD_FILE
    if not path.exists() or not is_finished(evaluation):
        return
    text = path.read_text()
    before, begin, old, end, after = _parts(text)
    if not end or (known and not old.strip()):
        return
    new = f"{before}{begin}\n{scores_section(evaluation)}{end}{after}"
    if new != text:
        atomic_write_text(path, new)


def without_scores(text: str) -> str:
    """Returns a card without its scores, if it has any."""
    before, begin, _, end, after = _parts(text)
    return f"{before}{begin}\n{end}{after}" if end else text


def has_marks(text: str) -> bool:
    """Returns whether a card has the marks between which scores are written."""
    return bool(_parts(text)[3])


def _parts(text: str) -> tuple[str, str, str, str, str]:
    """Returns a card before, at, between, at and after its last marks (a quotation above may contain marks too)."""
    before, begin, rest = text.rpartition(_BEGIN)
    return (before, begin, *rest.partition(_END)) if begin else (text, "", "", "", "")


def as_words(text: str) -> str:
    """Returns a name as Markdown that shows it on one line, without any special meaning."""
    return re.sub(r"[\\`*\[|]", r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")


def as_code(text: str) -> str:
    """Returns the same as code, in as many backticks as needed."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if "`" in line else ""
    return f"{fence}{room}{line}{room}{fence}"


def scores_section(evaluation: epath.Path) -> str:
    """Returns the primary score of each benchmark, as Markdown."""
    rows, _, confidence = read_scores(evaluation)
    lines = [_line(row) for row in rows if row["primary"] and row["mean"] is not None]
    table = "\n".join([_HEAD, *lines])
    return f"## Scores\n\n{_NOTE.format(confidence)}\n\n{table}\n"


def _line(row: dict) -> str:
    what = (as_words(str(row[name])) for name in ("label", "variant", "decoding", "metric"))
    low, mean, high = map(_percent, (row["low"], row["mean"], row["high"]))
    counts = f"{row['n']} | {row['errors']}"
    return f"| {' | '.join(what)} | {mean} | {low} to {high} | {counts} |"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
