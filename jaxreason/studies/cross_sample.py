"""Cross-sampling (Meng et al. 2026, arXiv 2603.22446): how much of a model's behaviour depends on a few token choices.

One model replies greedily while the other one reads the same tokens. At a few positions the other model's choice is
taken, and the first model continues from there. This is done in both directions and with growing budgets; every reply
is graded by the benchmark's own grader. Two things differ from the paper: choices are greedy where it samples, so a
budget of 0 and an unlimited one give the replies of the two models; and by default the positions are those at which the
models differ most in the first model's own reply.
"""

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis.comparable import why_not
from jaxreason.analysis.patched_replies import (
    NO_BUDGET,
    Patched,
    PatchingPrompts,
    Takes,
    make_patching,
    prompt_rows,
    write_replies,
)
from jaxreason.config import (
    FREE,
    LEARNED,
    ConfigError,
    at_least,
    check_ranges,
    claimed,
    nearest,
    to_dict,
)
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.aggregation import summarize_grades
from jaxreason.evaluation.benchmark_spec import VariantName
from jaxreason.evaluation.eval_jobs import HELD, SECTIONS, EvalJob, identity_of, plan_jobs
from jaxreason.evaluation.eval_settings import EvalConfig, find_benchmarks
from jaxreason.evaluation.evaluator import check_isolation, fitting, make_pool
from jaxreason.evaluation.grading import EvalReply, make_grades, opening, sample_line
from jaxreason.models.huggingface import ModelConfig, ModelSource, resolve
from jaxreason.results.atomic_files import glob_in
from jaxreason.results.claims import claim
from jaxreason.results.drift_files import (
    ALL_CHOICES,
    cross_folder,
    cross_replies_path,
    read_cross_replies,
    write_cross_replies,
    write_cross_result,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.stopping import before_stop, completing_token
from jaxreason.sharding import check_rows

_LOG = logging.getLogger(__name__)

SLACK = 1e-6  # Relative to a threshold that was measured itself: equal values must pass.


@dataclass(frozen=True)
class CrossQuestions:
    """The questions that are asked, and what a pass over them needs."""

    part: EvalJob
    places: list[int]  # Places of the questions in `part`.
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    length: int  # Tokens of a prompt with its longest reply.


@dataclass(frozen=True)
class ChoiceRows:
    """The rules by which a pass over the questions takes choices of the other model.

    Attributes:
      number: rows of a batch.
      budget: the most choices that are taken; -1 for no limit.
      threshold: the least divergence, in nats; None for the `budget`-th largest shift of the leading model's own reply.
      shifts: question -> the shifts of that reply, in the form that `reply_lines` returns.
    """

    number: int
    budget: int
    threshold: float | None
    shifts: dict[str, list]

    def takes(self, ids: Sequence[str]) -> Takes:
        """Returns the rule for each row of a batch that asks the questions `ids`."""
        thresholds = np.zeros(self.number, np.float32)
        for row, name in enumerate(ids):
            thresholds[row] = self._threshold(self.shifts.get(name, []))
        most = NO_BUDGET if self.budget < 0 else self.budget
        return Takes(thresholds, np.full(self.number, most, np.int32))

    def _threshold(self, shifts: list) -> float:
        if self.threshold is not None:
            return self.threshold
        sizes = sorted((shift[1] for shift in shifts), reverse=True)
        # If there are fewer shifts than the budget, all of them are taken, and also those that arise afterwards.
        return sizes[self.budget - 1] * (1 - SLACK) if 0 < self.budget <= len(sizes) else 0.0


def reply_lines(
    asked: CrossQuestions, rows: ChoiceRows, write: Callable[[PatchingPrompts, Takes], Patched]
) -> list[dict[str, Any]]:
    """Returns the lines of all questions, in order. Each has the form of a sample, with `shifts`.

    A shift is a position at which the choices of the two models differ: its place in the reply, the divergence in nats,
    the choice of each model, and 1 if the other model's choice was taken.
    """
    width = max(len(asked.part.prompts[place]) for place in asked.places)
    lines = []
    for start in range(0, len(asked.places), rows.number):
        places = asked.places[start : start + rows.number]
        prompts = [asked.part.prompts[place] for place in places]
        most = asked.part.decoding.max_tokens
        arrays = prompt_rows(prompts, rows.number, width, most, asked.length)
        found = write(arrays, rows.takes([asked.part.items[place].id for place in places]))
        lines += [_line(asked, found, row, place) for row, place in enumerate(places)]
    return lines


def _line(asked: CrossQuestions, found: Patched, row: int, place: int) -> dict[str, Any]:
    part, tokenizer = asked.part, asked.tokenizer
    tokens = found.tokens[row, : found.length[row]].tolist()
    cut = completing_token(tokens, 0, part.decoding.stop, tokenizer.decode)
    ended = cut is not None or tokens[-1] in asked.stop_ids
    tokens = tokens[: len(tokens) if cut is None else cut]
    reason = "stop" if ended else "length"
    if not np.isfinite(found.js[row, : len(tokens)]).all():
        reason = "error: non-finite logits"
    text = before_stop(tokens, part.decoding.stop, tokenizer.decode)
    shifts = _shifts(found, row, len(tokens))
    extra = {"shifts": shifts, **opening(tokenizer, part.prompts[place])}
    reply = EvalReply(part.items[place], 0, part.prompts[place], tokens, text, reason, extra)
    return sample_line(part.key.benchmark, reply)


def _shifts(found: Patched, row: int, length: int) -> list[list]:
    own, other = found.own[row, :length], found.other[row, :length]
    return [
        [int(at), float(found.js[row, at]), int(own[at]), int(other[at]), int(found.taken[row, at])]
        for at in np.flatnonzero(own != other)
    ]


LEADERS = ("base", "tuned")
SAVED = "The replies of the finished budgets are saved."


@dataclass(frozen=True)
class CrossSampleConfig:
    """The settings of cross-sampling."""

    benchmark: Annotated[str, LEARNED]
    """Name of a benchmark in `eval.benchmarks`."""
    decoding: Annotated[str, LEARNED] = "greedy"
    """Name of a decoding in `eval.decodings`. It must be greedy, without a penalty or a think budget."""
    variant: Annotated[VariantName, LEARNED] = "robust"
    """The variant of the benchmark: how it is asked and graded."""
    questions: Annotated[int, at_least(0), LEARNED] = 100
    """Number of questions, in the order of a hash of their ids; 0 for all."""
    budgets: Annotated[tuple[Annotated[int, at_least(-1)], ...], FREE] = (
        *(0, 1, 2, 4, 8, 16, 32, 64),
        -1,
    )
    """The largest numbers of choices that are taken from the other model; -1 for no limit."""
    rule: Annotated[Literal["largest", "first"], LEARNED] = "largest"
    """Which positions are taken. "largest": those whose divergence is at least the n-th largest of the leading model's
    own reply, for a budget of n. "first", as in the paper: the first ones whose divergence is at least `threshold`.
    """
    threshold: Annotated[float, at_least(0), LEARNED] = 0.1
    """The Jensen-Shannon divergence, in nats, for the rule "first"."""
    batch_size: Annotated[int, at_least(1), FREE] = 16
    """Rows of a batch, over all devices."""


def run_cross_sample(
    config: CrossSampleConfig,
    evaluation: EvalConfig,
    base: ModelConfig,
    tuned: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    seed: int,
) -> None:
    """Writes `workdir`/cross_sampling/<benchmark>.json. A budget whose replies exist already is not run again.

    Called by every process, under `jax.set_mesh(mesh)`.

    Args:
      config: the recipe's section.
      evaluation: how the benchmark is asked and graded.
      base, tuned: the two models: folders or hub names. The base's tokenizer encodes the prompts.
      mesh: where to run.
      workdir: working directory of the tuned model.
      seed: seed of the evaluation; greedy replies do not depend on it.

    Raises:
      UserError: the settings, questions or models do not fit, or existing files were made with others.
      SystemExit: with code 143, after a signal.
    """
    restricted = check_cross_sample(config, evaluation, mesh)
    tokenizers = [load_tokenizer(resolve(model.path)) for model in (base, tuned)]
    sources = [ModelSource.of_folder(model, mesh) for model in (base, tuned)]
    reason = why_not(*sources).get("texts")
    if reason:
        raise UserError(f"cross_sample: {reason}.")
    restricted = _within_positions(restricted, sources)
    (part,) = plan_jobs(restricted, sources[0], tokenizers[0], seed)
    on_process_zero(lambda: check_isolation(restricted, [part]))
    stop_ids = tuple(sorted({i for tokenizer in tokenizers for i in tokenizer.stop_ids}))
    asked = _asked(config, restricted, part, tokenizers[0], stop_ids)
    on_process_zero(lambda: _claim(workdir, config, asked, sources))
    with Interrupt() as interrupt:
        check = lambda: interrupt.check(SAVED)  # noqa: E731
        _make_replies(config, asked, sources, mesh, workdir, check)
        on_process_zero(lambda: _grade(config, restricted, asked, workdir))


def check_cross_sample(config: CrossSampleConfig, evaluation: EvalConfig, mesh: Mesh) -> EvalConfig:
    """Checks the settings before a model is loaded, and returns the evaluation of that benchmark alone.

    Raises:
      ConfigError: names the field, what was expected and what was given.
    """
    check_ranges(config, "cross_sample")
    known = find_benchmarks(evaluation)
    if config.benchmark not in known:
        hint = nearest(config.benchmark, known)
        raise ConfigError(f"cross_sample.benchmark: {config.benchmark!r} is not evaluated{hint}")
    if not config.budgets:
        raise ConfigError("cross_sample.budgets: expected at least one.")
    check_rows(mesh, config.batch_size, "cross_sample.batch_size")
    run = evaluation.benchmarks[config.benchmark]
    run = dataclasses.replace(run, samples={config.decoding: 1}, variants=(config.variant,))
    restricted = dataclasses.replace(evaluation, benchmarks={config.benchmark: run})
    find_benchmarks(restricted)
    return restricted


def _within_positions(evaluation: EvalConfig, sources: list[ModelSource]) -> EvalConfig:
    """Returns the evaluation limited to the model that has fewer positions, since both models read every token."""
    positions = min(source.architecture().max_position_embeddings for source in sources)
    fitted = fitting(evaluation, positions)
    if fitted.sampler.max_length > positions:
        raise ConfigError(
            f"eval.sampler.max_length={fitted.sampler.max_length} exceeds the positions that both models have, "
            f"{positions}."
        )
    return fitted


def _asked(
    config: CrossSampleConfig, evaluation: EvalConfig, part: EvalJob, tokenizer: Tokenizer, stop_ids
) -> CrossQuestions:
    decoding = part.decoding
    if part.kind != "generate":
        raise ConfigError(
            f"cross_sample.benchmark: {config.benchmark} compares likelihoods and has no replies."
        )
    plain = (decoding.temperature, decoding.repetition_penalty, decoding.think_budget)
    if plain != (0, 1, 0):
        raise ConfigError(
            f"cross_sample.decoding={config.decoding!r}: expected a greedy one, without a penalty or a think budget."
        )
    most = evaluation.sampler.max_length
    fits = [place for place, prompt in enumerate(part.prompts) if 0 < len(prompt) < most]
    fits.sort(key=lambda place: hashlib.sha256(part.items[place].id.encode()).digest())
    places = fits[: config.questions or None]
    if not places:
        raise ConfigError(
            f"cross_sample: no question of {config.benchmark} leaves room for a reply."
        )
    longest = max(len(part.prompts[place]) for place in places)
    return CrossQuestions(
        part, places, tokenizer, stop_ids, min(longest + decoding.max_tokens, most)
    )


def _claim(
    workdir, config: CrossSampleConfig, asked: CrossQuestions, sources: list[ModelSource]
) -> None:
    folder = cross_folder(workdir, config.benchmark)
    ids = [asked.part.items[place].id for place in asked.places]
    made_with = {
        "section": claimed(config),
        "models": {
            name: source.identity | {"dtype": source.config.dtype}
            for name, source in zip(LEADERS, sources, strict=True)
        },
        "asked": identity_of(to_dict(asked.part.head), HELD),
        "stop_ids": asked.stop_ids,
        "questions": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
    }
    begun = folder.exists() and bool(glob_in(folder, "*.jsonl"))
    about = {"base": sources[0].name, "tuned": sources[1].name}
    of_head = {f"asked.{path}": cls for path, cls in SECTIONS.items()}
    sections = {"section": CrossSampleConfig, **of_head}
    claim(folder, made_with, begun, about, sections=sections)


def budget_name(budget: int) -> str:
    """Returns the name of a budget in file names."""
    return ALL_CHOICES if budget < 0 else str(budget)


def _passes(config: CrossSampleConfig) -> list[tuple[str, int]]:
    """Returns (leader, budget) in the order of the passes. Budget 0 shows where the models
    differ most, so it is first.
    """
    asked = {budget for budget in config.budgets if budget >= 0} | {0}
    budgets = sorted(asked) + [-1] * (-1 in config.budgets)
    return [(leads, budget) for leads in LEADERS for budget in budgets]


def _make_replies(
    config: CrossSampleConfig,
    asked: CrossQuestions,
    sources: list[ModelSource],
    mesh: Mesh,
    workdir: epath.PathLike,
    check: Callable[[], None],
) -> None:
    passes = _passes(config)
    paths = {one: _path(workdir, config, *one) for one in passes}
    there = on_process_zero(lambda: [paths[one].exists() for one in passes])
    todo = [one for one, held in zip(passes, there, strict=True) if not held]
    if not todo:
        return
    _LOG.info("data: %d questions; %d budgets to be made", len(asked.places), len(todo))
    (base, base_params), (tuned, tuned_params) = (source.open(unroll=1) for source in sources)
    programs = make_patching(base, tuned, asked.length, asked.stop_ids)
    write = functools.partial(write_replies, programs, base_params, tuned_params, mesh, check=check)
    for leads, budget in todo:
        shifts: dict[str, list] = {}
        if budget > 0 and config.rule == "largest":
            own = on_process_zero(lambda path=paths[leads, 0]: read_cross_replies(path))
            shifts = {line["id"]: line["shifts"] for line in own}
        threshold = config.threshold if config.rule == "first" else None
        rule = ChoiceRows(config.batch_size, budget, threshold, shifts)
        lines = reply_lines(asked, rule, functools.partial(write, tuned_leads=leads == "tuned"))
        if jax.process_index() == 0:
            write_cross_replies(paths[leads, budget], lines)
        _LOG.info("%s leads, %s taken: done", leads, budget_name(budget))


def _path(workdir: epath.PathLike, config: CrossSampleConfig, leads: str, budget: int):
    return cross_replies_path(workdir, config.benchmark, leads, budget_name(budget))


def _grade(
    config: CrossSampleConfig, evaluation: EvalConfig, asked: CrossQuestions, workdir
) -> None:
    part = asked.part
    (task,) = part.graders
    items = [part.items[place] for place in asked.places]
    rows = []
    with make_pool(evaluation) as pool:
        for leads, budget in _passes(config):
            lines = read_cross_replies(_path(workdir, config, leads, budget))
            grades = make_grades(pool, task, list(zip(items, lines, strict=True)))
            how = evaluation.confidence, evaluation.resamples, (), ()
            found, _ = summarize_grades(
                part.key, config.variant, task, part.benchmark, items, grades, *how
            )
            (row,) = (row for row in found if row["primary"])
            score = {name: row[name] for name in ("metric", "mean", "low", "high", "n", "errors")}
            taken = None if budget < 0 else budget
            rows.append({"leads": leads, "budget": taken, **score, **_counts(lines)})
    about = {"benchmark": config.benchmark, "label": part.benchmark.label}
    about |= {"group": part.benchmark.group, "decoding": config.decoding}
    about |= {"variant": config.variant, "rule": config.rule, "threshold": config.threshold}
    left_out = len(part.items) - len(asked.places)
    about |= {"questions": len(items), "left_out": left_out, "confidence": evaluation.confidence}
    write_cross_result(workdir, about | {"rows": rows})


def _counts(lines: list[dict]) -> dict[str, float]:
    """Returns means over replies (choices taken, positions with a difference, tokens) and the share of tokens taken."""
    taken = [sum(shift[4] for shift in line["shifts"]) for line in lines]
    tokens = [len(line["tokens"]) for line in lines]
    return {
        "taken": float(np.mean(taken)),
        "shifts": float(np.mean([len(line["shifts"]) for line in lines])),
        "tokens": float(np.mean(tokens)),
        "taken_share": sum(taken) / max(sum(tokens), 1),
    }
