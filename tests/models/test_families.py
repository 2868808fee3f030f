"""config.json to Architecture and back: both ways of writing rope, absent keys, and refusals by name."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_models
import transformers

from jaxreason.errors import UserError
from jaxreason.models.families import FAMILIES
from jaxreason.models.hf_config import architecture_from_hf, architecture_to_hf
from jaxreason.models.rope import LinearRope, Llama3Rope, YarnRope

QWEN3 = dict(
    architectures=["Qwen3ForCausalLM"],
    attention_bias=False,
    attention_dropout=0.0,
    bos_token_id=151643,
    eos_token_id=151645,
    head_dim=128,
    hidden_act="silu",
    hidden_size=5120,
    initializer_range=0.02,
    intermediate_size=17408,
    max_position_embeddings=40960,
    max_window_layers=40,
    model_type="qwen3",
    num_attention_heads=40,
    num_hidden_layers=40,
    num_key_value_heads=8,
    rms_norm_eps=1e-06,
    rope_scaling=None,
    rope_theta=1000000,
    sliding_window=None,
    tie_word_embeddings=False,
    torch_dtype="bfloat16",
    transformers_version="4.51.0",
    use_cache=True,
    use_sliding_window=False,
    vocab_size=151936,
)
LLAMA_ROPE = dict(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
)


def _config(model_type="llama", **changes):
    return dict(model_type=model_type, **(tiny_models.SIZES | changes))


def test_qwen3_14bs_own_config_is_read():
    arch = architecture_from_hf(QWEN3)
    assert (arch.head_dim, arch.rope_theta, arch.rope_scaling, arch.qk_norm) == (
        128,
        1e6,
        None,
        True,
    )
    assert (arch.sliding_window, arch.attention_bias, arch.tie_word_embeddings) == (
        None,
        False,
        False,
    )


def test_llama_3_1_qwen2_5_and_mistral_configs_are_read():
    llama = architecture_from_hf(
        _config(rope_scaling=dict(rope_type="llama3", **LLAMA_ROPE), rope_theta=5e5)
    )
    assert llama.rope_scaling == Llama3Rope(8.0, 1.0, 4.0, 8192)
    assert not llama.attention_bias and not llama.qk_norm
    qwen = architecture_from_hf(
        _config("qwen2", use_sliding_window=False, sliding_window=131072, max_window_layers=2)
    )
    assert qwen.attention_bias and not qwen.attention_output_bias and qwen.sliding_window is None
    mistral = architecture_from_hf(_config("mistral", sliding_window=4096, head_dim=None))
    assert (mistral.sliding_window, mistral.head_dim) == (4096, 4)


@pytest.mark.parametrize("rope_type", ["linear", "llama3", "yarn"])
def test_rope_settings_of_transformers_4_and_5_are_read_alike(rope_type):
    settings = dict(
        linear=dict(factor=2.0), llama3=LLAMA_ROPE, yarn=dict(factor=4.0, beta_fast=20)
    )[rope_type]
    old = _config(rope_theta=7e5, rope_scaling=dict(type=rope_type, **settings))
    new = _config(rope_parameters=dict(rope_type=rope_type, rope_theta=7e5, **settings))
    assert architecture_from_hf(old) == architecture_from_hf(new)
    assert architecture_from_hf(new).rope_theta == 7e5
    expected = dict(
        linear=LinearRope(2.0),
        llama3=Llama3Rope(8.0, 1.0, 4.0, 8192),
        yarn=YarnRope(4.0, 256, None, 20, 1, None, None, True),
    )
    assert architecture_from_hf(new).rope_scaling == expected[rope_type]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_absent_keys_mean_what_hugging_face_takes_them_for(model_type):
    sizes = {k: v for k, v in tiny_models.SIZES.items() if k != "max_position_embeddings"}
    theirs = transformers.AutoConfig.for_model(model_type, **sizes).to_dict()
    full = architecture_from_hf(
        {k: v for k, v in theirs.items() if v is not None or k == "sliding_window"}
    )
    assert architecture_from_hf(dict(model_type=model_type, **sizes)) == full


VARIANTS = [
    _config("qwen3", head_dim=8, tie_word_embeddings=True),
    _config(
        "qwen3", use_sliding_window=True, sliding_window=8, max_window_layers=0, attention_bias=True
    ),
    _config("qwen2", rope_scaling=dict(rope_type="yarn", factor=4.0)),
    _config(
        "qwen2", layer_types=["sliding_attention"] * 3, use_sliding_window=True, sliding_window=9
    ),
    _config(rope_scaling=dict(rope_type="llama3", **LLAMA_ROPE)),
    _config(rope_scaling=dict(rope_type="linear", factor=3.0)),
    _config("mistral", sliding_window=8),
    _config("mistral", sliding_window=None),
]


@pytest.mark.parametrize("config", VARIANTS, ids=lambda c: c["model_type"])
def test_an_architecture_survives_the_way_to_hugging_face_and_back(config):
    arch = architecture_from_hf(config)
    written = json.loads(json.dumps(architecture_to_hf(arch)))
    assert architecture_from_hf(written) == arch
    theirs = transformers.AutoConfig.for_model(**written)
    again = {k: v for k, v in theirs.to_dict().items() if v is not None or k == "sliding_window"}
    assert architecture_from_hf(again) == arch


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (dict(model_type="qwen3_moe"), "model_type='qwen3_moe'"),
        (dict(hidden_act="gelu"), "hidden_act='gelu'"),
        (dict(quantization_config=dict(bits=4)), "quantization_config"),
        (dict(mlp_bias=True), "mlp_bias"),
        (dict(num_experts=8), "num_experts"),
        (dict(num_local_experts=8), "num_local_experts"),
        (dict(is_causal=False), "is_causal=False"),
        (dict(is_causal=None), "is_causal=None"),
        (dict(rope_interleaved=True), "rope_interleaved"),
        (dict(partial_rotary_factor=0.5), "partial_rotary_factor"),
        (dict(logit_scale=0.5), "logit_scale"),
        (dict(rope_scaling=dict(rope_type="dynamic", factor=2.0)), "rope_type='dynamic'"),
        (dict(rope_scaling=dict(rope_type="longrope", factor=2.0)), "rope_type='longrope'"),
        (dict(rope_scaling=dict(rope_type="linear")), "rope_scaling.factor: missing"),
        (
            dict(rope_scaling=dict(rope_type="linear", factor=2.0, mrope_section=[1])),
            "mrope_section",
        ),
        (dict(rope_scaling=dict(rope_type="linear", type="yarn", factor=2.0)), "disagree"),
        (dict(rope_scaling=dict(rope_type=["yarn"], factor=2.0)), "expected text"),
        (
            dict(rope_parameters=dict(rope_type="default", partial_rotary_factor=0.5)),
            "partial_rotary_factor",
        ),
        (dict(rope_parameters=dict(full_attention=dict(rope_type="default"))), "full_attention"),
        (dict(sliding_window=8), "sliding_window=8"),
        (dict(layer_types=1), "layer_types=1: expected a list"),
        (dict(layer_types="full_attention"), "layer_types='full_attention': expected a list"),
        (dict(layer_types=[{}, {}]), "layer_types.*expected a list"),
        (dict(rope_scaling=2.0), "rope_scaling=2.0: expected an object"),
        (dict(rope_parameters=["yarn"]), "rope_parameters.*expected an object"),
        (
            dict(
                rope_parameters=dict(rope_type="default", rope_theta=1e6),
                rope_scaling=dict(rope_type="linear", factor=2.0),
            ),
            "rope_parameters.rope_theta=1000000.0 beside rope_scaling",
        ),
        (dict(vocab_size=None), "missing vocab_size"),
        (dict(hidden_size="24"), "hidden_size='24'"),
        (dict(model_type="mistral", attention_bias=True), "attention_bias"),
        (
            dict(
                model_type="mistral",
                sliding_window=4,
                layer_types=["full_attention", "sliding_attention"],
            ),
            "types",
        ),
        (
            dict(
                model_type="qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=2
            ),
            "max_window_layers=2 of 3",
        ),
        (
            dict(model_type="qwen2", use_sliding_window=True, max_window_layers=None),
            "max_window_layers=None: expected a whole number",
        ),
        (
            dict(model_type="qwen3", use_sliding_window=True, max_window_layers="0"),
            "max_window_layers='0': expected a whole number",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_setting_that_cannot_be_honoured_is_refused_by_its_name(changes, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(")):
        architecture_from_hf(_config() | changes)


ROPES = {
    "linear": dict(factor=4.0),
    "llama3": LLAMA_ROPE,
    "yarn": dict(
        factor=4.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0, mscale=1.0
    ),
}
POSITIVE = [(kind, name) for kind in ROPES for name in ROPES[kind] if name != "mscale"]


@pytest.mark.parametrize(("kind", "name"), POSITIVE)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "4", [4], True, 10**400])
def test_a_value_of_the_rope_that_makes_no_angles_is_refused_by_its_name(kind, name, value):
    scaling = dict(ROPES[kind], rope_type=kind) | {name: value}
    with pytest.raises(UserError, match=rf"{name}=.*expected a number above 0"):
        architecture_from_hf(_config(rope_scaling=scaling))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("linear", dict(factor=0)),
        ("linear", dict(factor=None)),
        ("llama3", dict(factor=0)),
        ("llama3", dict(low_freq_factor=None)),
        ("llama3", dict(high_freq_factor=0.5)),  # Less than the low one.
        ("yarn", dict(factor=0)),
        ("yarn", dict(attention_factor="1")),
        ("yarn", dict(mscale=[1])),
        ("yarn", dict(mscale_all_dim=float("nan"))),
        ("yarn", dict(truncate="no")),
        ("yarn", dict(rope_theta=1)),
    ],
)
def test_values_that_a_rope_cannot_have_are_refused_by_their_name(kind, changes):
    scaling = dict(ROPES[kind], rope_type=kind) | changes
    with pytest.raises(UserError, match=f"{next(iter(changes))}=.*expected"):
        architecture_from_hf(_config(rope_scaling=scaling))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("linear", dict(factor=0.5)),
        ("linear", dict(original_max_position_embeddings=64)),
        ("llama3", dict(high_freq_factor=1.0)),
        ("yarn", dict(finetuned=True)),
        ("yarn", dict(attention_factor=0)),
        ("yarn", dict(attention_factor=-1.0)),
        ("yarn", dict(attention_factor=None, mscale=None)),
        ("yarn", dict(mscale=-1.0, mscale_all_dim=0.5)),
        ("yarn", dict(truncate=None)),
        ("yarn", dict(truncate=0)),
        ("yarn", dict(beta_fast=None, beta_slow=0)),
        ("yarn", dict(original_max_position_embeddings=64.0)),
    ],
)
def test_values_that_a_rope_may_have_give_the_angles_of_transformers(kind, changes):
    pytest.importorskip("torch", reason="transformers computes the angles in torch")
    from transformers import modeling_rope_utils as rope_utils

    scaling = dict(ROPES[kind], rope_type=kind, rope_theta=1e4) | changes
    config = _config(rope_parameters=scaling)
    arch = architecture_from_hf(config)
    theirs = transformers.LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"})
    frequencies, factor = rope_utils.ROPE_INIT_FUNCTIONS[kind](theirs, "cpu")
    ours = arch.rope_scaling.frequencies(arch.rope_theta, arch.head_dim)
    np.testing.assert_allclose(ours[0], frequencies.numpy(), rtol=1e-5)
    assert ours[1] == pytest.approx(factor)
    assert architecture_from_hf(architecture_to_hf(arch)) == arch


@pytest.mark.parametrize("inside", [{}, dict(rope_theta=200.0)])
def test_settings_of_the_rope_in_two_places_are_read_as_transformers_reads_them(inside):
    settings = dict(
        rope_theta=5000.0,
        rope_scaling=dict(rope_type="linear", factor=2.0) | inside,
        rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=5000.0) | inside,
    )
    arch = architecture_from_hf(_config(**settings))
    theirs = transformers.AutoConfig.for_model("llama", **tiny_models.SIZES, **settings)
    assert theirs.rope_parameters["rope_theta"] == arch.rope_theta
    assert arch.rope_scaling == LinearRope(factor=2.0)


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3"])
@pytest.mark.parametrize(("first", "window"), [(-5, 8), (-1, 8), (0, 8), (3, None), (99, None)])
def test_layers_slide_from_the_first_one_on_as_in_transformers(model_type, first, window):
    switch = dict(use_sliding_window=True, sliding_window=8, max_window_layers=first)
    arch = architecture_from_hf(_config(model_type, **switch))
    theirs = transformers.AutoConfig.for_model(model_type, **tiny_models.SIZES, **switch)
    kind = "full_attention" if window is None else "sliding_attention"
    assert (arch.sliding_window, set(theirs.layer_types)) == (window, {kind})


@pytest.mark.parametrize("key", ["tie_word_embeddings", "attention_bias", "use_sliding_window"])
def test_a_switch_is_true_or_false_and_no_text(key):
    for value in ("false", "true", [0], {}, 2, 0.5):
        with pytest.raises(UserError, match=rf"{key}=.*expected true or false"):
            architecture_from_hf(_config("qwen3", max_window_layers=0) | {key: value})
    off = [architecture_from_hf(_config("qwen3") | {key: value}) for value in (None, False, 0)]
    assert off == [architecture_from_hf(_config("qwen3"))] * 3


def test_layers_that_do_not_slide_need_no_first_one():
    off = dict(use_sliding_window=False, max_window_layers=None)
    assert architecture_from_hf(_config("qwen2", **off)).sliding_window is None


def test_settings_that_are_off_are_no_obstacle():
    off = dict(
        quantization_config=None,
        mlp_bias=False,
        num_experts=0,
        rope_interleaved=False,
        mlp_only_layers=[],
    )
    assert architecture_from_hf(_config() | off) == architecture_from_hf(_config())


def test_an_architecture_that_its_family_cannot_express_is_not_written():
    arch = dataclasses.replace(architecture_from_hf(_config()), qk_norm=True)
    with pytest.raises(ValueError, match="qk_norm=True"):
        architecture_to_hf(arch)


@pytest.mark.parametrize("key", sorted(transformers.GenerationConfig().to_dict()))
def test_a_setting_of_generation_says_nothing_of_the_network(key):
    value = transformers.GenerationConfig().to_dict()[key] or 1
    assert architecture_from_hf(_config() | {key: value}) == architecture_from_hf(_config())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_return_sequences", 1),
        ("repetition_penalty", 1.0),
        ("model_max_length", 4096),
        ("auto_map", {"AutoConfig": "x.Y"}),
        ("sep_token_id", 2),
        ("do_sample", True),
        ("padding_side", "left"),
        ("output_attentions", True),
        ("task_specific_params", {"a": 1}),
        ("is_decoder", True),
        ("chunk_size_feed_forward", 4),
        ("fp16", True),
        ("license", "mit"),
        ("is_causal", True),
        ("pretraining_tp", None),
        ("pretraining_tp", 2),
        ("_num_labels", 2),
        ("attention_dropout", 0.1),
        ("hidden_dropout", 0.1),
        ("resid_pdrop", 0.1),
        ("dropout", 0.1),
        ("base_model_tp_plan", {"layers.*.mlp.up_proj": "colwise"}),
        ("keys_to_ignore_at_inference", ["past_key_values"]),
        ("library_name", "transformers"),
        ("tensor_parallel_size", 8),
        ("neftune_noise_alpha", 5.0),
        ("loss_type", "ForCausalLM"),
        ("initializer_factor", 1.0),
        ("max_seq_len", 4096),
        ("output_past", True),
    ],
)
def test_keys_about_files_the_tokenizer_and_generation_are_harmless(key, value):
    assert architecture_from_hf(_config() | {key: value}) == architecture_from_hf(_config())


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_key_that_transformers_writes_for_a_family_is_known(model_type):
    config = transformers.AutoConfig.for_model(model_type, **tiny_models.SIZES).to_dict()
    written = {key: value for key, value in config.items() if key != "model_type"}
    assert architecture_from_hf({"model_type": model_type} | written).model_type == model_type


@pytest.mark.parametrize(
    "key",
    [
        "add_cross_attention",
        "is_encoder_decoder",
        "quantization_config",
        "pruned_heads",
        "final_logit_softcapping",
        "attn_logit_softcapping",
        "embedding_multiplier",
        "rope_ratio",
    ],
)
def test_keys_that_change_what_the_network_computes_stay_refused(key):
    with pytest.raises(ValueError, match=key):
        architecture_from_hf(_config() | {key: {"x": 2} if key == "pruned_heads" else 2})
