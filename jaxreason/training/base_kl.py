"""Measures how far a model in training is from its base: KL(base || policy) on training prompts, full vocabulary.

RL's Razor (arXiv 2509.04259) predicts forgetting from E_x KL(base(y | x) || policy(y | x)), where x is a prompt of the
new task. By the chain rule this is a mean over replies y of the *base*; each reply contributes the sum over its tokens
of the KL between the two next-token distributions. So the base replies to some training prompts once, and both models
read these tokens at each measurement. The KL at each position is exact, and since the replies never change, no
sampling noise enters the curve.
"""

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.config import FREE, LEARNED, at_least
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, head
from jaxreason.models.fingerprint import fingerprint
from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.models.logprobs import full_kl
from jaxreason.results.training_files import read_base_replies, write_base_replies
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import num_parts, place_rows, to_host

_LOG = logging.getLogger(__name__)
SAVED = "The replies to training prompts are asked again; what was finished before is saved."
_LENGTHS = 128  # The rows' length is a multiple of this, as kernels need it.
_SLOTS = 64  # Replies that the base samples at the same time.
TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class BaseKLConfig:
    """The `base_kl` section inside a recipe's `sft` or `rl` section."""

    every: Annotated[int, at_least(0), FREE] = 0
    """Steps between two measurements; the last one follows the last step. 0 measures nothing and loads no base."""
    prompts: Annotated[int, at_least(1), LEARNED] = 64
    """Number of training prompts to measure on, drawn with the run's seed; all of them if there are fewer."""
    max_tokens: Annotated[int, at_least(1), LEARNED] = 512
    """The most tokens of the base's reply to a prompt."""


NO_BASE_KL = BaseKLConfig()


class ReplyRows(NamedTuple):
    """Prompts with the base's replies, one in each row.

    Attributes:
      tokens, positions: of the sequences; 0 in padding.
      segment_ids: 1; 0 in padding.
      in_reply: 1 at the tokens of the reply.
    """

    tokens: Int[Array, "B T"]
    positions: Int[Array, "B T"]
    segment_ids: Int[Array, "B T"]
    in_reply: Float[Array, "B T"]


class BaseKL:
    """Measures a run's policy against its base, and holds the base's parameters.

    Every process makes one and makes the same calls.

    Args:
      config: the recipe's section; nothing is loaded if it is off.
      model_config: the base.
      mesh: the devices of the base. It is held in the activations' dtype, in which both models compute.
      tokenizer: tells which tokens end a reply.
      prompts: training prompts as token ids; equal ones count once.
      workdir: working directory of the run; the base's replies are kept there.
      num_steps: steps of the run.
      seed: seed of the run.
      chunk: number of positions of a row whose logits are in memory at the same time.

    Raises:
      UserError: no prompt leaves room for a reply.
    """

    def __init__(
        self,
        config: BaseKLConfig,
        model_config: ModelConfig,
        mesh: Mesh,
        tokenizer: Tokenizer,
        prompts: Sequence[TokenIds],
        workdir: epath.Path,
        num_steps: int,
        seed: int,
        chunk: int,
    ):
        self._config, self._mesh, self._num_steps = config, mesh, num_steps
        if not config.every:
            return
        model, self._base = open_base(model_config, mesh, seed)
        chosen = choose_prompts(prompts, config, seed, model.architecture.max_position_embeddings)
        replies = self._replies(model, tokenizer, chosen, workdir, seed)
        parts = num_parts(mesh, "act_batch")
        self._batches = [place_rows(mesh, rows) for rows in make_reply_rows(chosen, replies, parts)]
        self._program = jax.jit(lambda *arrays: row_sums(model, *arrays, chunk=chunk))

    def _replies(self, model, tokenizer, prompts, workdir, seed) -> list[TokenIds]:
        made_with = {
            "weights": fingerprint(self._base),
            "seed": seed,
            "max_tokens": self._config.max_tokens,
            "prompts": hashlib.sha256(repr(prompts).encode()).hexdigest(),
        }
        found = on_process_zero(lambda: read_base_replies(workdir, made_with))
        if found is None:
            _LOG.info("base_kl: the base answers %d training prompts", len(prompts))
            found = sample_base(
                self._config, model, self._base, self._mesh, tokenizer, prompts, seed
            )
            on_process_zero(lambda: write_base_replies(workdir, made_with, found))
        return [tuple(reply) for reply in found]

    def due(self, step: int) -> bool:
        """Whether to measure after this step."""
        every = self._config.every
        return every > 0 and (step % every == 0 or step == self._num_steps)

    def measure(self, step: int, params: Any) -> dict[str, float]:
        """Returns the divergence of a policy after a step, in nats; an empty dict if it is not
        measured after this step.

        Returns:
          `base_kl`: mean over the tokens of replies. `base_kl_sequence`: mean over prompts of the sum over a
            reply, which is the KL of whole replies (of their first `max_tokens` tokens). `base_kl_prompt`: mean
            over the prompts' tokens.
        """
        if not self.due(step):
            return {}
        rows = [to_host(self._program(params, self._base, batch)) for batch in self._batches]
        sums = {name: np.concatenate([row[name] for row in rows]).astype(float) for name in rows[0]}
        return {
            "base_kl": sums["reply"].sum() / sums["reply_tokens"].sum(),
            "base_kl_sequence": sums["reply"].sum() / np.count_nonzero(sums["reply_tokens"]),
            "base_kl_prompt": sums["prompt"].sum() / max(sums["prompt_tokens"].sum(), 1.0),
        }


