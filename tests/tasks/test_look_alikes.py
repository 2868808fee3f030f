"""Answers that look alike: `==` is right, `!=` is wrong, for rewards as well as for evaluation."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks import math

LABELS = r"""
x=1, y=2 == y=2, x=1
x=1, y=2 == 2=y, 1=x
x=1, y=2 == 1, 2
x=1, y=2 != 2, 1
x=1, y=2 != x=2, y=1
a=3,b=4 != a=4,b=3
m=2, n=3 != n=2, m=3
m=2, n=3 == a=2, b=3
m=2, n=3 != a=3, b=2
x=1 \text{ and } y=2 != x=2, y=1
AB=9, CD=4 != AB=4, CD=9
AB=9, CD=4 == CD=4, AB=9
f(n)=n, g(n)=1 != g(n)=n, f(n)=1
f(n)=n, g(n)=1 == g(n)=1, f(n)=n
f(x)=x, f(x)=-x == f(x)=-x, f(x)=x
x=1 \text{ or } x=2 == x=2 \text{ or } x=1
x_1=1, x_2=2 == x_1=2, x_2=1
x=1,y=2 \text{ or } x=3,y=4 == y=4,x=3 \text{ or } x=1,y=2
x=1,y=2 \text{ or } x=3,y=4 != x=1,y=4 \text{ or } x=3,y=2
1, 2 == x=2, y=1
A=1, B=2 == b=2, a=1
x=3 != y=3
x=3 == 3
x=3 == y=x=3
x=3 == AB=3
3 == y=3
n=5 == k=5
n=5 == S=5
y=x == x=y
y=2x+1 == y-1=2x
x=2 != -x=2
x=2 == -x=-2
x=2 != 2x=2
x=5 != |x|=5
2 != -x=2
5 == a+b=5
5 == 2x=5
AB=9 != -AB=9
AB=9 == |AB|=9
f(x)=2x != -f(x)=2x
2+2=4 != 3+3=6
0.56 = 56\% != 0.76 = 56\%
1<2 != 3<4
n=n != x=x
""".strip().split("\n")
CASES = r"""
\frac{R}{r} != 1
\frac{R}{r} != \frac{r}{R}
\frac{R}{r} == R/r
R-r != 0
R-r != r-R
R-r == -r+R
\frac{Mm}{M+m} != \frac{m}{2}
\frac{Mm}{M+m} == \frac{mM}{m+M}
2R != 2r
Nn != n^2
$N=n$ != 0=0
$N=n$ != 5=5
$N=n$ != n=n
$N=n$ == N=n
$N=n$ == n
F(x)-f(x) != 0
\frac{\Delta}{2} != \frac{\delta}{2}
\Omega != \omega
x^2+1 == X^2+1
2n == 2N
n=2 == N=2
f(x)=2x == F(x)=2x
x^2+C == x^2+c
2+2i == 2+2I
C == c
A,C,D == a, c, d
\text{(A)} == a
No == no
Anna == anna
5 L == 5 l
5 KM == 5 km
1A_{16} == 1a_{16}
3:20 P.M. == 3:20 p.m.
""".strip().split("\n")
MARKS = r"""
f'(x) != f(x)
f(x) != f'(x)
f'(x) == f^{\prime}(x)
f'(x) != f''(x)
y' != y
y' != y''
(x^2)' != x^2
\alpha' != \alpha
f(x)=2x != f'(x)=2x
y=2x != y'=2x
f'(x)=2x == 2x
2x == f'(x)=2x
y'=2x == \frac{dy}{dx}=2x
y''+y=0 == y+y''=0
A'(2,3) == A(2,3)
30' == 30'
\frac{dy}{dx} == \frac{dy}{dx}
\frac{dy}{dx} != \frac{dx}{dy}
\frac{dy}{dx} != 0
\vec{a}\cdot\vec{b} == \vec{b}\cdot\vec{a}
\vec{a}\cdot\vec{b} != \vec{a}\times\vec{b}
\vec a\cdot\vec b != \vec a\times\vec b
\vec{a}\times\vec{b} != \vec{b}\times\vec{a}
\vec{a}\times\vec{b} == \vec a \times \vec b
""".strip().split("\n")
GAPS = r"""
12 != 1 2
12 != 1\,2
12 != 1~2
12 != 1\ 2
12 != 1 \, 2
12 != 1{ }2
12 != 1\text{ }2
12 != \text{1 2}
809 != 80 9
17 != 1 7
3 != 1 2
17 != 8 09
0 != 1 000
1000 != 10 00
1.52 != 1.5 2
12x != 1 2x
(12,3) != (1 2,3)
12\% != 1 2\%
\frac{12}{5} != \frac{1 2}{5}
1 2 == 1 2
12 == 1\!2
1000 == 1 000
1000 == 1\,000
1000 == 1~000
1000 == +1 000
1000 == \$1 000
-1000 == -1\,000
1234567 == 1\,234\,567
\frac{2000}{3} == \frac{2 000}{3}
3.14159 == 3.141 59
\frac{11}{2} == 5 1/2
\frac45 == \frac4 5
x^2 3 == 3x^2
""".strip().split("\n")
QUESTIONS = [  # what was asked, gold, answer, right
    ("The radii are $R$ and $r$.", "2R", "2r", 0.0),
    ("Express it in terms of $R$.", "2R", "2r", 1.0),
    ("Let a be positive, $a>1$.", "2a+1", "2A+1", 1.0),
    ("The radii are $R$ and $r$.", "R=5", "r=5", 0.0),
    ("Which one has $a=b$? (A) $A=B$ (B) none", "A", "a", 1.0),
    ("If $x_1 + 2x_2 = 5$ and $x_1 = x_2 - 1$, find both.", "x_1=1,x_2=2", "x_1=2,x_2=1", 0.0),
    ("Solve $x^2-3x+2=0$.", "x_1=1,x_2=2", "x_1=2,x_2=1", 1.0),
]


def score(gold: str, answer: str, asked: str = "Solve.", metadata: dict | None = None):
    example = Example("", "math", ({"role": "user", "content": asked},), gold, "", metadata or {})
    boxed = rf"\boxed{{{answer}}}"
    graded = [task(example, boxed) for task in (math.score, math.score_strict)]
    return [found["accuracy"] for found in graded]


@pytest.mark.parametrize("row", [*LABELS, *CASES, *MARKS, *GAPS])
def test_names_cases_primes_and_gaps_make_a_difference(row):
    gold, mark, answer = row.partition(" == " if " == " in row else " != ")
    assert score(gold, answer) == [float(mark == " == ")] * 2


@pytest.mark.parametrize(("asked", "gold", "answer", "right"), QUESTIONS)
def test_the_question_shows_which_letters_are_symbols_of_their_own(asked, gold, answer, right):
    assert score(gold, answer, asked) == [right] * 2


def test_values_of_a_list_of_answers_belong_to_their_names():
    several = {"is_multiple_answer": True}
    gold = "$f(n)=n$, $g(n)=1$"
    assert score(gold, "g(n)=1, f(n)=n", metadata=several) == [1.0, 1.0]
    assert score(gold, "g(n)=n, f(n)=1", metadata=several) == [0.0, 0.0]


def test_more_look_alikes_than_free_letters_are_not_equal_and_raise_nothing():
    letters = "abcdefghijklmnopqrstuvwxyz"
    answer = "+".join(letters + letters.upper())
    assert score("1+" + answer, answer) == [0.0, 0.0]
    assert score(answer, answer) == [1.0, 1.0]
