import json
import string

import pytest
import transformers

from jaxreason.data.character_tokenizer import MARKERS, save_character_tokenizer
from jaxreason.data.tokenizer import load_tokenizer

CHARACTERS = string.ascii_letters + string.digits + " \n+-*=#.,:;?!<>()/'\""


@pytest.fixture
def folder(tmp_path):
    save_character_tokenizer(tmp_path, CHARACTERS)
    return tmp_path


def test_every_character_is_one_token_and_text_returns_exactly(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.vocab_size == len(CHARACTERS) + 4
    for text in (CHARACTERS, "  two  spaces \n\n ends ", "12+30=42. so <user #42", "it 's , ok ."):
        ids = tokenizer.encode(text)
        assert ids == [4 + CHARACTERS.index(character) for character in text]
        assert tokenizer.decode(ids) == text


def test_markers_have_the_first_ids_and_the_end_stops(folder):
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    assert loaded.convert_tokens_to_ids(list(MARKERS)) == [0, 1, 2, 3]
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.pad_id, tokenizer.stop_ids) == (0, (3,))
    assert tokenizer.decode([1, *tokenizer.encode("a b"), 3, 0]) == "a b"


def test_conversations_are_user_question_assistant_reply_end(folder):
    tokenizer = load_tokenizer(folder)
    question, reply = "1 + 1?", " 2 "
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    prompt = [1, *tokenizer.encode(question), 2]
    assert tokenizer.encode_prompt(messages[:1], None) == prompt
    tokens, mask = tokenizer.encode_conversation(messages, None)
    assert tokens == [*prompt, *tokenizer.encode(reply), 3]
    assert mask == [0] * len(prompt) + [1] * (len(reply) + 1)
    twice = tokenizer.encode_prompt([*messages, messages[0]], None)
    assert twice == [*tokens, *prompt]


@pytest.mark.parametrize("model_type", ["qwen3", "llama"])
def test_it_loads_the_same_beside_the_config_of_a_model(folder, model_type):
    alone = load_tokenizer(folder).encode("a  b\n")
    config = {"model_type": model_type, "eos_token_id": 3, "vocab_size": 88}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_tokenizer(folder).encode("a  b\n") == alone


def test_a_character_outside_the_vocabulary_is_named(folder):
    with pytest.raises(ValueError, match=r"no tokens: 'é'"):
        load_tokenizer(folder).encode("cafe é")


def test_roles_that_the_template_lacks_are_refused(folder):
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(ValueError, match="only user and assistant messages"):
        load_tokenizer(folder).encode_prompt(messages, None)


def test_saving_again_replaces_and_leaves_nothing_else(folder):
    save_character_tokenizer(folder, "ab")
    assert load_tokenizer(folder).vocab_size == 6
    assert sorted(path.name for path in folder.iterdir()) == [
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize(
    ("characters", "expected"),
    [(["a", "bc"], "'bc' is not a single character"), ("aba", "'a' given more than once")],
)
def test_alphabets_that_are_none_are_refused(tmp_path, characters, expected):
    with pytest.raises(ValueError, match=expected):
        save_character_tokenizer(tmp_path, characters)
