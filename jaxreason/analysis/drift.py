"""The drift stage: compares a tuned model with its base on the texts of their evaluations.

It writes analysis/<metric>.json; docs/drift.md defines the metrics and the files.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import jax
from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis import kept_states, metric_files, prepared_metrics
from jaxreason.analysis.comparable import why_not, why_not_finite
from jaxreason.analysis.drift_metrics import METRICS, reads_of
from jaxreason.analysis.loaded_weights import compare_weights
from jaxreason.analysis.origin import Origin, is_pending, kept_metrics, unit_name
from jaxreason.analysis.paired_forward import make_measure, measure_unit
from jaxreason.analysis.pca_shift import COMPONENTS
from jaxreason.analysis.raw_questions import (
    SOURCE,
    load_question_units,
    make_question_measure,
    measure_questions,
    padding_of,
)
from jaxreason.analysis.reading import SHIFT_THRESHOLD, Reading, load_token_bytes
from jaxreason.analysis.texts import Batching, Unit, load_units, shortened
from jaxreason.analysis.weight_run import stream_weights
from jaxreason.config import (
    FREE,
    LEARNED,
    ConfigError,
    at_least,
    between,
    check_ranges,
    nearest,
    needed,
)
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.models.huggingface import ModelConfig, ModelSource, resolve
from jaxreason.models.stored_tensors import NotFiniteTensorError
from jaxreason.results.drift_files import (
    MADE_WITH,
    read_drift_part,
    remove_drift_parts,
    write_drift,
    write_drift_part,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sharding import ROWS, check_rows, num_parts

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DriftConfig:
    """The settings of drift analysis."""

    metrics: Annotated[tuple[str, ...], FREE] = tuple(METRICS)
    """The metrics to compute: keys of METRICS."""
    decoding: Annotated[str, LEARNED] = needed()
    """The decoding whose replies are read: a key of `eval.decodings`."""
    texts_per_benchmark: Annotated[int, at_least(1), LEARNED] = 100
    """The largest number of texts of each benchmark."""
    max_length: Annotated[int, at_least(0), LEARNED] = 0
    """The most tokens of prompt and reply; longer texts are cut, and counted. 0 allows as many as both models have
    positions for.
    """
    batch_size: Annotated[int, at_least(1), FREE] = 8
    """The most rows of a batch, over all devices."""
    logprob_chunk: Annotated[int, at_least(1), FREE] = 512
    """Positions of a row whose logits are in memory at the same time."""
    resamples: Annotated[int, at_least(1), LEARNED] = 500
    """Number of resamples of the texts, for intervals."""
    confidence: Annotated[float, between(0, 1), LEARNED] = 0.95
    """The confidence level of the intervals."""
    seed: Annotated[int, at_least(0), LEARNED] = 0
    """The seed of the bootstrap, and of the replies to training prompts. The choice of texts does not depend on it."""
    variant: Annotated[Literal["robust", "paper"], LEARNED] = "robust"
    """Which variant of the benchmarks is read, that is, how the questions were put."""
    tokens_per_batch: Annotated[int, at_least(1), FREE] = 32768
    """The most tokens in all rows of a batch, so that batches of longer texts have fewer rows."""
    training_prompts: Annotated[int, at_least(0), FREE] = 0
    """Number of prompts on which the model was trained, whose replies are read as texts too; 0 for none. Each text has
    an identity of its own, so prompts can be added to a finished study.
    """
    training_tokens: Annotated[int, at_least(1), FREE] = 512
    """The most tokens of each of these replies."""
    training_replies: Annotated[tuple[Literal["base", "tuned"], ...], FREE] = ("base",)
    """The models whose replies to these prompts are read."""
    keep_states: Annotated[tuple[Literal["reply", "all", "last"], ...], FREE] = ()
    """Keeps hidden states in analysis/states, pooled in these ways."""
    keep_token_states: Annotated[tuple[int, ...], FREE] = ()
    """Layers whose hidden states of every token are kept there."""
    components: Annotated[int, at_least(1), LEARNED] = COMPONENTS
    """Number of principal axes whose share of the variance is kept, and which span the compared subspaces."""
    shift_threshold: Annotated[float, between(0, math.log(2)), LEARNED] = SHIFT_THRESHOLD
    """JS divergence, in nats, from which on a token counts as shifted; only used by `shifted_tokens`."""


def run_drift(
    config: DriftConfig,
    base: ModelConfig,
    tuned: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    base_evaluation: epath.PathLike,
    tuned_evaluation: epath.PathLike,
    also: Callable[[ModelSource, ModelSource], Sequence[Unit]] = lambda base, tuned: (),
) -> None:
    """Runs `compare_models` on two models' folders, with the replies of both and the texts that `also` returns."""
    check_drift(config, mesh)
    folders = {"base": epath.Path(base_evaluation), "tuned": epath.Path(tuned_evaluation)}
    with Interrupt():  # From here on, so that a signal never ends the run without a word.
        sources = ModelSource.of_folder(base, mesh), ModelSource.of_folder(tuned, mesh)
        compare_models(config, *sources, mesh, workdir, folders, also(*sources))


