"""The sizes of a sampling engine, as a recipe gives them."""

from dataclasses import dataclass
from typing import Annotated, get_args

from jaxreason.config import FREE, LEARNED, at_least, check_ranges
from jaxreason.errors import UserError
from jaxreason.models.sampling_layout import WeightDtype, Weights
from jaxreason.sampling.kv_cache import CacheDtype
from jaxreason.sampling.slots import Sizes
from jaxreason.sharding import RULES

_SHARE = f"the devices that share the rows (mesh axes {' × '.join(RULES['act_batch'])})"


@dataclass(frozen=True)
class SamplerConfig:
    """Sizes of the engine; each fixes a shape on the device.

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
    """Tokens that belong to one prompt; what its last block has no token for is padding."""
    score_tokens: Annotated[int, at_least(1), FREE] = 4096
    """Prompt tokens of one dispatch when scoring."""
    page_size: Annotated[int, at_least(1), FREE] = 64
    """Positions of a page of the cache."""
    pages: Annotated[int, at_least(0), FREE] = 0
    """Of the cache, over all devices; 0: enough for all slots at max_length and a dispatch of prompts. With
    fewer, as many sequences are let in as fit by how long replies have been, and some may wait for others to
    end.
    """
    top_logprobs: Annotated[int, at_least(0), FREE] = 0
    """Likeliest tokens told with each token of a reply."""
    cache_dtype: Annotated[CacheDtype, LEARNED] = "auto"
    """Of keys and values: "auto" (that of the activations), "bfloat16" or "int8"."""
    weight_dtype: Annotated[WeightDtype, LEARNED] = "auto"
    """Of the layers' kernels: "auto" (that of the activations) or "int8"; scoring uses them too."""
    gather_weights: Annotated[bool, FREE] = True
    """Keep them whole on every device that has rows of its own (in parts by `tensor` only), rather than split
    as the trainer's and collected again for every token.
    """

    def __post_init__(self) -> None:
        check_ranges(self, "sampler")
        for name, valid in (("cache_dtype", CacheDtype), ("weight_dtype", WeightDtype)):
            if getattr(self, name) not in get_args(valid):
                expected, got = ", ".join(get_args(valid)), getattr(self, name)
                raise UserError(f"sampler.{name}: expected one of {expected}, got {got!r}")

    @property
    def weights(self) -> Weights:
        """How weights are kept."""
        return Weights(self.weight_dtype, self.gather_weights)

    @property
    def prefill_blocks(self) -> int:
        """Blocks of one dispatch, over all devices."""
        return self.prefill_tokens // self.prefill_block

    @property
    def prefills_between(self) -> int:
        """Most prefill dispatches between two blocks of decoding: together no more tokens than a block decodes."""
        return max(self.slots * self.decode_block // self.prefill_tokens, 1)

    def sizes(self, parts: int) -> Sizes:
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
        return Sizes(
            *(self.slots, self.max_length, self.decode_block, self.page_size, pages),
            self.top_logprobs,
            self.cache_dtype,
        )
