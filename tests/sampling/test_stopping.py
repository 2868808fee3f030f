"""Finding the token that completes a stop string."""

import pytest
from sentence_pieces import write_pieces

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.sampling.stopping import (
    before_stop,
    closed_by_prompt,
    completing_token,
    think_block_of,
)

PIECES = ["a", "b", "ab", "ST", "OP", " ", "", "é"[:1]]


def decode(tokens):
    return "".join(PIECES[t] for t in tokens)


def test_a_string_within_one_token_and_one_across_tokens():
    assert completing_token([0, 3, 4, 1], 0, ("STOP",), decode) == 3
    assert completing_token([0, 2, 1], 0, ("ab",), decode) == 2
    assert completing_token([0, 0, 1, 1], 0, ("ab",), decode) == 3


def test_the_first_of_several_strings_to_complete_counts():
    assert completing_token([5, 3, 4, 2], 0, ("ab", "STOP"), decode) == 3


def test_no_string_no_find_and_nothing_new():
    assert completing_token([0, 1], 0, (), decode) is None
    assert completing_token([0, 0], 0, ("b",), decode) is None
    assert completing_token([0, 1], 2, ("b",), decode) is None


def test_a_string_that_began_before_what_was_checked():
    tokens = [0] * 50 + [3, 6, 6, 4, 0]
    assert completing_token(tokens, 53, ("STOP",), decode) == 54


def test_bytes_of_one_character_over_several_tokens():
    raw = "ab→c".encode()

    def decode_bytes(tokens):
        return bytes(raw[t] for t in tokens).decode(errors="replace")

    assert completing_token(list(range(len(raw))), 0, ("→",), decode_bytes) == 5
    assert completing_token(list(range(len(raw))), 4, ("→",), decode_bytes) == 5


@pytest.mark.parametrize("block", [1, 2, 3, 4, 100])
def test_a_string_among_bytes_that_a_decoder_takes_together_ends_the_reply(tmp_path, block):
    """Llama 2's and Mistral's decoders: a tail or a block that cuts a character breaks all bytes beside it."""
    pieces = load_tokenizer(write_pieces(tmp_path, "prepend"))
    for text in ("數數數數\n數數數", "é😀數😀\n😀a", "數數數數é\n😀\n", "數數數a數數\n"):
        before, _, _ = text.partition("\n")
        tokens = pieces.encode_after(pieces.encode("a"), text)[1]
        ends = [*range(block, len(tokens), block), len(tokens)]
        checks = [
            completing_token(tokens[:end], begin, ("\n",), pieces.decode)
            for begin, end in zip([0, *ends], ends, strict=False)
        ]
        number = len(pieces.encode_after(pieces.encode("a"), before)[1]) + 1
        assert next(found for found in checks if found is not None) == number
        assert before_stop(tokens[:number], ("\n",), pieces.decode) == before
    tokens = pieces.encode_after(pieces.encode("a"), "b數數數數")[1]
    tokens += pieces._hf.convert_tokens_to_ids(["<think>"])
    assert before_stop(tokens, ("數<think>",), pieces.decode) == "b數數數"


def test_only_a_tail_is_decoded():
    longest = 0

    def decode_counting(tokens):
        nonlocal longest
        longest = max(longest, len(tokens))
        return decode(tokens)

    tokens = [0] * 10_000
    for checked in range(9_000, 10_000, 16):
        completing_token(tokens[: checked + 16], checked, ("STOP",), decode_counting)
    assert longest < 40


class Showing:
    """Tokens are characters; 9 is the special token <end>, 8 is </think>."""

    def __call__(self, tokens):
        return "".join(" " if t == 8 else "abcdefgh"[t] for t in tokens if t != 9)

    def with_special(self, tokens):
        return "".join("<end>" if t == 9 else self([t]) for t in tokens)


def test_a_special_token_completes_a_stop_string_and_leaves_none_of_it_behind():
    show = Showing()
    for stop, shown in (("<end>", "ab"), ("b<end>", "a"), ("ab<end>", "")):
        assert completing_token([0, 1, 9, 2], 0, (stop,), show) == 3
        assert before_stop([0, 1, 9], (stop,), show) == shown
    assert completing_token([0, 1, 9, 2], 0, ("<end>c",), show) == 4
    assert before_stop([0, 1, 9, 2], ("b<end>c",), show) == "a"
    assert completing_token([0, 9, 1], 0, ("ab",), show) == 3  # as the text is shown
    assert before_stop([0, 9, 1, 2], ("bc",), show) == "a"
    assert before_stop([0, 1, 2], ("<end>",), show) == "abc"
    assert (
        completing_token([0, 1, 9, 2], 0, ("nd>c",), show) == 4
    )  # begins inside the special token
    assert before_stop([0, 1, 9, 2], ("nd>c",), show) == "ab"


def test_a_think_block_that_the_turns_prompt_has_closed_is_known():
    show, close, ends = Showing(), (8, 7), (6,)
    assert closed_by_prompt([0, 1, 8, 7], close, ends, show)
    assert closed_by_prompt([8, 6, 1, 8], close, ends, show)
    assert closed_by_prompt([6, 8, 7, 1, 2], close, ends, show)  # the reply has begun
    assert not closed_by_prompt([0, 8, 6, 1], close, ends, show)  # of an earlier turn
    assert not closed_by_prompt([0, 8, 9, 1], close, ends, show)  # a mark follows
    assert not closed_by_prompt([0, 1], close, ends, show)
    assert not closed_by_prompt([0, 1, 8], (), ends, show)


def test_a_think_block_is_open_only_after_the_token_that_opens_it():
    show, close, opens, ends = Showing(), (8, 7), 5, (6,)

    def block(*prompt, opens=opens):
        return think_block_of(prompt, close, opens, ends, show)

    assert block(0, 1, 5) == block(0, 1, 5, 2, 3) == block(5, 8, 6, 1, 5, 2) == "open"
    assert block(0, 1) == block(5, 1, 6, 2) == block(5, 8, 6, 1) == "none"  # of an earlier turn
    assert block(5, 8, 7) == block(0, 5, 1, 8, 2) == "closed"
    assert block(0, 1, opens=None) == block(5, 8, 6, 1, opens=None) == "open"


def test_a_think_block_that_is_opened_after_a_closed_one_of_the_same_turn_is_open():
    """As in a prompt of plain text that shows worked examples, with no special token between them."""
    show, close, ends = Showing(), (8, 7), (6,)
    for prompt in ([5, 1, 8, 7, 0, 5], [5, 1, 8, 7, 0, 5, 2], [8, 5]):
        assert think_block_of(prompt, close, 5, ends, show) == "open"
    assert think_block_of([5, 8, 0, 5, 1, 8, 7], close, 5, ends, show) == "closed"