def compare_models(
    config: DriftConfig,
    base: ModelSource,
    tuned: ModelSource,
    mesh: Mesh,
    workdir: epath.PathLike,
    folders: dict[str, epath.Path],
    also: Sequence[Unit] = (),
    tokenizer: Tokenizer | None = None,
) -> None:
    """Measures every metric that has no file yet, and writes `workdir`/analysis/<metric>.json.

    Args:
      config: what is measured, already checked by `check_drift`.
      base: p of the divergences.
      tuned: the other model.
      mesh: where to compute.
      workdir: the folder of the tuned model.
      folders: the source of replies ("base", "tuned") -> the evaluation whose texts are read.
      also: further texts, such as replies to training prompts.
      tokenizer: that of a base whose folder has none; None for that of its folder.

    Each file states what it was made with. If a study has gained or lost a benchmark, a file that was made with the
    texts of other benchmarks is made again; any other difference is refused. The measurements of each benchmark are
    kept in analysis/parts, so a killed run can continue, and only a new benchmark is measured later. A metric that two
    models do not have in common, for example because of their vocabulary or depth, is undefined: its file then has the
    reason in place of rows.

    Raises:
      UserError: settings or evaluations cannot be used, or files were made with others; the message says which.
      SystemExit: with code 143, after a signal.
    """
    reasons = why_not(base, tuned)
    limit = longest_text(config, base, tuned)
    # Questions are encoded with the base's tokenizer for both models.
    asks = _reads(config, "questions")
    if asks and tokenizer is None:
        tokenizer = load_tokenizer(resolve(base.config.path))
    units = []
    if _reads(config, "texts"):
        units = _units(config, folders, limit) + [shortened(unit, limit) for unit in also]
    if asks:  # All models get the same questions.
        units += load_question_units(next(iter(folders.values())), tokenizer)
    origin = Origin.of(config, base, tuned, units)
    pending = on_process_zero(lambda: [x for x in config.metrics if is_pending(workdir, x, origin)])
    undefined = {name: _reason(name, reasons) for name in pending if _reason(name, reasons)}
    if "texts" in reasons:  # No text is read then, so there are no states to keep.
        config = dataclasses.replace(config, keep_states=(), keep_token_states=())
    run = _Run(config, base, tuned, mesh, epath.Path(workdir), units, origin, limit, tokenizer)
    on_process_zero(lambda: run.write_undefined(undefined))
    pending = tuple(name for name in pending if name not in undefined)
    if pending or on_process_zero(lambda: not all(run.holds_states(unit) for unit in units)):
        with Interrupt() as interrupt:
            run.measure(pending, interrupt)


def _reason(metric: str, reasons: dict[str, str]) -> str:
    return next((reasons[need] for need in METRICS[metric].needs() if need in reasons), "")


def longest_text(config: DriftConfig, base: ModelSource, tuned: ModelSource) -> int:
    """Returns the most tokens of a text that the settings allow and for which both models have positions."""
    positions = [source.architecture().max_position_embeddings for source in (base, tuned)]
    return min(*positions, config.max_length or min(positions))


