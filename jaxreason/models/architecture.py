"""The static description of a model: its architecture, and how it is run. Parameters are apart."""

from dataclasses import dataclass

from jaxreason.errors import UserError
from jaxreason.models.attention import ATTENTION
from jaxreason.models.remat import REMAT
from jaxreason.models.rope import RopeScaling


@dataclass(frozen=True)
class Architecture:
    """Sizes and switches of the network. Fields have the names that Hugging Face's config.json gives them."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    max_position_embeddings: int
    tie_word_embeddings: bool
    attention_bias: bool  # on q, k, v
    attention_output_bias: bool  # on o
    qk_norm: bool
    sliding_window: int | None
    initializer_range: float

    def __post_init__(self):
        if self.num_attention_heads % self.num_key_value_heads:
            raise UserError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}."
            )
        if self.head_dim % 2:
            raise UserError(
                f"head_dim={self.head_dim}: expected an even number, since rotary embedding turns pairs."
            )


@dataclass(frozen=True)
class Model:
    """Everything static about a model: hashable, so it can be closed over or be a static argument of jit."""

    architecture: Architecture
    dtype: str  # of activations
    param_dtype: str  # of parameters
    remat: str  # key of REMAT
    attention: str  # key of ATTENTION
    unroll: int  # layers per iteration of the scan
    # only `sampler_weights` asks for these
    output_first: bool = False  # kernels are [out, in]
    int8: bool = False  # those of the layers are whole numbers with a scale for each output
    # kernels with the same input are one, side by side in each of so many parts; 0: each is apart
    fused: int = 0

    def __post_init__(self):
        check_how(self.dtype, self.param_dtype, self.remat, self.attention, self.unroll)


def check_how(dtype: str, param_dtype: str, remat: str, attention: str, unroll: int) -> None:
    """Checks how a model is run, whatever its architecture is.

    Raises:
      UserError: names the field of the recipe's model, the valid values and the given one.
    """
    dtypes = ("float32", "bfloat16", "float16")
    for field, value, valid in (
        ("dtype", dtype, dtypes),
        ("param_dtype", param_dtype, dtypes),
        ("remat", remat, REMAT),
        ("attention", attention, ATTENTION),
    ):
        if value not in valid:
            raise UserError(f"model.{field}={value!r}: expected one of {', '.join(valid)}.")
    if unroll < 1:
        raise UserError(f"model.unroll={unroll}: expected at least 1.")
