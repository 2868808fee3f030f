"""Rows with thoughts, wherever they stand: nothing is lost silently, and thinking=False leaves them out."""

import functools

import pytest

from jaxreason.data.encoding import encode_examples
from jaxreason.data.examples import Example
from jaxreason.data.rows import DropLog
from jaxreason.data.thoughts import has_thoughts, without_thoughts
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError

open_tokenizer = functools.cache(load_tokenizer)
QUESTION = {"role": "user", "content": "2+2?"}
SAID = "It is 4."
THOUGHT = "Two and two."


def reply(content, reasoning=None):
    message = {"role": "assistant", "content": content}
    return message if reasoning is None else message | {"reasoning_content": reasoning}


# What a reply with thoughts looks like, and what is said in it.
WITH_THOUGHTS = {
    "in a field": reply(SAID, THOUGHT),
    "in the text": reply(f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"),
    "in the text, after white space": reply(f"\n <think>{THOUGHT}</think>{SAID}"),
}
# Of these it cannot be known what is thought.
UNCLEAR = {
    "two closing tags": reply(f"<think>a</think>b</think>{SAID}"),
    "two blocks": reply(f"<think>a</think>b<think>c</think>{SAID}"),
    "a block in a block": reply(f"<think>a<think>b</think>{SAID}"),
    "not closed": reply(f"<think>{THOUGHT} {SAID}"),
}
# And of these neither, but what is said is.
UNCLEAR_THOUGHTS = {
    "twice": reply(f"<think>a</think>{SAID}", THOUGHT),
    "a field that closes itself": reply(SAID, f"a</think>{THOUGHT}"),
    "a field with its tags": reply(SAID, f"<think>{THOUGHT}</think>"),
    "a field that opens itself": reply(SAID, f"\n<think>{THOUGHT}"),
}
# Of these it can only where thoughts are not to be left out.
UNCLEAR_TO_LEAVE_OUT = {
    "closed and not opened": reply(f"{THOUGHT}</think>{SAID}"),
    "a block within the text": reply(f"Well. <think>{THOUGHT}</think> {SAID}"),
    "nothing said": reply(f"<think>{THOUGHT}</think>\n"),
    "two closing tags and no opening one": reply("a</think>b</think>c"),
    "a field, and a closing tag in the text": reply(f"a</think>{SAID}", THOUGHT),
}


def encode(folder, messages, thinking, **options):
    drops, tokenizer = DropLog(), open_tokenizer(folder)
    example = Example("1", "t", tuple(messages), "", "set", {"where": "file:1"})
    other = reply(SAID) if thinking is False else reply(SAID, THOUGHT)
    good = Example("2", "t", (QUESTION, other), "", "set", {"where": "file:2"})
    for _ in range(2):
        drops.read("set")
    kept, encoded = encode_examples([example, good], tokenizer, thinking, 500, drops, **options)
    texts = [
        tokenizer.show([t for t, m in zip(tokens, mask, strict=True) if m])
        for tokens, mask in encoded
    ]
    return {e.id: text for e, text in zip(kept, texts, strict=True)}, drops.to_json()["set"]


@pytest.mark.parametrize("kind", WITH_THOUGHTS | UNCLEAR_THOUGHTS)
@pytest.mark.parametrize("template", ["thinking", "chatml"])
def test_without_thinking_what_is_said_is_learned_and_the_rows_are_counted(
    make_tokenizer, template, kind
):
    found, counts = encode(
        make_tokenizer(template), [QUESTION, (WITH_THOUGHTS | UNCLEAR_THOUGHTS)[kind]], False
    )
    assert found["1"] == found["2"] == f"{SAID}<|im_end|>"
    assert counts["changed"] == {"thoughts left out": 1}
    assert (counts["kept"], counts["dropped"]) == (2, {})


def test_real_templates_learn_what_is_said_as_well(shared_qwen3):
    for folder in shared_qwen3:
        for message in WITH_THOUGHTS.values():
            found, counts = encode(folder, [QUESTION, message], False)
            assert found["1"] == f"{SAID}<|im_end|>"
            assert counts["changed"] == {"thoughts left out": 1}
            shown, counts = encode(folder, [QUESTION, message], True)
            assert THOUGHT in shown["1"] and SAID in shown["1"]
            assert shown["1"].count("</think>") == 1 and counts["changed"] == {}


def test_an_empty_block_is_no_thought():
    message = reply(f"<think>\n\n</think>\n\n{SAID}")
    assert without_thoughts(message) == reply(SAID)
    assert not has_thoughts(message) and not has_thoughts(reply(SAID))
    assert has_thoughts(reply(f"<think>{THOUGHT}</think>{SAID}"))


@pytest.mark.parametrize(
    ("kind", "thinking"),
    [(kind, thinking) for kind in UNCLEAR for thinking in (True, False, None)]
    + [(kind, thinking) for kind in UNCLEAR_THOUGHTS for thinking in (True, None)],
)
def test_a_row_of_which_it_is_not_clear_what_is_thought_is_dropped_and_counted(
    make_tokenizer, kind, thinking
):
    message = (UNCLEAR | UNCLEAR_THOUGHTS)[kind]
    found, counts = encode(make_tokenizer("thinking"), [QUESTION, message], thinking)
    assert list(found) == ["2"]
    assert counts["dropped"] == {"not encodable": 1} and counts["changed"] == {}
    assert counts["first_bad_rows"][0]["where"] == "file:1"
    detail = counts["first_bad_rows"][0]["detail"]
    assert "thought" in detail or "part of the reply" in detail


@pytest.mark.parametrize("kind", UNCLEAR_TO_LEAVE_OUT)
def test_thoughts_that_cannot_be_told_from_the_rest_are_not_left_out_by_guess(make_tokenizer, kind):
    for template in ("thinking", "chatml"):
        messages = [QUESTION, UNCLEAR_TO_LEAVE_OUT[kind]]
        found, counts = encode(make_tokenizer(template), messages, False)
        assert list(found) == ["2"] and counts["dropped"] == {"not encodable": 1}


@pytest.mark.parametrize("thinking", [True, None])
def test_with_thinking_every_row_is_learned_whole_or_dropped_and_counted(
    make_tokenizer, shared_qwen3, thinking
):
    for folder in (make_tokenizer("thinking"), *shared_qwen3):
        for message in [*UNCLEAR_TO_LEAVE_OUT.values(), *WITH_THOUGHTS.values()]:
            found, counts = encode(folder, [QUESTION, message], thinking)
            words = "".join(
                message["content"].replace("<think>", "").replace("</think>", "").split()
            )
            learned = "".join(found.get("1", "").split())
            whole = "".join(learned.replace("<think>", "").replace("</think>", "").split())
            assert words in whole or counts["dropped"] == {"not encodable": 1}
            assert "<think></think><think>" not in learned


@pytest.mark.parametrize("template", ["thinking", "chatml"])
@pytest.mark.parametrize("kind", WITH_THOUGHTS | UNCLEAR_THOUGHTS)
def test_without_thinking_earlier_replies_have_no_thoughts_either(make_tokenizer, template, kind):
    tokenizer = load_tokenizer(make_tokenizer(template))
    shown = []
    for earlier in (reply(SAID), (WITH_THOUGHTS | UNCLEAR_THOUGHTS)[kind]):
        example = Example("1", "t", (QUESTION, earlier, QUESTION, reply(SAID)), "", "set", {})
        _, [(tokens, _)] = encode_examples([example], tokenizer, False, 500, DropLog())
        shown.append(tokenizer.show(tokens))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("kind", UNCLEAR | UNCLEAR_TO_LEAVE_OUT)
def test_without_thinking_a_row_with_an_unclear_earlier_reply_is_dropped(make_tokenizer, kind):
    earlier = (UNCLEAR | UNCLEAR_TO_LEAVE_OUT)[kind]
    for template in ("thinking", "chatml"):
        messages = [QUESTION, earlier, QUESTION, reply(SAID)]
        found, counts = encode(make_tokenizer(template), messages, False)
        assert list(found) == ["2"] and counts["dropped"] == {"not encodable": 1}


@pytest.mark.parametrize("thinking", [True, None])
def test_a_reply_with_a_thought_never_closes_it_twice(make_tokenizer, shared_qwen3, thinking):
    for folder in (make_tokenizer("thinking"), *shared_qwen3):
        message = UNCLEAR_TO_LEAVE_OUT["a field, and a closing tag in the text"]
        found, counts = encode(folder, [QUESTION, message], thinking)
        assert list(found) == ["2"] and counts["dropped"] == {"not encodable": 1}


def test_a_word_about_the_opening_tag_is_text(make_tokenizer):
    content = "The tag <think> opens a thought."
    for thinking in (None, False):
        found, counts = encode(make_tokenizer("chatml"), [QUESTION, reply(content)], thinking)
        assert found["1"] == f"{content}<|im_end|>" and counts["changed"] == {}


def test_a_template_that_adds_an_empty_thought_before_a_written_one_is_refused(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("thinking"))
    with pytest.raises(UserError, match="empty thought before the one in the reply's text"):
        tokenizer.encode_conversation([QUESTION, WITH_THOUGHTS["in the text"]], None)
