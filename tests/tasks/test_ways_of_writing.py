"""Ways in which answers are written, by topic: `==` right, `=.` right but not for a reward, `!=` wrong."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.verify import VerifierPool

TOPICS = {}
TOPICS["numbers with words inside one command"] = r"""
12 == \text{12 cm}
12 == \textbf{12 apples}
\$12 == \text{12 dollars}
204 == \text{204 minutes}
5 == \text{5 apples}
5 == \text{There are 5 ways.}
5 == \text{There are exactly 5 solutions}
5 == \text{Total: 5 ways}
5 == \text{5 square cm}
5 == \text{5 cm}^2
5 == \text{5 cm^2}
5 == \mathrm{5\ cm}
1234 == \text{1,234 people}
\frac{5}{2} == \text{5/2 hours}
5,6 == \text{5 and 6}
x=5, x=6 == \text{x = 5 or x = 6}
5 == x = \text{5}
5 == \mathbf 5
3 == \mathbf{x=3}
x+1 == \mathrm{x+1}
\frac{x}{2} == \mathbf{\frac{x}{2}}
\frac{x}{2} == \boldsymbol{\frac{x}{2}}
5 != \text{5x}
5 != \text{5 x}
5 != \text{5 or 6}
5 != \text{5 and 6}
5 != \text{5 of 6}
5 != \text{at least 5}
5 != \text{There are at most 5 solutions}
5 != \text{There are not 5 ways}
5 != \text{There are 5 ways and 6 others}
5 != \text{There are 5 dozen ways}
5 != \text{5 more than x}
2 != \text{2 pi}
2 \text{ cm} != \text{2 kg}
5\text{ pm} != \text{5 am}
"""
TOPICS["words behind a number that are no unit"] = r"""
5 != 5 \text{ or more}
5 != 5 \text{ or less}
5 != 5 \text{ or fewer}
5 != 5 \text{ or so}
5 != 5 \text{ or six}
5 != 5 \text{ and six}
5 != 5 \text{ plus one}
5 != 5 \text{ minus one}
5 != 5 \text{ minus } x
5 != 5 \text{ times two}
5 != 5 \text{ factorial}
5 != 5 \text{ below zero}
5 != 5 \text{ at least}
5 != 5 \text{ at most}
5 != 5 \text{ less than }
5 != 5 \text{ out of 6}
5 != 5 \text{ to the third}
5 != 5 \text{ feet 6 inches}
5 != 5 \text{ feet six inches}
5 != 5 or more
5 != 5 at least
5 != \text{more than }5
5 != \text{at least }5
5 != \text{up to }5
5 == 5 \text{ more apples}
5 == 5 \text{ fewer}
5 == 5 \text{ pairs}
5 == 5 \text{ times}
5 == 5 \text{ multiples of 7}
5 == 5 \text{ three-digit numbers}
5 == 5 \text{ 3-digit numbers}
5 == 5 \text{ cm}^{2}
5 == 5\text{th}
"""
TOPICS["numbers in words"] = r"""
-5 == \text{negative }5
-5 == \text{minus }5
-5 == \text{negative five}
-\frac{1}{2} == \text{negative }\frac{1}{2}
\frac{1}{2} == \text{one half}
\frac{1}{2} == \text{half}
\frac{2}{3} == \text{two-thirds}
\frac{3}{4} == \text{three quarters}
\frac{5}{2} == \text{two and a half}
3 == \text{three ways}
24 == \text{two dozen}
120 == \text{one hundred twenty}
2500 == \text{two thousand five hundred}
123456 == \text{one hundred twenty-three thousand four hundred and fifty-six}
5000 == \text{5 thousand dollars}
5000 == 5\text{ thousand dollars}
5 != \text{negative five}
5 != \text{five and six}
5 != \text{five or six}
5 != \text{five sixths}
3 != \text{three quarters}
1 != \text{one to one}
1 != \text{one of them}
2 != \text{two point five}
3 != \text{third}
"""
MARKS = {" == ": [1.0, 1.0], " =. ": [1.0, 0.0], " != ": [0.0, 0.0]}


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(1, 60.0) as pool:
        yield pool


def example(gold: str, asked: str = "") -> Example:
    return Example(gold, "math", (), gold, "", {"question": asked})


@pytest.mark.parametrize("topic", TOPICS)
def test_an_answer_counts_in_each_way_of_writing_that_says_the_same(topic, pool):
    rows, items = TOPICS[topic].strip().split("\n"), []
    for row in rows:
        gold, _, answer = row.partition(next(mark for mark in MARKS if mark in row))
        items.append((example(gold), rf"\boxed{{{answer}}}"))
    verdicts = [pool.score(task, items) for task in ("math", "math_strict")]
    found = [[v.scores.get("accuracy", v.error) for v in pair] for pair in zip(*verdicts)]
    wanted = [MARKS[next(mark for mark in MARKS if mark in row)] for row in rows]
    assert [w for w in zip(rows, found, wanted) if w[1] != w[2]] == []
