"""The prompts of a run: loads and encodes them, counts what was left out, and chooses those of each step.

The choice depends only on (seed, step), and no prompt occurs twice in a batch. So resuming needs only the step, and
replies that a kill interrupted are sampled again in the same way.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int

from jaxreason.data.encoding import encode_prompts
from jaxreason.data.examples import Example, load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import write_json
from jaxreason.rl.given_replies import REPLIES, GivenReply, given_replies
from jaxreason.rl.rl_config import RLConfig
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.sampling_params import Request
from jaxreason.tasks.gold_answers import unmatched

_LOG = logging.getLogger(__name__)

_ORDER, _EXTRA, _SAMPLING, _GIVEN = 0, 1, 2, 3  # Streams of random numbers that must not overlap.


@dataclass(frozen=True)
class TrainingPrompt:
    """A question and its tokens, including chat template and generation prompt.

    Attributes:
      example: the question.
      tokens: tokens of the prompt.
      replies: the replies that its row has, if the recipe asks for them.
    """

    example: Example
    tokens: tuple[int, ...]
    replies: tuple[GivenReply, ...] = ()


@dataclass(frozen=True)
class PromptFeed:
    """The training questions, in the order that `seed` gives.

    Attributes:
      prompts: all prompts.
      per_batch: prompts in a generation batch.
      seed: seed of the run.

    Raises:
      UserError: there are fewer questions than a batch needs.
    """

    prompts: Sequence[TrainingPrompt]
    per_batch: int
    seed: int

    def __post_init__(self):
        if len(self.prompts) < self.per_batch:
            raise UserError(
                f"rl: a generation batch asks {self.per_batch} questions, none of them twice, and the datasets have "
                f"{len(self.prompts)} whose prompts fit. Lower rl.prompts_per_step (and "
                "rl.dynamic_sampling.prompts_per_batch, where it is set), or give more questions."
            )

    def batch(self, step: int, number: int) -> list[TrainingPrompt]:
        """Returns the prompts of generation batch `number` (0, 1, ...) of a step (counted from 0).

        The first batches of all steps go through the questions in epochs, and each epoch is shuffled anew. A batch that
        ends one epoch and begins the next takes questions from the next that it does not have yet. If the questions
        fill fewer than two batches, each step draws its batch anew. Further batches of a step are drawn from questions
        that the step has not asked yet, as long as there are any.
        """
        return [self.prompts[index] for index in self.indices(step, number)]

    def indices(self, step: int, number: int) -> Int[np.ndarray, "P"]:
        """The prompts of `batch`, as indices into `prompts`."""
        asked = np.zeros(len(self.prompts), bool)
        batch = self._first_batch(step)
        for further in range(1, number + 1):
            asked[batch] = True
            random = np.random.default_rng((self.seed, _EXTRA, step, further))
            shuffled = random.permutation(len(self.prompts))
            batch = shuffled[np.argsort(asked[shuffled], kind="stable")][: self.per_batch]
        return batch

    def _first_batch(self, step: int) -> np.ndarray:
        num, size = len(self.prompts), self.per_batch
        if num < 2 * size:
            return self._shuffled(step)[:size]
        epoch, start = divmod(step * size, num)
        rest = self._epoch(epoch)[start : start + size]
        return np.concatenate([rest, self._epoch(epoch + 1)[: size - len(rest)]])

    def _epoch(self, epoch: int) -> np.ndarray:
        """Returns the order of an epoch.

        Its first batch may have begun in the epoch before. What that batch asked at its end is moved behind the
        questions that complete it. This changes only places within the size of a batch. So the end of an epoch of two
        batches or more does not depend on earlier epochs.
        """
        num, size = len(self.prompts), self.per_batch
        order, missing = self._shuffled(epoch), -epoch * num % size
        if missing == 0:
            return order
        asked = np.isin(order, self._shuffled(epoch - 1)[num - (size - missing) :])
        first = order[~asked][:missing]
        return np.concatenate([first, order[~np.isin(order, first)]])

    def _shuffled(self, number: int) -> np.ndarray:
        random = np.random.default_rng((self.seed, _ORDER, number))
        return random.permutation(len(self.prompts))


def requests(
    prompts: Sequence[TrainingPrompt], seed: int, step: int, number: int, num_samples: int
) -> list[Request]:
    """Makes the requests to the engine: `num_samples` replies to each prompt.

    The random numbers of a reply depend only on (seed, step, batch, place in the batch, sample).
    """
    return [
        Request(
            id=str(index),
            tokens=prompt.tokens,
            seed=_sampling_seed(seed, step, number, index),
            num_samples=num_samples,
        )
        for index, prompt in enumerate(prompts)
    ]


def draw_given(
    prompt: TrainingPrompt, num: int, seed: int, step: int, number: int, index: int
) -> list[GivenReply]:
    """Draws `num` of a prompt's replies without repetition, or all; the draw depends on (seed, step, batch, place)."""
    random = np.random.default_rng((seed, _GIVEN, step, number, index))
    return [prompt.replies[i] for i in random.permutation(len(prompt.replies))[:num]]


