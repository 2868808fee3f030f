"""FLOPs counted from traced programs, against products counted by hand and a closed formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import make_architecture, make_model

from jaxreason.models.decoder import abstract_params, forward
from jaxreason.models.model_flops import causal_attention, weight_products
from jaxreason.plan.flops import count_work


def work(function, *shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_work(jax.make_jaxpr(function)(*args))


def test_a_product_counts_two_for_each_multiplication():
    assert work(lambda x, w: x @ w, (3, 5), (5, 7)).weights == 2 * 3 * 5 * 7


def test_a_scan_counts_as_often_as_it_runs_and_a_branch_as_the_costlier():
    def stacked(x, weights):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, weights)[0]

    def either(x, w):
        return jax.lax.cond(jnp.sum(x) > 0, lambda: x @ w, lambda: (x @ w) @ w)

    assert work(stacked, (3, 5), (4, 5, 5)).weights == 4 * 2 * 3 * 5 * 5
    assert work(either, (3, 5), (5, 5)).weights == 2 * 2 * 3 * 5 * 5


def test_a_gradient_costs_three_times_and_recomputation_once_more():
    def loss(x, w):
        return jnp.sum(jnp.sin(x @ w))

    plain = work(jax.value_and_grad(loss, argnums=(0, 1)), (3, 5), (5, 7)).weights
    remade = jax.value_and_grad(jax.checkpoint(loss), argnums=(0, 1))
    again = work(remade, (3, 5), (5, 7)).weights
    assert plain == 3 * 2 * 3 * 5 * 7
    assert again == 4 * 2 * 3 * 5 * 7


def test_products_of_activations_with_each_other_are_counted_apart():
    found = work(lambda q, k: jnp.einsum("BTH,BSH->BTS", q, k), (2, 3, 5), (2, 7, 5))
    assert (found.weights, found.attention) == (0, 2 * 2 * 3 * 7 * 5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_models_forward_pass_is_two_flops_a_weight_and_all_pairs_of_attention(tied):
    model = make_model(make_architecture(tie_word_embeddings=tied))
    arch, params, (rows, length) = model.architecture, abstract_params(model), (2, 16)
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)

    def logits(params, tokens, positions):
        return forward(model, params, tokens, positions, jnp.ones_like(tokens)).logits

    found = count_work(jax.make_jaxpr(logits)(params, tokens, tokens))
    heads = arch.num_attention_heads * arch.head_dim
    pairs = 4 * rows * length**2 * heads * arch.num_hidden_layers
    by_hand = (
        arch.num_hidden_layers
        * arch.hidden_size
        * (2 * heads + 2 * arch.num_key_value_heads * arch.head_dim + 3 * arch.intermediate_size)
    )
    by_hand += arch.vocab_size * arch.hidden_size
    assert weight_products(params, tied) == by_hand
    assert found.weights == 2 * rows * length * by_hand
    assert found.attention == pairs


def test_causal_attention_counts_the_visible_pairs_only():
    model = make_model(make_architecture())
    arch, length = model.architecture, 16
    visible = np.tril(np.ones((length, length))).sum()
    heads = arch.num_attention_heads * arch.head_dim
    assert causal_attention(arch, length) == 4 * visible * heads * arch.num_hidden_layers
    assert math.isclose(causal_attention(arch, 4096), 2 * 4096**2 * heads * 3, rel_tol=1e-3)


def test_a_product_that_nobody_reads_is_not_counted():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))

    def step(a, b):
        unused = a @ b @ b.T
        return a @ b, unused.shape[0]

    assert count_work(jax.make_jaxpr(step)(a, b)).weights == 2 * 4 * 8 * 16


def test_keeping_what_attention_gives_spares_its_kernel_the_second_forward_run():
    def kernels(remat):
        model = make_model(make_architecture(head_dim=64), attention="splash", remat=remat)
        tokens = jnp.zeros((1, 128), jnp.int32)

        def loss(params):
            return jnp.sum(forward(model, params, tokens, tokens, tokens + 1).final)

        return count_work(jax.make_jaxpr(jax.grad(loss))(abstract_params(model)))

    full, kept = kernels("full"), kernels("attention")
    layers = 3
    assert full.kernels - kept.kernels == layers
    assert kept.weights == full.weights
    assert kernels("weight_dots_attention").kernels == kernels("none").kernels == kept.kernels
    assert kernels("weight_dots_attention").weights == kernels("none").weights
