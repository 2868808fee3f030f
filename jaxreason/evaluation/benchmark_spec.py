"""The specification of a benchmark: its questions, its prompts, and the variants by which replies are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from jaxreason.data.rows import DatasetConfig
from jaxreason.results.groups import GroupName

VariantName = Literal["robust", "paper"]
VARIANTS = get_args(VariantName)  # In the order in which they are shown.
Options = dict[str, str | int]


@dataclass(frozen=True)
class BenchmarkPrompt:
    """One prompt format for a benchmark's questions; the replies to it are one sample file per decoding.

    Attributes:
      files: subset -> its questions, with their template, in a file below the recipe's data folder. The score is the
        mean of the subsets' means.
      hub: subset -> the same questions on the Hugging Face Hub; empty if they are not there in a form that `datasets`
        reads.
      stop: strings that end a reply, in addition to those of the decoding.
    """

    files: dict[str, DatasetConfig]
    hub: dict[str, DatasetConfig]
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    """One way to measure a benchmark: a key of its `prompts`, and the task that grades the replies."""

    prompt: str
    task: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
      label: its name in tables and figures.
      group: which of the study's three groups it belongs to.
      prompts: name -> a prompt format.
      variants: "robust" (does not depend on accidents of format), and "paper" if the study's released code measures it
        in a different way. Variants with the same prompts share their samples.
    """

    label: str
    group: GroupName
    prompts: dict[str, BenchmarkPrompt]
    variants: dict[VariantName, Variant]


@dataclass(frozen=True)
class Hub:
    """One dataset on the hub: its name, split, and the source's options (`name`, `revision`)."""

    path: str
    split: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class QuestionSource:
    """The source of a benchmark's questions, and the columns that are needed.

    Attributes:
      fields: our names -> columns (`DatasetConfig.fields`).
      files: subset -> file or pattern below the recipe's data folder.
      hub: subset -> dataset.
      metadata: columns that graders need.
      options: for both (`rows` and its options, `group_by`, `answer_after`).
      file_options: for the files only.
      hub_fields: replaces `fields` if the hub's columns have other names.
    """

    fields: dict[str, str]
    files: dict[str, str]
    hub: dict[str, Hub]
    metadata: tuple[str, ...] = ()
    options: Options = field(default_factory=dict)
    file_options: Options = field(default_factory=dict)
    hub_fields: dict[str, str] | None = None


def ask(
    questions: QuestionSource,
    template: str | Mapping[str, str],
    task: str,
    stop: tuple[str, ...] = (),
    **options: str | int,
) -> BenchmarkPrompt:
    """Returns the questions in a template over their columns (by subset, if it is a mapping).

    Args:
      questions: their source.
      template: as `DatasetConfig.prompt_template`.
      task: the task that grades the replies by default.
      stop: see `BenchmarkPrompt`.
      **options: further options of the datasets (`shuffle`).
    """

    def dataset(subset, source, path, split, fields, more):
        return DatasetConfig(
            source=source,
            path=path,
            split=split,
            fields=fields,
            prompt_template=template if isinstance(template, str) else template[subset],
            task=task,
            metadata=questions.metadata,
            limit=0,
            seed=0,
            options=questions.options | more | options,
        )

    fields = questions.fields
    files = {
        subset: dataset(subset, "file", path, "", fields, questions.file_options)
        for subset, path in questions.files.items()
    }
    fields = questions.hub_fields or questions.fields
    hub = {
        subset: dataset(subset, "huggingface", at.path, at.split, fields, at.options)
        for subset, at in questions.hub.items()
    }
    return BenchmarkPrompt(files, hub, stop)
