"""Training curves of every run, from its metrics: rows of summary.json."""

import numpy as np

from jaxreason.report.files import Reader, Study, read_run_metrics

# What is drawn of metrics.jsonl: curve -> its name there.
CURVES = {"loss": "loss", "reward": "reward", "length": "response_tokens"}
CURVE_POINTS = 200  # a longer curve is shown as means of equal stretches of steps


def training_rows(reader: Reader, study: Study) -> list[dict]:
    """The curves of every run: [step, value], thinned to at most CURVE_POINTS."""
    rows = []
    for arm, seed in study.runs():
        lines = read_run_metrics(reader, arm, seed)
        for curve, name in CURVES.items():
            points = _curve([line for line in lines if name in line], name)
            if points:
                where = {"arm": arm.name, "seed": seed, "curve": curve}
                steps = max(line["step"] for line in lines)
                rows.append(where | {"num_steps": steps, "points": points})
    return rows


def _curve(lines: list[dict], name: str) -> list[list[float]]:
    points = [(line["step"], line[name]) for line in lines if np.isfinite(line[name])]
    parts = np.array_split(np.array(points, float), min(len(points), CURVE_POINTS) or 1)
    means = [part.mean(0) for part in parts if len(part)]
    return [[round(float(step), 2), float(value)] for step, value in means]
