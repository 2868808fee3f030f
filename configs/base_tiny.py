"""The base model of the tiny study, from random weights: 0.45M parameters, Qwen3-shaped, 13 kinds of questions.

    jaxreason sft --config configs/base_tiny.py --workdir runs/base_tiny

Hardware: 2 CPU cores, about four minutes. configs/tiny_base holds the result of an earlier version of the recipe, in
which a step was 16 packed rows. Now a step is 60 examples, which are about as many tokens, and the result differs.
configs/eval_tiny.py measures its accuracies.
"""

from ml_collections import ConfigDict

from configs import sections, tiny


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.procedural = tiny.questions()
    architecture = {
        "model_type": "qwen3",
        "vocab_size": 88,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "hidden_act": "silu",
        "initializer_range": 0.02,
    }
    config.model = sections.tiny_model("", init="random", architecture=architecture)
    muon = {"momentum": 0.95, "rms": 0.2, "num_iterations": 5, "embeddings": False}
    config.sft = sections.sft(
        {"base": tiny.replies("base.jsonl")},
        6e-3,
        tokenizer="{workdir}/questions/tokenizer",
        length=tiny.LENGTH,
        batch_size=60,
        micro_batch_rows=4,
        epochs=1.5,
        logprob_chunk=tiny.LENGTH,
        log_every=20,
        optimizer={
            "name": "muon",
            "warmup_steps": 60,
            "final_fraction": 0.05,
            "b2": 0.98,
            "weight_decay": 0.01,
            "muon": muon,
        },
    )
    return config
