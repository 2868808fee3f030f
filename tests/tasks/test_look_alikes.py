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


NAMED = r"""
\alpha=30, \beta=60 == \beta=60, \alpha=30
\alpha=30, \beta=60 == 30, 60
\alpha=30, \beta=60 == a=30, b=60
\alpha=30, \beta=60 != \alpha=60,\beta=30
\alpha=30, \beta=60 != 60,30
\lambda=1,\mu=2 != \lambda=2,\mu=1
\lambda=1,\mu=2 != 2,1
\lambda_1=1,\lambda_2=2 == \lambda_1=2,\lambda_2=1
\sin A=\frac35, \cos A=\frac45 == \cos(A)=\frac45, \sin(A)=\frac35
\sin A=\frac35, \cos A=\frac45 == \frac35, \frac45
\sin A=\frac35, \cos A=\frac45 != \sin A=\frac45, \cos A=\frac35
\sin A=\frac35, \cos A=\frac45 != \frac45, \frac35
|AB|=3, |BC|=4 == BC=4, AB=3
|AB|=3, |BC|=4 != |AB|=4, |BC|=3
\bar x=3,\sigma=4 == \sigma=4,\bar{x}=3
\bar x=3,\sigma=4 != \bar x=4,\sigma=3
\max f=3,\min f=1 == \min f(x)=1,\max f(x)=3
\max f=3,\min f=1 != \max f=1,\min f=3
f(1)=2,f(2)=3 == f(2)=3,f(1)=2
f(1)=2,f(2)=3 == 2,3
f(1)=2,f(2)=3 != 3,2
f(1)=2,f(2)=3 != f(1)=3,f(2)=2
P(A)=\frac13, P(B)=\frac14 != P(A)=\frac14, P(B)=\frac13
\theta=5 == 5
\theta=5 == \theta=2+3=5
\theta=5 != 2\theta=5
\theta=5 != -\theta=5
\theta=-5 == -\theta=5
\theta=60^\circ == \theta=60^{\circ}
\theta=60^\circ != 2\theta=60^\circ
\theta=60^\circ != \frac{\theta}{2}=60^\circ
\alpha=5 != \alpha^2=5
\alpha=5 == x=5
n=5 == \alpha=5
r=5 != \frac{r}{2}=5
\sin A=\frac35 == \sin A=\frac35
\sin A=\frac35 == \sin(A)=\frac{6}{10}
\sin A=\frac35 == \frac35
\sin A=\frac35 == \frac{3}{5} = \sin A
\sin A=\frac35 == \frac{BC}{AC}=\frac35
\sin A=\frac35 != \cos A=\frac35
\sin A=\frac35 != 2\sin A=\frac35
\sin A=\frac35 != \sin^2 A=\frac35
\sin A=\frac35 != \sin B=\frac35
f^{-1}(x)=2x == 2x
f^{-1}(x)=2x == f^{-1}(t)=2t
f^{-1}(x)=2x != f(x)=2x
f(x)=2x != f^{-1}(x)=2x
|z|=5 == 5
|z|=5 == \lvert z\rvert=5
|z|=5 != z=5
|z|=5 != |z|^2=5
|z|=5 != |z-1|=5
z=5 != |z|=5
\bar z=5 != z=5
\bar z=5 == \overline{z}=5
\max f=3 != \min f=3
f_{\max}=3 != f_{\min}=3
\max f=3 == f_{\max}=3
P(\text{win})=\frac13 != P(\text{lose})=\frac13
P(\text{win})=\frac13 == P(\text{win})=\frac{2}{6}
\lim_{n\to\infty} a_n=2 != \lim_{n\to\infty} b_n=2
\lim_{n\to\infty} a_n=2 == \lim_{n \to \infty} a_n=2
\text{Var}(X)=3 != E(X)=3
\text{Var}(X)=3 == \operatorname{Var}(X)=3
\vec{AB}=(1,2) == \overrightarrow{AB}=(1,2)
\vec{AB}=(1,2) != \overrightarrow{BA}=(1,2)
AB=5 == BA=5
\max f=3 == \max_{x} f(x)=3
f'(3)=5 != f(3)=5
f^{(3)}(x)=2x == f'''(x)=2x
f^{(3)}(x)=2x != f''(x)=2x
P(X=0)=\frac14,P(X=1)=\frac34 != P(X=1)=\frac14,P(X=0)=\frac34
\mu=3,\sigma^2=4 == \mu=3,\sigma^2=4
a=1,b=|c| != a=|c|,b=1
P(A)=\frac13 != P(B)=\frac13
P(A)=\frac13 == P=\frac13
P(A)=\frac13 == \mathbb{P}(A)=\frac13
P(A \mid B)=\frac13 == P(A|B)=\frac13
P(A \mid B)=\frac13 != P(B \mid A)=\frac13
E[X]=3.5 == \mathbb{E}(X)=3.5
f(1)=2 != f(2)=2
f(1)=2 == 2
f(x)=x+1 == f(t)=t+1
5 == \theta=5
5 != -\theta=5
\frac35 == \sin A=\frac35
|AB|=5 == 5
|AB|=5 == \lvert AB\rvert=5
\overline{AB}=5 == AB=5
AB=5 == \overline{AB}=5
AB=5 == x=5
m\angle ABC=30 == \angle ABC=30
\vec{v}=(1,2) == v=(1,2)
\det A=5 == |A|=5
(x,y)=(1,2) == (a,b)=(1,2)
(x,y)=(1,2) != (y,x)=(1,2)
\lim_{x\to 0} f(x)=2 == L=2
\lim_{x\to 0} f(x)=2 == \lim_{x \rightarrow 0} f(x)=2
\frac{AB}{CD}=2 == k=2
\frac{AB}{CD}=2 != \frac{CD}{AB}=2
f(N)=N+1 == f(M)=M+1
|x|=|y| == |y|=|x|
y^2=|x| == |x|=y^2
[ABC]=5 == S=5
[ABC]=5 != [ABD]=5
3 != x=5,y=3
x=3 != x=5,y=3
58500 == x=58,500
""".strip().split("\n")
OTHERS = [  # what was asked, gold, the reply, whether it is right for `math` and for `math_strict`
    ("Solve.", "5", "2x = 5", [1.0, 0.0]),
    ("Solve.", "5", "x^2 = 5", [1.0, 0.0]),
    ("Solve.", "5", r"\ln x=5", [1.0, 0.0]),
    ("Solve.", "5", r"\frac1n=5", [1.0, 0.0]),
    ("Solve.", "5", r"2\theta=5", [1.0, 0.0]),
    ("Solve.", "5", r"\sqrt{x}+1=5", [1.0, 0.0]),
    ("Solve.", "5", "n! = 5", [1.0, 0.0]),
    ("Solve.", "5", "2x = 4+1 = 5", [1.0, 0.0]),
    ("Solve.", "5", "x = 2y = 5", [1.0, 1.0]),
    ("What is $2x$?", "5", "2x = 5", [1.0, 1.0]),
    ("What is $x^{2}$?", "5", "x^2 = 5", [1.0, 1.0]),
    ("Solve.", "5", "a+b = 5", [1.0, 1.0]),
    ("Solve.", "5", "x^2+y^2 = 5", [1.0, 1.0]),
    ("Solve.", r"25\pi", r"\pi r^2 = 25\pi", [1.0, 1.0]),
    ("Solve.", "5", "f(3) = 5", [1.0, 1.0]),
    ("Solve.", "5", "f(1)+f(2) = 5", [1.0, 1.0]),
    ("Solve.", "5", "2+3 = 5", [1.0, 1.0]),
    ("Solve.", "5", r"\text{Area} = 5", [1.0, 1.0]),
    ("Solve.", "5", r"a_1+a_2 = 5", [1.0, 1.0]),
    ("Solve.", "10", r"\sum_{k=1}^{4} k = 10", [1.0, 1.0]),
    ("Solve.", "3", r"N \bmod 7 = 3", [1.0, 1.0]),
    ("Solve.", "10", "C_5^2 = 10", [1.0, 1.0]),
    ("Solve.", r"60^\circ", r"x^\circ = 60^\circ", [1.0, 1.0]),
    ("Solve.", "5", r"x\text{ cm} = 5", [1.0, 1.0]),
    ("Solve.", "5", "e^x = 5", [1.0, 0.0]),
    ("What is $2x$ if $2x+1=6$?", "5", "2x = 5", [1.0, 1.0]),
    ("Solve $2x+3=8$.", "5", "2x = 5", [1.0, 0.0]),
    (r"Find $\dfrac{1}{n}$.", "5", r"\frac1n = 5", [1.0, 1.0]),
    ("Solve.", "3", "3, 3", [1.0, 0.0]),
    ("Solve.", "3,3", "3, 3", [1.0, 1.0]),
]
SEVERAL = [
    (r"\alpha=30, \beta=60", r"\beta=60, \alpha=30", r"\beta=30, \alpha=60"),
    (r"\sin A=\frac35, \cos A=\frac45", r"\frac35, \frac45", r"\frac45, \frac35"),
    ("f(1)=2, f(2)=3", "f(2)=3, f(1)=2", "f(1)=3, f(2)=2"),
]