def open_base(model_config: ModelConfig, mesh: Mesh, seed: int) -> tuple[Model, Any]:
    """Opens the model that the run starts from, with parameters in the dtype of the matrix products.

    A model that starts at random is drawn in the same way as by the run.
    """
    if model_config.init == "pretrained":
        model_config = dataclasses.replace(model_config, param_dtype=model_config.dtype)
    return open_model(model_config, mesh, jax.random.key(seed))


def choose_prompts(
    prompts: Sequence[TokenIds], config: BaseKLConfig, seed: int, longest: int
) -> list[TokenIds]:
    """Chooses the prompts to measure on; each leaves room for a reply within `longest` positions.

    Raises:
      UserError: no prompt does.
    """
    room = longest - config.max_tokens
    fitting = [prompt for prompt in dict.fromkeys(map(tuple, prompts)) if 0 < len(prompt) <= room]
    if not fitting:
        raise UserError(
            f"base_kl.max_tokens={config.max_tokens}: no training prompt leaves room for so many in the model's "
            f"max_position_embeddings={longest}."
        )
    order = np.random.default_rng([seed, len(fitting)]).permutation(len(fitting))
    return [fitting[place] for place in sorted(order[: config.prompts].tolist())]


def sample_base(
    config: BaseKLConfig,
    model: Model,
    params: Any,
    mesh: Mesh,
    tokenizer: Tokenizer,
    prompts: Sequence[TokenIds],
    seed: int,
) -> list[list[int]]:
    """Samples the base's reply to each prompt from its own distribution (temperature 1, nothing cut off).

    Raises:
      UserError: a reply could not be sampled.
      SystemExit: with code 143, after a signal.
    """
    parts = num_parts(mesh, "act_batch")
    slots = -(-min(_SLOTS, len(prompts)) // parts) * parts
    sampler = SamplerConfig(
        slots=slots,
        max_length=max(map(len, prompts)) + config.max_tokens,
        prefill_tokens=256 * parts,
        score_tokens=1,
        gather_weights=False,
    )
    ends = tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode
    engine = Engine(model, params, sampler, mesh, *ends)
    decoding = SamplingParams(1.0, top_k=0, top_p=1.0, max_tokens=config.max_tokens, stop=())
    requests = [
        Request(str(place), prompt, _seed_of(seed, prompt), 1)
        for place, prompt in enumerate(prompts)
    ]
    with Interrupt() as interrupt:
        check = functools.partial(interrupt.check, SAVED)
        found = {int(done.id): done for done in engine.generate(requests, decoding, check=check)}
    for done in found.values():
        if done.finish_reason.startswith("error"):
            raise UserError(
                f"base_kl: the base's reply to a training prompt: {done.finish_reason}."
            )
    return [list(found[place].tokens) for place in range(len(prompts))]


def _seed_of(seed: int, prompt: TokenIds) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt}".encode()).digest()[:8], "big")


def make_reply_rows(
    prompts: Sequence[TokenIds], replies: Sequence[TokenIds], parts: int
) -> list[ReplyRows]:
    """Puts prompts and replies into batches of `parts` rows with one shape; the last batch may have empty rows."""
    longest = max(len(p) + len(r) for p, r in zip(prompts, replies, strict=True))
    length = -(-longest // _LENGTHS) * _LENGTHS
    count = -(-len(prompts) // parts) * parts
    whole = [np.zeros((count, length), np.int32) for _ in range(3)]
    rows = ReplyRows(*whole, np.zeros((count, length), np.float32))
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        stop = len(prompt) + len(reply)
        rows.tokens[row, :stop] = (*prompt, *reply)
        rows.positions[row, :stop] = np.arange(stop)
        rows.segment_ids[row, :stop] = 1
        rows.in_reply[row, len(prompt) : stop] = 1.0
    return [
        ReplyRows(*(x[start : start + parts] for x in rows)) for start in range(0, count, parts)
    ]


def row_sums(
    model: Model, params: Any, base: Any, rows: ReplyRows, *, chunk: int
) -> dict[str, Float[Array, " B"]]:
    """Returns for each row the sums of KL(base || policy) over the tokens of the reply and of the
    prompt, and their numbers.

    The KL of a token is that of the distributions that predict it; the first token of a prompt has none.
    """
    place = rows.tokens, rows.positions, rows.segment_ids
    finals = [forward(_held(model, one), one, *place).final for one in (base, params)]
    kl = full_kl(
        finals[0],
        head(model, base),
        finals[1],
        head(model, params),
        rows.tokens,
        chunk=chunk,
        segment_ids=rows.segment_ids,
    )
    in_prompt = ((rows.segment_ids > 0) & (rows.positions > 0)) * (1.0 - rows.in_reply)
    return {
        "reply": jnp.sum(kl * rows.in_reply, axis=1),
        "reply_tokens": jnp.sum(rows.in_reply, axis=1),
        "prompt": jnp.sum(kl * in_prompt, axis=1),
        "prompt_tokens": jnp.sum(in_prompt, axis=1),
    }


def _held(model: Model, params: Any) -> Model:
    """The model as these parameters are held: `forward` keeps the casts of wider ones in its loop over the layers."""
    return dataclasses.replace(model, param_dtype=str(jax.tree.leaves(params)[0].dtype))
