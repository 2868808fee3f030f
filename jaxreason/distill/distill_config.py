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
# Columns that a row has of its own.
COLUMNS = (
    *("id", "question", "answer", "data_source", "system", "think_response", "no_think_response"),
    *("replies", "no_think_replies"),
)


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: a model that runs here, or an OpenAI-compatible endpoint."""

    path: Annotated[str, FREE] = ""
    """A Hugging Face folder or hub name, run as the recipe's `model` section says; "" is that section's own."""
    url: Annotated[str, FREE] = ""
    """The URL of an endpoint, up to and with `/v1`; "" runs a model here."""
    name: Annotated[str, LEARNED] = ""
    """The name of the model at the endpoint."""
    key_variable: Annotated[str, FREE] = ""
    """Environment variable that holds the endpoint's key; "" sends none."""
    concurrency: Annotated[int, at_least(1), FREE] = 16
    """Calls at a time."""
    timeout_s: Annotated[float, above(0), FREE] = 600.0
    """Seconds in which an answer must begin to come, or go on."""
    retries: Annotated[int, at_least(0), FREE] = 6
    """How often a call is tried again that failed for a reason that may pass."""
    backoff_s: Annotated[float, above(0), FREE] = 1.0
    """Seconds before the first new try; doubles with each, up to 60. A server's `Retry-After` is obeyed."""
    extra: Annotated[dict, LEARNED] = field(default_factory=dict)
    """Fields that are laid over the body of each call; null removes one (`{"max_tokens": None,
    "max_completion_tokens": 4096}`).
    """


@dataclass(frozen=True)
class DistillConfig:
    """Fields of a recipe's `distill` section."""

    datasets: Annotated[dict[str, DatasetConfig], FREE]
    """Datasets of questions under names of your choice. `task` grades the replies: a strict one takes only answers that
    are written out, as rewards do. Columns of `metadata` come along into the rows; one that is called
    `data_source` is what the yield goes by.
    """
    decoding: Annotated[SamplingParams, defaults(temperature=1.0)]
    """How replies are sampled."""
    sampler: Annotated[SamplerConfig, defaults(slots=256)]
    """Sizes of the sampling engine; a prompt that leaves no room for `decoding.max_tokens` in
    `sampler.max_length` is left out and counted. An endpoint does not read it.
    """
    teacher: TeacherConfig = TeacherConfig()
    """The teacher that is asked."""
    samples: Annotated[int, at_least(1), LEARNED] = 4
    """Replies to each question; with more than before, only the new ones are asked for."""
    thinking: Annotated[bool | None, LEARNED] = None
    """`enable_thinking` of the teacher's chat template; None leaves it to the template."""
    no_think: Annotated[NoThink, LEARNED] = "drop"
    """The column `no_think_response`: "drop" is the chosen reply without its thoughts, "generate" asks a second
    time with thinking=False, "none" leaves it empty.
    """
    no_think_samples: Annotated[int, at_least(0), LEARNED] = 0
    """Replies of the second time; 0 is as many as `samples`."""
    no_think_decoding: SamplingParams | None = None
    """The decoding of the second time; None is `decoding`."""
    keep: Annotated[Keep, LEARNED] = "first"
    """Which of the right replies are kept: the "first", the "shortest" (in tokens of `tokenizer`), one at "random", or
    "all", which makes a row of each.
    """
    cutoff: Annotated[int, at_least(0), LEARNED] = 0
    """Most tokens of prompt and response together, thoughts included, that is kept; 0 keeps any length."""
    tokenizer: Annotated[str, FREE] = ""
    """Folder or hub name of the tokenizer that counts tokens; "" is the recipe's model."""
    difficulty: Annotated[str, LEARNED] = ""
    """A column among `metadata`: the yield is also given for each of its values; "" for none."""
    shard_rows: Annotated[int, at_least(1), LEARNED] = 10_000
    """Rows of a file of the dataset."""
    max_ungraded_share: Annotated[float, within(0, 1), LEARNED] = 0.5
    """The largest share of finished replies in which no answer was found or that could not be graded; above it
    the run says so and fails, when all files are written.
    """
    grader_workers: Annotated[int, at_least(1), FREE] = 2
    """Verifier processes."""
    grader_timeout_s: Annotated[float, above(0), FREE] = 20.0
    """Seconds that grading one reply may take."""

    @property
    def on_engine(self) -> bool:
        """Whether a model that runs here is asked."""
        return not self.teacher.url


def teacher_model(config: DistillConfig, model: ModelConfig) -> ModelConfig:
    """The model that is asked, where it runs here."""
    return replace(model, path=config.teacher.path) if config.teacher.path else model


def check_distill(config: DistillConfig) -> None:
    """Refuses settings that do not fit together.

    Raises:
      ConfigError: with the field, what was expected and what came.
      UserError: graders run programs, and nothing isolates them.
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
