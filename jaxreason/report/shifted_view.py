"""One reply of every arm with its shifted tokens marked, as plain records for the partial templates `shifted_view`."""

from typing import Any

from jaxreason.report.tables import benchmark_label
from jaxreason.report.wording import arm_labels, plain

STRONG = (0.3, 0.5)  # nats from which a shift is drawn stronger, and strongest; at most ln 2 = 0.69


def shifted_view(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each view its title, the parts of its text, and all of it as markdown.

    A part is plain text, or a token with a `level`: 0 another first choice that is a near tie, 1 to 3 shifted, or the
    divergence alone is large.
    """
    labels, found = arm_labels(summary), summary["shifted"]
    return [_view(summary, labels, view) for view in (found["views"] if found else ())]


def _view(summary: dict, labels: dict[str, str], view: dict) -> dict[str, Any]:
    marks = {mark["at"]: mark for mark in view["marks"]}
    parts: list[dict[str, Any]] = []
    for at, text in enumerate(view["texts"]):
        if at in marks:
            parts.append(_mark(text, view["js"][at], marks[at], summary["shifted"]["threshold"]))
        elif parts and "level" not in parts[-1]:
            parts[-1]["text"] += text
        else:
            parts.append({"text": text})
    shown = len(view["texts"])
    cut = f"; the first {shown} are shown" if shown < view["num_tokens"] else ""
    return {
        "title": f"{labels[view['arm']]}, {benchmark_label(summary, view['benchmark'])}",
        "about": f"seed {view['seed']}, question {view['id']}: {view['num_shifted']} of {view['num_tokens']} tokens "
        f"shifted{cut}",
        "parts": parts,
        "plain": _plain(parts),
    }


def _plain(parts: list[dict]) -> str:
    """The text with its shifts in brackets and a line for each, as an indented block of markdown."""
    text = "".join(f"⟦{p['text']}⟧" if p.get("shifted") else p["text"] for p in parts)
    said = [
        f"“{one_line(base['text'])}” ({base['base']} → {base['tuned']}) to "
        f"“{one_line(tuned['text'])}” ({tuned['base']} → {tuned['tuned']})"
        for base, tuned in ((p["base"], p["tuned"]) for p in parts if p.get("shifted"))
    ]
    return "\n".join(f"    {line}" for line in [*text.splitlines(), "", *said])


def one_line(text: str) -> str:
    """Without the line end after its sign."""
    return text.replace("\n", "")


def _mark(text: str, js: float, mark: dict, threshold: float) -> dict[str, Any]:
    level = 0 if js < threshold else 1 + sum(js >= edge for edge in STRONG)
    return {
        "text": visible(text),
        "level": level,
        "shifted": mark["shifted"],
        "js": plain(js, 3),
        "base": _choice(mark["base"]),
        "tuned": _choice(mark["tuned"]),
        "ranks": mark["ranks"],
    }


def _choice(choice: dict) -> dict[str, str]:
    base, tuned = (f"{100 * p:.3g}" for p in choice["probabilities"])
    return {"text": visible(choice["text"]) or "∅", "base": base, "tuned": tuned}


def visible(text: str) -> str:
    """Line ends with a sign before them, since nothing else shows where one is marked."""
    return text.replace("\n", "↵\n")
