import dataclasses

import pytest

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.encoding import encode_examples, encode_prompts, shared_lengths
from jaxreason.data.examples import Example, each_reply
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import load_tokenizer


@pytest.fixture
def tokenizer(tmp_path):
    save_character_tokenizer(tmp_path, "abcdefgh")
    return load_tokenizer(tmp_path)


def example(number, prompt, reply):
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": reply})
    return Example(str(number), "t", messages, "", "set", {"where": f"file:{number}"})


def test_examples_that_fit_are_encoded_and_the_others_counted(tokenizer):
    examples = [example(1, "ab", "c"), example(2, "ab", "cdefgh"), example(3, "xy", "c")]
    drops = DropLog()
    for _ in examples:
        drops.read("set")
    kept, encoded = encode_examples(examples, tokenizer, None, max_length=6, drops=drops)
    assert kept == examples[:1]
    assert encoded == [([1, 4, 5, 2, 6, 3], [0, 0, 0, 0, 1, 1])]
    counts = drops.to_json()["set"]
    assert counts["kept"] == 1
    assert counts["dropped"] == {"too long": 1, "not encodable": 1}
    assert counts["first_bad_rows"][0] == {
        "where": "file:2",
        "reason": "too long",
        "detail": "11 tokens, at most 6",
    }


def test_replies_of_one_row_count_one_by_one(tokenizer):
    first, second = example(1, "ab", "c"), example(1, "ab", "cdefgh")
    row = dataclasses.replace(first, messages=first.messages + second.messages)
    drops = DropLog()
    drops.read("set")
    kept, _ = encode_examples(each_reply(row), tokenizer, None, max_length=8, drops=drops)
    assert [item.id for item in kept] == ["1#0"]
    counts = drops.to_json()["set"]
    assert (counts["rows"], counts["kept"], counts["dropped"]) == (2, 1, {"too long": 1})


def test_a_row_without_any_reply_is_dropped_and_counted_where_each_reply_is_learned(tokenizer):
    asked = dataclasses.replace(example(1, "ab", "c"), messages=example(1, "ab", "c").messages[:1])
    rows = [asked, example(2, "ab", "c")]
    drops = DropLog()
    for _ in rows:
        drops.read("set")
    parts = [part for row in rows for part in each_reply(row)]
    kept, _ = encode_examples(parts, tokenizer, None, max_length=8, drops=drops)
    assert [item.id for item in kept] == ["2#0"]
    counts = drops.to_json()["set"]
    assert (counts["rows"], counts["kept"], counts["dropped"]) == (2, 1, {"not encodable": 1})
    assert counts["first_bad_rows"][0]["where"] == "file:1"


def test_prompts_leave_the_reply_out(tokenizer):
    examples = [example(1, "ab", "c" * 50), example(2, "abcdefgh", "c")]
    kept, encoded = encode_prompts(examples, tokenizer, None, max_length=6, drops=DropLog())
    assert (kept, encoded) == (examples[:1], [[1, 4, 5, 2]])


def test_nothing_left_is_an_error_that_says_why(tokenizer):
    with pytest.raises(ValueError, match=r"no example is left.*file:1: 6 tokens, at most 5"):
        encode_examples([example(1, "ab", "c")], tokenizer, None, max_length=5, drops=DropLog())


@pytest.mark.parametrize(
    ("prompt", "reply", "kept"),
    [
        (30, 4, (6, 4)),  # a short reply stays whole
        (4, 30, (4, 6)),  # and so does a short prompt
        (15, 15, (5, 5)),  # two long ones share
        (30, 10, (8, 2)),
        (5, 6, (5, 5)),
        (5, 5, (5, 5)),
    ],
)
def test_a_prompt_and_its_reply_share_the_limit(prompt, reply, kept):
    found = shared_lengths(prompt, reply, 10)
    assert found == kept
    assert sum(found) == 10


def test_overlong_examples_are_cut_at_both_ends_and_counted(tokenizer):
    examples = [example(1, "ab", "c"), example(2, "ab", "cdefgh"), example(3, "abcdefgh", "c")]
    drops = DropLog()
    for _ in examples:
        drops.read("set")
    how = (tokenizer, None, 6, drops)
    kept, encoded = encode_examples(examples, *how, overlong="cut")
    assert kept == examples
    # the prompt 1 a b 2 is longer than half the limit, as is the reply: 4 and 7 of 11 share 6
    assert encoded[1] == ([1, 4, 5, 6, 7, 8], [0, 0, 0, 1, 1, 1])
    # the reply stays whole with its end, the prompt is cut where it ends
    assert encoded[2] == ([1, 4, 5, 6, 6, 3], [0, 0, 0, 0, 1, 1])
    counts = drops.to_json()["set"]
    assert (counts["kept"], counts["dropped"]) == (3, {})
    assert counts["changed"] == {"cut to length": 2}
    assert "2 cut to length" in drops.summary("set")
