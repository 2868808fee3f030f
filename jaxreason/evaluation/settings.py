"""What a recipe says about an evaluation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxreason.config import ConfigError, above, at_least, between, check_ranges, nearest
from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.benchmarks import BENCHMARKS, Benchmark, GroupName
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import SamplerConfig
from jaxreason.tasks.registry import find_task


@dataclass(frozen=True)
class OwnBenchmark:
    """A benchmark of the recipe: its name in tables, its group, its questions and their task."""

    label: str
    group: GroupName
    data: DatasetConfig


@dataclass(frozen=True)
class BenchmarkRun:
    """How much of a benchmark is run.

    Attributes:
      limit: questions, drawn by `items_seed`; 0 for all.
      samples: decoding (a key of EvalConfig.decodings) -> samples of each question.
    """

    limit: Annotated[int, at_least(0)]
    samples: dict[str, Annotated[int, at_least(1)]]


@dataclass(frozen=True)
class EvalConfig:
    """What is evaluated, and how.

    Attributes:
      benchmarks: names in BENCHMARKS or `own` -> how much of them.
      own: further benchmarks, by name.
      source: whether questions of BENCHMARKS come from files or from the Hugging Face Hub.
      data_folder: what paths of files are relative to.
      items_seed: of the choice of questions where there is a limit; the same for models that are
        compared.
      decodings: by name; the name is part of the file's name.
      thinking: `enable_thinking` of the chat template; None leaves it to the template.
      sampler: sizes of the engine.
      pass_at: the k of pass@k, for benchmarks with at least that many samples of a question.
      confidence, resamples: of the intervals (the latter where they are bootstrapped).
      grader_workers, grader_timeout_s: processes for slow graders, and their limit for one reply.
    """

    benchmarks: dict[str, BenchmarkRun]
    own: dict[str, OwnBenchmark]
    source: Literal["files", "hub"]
    data_folder: str
    items_seed: Annotated[int, at_least(0)]
    decodings: dict[str, Decoding]
    thinking: bool | None
    sampler: SamplerConfig
    pass_at: tuple[Annotated[int, at_least(1)], ...]
    confidence: Annotated[float, between(0, 1)]
    resamples: Annotated[int, at_least(1)]
    grader_workers: Annotated[int, at_least(1)]
    grader_timeout_s: Annotated[float, above(0)]


def find_benchmarks(config: EvalConfig) -> dict[str, Benchmark]:
    """The benchmarks of the recipe, by name.

    Raises:
      ConfigError: for a name, decoding or number of samples that does not fit.
    """
    own = {
        name: Benchmark(label=b.label, group=b.group, files={"": b.data}, hub={"": b.data})
        for name, b in config.own.items()
    }
    known = {**BENCHMARKS, **own}
    for name, run in config.benchmarks.items():
        path = f"eval.benchmarks.{name}"
        if name not in known:
            raise ConfigError(f"{path}: no such benchmark{nearest(name, known)}")
        _check_run(config, run, path)
        find_task(known[name].task)
    return {name: known[name] for name in config.benchmarks}


def _check_run(config: EvalConfig, run: BenchmarkRun, path: str) -> None:
    check_ranges(run, path)
    if not run.samples:
        raise ConfigError(f"{path}: expected at least one decoding in samples.")
    for decoding in run.samples:
        if decoding not in config.decodings:
            hint = nearest(decoding, config.decodings)
            raise ConfigError(f"{path}.samples.{decoding}: no such decoding{hint}")


def benchmark_groups(config: EvalConfig) -> dict[str, str]:
    """Benchmark -> group, of those that the recipe runs."""
    return {name: benchmark.group for name, benchmark in find_benchmarks(config).items()}
