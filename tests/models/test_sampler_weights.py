"""Parameters laid out for sampling give what stacked ones give."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny_models import counting, make_architecture, make_model, random_tokens

from jaxreason.models import decoder, sampler_weight_loading, sampler_weights
from jaxreason.models.decoder import abstract_params, forward, init_cache, init_params
from jaxreason.models.sampler_weight_loading import part_programs, read_layout, replace_params
from jaxreason.models.sampler_weights import (
    WeightLayout,
    abstract_layout,
    lay_out,
    sampling_model,
)
from jaxreason.sharding import MeshConfig, make_mesh

ONE, MANY = (1, 1, 1, 1), (1, 4, 2, 1)
THREE_PARTS = (1, 1, 3, 1)  # Two key/value heads cannot be divided by three.


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Weights are laid out as a GPU's sampler has them."""
    programs = sampler_weights.copy_program, sampler_weights.layer_program
    for program in programs:
        program.cache_clear()
    monkeypatch.setattr(sampler_weights, "_platform", lambda mesh: "gpu")
    yield
    for program in programs:
        program.cache_clear()


# 4 x 20 rows are no longer few
@pytest.mark.parametrize(
    ("sizes", "length", "cached", "remat"),
    [(ONE, 1, True, "full"), (ONE, 20, False, "none"), (MANY, 12, True, "none")],
)
def test_the_layout_for_sampling_gives_the_same_outputs(sizes, length, cached, remat):
    model = make_model(make_architecture(), unroll=3, remat=remat)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    tokens = random_tokens((4, length))
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        cache = init_cache(model, 4, 32) if cached else None
        run = jax.jit(
            lambda model, params: forward(model, params, tokens, counting(tokens), cache=cache),
            static_argnums=0,
        )
        laid_out = lay_out(model, mesh, params)
        stacked, apart = run(model, params), run(sampling_model(model, mesh), laid_out)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), stacked, apart)


@pytest.mark.parametrize(("sizes", "unroll"), [(ONE, 1), (ONE, 3), (MANY, 1), (MANY, 3)], ids=str)
def test_int8_kernels_give_what_the_rounded_kernels_give(sizes, unroll):
    model = make_model(make_architecture(), unroll=unroll, remat="full")
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    tokens = random_tokens((4, 12))
    run = jax.jit(lambda m, p: forward(m, p, tokens, counting(tokens)).logits, static_argnums=0)
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        exact, rounded = (
            run(model, params),
            run(model, jax.tree_util.tree_map_with_path(by_hand, params)),
        )
        laid_out = lay_out(model, mesh, params, WeightLayout("int8"))
        found = run(sampling_model(model, mesh, "int8"), laid_out)
    np.testing.assert_allclose(found, rounded, atol=2e-5)
    assert np.abs(found - exact).max() > 1e-3
    layer = laid_out["layers"] if unroll == 1 else laid_out["layers"][0]
    assert layer["mlp"]["up_proj"]["kernel"].dtype == "int8"


