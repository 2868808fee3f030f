"""Where the arrays of a state live, and that its abstract description is the real one."""

import dataclasses

import jax
import numpy as np
import pytest
from test_optimizer import CONSTANT, MUON
from tiny_sft import ADAMW, ARCHITECTURE, MODEL

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_axes, param_shardings
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import static_model
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.state import abstract_train_state, init_state, warn_of_rounding

STATIC = Model(architecture_from_hf(ARCHITECTURE), "float32", "bfloat16", "none", "plain", 1)


def empty_params(mesh):
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_params(STATIC))
    return jax.device_put(zeros, param_shardings(STATIC, mesh))


def describe(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), state)


@pytest.mark.parametrize("config", [ADAMW, CONSTANT, MUON])
def test_the_abstract_state_describes_the_real_one(config):
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    optimizer = make_optimizer(config, 10, param_axes(STATIC))
    with jax.set_mesh(mesh):
        real = init_state(optimizer, empty_params(mesh), mesh)
    assert real.step == 0
    assert describe(abstract_train_state(STATIC, optimizer, mesh)) == describe(real)


@pytest.mark.parametrize("config", [ADAMW, MUON])
def test_every_moment_lies_as_its_parameter(config):
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    optimizer = make_optimizer(config, 10, param_axes(STATIC))
    state = abstract_train_state(STATIC, optimizer, mesh)
    kernel = state.params["layers"]["mlp"]["up_proj"]["kernel"]
    assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, "fsdp", "tensor")
    found = jax.tree_util.tree_leaves_with_path(state.opt_state)
    moments = [x for path, x in found if "up_proj" in jax.tree_util.keystr(path)]
    assert len(moments) == (2 if config.name == "adamw" else 1)
    assert all(x.sharding == kernel.sharding for x in moments)
    counts = [x for path, x in found if x.ndim == 0]
    assert counts and all(x.sharding.is_fully_replicated for x in counts)


def test_a_model_described_without_its_parameters_is_the_one_that_is_opened():
    model = static_model(MODEL)
    assert model.architecture == architecture_from_hf(ARCHITECTURE)
    assert (model.dtype, model.attention, model.unroll) == ("float32", "plain", 1)
    with pytest.raises(ValueError, match="no/such"):
        static_model(
            dataclasses.replace(MODEL, init="pretrained", path="/no/such", architecture={})
        )


def test_parameters_in_bfloat16_are_warned_of_before_they_are_trained(caplog):
    warn_of_rounding(dataclasses.replace(STATIC, param_dtype="float32"))
    assert not caplog.records
    warn_of_rounding(STATIC)
    (record,) = caplog.records
    assert "model.param_dtype=bfloat16: a step changes no weight by less than about 1/256" in (
        record.getMessage()
    )
