"""Exports of a base model: other programs stop where this one does."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tokenizers
import transformers
from tiny_models import make_architecture, make_model, random_params

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_export import save_model

DOCUMENT_END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = """\
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
QWEN3 = Path(__file__).resolve().parents[3] / "shared" / "tokenizers" / "qwen3"


def write_base(folder, generation=True):
    """A base model's folder: its files name the end of a document, its template ends a turn otherwise."""
    characters = "\n abcdefghijklmnopqrstuvwxyz0"
    vocabulary = {c: i for i, c in enumerate(characters)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), "isolated"
    )
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens([DOCUMENT_END, TURN_START, TURN_END])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=DOCUMENT_END,
        pad_token=DOCUMENT_END,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return end_with(folder, len(characters), generation)


def end_with(folder, eos, generation=True):
    (folder / "config.json").write_text(json.dumps({"eos_token_id": eos, "bos_token_id": eos}))
    if generation:
        settings = {"eos_token_id": eos, "bos_token_id": eos, "max_new_tokens": 2048}
        (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def export(base, target, vocab_size=61, params=None):
    model = make_model(
        make_architecture(vocab_size=vocab_size, attention_bias=False, attention_output_bias=False)
    )
    params = random_params(abstract_params(model)) if params is None else params(model)
    stops = load_tokenizer(base).stop_tokens
    save_model(target, model, params, tokenizer_from=base, max_shard_bytes=10**9, stop_tokens=stops)
    return target


def read(folder, name):
    return json.loads((folder / name).read_text())


def check_export(base, target):
    before, after = load_tokenizer(base), load_tokenizer(target)
    assert before.stop_ids == after.stop_ids and len(after.stop_ids) == 2
    assert list(before.stop_tokens.items()) == list(after.stop_tokens.items())
    turn, document = after.stop_tokens
    assert tuple(after.stop_tokens.values()) == (TURN_END, DOCUMENT_END)
    assert read(target, "generation_config.json")["eos_token_id"] == [turn, document]
    assert read(target, "config.json")["eos_token_id"] == [turn, document]
    theirs = transformers.AutoTokenizer.from_pretrained(target)
    assert (theirs.eos_token, theirs.eos_token_id) == (TURN_END, turn)
    assert (theirs.pad_token, before.pad_id) == (DOCUMENT_END, after.pad_id)
    assert transformers.GenerationConfig.from_pretrained(target).eos_token_id == [turn, document]
    said = [{"role": "user", "content": "abc"}]
    assert before.encode_prompt(said, None) == after.encode_prompt(said, None)


@pytest.mark.parametrize("generation", [True, False])
def test_every_file_of_an_export_names_both_stop_tokens_that_of_the_template_first(
    tmp_path, generation
):
    base = write_base(tmp_path, generation)
    target = export(base, tmp_path / "out")
    check_export(base, target)
    kept = read(target, "generation_config.json")
    assert kept["bos_token_id"] == 29
    assert kept.get("max_new_tokens") == (2048 if generation else None)
    check_export(target, export(target, tmp_path / "again"))


def test_a_special_tokens_map_follows(tmp_path):
    base = write_base(tmp_path)
    old = {"eos_token": {"content": DOCUMENT_END, "lstrip": False}, "pad_token": DOCUMENT_END}
    (base / "special_tokens_map.json").write_text(json.dumps(old))
    target = export(base, tmp_path / "out")
    wanted = {"eos_token": TURN_END, "pad_token": DOCUMENT_END}
    assert read(target, "special_tokens_map.json") == wanted
    check_export(base, target)


@pytest.mark.skipif(not QWEN3.exists(), reason="shared/tokenizers/qwen3 is not here")
def test_qwen3s_own_tokenizer_as_its_base_model_has_it(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for path in QWEN3.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    settings = read(base, "tokenizer_config.json") | {"eos_token": DOCUMENT_END}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    end_with(base, 151643)
    target = export(base, tmp_path / "out")
    check_export(base, target)
    assert list(load_tokenizer(target).stop_tokens) == [151645, 151643]


def test_transformers_stops_at_the_end_of_a_turn(tmp_path):
    torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
    base = write_base(tmp_path)
    turn = next(iter(load_tokenizer(base).stop_tokens))

    def always_ends(model):
        """All that the network says is the end of a turn, whatever it reads."""
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_params(model))
        zeros["embed_tokens"]["embedding"] += 1
        zeros["norm"]["scale"] += 1
        zeros["lm_head"]["kernel"][:, turn] = 1
        return jax.tree.map(jax.numpy.asarray, zeros)

    target = export(base, tmp_path / "out", params=always_ends)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(target).eval()
    prompt = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        made = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=9
        )
    assert made[0].tolist() == [3, 4, 5, turn]
