"""The decoder: who sees whom, the cache, sharding, settings that must matter, and what unused outputs cost."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import counting, make_architecture, make_model, random_params, random_tokens, run

from jaxreason.models import architecture, decoder
from jaxreason.models.attention import ATTENTION, CACHE_BLOCK
from jaxreason.models.flash_attention import BLOCK
from jaxreason.models.hf_config import architecture_from_hf, architecture_to_hf
from jaxreason.models.remat import REMAT
from jaxreason.models.rope import LinearRope, Llama3Rope, YarnRope
from jaxreason.sharding import MeshConfig, make_mesh

CLOSE = dict(atol=2e-5, rtol=1e-5)
YARN = YarnRope(4.0, 4096, None, 32.0, 1.0, 0.7, 0.4, True)
LLAMA3 = Llama3Rope(4.0, 1.0, 4.0, 24)


@pytest.fixture(scope="module")
def arch():
    return make_architecture()


@pytest.fixture(scope="module")
def params(arch):
    return random_params(decoder.abstract_params(make_model(arch)))


def test_qwen3_14b_has_14_768_307_200_parameters():
    config = dict(
        model_type="qwen3",
        vocab_size=151936,
        hidden_size=5120,
        intermediate_size=17408,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=8,
        head_dim=128,
        rope_theta=1000000,
        max_position_embeddings=40960,
    )
    model = make_model(architecture_from_hf(config), param_dtype="bfloat16")
    assert sum(x.size for x in jax.tree.leaves(decoder.abstract_params(model))) == 14_768_307_200


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_a_network_is_made_by_nothing_that_flax_will_remove(arch):
    params = decoder.init_params(make_model(arch), jax.random.key(0))
    first, second = params["layers"]["mlp"]["down_proj"]["kernel"][:2]
    assert (first != second).mean() > 0.99


def test_every_parameter_has_a_logical_name_for_every_dim(arch):
    model = make_model(arch)
    shapes, axes = decoder.abstract_params(model), decoder.param_axes(model)
    ranks = jax.tree.map(lambda x, names: (x.ndim, len(names)), shapes, axes)
    assert all(a == b for a, b in jax.tree.leaves(ranks, is_leaf=lambda n: isinstance(n, tuple)))
    assert axes["layers"]["mlp"]["down_proj"]["kernel"] == ("layers", "mlp", "embed")


CHANGES = dict(
    vocab_size=62,
    hidden_size=28,
    intermediate_size=44,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=3,
    head_dim=8,
    rms_norm_eps=1e-5,
    rope_theta=5000.0,
    rope_scaling=LinearRope(2.0),
    max_position_embeddings=64,
    tie_word_embeddings=True,
    attention_bias=False,
    attention_output_bias=False,
    qk_norm=False,
    sliding_window=4,
    initializer_range=0.1,
)


@functools.cache
def _program(arch):
    """What is run, as text: initialisation, the forward pass, and whether a cache of 256 is allowed."""
    model = make_model(arch)
    init = jax.jit(functools.partial(decoder.init_params, model)).lower(jax.random.key(0)).as_text()
    tokens = jax.ShapeDtypeStruct((2, 9), jnp.int32)
    lowered = run.lower(model, decoder.abstract_params(model), tokens, tokens)
    try:
        jax.eval_shape(lambda: decoder.init_cache(model, 1, 256))
    except ValueError as error:
        return init, lowered.as_text(), str(error)
    return init, lowered.as_text(), "cache allowed"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(architecture.Architecture)])
def test_every_architecture_field_changes_the_program(field, arch):
    if field == "model_type":  # names the family that a saved folder says it is, and nothing else
        same = dict(qk_norm=False, attention_bias=False, attention_output_bias=False)
        llama, mistral = (make_architecture(model_type=t, **same) for t in ("llama", "mistral"))
        assert (
            architecture_to_hf(llama)["architectures"]
            != architecture_to_hf(mistral)["architectures"]
        )
        return
    assert _program(dataclasses.replace(arch, **{field: CHANGES[field]})) != _program(arch)


@pytest.mark.parametrize(
    ("scaling", "field"),
    [(s, f.name) for s in (LinearRope(2.0), LLAMA3, YARN) for f in dataclasses.fields(s)],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_rope_setting_changes_the_frequencies(scaling, field):
    old = getattr(scaling, field)
    new = {"truncate": False, "attention_factor": 1.5}.get(field, None if old is None else old * 6)
    one, two = (
        s.frequencies(1e4, 64) for s in (scaling, dataclasses.replace(scaling, **{field: new}))
    )
    assert not np.array_equal(one[0], two[0]) or one[1] != two[1]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("window", [None, 5])
def test_padded_equals_unpadded_and_packed_equals_unpacked(
    attention, window, arch, params, monkeypatch
):
    monkeypatch.setitem(BLOCK, "cpu", 8)
    model = make_model(dataclasses.replace(arch, sliding_window=window), attention=attention)
    lengths = (11, 7, 13)
    alone = [random_tokens((1, n), seed=n) for n in lengths]
    outputs = [run(model, params, t, counting(t), np.ones_like(t)) for t in alone]
    parts = [np.concatenate([t[0] for t in alone] + [random_tokens(4, seed=9)])]
    packed = np.stack(
        parts + [np.concatenate([random_tokens(20, seed=3), alone[1][0], random_tokens(8)])]
    )
    positions = np.stack([np.r_[0:11, 0:7, 0:13, 0:4], np.r_[0:20, 0:7, 0:8]]).astype(np.int32)
    segments = np.stack([np.repeat([1, 2, 3, 0], [11, 7, 13, 4]), np.repeat([1, 2, 0], [20, 7, 8])])
    together = run(model, params, packed, positions, segments.astype(np.int32))
    for output, start, length in zip(outputs, (0, 11, 18), lengths, strict=True):
        part = slice(start, start + length)
        np.testing.assert_allclose(together.logits[0, part], output.logits[0], **CLOSE)
        np.testing.assert_allclose(together.hidden[:, 0, part], output.hidden[:, 0], **CLOSE)
    np.testing.assert_allclose(together.logits[1, 20:27], outputs[1].logits[0], **CLOSE)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("window", [None, 4])
def test_prefill_and_decode_equal_the_full_forward_at_every_position(
    attention, window, arch, params, monkeypatch
):
    monkeypatch.setattr("jaxreason.models.attention.QUERY_BLOCK", 4)
    monkeypatch.setitem(CACHE_BLOCK, "cpu", 5)  # 16 positions are three blocks and a shorter one
    model = make_model(dataclasses.replace(arch, sliding_window=window), attention=attention)
    tokens, prompt_lengths = random_tokens((3, 16)), np.array([1, 6, 11])
    full = run(model, params, tokens, counting(tokens))
    columns = counting(tokens)
    prompt = np.where(columns < prompt_lengths[:, None], columns, -1)
    cache = decoder.init_cache(model, 3, 16)
    logits = np.full(full.logits.shape, np.nan, np.float32)
    for chunk in (slice(0, 6), slice(6, 12)):  # a prompt may come in parts
        out = run(model, params, tokens[:, chunk], prompt[:, chunk], None, cache)
        cache = out.cache
        logits[:, chunk] = np.where(prompt[:, chunk, None] >= 0, out.logits, logits[:, chunk])
    for step in range(15):
        positions = (prompt_lengths + step)[:, None].astype(np.int32)
        token = np.take_along_axis(tokens, np.minimum(positions, 15), axis=1)
        out = run(model, params, token, positions, None, cache)
        cache = out.cache
        for row, position in enumerate(positions[:, 0]):
            if position < 16:
                logits[row, position] = out.logits[row, 0]
    np.testing.assert_allclose(logits, full.logits, **CLOSE)


def test_positions_outside_the_cache_are_dropped(arch, params):
    model = make_model(arch)
    cache = decoder.init_cache(model, 2, 4)
    cache = jax.tree.map(lambda x: x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), cache)
    tokens, positions = random_tokens((2, 3)), np.array([[-1, 4, -4], [900, -900, 2]], np.int32)
    after = run(model, params, tokens, positions, None, cache).cache
    changed = np.any(np.asarray(after.k != cache.k), axis=(0, 2, 4))
    np.testing.assert_array_equal(np.any(np.asarray(after.v != cache.v), axis=(0, 2, 4)), changed)
    np.testing.assert_array_equal(changed, [[False] * 4, [False, False, True, False]])


def test_a_donated_cache_is_updated_in_place():
    model = make_model(make_architecture(num_hidden_layers=12))
    cache = decoder.init_cache(model, 8, 256)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), cache)
    step = jax.jit(
        lambda p, t, pos, c: decoder.forward(model, p, t, pos, None, c)[::3], donate_argnums=3
    )
    column = jax.ShapeDtypeStruct((8, 1), jnp.int32)
    memory = (
        step.lower(decoder.abstract_params(model), column, column, shapes)
        .compile()
        .memory_analysis()
    )
    cache_bytes = sum(x.nbytes for x in cache)
    assert memory.alias_size_in_bytes >= cache_bytes
    assert memory.temp_size_in_bytes < cache_bytes / 4


def test_hidden_states_that_nobody_uses_take_no_memory():
    model = make_model(make_architecture(num_hidden_layers=24))
    tokens = jax.ShapeDtypeStruct((8, 128), jnp.int32)

    def temporary(pick):
        compiled = jax.jit(lambda p, t: pick(decoder.forward(model, p, t, t))).lower(
            decoder.abstract_params(model), tokens
        )
        return compiled.compile().memory_analysis().temp_size_in_bytes

    hidden_bytes = 25 * 8 * 128 * 24 * 4
    used, unused = temporary(lambda out: out.hidden.mean(0)), temporary(lambda out: out.final)
    assert used - unused > 0.8 * hidden_bytes


@pytest.mark.slow
def test_remat_unroll_and_blockwise_attention_leave_the_gradient_alone(monkeypatch):
    monkeypatch.setitem(BLOCK, "cpu", 4)
    arch, tokens = make_architecture(num_hidden_layers=8), random_tokens((2, 10))
    params = random_params(decoder.abstract_params(make_model(arch)))

    def compile_gradient(**variant):
        def loss(params):
            out = decoder.forward(make_model(arch, **variant), params, tokens, counting(tokens))
            return jnp.mean(jnp.square(out.logits)) + jnp.mean(out.hidden[1])

        options = {
            "xla_backend_optimization_level": 0
        }  # of LLVM: what is kept is decided before it
        return jax.jit(jax.grad(loss)).lower(params).compile(compiler_options=options)

    variants = {name: dict(remat=name) for name in REMAT}
    for name in ("dots", "attention"):
        variants[name]["attention"] = "blockwise"
    variants["unrolled"] = dict(remat="full", unroll=3)
    compiled = {name: compile_gradient(**variant) for name, variant in variants.items()}
    expected = compiled["none"](params)
    for gradient in compiled.values():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4),
            gradient(params),
            expected,
        )
    kept = {name: c.memory_analysis().temp_size_in_bytes for name, c in compiled.items()}
    assert kept["full"] < kept["weight_dots"] < kept["none"]


MESHES = [MeshConfig(1, 4, 2, 1), MeshConfig(2, 1, 2, 2), MeshConfig(1, 1, 8, 1)]


@pytest.mark.parametrize("config", MESHES, ids=str)
def test_eight_devices_give_the_same_numbers_as_one(config, arch, params):
    model = make_model(arch)
    tokens = random_tokens((8, 12))
    segments = np.repeat([[1, 2]], 6, axis=1).repeat(8, axis=0).astype(np.int32)
    positions = np.tile(np.arange(6, dtype=np.int32), (8, 2))

    def both(params):
        packed = decoder.forward(model, params, tokens, positions, segments)
        cached = decoder.forward(
            model, params, tokens, counting(tokens), None, decoder.init_cache(model, 8, 12)
        )
        return packed.logits, packed.hidden, cached.logits

    one = jax.jit(both)(params)
    mesh = make_mesh(config)
    with jax.set_mesh(mesh):
        spread = jax.device_put(params, decoder.param_shardings(model, mesh))
        smallest = min(x.addressable_shards[0].data.size / x.size for x in jax.tree.leaves(spread))
        assert smallest <= 1 / (config.fsdp * config.tensor)
        eight = jax.jit(both)(spread)
    for a, b in zip(eight, one, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_random_parameters_are_made_in_their_parts_and_do_not_depend_on_the_mesh(arch):
    model = make_model(arch)
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    alone, spread = (decoder.init_params(model, jax.random.key(1), m) for m in (None, mesh))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), spread, alone)
    kernel = spread["layers"]["mlp"]["up_proj"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (3, 24 // 4, 40 // 2)


def test_decoding_on_a_mesh_does_not_collect_the_cache():
    model = make_model(
        make_architecture(num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2)
    )
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    with jax.set_mesh(mesh):
        cache = jax.jit(lambda: decoder.init_cache(model, 8, 192))()
        assert cache.k.addressable_shards[0].data.shape == (2, 2, 1, 192, 10)
        params = decoder.init_params(model, jax.random.key(0), mesh)
        step = jax.jit(lambda *args: decoder.forward(model, *args).cache, donate_argnums=4)
        column = np.zeros((8, 1), np.int32)
        text = step.lower(params, column, column, None, cache).compile().as_text()
    gathered = [
        line for line in text.splitlines() if "all-gather(" in line or "all-reduce(" in line
    ]
    assert gathered, "the weights are sharded, so something must be collected"
    lengths = f"{CACHE_BLOCK['cpu']}|192"
    assert not [line for line in gathered if re.search(rf"[\[,]({lengths})[,\]]", line)]


def test_activations_take_their_dtype_and_logits_stay_float32(arch, params):
    tokens = random_tokens((2, 10))
    exact = run(make_model(arch), params, tokens, counting(tokens))
    model = make_model(arch, dtype="bfloat16")
    rounded = run(model, params, tokens, counting(tokens), None, decoder.init_cache(model, 2, 10))
    assert rounded.final.dtype == jnp.bfloat16
    assert rounded.cache.k.dtype == jnp.uint16  # its bits, on CPU
    assert rounded.logits.dtype == jnp.float32
    error = np.abs(rounded.logits - exact.logits).max() / np.abs(exact.logits).max()
    assert 0 < error < 0.05


def test_random_parameters_have_the_spread_that_the_architecture_says():
    model = make_model(
        make_architecture(hidden_size=256, initializer_range=0.05), param_dtype="bfloat16"
    )
    params = decoder.init_params(model, jax.random.key(0))
    kernel = np.asarray(params["layers"]["mlp"]["up_proj"]["kernel"], np.float32)
    assert params["embed_tokens"]["embedding"].dtype == jnp.bfloat16
    assert abs(kernel.std() / 0.05 - 1) < 0.05
    assert abs(np.corrcoef(kernel[0].ravel(), kernel[1].ravel())[0, 1]) < 0.05  # layers differ
    np.testing.assert_array_equal(params["norm"]["scale"], 1)
    np.testing.assert_array_equal(params["layers"]["self_attn"]["q_proj"]["bias"], 0)


@pytest.mark.parametrize("unroll", [1, 3])
def test_on_cpu_cosines_are_made_once_for_all_layers(unroll):
    arch = make_architecture(head_dim=12)
    model = make_model(arch, unroll=unroll)
    params, tokens = decoder.abstract_params(model), random_tokens((2, 40))
    compiled = jax.jit(functools.partial(logits_of, model)).lower(params, tokens).compile()
    assert len(re.findall(r" cosine\(", compiled.as_text())) == 1


def logits_of(model, params, tokens):
    return decoder.forward(model, params, tokens, counting(tokens)).logits


def test_head_of_tied_embeddings_is_the_embedding(arch):
    model = make_model(dataclasses.replace(arch, tie_word_embeddings=True))
    params = decoder.init_params(model, jax.random.key(0))
    np.testing.assert_array_equal(
        decoder.head(model, params), params["embed_tokens"]["embedding"].T
    )
    assert "lm_head" not in params


def test_impossible_settings_are_refused_by_name(arch, params):
    for field, value in [
        ("attention", "flush"),
        ("remat", "som"),
        ("dtype", "int8"),
        ("unroll", 0),
    ]:
        with pytest.raises(ValueError, match=f"model.{field}={value!r}"):
            make_model(arch, **{field: value})
    with pytest.raises(ValueError, match="num_key_value_heads=4"):
        make_architecture(num_key_value_heads=4)
    with pytest.raises(ValueError, match="head_dim=7"):
        make_architecture(head_dim=7)
    model = make_model(arch)
    with pytest.raises(ValueError, match="max_position_embeddings=256"):
        decoder.init_cache(model, 1, 257)
    tokens = random_tokens((1, 4))
    with pytest.raises(ValueError, match="segment_ids or cache"):
        decoder.forward(model, params, tokens, tokens, tokens, decoder.init_cache(model, 1, 4))


@pytest.mark.parametrize(("unroll", "barred"), [(1, False), (7, False), (8, True), (30, True)])
def test_without_a_loop_the_compiler_may_not_take_the_first_results_for_those_made_again(
    unroll, barred
):
    tokens = jnp.ones((1, 16), jnp.int32)
    model = make_model(make_architecture(num_hidden_layers=8), remat="full", unroll=unroll)
    params = decoder.abstract_params(model)
    total = lambda params: decoder.forward(model, params, tokens, counting(tokens)).logits.sum()  # noqa: E731
    text = str(jax.make_jaxpr(jax.grad(total))(params))
    # The parts of a feed-forward layer are made in a loop of their own.
    assert ("prevent_cse=True" in text) == barred and "prevent_cse=False" in text