def _sampling_seed(*coordinates: int) -> int:
    sequence = np.random.SeedSequence((_SAMPLING, *coordinates))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)  # Fits into a signed 32-bit integer.


@dataclass(frozen=True)
class PromptDataset:
    """The questions whose prompts leave room for a reply.

    Attributes:
      prompts: all prompts.
      contents: dataset, by its name in the recipe -> number of questions and a hash.
      rows: what was kept and what was dropped, and why, by dataset.
      replies: for each dataset, how many given replies are used (and how many of these lost their
        thoughts by thinking=False), and how many are not, by reason (docs/rl.md lists the reasons); empty
        if all replies are sampled.
    """

    prompts: list[TrainingPrompt]
    contents: dict[str, dict]
    rows: dict[str, dict]
    replies: dict[str, dict[str, int]]


def load_prompts(config: RLConfig, tokenizer: Tokenizer) -> PromptDataset:
    """Loads and encodes the questions of the recipe's datasets.

    Raises:
      UserError: none is left.
    """
    drops, replies, of_dataset = DropLog(), {}, {}
    for name, dataset in config.datasets.items():
        counts = Counter()
        of_dataset[name] = _of_dataset(dataset, config, tokenizer, drops, counts)
        if config.samples.given:
            replies[name] = dict(counts)
            _LOG.info("%s: given replies: %s", name, _shown(counts))
    contents = {name: _contents(members) for name, members in of_dataset.items()}
    prompts = [prompt for members in of_dataset.values() for prompt in members]
    return PromptDataset(prompts, contents, drops.to_json(), replies)


def _shown(counts: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _of_dataset(
    dataset: DatasetConfig,
    config: RLConfig,
    tokenizer: Tokenizer,
    drops: DropLog,
    counts: Counter,
) -> list[TrainingPrompt]:
    longest = config.sampler.max_length
    room = longest - (config.decoding.max_tokens if config.sampled else 1)
    examples = load_examples(dataset, drops)
    if told := unmatched(examples):
        _LOG.warning("%s", told)
    kept, encoded = encode_prompts(examples, tokenizer, config.thinking, room, drops)
    prompts = [TrainingPrompt(e, tuple(tokens)) for e, tokens in zip(kept, encoded, strict=True)]
    if not config.samples.given:
        return prompts
    how = (tokenizer, config.thinking, longest, counts)
    found = [replace(p, replies=given_replies(p.example, len(p.tokens), *how)) for p in prompts]
    for prompt in found:
        if not prompt.replies:
            where = prompt.example.metadata.get("where", prompt.example.id)
            drops.drop(dataset.label, where, "no given reply", f"none of {longest} tokens at most")
    drops.report(dataset.label)
    found = [prompt for prompt in found if prompt.replies]
    if not found:
        raise UserError(
            f"{dataset.label}: no question has a reply that can be used ({_shown(counts) or 'none is there'}). "
            f"rl.samples.given={config.samples.given} expects a column {REPLIES!r}, named in the dataset's metadata, "
            "or fields.response."
        )
    return found


def _contents(prompts: list[TrainingPrompt]) -> dict:
    """Returns the identity of a run's prompts: all that asking and grading depend on, but not their place on disk."""
    digest = hashlib.sha256()
    for prompt in prompts:
        example = prompt.example
        metadata = {name: x for name, x in example.metadata.items() if name != "where"}
        read: list[Any] = [example.id, example.task, example.answer, metadata, prompt.tokens]
        digest.update(json.dumps(read, sort_keys=True, default=str).encode())
        for reply in prompt.replies:
            digest.update(reply.tokens.tobytes())
    given = sum(len(prompt.replies) for prompt in prompts)
    counts = {"prompts": len(prompts), "sha256": digest.hexdigest()}
    return counts | ({"replies": given} if given else {})


def write_prompt_data(workdir: epath.Path, data: PromptDataset) -> None:
    """Writes `<workdir>/data.json`: what was kept of the datasets, what was dropped, and why."""
    longest = max(len(prompt.tokens) for prompt in data.prompts)
    counts = {"prompts": len(data.prompts), "longest_prompt": longest}
    _LOG.info("data: %d questions, the longest prompt has %d tokens", len(data.prompts), longest)
    value = counts | {"datasets": data.rows}
    if data.replies:
        value["given_replies"] = data.replies
    on_process_zero(lambda: write_json(workdir / "data.json", value))