@dataclasses.dataclass(frozen=True)
class _Run:
    """One comparison: the metrics to measure, the two models, and the settings."""

    config: DriftConfig
    base: ModelSource
    tuned: ModelSource
    mesh: Mesh
    workdir: epath.Path
    units: list[Unit]
    origin: Origin
    limit: int
    tokenizer: Tokenizer | None  # The base's tokenizer; None if it has not been needed so far.

    @property
    def about(self) -> dict[str, str]:
        """The head that every file of the drift stage has."""
        names = {"base": self.base.name, "tuned": self.tuned.name}
        return names | {"decoding": self.config.decoding, "variant": self.config.variant}

    @functools.cached_property
    def reading(self) -> Reading:
        """The text data for metrics that show tokens; the base's tokenizer is loaded only if one of them needs it."""
        shows = any(METRICS[name].shows_tokens for name in self.config.metrics)
        if not shows:
            return Reading()
        known = self.tokenizer
        return Reading(
            token_bytes=known.token_bytes if known else load_token_bytes(self.base.config.path)
        )

    def measure(self, pending: tuple[str, ...], interrupt: Interrupt) -> None:
        """Measures metrics that both models have; loads the models if the metrics need it."""
        of_weights = tuple(name for name in pending if METRICS[name].reads == "weights")
        metrics = {unit: _metrics_of(unit, pending) for unit in self.units}
        parts = [unit for unit in self.units if self._is_read(unit, metrics[unit])]
        lacks = on_process_zero(lambda: [self._lacks(unit, metrics[unit]) for unit in parts])
        missing = {u: tuple(x) for u, x in zip(parts, lacks, strict=True) if x is not None}
        texts = sum(len(unit.texts) for unit in self.units)
        _LOG.info("data: %d texts; to be measured: %s", texts, ", ".join(pending))
        streamed = "weights" in of_weights and self.origin.of_folders
        loaded = tuple(name for name in of_weights if not (streamed and name == "weights"))
        reason = self._measure_models(missing, loaded, interrupt) if missing or loaded else ""
        if streamed and not reason:
            reason = self._stream_weights(interrupt)
        if reason:
            on_process_zero(lambda: self.write_undefined(dict.fromkeys(pending, reason)))
            return
        read = [unit for unit in parts if metrics[unit]]
        on_process_zero(lambda: self._write_texts(pending, metrics, read))

    def _measure_models(self, missing, of_weights, interrupt: Interrupt) -> str:
        """Measures what the parts of units lack and the weights of loaded models; returns why that failed, or ""."""
        # Both models are in one program for each row length, and there are few batches: layers that are laid out one by
        # one would take longer to compile than they save.
        base_model, base_params = self.base.open(unroll=1)
        interrupt.check("Nothing was measured yet.")
        tuned_model, tuned_params = self.tuned.open(unroll=1)
        params = base_params, tuned_params
        reason = self._why_not_finite(*params)
        if reason:
            return reason
        layers = self.config.keep_token_states
        kept_states.check_layers(layers, base_model, tuned_model)
        measures = {  # A program is compiled when it is called.
            "texts": make_measure(base_model, tuned_model, self.config.logprob_chunk, layers),
            "questions": make_question_measure(base_model, tuned_model),
        }

        def unless_stopped(measure: Callable) -> Callable:
            def measure_batch(*arrays):
                interrupt.check("What was measured of whole benchmarks is saved.")
                return measure(*arrays)

            return measure_batch

        if missing:
            _LOG.info("compiling the comparison, once for each length of texts")
        for unit, metrics in missing.items():
            measure = unless_stopped(measures[reads_of(unit.source)])
            self._measure_unit(measure, params, unit, metrics)
        interrupt.check("What was measured of whole benchmarks is saved.")
        compared = compare_weights(*params) if of_weights else None
        for name in of_weights:
            prepared = prepared_metrics.prepare_metric(name, compared, vars(self.config))
            self._write(name, metric_files.weights_file(self.about, name, prepared))
        return ""

    def _stream_weights(self, interrupt: Interrupt) -> str:
        """Compares the weights of two folders from the disk, for `weights` alone; returns why that failed, or ""."""
        made_with = self.origin.of_metric("weights")[MADE_WITH]
        folders = self.base.folder, self.tuned.folder
        try:
            prepared = stream_weights(self.workdir, *folders, made_with, interrupt.check)
        except NotFiniteTensorError as error:
            return str(error).rstrip(".")
        if prepared is not None:
            self._write("weights", metric_files.weights_file(self.about, "weights", prepared))
            remove_drift_parts(self.workdir, "weights.")
        return ""

    def _lacks(self, unit: Unit, metrics: tuple[str, ...]) -> list[str] | None:
        """Returns the metrics that the part of a unit lacks; None if nothing of it is to be measured."""
        kept = kept_metrics(self.workdir, self.origin, unit) if metrics else {}
        lacking = [name for name in metrics if name not in kept]
        return lacking if lacking or not self.holds_states(unit) else None

    def _is_read(self, unit: Unit, metrics: tuple[str, ...]) -> bool:
        keeps = unit.source != SOURCE and kept_states.are_kept(self.config)
        return bool(unit.texts) and (keeps or bool(metrics))

    def holds_states(self, unit: Unit) -> bool:
        """Returns whether the states to be kept of a unit exist; only process 0 calls it."""
        return unit.source == SOURCE or kept_states.are_there(
            self.workdir, self.config, unit, self.origin
        )

    def _why_not_finite(self, base_params: Any, tuned_params: Any) -> str:
        for source, params in ((self.base, base_params), (self.tuned, tuned_params)):
            found = why_not_finite(params)
            if found:
                return f"{source.name}: {found}"
        return ""

    def _measure_unit(
        self, measure: Callable, params: tuple, unit: Unit, metrics: tuple[str, ...]
    ) -> None:
        sizes = self.config.batch_size, self.config.tokens_per_batch, self.limit
        batching = Batching(*sizes, num_parts(self.mesh, *ROWS))
        if unit.source == SOURCE:
            given = batching, padding_of(self.tokenizer)
            measured = measure_questions(measure, *params, self.mesh, unit, *given)
        else:
            states = kept_states.KeptStates(self.workdir, self.config, unit)
            measured = measure_unit(measure, *params, self.mesh, unit, batching, states.add)
            states.finish(self.origin)
            about = {"ids": tuple(text.id for text in unit.texts), "clusters": unit.clusters()}
            measured = measured._replace(reading=self.reading._replace(**about))
        if metrics:
            made = metric_files.part(metrics, unit, measured, vars(self.config))
            _on_zero(self._add_to_part, unit, made["metrics"])

    def _add_to_part(self, unit: Unit, metrics: dict[str, dict]) -> None:
        found = kept_metrics(self.workdir, self.origin, unit) | metrics
        made = {"metrics": {name: found[name] for name in METRICS if name in found}}
        made |= self.origin.of_part(unit)
        write_drift_part(self.workdir, unit_name(unit), made)

    def write_undefined(self, reasons: dict[str, str]) -> None:
        """Writes the files of metrics that these models do not have; only process 0 calls it."""
        for name, reason in reasons.items():
            _LOG.warning("%s is undefined: %s.", name, reason)
            self._write(name, metric_files.undefined_file(self.about, name, reason))

    def _write_texts(
        self, pending: tuple[str, ...], metrics: dict[Unit, tuple[str, ...]], parts: list[Unit]
    ) -> None:
        found = {unit: read_drift_part(self.workdir, unit_name(unit))["metrics"] for unit in parts}
        for name in (name for name in pending if METRICS[name].reads != "weights"):
            read = [unit for unit in self.units if name in metrics[unit]]
            given = self.about, self.config.confidence, name, read, found
            self._write(name, metric_files.texts_file(*given))

    def _write(self, metric: str, made: dict) -> None:
        _on_zero(write_drift, self.workdir, metric, made | self.origin.of_metric(metric))


