"""The short answer at the top of the report: two or three sentences and a small table of gains and losses."""

from typing import Any

from jaxreason.report.group_drift import HEADLINE_KL, rows_of
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, find
from jaxreason.report.score_tables import STAR, change_cell, survives
from jaxreason.report.transfer_tables import one_mode, pooled_rows, variant_note
from jaxreason.report.wording import (
    PAPER,
    WAYS,
    all_of_the,
    arm_labels,
    arm_name,
    arms_on,
    count_word,
    crowded,
    decoding_label,
    group_label,
    join_words,
    none_of_the,
    plain_number,
    signed,
    significant,
)
from jaxreason.results.groups import MATH, REST

NAMED = 3  # Arms; if there are more, they are counted.
NOTHING = "Nothing can be said yet: no arm has been evaluated together with its base."


def answer_sentences(summary: dict[str, Any]) -> list[str]:
    """Returns the answer, up to three sentences. A gain or a loss is only called one if its interval says so."""
    decoding = main_decoding(summary)
    rows = _group_rows(summary, decoding)
    if not rows:
        return [NOTHING]
    math = [row for row in rows if row["group"] == MATH]
    rest = [row for row in rows if row["group"] != MATH]
    said = _math(summary, math) if math else []
    said += _elsewhere(summary, math, rest) if rest else []
    return [*said, _how_sure(summary, rows)]


def answer_notes(summary: dict[str, Any]) -> list[str]:
    """Returns notes that a reader of the answer needs: other decodings, and arms that the answer leaves out."""
    if not summary["differences"]:
        return []
    return [*_otherwise(summary, main_decoding(summary)), *_absent(summary)]


def main_decoding(summary: dict[str, Any]) -> str:
    """Returns the decoding with which most tasks were compared; the first one of equal ones."""
    compared = {
        name: {r["benchmark"] for r in summary["differences"] if r["decoding"] == name}
        for name in summary["decodings"]
    }
    return max(compared, key=lambda name: len(compared[name]), default="")


def _group_rows(summary: dict, decoding: str) -> list[dict]:
    return [
        row
        for row in summary["differences"]
        if (row["decoding"], row["benchmark"]) == (decoding, None)
        and row["group"] != REST
        and row["mean"] is not None
    ]


def _by_verdict(rows: list[dict]) -> dict[str, list[dict]]:
    return {v: [r for r in rows if r["verdict"] == v] for v in ("up", "down", "unclear")}


def _math(summary: dict, rows: list[dict]) -> list[str]:
    """Says which arms gained math."""
    found = _by_verdict(rows)
    if len(rows) == len(found["unclear"]):
        return [_sentence(_no_change(summary, rows))]
    if max(map(len, found.values())) > NAMED:
        return [_counted(summary, found, len(rows))]
    one = len(found["unclear"]) == 1
    words = {"up": "got better at math", "down": "got worse"}
    words["unclear"] = "shows no clear change" if one else "show no clear change"
    if not found["up"]:
        words["down"] = "got worse at math"
    parts = [f"{_who(summary, found[v], len(rows), v)} {words[v]}" for v in words if found[v]]
    return [_sentence("; ".join(parts))]


def _counted(summary: dict, found: dict[str, list[dict]], total: int) -> str:
    """Says how many arms gained math, for studies with many arms."""
    up, down, unclear = (len(found[v]) for v in ("up", "down", "unclear"))
    parts = []
    if up:
        best = max(found["up"], key=lambda row: row["mean"])
        said = f"{arm_name(summary, best['arm'])}, {signed(best['mean'])}"
        most = f"most of all {said}" if up > 1 else said
        of = "all" if up == total else f"{count_word(up)} of the"
        parts.append(f"{of} {count_word(total)} arms got better at math ({most})")
    if down:
        of = f" of the {count_word(total)} arms" if not up else ""
        parts.append(f"{count_word(down)}{of} got worse{'' if up else ' at math'}")
    if unclear:
        parts.append(f"{count_word(unclear)} show{'s' if unclear == 1 else ''} no clear change")
    return _sentence(join_words(parts))


def _no_change(summary: dict, rows: list[dict]) -> str:
    if len(rows) == 1:
        return f"{arm_name(summary, rows[0]['arm'])} shows no clear change on math"
    return f"{none_of_the(len(rows))} arms clearly changed on math"


def _who(summary: dict, rows: list[dict], total: int, verdict: str) -> str:
    """Returns the arms of some rows: by name if there are few, else their number."""
    if len(rows) > NAMED:
        every = f"all {count_word(total)}" if len(rows) == total else count_word(len(rows))
        return f"{every} arms"
    names = (
        arm_name(summary, r["arm"]) if verdict == "unclear" else _named(summary, r) for r in rows
    )
    return join_words(list(names))


