"""BENCHMARKS: every benchmark by its name, and its questions as examples.

Prompts are in the project's own words and share only their format with the study's prompts (`math_benchmarks`,
`other_benchmarks`, `code_benchmarks`, `non_reasoning_benchmarks`).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from etils import epath

from jaxreason.data.column_mapping import group_of
from jaxreason.data.examples import Example, load_examples, prompt_text, question_hash
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt
from jaxreason.evaluation.code_benchmarks import CODE_BENCHMARKS
from jaxreason.evaluation.math_benchmarks import MATH_BENCHMARKS
from jaxreason.evaluation.non_reasoning_benchmarks import NON_REASONING_BENCHMARKS
from jaxreason.evaluation.other_benchmarks import OTHER_BENCHMARKS

BENCHMARKS: dict[str, Benchmark] = (
    MATH_BENCHMARKS | OTHER_BENCHMARKS | CODE_BENCHMARKS | NON_REASONING_BENCHMARKS
)
# Number of questions of each benchmark, for estimates that are made without its data.
SIZES: dict[str, int] = {
    **{"math500": 500, "aime24": 30, "aime25": 30, "olympiadbench": 675, "gsm8k": 1319},
    **{"livecodebench": 511, "humaneval": 164, "mbpp": 257, "gpqa_diamond": 198},
    **{"acpbench": 280, "acpbench_test": 900, "headqa": 2742, "mmlu": 14042},
    **{"coqa": 500, "ifeval": 541, "halueval": 30000, "mc_taco": 9442},
}


@dataclass(frozen=True)
class EvalItem:
    """A question of a benchmark. Items of a cluster belong together and are resampled together."""

    id: str
    example: Example
    subset: str
    cluster: str


def load_items(
    label: str,
    prompt: BenchmarkPrompt,
    source: Literal["files", "hub"],
    folder: str,
    limit: int,
    seed: int,
) -> list[EvalItem]:
    """Returns the questions of a benchmark in one prompt format, in the order of its subsets and their rows.

    Args:
      label: of the benchmark, for messages.
      prompt: one of its prompts.
      source: "files" below `folder`, or "hub".
      folder: the data folder; not needed for an absolute path in the benchmark.
      limit: how many questions, spread evenly over the subsets and drawn by `seed`; 0 for as many as the datasets say
        (all, in BENCHMARKS). If rows are grouped (MC-TACO), groups are counted.
      seed: of that draw.

    Raises:
      ValueError: the data is not there, or a row of it cannot be used.
    """
    datasets = prompt.files if source == "files" else prompt.hub
    if not datasets:
        raise UserError(f"{label}: no data on the hub; set eval.source to 'files'.")
    items = []
    for number, (subset, dataset) in enumerate(datasets.items()):
        share = limit // len(datasets) + (number < limit % len(datasets))
        if limit and not share:
            continue
        changes: dict[str, str | int] = {"limit": share, "seed": seed} if limit else {}
        items += _items(dataclasses.replace(in_folder(dataset, folder), **changes), subset)
    return items


def in_folder(dataset: DatasetConfig, folder: str) -> DatasetConfig:
    """Returns the dataset with the path of its file below the data folder; an absolute path and a URL stay."""
    if dataset.source != "file" or "://" in dataset.path:
        return dataset
    return dataclasses.replace(dataset, path=str(epath.Path(folder) / dataset.path))


def _items(dataset: DatasetConfig, subset: str) -> list[EvalItem]:
    drops = DropLog()
    examples = load_examples(dataset, drops)
    check_all_used(dataset, drops)
    clusters = _clusters(examples, dataset)
    return [
        EvalItem(f"{subset}/{e.id}" if subset else e.id, e, subset, cluster)
        for e, cluster in zip(examples, clusters, strict=True)
    ]


def check_all_used(dataset: DatasetConfig, drops: DropLog) -> None:
    """Refuses questions of a benchmark if a row of their file was dropped.

    Raises:
      UserError: with the number of such rows, the reasons and the first row.
    """
    bad = sum(sum(counts["dropped"].values()) for counts in drops.to_json().values())
    if bad:
        raise UserError(
            f"{dataset.path}: {bad} of its rows cannot be used, and without them this is another benchmark: "
            f"{drops.summary(dataset.label)}. Mend or remove them."
        )


def _clusters(examples: list[Example], dataset: DatasetConfig) -> list[str]:
    """Returns each question's cluster: that of its group columns' values or, without these, the first with its words.

    The replies to questions with the same words, and choices, are the same or nearly: two tell no more than one.
    """
    first: dict[tuple[str, str], str] = {}
    return [_cluster(e, group_of(dataset, e.metadata), first) for e in examples]


def _cluster(example: Example, group: tuple[str, ...], first: dict[tuple[str, str], str]) -> str:
    if group:
        return question_hash("\n".join(group))
    words = prompt_text(example), str(example.metadata.get("choices"))
    return first.setdefault(words, example.id)


def count_repeated(items: Sequence[EvalItem]) -> int:
    """Returns the number of questions that have the words and choices of an earlier one."""
    ids = {item.example.id for item in items}
    return sum(item.cluster != item.example.id and item.cluster in ids for item in items)
