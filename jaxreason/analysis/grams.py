"""Inner products of texts' features, which stand in for D x D matrices where there are fewer texts than dimensions,
and sums over many resamples of the texts at once.

A resample is given by how often it holds each text, so that a sum over its texts is a product with those counts.
"""

import numpy as np
from jaxtyping import Float, Int

FLAT = 1e-6  # a spread below this share of the features' size is float32's rounding


def counts(texts: Int[np.ndarray, "r n"], num_texts: int) -> Float[np.ndarray, "r N"]:
    """How often each selection holds each of `num_texts` texts."""
    rows = np.arange(len(texts))[:, None] * num_texts
    found = np.bincount((texts + rows).ravel(), minlength=len(texts) * num_texts)
    return found.reshape(len(texts), num_texts).astype(np.float64)


def centred(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Features about the mean of all texts, in float64; all 0 where they vary by no more than rounding."""
    features = features.astype(np.float64)
    found = features - features.mean(0)
    flat = np.linalg.norm(found) <= FLAT * np.linalg.norm(features)
    return np.zeros_like(found) if flat else found


def scatter(
    kernel: Float[np.ndarray, "N N"], held: Float[np.ndarray, "r N"]
) -> Float[np.ndarray, " r"]:
    """The sum of squared distances from the mean, of each resample's texts.

    Args:
      kernel: inner products x_i . y_j of the features of one or of two models; of two it is the sum over texts of
        (x - mean x) . (y - mean y).
      held: how often a resample holds each text.
    """
    each = held @ np.diagonal(kernel)
    return each - ((held @ kernel) * held).sum(1) / held.sum(1)
