"""How much work the stages of a study are: steps, replies, tokens, and from them time and bytes; all on paper.

What only data and models could say is assumed: lengths are those of the recipe's `plan` section, else half of the most.
"""

import math
from dataclasses import dataclass

from etils import epath

from jaxreason.data.conversions import read_rows
from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.benchmarks import SIZES
from jaxreason.evaluation.eval_settings import EvalConfig, decoding_of, find_benchmarks
from jaxreason.models.architecture import Model
from jaxreason.plan import on_paper
from jaxreason.plan.on_paper import Machine, Spent
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.programs import micro_batches
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.update import needs_old, needs_reference
from jaxreason.tasks.registry import TASKS
from jaxreason.training.sft_config import SFTConfig

PROMPT_TOKENS = 200  # of a prompt, at most: MATH's have about 110, CoQA's 590
PROMPT_SHARE = 0.125  # of the longest sequence that there may be, where that is less
CHOICES = 4  # of a question whose given replies are compared
ALIKE = 0.5  # of RL's groups, whose replies all earn the same


@dataclass(frozen=True)
class StageWork:
    """The work of a stage.

    Attributes:
      spent: seconds; None where it is not known.
      disk: bytes that it leaves.
    """

    spent: Spent | None
    disk: float


@dataclass(frozen=True)
class ExpectedReplies:
    """The replies that an evaluation is expected to write.

    Attributes:
      prompt: mean length of a prompt.
      written: replies that are sampled.
      tokens: their mean length.
      read: given replies that are read, to compare their likelihoods.
    """

    prompt: float
    written: float
    tokens: float
    read: float


def sft_work(
    section: SFTConfig, plan: PlanConfig, model: Model, machine: Machine, tensor: int
) -> StageWork:
    """A run of SFT; its time is not known where the number of examples is not."""
    examples = _examples(section, plan)
    if examples is None:
        state = on_paper.checkpoint_bytes(model, section.optimizer) * max(section.keep, 1)
        return StageWork(None, state + on_paper.exported_bytes(model, section.export_dtype))
    steps = training_steps(section, plan)
    length = min(plan.example_tokens or section.length / 2, section.length)
    run = {"steps": steps, "sequences": examples * section.epochs, "length": length}
    run["pieces"] = micro_batches(section, int(length))
    spent = on_paper.train(model, machine, tensor, **run)
    if section.kl_coefficient:
        spent += on_paper.read(model, machine, run["sequences"], length)
    return StageWork(spent, _kept(section, model, steps))


def _examples(section: SFTConfig, plan: PlanConfig) -> int | None:
    rows = [count_rows(dataset) for dataset in section.datasets.values()]
    return plan.examples or (None if None in rows else sum(rows))


def training_steps(section: SFTConfig | RLConfig, plan: PlanConfig) -> int | None:
    """The steps of a run; None if the number of examples is not known."""
    if isinstance(section, RLConfig):
        return section.num_steps
    examples = _examples(section, plan)
    return None if examples is None else math.ceil(examples * section.epochs / section.batch_size)


def rl_work(
    section: RLConfig, plan: PlanConfig, model: Model, machine: Machine, tensor: int
) -> StageWork:
    """A run of RL: sampling, updates, and passes for log-probs before them and of the reference where they are made."""
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
    passes = [needs_old(section), needs_reference(section) or section.exact_kl]
    spent += on_paper.read(model, machine, sum(passes) * kept, length)
    disk = on_paper.lines_bytes(sampled, prompt, reply) + _kept(section, model, steps)
    return StageWork(spent, disk)


def generation_batches(section: RLConfig) -> int:
    """How many batches of prompts a step samples, if ALIKE of the groups are alike and such are replaced."""
    sampling = section.dynamic_sampling
    if not sampling.drop_equal:
        return 1
    wanted = section.prompts_per_step / (1 - ALIKE)
    return max(1, min(sampling.max_batches, math.ceil(wanted / section.prompts_per_batch)))


def evaluation_work(
    replies: ExpectedReplies | None, slots: int, model: Model, machine: Machine, tensor: int
) -> StageWork:
    """An evaluation; its time is not known where the number of questions is not."""
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
    """The work of measurements during a training run: validations and the KL from its base.

    Args:
      section: of the training.
      steps: of the run.
      evaluation: whose questions and sampler a validation takes.
      tokens: mean length of a validation's replies; 0 for half of what each may have.
      model, machine, tensor: of the run.

    Returns:
      None where the number of the validation's questions is not known.
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
    """Mean length that prompts are taken to have, where sequences have at most so many tokens."""
    return min(PROMPT_TOKENS, PROMPT_SHARE * max_length)


def expected_replies(config: EvalConfig, tokens: int) -> ExpectedReplies | None:
    """The replies that an evaluation writes; None if a benchmark's number of questions is not known.

    Args:
      config: the recipe's section.
      tokens: mean length of replies; 0 for half of what each may have.
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
    there = SIZES.get(name) if own is None else count_rows(own.data)
    if there is None:
        return limit or None
    return min(limit, there) if limit else there


def count_rows(dataset: DatasetConfig) -> int | None:
    """The rows of a dataset that lies here, its limit at most; else its limit; None where it has none."""
    if not is_here(dataset):
        return dataset.limit or None
    number = sum(1 for _ in read_rows(dataset))
    return min(number, dataset.limit) if dataset.limit else number


def is_here(dataset: DatasetConfig) -> bool:
    """Whether a dataset is read without a network."""
    if dataset.source == "file":
        return "://" not in dataset.path and any(_found(dataset.path))
    return dataset.source != "tfds" and epath.Path(dataset.path).expanduser().exists()


def _found(pattern: str) -> list[epath.Path]:
    path = epath.Path(pattern).expanduser()
    return [path] if path.exists() else list(path.parent.glob(path.name))


def _kept(section: SFTConfig | RLConfig, model: Model, steps: int) -> float:
    state = section.optimizer, steps, section.checkpoint_every, section.keep
    return on_paper.checkpoints_bytes(model, *state) + on_paper.exported_bytes(
        model, section.export_dtype
    )
