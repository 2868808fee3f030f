import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import mesh_of, params_of, tiny_model

from jaxreason.analysis.loaded_weights import compare_weights, weight_drift
from jaxreason.models.decoder import param_shardings


def drift(base, tuned):
    prepared = weight_drift(compare_weights(base, tuned))
    return prepared.statistic(np.arange(0)), prepared.details


def test_scaling_all_weights_by_1_01_is_a_relative_distance_of_0_01():
    params = params_of(0)
    values, details = drift(params, jax.tree.map(lambda x: x * 1.01, params))
    assert values["relative_l2"] == pytest.approx(0.01, rel=1e-3)
    assert details["num_weights"] == sum(x.size for x in jax.tree.leaves(params))
    for kind in details["by_kind"].values():
        assert kind["relative_l2"] == pytest.approx(0.01, rel=1e-3)


def test_changes_below_the_resolution_of_bfloat16_do_not_count_as_changed():
    base = {"layers": {"mlp": {"kernel": jnp.ones((2, 4))}}}
    tuned = {"layers": {"mlp": {"kernel": jnp.ones((2, 4)).at[1, 0].set(1.5) + 1e-4}}}
    values, details = drift(base, tuned)
    assert values["changed_share"] == 1 / 8
    assert [layer["changed_share"] for layer in details["by_layer"]] == [0, 1 / 4]
    assert values["relative_l2"] == pytest.approx(np.sqrt((0.5001**2 + 7e-8) / 8), rel=1e-3)


def test_one_layers_change_is_seen_in_its_layer_and_kind_only():
    base = params_of(0)
    tuned = jax.tree.map(lambda x: x, base)
    kernel = base["layers"]["mlp"]["up_proj"]["kernel"]
    tuned["layers"]["mlp"]["up_proj"]["kernel"] = kernel.at[1].multiply(3)
    _, details = drift(base, tuned)
    assert details["by_layer"][0]["relative_l2"] == 0 < details["by_layer"][1]["relative_l2"]
    moved = {kind for kind, found in details["by_kind"].items() if found["relative_l2"]}
    assert moved == {"up_proj"}


def test_sharded_parameters_give_the_same_numbers():
    base, tuned = params_of(0), params_of(1)
    shardings = param_shardings(tiny_model(), mesh_of(8))
    spread = [jax.device_put(params, shardings) for params in (base, tuned)]
    for name, value in drift(base, tuned)[0].items():
        assert drift(*spread)[0][name] == pytest.approx(value, rel=1e-5)


def test_models_of_another_shape_are_refused_with_the_weights_name():
    base = {"a": {"kernel": jnp.ones((2, 4))}}
    with pytest.raises(ValueError, match=r"a\.kernel has shape \(2, 4\) in the base, \(3, 4\)"):
        compare_weights(base, {"a": {"kernel": jnp.ones((3, 4))}})
    with pytest.raises(ValueError, match=r"only one has a\.bias"):
        compare_weights(base, {"a": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(4)}})
