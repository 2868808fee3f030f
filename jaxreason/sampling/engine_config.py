"""The sizes of an engine, as recipes declare them and as its programs use them, and the counters of its work."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args

from jaxreason.config import FREE, LEARNED, at_least, check_ranges, within
from jaxreason.errors import UserError
from jaxreason.models.architecture import Architecture
from jaxreason.models.sampler_weights import WeightDtype, WeightLayout
from jaxreason.sampling.cache_engine import CacheDtype
from jaxreason.sharding import RULES

MOST = 999_999  # Tokens or steps of a dispatch, and positions of a page: more than any machine has room for.
_SHARE = f"the devices that share the rows (mesh axes {' × '.join(RULES['act_batch'])})"


class EngineSizes(NamedTuple):
    """The sizes that fix the programs' shapes: slots, positions of a sequence, steps of a dispatch, and the pool."""

    slots: int
    length: int
    steps: int
    page_size: int
    pages: int  # Over all parts, including page 0 of each part.
    top_logprobs: int = 0  # How many of the most likely tokens are returned with each token.
    cache_dtype: CacheDtype = "auto"

    @property
    def columns(self) -> int:
        """The number of pages of the longest sequence."""
        return -(-self.length // self.page_size)


@dataclass(frozen=True)
class SamplerConfig:
    """The sizes of the engine; each of them determines a shape on the device.

    Raises:
      ValueError: a number is too small, or a dtype is unknown.
    """

    slots: Annotated[int, at_least(1), FREE]
    """The number of sequences that are decoded at the same time."""
    max_length: Annotated[int, at_least(2), LEARNED]
    """The most tokens of a sequence, prompt and reply together."""
    decode_block: Annotated[int, within(1, MOST), FREE] = 32
    """The most decode steps of one dispatch."""
    prefill_tokens: Annotated[int, within(1, MOST), FREE] = 2048
    """Prompt tokens of one dispatch, from any number of prompts."""
    prefill_block: Annotated[int, within(1, MOST), FREE] = 16
    """Tokens of a prefill block. A block belongs to one prompt; only the last block of a prompt may have padding."""
    score_tokens: Annotated[int, within(1, MOST), FREE] = 4096
    """Prompt tokens of one dispatch when scoring."""
    page_size: Annotated[int, within(1, MOST), FREE] = 64
    """Positions of a page of the cache."""
    pages: Annotated[int, at_least(0), FREE] = 0
    """Pages of the cache, over all devices; 0 means enough for all slots at max_length and a dispatch of prompts. With
    fewer pages, the number of running sequences is chosen from the lengths of earlier replies, and some may wait for
    others to end.
    """
    top_logprobs: Annotated[int, at_least(0), FREE] = 0
    """How many of the most likely tokens are returned with each token of a reply."""
    cache_dtype: Annotated[CacheDtype, LEARNED] = "auto"
    """The dtype of keys and values: "auto" (that of the activations), "bfloat16" or "int8"."""
    weight_dtype: Annotated[WeightDtype, LEARNED] = "auto"
    """The dtype of the layers' kernels: "auto" (that of the activations) or "int8"; scoring uses them too."""
    gather_weights: Annotated[bool, FREE] = True
    """Keeps the weights whole on every device that has rows of its own (split by `tensor` only), instead of split as
    the trainer's are and gathered again for every token.
    """

    def __post_init__(self) -> None:
        check_ranges(self, "sampler")
        for name, valid in (("cache_dtype", CacheDtype), ("weight_dtype", WeightDtype)):
            if getattr(self, name) not in get_args(valid):
                expected, got = ", ".join(get_args(valid)), getattr(self, name)
                raise UserError(f"sampler.{name}: expected one of {expected}, got {got!r}")

    @property
    def weights(self) -> WeightLayout:
        """The layout of the sampler's weights."""
        return WeightLayout(self.weight_dtype, self.gather_weights)

    @property
    def prefill_blocks(self) -> int:
        """Prefill blocks of one dispatch, over all devices."""
        return self.prefill_tokens // self.prefill_block

    @property
    def prefills_between(self) -> int:
        """The most prefills between two blocks of decoding: their tokens are at most those of a block. At least 1."""
        return max(self.slots * self.decode_block // self.prefill_tokens, 1)

    def check_model(self, architecture: Architecture) -> None:
        """Checks that a model has as many positions and tokens as the sizes ask for.

        Raises:
          ValueError: it has fewer.
        """
        limit, vocab = architecture.max_position_embeddings, architecture.vocab_size
        if self.max_length > limit:
            raise UserError(
                f"sampler.max_length={self.max_length} exceeds the model's max_position_embeddings={limit}"
            )
        if self.top_logprobs > vocab:
            raise UserError(
                f"sampler.top_logprobs={self.top_logprobs} exceeds the model's vocabulary of {vocab} tokens"
            )

    def sizes(self, parts: int) -> EngineSizes:
        """Returns the sizes of the programs if `parts` parts of the mesh have rows of their own.

        Raises:
          ValueError: slots, prompt tokens or pages cannot be divided evenly over the parts.
        """
        for name in ("slots", "pages"):
            if getattr(self, name) % parts:
                raise UserError(
                    f"sampler.{name}={getattr(self, name)}: expected a multiple of {parts}, {_SHARE}"
                )
        if self.prefill_tokens % (parts * self.prefill_block):
            raise UserError(
                f"sampler.prefill_tokens={self.prefill_tokens}: expected a multiple of "
                f"{parts * self.prefill_block}, prefill_block={self.prefill_block} tokens for each of {_SHARE}"
            )
        columns = -(-self.max_length // self.page_size)
        prompts = max(columns, -(-self.prefill_tokens // (parts * self.page_size)))
        # Page 0 of each part is never given out.
        enough = self.slots * columns + parts * (1 + prompts)
        pages = self.pages or enough
        return EngineSizes(
            slots=self.slots,
            length=self.max_length,
            steps=self.decode_block,
            page_size=self.page_size,
            pages=pages,
            top_logprobs=self.top_logprobs,
            cache_dtype=self.cache_dtype,
        )


@dataclass
class EngineStats:
    """Counters of an engine's dispatches and tokens since it was made."""

    prefill_dispatches: int = 0
    prefilled_tokens: int = 0
    padded_tokens: int = 0  # The capacity of those dispatches: `prefilled_tokens` and padding.
    shared_tokens: int = 0  # Prompt tokens found in pages that were already filled.
    decode_dispatches: int = 0
    decode_steps: int = 0  # Steps of each dispatch until its last slot stopped, summed.
    decoded_tokens: int = 0
    waiting_slots: int = 0  # Slots without a page for their next token, summed over dispatches.
    # From the arrival of a block on the host to the next dispatch: the devices wait for the host.
    host_seconds: float = 0.0


class WeightSync(NamedTuple):
    """The cost of copying the newest weights for the sampler; zero if it uses the trainer's own."""

    weights_bytes: int  # On one device.
    weights_seconds: float
