"""Schedules by hand; AdamW and Muon against numpy."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_sft import ADAMW, ARCHITECTURE

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_axes
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    MuonConfig,
    OptimizerConfig,
    is_matrix,
    make_optimizer,
    make_schedule,
)

CONSTANT = dataclasses.replace(ADAMW, schedule="constant", warmup_steps=0, clip_norm=0.0)
MUON = dataclasses.replace(
    CONSTANT,
    name="muon",
    muon=MuonConfig(momentum=0.9, rms=0.2, num_iterations=5, embeddings=False),
)
AXES = {
    "embedding": ("vocab", "embed"),
    "layers": {"kernel": ("layers", "embed", "mlp"), "scale": ("layers", "embed")},
}


def random_tree(seed):
    random = np.random.default_rng(seed)
    shapes = {"embedding": (7, 6), "layers": {"kernel": (3, 6, 4), "scale": (3, 6)}}
    return jax.tree.map(
        lambda shape: random.normal(size=shape).astype(np.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def updates_of(config, gradients, params, num_steps=100):
    """The updates that follow from gradients given one after the other, at unchanged parameters."""
    optimizer = make_optimizer(config, num_steps, AXES)
    state, found = optimizer.init(params), []
    for gradient in gradients:
        update, state = jax.jit(optimizer.update)(gradient, state, params)
        found.append(jax.device_get(update))
    return found


def adam(gradients, b1, b2, eps):
    """Kingma and Ba's direction after each gradient."""
    first = second = 0
    for count, g in enumerate(gradients, start=1):
        first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g**2
        yield first / (1 - b1**count) / (np.sqrt(second / (1 - b2**count)) + eps)


def test_the_rate_warms_up_to_the_peak_and_falls_along_a_cosine_to_the_end():
    config = dataclasses.replace(ADAMW, learning_rate=1.0, warmup_steps=4, final_fraction=0.1)
    schedule = make_schedule(config, 14)
    rates = np.array([schedule(count) for count in range(15)])
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0], rtol=1e-6)
    # From the peak at count 4 to the end at count 14, one after the last; halfway at count 9.
    np.testing.assert_allclose(rates[[9, 14]], [0.55, 0.1], rtol=1e-5)
    assert np.all(np.diff(rates[4:]) < 0)