def _named(summary: dict, row: dict) -> str:
    return f"{arm_name(summary, row['arm'])} ({signed(row['mean'])})"


def _elsewhere(summary: dict, math: list[dict], rest: list[dict]) -> list[str]:
    """Says what happened to the other groups: arm by arm if few gained math, else by numbers."""
    arms = list(dict.fromkeys(row["arm"] for row in rest))
    gained = [row["arm"] for row in math if row["verdict"] == "up" and row["arm"] in arms]
    if len(arms) <= NAMED:
        return [_sentence("; ".join(_of_arm(summary, arm, rest) for arm in arms))]
    groups = dict.fromkeys(row["group"] for row in rest)
    counts = [
        _of_group(summary, group, [r for r in rest if r["group"] == group]) for group in groups
    ]
    kept = [a for a in gained if all(r["verdict"] != "down" for r in rest if r["arm"] == a)]
    if gained:
        counts.append(_without_loss(summary, gained, kept))
    return [_sentence("; ".join(counts))]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _of_arm(summary: dict, arm: str, rest: list[dict]) -> str:
    found = _by_verdict([row for row in rest if row["arm"] == arm])
    sizes = {
        v: join_words([f"{group_label(r['group']).lower()} ({signed(r['mean'])})" for r in rows])
        for v, rows in found.items()
        if rows
    }
    label = arm_name(summary, arm)
    if "up" in sizes and "down" in sizes:
        return f"{label} gained on {sizes['up']} but lost on {sizes['down']}"
    if "up" in sizes:
        return f"{label} gained on {sizes['up']}"
    if "down" in sizes:
        return f"{label} lost on {sizes['down']}"
    groups = join_words([group_label(r["group"]).lower() for r in found["unclear"]])
    return f"{label} shows no clear change on {groups}"


def _of_group(summary: dict, group: str, rows: list[dict]) -> str:
    found, name = _by_verdict(rows), group_label(group).lower()
    how = {"up": "better", "down": "worse"}
    parts = [
        f"{how[v]} for {_who(summary, found[v], len(rows), 'unclear')}" for v in how if found[v]
    ]
    return f"{name} got {' and '.join(parts)}" if parts else f"{name} changed clearly for no arm"


def _without_loss(summary: dict, gained: list[str], kept: list[str]) -> str:
    """Says whether arms gained math without a clear loss elsewhere."""
    total = count_word(len(gained))
    if len(gained) == 1:
        with_loss = "shows no clear loss" if kept else "clearly lost"
        return f"the arm that gained math {with_loss} elsewhere"
    if len(kept) in (0, len(gained)):
        who = all_of_the(len(gained)) if kept else none_of_the(len(gained))
        return f"{who} that gained math did so without a clear loss elsewhere"
    few = join_words([arm_name(summary, arm) for arm in kept])
    who = few if len(kept) <= NAMED else count_word(len(kept))
    show = "shows" if len(kept) == 1 else "show"
    return f"of the {total} that gained math, {who} {show} no clear loss elsewhere"


def _how_sure(summary: dict, rows: list[dict]) -> str:
    clear = [row for row in rows if row["verdict"] != "unclear"]
    text = f"{_share(len(clear), len(rows))} clear ({_intervals(summary)})"
    if clear:
        lasting = sum(map(survives, clear))
        every = "both are still" if len(clear) == 2 else "all are still"
        those = "it is still" if len(clear) == 1 else every if lasting == len(clear) else None
        if not those:
            those = f"{count_word(lasting) if lasting else 'none'} {'is' if lasting == 1 else 'are'} still"
        those = those if lasting or len(clear) > 1 else "it is no longer"
        text += f", and {those} clear when corrected for their number"
    unseen = [r["detectable"] for r in rows if r["verdict"] == "unclear" and r.get("detectable")]
    if unseen:
        most = plain_number(max(unseen), 0)
        text += (
            f"; where none is clear, a true one of up to about {most} points may have been missed"
        )
    return _sentence(text)


def _share(number: int, total: int) -> str:
    if total == 1:
        return "this change is" if number else "this change is not"
    if number in (0, total):
        who = all_of_the(total, "these") if number else none_of_the(total, "these")
        return f"{who} changes {'are' if number else 'is'}"
    return f"{count_word(number)} of these {count_word(total)} changes {'is' if number == 1 else 'are'}"


