"""A made-up study folder: numbers drawn from a seeded generator, no model behind any of them."""

import json
import pathlib

import numpy as np
from sample_lines import GRADER, PROMPT, SCORED, write_samples
from synthetic_shifts import shifted_tokens_file
from synthetic_weights import overlap_file, weights_file

from jaxreason.report.build import ReportConfig
from jaxreason.results.statistics import wilson

CONFIG = ReportConfig(
    title="What happens to everything else?",
    question="Synthetic <numbers> & nothing else.",
    limits=("The numbers are made up.",),
    confidence=0.95,
    resamples=200,
    seed=0,
)
GROUPS = {
    **dict.fromkeys(("synthetic_add", "synthetic_chain"), "math"),
    **dict.fromkeys(("synthetic_order", "synthetic_count"), "other"),
    **dict.fromkeys(("synthetic_copy", "synthetic_get"), "non_reasoning"),
}
# Chance of a right answer: the base's by benchmark, and what an arm adds to it by group.
BASE = dict(zip(GROUPS, (0.55, 0.4, 0.5, 0.62, 0.85, 0.7), strict=True))
ARMS = {
    "rl": ("rl", "RL (GRPO)", (0.14, 0.0, -0.01), 0.4),
    "sft_lo": ("sft", "SFT 2e-4", (-0.05, -0.1, -0.12), 0.8),
    "sft_mid": ("sft", "SFT 5e-4", (0.06, -0.22, -0.3), 1.1),
    "sft_hi": ("sft", "SFT 1e-3", (0.18, -0.35, -0.55), 1.5),
}
# Benchmarks that were measured in the paper's way too: its prompt, its grader, the share of right replies that it
# calls wrong. Where the prompt is another one the replies are too.
PAPER = {
    "synthetic_add": (PROMPT, "string_answer", 0.5),
    "synthetic_order": (PROMPT, "string_answer", 0.0),
    "synthetic_get": ("first_line", GRADER, 0.7),
}
ASKED = {
    "base": {"prompt_format": "plain", "thinking": None},
    "rl": {"prompt_format": "chat", "thinking": True},
}
DECODINGS = ("greedy", "t1")
GROUP_NAMES = ("math", "other", "non_reasoning")
NAMES = {
    "token_kl": {
        "kl_forward": 1.0,
        "kl_reverse": 1.3,
        "js": 0.2,
        "paper_kl": 0.8,
        "rank_shift": 4.0,
        "shifted_share": 0.2,
    },
    "pca_shift": {"layer_shift.reply": 3.0, "shift.reply": 1.7, "scaled_shift.reply": 0.4},
    "cosine": {"final_distance": 0.1, "layer_distance": 0.05},
    "cka": {"distance.reply": 0.15},
}


def write_study(
    folder: pathlib.Path, num_items: int = 60, seeds=(0, 1), arms=ARMS, trained: bool = True
) -> pathlib.Path:
    """A study of `num_items` questions a benchmark; its arms have no logs if not `trained`."""
    rng = np.random.default_rng(0)
    hardness = {name: rng.uniform(size=num_items) for name in GROUPS}
    _evaluation(folder / "base", hardness, BASE, rng)
    for arm, (_, _, gains, drift) in arms.items():
        for seed in seeds:
            run = folder / arm / f"seed_{seed}"
            wobble = rng.normal(0, 0.04, size=3)
            added = dict(zip(GROUP_NAMES, gains + wobble, strict=True))
            chances = {name: BASE[name] + added[group] for name, group in GROUPS.items()}
            _evaluation(run, hardness, chances, rng)
            _analysis(run / "analysis", drift * (1 + rng.normal(0, 0.1)), rng)
            if arm == "rl":
                _cross_sampling(run / "cross_sampling", seed)
            if trained:
                _metrics(run, arms[arm][0], rng)
    rows = list(_transfer(arms, seeds, rng))
    value = {
        "config": {"variant": "robust"},
        "scales": {},
        "rows": rows,
        "sensitivity": _sensitivity(rows, rng),
    }
    _json(folder / "transfer.json", value)
    _json(folder / "study.json", _manifest(arms, seeds))
    _json(folder / "weights_overlap.json", overlap_file(arms, seeds))
    return folder