def score(gold: str, answer: str, asked: str = "Solve.", metadata: dict | None = None):
    example = Example("", "math", ({"role": "user", "content": asked},), gold, "", metadata or {})
    boxed = rf"\boxed{{{answer}}}"
    graded = [task(example, boxed) for task in (math.score, math.score_strict)]
    return [found["accuracy"] for found in graded]


@pytest.mark.parametrize("row", [*LABELS, *NAMED, *CASES, *MARKS, *GAPS])
def test_names_cases_primes_and_gaps_make_a_difference(row):
    gold, mark, answer = row.partition(" == " if " == " in row else " != ")
    assert score(gold, answer) == [float(mark == " == ")] * 2


@pytest.mark.parametrize(("asked", "gold", "answer", "right"), QUESTIONS)
def test_the_question_shows_which_letters_are_symbols_of_their_own(asked, gold, answer, right):
    assert score(gold, answer, asked) == [right] * 2


@pytest.mark.parametrize(("asked", "gold", "answer", "right"), OTHERS)
def test_a_reward_needs_the_value_itself_and_not_that_of_its_double_or_square(
    asked, gold, answer, right
):
    assert score(gold, answer, asked) == right


@pytest.mark.parametrize(("gold", "right", "wrong"), SEVERAL)
def test_values_of_a_list_of_greek_names_and_operations_belong_to_them(gold, right, wrong):
    several = {"is_multiple_answer": True}
    assert score(gold, right, metadata=several) == [1.0, 1.0]
    assert score(gold, wrong, metadata=several) == [0.0, 0.0]


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
