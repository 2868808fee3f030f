"""Rotary position embedding: frequencies for each way of scaling them, and the rotation itself.

ROPE_SCALING maps Hugging Face's `rope_type` to a frozen dataclass of that type's settings; each knows how it
changes the frequencies. Formulas: Su et al. 2021 (arXiv 2104.09864); linear: Chen et al. 2023 (2306.15595);
YaRN: Peng et al. 2023 (2309.00071); llama3: as released with Llama 3.1.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxreason.sharding import platform


def plain_frequencies(theta: float, head_dim: int) -> np.ndarray:
    """Angle a position turns each of the H/2 pairs by, float32: theta ** (-2i / H)."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return (1.0 / np.float32(theta) ** exponents).astype(np.float32)


@dataclass(frozen=True)
class LinearRope:
    """Positions divided by `factor`."""

    factor: float

    def frequencies(self, theta: float, head_dim: int) -> tuple[np.ndarray, float]:
        """Scaled frequencies [H/2] and the factor on cos and sin."""
        return plain_frequencies(theta, head_dim) / np.float32(self.factor), 1.0


@dataclass(frozen=True)
class Llama3Rope:
    """Slow frequencies divided by `factor`, fast ones kept, a linear blend in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def frequencies(self, theta: float, head_dim: int) -> tuple[np.ndarray, float]:
        """Scaled frequencies [H/2] and the factor on cos and sin."""
        plain = plain_frequencies(theta, head_dim)
        turns = self.original_max_position_embeddings * plain / (2 * math.pi)
        # Equal factors leave nothing in between.
        width = (self.high_freq_factor - self.low_freq_factor) or 1e-30
        kept = (turns - self.low_freq_factor) / width
        kept = np.clip(kept, 0.0, 1.0)
        return ((1 - kept) * plain / self.factor + kept * plain).astype(np.float32), 1.0


@dataclass(frozen=True)
class YarnRope:
    """Pairs that turn often are kept, those that turn rarely are divided by `factor`; attention is sharpened."""

    factor: float
    original_max_position_embeddings: int
    attention_factor: float | None
    beta_fast: float
    beta_slow: float
    mscale: float | None
    mscale_all_dim: float | None
    truncate: bool

    def frequencies(self, theta: float, head_dim: int) -> tuple[np.ndarray, float]:
        """Scaled frequencies [H/2] and the factor on cos and sin."""
        plain = plain_frequencies(theta, head_dim)
        low, high = (
            self._pair_of(self.beta_fast, theta, head_dim),
            self._pair_of(self.beta_slow, theta, head_dim),
        )
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        ramp = (np.arange(head_dim // 2, dtype=np.float32) - low) / (
            high - low if high != low else 0.001
        )
        interpolated = np.clip(ramp, 0.0, 1.0)
        scaled = plain / self.factor * interpolated + plain * (1 - interpolated)
        return scaled.astype(np.float32), self._attention_factor()

    def _pair_of(self, turns: float, theta: float, head_dim: int) -> float:
        """The (fractional) pair that turns this often within the original context."""
        context = self.original_max_position_embeddings
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    def _attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _mscale(self.factor, self.mscale) / _mscale(self.factor, self.mscale_all_dim)
        return _mscale(self.factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


RopeScaling = LinearRope | Llama3Rope | YarnRope

ROPE_SCALING: dict[str, type] = {"linear": LinearRope, "llama3": Llama3Rope, "yarn": YarnRope}


def rope_tables(
    positions: Int[Array, "B T"], theta: float, head_dim: int, scaling: RopeScaling | None
) -> tuple[Float[Array, "B T 1 h"], Float[Array, "B T 1 h"]]:
    """cos and sin of every position's angles, float32, h = H / 2, with a dim for the heads."""
    if scaling is None:
        frequencies, factor = plain_frequencies(theta, head_dim), 1.0
    else:
        frequencies, factor = scaling.frequencies(theta, head_dim)
    angles = positions.astype(jnp.float32)[..., None, None] * frequencies
    cos, sin = _cos_and_sin(angles)
    return cos * factor, sin * factor


def _cos_and_sin(angles: Float[Array, "... h"]) -> tuple[Array, Array]:
    if platform() != "cpu" or angles.shape[-1] % 2:
        return jnp.cos(angles), jnp.sin(angles)
    # XLA's CPU compiler makes them again in every layer, for every head, unless they come from a loop.
    halves = jnp.moveaxis(angles.reshape(*angles.shape[:-1], 2, -1), -2, 0)
    found = jax.lax.map(lambda half: (jnp.cos(half), jnp.sin(half)), halves)
    return tuple(jnp.moveaxis(x, 0, -2).reshape(angles.shape) for x in found)


def rotate(
    x: Float[Array, "B T N H"], cos: Float[Array, "B T 1 h"], sin: Float[Array, "B T 1 h"]
) -> Float[Array, "B T N H"]:
    """Turns each pair (i, i + H/2) of every head by its angle; in float32, result in the dtype of `x`."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
