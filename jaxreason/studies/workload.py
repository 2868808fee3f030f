"""Estimates the work of a study's stages on paper: steps, replies and tokens, and from them time and bytes.

Only data and models could tell the real lengths. Here they come from the recipe's `plan` section; without it, half of
the allowed length is assumed.
"""

import math
from dataclasses import dataclass

from etils import epath

from jaxreason.data.conversions import check_conversion, read_rows
from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.benchmarks import SIZES, in_folder
from jaxreason.evaluation.eval_settings import EvalConfig, decoding_of, find_benchmarks
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan import on_paper
from jaxreason.plan.on_paper import Machine, Spent
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.programs import micro_batches
from jaxreason.plan.recipe_plan import planned_teacher
from jaxreason.results.atomic_files import glob_in
from jaxreason.rl.references import copied
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.update import needs_old, needs_reference
from jaxreason.tasks.registry import TASKS
from jaxreason.training.sft_config import SFTConfig

PROMPT_TOKENS = 200  # The most tokens assumed for a prompt; MATH's have about 110, CoQA's 590.
PROMPT_SHARE = 0.125  # Or this share of the longest allowed sequence, if that is less.
CHOICES = 4  # Choices of a question whose given replies are compared.
ALIKE = 0.5  # The share of RL's groups that are assumed to have equal rewards.


@dataclass(frozen=True)
class StageWork:
    """The work of a stage.

    Attributes:
      spent: seconds; None if they are not known.
      disk: bytes that the stage leaves on disk.
    """

    spent: Spent | None
    disk: float


@dataclass(frozen=True)
class ExpectedReplies:
    """The replies that an evaluation is expected to write and read.

    Attributes:
      prompt: mean tokens of a prompt.
      written: number of replies that are sampled.
      tokens: mean tokens of a reply.
      read: number of given replies that are read, to compare their likelihoods.
    """

    prompt: float
    written: float
    tokens: float
    read: float


def training_work(
    section: SFTConfig | RLConfig,
    base: ModelConfig,
    plan: PlanConfig,
    model: Model,
    machine: Machine,
    tensor: int,
) -> StageWork:
    """Estimates a run of SFT or RL; `base` is the recipe's `model` section, as which a teacher is opened too."""
    about = plan, model, machine, tensor
    if isinstance(section, SFTConfig):
        return sft_work(section, *about)
    return rl_work(section, *about, planned_teacher(section, base))


def sft_work(
    section: SFTConfig, plan: PlanConfig, model: Model, machine: Machine, tensor: int
) -> StageWork:
    """Estimates an SFT run; its time is unknown if the number of examples is."""
    examples = _examples(section, plan)
    if examples is None:
        return StageWork(None, _kept(section, model, max(section.keep, 1), every=1))
    steps = training_steps(section, plan)
    length = min(plan.example_tokens or section.length / 2, section.length)
    run = {"steps": steps, "sequences": examples * section.epochs, "length": length}
    run["pieces"] = micro_batches(section, int(length))
    spent = on_paper.train(model, machine, tensor, **run)
    if section.kl_coefficient:
        spent += on_paper.read(model, machine, run["sequences"], length)
    return StageWork(spent, _kept(section, model, steps, section.checkpoint_every))


def _examples(section: SFTConfig, plan: PlanConfig) -> int | None:
    rows = [count_rows(dataset) for dataset in section.datasets.values()]
    return plan.examples or (None if None in rows else sum(rows))


def training_steps(section: SFTConfig | RLConfig, plan: PlanConfig) -> int | None:
    """Returns the steps of a run; None if the number of examples is unknown."""
    if isinstance(section, RLConfig):
        return section.num_steps
    examples = _examples(section, plan)
    return None if examples is None else math.ceil(examples * section.epochs / section.batch_size)


def rl_work(
    section: RLConfig,
    plan: PlanConfig,
    model: Model,
    machine: Machine,
    tensor: int,
    teacher: Model | None = None,
) -> StageWork:
    """Estimates an RL run: sampling, updates, and passes for the log-probs of policy and reference (the teacher, if
    there is one) if they are needed.
    """
    most, steps = section.decoding.max_tokens, section.num_steps
    reply = min(plan.reply_tokens or most / 2, most)
    prompt = prompt_tokens(section.sampler.max_length)
    sampled = steps * generation_batches(section) * section.prompts_per_batch * section.sampled
    kept = steps * section.prompts_per_step * section.group_size
    slots, length = section.sampler.slots, prompt + reply
    spent = on_paper.write(model, machine, tensor, slots, sampled, prompt, reply)
    updates, trained = steps * section.updates_per_step, kept * section.epochs_per_batch
    pieces = math.ceil(trained / updates / section.micro_batch_rows)
    run = {"steps": updates, "sequences": trained, "length": length, "pieces": pieces}
    spent += on_paper.train(model, machine, tensor, **run)
    spent += on_paper.read(model, machine, needs_old(section) * kept, length)
    if needs_reference(section) or section.exact_kl:
        spent += on_paper.read(teacher or model, machine, kept, length)
    disk = on_paper.lines_bytes(sampled, prompt, reply) + _kept(
        section, model, steps, section.checkpoint_every
    )
    return StageWork(spent, disk)


