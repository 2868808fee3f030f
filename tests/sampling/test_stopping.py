"""Finding the token that completes a stop string."""

from jaxreason.sampling.stopping import completing_token

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
