"""Loads and encodes the examples of an SFT run, makes their batches, and counts what was kept and dropped."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from etils import epath

from jaxreason.data.batches import BatchConfig, PackedBatches
from jaxreason.data.encoding import encode_examples
from jaxreason.data.examples import each_reply, load_examples
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import write_json
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.training.sft_config import SFTConfig

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The encoded examples of all datasets.

    Attributes:
      sequences: tokens and loss mask of each example.
      contents: dataset, by its name in the recipe -> counts and a hash of tokens and masks.
      rows: what was kept and what was dropped, and why, by dataset.
      ids: for each sequence, its dataset's name in the recipe, a slash, and the example's id.
    """

    sequences: list[tuple[list[int], list[int]]]
    contents: dict[str, dict]
    rows: dict[str, dict]
    ids: list[str]


def load_data(config: SFTConfig, tokenizer: Tokenizer) -> TrainingData:
    """Loads and encodes the examples of the recipe's datasets.

    Raises:
      UserError: no example is left, or none has a token to learn.
    """
    drops = DropLog()
    named = [(e, name) for name, d in config.datasets.items() for e in load_examples(d, drops)]
    if config.every_reply:
        named = [(part, name) for example, name in named for part in each_reply(example)]
    examples = [example for example, _ in named]
    kept, sequences = encode_examples(
        examples, tokenizer, config.thinking, config.length, drops, config.overlong
    )
    names = {id(example): name for example, name in named}
    of_dataset = {name: [] for name in config.datasets}
    for example, sequence in zip(kept, sequences, strict=True):
        of_dataset[names[id(example)]].append(sequence)
    contents = {name: _contents(members) for name, members in of_dataset.items()}
    if not any(found["target_tokens"] for found in contents.values()):
        raise UserError("sft.datasets: no example has a token to learn, so nothing can be learned.")
    ids = [f"{names[id(example)]}/{example.id}" for example in kept]
    return TrainingData(sequences, contents, drops.to_json(), ids)


def _contents(sequences: list[tuple[list[int], list[int]]]) -> dict:
    """Returns the identity of a run's data. The order counts, since the batches of a run depend on it."""
    digest = hashlib.sha256()
    for tokens, mask in sequences:
        digest.update(np.asarray([len(tokens), *tokens, *mask], np.int64).tobytes())
    return {
        "sequences": len(sequences),
        "tokens": sum(len(tokens) for tokens, _ in sequences),
        "target_tokens": sum(sum(mask) for _, mask in sequences),
        "sha256": digest.hexdigest(),
    }


def make_batches(
    config: SFTConfig, data: TrainingData, block: tuple[int, int], seed: int
) -> PackedBatches:
    """Returns the run's batches; `block` says which rows of each batch belong to this process."""
    plan = BatchConfig(
        batch_size=config.batch_size,
        length=config.length,
        pack=config.pack,
        micro_batch_rows=config.micro_batch_rows,
        seed=seed,
        epochs=config.epochs,
    )
    return PackedBatches(data.sequences, plan, *block)


def write_training_data(workdir: epath.Path, data: TrainingData, num_steps: int) -> None:
    """Writes `<workdir>/data.json`: what was kept of the datasets, what was dropped, and why."""
    names = ("sequences", "tokens", "target_tokens")
    totals = {n: sum(found[n] for found in data.contents.values()) for n in names}
    value = totals | {"num_steps": num_steps, "datasets": data.rows}
    on_process_zero(lambda: write_json(workdir / "data.json", value))
    tokens, learned = (f"{totals[name]:,}" for name in names[1:])
    _LOG.info("data: %d sequences, %s tokens, %s learned", totals["sequences"], tokens, learned)


def prompts_of(sequences: Sequence[tuple[list[int], list[int]]]) -> list[tuple[int, ...]]:
    """Returns, for each sequence that has a target token, the tokens before the first one."""
    return [tuple(tokens[: mask.index(1)]) for tokens, mask in sequences if 1 in mask]
