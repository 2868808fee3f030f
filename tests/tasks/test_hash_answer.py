import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS


@pytest.mark.parametrize(
    ("reply", "answer", "right", "answered", "direct"),
    [
        ("#122", "122", 1, 1, 1),
        ("9+3=12;5+6+1=12#122", "122", 1, 1, 0),
        ("let 12+39. 12+30=42. 42+9=51. so 51!#51", "51", 1, 1, 0),
        ("#51#52", "52", 1, 1, 1),
        ("#51#52", "51", 0, 1, 1),
        ("# 51 ", "51", 1, 1, 1),
        ("9+3=12;5+6+1=12", "12", 0, 0, 0),
        ("51", "51", 0, 0, 0),
        ("#051", "51", 0, 1, 1),
        ("51#", "51", 0, 0, 0),
        ("", "51", 0, 0, 0),
    ],
)
def test_what_follows_the_last_hash_is_the_answer(reply, answer, right, answered, direct):
    scores = TASKS["hash_answer"].score(Example("1", "hash_answer", (), answer, "", {}), reply)
    assert scores == {"accuracy": right, "answered": answered, "direct": direct}
