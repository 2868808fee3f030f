"""The settings of an evaluation in a recipe."""

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from jaxreason.config import (
    ConfigError,
    above,
    at_least,
    between,
    check_ranges,
    nearest,
    needed,
    parse,
    to_dict,
    unclaimed,
)
from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt, Variant, VariantName
from jaxreason.evaluation.benchmarks import BENCHMARKS
from jaxreason.results.groups import GroupName
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.registry import TASKS

PromptFormat = Literal["chat", "plain"]
ASKED = (
    "thinking",
    "prompt_format",
)  # Fields of EvalConfig in which the arms of a study may differ.


@unclaimed("by its prompts")
@dataclass(frozen=True)
class OwnBenchmark:
    """A benchmark that the recipe defines: its name in tables, its group, its questions and their task."""

    label: str
    """Its name in tables."""
    group: GroupName
    """Its group."""
    data: DatasetConfig
    """Its questions; their task grades the replies."""


@unclaimed("by its prompts and decodings")
@dataclass(frozen=True)
class BenchmarkRun:
    """Which part of a benchmark is run, and how."""

    limit: Annotated[int, at_least(0)]
    """Number of questions, drawn by `items_seed`; 0 for all."""
    samples: dict[str, Annotated[int, at_least(1)]]
    """Maps a decoding (a key of EvalConfig.decodings) to the number of samples of each question."""
    variants: tuple[VariantName, ...] = ("robust",)
    """The variants that are measured; variants with the same prompts share their samples."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Changes of fields of the decodings (`SamplingParams`) for this benchmark. One name of a decoding can thus stand
    for the different decodings that a study used for its benchmarks.
    """


@unclaimed("sample files are claimed one by one (evaluation.eval_jobs)")
@dataclass(frozen=True)
class EvalConfig:
    """The benchmarks of an evaluation, and how they are asked and scored."""

    benchmarks: dict[str, BenchmarkRun]
    """Maps names in BENCHMARKS or `own` to how they are run."""
    own: dict[str, OwnBenchmark] = field(default_factory=dict)
    """Further benchmarks by name, with questions of your own."""
    source: Literal["files", "hub"] = "files"
    """Whether questions of BENCHMARKS come from files or from the Hugging Face Hub."""
    data_folder: str = ""
    """The folder to which paths of files are relative."""
    items_seed: Annotated[int, at_least(0)] = 0
    """The seed for choosing questions if there is a limit; equal for models that are compared."""
    decodings: dict[str, SamplingParams] = needed()
    """Decodings by name; the name becomes part of file names."""
    thinking: bool | None = None
    """`enable_thinking` of the chat template; None leaves it to the template."""
    sampler: SamplerConfig = SamplerConfig(64, 2048)
    """Sizes of the engine."""
    pass_at: tuple[Annotated[int, at_least(1)], ...] = ()
    """The k of pass@k, for benchmarks with at least that many samples of a question."""
    maj_at: tuple[Annotated[int, at_least(1)], ...] = ()
    """The k of maj@k (the most frequent of k answers), for benchmarks with at least that many samples of a question."""
    confidence: Annotated[float, between(0, 1)] = 0.95
    """The confidence level of the intervals."""
    resamples: Annotated[int, at_least(1)] = 2000
    """Number of resamples for intervals that are bootstrapped."""
    grader_workers: Annotated[int, at_least(1)] = 2
    """Processes for slow graders."""
    grader_timeout_s: Annotated[float, above(0)] = 20.0
    """Seconds that grading one reply may take."""
    prompt_format: PromptFormat = "chat"
    """"chat" puts questions into the model's chat template; "plain" uses their text alone, as needed for base models
    without a template.
    """
    code_isolation: Literal["auto", "none"] = "auto"
    """"auto" runs programs that a model wrote in the strongest jail that this machine has, and refuses to run them if
    there is none; "none" runs them without a jail.
    """
    within_positions: bool = False
    """If the model has fewer positions than `sampler.max_length`, true asks it within the positions that it has, and
    the report says so; false refuses it.
    """

    @property
    def asked(self) -> dict[str, Any]:
        """The settings of an evaluation in which twins may differ."""
        return {name: getattr(self, name) for name in ASKED}


