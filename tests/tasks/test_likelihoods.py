import math

import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.likelihoods import likeliest

ASKED = Example("q9", "headqa", (), "A", "", {})


@pytest.mark.parametrize(
    ("logprobs", "place"),
    [
        ([-3.0, -1.0, -2.0], 1),
        ([-1.0, -1.0, -1.0], 0),  # of equal ones the first
        ([-2.0, -1.0, -1.0], 1),
        ([-math.inf, -math.inf, -9.0], 2),
        ([-math.inf] * 3, 0),
    ],
)
def test_the_largest_sum_wins_and_a_tie_takes_the_first(logprobs, place):
    assert likeliest(ASKED, ("a", "bb", "ccc"), logprobs) == place


def test_sums_can_be_divided_by_the_characters_of_their_choices():
    choices, logprobs = ("no", "possibly", "日本"), [-3.0, -4.0, -3.0]
    assert likeliest(ASKED, choices, logprobs) == 0
    assert likeliest(ASKED, choices, logprobs, per_character=True) == 1
    # characters, not bytes: by bytes the last would win with 3/6 against 3.2/6
    assert likeliest(ASKED, ("abcdef", "日本"), [-3.2, -3.0], per_character=True) == 0


def test_log_likelihoods_that_cannot_be_compared_are_named():
    with pytest.raises(UserError, match="'q9': 2 choices have 1 log-likelihoods"):
        likeliest(ASKED, ("no", "yes"), [-1.0])
    with pytest.raises(UserError, match="'q9': 0 choices"):
        likeliest(ASKED, (), [])
    with pytest.raises(UserError, match="'q9': a log-likelihood is not a number"):
        likeliest(ASKED, ("no", "yes"), [-1.0, math.nan])
    with pytest.raises(UserError, match="'q9': an empty choice"):
        likeliest(ASKED, ("", "yes"), [-1.0, -2.0], per_character=True)
