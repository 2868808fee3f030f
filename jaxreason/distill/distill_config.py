"""The `distill` section of a recipe, and the checks that stop a run before anything is asked."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from jaxreason.config import (
    FREE,
    LEARNED,
    ConfigError,
    above,
    at_least,
    check_ranges,
    defaults,
    within,
)
from jaxreason.data.rows import DatasetConfig
from jaxreason.models.huggingface import ModelConfig
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.isolation import find_isolation
from jaxreason.tasks.registry import find_task

Keep = Literal["first", "shortest", "random", "all"]
NoThink = Literal["drop", "generate", "none"]
# Column names that every row of the dataset has by itself.
COLUMNS = (
    *("id", "question", "answer", "data_source", "system", "think_response", "no_think_response"),
    *("replies", "no_think_replies"),
)


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: a model that runs here, or an OpenAI-compatible endpoint."""

    path: Annotated[str, FREE] = ""
    """A Hugging Face folder or hub name, run as the recipe's `model` section says; "" for the model of that section."""
    url: Annotated[str, FREE] = ""
    """The URL of an endpoint, up to and including `/v1`; "" to run a model here."""
    name: Annotated[str, LEARNED] = ""
    """The name of the model at the endpoint."""
    key_variable: Annotated[str, FREE] = ""
    """The environment variable that holds the endpoint's key; "" to send no key."""
    concurrency: Annotated[int, at_least(1), FREE] = 16
    """The number of calls at the same time."""
    timeout_s: Annotated[float, above(0), FREE] = 600.0
    """The seconds to wait for an answer to begin, or to continue."""
    retries: Annotated[int, at_least(0), FREE] = 6
    """How often a call is repeated if it failed for a temporary reason."""
    backoff_s: Annotated[float, above(0), FREE] = 1.0
    """Seconds before the first repetition; the time doubles with each one, up to 60. A
    server's `Retry-After` is obeyed.
    """
    extra: Annotated[dict, LEARNED] = field(default_factory=dict)
    """Fields that are added to the body of each call or replace its own; null removes one (`{"max_tokens": None,
    "max_completion_tokens": 4096}`).
    """


@dataclass(frozen=True)
class DistillConfig:
    """The `distill` section of a recipe."""

    datasets: Annotated[dict[str, DatasetConfig], FREE]
    """Datasets of questions under names of your choice. `task` grades the replies: a strict task only accepts answers
    that are written out, as rewards do. The columns of `metadata` are copied into the rows; the yield is reported by
    the one named `data_source`.
    """
    decoding: Annotated[SamplingParams, defaults(temperature=1.0)]
    """How replies are sampled."""
    sampler: Annotated[SamplerConfig, defaults(slots=256)]
    """Sizes of the sampling engine. A prompt that leaves no room for `decoding.max_tokens` in `sampler.max_length` is
    left out and counted. An endpoint ignores this section.
    """
    teacher: TeacherConfig = TeacherConfig()
    """The teacher that is asked."""
    samples: Annotated[int, at_least(1), LEARNED] = 4
    """Replies to each question. If the number is raised, only the new replies are asked for."""
    thinking: Annotated[bool | None, LEARNED] = None
    """`enable_thinking` of the teacher's chat template; None leaves it to the template."""
    no_think: Annotated[NoThink, LEARNED] = "drop"
    """What the column `no_think_response` holds: with "drop", the chosen reply without its thoughts; with "generate", a
    reply of a second pass with thinking=False; with "none", nothing.
    """
    no_think_samples: Annotated[int, at_least(0), LEARNED] = 0
    """Replies to each question in the second pass; 0 for as many as `samples`."""
    no_think_decoding: SamplingParams | None = None
    """The decoding of the second pass; None for `decoding`."""
    keep: Annotated[Keep, LEARNED] = "first"
    """Which right replies are kept: the "first", the "shortest" (in tokens of `tokenizer`), a "random" one, or "all",
    which makes a row of each.
    """
    cutoff: Annotated[int, at_least(0), LEARNED] = 0
    """The most tokens of prompt and response together, thoughts included; longer ones are not
    kept. 0 keeps any length.
    """
    tokenizer: Annotated[str, FREE] = ""
    """Folder or hub name of the tokenizer that counts tokens; "" for that of the recipe's model."""
    difficulty: Annotated[str, LEARNED] = ""
    """A column of `metadata`; the yield is also reported for each of its values. "" for none."""
    shard_rows: Annotated[int, at_least(1), LEARNED] = 10_000
    """The number of rows in a file of the dataset."""
    max_ungraded_share: Annotated[float, within(0, 1), LEARNED] = 0.5
    """The largest allowed share of finished replies that have no answer or could not be graded. Above it, the run
    writes all files and then fails with a message.
    """
    grader_workers: Annotated[int, at_least(1), FREE] = 2
    """Verifier processes."""
    grader_timeout_s: Annotated[float, above(0), FREE] = 20.0
    """The seconds that grading one reply may take."""

    @property
    def on_engine(self) -> bool:
        """Whether the teacher is a model that runs here."""
        return not self.teacher.url