def _manifest(arms, seeds) -> dict:
    return {
        "name": "synthetic study",
        "base": "synthetic/base",
        "shared_base": True,
        "groups": GROUPS,
        "arms": [
            {"name": name, "method": method, "label": label, "seeds": list(seeds), "config": {}}
            for name, (method, label, _, _) in arms.items()
        ],
        "decodings": list(DECODINGS),
    }


def _evaluation(run: pathlib.Path, hardness: dict, chances: dict, rng) -> None:
    folder, rows = run / "evaluation", []
    for decoding in DECODINGS:
        for name, group in GROUPS.items():
            noise = rng.normal(0, 0.25, size=len(hardness[name]))
            right = hardness[name] + noise < chances[name] - 0.05 * (decoding == "t1")
            lines = [_sample(name, number, bool(hit), rng) for number, hit in enumerate(right)]
            write_samples(folder, name, decoding, lines)
            label = name.replace("synthetic_", "").capitalize()
            common = SCORED | {
                "benchmark": name,
                "label": label,
                "group": group,
                "decoding": decoding,
                "num_samples": 1,
                "weight": None,
            }
            mean = float(right.mean())
            rows.append(common | _score(right))
            if name in PAPER:
                rows.append(common | _paper_way(folder, name, decoding, lines))
            loose = {"metric": "correct_loose", "primary": False, "mean": min(mean + 0.03, 1.0)}
            rows.append(common | loose | {"n": len(right)})
    asked = ASKED.get(run.name, ASKED.get(run.parent.name, {"prompt_format": "chat", "thinking": False}))  # fmt: skip
    _json(folder / "scores.json", {"model": str(run), "asked": asked, "rows": rows})


def _score(right) -> dict:
    low, high = wilson(right.mean(), len(right), 0.95)
    numbers = {"mean": float(right.mean()), "low": float(low), "high": float(high)}
    return numbers | {"metric": "correct", "primary": True, "n": len(right)}


def _paper_way(folder: pathlib.Path, name: str, decoding: str, lines: list[dict]) -> dict:
    """The row of scores; writes what it is made from. Its draws are its own, so that all else stays as it is."""
    rng = np.random.default_rng(sum(map(ord, name + decoding)))
    prompt, grader, lost = PAPER[name]
    kept = np.array([x["scores"]["correct"] for x in lines]) * (rng.uniform(size=len(lines)) >= lost)  # fmt: skip
    lines = [line | {"scores": {"correct": float(hit)}} for line, hit in zip(lines, kept, strict=True)]  # fmt: skip
    write_samples(folder, name, decoding, lines, prompt, grader)
    return _score(kept) | {"variant": "paper", "prompt": prompt, "grader": grader}


def _sample(name: str, number: int, right: bool, rng) -> dict:
    return {
        "id": f"{name}-{number}",
        "benchmark": name,
        "cluster": f"{name}-{number}",
        "subset": "even" if number % 2 else "odd",
        "sample": 0,
        "scores": {"correct": float(right), "correct_loose": 1.0},
        "extracted": "1" if rng.uniform() > 0.02 else None,
        "error": None,
        "num_tokens": int(rng.integers(5, 40)),
        "finish_reason": "length" if rng.uniform() < 0.03 else "stop",
    }


def _analysis(folder: pathlib.Path, size: float, rng) -> None:
    for metric, names in NAMES.items():
        groups = []
        for group, factor in zip(GROUP_NAMES, (1.0, 0.4, 0.15), strict=True):
            for source in ("base", "tuned"):
                for name, scale in names.items():
                    value = size * factor * scale
                    draws = value * np.exp(rng.normal(0, 0.08, size=100))
                    low, high = np.quantile(draws, [0.025, 0.975])
                    row = {"group": group, "source": source, "name": name, "value": value}
                    groups.append(row | {"low": low, "high": high, "draws": draws.tolist()})
        unit = {"num_texts": 48, "num_cut": 0, "num_dropped": 0}
        along = _along(size) if metric == "token_kl" else []
        _json(
            folder / f"{metric}.json",
            {
                "metric": metric,
                "decoding": "t1",
                "variant": "robust",
                "rows": [],
                "groups": groups,
                "details": {"units": [unit, *along]},
            },
        )
    _json(folder / "shifted_tokens.json", shifted_tokens_file(size, GROUPS))
    _json(folder / "weights.json", weights_file(size))


