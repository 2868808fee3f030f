"""A Hugging Face config.json to an `Architecture` and back.

A setting that the decoder cannot honour is refused by its name. `rope_theta` and `rope_scaling` (files up to
transformers 4) and `rope_parameters` (since transformers 5) are both read.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from jaxreason.errors import UserError
from jaxreason.models.architecture import Architecture
from jaxreason.models.families import FAMILIES, Family
from jaxreason.models.hf_rope import read_rope, scaling_to_hf
from jaxreason.models.setting_values import number, switch, whole_number

# Keys of a config.json that say nothing about what the network computes, whatever their values: where a file comes from
# and how transformers holds and shows a model; the tokenizer; and generation, which a recipe's decoding settings decide
# here. `auto_map` names code in the folder, which is never run: the families here need none.
_HOLDING = """
    architectures torch_dtype dtype transformers_version _name_or_path name_or_path use_cache
    return_dict use_return_dict output_attentions output_hidden_states torchscript use_bfloat16
    gradient_checkpointing is_llama_config id2label label2id num_labels problem_type
    finetuning_task is_decoder task_specific_params auto_map
    transformers.js_config unsloth_version unsloth_fixed _commit_hash _from_model_config
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal
    attn_implementation _flash_attn_2_enabled _experts_implementation
    _experts_implementation_internal _output_attentions
    chunk_size_feed_forward tf_legacy_loss fp16 bf16 fp32 use_flash_attn use_flash_attention_2
    logits_to_keep num_logits_to_keep trust_remote_code model_name revision license language onnx
    output_past xla_device base_model_tp_plan base_model_pp_plan base_model_ep_plan
    base_model_fsdp_plan tp_size tensor_parallel tensor_parallel_size pipeline_parallel_size
    model_parallel keys_to_ignore_at_inference transformers_weights library_name pipeline_tag tags
    datasets base_model use_flash_attention use_liger_kernel loss_type initializer_factor
    neftune_noise_alpha seed n_positions max_seq_len max_seq_length pretraining_tp _num_labels
"""
_TOKENIZER = """
    tokenizer_class prefix model_max_length max_sequence_length seq_length padding_side
    truncation_side add_bos_token add_eos_token add_prefix_space chat_template
    clean_up_tokenization_spaces bos_token eos_token pad_token unk_token sep_token cls_token
    mask_token bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id cls_token_id
    mask_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
"""
_GENERATION = """
    max_length max_new_tokens min_length min_new_tokens max_time stop_strings early_stopping
    do_sample num_beams num_beam_groups penalty_alpha dola_layers cache_implementation cache_config
    return_legacy_cache prefill_chunk_size temperature top_k top_p min_p top_h typical_p
    epsilon_cutoff eta_cutoff diversity_penalty repetition_penalty encoder_repetition_penalty
    length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids force_words_ids
    renormalize_logits constraints remove_invalid_values exponential_decay_length_penalty
    suppress_tokens begin_suppress_tokens forced_decoder_ids sequence_bias token_healing
    guidance_scale low_memory watermarking_config num_return_sequences output_scores
    output_logits return_dict_in_generate assistant_model prompt_lookup_num_tokens
    max_matching_ngram_size num_assistant_tokens num_assistant_tokens_schedule
    assistant_confidence_threshold assistant_early_exit assistant_lookbehind target_lookbehind
    is_assistant compile_config disable_compile continuous_batching_config
    assistant_ensemble_weight max_cache_len speculation_type use_mtp
"""
# Dropout acts in training alone, where none is used here.
_DROPOUT = re.compile(r"(\w+_)?(dropout|pdrop)")
HARMLESS = frozenset(f"{_HOLDING} {_TOKENIZER} {_GENERATION}".split())

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
_READ = {
    *_SIZES,
    *("model_type", "num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings"),
    *("tie_word_embeddings", "attention_bias", "initializer_range"),
    *(
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "original_max_position_embeddings",
        "partial_rotary_factor",
    ),
    *("sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),
}
_MUST_BE = {
    "hidden_act": ("silu", "swish"),
    "is_causal": (True,),
    "partial_rotary_factor": (1, None),
}


def architecture_from_hf(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a Hugging Face config.json describes.

    Raises:
      ValueError: an unknown family, a missing size, or a setting that cannot be honoured, by name.
    """
    model_type = check_family(config)
    family = FAMILIES[model_type]
    _refuse_unknown(config)
    missing = [key for key in _SIZES if config.get(key) is None]
    if missing:
        raise UserError(f"{model_type} config: missing {', '.join(missing)}.")
    values = {**family.absent, **config}
    sizes = {key: whole_number(values, key) for key in _SIZES}
    theta, scaling = read_rope(values)
    heads = values["num_attention_heads"]
    bias = _read_bias(family, values)
    return Architecture(
        model_type=model_type,
        **sizes,
        num_key_value_heads=heads
        if values["num_key_value_heads"] is None
        else whole_number(values, "num_key_value_heads"),
        head_dim=values["hidden_size"] // heads
        if values["head_dim"] is None
        else whole_number(values, "head_dim"),
        rms_norm_eps=number(values, "rms_norm_eps"),
        rope_theta=theta,
        rope_scaling=scaling,
        max_position_embeddings=whole_number(values, "max_position_embeddings"),
        tie_word_embeddings=switch(values, "tie_word_embeddings"),
        attention_bias=bias or family.qkv_bias,
        attention_output_bias=bias,
        qk_norm=family.qk_norm,
        sliding_window=_read_window(family, values),
        initializer_range=number(values, "initializer_range"),
    )


