"""Streamed text: whole characters, nothing of a stop string, and in the end what one piece would have been."""

import random

import pytest

from jaxreason.serve.text import TextStream


def decode(ids):
    """One byte a token; 256 is a special token."""
    return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def pieces(tokens, ends, stop=()):
    stream = TextStream(decode, stop)
    return [stream.push(tokens[:end], final=end == len(tokens)) for end in ends]


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_make_the_whole_text(seed):
    draw = random.Random(seed)
    text = "".join(draw.choice("añ€😀 b\n") for _ in range(40))
    tokens = [*text.encode(), 256]
    ends = [*sorted(draw.sample(range(len(tokens)), 12)), len(tokens)]
    found = pieces(tokens, ends)
    assert "".join(found) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in found)


def test_a_character_is_given_when_all_its_bytes_are_there():
    assert pieces(list("€".encode()) + [97, 97], [1, 2, 3, 4, 5]) == ["", "", "€", "a", "a"]


def test_a_character_that_is_never_completed_comes_at_the_end():
    assert pieces([97, 0xE2], [1, 2]) == ["a", "\N{REPLACEMENT CHARACTER}"]


def test_the_beginning_of_a_stop_string_waits_until_it_is_none():
    assert pieces(list(b"a\nQb\nQ:c"), range(1, 9), ("\nQ:",)) == [
        "a",
        "",
        "",
        "\nQb",
        "",
        "",
        "",
        "",
    ]


def test_the_beginning_of_a_stop_string_is_text_when_the_reply_ends_there():
    assert pieces(list(b"a\nQ"), [1, 2, 3], ("\nQ:",)) == ["a", "", "\nQ"]


def test_the_first_stop_string_counts_and_nothing_follows_it():
    stream = TextStream(decode, ("xx", "b"))
    assert stream.push(list(b"abxx"), final=False) == "a"
    assert stream.push(list(b"abxxc"), final=True) == ""


class Decode:
    """One byte a token; 256 is the special token <end>."""

    def __call__(self, ids):
        return decode(ids)

    def with_special(self, ids):
        return "".join("<end>" if i == 256 else chr(i) for i in ids)


def test_what_a_stop_string_with_a_special_token_has_of_the_text_is_not_given_out():
    stream, tokens = TextStream(Decode(), ("b<end>",)), [*b"ab", 256]
    assert [stream.push(tokens[:n], final=n == 3) for n in (1, 2, 3)] == ["a", "", ""]
    stream = TextStream(Decode(), ("b<end>",))
    assert [stream.push([*b"ab"][:n], final=n == 2) for n in (1, 2)] == ["a", "b"]
