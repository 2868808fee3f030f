r"""BENCHMARKS: what each benchmark asks, where its questions lie, and how it counts.

Prompts are zero-shot and the project's own. Not here: LiveCodeBench, which would run code that a
model wrote, and GPQA, HeadQA, CoQA and HaluEval, for which there is no task yet.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from etils import epath

from jaxreason.data.examples import Example, load_examples
from jaxreason.data.fields import group_columns
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.errors import UserError
from jaxreason.results.groups import GroupName

VariantName = Literal["robust", "paper"]


@dataclass(frozen=True)
class Prompt:
    """One way of putting a benchmark's questions; replies to it are one sample file a decoding.

    Attributes:
      files: subset -> its questions, with their template, in a file below the recipe's data folder.
        The score is the mean of the subsets' means.
      hub: subset -> the same questions on the Hugging Face Hub; empty where they are not there in a
        form that `datasets` reads.
      stop: strings that end a reply, beside those of the decoding.
    """

    files: dict[str, DatasetConfig]
    hub: dict[str, DatasetConfig]
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One way of measuring a benchmark: a key of its `prompts`, and a task that grades the replies."""

    prompt: str
    task: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
      label: its name in tables and figures.
      group: which of the study's three groups it belongs to.
      prompts: name -> a way of asking.
      variants: "robust" (does not depend on accidents of format), and "paper" where the study's
        released code measures it in another way. Variants that ask alike share their samples.
    """

    label: str
    group: GroupName
    prompts: dict[str, Prompt]
    variants: dict[VariantName, Variant]


@dataclass(frozen=True)
class Item:
    """A question of a benchmark; items of a cluster belong together and are resampled together."""

    id: str
    example: Example
    subset: str
    cluster: str


BOXED = (
    "{prompt}\n\nReason step by step. Give the final answer at the end, inside \\boxed{{}}, "
    "and nothing else in the box."
)
LETTER = (
    "{context}\n\n{question}\n\nThink about it step by step. Then end with a line of its own that "
    "reads `Answer: X`, where X is the letter of the right option."
)
# The reply is not sampled: the likelihoods of "no" and of "yes" as the reply are compared.
PLAUSIBLE = (
    "{sentence}\n\nQuestion: {question}\nCandidate answer: {candidate}\n\n"
    "Is the candidate a plausible answer to the question? Reply with yes or no only."
)


def _builder(
    fields: dict[str, str], template: str, task: str, metadata: tuple[str, ...] = (), **options
) -> Callable[..., DatasetConfig]:
    """A function (path, source, split, more options) -> DatasetConfig of all examples there."""

    def build(path: str, source: str = "file", split: str = "", **more) -> DatasetConfig:
        return DatasetConfig(
            source=source,
            path=path,
            split=split,
            fields=fields,
            prompt_template=template,
            task=task,
            metadata=metadata,
            limit=0,
            seed=0,
            options={**options, **more},
        )

    return build


def _hub(build: Callable[..., DatasetConfig], path: str, split: str, **options) -> DatasetConfig:
    return build(path, "huggingface", split, **options)


_PROBLEM = {"prompt": "problem", "answer": "answer"}
_math500 = _builder(_PROBLEM | {"id": "unique_id"}, BOXED, "math")
_gsm8k = _builder({"prompt": "question", "answer": "answer"}, BOXED, "gsm8k", answer_after="####")
_aime = _builder(_PROBLEM | {"id": "id"}, BOXED, "math")
_aime_hub = _builder({"prompt": "question", "answer": "answer"}, BOXED, "math")
_olympiad = _builder(
    {"prompt": "question", "answer": "final_answer", "id": "id"},
    BOXED,
    "math",
    metadata=("is_multiple_answer", "unit", "error", "subfield", "answer_type"),
)
_acp = _builder(
    {"prompt": "question", "answer": "answer", "id": "id"},
    LETTER,
    "multiple_choice",
    metadata=("choices", "group"),
)
_mc_taco = _builder(
    {"prompt": "question", "answer": "label"},
    PLAUSIBLE,
    "mc_taco",
    metadata=("sentence", "question", "category"),
    columns="sentence,question,candidate,label,category",
    group_by="sentence,question",
)
_ifeval = _builder(
    {"prompt": "prompt", "id": "key"},
    "{prompt}",
    "ifeval",
    metadata=("instruction_id_list", "kwargs"),
)
# Name of the local file -> name on the hub, of ACPBench's seven multiple-choice tasks.
_ACP_TASKS = {
    **{"act_reach": "areach", "app": "app", "just": "just", "land": "land"},
    **{"prog": "prog", "reach": "reach", "val": "val"},
}


def _robust(
    label: str,
    group: GroupName,
    prompt: str,
    files: dict[str, DatasetConfig],
    hub: dict[str, DatasetConfig],
) -> Benchmark:
    """A benchmark that is asked in one way and graded by the task of its questions."""
    task = next(iter(files.values())).task
    return Benchmark(label, group, {prompt: Prompt(files, hub)}, {"robust": Variant(prompt, task)})


BENCHMARKS: dict[str, Benchmark] = {
    "math500": _robust(
        label="MATH-500",
        group="math",
        prompt="boxed",
        files={"": _math500("math/math500.jsonl")},
        hub={"": _hub(_math500, "HuggingFaceH4/MATH-500", "test")},
    ),
    "gsm8k": _robust(
        label="GSM8K",
        group="math",
        prompt="boxed",
        files={"": _gsm8k("math/gsm8k_test.jsonl")},
        hub={"": _hub(_gsm8k, "openai/gsm8k", "test", name="main")},
    ),
    "aime24": _robust(
        label="AIME24",
        group="math",
        prompt="boxed",
        files={"": _aime("math/aime24.jsonl")},
        hub={"": _hub(_aime, "HuggingFaceH4/aime_2024", "train")},
    ),
    "aime25_i": _robust(
        label="AIME25-I",  # part I, 15 of the year's 30 problems
        group="math",
        prompt="boxed",
        files={"": _aime("math/aime25.jsonl")},
        hub={"": _hub(_aime_hub, "opencompass/AIME2025", "test", name="AIME2025-I")},
    ),
    "olympiadbench": _robust(
        label="OlympiadBench",
        group="math",
        prompt="boxed",
        files={"": _olympiad("math/olympiadbench.jsonl")},
        hub={"": _hub(_olympiad, "Hothan/OlympiadBench", "train", name="OE_TO_maths_en_COMP")},
    ),
    "acpbench": _robust(
        label="ACPBench",
        group="other",
        prompt="letter",
        files={name: _acp(f"general/acpbench_mcq_{name}.json") for name in _ACP_TASKS},
        hub={
            name: _hub(_acp, "ibm-research/acp_bench", "validation", name=f"acp_{hub}_mcq")
            for name, hub in _ACP_TASKS.items()
        },
    ),
    "mc_taco": _robust(
        label="MC-TACO",
        group="non_reasoning",
        prompt="question",
        files={"": _mc_taco("general/mc_taco_test.tsv")},
        hub={},
    ),
    "ifeval": _robust(
        label="IFEval",
        group="non_reasoning",
        prompt="bare",
        files={"": _ifeval("general/ifeval.jsonl")},
        hub={"": _hub(_ifeval, "google/IFEval", "train")},
    ),
}


def load_items(
    label: str,
    prompt: Prompt,
    source: Literal["files", "hub"],
    folder: str,
    limit: int,
    seed: int,
) -> list[Item]:
    """The questions of a benchmark as a prompt puts them, in the order of its subsets and their rows.

    Args:
      label: of the benchmark, for messages.
      prompt: one of its prompts.
      source: "files" below `folder`, or "hub".
      folder: the data folder; an absolute path in the benchmark does not need it.
      limit: how many questions, spread evenly over the subsets and drawn by `seed`; 0 for what the
        datasets say (all, in BENCHMARKS). Where rows are grouped (MC-TACO), groups are counted.
      seed: of that draw.

    Raises:
      ValueError: when the data is not there or a row of it cannot be used.
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
        if dataset.source == "file" and "://" not in dataset.path:
            changes["path"] = str(epath.Path(folder) / dataset.path)
        items += _items(dataclasses.replace(dataset, **changes), subset)
    return items


def _items(dataset: DatasetConfig, subset: str) -> list[Item]:
    drops = DropLog()
    examples = load_examples(dataset, drops)
    bad = sum(sum(counts["dropped"].values()) for counts in drops.to_json().values())
    if bad:
        raise UserError(
            f"{dataset.path}: {bad} rows cannot be used, so this is not the benchmark: "
            f"{drops.to_json()}."
        )
    columns = group_columns(dataset)
    return [
        Item(f"{subset}/{e.id}" if subset else e.id, e, subset, _cluster(e, columns))
        for e in examples
    ]


def _cluster(example: Example, columns: list[str]) -> str:
    if not columns:
        return example.id
    text = "\n".join(str(example.metadata[name]) for name in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