def teacher_model(config: DistillConfig, model: ModelConfig) -> ModelConfig:
    """Returns the settings of the teacher, if it runs here."""
    return replace(model, path=config.teacher.path) if config.teacher.path else model


def check_distill(config: DistillConfig) -> None:
    """Checks that the settings fit together.

    Raises:
      ConfigError: names the field, what was expected and what was given.
      UserError: graders run programs, but nothing on this machine isolates them.
    """
    check_ranges(config, "distill")
    _check_teacher(config)
    _check_room(config)
    _expect(bool(config.datasets), "datasets", "{}", "at least one dataset")
    _expect(
        config.no_think == "generate" or not (config.no_think_samples or config.no_think_decoding),
        "no_think",
        config.no_think,
        "'generate' where no_think_samples or no_think_decoding are set",
    )
    without = config.thinking is False
    expected = "'drop' with thinking=False: replies have no thoughts, and are that column"
    _expect(not without or config.no_think == "drop", "no_think", config.no_think, expected)
    for name, dataset in config.datasets.items():
        _check_dataset(name, dataset)
    columns = {column for dataset in config.datasets.values() for column in dataset.metadata}
    expected = f"a column among the datasets' metadata ({', '.join(sorted(columns)) or 'none'})"
    fits = not config.difficulty or config.difficulty in columns
    _expect(fits, "difficulty", config.difficulty, expected)


def _check_teacher(config: DistillConfig) -> None:
    teacher = config.teacher
    for name, decoding in (
        ("decoding", config.decoding),
        ("no_think_decoding", config.no_think_decoding),
    ):
        if teacher.url and decoding is not None and decoding.think_budget:
            _expect(False, f"{name}.think_budget", decoding.think_budget, "0 at an endpoint")
    one = not (teacher.path and teacher.url)
    _expect(one, "teacher.path", teacher.path, "'' beside teacher.url: one teacher is asked")
    if teacher.url:
        _expect(
            bool(teacher.name), "teacher.name", teacher.name, "the endpoint's name of the model"
        )
        web = teacher.url.startswith(("http://", "https://"))
        _expect(web, "teacher.url", teacher.url, "http://... or https://...")


def _check_room(config: DistillConfig) -> None:
    longest = config.sampler.max_length
    for name in ("decoding", "no_think_decoding") if config.on_engine else ():
        decoding = getattr(config, name)
        if decoding is not None:
            expected = f"less than sampler.max_length={longest}, which the question is part of"
            fits = decoding.max_tokens < longest
            _expect(fits, f"{name}.max_tokens", decoding.max_tokens, expected)


def _check_dataset(name: str, dataset: DatasetConfig) -> None:
    task = find_task(dataset.task)
    path = f"datasets.{name}"
    _expect(task.kind == "generate", f"{path}.task", dataset.task, "a task of kind generate")
    taken = [c for c in dataset.metadata if c in COLUMNS and c != "data_source"]
    expected = "columns by other names than a row's own"
    _expect(not taken, f"{path}.metadata", ", ".join(taken), expected)
    if task.runs_code:
        find_isolation("auto")


def _expect(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ConfigError(f"distill.{name}={value!r}: expected {expected}.")
