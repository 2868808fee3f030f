"""Models with the same tokenizer share it in a process; each keeps its own name in messages."""

import json
import shutil

import pytest
import transformers

from jaxreason.data.tokenizer import load_tokenizer

USER = {"role": "user", "content": "What is 2+2?"}
REPLY = {"role": "assistant", "content": "It is 4."}


@pytest.fixture
def read(monkeypatch):
    """The folders of which transformers reads a tokenizer."""
    folders, real = [], transformers.AutoTokenizer.from_pretrained

    def count(folder, **settings):
        folders.append(str(folder))
        return real(folder, **settings)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", count)
    return folders


def put(file, **settings):
    """Changes fields of a JSON file, which may not be there."""
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(old | settings))


@pytest.fixture
def folder(make_tokenizer, tmp_path):
    """A tokenizer that no other test has loaded, since its files name this test's folder."""
    copied = shutil.copytree(make_tokenizer("chatml"), tmp_path / "one")
    put(copied / "config.json", made_for=str(tmp_path))
    return copied


def test_models_that_differ_in_their_weights_have_one_tokenizer(folder, tmp_path, read):
    put(folder / "config.json", dtype="float32", model_type="qwen3")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"weights differ")
    for name in ("checksums.json", "model.safetensors.index.json"):
        put(other / name, weights="differ")
    config = json.loads((other / "config.json").read_text()) | {"dtype": "bfloat16"}
    (other / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    one, same = load_tokenizer(folder), load_tokenizer(other)
    assert read == [str(folder)]
    conversation = [USER, REPLY]
    assert same.encode_conversation(conversation, None) == one.encode_conversation(
        conversation, None
    )
    assert same.other_token(one) is None


def test_each_of_them_has_its_own_name_in_messages(folder, tmp_path, read):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('not today') }}")
    put(folder / "tokenizer_config.json", chat_template=None)
    with pytest.raises(ValueError, match=rf"^{folder}: chat template: not today"):
        load_tokenizer(folder)
    template = "{% if messages|length > 2 %}{{ raise_exception('too many') }}{% endif %}"
    template += "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    folders = folder, shutil.copytree(folder, tmp_path / "other")
    loaded = [load_tokenizer(one) for one in folders]
    assert len(read) == 2  # the refused one, and one for both
    for tokenizer, one in zip(loaded, folders, strict=True):
        assert tokenizer.name == str(one)
        with pytest.raises(ValueError, match=rf"^{one}: chat template: too many"):
            tokenizer.encode_prompt([USER, REPLY, USER], None)


def test_folders_that_are_the_same_warn_of_an_ordinary_stop_token_each(folder, tmp_path, caplog):
    put(folder / "config.json", eos_token_id=ord("2"))
    for one in (folder, shutil.copytree(folder, tmp_path / "other")):
        load_tokenizer(one)
        assert f"{one}: every reply ends at" in caplog.text


@pytest.mark.parametrize(
    "file, settings",
    [
        ("generation_config.json", {"eos_token_id": 5}),
        ("config.json", {"eos_token_id": 5}),
        ("tokenizer_config.json", {"pad_token": "[INST]"}),
    ],
)
def test_a_folder_that_has_changed_is_read_again(folder, read, file, settings):
    before = load_tokenizer(folder)
    put(folder / file, **settings)
    after = load_tokenizer(folder)
    assert len(read) == 2
    assert (before.stop_ids, before.pad_id) != (after.stop_ids, after.pad_id)


def test_a_changed_chat_template_is_read_again(folder, read):
    before = load_tokenizer(folder).render([USER], None, True)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    after = load_tokenizer(folder).render([USER], None, True)
    assert after == "<|im_start|>What is 2+2?<|im_end|>" != before
    assert len(read) == 2