def test_the_linear_and_the_constant_schedule():
    linear = dataclasses.replace(
        ADAMW, learning_rate=1.0, schedule="linear", warmup_steps=0, final_fraction=0.5
    )
    rates = [float(make_schedule(linear, 4)(count)) for count in range(5)]
    np.testing.assert_allclose(rates, [1.0, 0.875, 0.75, 0.625, 0.5], rtol=1e-6)
    constant = dataclasses.replace(linear, schedule="constant", warmup_steps=2)
    rates = [float(make_schedule(constant, 5)(count)) for count in range(5)]
    np.testing.assert_allclose(rates, [0.5, 1, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_at_the_peak_never_rises_and_ends_at_its_fraction(name):
    config = dataclasses.replace(
        ADAMW, learning_rate=1.0, schedule=name, warmup_steps=0, final_fraction=0.25
    )
    rates = [float(make_schedule(config, 8)(count)) for count in range(9)]
    assert rates[0] == 1.0 and np.all(np.diff(rates) <= 0)
    assert rates[-1] == pytest.approx(1.0 if name == "constant" else 0.25, rel=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_against_the_gradient_of_each_tensor(name):
    muon = MUON.muon if name == "muon" else None
    config = dataclasses.replace(CONSTANT, name=name, muon=muon, weight_decay=0.0)
    gradient = random_tree(1)
    found = updates_of(config, [gradient], random_tree(0))[0]
    for update, slope in zip(jax.tree.leaves(found), jax.tree.leaves(gradient), strict=True):
        assert np.sum(update * slope) < 0


def test_adamw_equals_the_formula_and_decays_matrices_only():
    params, gradients = random_tree(0), [random_tree(seed) for seed in (1, 2, 3)]
    found = updates_of(CONSTANT, gradients, params)[-1]
    kernels = [g["layers"]["kernel"] for g in gradients]
    scales = [g["layers"]["scale"] for g in gradients]
    direction = list(adam(kernels, 0.9, 0.95, 1e-8))[-1]
    expected = -1e-2 * (direction + 0.1 * params["layers"]["kernel"])
    np.testing.assert_allclose(found["layers"]["kernel"], expected, rtol=1e-4, atol=1e-7)
    expected = -1e-2 * list(adam(scales, 0.9, 0.95, 1e-8))[-1]
    np.testing.assert_allclose(found["layers"]["scale"], expected, rtol=1e-4, atol=1e-7)


def newton_schulz(matrix):
    """Five steps of Jordan's quintic iteration on one matrix, wide side last."""
    if matrix.shape[0] > matrix.shape[1]:
        return newton_schulz(matrix.T).T
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_muon_orthogonalises_every_layer_by_itself():
    params, gradient = random_tree(0), random_tree(1)
    found = updates_of(MUON, [gradient], params)[0]["layers"]["kernel"]
    for layer in range(3):
        # The first momentum, corrected for its start at zero, is a multiple of the gradient.
        direction = newton_schulz(gradient["layers"]["kernel"][layer])
        decayed = 0.2 * np.sqrt(6) * direction + 0.1 * params["layers"]["kernel"][layer]
        np.testing.assert_allclose(found[layer], -1e-2 * decayed, rtol=1e-3, atol=1e-6)
        singular = np.linalg.svd(direction, compute_uv=False)
        assert np.all((singular > 0.6) & (singular < 1.3))


def test_with_muon_vectors_and_embeddings_get_adamw():
    params, gradients = random_tree(0), [random_tree(seed) for seed in (1, 2)]
    with_muon = updates_of(MUON, gradients, params)
    with_adam = updates_of(CONSTANT, gradients, params)
    for a, b in zip(with_muon, with_adam, strict=True):
        np.testing.assert_allclose(a["layers"]["scale"], b["layers"]["scale"], rtol=1e-5)
        np.testing.assert_allclose(a["embedding"], b["embedding"], rtol=1e-5)
    everywhere = dataclasses.replace(MUON, muon=dataclasses.replace(MUON.muon, embeddings=True))
    found = updates_of(everywhere, gradients[:1], params)[0]["embedding"]
    direction = newton_schulz(gradients[0]["embedding"])
    expected = -1e-2 * (0.2 * np.sqrt(7) * direction + 0.1 * params["embedding"])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped_to_the_global_norm():
    params, gradient = random_tree(0), random_tree(1)
    norm = np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(gradient)))
    clipped = dataclasses.replace(CONSTANT, clip_norm=float(norm) / 2, eps=1.0)
    halved = jax.tree.map(lambda x: x / 2, gradient)
    found = updates_of(clipped, [gradient], params)[0]
    expected = updates_of(dataclasses.replace(CONSTANT, eps=1.0), [halved], params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


@pytest.mark.parametrize("config", [CONSTANT, MUON])
def test_momentum_is_kept_in_the_dtype_asked_for_and_second_moments_in_float32(config):
    narrow = dataclasses.replace(config, state_dtype="bfloat16")
    state = make_optimizer(narrow, 10, AXES).init(random_tree(0))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [(jax.tree_util.keystr(path), x) for path, x in leaves if x.ndim]
    assert {x.dtype for name, x in named if ".mu" in name} == {jnp.dtype("bfloat16")}
    assert {x.dtype for name, x in named if ".nu" in name} == {jnp.dtype("float32")}


def allowed_state_dtypes():
    kind = typing.get_type_hints(OptimizerConfig)["state_dtype"]
    return typing.get_args(kind)


@pytest.mark.parametrize("dtype", allowed_state_dtypes())
def test_gradients_as_small_as_a_large_models_make_the_updates_of_float32_in_every_dtype(dtype):
    # A norm of 0.01 over 14 billion weights is 1e-7 for each.
    params = random_tree(0)
    small = [jax.tree.map(lambda x: x * np.float32(1e-7), random_tree(i)) for i in range(1, 5)]
    found, exact = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(updates_of(config, small, params))])
        for config in (dataclasses.replace(CONSTANT, state_dtype=dtype), CONSTANT)
    )
    assert np.linalg.norm(found - exact) < 0.02 * np.linalg.norm(exact)


def test_in_a_real_model_matrices_are_what_has_two_sides():
    arch = architecture_from_hf(
        ARCHITECTURE | {"model_type": "qwen2", "tie_word_embeddings": False}
    )
    model = Model(arch, "float32", "float32", "none", "plain", 1)
    flags = jax.tree.map(is_matrix, param_axes(model), is_leaf=lambda x: isinstance(x, tuple))
    named = jax.tree_util.tree_leaves_with_path(flags)
    vectors = {path[-1].key for path, flag in named if not flag}
    matrices = {path[-1].key for path, flag in named if flag}
    assert vectors == {"scale", "bias"} and matrices == {"kernel", "embedding"}
    assert jax.tree.structure(flags) == jax.tree.structure(abstract_params(model))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "adam"}, "optimizer.name='adam': expected one of adamw, muon"),
        ({"schedule": "cos"}, "optimizer.schedule='cos': expected one of constant, linear, cosine"),
        ({"warmup_steps": 10}, "optimizer.warmup_steps=10: .* fewer than the 10 steps"),
        ({"muon": MUON.muon}, "optimizer.muon: expected .* None otherwise; name is 'adamw'"),
        ({"name": "muon"}, "optimizer.muon: expected a section when name is 'muon'"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_field(changes, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(dataclasses.replace(ADAMW, **changes), 10, AXES)
