"""Greedy replies against Hugging Face's `generate`: every family with random weights, and SmolLM2."""

import os

import numpy as np
import pytest

from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams

torch = pytest.importorskip("torch", reason="Hugging Face's generate needs torch")
import transformers  # noqa: E402

SIZES = dict(
    vocab_size=71,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
FAMILIES = {
    "Qwen3": dict(head_dim=8, tie_word_embeddings=True),
    "Qwen2": dict(),
    "Llama": dict(
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=5000.0,
            factor=4.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=24,
        )
    ),
    "Mistral": dict(sliding_window=9),
}
STORED = dict(dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1)


def their_replies(theirs, prompts, max_tokens, stop_ids, pad_id):
    """One prompt at a time, so that no padding is in the comparison."""
    replies = []
    for prompt in prompts:
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=max_tokens,
                eos_token_id=list(stop_ids),
                pad_token_id=pad_id,
            )
        replies.append(tuple(out[0, len(prompt) :].tolist()))
    return replies


def our_replies(folder, mesh, prompts, max_tokens, stop_ids, pad_id, config):
    model, params = open_model(ModelConfig(str(folder), "pretrained", {}, **STORED), mesh)
    engine = Engine(model, params, config, mesh, stop_ids, pad_id, str)
    requests = [Request(str(i), tuple(p), 0, 1) for i, p in enumerate(prompts)]
    completions = list(engine.generate(requests, SamplingParams(0.0, 0, 1.0, max_tokens, ())))
    return [c.tokens for c in sorted(completions, key=lambda c: int(c.id))]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_equal_hugging_faces_generate(family, mesh, tmp_path):
    config = getattr(transformers, f"{family}Config")(**(SIZES | FAMILIES[family]))
    torch.manual_seed(1)
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.3)
    theirs.save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 71, n).tolist() for n in (1, 2, 7, 8, 9, 15, 30, 5)]
    ours = our_replies(
        tmp_path,
        mesh,
        prompts,
        20,
        (3,),
        0,
        SamplerConfig(3, 64, 6, 16, 8, 64, 8, 0, 0, "auto", "auto", True),
    )
    assert ours == their_replies(theirs, prompts, 20, (3,), 0)


@pytest.mark.slow
def test_greedy_replies_of_smollm2_equal_hugging_faces_generate(mesh):
    folder = os.environ.get("JAXREASON_SMOLLM2")
    if not folder:
        pytest.skip("JAXREASON_SMOLLM2 names no folder of SmolLM2-135M-Instruct")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    questions = (
        "What is 7 + 5?",
        "Name three colours.",
        "Why is the sky blue?",
        "Say hello.",
        "3 * 4 =",
    )
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in questions
    ]
    stop_ids = (tokenizer.eos_token_id,)
    config = SamplerConfig(3, 128, 16, 32, 16, 256, 16, 0, 0, "auto", "auto", True)
    ours = our_replies(folder, mesh, prompts, 40, stop_ids, tokenizer.pad_token_id, config)
    assert ours == their_replies(theirs, prompts, 40, stop_ids, tokenizer.pad_token_id)
    assert "12" in tokenizer.decode(ours[0])
