import functools

import jax
import numpy as np
import pytest
from tiny_pair import measure_pair, params_of, question_states

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.loaded_weights import compare_weights
from jaxreason.analysis.metric_types import bootstrap


def moved():
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), params_of(0))


@functools.cache
def seen(reads, make_tuned):
    base, tuned = params_of(0), make_tuned()
    seen_by = {"texts": measure_pair, "questions": question_states, "weights": compare_weights}
    return seen_by[reads](base, tuned)


def itself():
    return params_of(0)


def prepared(name, make_tuned):
    metric = METRICS[name]
    return metric.prepare(seen(metric.reads, make_tuned))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_a_model_with_itself_is_zero(name):
    found = bootstrap(prepared(name, itself), 5, 20, (0,))
    for key, value in found.values.items():
        assert abs(value) < 1e-6, key
        assert np.abs(found.draws[key]).max() < 1e-6, key


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_two_different_models_is_not_zero(name):
    values = prepared(name, moved).statistic(np.arange(5))
    assert values and all(abs(value) > 1e-4 for value in values.values()), values
