"""Texts that continue another one, with tokenizers that put a space before a text and with those that do not."""

import pytest
from sentence_pieces import KINDS, write_pieces

from jaxreason.data.tokenizer import load_tokenizer

PLAIN = "The capital is:"


@pytest.fixture(scope="session", params=KINDS)
def pieces(request, tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), request.param))


def symbols(tokenizer, ids):
    return tokenizer._hf.convert_ids_to_tokens(list(ids))


def harness_pair(tokenizer, context, text):
    """What lm-evaluation-harness makes of the pair: see `_encode_pair` of its models."""
    spaces = len(context) - len(context.rstrip())
    context, text = context[: len(context) - spaces], context[len(context) - spaces :] + text
    whole, before = tokenizer.encode(context + text), tokenizer.encode(context)
    return before, whole[len(before) :]


@pytest.mark.parametrize(
    "text", [" Paris", "Paris", " London is", "\n\n", "é", " [INST] a", "</s>"]
)
@pytest.mark.parametrize(
    "context",
    [
        PLAIN,
        "The",
        "",
        "The capital is: ",
        PLAIN + "\n",
        PLAIN + "\n\n ",
        "[INST] ab [/INST]",
        "é",
        "ab</s>",
    ],
)
def test_a_text_after_another_one_is_what_the_harness_makes_of_it(pieces, context, text):
    found = pieces.encode_after(pieces.encode(context), text)
    assert found == harness_pair(pieces, context, text)


def test_a_continuation_has_no_space_that_is_not_its_own(pieces):
    context = pieces.encode(PLAIN)
    assert symbols(pieces, pieces.encode_after(context, " Paris")[1]) == ["▁Paris"]
    assert symbols(pieces, pieces.encode_after(context, "Paris")[1]) == ["Paris"]
    assert symbols(pieces, pieces.encode_part("Paris")) == ["▁Paris"]  # At the start of a text.


def test_a_token_that_would_begin_in_the_context_is_split_where_the_text_begins(pieces):
    context = pieces.encode("The capital is: Par")
    before, after = pieces.encode_after(context, "is")
    assert before == context and symbols(pieces, after) == ["i", "s"]


def test_what_precedes_a_text_is_never_empty(tmp_path):
    pieces = load_tokenizer(write_pieces(tmp_path, "prepend", begins=False))
    spaces = pieces.encode("  ")
    before, after = pieces.encode_after(spaces, "Paris")
    assert before and pieces.decode([*before, *after]) == "  Paris"
    assert pieces.encode_after([], " Paris") == ([], pieces.encode_part(" Paris"))


def test_a_continuation_of_bytes_is_encoded_by_itself_and_its_context_stays(
    make_tokenizer, shared_qwen3
):
    for folder in (make_tokenizer("thinking"), *shared_qwen3):
        tokenizer = load_tokenizer(folder)
        for context in ("The capital is:", "The capital is: ", "a\n\n", "it", "<|im_start|>a\n"):
            ids = tokenizer.encode(context)
            for text in (" Paris", "Paris", "\n", "'s", "12"):
                assert tokenizer.encode_after(ids, text) == (ids, tokenizer.encode_part(text))


def test_the_line_after_a_closed_thought_is_what_a_conversation_has_there(pieces):
    whole = pieces.encode_part("<think>ab</think>\n\nParis")
    start = whole.index(pieces.close_think[0])
    length = len(pieces.close_think)
    assert tuple(whole[start : start + length]) == pieces.close_think
    assert pieces.decode(whole[start + length :]) == "Paris"


@pytest.mark.parametrize(
    "text", ["a [INST] b<s>", "[INST]", "<s>a", "a\n[INST]\nb", "é<s>é <s> [INST][INST] é"]
)
def test_a_mark_that_is_spelled_out_keeps_the_text_as_it_is(pieces, text):
    asked = [{"role": "user", "content": text}]
    prompt = pieces.encode_prompt(asked, None)
    marks = {pieces.encode_part(mark)[0] for mark in ("<s>", "</s>", "[INST]", "[/INST]")}
    assert [token for token in prompt if token in marks] == [
        pieces.encode_part(mark)[0] for mark in ("<s>", "[INST]", "[/INST]")
    ]
    assert text in pieces.decode(prompt)
    told = [*asked, {"role": "assistant", "content": text}]
    ids, mask = pieces.encode_conversation(told, None)
    learned = [token for token, used in zip(ids, mask, strict=True) if used]
    assert ids[: len(prompt)] == prompt
    shown = pieces.decode([*prompt, *learned]).removeprefix(pieces.decode(prompt))
    assert shown.lstrip() == told[1]["content"]


def test_a_text_without_marks_is_encoded_as_transformers_does(pieces):
    asked = [{"role": "user", "content": "The capital is: Paris"}]
    whole = "<s>[INST] The capital is: Paris [/INST]"
    assert pieces.encode_prompt(asked, None) == pieces.encode_part(whole)


def test_a_reply_whose_first_token_would_begin_in_the_prompt_gets_no_space(pieces):
    prompt, full = "The capital is: Par", "The capital is: Paris</s>"
    reply = pieces._encode_reply(pieces.encode_part(prompt), full, len(prompt))
    assert symbols(pieces, reply) == ["i", "s", "</s>"]
