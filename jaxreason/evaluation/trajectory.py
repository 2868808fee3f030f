"""Makes trajectory.json from a run's steps: scores, the index against the base, and the best step."""

import dataclasses
from typing import Any

from etils import epath

from jaxreason.config import ConfigError, nearest
from jaxreason.evaluation.eval_settings import EvalConfig, benchmark_groups
from jaxreason.evaluation.transfer import TransferConfig, index_of
from jaxreason.evaluation.transfer_inputs import Comparison, compared_groups
from jaxreason.results.atomic_files import read_object
from jaxreason.results.grade_files import grade_head_path
from jaxreason.results.groups import MATH
from jaxreason.results.sample_files import sample_head_path
from jaxreason.results.score_files import SCORES, read_score_rows, sample_key_of

VALUE = ("mean", "low", "high", "n")
SCORE = ("benchmark", "label", "group", "variant", "decoding", "metric", "errors", *VALUE)
GROUP = ("group", "variant", "decoding", "benchmarks", *VALUE)
OF_MODELS = (
    "model",
    "arm",
    "base",
    "seed",
    "published",
    "meets_published",
)  # Of a row of the index.
# Fields of a head that two models never share, or that their own claims check and older heads lack.
OF_ONE_MODEL = ("told", "model", "samples", "held")


@dataclasses.dataclass(frozen=True)
class Named:
    """The score that decides which step is best.

    Attributes:
      name: of a group, whose mean it is, or of a benchmark, whose primary score it is.
      kind: "group" or "benchmark".
      variant, decoding: of the score.
    """

    name: str
    kind: str
    variant: str
    decoding: str

    def of(self, step: dict[str, Any]) -> float | None:
        """Returns its value in a row of `steps`; None if there is none."""
        rows = step["groups" if self.kind == "group" else "scores"]
        wanted = self.name, self.variant, self.decoding
        found = (r["mean"] for r in rows if (r[self.kind], r["variant"], r["decoding"]) == wanted)
        return next(found, None)


def find_named(config: EvalConfig, variant: str, name: str | None) -> Named:
    """Returns the score that the name of a group or benchmark means, under the first decoding of the recipe that has
    it.

    Args:
      config: of the evaluation.
      variant: of the benchmarks.
      name: None for the group of math or, if no benchmark of it is run, the first group.

    Raises:
      ConfigError: the evaluation has no such score; the message lists the scores that it has.
    """
    groups = {
        benchmark: group
        for benchmark, group in benchmark_groups(config).items()
        if variant in config.benchmarks[benchmark].variants
    }
    names = list(dict.fromkeys([*groups.values(), *groups]))
    if not names:
        raise ConfigError(f"transfer.variant={variant!r}: no benchmark of eval.benchmarks has it.")
    if name is None:
        name = MATH if MATH in names else names[0]
    if name not in names:
        raise ConfigError(
            f"--best {name}: no group or benchmark{nearest(name, names) or '.'} There are: {', '.join(names)}."
        )
    kind = "group" if name in groups.values() else "benchmark"
    members = [benchmark for benchmark, group in groups.items() if name in (benchmark, group)]
    sampled = {decoding for member in members for decoding in config.benchmarks[member].samples}
    return Named(name, kind, variant, next(d for d in config.decodings if d in sampled))


def best_step(named: Named, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the step with the highest score, the earliest of equal ones; empty if no step has the score."""
    scored = [(value, row["step"]) for row in steps if (value := named.of(row)) is not None]
    if not scored:
        return {}
    mean, step = max(scored, key=lambda pair: (pair[0], -pair[1]))
    return {"step": step, "mean": mean} | dataclasses.asdict(named)


def asked_alike(base: epath.Path, other: epath.Path) -> bool:
    """Returns whether two finished evaluations have the same scores of the same questions, asked and graded alike."""
    rows = _scored(base)
    return rows == _scored(other) and _heads(base, rows) == _heads(other, rows)


def _scored(folder: epath.Path) -> list[tuple]:
    """Returns (sample file, grader, variant) of each primary row."""
    rows = [row for row in read_score_rows(folder) if row["primary"]]
    return sorted((sample_key_of(row), row["grader"], row["variant"]) for row in rows)


def _heads(folder: epath.Path, rows: list[tuple]) -> list[dict[str, Any]]:
    paths = [sample_head_path(folder, key) for key, _, _ in rows]
    paths += [grade_head_path(folder, key, grader) for key, grader, _ in rows]
    heads = [read_object(path, {}) for path in paths if path.exists()]
    return [{k: v for k, v in head.items() if k not in OF_ONE_MODEL} for head in heads]


class Steps:
    """The evaluated steps of a run; step 0 is the base.

    Args:
      config: how the index is computed.
      decodings: of the recipe, in its order.
    """

    def __init__(self, config: TransferConfig, decodings: tuple[str, ...]):
        self._config, self._decodings = config, decodings
        self._rows: dict[int, dict[str, Any]] = {}
        self._comparisons: dict[int, list[Comparison]] = {}

    def known(self) -> set[int]:
        """Returns the steps that were added."""
        return set(self._rows)

    def add(self, step: int, evaluation: epath.Path, base: epath.Path, drift: list[dict]) -> None:
        """Adds a step with its finished evaluation, that of the base, and rows of its drift."""
        found = read_object(evaluation / SCORES, {"rows": list, "groups": list})
        scores = [row for row in found["rows"] if row["primary"]]
        self._rows[step] = {
            "step": step,
            "scores": [{name: row[name] for name in SCORE} for row in scores],
            "groups": [{name: row[name] for name in GROUP} for row in found["groups"]],
            "index": [],
            "drift": drift,
        }
        made = [self._compared(step, evaluation, base, name) for name in self._decodings]
        self._comparisons[step] = [x for x in made if x is not None] if step else []

    def _compared(self, step, evaluation, base, decoding) -> Comparison | None:
        groups = compared_groups(base, [evaluation], decoding, self._config.variant)
        model = f"step {step}"
        return Comparison(model, str(step), "base", None, decoding, groups, {}) if groups else None

    def rows(self) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
        """Returns one row per step, in order, and for each decoding the deviations with which the index was computed.

        If the recipe sets no deviations, they are those of all steps, so an index may change while steps are added.
        """
        members = [c for step in sorted(self._comparisons) for c in self._comparisons[step]]
        index, scales = index_of(self._config, members)
        rows = []
        for step in sorted(self._rows):
            own = [row for row in index if row["arm"] == str(step)]
            kept = [{k: v for k, v in row.items() if k not in OF_MODELS} for row in own]
            rows.append(self._rows[step] | {"index": kept})
        return rows, scales
