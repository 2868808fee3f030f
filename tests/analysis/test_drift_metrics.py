import dataclasses
import functools

import jax
import numpy as np
import pytest
from tiny_pair import make_unit, measure_pair, params_of, question_states

from jaxreason.analysis import metric_files
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
    found = bootstrap(prepared(name, itself), range(5), 20, (0,))
    for key, value in found.values.items():
        assert abs(value) < 1e-6, key
        assert np.abs(found.draws[key]).max() < 1e-6, key


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_two_different_models_is_not_zero(name):
    values = prepared(name, moved).statistic(np.arange(5))
    assert values and all(abs(value) > 1e-4 for value in values.values()), values


def test_each_metric_is_evaluated_once_on_all_texts_and_draws_texts_of_one_question_together(
    monkeypatch,
):
    """All texts are of one question here, so no resample differs from the texts themselves."""
    texts = tuple(dataclasses.replace(text, cluster="one") for text in make_unit().texts)
    unit = dataclasses.replace(make_unit(), texts=texts)
    section = {"resamples": 7, "seed": 0, "components": 3, "shift_threshold": 0.01}
    names = tuple(name for name, metric in METRICS.items() if metric.reads == "texts")
    times, at_once = dict.fromkeys(names, 0), {}

    def counted(name, prepare, *given, **taken):
        made = prepare(*given, **taken)
        at_once[name] = made.statistics is not None

        def statistic(texts):
            times[name] += 1
            return made.statistic(texts)

        return made._replace(statistic=statistic)

    for name in names:
        prepare = functools.partial(counted, name, METRICS[name].prepare)
        monkeypatch.setitem(METRICS, name, METRICS[name]._replace(prepare=prepare))
    made = metric_files.part(names, unit, seen("texts", moved), section)["metrics"]
    for name in names:
        assert times[name] == 1 + (0 if at_once[name] else 7), name
        for key, value in made[name]["values"].items():
            np.testing.assert_allclose(made[name]["draws"][key], value, rtol=1e-5, atol=1e-9)