def _intervals(summary: dict) -> str:
    percent = f"{100 * summary['confidence']:g}\u2009%"
    seeds = max((len(arm["seeds_evaluated"]) for arm in summary["arms"]), default=0)
    over = "questions; one run an arm" if seeds == 1 else "questions and seeds"
    return f"{percent} intervals over {over}"


def _otherwise(summary: dict, decoding: str) -> list[str]:
    """Says whether the other decodings have the same verdicts."""
    verdicts = {(r["arm"], r["group"]): r["verdict"] for r in _group_rows(summary, decoding)}
    said = []
    for other in summary["decodings"]:
        rows = [r for r in _group_rows(summary, other) if (r["arm"], r["group"]) in verdicts]
        if other != decoding and rows:
            differ = sum(verdicts[r["arm"], r["group"]] != r["verdict"] for r in rows)
            how = f"{count_word(differ)} of {count_word(len(rows))} verdicts {'is' if differ == 1 else 'are'} different"
            how = how if differ else "the verdicts are the same"
            said.append(f"{decoding_label(other)}: {how}")
    return [f"This is {decoding_label(decoding).lower()}. {'; '.join(said)}."] if said else []


def _absent(summary: dict) -> list[str]:
    """Names the arms that cannot be compared yet, and says so if all is measured in the paper's way."""
    compared = {row["arm"] for row in summary["differences"]}
    arms = [arm for arm in summary["arms"] if arm["name"] not in compared]
    said = []
    if arms:
        few = len(arms) <= NAMED
        who = join_words([a["label"] for a in arms]) if few else f"{count_word(len(arms))} arms"
        said.append(_sentence(f"{who} cannot be compared yet"))
    if summary["variant"] == PAPER:
        said.append(f"All of this is measured {WAYS[PAPER]}.")
    return said


def answer_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns one small table: the change of each group, index and KL from the base on math, one line per arm."""
    decoding, labels = main_decoding(summary), arm_labels(summary)
    rows = _group_rows(summary, decoding)
    groups = [g["name"] for g in summary["groups"] if any(r["group"] == g["name"] for r in rows)]
    arms = [
        (base, arm["name"])
        for base in summary["bases"]
        for arm in arms_on(summary, base["name"])
        if any(row["arm"] == arm["name"] for row in rows)
    ]
    if not arms:
        return []
    columns = {group_label(g): [_change(summary, rows, a, g) for _, a in arms] for g in groups}
    columns |= _index(summary, decoding, [a for _, a in arms])
    columns |= _divergence(summary, [a for _, a in arms])
    several = len(summary["bases"]) > 1
    lines = [
        TableRow(labels[arm], tuple(cells), base["label"] if several else "")
        for (base, arm), *cells in zip(arms, *columns.values(), strict=True)
    ]
    said = f"{decoding_label(decoding)}. Change from the base, in points."
    other_way = summary["transfer_variant"] not in (None, summary["variant"])
    return [Table(said, tuple(columns), tuple(lines), notes=variant_note(summary) * other_way)]


def _change(summary: dict, rows: list[dict], arm: str, group: str) -> Cell:
    cell = change_cell(find(rows, arm=arm, group=group))
    return Cell(cell.text.rstrip(STAR), "" if crowded(summary) else cell.interval, cell.tone)


def _index(summary: dict, decoding: str, arms: list[str]) -> dict[str, list[Cell]]:
    rows = [r for r in pooled_rows(summary["transfer"]) if r["decoding"] == decoding]
    rows = [r for r in rows if r["mode"] == one_mode(summary["transfer"])]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    if not groups:
        return {}
    names = "; ".join(group_label(g).lower() for g in groups)
    return {f"index ({names})": [_index_cell(rows, arm, groups) for arm in arms]}


def _index_cell(rows: list[dict], arm: str, groups: list[str]) -> Cell:
    found = [find(rows, arm=arm, group=group) for group in groups]
    known = [row is not None and row["ti"] is not None for row in found]
    if not any(known):
        return NONE
    texts = (
        plain_number(r["ti"], 0) if k else NONE.text for r, k in zip(found, known, strict=True)
    )
    return Cell("; ".join(texts))


def _divergence(summary: dict, arms: list[str]) -> dict[str, list[Cell]]:
    rows = [r for r in rows_of(summary["drift"], HEADLINE_KL) if r["group"] == MATH]
    if not rows:
        return {}
    found = [find(rows, arm=arm) for arm in arms]
    return {"KL on math (nats)": [Cell(significant(r["mean"])) if r else NONE for r in found]}
