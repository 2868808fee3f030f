"""Made-up features of two models for the tests of the metrics of hidden states."""

import numpy as np

from jaxreason.analysis.metric_types import TextMeasurements


def features(texts=12, layers=3, width=6, seed=0):
    """[N, Z, D], another spread on every axis, about a mean that is not 0."""
    scales = 5.0 * 0.6 ** np.arange(width)
    return np.random.default_rng(seed).normal(size=(texts, layers, width)) * scales + 2.0


def rotation(width, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def turn(width, degrees, first=0, second=1):
    """A rotation in the plane of two coordinates."""
    angle, found = np.radians(degrees), np.eye(width)
    found[[first, second], [first, second]] = np.cos(angle)
    found[first, second], found[second, first] = np.sin(angle), -np.sin(angle)
    return found


def pair(base, tuned, pool="reply"):
    texts, states = base.shape[:2]
    mask = np.ones((texts, 1), bool)
    return TextMeasurements({pool: base}, {pool: tuned}, np.zeros((texts, states)), {}, mask)


def on_all(prepared, texts=12):
    return prepared.statistic(np.arange(texts))


def in_one_layer(base, layer, change):
    """The tuned features if only one layer's are changed."""
    tuned = base.copy()
    tuned[:, layer] = change(base[:, layer])
    return tuned