def _along(size: float) -> list[dict]:
    """Units whose drift falls along the reply, three stretches each."""
    none = {"num_texts": 0, "num_cut": 0, "num_dropped": 0}
    return [
        none
        | {"benchmark": name, "source": source}
        | {
            "by_position": [
                {"first": first, "last": last, "num_tokens": 48 * (last - first + 1)}
                | dict.fromkeys(("kl_forward", "rank_shift", "shifted_share"), size / last)
                for first, last in ((1, 1), (2, 2), (3, 4))
            ]
        }
        for name in GROUPS
        for source in ("base", "tuned")
    ]


def _cross_sampling(folder: pathlib.Path, seed: int) -> None:
    """Two choices carry the most of it; without a draw, so that all else stays as it is."""
    ends = {"base": (0.55, 0.7), "tuned": (0.7, 0.55)}
    rows = []
    for leads, (own, other) in ends.items():
        for budget in (0, 1, 2, 4, None):
            share = 1.0 if budget is None else (0, 0.6, 0.85, 0.95)[(0, 1, 2, 4).index(budget)]
            mean = own + share * (other - own) + 0.01 * seed
            score = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 60, "errors": 0}
            taken = 6.0 if budget is None else float(budget)
            counts = {"taken": taken, "taken_share": taken / 20, "shifts": 6.0, "tokens": 20.0}
            rows.append({"leads": leads, "budget": budget, "metric": "correct", **score, **counts})
    about = {"benchmark": "synthetic_add", "label": "Add", "group": "math", "decoding": "greedy"}
    about |= {"variant": "robust", "rule": "largest", "threshold": 0.1, "questions": 60}
    about |= {"left_out": 0, "confidence": 0.95}
    folder.mkdir(parents=True, exist_ok=True)
    _json(folder / "synthetic_add.json", about | {"rows": rows})


def _metrics(run: pathlib.Path, method: str, rng) -> None:
    lines = []
    for step in range(1, 101):
        line = {"step": step, "stage": method, "loss": 2 * np.exp(-step / 30) + 0.05 * rng.normal()}
        if method == "rl":
            line["loss"] = 0.02 * rng.normal()
            line["reward"] = 0.4 + 0.25 * (1 - np.exp(-step / 25)) + 0.04 * rng.normal()
            line["response_tokens"] = 14 + 6 * step / 100 + rng.normal()
        lines.append(line)
    _lines(run / "metrics.jsonl", lines)
    _json(run / "done.json", {"stage": method, "num_steps": 100, "seed": 0})


def _transfer(arms, seeds, rng):
    for decoding in DECODINGS:
        for arm, (_, label, gains, _) in arms.items():
            for seed in (*seeds, *(["all"] if len(seeds) > 1 else [])):
                for mode in ("v1_relative", "v2_literal", "v2_pooled", "paper_scales"):
                    for number, group in enumerate(GROUP_NAMES[1:], 1):
                        row = {"model": label, "arm": arm, "seed": seed, "decoding": decoding}
                        row |= {
                            "mode": mode,
                            "group": group,
                            "di": gains[number],
                            "di_math": gains[0],
                            "gain": 100 * max(gains[number], 0),
                            "drop": 100 * max(-gains[number], 0),
                            "gain_math": 100 * max(gains[0], 0),
                            "drop_math": 100 * max(-gains[0], 0),
                        }
                        if gains[0] <= 0:
                            reason = "math did not gain: its degree is below 0"
                            yield row | {"ti": None, "low": None, "high": None, "undefined": reason}
                            continue
                        index = 100 * gains[number] / gains[0] + 5 * rng.normal()
                        open_end = arm == "sft_mid" and mode == "v2_literal"
                        ends = {"low": None if open_end else index - 40, "high": index + 35}
                        yield row | {"ti": index, **ends, "undefined": None}


def _sensitivity(rows, rng) -> list[dict]:
    """Each index without one of the benchmarks; of arms as a whole."""
    several = {row["arm"] for row in rows if row["seed"] == "all"}
    return [
        row | {"without": name, "ti": row["ti"] and row["ti"] + 10 * rng.normal()}
        for row in rows
        if row["seed"] == "all" or row["arm"] not in several
        for name, group in GROUPS.items()
        if group in ("math", row["group"])
    ]


def _json(path: pathlib.Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _lines(path: pathlib.Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
