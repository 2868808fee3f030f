"""The sections that recipes are put together from; every default of the project is here.

A recipe calls these functions and changes what it needs: keyword arguments replace fields, and whatever it
returns can be overridden on the command line (`--config.sft.optimizer.learning_rate=1e-5`).
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

HERE = pathlib.Path(__file__).resolve().parent


def section(defaults: dict[str, Any], changes: dict[str, Any]) -> ConfigDict:
    """`defaults` with `changes` laid over it; a change of a field that is not there is an error."""
    unknown = sorted(set(changes) - set(defaults))
    if unknown:
        raise KeyError(f"no such field: {', '.join(unknown)}; there are {', '.join(defaults)}")
    return ConfigDict({**defaults, **changes}, convert_dict=True)


def mesh(**changes) -> ConfigDict:
    """All devices on fsdp: parameters, gradients and optimizer state are split over all of them."""
    return section({"data": 1, "fsdp": -1, "tensor": 1, "context": 1}, changes)


def model(path: str, **changes) -> ConfigDict:
    """A pretrained model: a Hugging Face folder or hub name."""
    defaults = {
        "path": str(path),
        "init": "pretrained",
        "architecture": {},
        "dtype": "bfloat16",
        "param_dtype": "float32",
        "remat": "full",
        "attention": "blockwise",
        "unroll": 1,
    }
    return section(defaults, changes)


def model_on_cpu(path: str, **changes) -> ConfigDict:
    """As `model`, for a small model on a CPU: float32 (bfloat16 is often slower there), nothing recomputed."""
    defaults = {"dtype": "float32", "remat": "none", "attention": "plain"}
    return model(path, **{**defaults, **changes})


def optimizer(learning_rate: float, **changes) -> ConfigDict:
    """AdamW with a linear warm-up and a cosine to 0."""
    defaults = {
        "name": "adamw",
        "learning_rate": learning_rate,
        "schedule": "cosine",
        "warmup_steps": 10,
        "final_fraction": 0.0,
        "b1": 0.9,
        "b2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "state_dtype": "float32",
        "muon": None,
    }
    return section(defaults, changes)


def dataset(path: str, fields: dict[str, str], **changes) -> ConfigDict:
    """Rows of a file; `fields` says which column is the prompt, the answer, the response."""
    defaults = {
        "source": "file",
        "path": str(path),
        "split": "",
        "fields": fields,
        "prompt_template": "{prompt}",
        "task": "",
        "metadata": (),
        "limit": 0,
        "seed": 0,
        "options": {},
    }
    return section(defaults, changes)


def validation(**changes) -> ConfigDict:
    """A benchmark that training asks every `every` steps as `eval` does, but with its own decoding; 0 = never."""
    defaults = {
        "every": 0,
        "benchmark": "",
        "variant": "robust",
        "decoding": decoding(0.0, 1024),
        "samples": 1,
        "limit": 0,
        "choose": False,
    }
    return section(defaults, changes)


def sft(datasets: dict[str, ConfigDict], learning_rate: float, **changes) -> ConfigDict:
    """Supervised fine-tuning on the last reply of every example."""
    defaults = {
        "datasets": datasets,
        "every_reply": False,
        "tokenizer": "",
        "thinking": None,
        "length": 2048,
        "pack": True,
        "batch_size": 64,
        "micro_batch_rows": 8,
        "epochs": 2.0,
        "optimizer": optimizer(learning_rate),
        "logprob_chunk": 512,
        "log_every": 10,
        "checkpoint_every": 200,
        "keep": 2,
        "tensorboard": False,
        "export_dtype": "float32",
        "max_shard_bytes": 5 * 2**30,
        "overlong": "drop",
        "schedule_epochs": 0.0,
        "aggregation": "token_mean",
        "token_weight": "one",
        "kl_coefficient": 0.0,
        "validation": validation(),
        "base_kl": {"every": 0, "prompts": 64, "max_tokens": 512},  # 0: no base beside the policy
        "tracker": "",
    }
    return section(defaults, changes)


def decoding(temperature: float, max_tokens: int, **changes) -> ConfigDict:
    """Temperature 0 is greedy."""
    defaults = {
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "max_tokens": max_tokens,
        "stop": (),
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "think_budget": 0,
    }
    return section(defaults, changes)


def sampler(slots: int, max_length: int, **changes) -> ConfigDict:
    """`slots` sequences of at most `max_length` tokens at a time."""
    defaults = {
        "slots": slots,
        "max_length": max_length,
        "decode_block": 32,
        "prefill_tokens": 2048,
        "prefill_block": 16,
        "score_tokens": 4096,
        "page_size": 64,
        "pages": 0,
        "top_logprobs": 0,
        "cache_dtype": "auto",
        "weight_dtype": "auto",
        "gather_weights": True,
    }
    return section(defaults, changes)


def evaluation(
    benchmarks: dict[str, Any], decodings: dict[str, ConfigDict], **changes
) -> ConfigDict:
    """`benchmarks`: name -> {"limit": 0 for all, "samples": {decoding: samples}}, and perhaps "variants"."""
    asked = {
        name: {"variants": ("robust",), "overrides": {}, **run} for name, run in benchmarks.items()
    }
    defaults = {
        "benchmarks": asked,
        "own": {},
        "source": "files",
        "data_folder": "",
        "items_seed": 0,
        "decodings": decodings,
        "thinking": None,
        "prompt_format": "chat",
        "sampler": sampler(64, 2048),
        "pass_at": (),
        "maj_at": (),
        "confidence": 0.95,
        "resamples": 2000,
        "grader_workers": 2,
        "grader_timeout_s": 20.0,
        "code_isolation": "auto",
    }
    return section(defaults, changes)


def drift(decoding_name: str, **changes) -> ConfigDict:
    """All metrics, on replies of both models."""
    defaults = {
        "metrics": (
            *("pca_shift", "paper_pca_shift", "token_kl", "shifted_tokens", "cka", "cosine"),
            *("subspaces", "frechet", "procrustes", "sinks", "weights"),
        ),
        "decoding": decoding_name,
        "variant": "robust",
        "texts_per_benchmark": 100,
        "max_length": 0,
        "batch_size": 8,
        "tokens_per_batch": 32768,
        "logprob_chunk": 512,
        "shift_threshold": 0.1,
        "resamples": 500,
        "confidence": 0.95,
        "seed": 0,
        "training_prompts": 0,
        "training_tokens": 512,
        "training_replies": ("base",),
        "keep_states": (),
        "keep_token_states": (),
        "components": 10,
    }
    return section(defaults, changes)


def cross_sample(benchmark: str, **changes) -> ConfigDict:
    """Replies of each of two models with 0, 1, 2 ... and all choices of the other (-1: all)."""
    defaults = {
        "benchmark": benchmark,
        "decoding": "greedy",
        "variant": "robust",
        "questions": 100,
        "budgets": (0, 1, 2, 4, 8, 16, 32, 64, -1),
        "rule": "largest",
        "threshold": 0.1,
        "batch_size": 16,
    }
    return section(defaults, changes)


def transfer(**changes) -> ConfigDict:
    """The index in all modes; empty `scales` pool the deviations of `v2_pooled` over the compared models."""
    defaults = {
        "modes": ("v1_relative", "v2_literal", "v2_pooled", "paper_scales"),
        "variant": "robust",
        "scales": {},
        "confidence": 0.95,
        "resamples": 2000,
        "seed": 0,
        "match_tolerance": 0.15,
        "table": None,
    }
    return section(defaults, changes)


def arm(
    method: str,
    label: str,
    section_name: str,
    overrides: dict[str, Any] | None = None,
    path: str = "",
    asked: dict[str, Any] | None = None,
    base: str = "",
    seeds: tuple[int, ...] = (),
    drift: bool = True,
    base_asked: dict[str, Any] | None = None,
    published: str = "",
    traits: dict[str, str] | None = None,
) -> ConfigDict:
    """A twin of a study; `overrides` change fields of its section, `asked` how its evaluation asks; `base` is an arm
    that it starts from, or a base of its own ("": the study's), `seeds` are its own (none: the study's), `published` is
    its name in the paper's tables, `traits` are what the report groups it by.
    """
    return section(
        {
            "method": method,
            "label": label,
            "section": section_name,
            "overrides": overrides or {},
            "path": path,
            "asked": asked or {},
            "base": base,
            "seeds": seeds,
            "drift": drift,
            "base_asked": base_asked or {},
            "published": published,
            "traits": traits or {},
        },
        {},
    )


def study(name: str, seeds: tuple[int, ...], arms: dict[str, ConfigDict], **changes) -> ConfigDict:
    """A study; tables and figures show its arms in the order of their names, as ConfigDict keeps them."""
    defaults = {"name": name, "seeds": seeds, "arms": arms, "measured_dtype": "", "follow": False}
    return section(defaults, changes)


def rl(datasets: dict[str, ConfigDict], learning_rate: float, **changes) -> ConfigDict:
    """GRPO with token-mean loss and asymmetric clip (DAPO's), without KL: the paper's choices, small sizes."""
    defaults = {
        "datasets": datasets,
        "thinking": None,
        "num_steps": 100,
        "prompts_per_step": 32,
        "group_size": 8,
        "decoding": decoding(1.0, 256),
        "sampler": sampler(256, 512),
        "rewards": {
            "num_workers": 2,
            "timeout_s": 20.0,
            "overlong_buffer": 0,
            "overlong_penalty": 0.0,
            "right": 1.0,
            "wrong": 0.0,
            "max_ungraded": 0.5,
        },
        "samples": {"given": 0, "refresh_every": 1},
        "dynamic_sampling": {
            "drop_equal": True,
            "metric": "correct",
            "prompts_per_batch": 0,  # as many as prompts_per_step
            "max_batches": 1,
        },
        "advantage": "grpo",
        "negatives": 1.0,
        "policy_loss": {
            "name": "clipped",
            "clip_low": 0.2,
            "clip_high": 0.28,
            "dual_clip": 10.0,
            "aggregation": "token_mean",
            "fixed_length": 0,
            "kl_coefficient": 0.0,
            "kl_estimator": "k3",
            "kl_place": "loss",
            "token_weight": "one",
            "entropy_coefficient": 0.0,
            "importance_cap": 0.0,
        },
        "reference": {"model": "base", "teacher": "", "decay": 0.99},
        "epochs_per_batch": 1,
        "old_logprobs": "when_needed",
        "mini_batch_prompts": 32,
        "micro_batch_rows": 32,
        "row_length": 512,
        "logprob_chunk": 512,
        "optimizer": optimizer(learning_rate, schedule="constant", warmup_steps=5),
        "checkpoint_every": 20,
        "keep": 2,
        "tensorboard": False,
        "export_dtype": "float32",
        "max_shard_bytes": 5 * 2**30,
        "validation": validation(),
        "base_kl": {"every": 0, "prompts": 64, "max_tokens": 512},  # 0: no base beside the policy
        "tracker": "",
        "staleness": 0,
    }
    return section(defaults, changes)


def distill(
    datasets: dict[str, ConfigDict], max_tokens: int, max_length: int, **changes
) -> ConfigDict:
    """Four replies of the recipe's model to each question, and the first right one: change `teacher` to ask another."""
    teacher = {
        "path": "",
        "url": "",
        "name": "",
        "key_variable": "",
        "concurrency": 16,
        "timeout_s": 600.0,
        "retries": 6,
        "backoff_s": 1.0,
        "extra": {},
    }
    defaults = {
        "datasets": datasets,
        "decoding": decoding(1.0, max_tokens),
        "sampler": sampler(256, max_length),
        "teacher": teacher,
        "samples": 4,
        "thinking": None,
        "no_think": "drop",
        "no_think_samples": 0,
        "no_think_decoding": None,
        "keep": "first",
        "cutoff": 0,
        "tokenizer": "",
        "difficulty": "",
        "shard_rows": 10_000,
        "max_ungraded_share": 0.5,
        "grader_workers": 2,
        "grader_timeout_s": 20.0,
    }
    return section(defaults, changes)


def report(title: str, question: str, limits: tuple[str, ...] = ()) -> ConfigDict:
    """Intervals of 95 %."""
    return section(
        {
            "title": title,
            "question": question,
            "limits": limits,
            "variant": "robust",
            "confidence": 0.95,
            "resamples": 2000,
            "seed": 0,
        },
        {},
    )


def chat(max_tokens: int, slots_length: int, **changes) -> ConfigDict:
    """One conversation, four tokens shown at a time."""
    sizes = {"decode_block": 4, "prefill_tokens": 256}
    defaults = {
        "decoding": decoding(0.7, max_tokens, top_p=0.95),
        "sampler": sampler(1, slots_length, **sizes),
        "thinking": None,
        "system": "",
        "remember": True,
    }
    return section(defaults, changes)


def serve(max_tokens: int, max_length: int, **changes) -> ConfigDict:
    """On this machine alone, eight replies at a time and a queue of 256; replies come four tokens at a time."""
    sizes = {"decode_block": 4, "prefill_tokens": 1024, "top_logprobs": 5}
    defaults = {
        "host": "127.0.0.1",
        "port": 8000,
        "name": "",
        "api_key": "",
        "max_body_bytes": 2**20,
        "max_sequences": 256,
        "max_tokens": max_length - 1,
        "decoding": decoding(1.0, max_tokens),
        "sampler": sampler(8, max_length, **sizes),
        "thinking": None,
        "body_timeout_s": 30.0,
        "drain_s": 60.0,
        "weights_root": "",
    }
    return section(defaults, changes)


def plan(architecture: dict[str, Any], **changes) -> ConfigDict:
    """What `jaxreason plan` cannot see: the model before it is downloaded, examples, their length and that of replies.

    With 0 examples, or reply tokens, nothing is said of a whole run's time.
    """
    defaults = {"architecture": architecture, "examples": 0, "reply_tokens": 0}
    defaults |= {"slice": "", "example_tokens": 0, "eval_tokens": 0, "arms": {}}
    return section(defaults, changes)
