"""Every family against Hugging Face's own code, on random weights: logits, hidden states, greedy continuations."""

import functools

import numpy as np
import pytest
import tiny_models

from jaxreason.models.families import FAMILIES
from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.models.rope import ROPE_SCALING

torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
import transformers  # noqa: E402

LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=5000.0,
    factor=4.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=24,
)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=3.0)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
CASES = {
    "qwen3 tied": ("Qwen3", dict(head_dim=10, tie_word_embeddings=True)),
    "qwen3 untied with biases": ("Qwen3", dict(head_dim=4, attention_bias=True)),
    "qwen3 all layers sliding": (
        "Qwen3",
        dict(head_dim=6, use_sliding_window=True, sliding_window=5, max_window_layers=0),
    ),
    "qwen3 yarn": ("Qwen3", dict(head_dim=16, rope_parameters=YARN)),
    "qwen2 tied": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2 untied, yarn with its own attention factor": (
        "Qwen2",
        dict(rope_parameters=YARN | dict(attention_factor=1.3, beta_fast=16.0, beta_slow=2.0)),
    ),
    "llama untied, other head size": ("Llama", dict(head_dim=14)),
    "llama 3.1 rope, tied": (
        "Llama",
        dict(rope_parameters=LLAMA3, tie_word_embeddings=True, head_dim=16),
    ),
    "llama linear rope with biases": ("Llama", dict(rope_parameters=LINEAR, attention_bias=True)),
    "llama yarn, mscale, not truncated": (
        "Llama",
        dict(
            rope_parameters=YARN | dict(mscale=0.7, mscale_all_dim=0.4, truncate=False), head_dim=16
        ),
    ),
    "mistral sliding": ("Mistral", dict(sliding_window=7)),
    "mistral without a window, one kv head": (
        "Mistral",
        dict(sliding_window=None, num_key_value_heads=1, head_dim=8),
    ),
    "mistral, a kv head for each query head": (
        "Mistral",
        dict(sliding_window=4, num_key_value_heads=6, tie_word_embeddings=True),
    ),
}


GREEDY = (
    "qwen3 tied",
    "qwen3 all layers sliding",
    "qwen2 tied",
    "llama 3.1 rope, tied",
    "mistral sliding",
)


def test_every_way_of_scaling_positions_is_compared_with_hugging_faces():
    compared = {sizes.get("rope_parameters", {}).get("rope_type") for _, sizes in CASES.values()}
    assert compared == {None, *ROPE_SCALING}


def test_every_family_is_compared_with_hugging_faces():
    assert {name.lower() for name, _ in CASES.values()} == set(FAMILIES)


@pytest.fixture(scope="module")
def make_pair(tmp_path_factory):
    """Hugging Face's model of a case with random weights, and ours loaded from the folder it wrote."""
    return functools.lru_cache(lambda case: _make_pair(case, tmp_path_factory.mktemp("theirs")))


def _make_pair(case, folder):
    name, settings = CASES[case]
    config = getattr(transformers, f"{name}Config")(**(tiny_models.SIZES | settings))
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.3)
    theirs.save_pretrained(folder)
    settings = dict(
        dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1
    )
    return theirs, *open_model(ModelConfig(str(folder), "pretrained", {}, **settings), None)


@pytest.mark.parametrize("case", CASES)
def test_logits_and_all_hidden_states_equal_hugging_faces(case, make_pair):
    theirs, model, params = make_pair(case)
    tokens = tiny_models.random_tokens((2, 40))
    ours = tiny_models.run(model, params, tokens, tiny_models.counting(tokens))
    with torch.no_grad():
        reference = theirs(torch.tensor(tokens).long(), output_hidden_states=True)
    np.testing.assert_allclose(ours.logits, reference.logits, atol=1e-4, rtol=1e-4)
    assert len(reference.hidden_states) == ours.hidden.shape[0]
    for mine, other in zip(ours.hidden, reference.hidden_states, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(ours.hidden[-1], ours.final)


@pytest.mark.parametrize("case", GREEDY)
def test_greedy_continuations_are_the_same_token_for_token(case, make_pair):
    theirs, model, params = make_pair(case)
    prompts = [tiny_models.random_tokens(n, seed=n).tolist() for n in (1, 3, 9, 14)]
    ours = tiny_models.greedy(model, params, prompts, num_tokens=12)
    for prompt, continuation in zip(prompts, ours, strict=True):
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([prompt]).long(),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        assert continuation == out[0, len(prompt) :].tolist()