def generation_batches(section: RLConfig) -> int:
    """Returns how many batches of prompts a step samples, if the share ALIKE of the groups must be replaced."""
    sampling = section.dynamic_sampling
    if not sampling.drop_equal:
        return 1
    wanted = section.prompts_per_step / (1 - ALIKE)
    return max(1, min(sampling.max_batches, math.ceil(wanted / section.prompts_per_batch)))


def evaluation_work(
    replies: ExpectedReplies | None, slots: int, model: Model, machine: Machine, tensor: int
) -> StageWork:
    """Estimates an evaluation; its time is unknown if the number of questions is."""
    if replies is None:
        return StageWork(None, 0.0)
    written = slots, replies.written, replies.prompt, replies.tokens
    spent = on_paper.write(model, machine, tensor, *written)
    spent += on_paper.read(model, machine, replies.read, replies.prompt)
    disk = on_paper.lines_bytes(replies.written, replies.prompt, replies.tokens)
    return StageWork(spent, disk + on_paper.lines_bytes(replies.read / CHOICES, replies.prompt, 0))


def watched_work(
    section: SFTConfig | RLConfig,
    steps: int,
    evaluation: EvalConfig,
    tokens: int,
    model: Model,
    machine: Machine,
    tensor: int,
) -> Spent | None:
    """Estimates the measurements during a training run: validations and the KL from its base.

    Args:
      section: the training section.
      steps: steps of the run.
      evaluation: the evaluation whose questions and sampler a validation uses.
      tokens: mean tokens of a validation's replies; 0 for half of what each may have.
      model, machine, tensor: of the run.

    Returns:
      The work, or None if the number of the validation's questions is unknown.
    """
    spent, slots = Spent(), evaluation.sampler.slots
    prompt, held, kl = (
        prompt_tokens(evaluation.sampler.max_length),
        section.validation,
        section.base_kl,
    )
    if held.every:
        questions = _questions(evaluation, held.benchmark, held.limit)
        if questions is None:
            return None
        most = held.decoding.max_tokens
        replies = questions * held.samples * (math.ceil(steps / held.every) + 1)
        spent += on_paper.write(
            model, machine, tensor, slots, replies, prompt, min(tokens or most / 2, most)
        )
    if kl.every:
        reply, times = kl.max_tokens / 2, math.ceil(steps / kl.every)
        spent += on_paper.write(model, machine, tensor, slots, kl.prompts, prompt, reply)
        spent += on_paper.read(model, machine, 2 * times * kl.prompts, prompt + reply)
    return spent


def prompt_tokens(max_length: int) -> float:
    """Returns the mean tokens assumed for a prompt, if sequences may have `max_length` tokens."""
    return min(PROMPT_TOKENS, PROMPT_SHARE * max_length)


def expected_replies(config: EvalConfig, tokens: int) -> ExpectedReplies | None:
    """Returns the replies that an evaluation writes; None if a benchmark's number of questions is unknown.

    Args:
      config: the recipe's section.
      tokens: mean tokens of a reply; 0 for half of what each may have.
    """
    written = length = read = 0.0
    for name, benchmark in find_benchmarks(config).items():
        run, path = config.benchmarks[name], f"eval.benchmarks.{name}"
        questions = _questions(config, name, run.limit)
        if questions is None:
            return None
        asked = {benchmark.variants[v].prompt: benchmark.variants[v].task for v in run.variants}
        for task in asked.values():
            for decoding, samples in run.samples.items():
                if TASKS[task].kind == "choose":
                    read += questions * CHOICES
                    continue
                most = decoding_of(config, run, decoding, path).max_tokens
                written += questions * samples
                length += questions * samples * min(tokens or most / 2, most)
    prompt = prompt_tokens(config.sampler.max_length)
    return ExpectedReplies(prompt, written, length / max(written, 1), read)


def _questions(config: EvalConfig, name: str, limit: int) -> int | None:
    own = config.own.get(name)
    there = SIZES.get(name)
    if own is not None:
        there = count_rows(in_folder(own.data, config.data_folder))
    if there is None:
        return limit or None
    return min(limit, there) if limit else there


def count_rows(dataset: DatasetConfig) -> int | None:
    """Returns the rows of a local dataset, up to its limit; of another one its limit, or None if it has none.

    Raises:
      UserError: its source or conversion does not exist, or a local one cannot be read.
    """
    check_conversion(dataset)
    if not is_here(dataset):
        return dataset.limit or None
    number = sum(1 for _ in read_rows(dataset))
    return min(number, dataset.limit) if dataset.limit else number


def is_here(dataset: DatasetConfig) -> bool:
    """Whether a dataset can be read without a network."""
    if dataset.source == "file":
        return "://" not in dataset.path and any(_found(dataset.path))
    return dataset.source != "tfds" and epath.Path(dataset.path).expanduser().exists()


def _found(pattern: str) -> list[epath.Path]:
    path = epath.Path(pattern).expanduser()
    return [path] if path.exists() else glob_in(path.parent, path.name)


def _kept(section: SFTConfig | RLConfig, model: Model, steps: int, every: int) -> float:
    """Returns the bytes of a run's checkpoints and of its exported model."""
    copies = len(copied(section)) if isinstance(section, RLConfig) else 0
    made = section.optimizer, steps, every, section.keep, copies, section.validation.choose
    exported = on_paper.exported_bytes(model, section.export_dtype)
    return on_paper.checkpoints_bytes(model, *made) + exported
