"""Stop ids that config.json or generation_config.json name: those that no id can be, and those of ordinary tokens."""

import logging

import pytest
import transformers

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError

USER = {"role": "user", "content": "q"}
NUMBERED = "Item #1: the answer is 5"


def said(content, **fields):
    return [USER, {"role": "assistant", "content": content, **fields}]


def id_of(folder, token):
    return transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(token)


def learned(tokenizer, messages, thinking=None):
    tokens, mask = tokenizer.encode_conversation(messages, thinking)
    return tokenizer.show([token for token, m in zip(tokens, mask, strict=True) if m])


@pytest.mark.parametrize("template", ["chatml", "thinking"])
@pytest.mark.parametrize("content", [NUMBERED, "#", "# One\n\n# Two", "It is number #"])
def test_a_reply_with_an_ordinary_token_that_stops_is_refused_and_not_cut(
    make_tokenizer, template, content
):
    # A LlamaConfig writes eos_token_id 2 if nobody says otherwise; here that token is "#".
    folder = make_tokenizer(template, generation_config={"eos_token_id": 2})
    assert id_of(folder, "#") == 2
    with pytest.raises(UserError, match=r"'#' \(2\).*eos_token_id"):
        load_tokenizer(folder).encode_conversation(said(content), None)


def test_a_thought_with_such_a_token_is_refused_where_it_is_learned(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("thinking", config={"eos_token_id": 2}))
    messages = said("5", reasoning_content="try #1")
    with pytest.raises(UserError, match=r"'#' \(2\)"):
        tokenizer.encode_conversation(messages, None)
    assert learned(tokenizer, messages, False) == "5<|im_end|>"


def test_padding_is_no_ordinary_token(make_tokenizer):
    # transformers would leave it out of every text that it decodes.
    folder = make_tokenizer("chatml", pad=None, generation_config={"eos_token_id": 2})
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.pad_id, tokenizer.pad_token) == (id_of(folder, "<|im_end|>"), None)
    end = id_of(folder, "<|endoftext|>")
    folder = make_tokenizer("chatml", pad=None, generation_config={"eos_token_id": [2, end]})
    assert load_tokenizer(folder).pad_token == (end, "<|endoftext|>")


def test_replies_without_the_ordinary_token_are_learned_with_the_end_of_their_turn(make_tokenizer):
    folder = make_tokenizer("chatml", config={"eos_token_id": [2, 5]})
    tokenizer = load_tokenizer(folder)
    assert 2 in tokenizer.stop_ids
    messages = [{"role": "user", "content": "#1?"}, {"role": "assistant", "content": "5"}]
    assert learned(tokenizer, messages) == "5<|im_end|>"


def test_a_template_may_end_a_turn_with_an_ordinary_token(make_tokenizer, tmp_path):
    folder = make_tokenizer("chatml")
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    (folder / "config.json").write_text(f'{{"eos_token_id": {id_of(folder, "ĊĊ")}}}')
    tokenizer = load_tokenizer(folder)
    assert learned(tokenizer, said("It is 4.")) == "It is 4.\n\n"
    with pytest.raises(UserError, match="eos_token_id"):
        tokenizer.encode_conversation(said("One.\n\nTwo."), None)


def test_a_reply_may_occur_again_in_what_the_template_says_after_its_end(make_tokenizer):
    folder = make_tokenizer("chatml")
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '#' }}"
        "{% if m.role == 'assistant' %}{{ 'Say yes again' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    (folder / "config.json").write_text('{"eos_token_id": 2}')
    assert learned(load_tokenizer(folder), said("yes")) == "yes#"


def test_an_ordinary_token_that_stops_is_said_once_the_tokenizer_is_loaded(make_tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        load_tokenizer(make_tokenizer("chatml", config={"eos_token_id": 2}))
    assert "'#' (2)" in caplog.text and "eos_token_id" in caplog.text
    caplog.clear()
    end = id_of(make_tokenizer("chatml"), "<|endoftext|>")
    with caplog.at_level(logging.WARNING):
        load_tokenizer(make_tokenizer("chatml", config={"eos_token_id": [end, 100_000]}))
    assert not caplog.text


@pytest.mark.parametrize("name", ["config", "generation_config"])
@pytest.mark.parametrize("value", [-1, [257, -1], 2**40, 2**31, [10**30], True, 1.0, "2", [[1]]])
def test_a_stop_id_that_no_token_can_have_is_refused_by_file_and_value(make_tokenizer, name, value):
    folder = make_tokenizer("chatml", **{name: {"eos_token_id": value}})
    with pytest.raises(UserError, match=rf"{name}.json: eos_token_id: expected token ids"):
        load_tokenizer(folder)


@pytest.mark.parametrize("value", [None, [], 0, 300_000, [257, 257], 2**31 - 1])
def test_stop_ids_that_a_model_may_have_are_taken(make_tokenizer, value):
    tokenizer = load_tokenizer(make_tokenizer("chatml", config={"eos_token_id": value}))
    ids = value if isinstance(value, list) else [] if value is None else [value]
    assert set(ids) <= set(tokenizer.stop_ids)