def check_family(config: Mapping[str, Any]) -> str:
    """The model type of a config.json.

    Raises:
      UserError: it is none of FAMILIES.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        code = " Code that a folder brings (auto_map) is never run." if "auto_map" in config else ""
        raise UserError(
            f"model_type={repr(model_type)[:80]}: expected one of {', '.join(FAMILIES)}.{code}"
        )
    return model_type


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if key in _MUST_BE:
            if value not in _MUST_BE[key]:
                raise UserError(
                    f"{key}={value!r} cannot be honoured: expected {_MUST_BE[key][0]!r}."
                )
        elif value and key not in _READ and key not in HARMLESS and not _DROPOUT.fullmatch(key):
            raise UserError(
                f"{key}={value!r}: a setting this decoder does not have, so it cannot be honoured."
            )


def _read_bias(family: Family, values: Mapping[str, Any]) -> bool:
    """Whether `attention_bias` puts a bias on q, k, v and o."""
    bias = switch(values, "attention_bias")
    if bias and not family.bias_setting and not family.qkv_bias:
        raise UserError(f"attention_bias=True: {family.class_name} has no such setting.")
    return bias and family.bias_setting


def _read_window(family: Family, values: Mapping[str, Any]) -> int | None:
    """The sliding window of all layers; layers that differ in it are refused."""
    layer_types, window = values.get("layer_types"), values.get("sliding_window")
    if layer_types is not None:
        _check_names("layer_types", layer_types)
    if not family.has_window and window:
        raise UserError(f"sliding_window={window!r}: {family.class_name} has no such setting.")
    if family.window_by_layer:
        window = _read_switched_window(values) if switch(values, "use_sliding_window") else None
    if layer_types is not None:
        _check_layer_types(layer_types, window)
    return None if window is None else whole_number({"sliding_window": window}, "sliding_window")


def _read_switched_window(values: Mapping[str, Any]) -> int | None:
    """The window of a family whose layers from `max_window_layers` on, or those of `layer_types`, slide."""
    window, num_layers = values["sliding_window"], values["num_hidden_layers"]
    layer_types, first = values.get("layer_types"), values["max_window_layers"]
    if layer_types is not None:
        return window if "sliding_attention" in layer_types else None
    if window is None:
        return None
    if not isinstance(first, int) or isinstance(first, bool):
        raise UserError(f"max_window_layers={repr(first)[:40]}: expected a whole number of layers.")
    if window and 0 < first < num_layers:
        raise UserError(
            f"max_window_layers={first} of {num_layers} layers: layers with and without a sliding window "
            "cannot be mixed; only 0 or less (all slide) or at least num_hidden_layers (none does)."
        )
    return window if first <= 0 else None


def _check_names(key: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{key}={repr(value)[:80]}: expected a list of names.")


def _check_layer_types(layer_types: list[str], window: int | None) -> None:
    expected = "full_attention" if window is None else "sliding_attention"
    others = sorted(set(layer_types) - {expected})
    if others:
        raise UserError(
            f"layer_types has {others[0]!r} with a sliding window of {window}: "
            f"only {expected!r} in every layer can be honoured."
        )


def architecture_to_hf(arch: Architecture) -> dict[str, Any]:
    """The config.json settings of an architecture, readable by transformers 4 and 5.

    Raises:
      ValueError: its family cannot express the architecture; the field is named.
    """
    family = FAMILIES[arch.model_type]
    shared = [field.name for field in dataclasses.fields(Architecture) if field.name in _READ]
    config = {key: getattr(arch, key) for key in shared}
    config |= {
        "architectures": [family.class_name],
        "hidden_act": "silu",
        "rope_scaling": scaling_to_hf(arch.rope_scaling),
    }
    config |= _window_to_hf(family, arch)
    if not family.bias_setting:
        del config["attention_bias"]
    back = architecture_from_hf(config)
    for field in dataclasses.fields(Architecture):
        wanted, got = getattr(arch, field.name), getattr(back, field.name)
        if wanted != got:
            raise UserError(
                f"{field.name}={wanted!r}: a {arch.model_type} config cannot say so (reads as {got!r})."
            )
    return config


def _window_to_hf(family: Family, arch: Architecture) -> dict[str, Any]:
    if family.window_by_layer:
        slides = arch.sliding_window is not None
        return {
            "use_sliding_window": slides,
            "max_window_layers": 0 if slides else arch.num_hidden_layers,
        }
    return {}
