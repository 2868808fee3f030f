"""Keys of a config.json that say nothing about what the network computes, whatever their values.

Where a file comes from and how transformers holds and shows a model; the tokenizer; and generation, which a
recipe's decoding settings decide here. `auto_map` names code in the folder, which is never run: the families
here need none.
"""

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
HARMLESS = frozenset(f"{_HOLDING} {_TOKENIZER} {_GENERATION}".split())
