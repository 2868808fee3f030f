"""Tables of shifted tokens: how many and what is special about them, which tokens, one example of every arm."""

from typing import Any

from jaxreason.report.shifted_rows import ENTROPIES, SHARES
from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label, find
from jaxreason.report.wording import arm_labels, decimals, group_label, plain

CLASS_LABELS = {"logical": "logical", "content": "content", "symbol": "symbol", None: "–"}
EXAMPLES = 8  # tokens of an example that are written out
SHOWN = ("shifted", "promoted_in_top5", *ENTROPIES, "logical.shifted", "logical.elsewhere")


def token_label(token: dict[str, Any]) -> str:
    """A token between marks that show where it begins and ends; its id where it has no text."""
    if not token["text"]:
        return f"#{token['token']}"
    text = token["text"].replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")
    return f"“{text.replace(' ', '␣') if not text.strip() else text}”"


def shifted_tables(summary: dict[str, Any]) -> list[Table]:
    """Shares and entropies by group and arm."""
    shifted = summary["shifted"]
    if shifted is None:
        return []
    arms = [row["arm"] for row in shifted["arms"]]
    rows = [row for name in SHOWN for row in _quantity(summary, name, arms)]
    caption = (
        "Shifted tokens in the tuned models' replies: another first choice than the base's, and a Jensen–Shannon "
        f"divergence of at least {shifted['threshold']:g} nats. Shares in percent."
    )
    labels = arm_labels(summary)
    return [Table(caption, tuple(labels[arm] for arm in arms), tuple(rows))] if rows else []


def _quantity(summary: dict, name: str, arms: list[str]) -> list[Row]:
    members = [row for row in summary["shifted"]["rows"] if row["name"] == name]
    if name != "shifted" and not any(row["high"] for row in members):
        return []  # as of words, where a token is a single character
    scale, unit = (100, "% of tokens") if name in SHARES else (1, "nats")
    if name not in ("shifted", *ENTROPIES):
        unit = "% of shifted" if not name.endswith("elsewhere") else "% of the others"
    digits = min(2, decimals([scale * row["mean"] for row in members]))
    rows = []
    for group in (group["name"] for group in summary["groups"]):
        found = [find(members, arm=arm, group=group) for arm in arms]
        if any(found):
            cells = tuple(_cell(row, scale, digits) for row in found)
            rows.append(Row(group_label(group), cells, f"{(SHARES | ENTROPIES)[name]} ({unit})"))
    return rows


def _cell(row: dict | None, scale: float, digits: int) -> Cell:
    """A mean with its interval, in so many of the unit."""
    if row is None:
        return NONE
    ends = [row["low"], row["high"]]
    inside = "" if None in ends else " to ".join(plain(scale * end, digits) for end in ends)
    return Cell(plain(scale * row["mean"], digits), inside)


def token_tables(summary: dict[str, Any]) -> list[Table]:
    """Of every arm the tokens that were promoted most often."""
    labels = arm_labels(summary)
    found = summary["shifted"]["arms"] if summary["shifted"] else []
    columns = (
        *("Class", "Times", "% of its positions", "Base's probability (%)", "Tuned (%)"),
        *("Base's rank", "Replaces", "Its tuned rank"),
    )
    return [
        Table(
            f"{labels[arm['arm']]}: the tokens promoted most often.",
            columns,
            tuple(_token_row(token) for token in arm["tokens"]),
            notes=(_note(arm),),
        )
        for arm in found
        if arm["tokens"]
    ]


def _token_row(token: dict) -> Row:
    each = [_cell(token[name], 100, 1) for name in ("base_probability", "tuned_probability")]
    return Row(
        token_label(token),
        (
            Cell(CLASS_LABELS[token["class"]]),
            Cell(str(token["shifted"])),
            Cell(plain(100 * token["share"], 0)),
            *each,
            _cell(token["base_rank"], 1, 1),
            Cell(token_label(token["replaces"])),
            _cell(token["replaced_tuned_rank"], 1, 1),
        ),
    )


def _note(arm: dict) -> str:
    return (
        f"{arm['num_shifted']:,} of {arm['num_tokens']:,} reply tokens are shifted. Means over the positions at which "
        "a token was promoted, all tasks and seeds together; no interval where a single reply has it or all are "
        f"alike. {arm['num_other_shifted']:,} positions are of rarer tokens that the files do not list."
    )


def example_tables(summary: dict[str, Any]) -> list[Table]:
    """Of every arm one reply to the same question: its length, its shifted tokens."""
    found = summary["shifted"]["examples"] if summary["shifted"] else []
    if not found:
        return []
    labels, first = arm_labels(summary), found[0]
    caption = (
        "One question, every arm's own reply to it: how many tokens are shifted, and those promoted most often. "
        f"{benchmark_label(summary, first['benchmark'])}, question {first['id']}."
    )
    columns = "Tokens", "Shifted", "Promoted, most often first"
    return [Table(caption, columns, tuple(_example(row, labels) for row in found))]


def _example(row: dict, labels: dict[str, str]) -> Row:
    shown = [
        token_label(token) + (f" ×{token['times']}" if token["times"] > 1 else "")
        for token in row["tokens"][:EXAMPLES]
    ]
    numbers = Cell(str(row["num_tokens"])), Cell(str(row["num_shifted"]))
    return Row(labels[row["arm"]], (*numbers, Cell(", ".join(shown) or "–")))