def _units(config: DriftConfig, folders: dict[str, epath.Path], limit: int) -> list[Unit]:
    units = load_units(folders, config.decoding, config.texts_per_benchmark, limit, config.variant)
    cut = sum(unit.num_cut for unit in units)
    if cut:
        _LOG.warning("%d texts are cut at %d tokens.", cut, limit)
    return units


def _reads(config: DriftConfig, *kinds: str) -> bool:
    kept = kept_states.are_kept(config) and "texts" in kinds
    return kept or any(METRICS[name].reads in kinds for name in config.metrics)


def _metrics_of(unit: Unit, names: Iterable[str]) -> tuple[str, ...]:
    """Returns those of the metrics that read a unit of this kind."""
    return tuple(name for name in names if METRICS[name].reads == reads_of(unit.source))


def check_drift(config: DriftConfig, mesh: Mesh | None) -> None:
    """Refuses settings that cannot be measured, before a model is loaded.

    Args:
      config: the recipe's section.
      mesh: where to measure; None if that is not known.

    Raises:
      UserError: the message has the field, the expected values and the given one.
    """
    for name in config.metrics:
        if name not in METRICS:
            raise ConfigError(
                f"drift.metrics: no metric {name!r}{nearest(name, METRICS) or '.'} "
                f"Valid: {', '.join(METRICS)}."
            )
    check_ranges(config, "drift")
    if mesh is not None and _reads(config, "texts", "questions"):
        check_rows(mesh, config.batch_size, "drift.batch_size")


def _on_zero(write: Callable[..., None], *arguments) -> None:
    if jax.process_index() == 0:
        write(*arguments)