def known_benchmarks(config: EvalConfig) -> dict[str, Benchmark]:
    """Returns BENCHMARKS and the recipe's own benchmarks, by name."""
    own = {
        name: Benchmark(
            label=b.label,
            group=b.group,
            prompts={"own": BenchmarkPrompt({"": b.data}, {"": b.data})},
            variants={"robust": Variant("own", b.data.task)},
        )
        for name, b in config.own.items()
    }
    return {**BENCHMARKS, **own}


def find_benchmarks(config: EvalConfig) -> dict[str, Benchmark]:
    """Returns the benchmarks that the recipe runs, by name.

    Raises:
      ConfigError: a name, decoding or number of samples does not fit.
    """
    known = known_benchmarks(config)
    if not config.benchmarks:
        raise ConfigError(f"eval.benchmarks: expected at least one of {', '.join(known)}.")
    for table, names in (("own", config.own), ("decodings", config.decodings)):
        for name in names:
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise ConfigError(f"eval.{table}: {name!r} cannot be part of a file's name.")
    for name in config.own:
        if name in BENCHMARKS:
            raise ConfigError(
                f"eval.own.{name}: this is the name of a benchmark that comes with the package; expected another name."
            )
    for name, run in config.benchmarks.items():
        path = f"eval.benchmarks.{name}"
        if name not in known:
            raise ConfigError(f"{path}: no such benchmark{nearest(name, known)}")
        _check_run(config, run, known[name], path)
    return {name: known[name] for name in config.benchmarks}


def _check_run(config: EvalConfig, run: BenchmarkRun, benchmark: Benchmark, path: str) -> None:
    check_ranges(run, path)
    for variant in benchmark.variants.values():
        if variant.task not in TASKS:
            raise ConfigError(
                f"{path}: {benchmark.label} has the task {variant.task!r}, which is none of {', '.join(TASKS)}"
                f"{nearest(variant.task, TASKS) or '.'}"
            )
    if not run.variants:
        raise ConfigError(f"{path}: expected at least one of {_names(benchmark)} in variants.")
    for variant in run.variants:
        if variant not in benchmark.variants:
            raise ConfigError(
                f"{path}.variants: {benchmark.label} has no variant {variant!r}; it has {_names(benchmark)}."
            )
    if not run.samples:
        raise ConfigError(f"{path}: expected at least one decoding in samples.")
    for decoding in run.samples:
        if decoding not in config.decodings:
            raise ConfigError(
                f"{path}.samples.{decoding}: no such decoding{nearest(decoding, config.decodings) or '.'} "
                f"eval.decodings has {', '.join(config.decodings)}."
            )
        decoding_of(config, run, decoding, path)


def decoding_of(config: EvalConfig, run: BenchmarkRun, name: str, path: str) -> SamplingParams:
    """Returns a decoding as a benchmark uses it.

    Raises:
      ConfigError: an override is not a field of a decoding, or out of its range.
    """
    known = [one.name for one in fields(SamplingParams)]
    for key in run.overrides:
        if key not in known:
            raise ConfigError(
                f"{path}.overrides.{key}: no such field of a decoding{nearest(key, known)}"
            )
    section = to_dict(config.decodings[name]) | run.overrides
    return parse(SamplingParams, section, f"{path}.overrides over eval.decodings.{name}")


def _names(benchmark: Benchmark) -> str:
    return ", ".join(benchmark.variants)


def check_sampled(config: EvalConfig, decoding: str, field: str) -> None:
    """Refuses a decoding with which no benchmark is sampled; `field` names it in the message.

    Raises:
      ConfigError: with the decodings that there are.
    """
    used = sorted({name for run in config.benchmarks.values() for name in run.samples})
    if decoding not in used:
        raise ConfigError(
            f"{field}={decoding!r}: expected a decoding that a benchmark is sampled with: {', '.join(used)}."
        )


def benchmark_groups(config: EvalConfig) -> dict[str, str]:
    """Returns benchmark -> group for the benchmarks that the recipe runs."""
    return {name: benchmark.group for name, benchmark in find_benchmarks(config).items()}
