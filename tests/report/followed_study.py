"""A made-up study whose runs were followed, with scores and drift that are set number by number."""

import json
import pathlib

import numpy as np
from sample_lines import SCORED, write_samples

GROUPS = {"sums": "math", "puzzles": "other", "stories": "non_reasoning"}
NUM_ITEMS = 20
BASE = (8, 16, 12)  # right answers in math, other and non_reasoning
STEPS = (10, 20, 30)
# Right answers of every run at each step.
RUNS = {
    ("rl", 0): ((10, 16, 12), (14, 16, 10), (16, 17, 9)),
    ("rl", 1): ((12, 16, 12), (16, 15, 11), (18, 16, 10)),
    ("sft", 0): ((12, 12, 8), (10, 12, 6), (14, 10, 4)),
    ("sft", 1): ((10, 14, 10), (12, 10, 6), (13, 8, 6)),
    ("flat", 0): ((6, 14, 12), (6, 14, 10), (8, 12, 10)),
}
DECODING = "t1"


def loss(right: tuple[int, int, int]) -> float:
    """Points lost outside math."""
    return 100 / NUM_ITEMS * (sum(BASE[1:]) - sum(right[1:])) / 2


def write_followed(folder: pathlib.Path) -> pathlib.Path:
    """The study; KL on training prompts is such that the points lost are 3 + 40 KL², exactly."""
    _evaluation(folder / "base", BASE)
    for (arm, seed), steps in RUNS.items():
        run = folder / arm / f"seed_{seed}"
        places = [run / "trajectory" / "steps" / str(step) for step in STEPS[:-1]] + [run]
        rows = [_row(0, BASE, [])]
        for place, step, right in zip(places, STEPS, steps, strict=True):
            _evaluation(place, right)
            rows.append(_row(step, right, _analysis(place / "analysis", right, step, arm)))
        value = {
            "run": str(run),
            "complete": True,
            "variant": "robust",
            "decoding": DECODING,
            "scales": {},
            "steps": rows,
            "missed": [],
            "best": {},
            "elsewhere": {"0": "base", str(STEPS[-1]): f"{arm}/seed_{seed}"},
        }
        _json(run / "trajectory" / "trajectory.json", value)
    seeds = {arm: [s for other, s in RUNS if other == arm] for arm, _ in RUNS}
    arms = [{"name": a, "method": "rl", "label": a.upper(), "seeds": s} for a, s in seeds.items()]
    study = {"name": "s", "base": "b", "shared_base": True, "groups": GROUPS, "arms": arms}
    _json(folder / "study.json", study | {"decodings": ["greedy", DECODING]})
    return folder


def training_kl(right: tuple[int, int, int]) -> float:
    """Solves loss = 3 + 40 KL² (the losses that are below 3 are moved there)."""
    return float(np.sqrt(max(loss(right) - 3, 0) / 40))


def _evaluation(place: pathlib.Path, right: tuple[int, int, int]) -> None:
    rows = []
    for (name, group), count in zip(GROUPS.items(), right, strict=True):
        lines = [
            {"id": f"{name}-{i}", "scores": {"correct": float(i < count)}} for i in range(NUM_ITEMS)
        ]
        write_samples(place / "evaluation", name, DECODING, lines)
        about = {"benchmark": name, "label": name, "group": group, "decoding": DECODING}
        about |= {"num_samples": 1, "weight": None, "metric": "correct", "primary": True}
        share = count / NUM_ITEMS
        rows.append(SCORED | about | {"mean": share, "low": share, "high": share, "n": NUM_ITEMS})
    _json(place / "evaluation" / "scores.json", {"model": "m", "asked": {}, "rows": rows})


def _analysis(folder: pathlib.Path, right: tuple[int, int, int], step: int, arm: str) -> list[dict]:
    """token_kl.json of a step; gives its rows as a trajectory keeps them."""
    size = step / 10 * {"rl": 0.1, "sft": 0.3, "flat": 0.05}[arm]
    values = {("training", "base", "kl_forward"): training_kl(right)}
    for number, group in enumerate(("math", "other", "non_reasoning"), start=1):
        values[group, "base", "kl_forward"] = size * number
        values[group, "tuned", "kl_reverse"] = size * number / 2
    rows = [
        {
            "group": g,
            "source": s,
            "name": n,
            "value": v,
            "low": v,
            "high": v,
            "draws": [0.9 * v, 1.1 * v],
        }
        for (g, s, n), v in values.items()
    ]
    about = {"metric": "token_kl", "decoding": DECODING, "rows": [], "groups": rows}
    unit = {"num_texts": 4, "num_cut": 0, "num_dropped": 0, "benchmark": "sums", "source": "base"}
    _json(folder / "token_kl.json", about | {"details": {"units": [unit]}})
    kept = [{k: v for k, v in row.items() if k != "draws"} for row in rows]
    return [{"metric": "token_kl", "benchmark": None} | row for row in kept]


def _row(step: int, right: tuple[int, int, int], drift: list[dict]) -> dict:
    index = [
        {"decoding": DECODING, "mode": "v2_pooled", "group": group, "undefined": None}
        | {"ti": float(step), "low": step - 5.0, "high": step + 5.0}
        for group in ("other", "non_reasoning")
        if step
    ]
    scores = [
        {"benchmark": name, "label": name, "group": group, "decoding": DECODING}
        | {"variant": "robust", "metric": "correct", "mean": count / NUM_ITEMS}
        for (name, group), count in zip(GROUPS.items(), right, strict=True)
    ]
    return {"step": step, "scores": scores, "groups": [], "index": index, "drift": drift}


def _json(path: pathlib.Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