@pytest.mark.parametrize("dtype", ["auto", "int8"])
@pytest.mark.parametrize(("sizes", "parts"), [(ONE, 1), (MANY, 2), (THREE_PARTS, 0)], ids=str)
def test_on_gpus_kernels_with_the_same_input_are_one(as_on_a_gpu, sizes, parts, dtype):
    model = make_model(make_architecture(attention_bias=True))
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    tokens = random_tokens((4, 12))
    run = jax.jit(lambda m, p: forward(m, p, tokens, counting(tokens)).logits, static_argnums=0)
    with jax.set_mesh(mesh):
        params = jax.tree.map(
            lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size)).reshape(x.shape),  # No bias is zero.
            init_params(model, jax.random.key(0), mesh),
        )
        rounded = jax.tree_util.tree_map_with_path(by_hand, params) if dtype == "int8" else params
        laid_out = lay_out(model, mesh, params, WeightLayout(dtype))
        wanted = sampling_model(model, mesh, dtype)
        expected, found = run(model, rounded), run(wanted, laid_out)
    np.testing.assert_allclose(found, expected, atol=5e-5)
    assert wanted.fused == parts
    names = {"qkv_proj", "o_proj"} if parts else {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {n for n in laid_out["layers"][0]["self_attn"] if n.endswith("proj")} == names
    # Attention has two products in each of three layers, and the head is one.
    products = run.lower(wanted, laid_out).as_text().count("stablehlo.dot_general")
    assert products == 3 * ((4 if parts else 7) + 2) + 1


def by_hand(path, x):
    """A layer's kernel rounded to 255 steps between the extremes of each output."""
    if path[0].key != "layers" or path[-1].key != "kernel":
        return x
    x = np.asarray(x)
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    return np.round(x / step) * step


def test_kernels_are_output_first_and_sharded_as_the_sampling_model_says():
    model = make_model(make_architecture(), unroll=3)
    mesh = make_mesh(MeshConfig(1, 4, 2, 1), jax.devices()[:8])
    params = lay_out(model, mesh, init_params(model, jax.random.key(0), mesh))
    assert params["layers"][2]["mlp"]["up_proj"]["kernel"].shape == (40, 24)
    assert params["lm_head"]["kernel"].shape == (61, 24)
    assert params["layers"][0]["mlp"]["up_proj"]["kernel"].sharding.spec == P("tensor", "fsdp")


@pytest.mark.parametrize("unroll", [1, 3])
def test_weights_are_kept_in_the_dtype_of_the_activations(unroll):
    model = make_model(make_architecture(), unroll=unroll, dtype="bfloat16", remat="full")
    mesh = make_mesh(MeshConfig(*ONE), jax.devices()[:1])
    tokens = random_tokens((2, 70))  # no few rows
    run = jax.jit(lambda m, p: forward(m, p, tokens, counting(tokens)).logits, static_argnums=0)
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        laid_out = lay_out(model, mesh, params)
        assert {str(x.dtype) for x in jax.tree.leaves(laid_out)} == {"bfloat16"}
        expected, found = run(model, params), run(sampling_model(model, mesh), laid_out)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert found.dtype == "float32"


@pytest.mark.parametrize("unroll", [1, 3])
def test_gathered_weights_are_split_by_heads_alone_and_give_the_same_outputs(unroll):
    model = make_model(make_architecture(), unroll=unroll)
    mesh = make_mesh(MeshConfig(*MANY), jax.devices()[:8])
    tokens = random_tokens((4, 12))
    run = jax.jit(lambda m, p: forward(m, p, tokens, counting(tokens)).logits, static_argnums=0)
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        gathered = lay_out(model, mesh, params, WeightLayout(gathered=True))
        expected, found = run(model, params), run(sampling_model(model, mesh), gathered)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    axes = {
        axis for x in jax.tree.leaves(gathered) for axis in jax.tree.leaves(tuple(x.sharding.spec))
    }
    assert axes == {"tensor"}


def test_new_copies_take_the_place_of_the_old_ones():
    model = make_model(make_architecture(), unroll=1)
    mesh = make_mesh(MeshConfig(*MANY), jax.devices()[:8])
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        first = lay_out(model, mesh, params, WeightLayout(gathered=True))
        places = [buffers(x) for x in jax.tree.leaves(first)]
        params = jax.tree.map(lambda x: 2 * x, params)
        second = lay_out(model, mesh, params, WeightLayout(gathered=True), first)
    assert all(x.is_deleted() for x in jax.tree.leaves(first))
    assert sorted(places) == sorted(buffers(x) for x in jax.tree.leaves(second))
    np.testing.assert_array_equal(second["norm"]["scale"], params["norm"]["scale"])


def buffers(x):
    return sorted(shard.data.unsafe_buffer_pointer() for shard in x.addressable_shards)


@pytest.mark.parametrize("sizes", [ONE, MANY], ids=str)
def test_the_plan_knows_what_a_gpu_gets(as_on_a_gpu, sizes):
    test_the_plan_knows_what_the_layout_makes(sizes)


@pytest.mark.parametrize("sizes", [MANY], ids=str)
def test_the_plan_knows_what_the_layout_makes(sizes):
    model = make_model(make_architecture(), unroll=3, dtype="bfloat16")
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    for weights in (WeightLayout(), WeightLayout("int8"), WeightLayout(gathered=True)):
        made = lay_out(model, mesh, init_params(model, jax.random.key(0), mesh), weights)
        planned = abstract_layout(model, mesh, weights)
        same = jax.tree.map(
            lambda a, b: (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding),
            made,
            planned,
        )
        assert all(jax.tree.leaves(same))


def test_only_models_with_all_layers_unrolled_are_laid_out_anew():
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    models = [make_model(make_architecture(), unroll=n) for n in (1, 2, 3)]
    assert [sampling_model(m, mesh).output_first for m in models] == [False, False, True]
    params = init_params(models[0], jax.random.key(0), mesh)
    kept = jax.tree.map(lambda a, b: a is b, params, lay_out(models[0], mesh, params))
    assert all(jax.tree.leaves(kept))


@pytest.mark.parametrize(
    ("sizes", "unroll", "dtype"), [(ONE, 1, "auto"), (ONE, 3, "auto"), (MANY, 3, "int8")], ids=str
)
def test_parameters_replaced_one_by_one_are_those_laid_out_together(sizes, unroll, dtype):
    held = replace_all(sizes, unroll, dtype)
    assert max(held) == held[0]  # no second copy grows beside the first


@pytest.mark.parametrize(("sizes", "dtype"), [(ONE, "auto"), (MANY, "int8")], ids=str)
def test_parameters_that_a_gpu_keeps_as_one_are_replaced_together(as_on_a_gpu, sizes, dtype):
    held = replace_all(sizes, 1, dtype)
    attention = abstract_params(make_model(make_architecture()))["layers"]["self_attn"]
    before = [4 * attention[name]["kernel"].size for name in ("q_proj", "k_proj")]
    assert max(held) - held[0] == sum(before)  # Those of all layers, when `v_proj` is read.


@pytest.mark.parametrize(
    ("sizes", "unroll", "dtype"),
    [(ONE, 1, "auto"), (ONE, 3, "auto"), (MANY, 3, "int8"), (MANY, 1, "auto")],
    ids=str,
)
def test_parameters_read_one_by_one_are_those_laid_out_together(sizes, unroll, dtype):
    read_all(sizes, unroll, dtype)


@pytest.mark.parametrize(("sizes", "dtype"), [(ONE, "auto"), (MANY, "int8")], ids=str)
def test_a_gpu_gets_the_largest_parameter_first_layer_by_layer(as_on_a_gpu, sizes, dtype):
    read = read_all(sizes, 1, dtype)
    # In this small model attention is larger than the rest of a layer.
    first = [(name, layer) for layer in range(3) for name in ("k_proj", "q_proj", "v_proj")]
    assert sorted((path[-2].key, layer) for path, layer in read[:9]) == sorted(first)


def test_while_layers_are_read_there_is_no_second_copy_of_more_than_a_few(as_on_a_gpu):
    model = make_model(make_architecture(num_hidden_layers=24))
    mesh = make_mesh(MeshConfig(*ONE), jax.devices()[:1])
    shapes = dict(jax.tree_util.tree_leaves_with_path(abstract_params(model)))
    before, given, excess = live_bytes(), [], []

    def read(path, before_it=None, layer=None):
        excess.append(live_bytes() - before - sum(given))
        shape = shapes[path].shape if layer is None else shapes[path].shape[1:]
        given.append(4 * math.prod(shape))
        return jax.device_put(np.ones(shape, np.float32), jax.devices()[0])

    with jax.set_mesh(mesh):
        made = read_layout(model, mesh, read)
    joined = [made["layers"][0]["self_attn"]["qkv_proj"], made["layers"][0]["mlp"]["gate_up_proj"]]
    largest = max(x.nbytes for x in jax.tree.leaves(joined))
    # Those that are laid out while others are read, and the one before them.
    assert max(excess) <= (sampler_weight_loading._AHEAD + 1) * largest
    assert live_bytes() - before == sum(given) == sum(x.nbytes for x in jax.tree.leaves(made))


def live_bytes():
    return sum(x.nbytes for x in jax.live_arrays())


def test_a_layer_that_cannot_be_read_ends_the_reading_with_its_error():
    model = make_model(make_architecture(), unroll=3)
    mesh = make_mesh(MeshConfig(*ONE), jax.devices()[:1])

    def read(path, before=None, layer=None):
        if layer == 1:
            raise OSError("the disk is gone")
        return jnp.ones(
            dict(jax.tree_util.tree_leaves_with_path(abstract_params(model)))[path].shape[1:]
        )

    with jax.set_mesh(mesh), pytest.raises(OSError, match="the disk is gone"):
        read_layout(model, mesh, read)


def read_all(sizes, unroll, dtype):
    """Reads all parameters into the sampler's layout and compares them; returns what was read, in order."""
    model = make_model(make_architecture(), unroll=unroll)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    weights, calls, waited = WeightLayout(dtype), [], []

    def read(path, before=None, layer=None):
        jax.block_until_ready(before)
        calls.append((path, layer))
        return jnp.copy(flat[path] if layer is None else flat[path][layer])

    with jax.set_mesh(mesh):
        new = init_params(model, jax.random.key(1), mesh)
        flat = dict(jax.tree_util.tree_leaves_with_path(new))
        expected = lay_out(model, mesh, new, weights)
        found = read_layout(model, mesh, read, weights, waited.append)
    assert waited == list(part_programs(model, mesh, weights))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.sharding == wanted.sharding
        np.testing.assert_array_equal(one, wanted)
    apart = isinstance(found["layers"], tuple)
    assert sorted(map(str, calls)) == sorted(
        str((path, layer))
        for path in flat
        for layer in (range(3) if apart and path[0].key == "layers" else [None])
    )
    return calls


def replace_all(sizes, unroll, dtype):
    """Replaces all parameters and compares them; returns the bytes of all arrays before each was read."""
    model = make_model(make_architecture(), unroll=unroll)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    weights, held = WeightLayout(dtype), []

    def read(path):
        held.append(sum(x.nbytes for x in jax.live_arrays()))
        return jnp.copy(flat[path])

    with jax.set_mesh(mesh):
        new = init_params(model, jax.random.key(1), mesh)
        expected = lay_out(model, mesh, new, weights)
        flat = dict(jax.tree_util.tree_leaves_with_path(new))
        replaced = lay_out(model, mesh, init_params(model, jax.random.key(0), mesh), weights)
        replace_params(model, mesh, replaced, read, weights)
    assert jax.tree.structure(replaced) == jax.tree.structure(expected)
    for found, wanted in zip(jax.tree.leaves(replaced), jax.tree.leaves(expected), strict=True):
        assert found.sharding == wanted.sharding
        np.testing.assert_array_equal(found, wanted)
    assert len(held) == len(flat)
    return held


def test_unrolled_layers_are_traced_once(monkeypatch):
    traced = []
    attend = decoder.Attention.__call__
    monkeypatch.setattr(
        decoder.Attention, "__call__", lambda *args: traced.append(1) or attend(*args)
    )
    model = make_model(make_architecture(), unroll=3)
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        params = lay_out(model, mesh, init_params(model, jax.random.key(0), mesh))
        assert len(params["layers"]) == 3
        sampler = sampling_model(model, mesh)
        tokens = np.zeros((1, 8), np.int32)
        jax.jit(forward, static_argnums=0).trace(sampler, params, tokens, tokens)
    assert len(traced) == 1
