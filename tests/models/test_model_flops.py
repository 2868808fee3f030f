"""What an update costs by the closed formula, against products counted in a traced step; and MFU by hand."""

import jax
import jax.numpy as jnp
import pytest
from tiny_models import make_architecture, make_model

from jaxreason.models.decoder import abstract_params, forward
from jaxreason.models.device_peaks import DEVICE_KINDS, PEAK_FLOPS
from jaxreason.models.model_flops import (
    causal_attention,
    peak_flops,
    training_flops,
    utilization,
    weight_products,
)
from jaxreason.plan.flops import count_work
from jaxreason.plan.slices import GENERATIONS


def test_an_update_costs_three_times_what_the_products_of_a_forward_pass_do():
    model = make_model(make_architecture())
    arch, params = model.architecture, abstract_params(model)
    tokens = jax.ShapeDtypeStruct((1, 16), jnp.int32)

    def logits(params, tokens, positions):
        return forward(model, params, tokens, positions, jnp.ones_like(tokens)).logits

    counted = count_work(jax.make_jaxpr(logits)(params, tokens, tokens)).weights
    number = weight_products(params, arch.tie_word_embeddings)
    assert training_flops(arch, number, [16]) == 3 * (counted + causal_attention(arch, 16))


def test_sequences_add_up_and_attention_is_of_each_alone():
    arch = make_architecture()
    apart = training_flops(arch, 1000, [3]) + training_flops(arch, 1000, [5])
    assert training_flops(arch, 1000, [3, 5]) == apart
    assert training_flops(arch, 1000, [8]) > apart
    assert training_flops(arch, 1000, []) == 0


def test_mfu_is_the_share_of_the_peak_and_absent_without_one():
    assert utilization(3e12, 2.0, 6e12) == {"mfu": 0.25}
    assert utilization(3e12, 2.0, None) == {}


@pytest.mark.parametrize(("kind", "name"), [("TPU v5p", "v5p"), ("NVIDIA H200", "h200")])
def test_the_peak_of_a_mesh_is_the_sum_over_its_devices(kind, name):
    class Device:
        device_kind = kind

    class FourDevices:
        devices = __import__("numpy").array([[Device(), Device()], [Device(), Device()]])

    assert peak_flops(FourDevices) == 4 * PEAK_FLOPS[name]


def test_a_cpu_has_no_peak():
    assert peak_flops(jax.make_mesh((2,), ("data",))) is None


def test_every_device_has_the_peak_that_the_plan_computes_with():
    assert set(DEVICE_KINDS.values()) == set(PEAK_FLOPS) == set(GENERATIONS)
    assert {name: kind.flops for name, kind in GENERATIONS.items()} == PEAK_FLOPS
