"""The sizes of an engine, as a recipe gives them and as its programs have them, and what it counts of its work."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args

from jaxreason.config import FREE, LEARNED, at_least, check_ranges
from jaxreason.errors import UserError
from jaxreason.models.sampler_weights import WeightDtype, WeightLayout
from jaxreason.sampling.cache_engine import CacheDtype
from jaxreason.sharding import RULES

_SHARE = f"the devices that share the rows (mesh axes {' × '.join(RULES['act_batch'])})"


class EngineSizes(NamedTuple):
    """The sizes that fix the programs' shapes: slots, positions of a sequence, steps of a dispatch, and the pool."""

    slots: int
    length: int
    steps: int
    page_size: int
    pages: int  # over all parts, each part's page 0 included
    top_logprobs: int = 0  # likeliest tokens told with each token
    cache_dtype: CacheDtype = "auto"

    @property
    def columns(self) -> int:
        """Pages of the longest sequence."""
        return -(-self.length // self.page_size)


@dataclass(frozen=True)
class SamplerConfig:
    """EngineSizes of the engine; each fixes a shape on the device.

    Raises:
      ValueError: a field is smaller than it can be, or no dtype.
    """

    slots: Annotated[int, at_least(1), FREE]
    """Sequences decoded at a time."""
    max_length: Annotated[int, at_least(2), LEARNED]
    """Most tokens of a sequence, prompt and reply."""
    decode_block: Annotated[int, at_least(1), FREE] = 32
    """Most decode steps of one dispatch."""
    prefill_tokens: Annotated[int, at_least(1), FREE] = 2048
    """Prompt tokens of one dispatch, of any number of prompts one after the other."""
    prefill_block: Annotated[int, at_least(1), FREE] = 16
    """Tokens of a block; a block belongs to one prompt, and its last block may end in padding."""
    score_tokens: Annotated[int, at_least(1), FREE] = 4096
    """Prompt tokens of one dispatch when scoring."""
    page_size: Annotated[int, at_least(1), FREE] = 64
    """Positions of a page of the cache."""
    pages: Annotated[int, at_least(0), FREE] = 0
    """Pages of the cache, over all devices; 0: enough for all slots at max_length and a dispatch of prompts. With
    fewer, as many sequences are let in as fit by how long replies have been, and some may wait for others to
    end.
    """
    top_logprobs: Annotated[int, at_least(0), FREE] = 0
    """How many likeliest tokens are returned with each token of a reply."""
    cache_dtype: Annotated[CacheDtype, LEARNED] = "auto"
    """The dtype of keys and values: "auto" (that of the activations), "bfloat16" or "int8"."""
    weight_dtype: Annotated[WeightDtype, LEARNED] = "auto"
    """The dtype of the layers' kernels: "auto" (that of the activations) or "int8"; scoring uses them too."""
    gather_weights: Annotated[bool, FREE] = True
    """Keeps weights whole on every device that has rows of its own (in parts by `tensor` only), rather than split
    as the trainer's and collected again for every token.
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
        """Blocks of one dispatch, over all devices."""
        return self.prefill_tokens // self.prefill_block

    @property
    def prefills_between(self) -> int:
        """Most prefill dispatches between two blocks of decoding: together no more tokens than a block decodes."""
        return max(self.slots * self.decode_block // self.prefill_tokens, 1)

    def sizes(self, parts: int) -> EngineSizes:
        """The shapes of the programs where `parts` parts of the mesh have rows of their own.

        Raises:
          ValueError: slots, prompt tokens or pages do not divide over them.
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
        enough = self.slots * columns + parts * (1 + prompts)  # a part's page 0 is nobody's
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
    """Counts of an engine's dispatches and tokens since it was made."""

    prefill_dispatches: int = 0
    prefilled_tokens: int = 0
    padded_tokens: int = 0  # what those dispatches have room for: `prefilled_tokens` and padding
    shared_tokens: int = 0  # of prompts, found in pages that others had filled
    decode_dispatches: int = 0
    decode_steps: int = 0  # over all dispatches, until the last slot of each stopped
    decoded_tokens: int = 0
    waiting_slots: int = 0  # slots without a page for their next token, summed over the dispatches
    # from a block's arrival to the next dispatch, while devices wait for the host
    host_seconds: float = 0.0


class WeightSync(NamedTuple):
    """The cost of copying the newest weights for the sampler; nothing if it uses the trainer's own."""

    weights_bytes: int  # on a device
    weights_seconds: float
