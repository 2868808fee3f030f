"""Replies to the prompts that a model was trained on, as texts for drift.

RL's Razor (arXiv 2509.04259) predicts forgetting from KL(base || tuned) on the new task's prompts. By the chain rule
that is measured on replies of the *base* to these prompts (`base_kl`). So the base replies to a sample of them once,
and runs that learn from the same questions, asked alike, share its replies.
"""

import hashlib
import logging
from collections.abc import Sequence

from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis.drift import DriftConfig
from jaxreason.analysis.texts import Unit, make_text
from jaxreason.config import claimed, parse
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.models.huggingface import ModelSource
from jaxreason.results.claims import recorded
from jaxreason.results.groups import TRAINING
from jaxreason.results.sample_files import Marks
from jaxreason.results.training_files import (
    TRAINING_PROMPTS,
    read_training_file,
    write_training_file,
)
from jaxreason.rl.prompts import load_prompts
from jaxreason.rl.rl_config import RLConfig
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.training.base_kl import BaseKLConfig, TokenIds, sample_base
from jaxreason.training.run_reader import TrainedRun, read_run
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.sft_data import load_data, prompts_of

_LOG = logging.getLogger(__name__)
NO_RUN = "the model was given, not trained here: its training prompts are not known"
NONE_FITS = "no training prompt leaves room for a reply of so many tokens"


def training_units(
    config: DriftConfig,
    run_folder: epath.PathLike,
    workdir: epath.PathLike,
    base: ModelSource,
    tuned: ModelSource,
    mesh: Mesh,
) -> list[Unit]:
    """Returns the units of replies to training prompts that drift reads; none if the settings ask for none.

    Called by every process, under `jax.set_mesh(mesh)`.

    Args:
      config: how many prompts, how long the replies are, and which models reply.
      run_folder: folder of the training run. If it does not exist, the units have no texts and say why.
      workdir: folder of the study, or another folder that its runs share; replies are kept in
        `training_prompts/` there.
      base: the model that replies in the unit `base`.
      tuned: the model that replies in the unit `tuned`.
      mesh: where to sample.

    Raises:
      UserError: the run's data cannot be read, or a file is broken.
    """
    if not config.training_prompts:
        return []
    run_folder, workdir = epath.Path(run_folder), epath.Path(workdir)
    if not on_process_zero((run_folder / "config.json").exists):
        return [_empty(source, NO_RUN) for source in config.training_replies]
    run = read_run(run_folder)
    positions = min(one.architecture().max_position_embeddings for one in (base, tuned))
    longest = positions - config.training_tokens
    tokenizer = run.tokenizer or base.config.path  # The base's folder may have moved since the run.
    prompts = on_process_zero(lambda: _prompts(config, run, tokenizer, longest, workdir))
    if not prompts:
        return [_empty(source, NONE_FITS) for source in config.training_replies]
    sources = {"base": base, "tuned": tuned}
    replies = {
        source: _replies(config, sources[source], tokenizer, prompts, workdir, mesh)
        for source in config.training_replies
    }
    marks = Marks(*on_process_zero(lambda: _marks(tokenizer)))
    return [_unit(source, prompts, found, marks) for source, found in replies.items()]


def _marks(tokenizer: str) -> Marks:
    known = load_tokenizer(tokenizer)
    return Marks(tuple(known.begin), tuple(known.stop_ids))


def _empty(source: str, why: str) -> Unit:
    return Unit(TRAINING_PROMPTS, TRAINING, source, (), 0, 0, why)


def _unit(
    source: str, prompts: Sequence[TokenIds], replies: Sequence[TokenIds], marks: Marks
) -> Unit:
    pairs = zip(prompts, replies, strict=True)
    texts = [make_text(_hash(p)[:16], p, r, marks) for p, r in pairs if r]
    return Unit(TRAINING_PROMPTS, TRAINING, source, tuple(texts), 0, len(prompts) - len(texts))


def _prompts(
    config: DriftConfig, run: TrainedRun, tokenizer: str, longest: int, workdir: epath.Path
) -> list[list[int]]:
    """Chooses prompts that leave room for a reply, in the order of their hashes: equal data gives equal prompts."""
    made_with = {
        "data": run.claimed["data"],
        "number": config.training_prompts,
        "longest": longest,
    }
    found = read_training_file(workdir, "prompts", made_with)
    if found is None:
        every = dict.fromkeys(map(tuple, _all_prompts(run, load_tokenizer(tokenizer))))
        fitting = [prompt for prompt in every if 0 < len(prompt) <= longest]
        found = [list(p) for p in sorted(fitting, key=_hash)[: config.training_prompts]]
        write_training_file(workdir, "prompts", made_with, found)
    return found


def _all_prompts(run: TrainedRun, tokenizer: Tokenizer) -> list[TokenIds]:
    """Returns the prompts of a run, encoded as the run asks them."""
    where = f"{run.folder / 'config.json'}: {run.stage}"
    cls = SFTConfig if run.stage == "sft" else RLConfig
    # An older version may have written this record.
    config = parse(cls, recorded(cls, run.section), where)
    if run.stage == "sft":
        return prompts_of(load_data(config, tokenizer).sequences)
    return [x.tokens for x in load_prompts(config, tokenizer).prompts]


def _replies(
    config: DriftConfig,
    source: ModelSource,
    tokenizer: str,
    prompts: Sequence[Sequence[int]],
    workdir: epath.Path,
    mesh: Mesh,
) -> list[TokenIds]:
    """Returns a model's replies to the prompts, sampled from its own distribution; they are sampled once and kept."""
    prompts = [tuple(prompt) for prompt in prompts]
    made_with = {
        "weights": source.identity,
        "run": claimed(source.config),
        "prompts": _hash(prompts),
        "max_tokens": config.training_tokens,
        "seed": config.seed,
    }
    found = on_process_zero(lambda: read_training_file(workdir, "replies", made_with))
    if found is None:
        _LOG.info("%s answers %d training prompts", source.name, len(prompts))
        how = BaseKLConfig(prompts=len(prompts), max_tokens=config.training_tokens)
        given = load_tokenizer(tokenizer), prompts, config.seed
        found = sample_base(how, *source.open(), mesh, *given)
        on_process_zero(lambda: write_training_file(workdir, "replies", made_with, found))
    return [tuple(reply) for reply in found]


def _hash(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
