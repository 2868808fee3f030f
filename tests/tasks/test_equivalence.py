r"""A table of gold answers and boxed ones: `==` right, `=.` equal but not written out, `!=` wrong.

`math` takes the first two, `math_strict` only the first.
"""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.verify import VerifierPool

TABLE = r"""
5050 =. \sum_{k=1}^{100} k
4 =. 2+2
4 =. \sqrt{16}
45 =. \binom{10}{2}
3628800 =. 10!
18 =. 36/2
18 =. \frac{36}{2}
36 != 36/2
36 != \frac{36}{2}
5 != 6=5
5 != 5_{6}
5 != 5\%
5 == 2+3=5
5 == x = 5
5 == 5 \text{ apples}
\frac{1}{2} == \frac{2}{4}
\frac{1}{2} == 0.5
0.5 == 1/2
2\sqrt{3} == \sqrt{12}
2\sqrt{3} =. \sqrt{3}+\sqrt{3}
2\sqrt{3} == 2\sqrt{3}
\frac{\sqrt{3}}{3} == \frac{1}{\sqrt{3}}
1+\sqrt{2} == \sqrt{2}+1
1+\sqrt{2} == \frac{2+2\sqrt{2}}{2}
1+\sqrt{2} =. \frac{1}{2}+\frac{1}{2}+\sqrt{2}
1024 =. 2^{10}
2^{10} == 1024
2^{100} == 4^{50}
100000 =. 10^5
300000 == 3\times 10^5
12\pi == 12\pi
12\pi =. 4\cdot 3\pi
12\pi == \pi \cdot 12
\frac{5\pi}{6} =. \frac{\pi}{2}+\frac{\pi}{3}
\frac{5\pi}{6} == \frac56\pi
\frac{5\pi}{6} == \frac{10\pi}{12}
2\pi =. \frac{4\pi}{2}
(1,2) == (1,2)
(1,2) =. (2-1, 1+1)
(3, \frac{\pi}{2}) == (3, \pi/2)
(-\infty,-1)\cup(2,\infty) == x<-1 \text{ or } x>2
(-\infty,-1)\cup(2,\infty) =. x<1-2 \text{ or } x>2
(0,12.5) == 0<x<12.5
[2,5) == 2 \le x < 5
[2,5) != 2 \le x \le 5
[2,5) == 5 > x \ge 2
[2,\infty) == \{x \mid x \ge 2\}
x > 2 == (2,\infty)
x > 2 =. x > 1+1
\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix} == \begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}
\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix} == \begin{pmatrix} \frac{1}{5} \\ -3.6 \end{pmatrix}
\begin{pmatrix} 4 \\ 2 \end{pmatrix} =. \begin{pmatrix} 2+2 \\ 2 \end{pmatrix}
n^2 - n - 1 == n(n-1)-1
\frac{n(n+1)}{2} =. \sum_{k=1}^n k
(a+5)(b+2) == ab+2a+5b+10
2x+3 =. 2x+1+2
\frac{14}{3} =. 4.666667
\frac{14}{3} != 4.667
4\frac{2}{3} == \frac{14}{3}
\frac{14}{3} == 4\frac{2}{3}
\frac{1}{3} == 0.\overline{3}
12000000 == 12 \text{ million}
7 =. \lfloor 7.5 \rfloor
6 =. \gcd(12,18)
3 =. \log_2 8
1 =. \sin^2 x + \cos^2 x
1 =. \sin 90^\circ
\frac{1}{6} =. \frac{1/2}{3}
0.75 =. 1.5/2
55 =. \frac{10\cdot 11}{2}
55 =. 5 \times 11
55 =. 5(11)
6 =. 3!
\frac{100!}{2^{50}} == 100!/2^{50}
$\binom{2n}{n}$ =. \frac{(2n)!}{n!^2}
5 =. \int_0^5 dx
100\text{ cm} =. 1 \text{ m}
100\text{ cm} != 1 \text{ kg}
100\text{ cm} == 100
100\text{ cm} == 100 \text{ cm}
100\text{ cm} != 100 \text{ m}
5.4 \text{ cents} =. \$0.054
5.4 \text{ cents} != \$5.4
\$5 == 5 \text{ dollars}
\$5 =. 500 \text{ cents}
\$5 != €5
60 \text{ mph} != 60 \text{ km/h}
3 \text{ hours} =. 180 \text{ minutes}
15\mbox{ cm}^2 == 15 \text{ square cm}
90^\circ == 90 \text{ degrees}
90^\circ != 90 \text{ radians}
90^\circ != \frac{\pi}{2}
0.56 = 56\% == 0.56
0.56 = 56\% == 56\%
0.56 = 56\% == 56
13.2\% == 13.2
13.2\% == 0.132
13.2\% != 1.32
13.2\% == 13.2 \text{ percent}
10^{-100} != 10^{-101}
\frac{x}{2^{98}} != \frac{x}{2^{97}}
x != |x|
\sqrt{\frac{1}{n}} == \frac{1}{\sqrt{n}}
\frac{1}{\sqrt{x}} == \frac{\sqrt{x}}{x}
\lfloor n/2 \rfloor != n/2
\ln 6 =. \ln 2 + \ln 3
6 - 5i =. 2\cdot 3-5i
2i =. (1+i)^2
52_8 == 52
52_8 != 42
1,2 == 2,1
1,2 != 2,1,1
4 == 2+2=4
4 == 2\cdot 2=4=x
5 != 3+3=5
5 != 5=6
6 != 5=6
5 != x=6=5
\frac{3}{2} == 1.5
5 == 5.0
5 == 05
5 =. \frac{5}{1}
-\frac{1}{2} == \frac{-1}{2}
-\frac{1}{2} == \frac{1}{-2}
1.414214 =. \sqrt{2}
\sqrt{2} =. 1.41421356
\sqrt{2} != 1.4142
2 =. \sqrt[3]{8}
\sqrt[3]{2} == 2^{1/3}
e^2 =. e\cdot e
e^2 == e^{2}
5 =. 5 + 0
5 =. 1 \cdot 5
5 =. 5^1
5 =. --5
5 =. 10 \div 2
5 =. \max(5,3)
120 =. 5 \cdot 4 \cdot 3 \cdot 2
05:00 == 5:00
9:24 != 3:8
3:20 \text{ p.m.} == 3:20 p.m.
3:20 \text{ p.m.} != 3:20 a.m.
3:20 \text{ p.m.} == 3:20
3:20 == 3:20 \text{ p.m.}
7 =. |-7|
16 != 5(11)
10 =. 5 + 5
\{1\pm\sqrt{5},-2\} == x = \{1\pm\sqrt{5},-2\}
B == x = B
05:00 != x = 05:01
5 != 5 \text{ (wrong)}
5 != 5 \text{ is incorrect}
5 != 5 \text{ and a half}
5 != 5 \text{ dozen}
5 != 5 dozen
5 != 5 \text{ apples and 6 pears}
5 != 5 \text{ apples}, 6 \text{ pears}
5 != 5, 6
5 != \frac{5}{0}
""".strip().split("\n")
# For `math` only.
EQUAL = r"""
10^{-9} != 2\times 10^{-9}
10^{-9} == 1\times 10^{-9}
10^{-9} == 0.000000001
\frac{1}{1000000} != \frac{1}{1000001}
0.001 != 0.0010000001
2^{-50} != 2^{-51}
\frac{\sqrt{2}}{10^{10}} != \frac{\sqrt{3}}{10^{10}}
e^{-50} != e^{-51}
(10^{-9}, 1) != (2\cdot 10^{-9}, 1)
\{10^{-9}\} != \{10^{-8}\}
[10^{-9}, 1] != [10^{-8}, 1]
\begin{pmatrix} 10^{-9} \\ 1 \end{pmatrix} != \begin{pmatrix} 10^{-8} \\ 1 \end{pmatrix}
x = 10^{-9} != x = 10^{-8}
y = 10^{-9}x != y = 10^{-8}x
x+10^{-9} != x+10^{-8}
0.25 = 25\% == \frac14
\frac{1}{4} = 25\% == 0.25
\frac{1}{4} = 25\% != 24\%
\frac{1}{4} = 0.25 == \frac14
12\frac{1}{2}\% == 12.5\%
12\frac12\% == 12.5
12.5\% == 12\frac{1}{2}\%
12.5\% == \frac{1}{8}
12.5\% != 12
50\% == \frac{1}{2}
50\% != 0.5\%
3.5\% == 3.50\%
33.\overline{3}\% == \frac{100}{3}\%
100\% == 1
62.5% == 62.5
$8 \%$ == 8
$8 \%$ == 0.08
3 \text{ feet} == 36 \text{ inches}
3 \text{ feet} != 3 \text{ inches}
2 \text{ hours} != 2 \text{ minutes}
10 \text{ cm} != 10 \text{ cm}^2
10 \text{ cm}^2 != 10 \text{ cm}
50 \text{ cents} != 50 \text{ dollars}
\$50 != 50 \text{ cents}
\$0.50 == 50 \text{ cents}
\$0.50 == 50¢
5 \text{ kg} != 5 \text{ g}
5 \text{ km/h} != 5 \text{ m/s}
18 \text{ km/h} == 5 \text{ m/s}
30^\circ != 30'
12 \text{ square units} == 12
12 \text{ units}^2 == 12
(0,1) == 0 < x < 1
(0,1] == 0 < x \leq 1
(0,1] != 0 < x < 1
(-\infty, 5) == x < 5
(-\infty, 5] != x < 5
(-\infty, 5) == 5 > x
(-\infty,0)\cup(0,\infty) == x \ne 0
(-\infty,0)\cup(0,\infty) == x \neq 0
(-\infty,\infty) == \mathbb{R}
\mathbb{R} == (-\infty,\infty)
(1,2)\cup(3,4) == 1<x<2 \text{ or } 3<x<4
(1,2)\cup(3,4) == 1<x<2, 3<x<4
(1,2)\cup(3,4) == (3,4)\cup(1,2)
[2,\infty) == x\in[2,\infty)
x \in [-2,7] == -2 \le x \le 7
x \ge 3 == [3,\infty)
a<b == b>a
x \ge 3 == 3 \le x
x > 3 != y > 3
k \ge 3 != 3,4,5
\sqrt{\frac{a}{b}} == \frac{\sqrt{a}}{\sqrt{b}}
\sqrt{ab} == \sqrt{a}\sqrt{b}
\sqrt{x^2} == |x|
\sqrt{x^2} != x
\ln(x^2) == 2\ln x
\sqrt{4x} == 2\sqrt{x}
(x^2)^{1/2} != x
\frac{1}{\sqrt{2n}} == \frac{\sqrt{2n}}{2n}
12 != \overline{12}
12 == \mathbf{12}
12 == \textbf{12}
12 == {12}
12 == \mathrm{12}
12 == \text{12}
12 == \underline{\underline{12}}
\emptyset == \{\}
\emptyset == \text{empty set}
-5 == −5
-5 == - 5
-5 == \text{-}5
-5 == {-5}
-5 == -\,5
1-\frac{1}{\mathrm{e}} == 1-e^{-1}
\mathrm{i} == i
3+4\mathrm{i} == 3+4i
1.\overline{3} == \frac{4}{3}
0.\overline{142857} == \frac17
0.1\overline{6} != 0.1\overline{7}
0.\overline{9} == 1
\langle 1,2\rangle == (1,2)
\langle 1,2\rangle == \langle 1,2\rangle
\langle 1,2\rangle != \langle 2,1\rangle
3 \text{ thousand} == 3000
3 != 3 \text{ thousand}
3000 == 3 thousand
3 != 3k
3 != 3K
3 != 3 \text{ dozen}
36 == 3 \text{ dozen}
2 1/2 == \frac52
\frac{5}{2} == 2 1/2
\frac{5}{2} == 2\tfrac12
-\frac{5}{2} == -2\frac{1}{2}
4\sqrt{2} == 4\sqrt 2
4\sqrt{2} == 4*\sqrt{2}
4\sqrt{2} == \sqrt{32}
4\sqrt{2} == 4√2
\pi/2 == π/2
2\pi == 2π
x^2 == x²
5 == ５
\frac{\pi}{2} == \pi \over 2
\frac{\pi}{2} == {\pi \over 2}
\frac{2}{3} == \cfrac{2}{3}
\frac{2}{3} == 2:3
3:20 == 3:20 \text{ PM}
3:20 \text{ PM} == 15:20
37_8 == 37_{8}
37_8 == 37_{\text{eight}}
37_8 == 37_{\text{base } 8}
37_8 != 31
\text{(C)} == \textbf{(C)}
\text{(C)} == C)
\text{(C)} == (C) Circle
\text{C} == \text{C. } 5
\text{Monday} == Monday
\text{no solution} == \text{No solution}
\text{Yes} == yes
\text{Yes} != No
5 == 5.
5 == \boxed{5}
5 == \$5
5 == 5\,\text{units}
5 == "5"
5 == '5'
5 != 5^{}
5 == 5
5 == +5
5 != \pm 5
\pm 5 != 5
\pm 5 == -5, 5
5, -5 == \pm 5
1,2,3 != 1, 2
1,2,3 == 1 and 2 and 3
(1,2),(3,4) == (3,4),(1,2)
(1,2),(3,4) != (1,2)
5 != 5 \neq 6
5 != \neq 5
5 != > 5
5 != \ge 5
5 == \approx 5
5 != \approx 5.2
5 == \sim 5
n! == n(n-1)!
2^n == 2^{n}
2^n != 2n
2^n-1 == 2^{n}-1
f(x)=x+1 == x+1
f(x)=x+1 == f(t)=t+1
x^2+y^2=1 == y^2 = 1 - x^2
x^2+y^2=1 != x^2+y^2=2
y=2x+1 == 2x+1
y=2x+1 == 2x-y+1=0
""".strip().split("\n")
MARKS = {" == ": (1.0, 1.0), " =. ": (1.0, 0.0), " != ": (0.0, 0.0)}
QUESTIONS = [  # what was asked, gold, answer, right
    ("What percentage of the cards are red?", "15", r"15\%", 1.0),
    ("What percent of 40 is 6?", "15", r"15\%", 1.0),
    ("How many cards are red?", "15", r"15\%", 0.0),
    ("", "15", r"15\%", 0.0),
    ("", "0.15", r"15\%", 1.0),
    ("", r"15\%", "15", 1.0),
    ("Write the sum in base $6$.", "5", "5_{6}", 1.0),
    ("Write the sum in base 8.", "5", "5_{6}", 0.0),
    ("What is $11_6 - 2_6$?", "5", "5_6", 1.0),
    ("What is the sum?", "5", "5_{6}", 0.0),
]


def split(row: str) -> tuple[str, str, tuple[float, float]]:
    mark = next(mark for mark in MARKS if mark in row)
    gold, _, answer = row.partition(mark)
    return gold, answer, MARKS[mark]


def example(gold: str, asked: str = "") -> Example:
    return Example(gold, "math", (), gold, "", {"question": asked})


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(2, 60.0) as pool:
        yield pool


@pytest.fixture(scope="module")
def verdicts(pool):
    items = [(example(gold), rf"\boxed{{{answer}}}") for gold, answer, _ in map(split, TABLE)]
    return {task: pool.score(task, items) for task in ("math", "math_strict")}


@pytest.mark.parametrize("number", range(len(TABLE)), ids=TABLE.__getitem__)
def test_answers_are_equal_and_written_out_as_the_table_says(number, verdicts):
    found = [verdicts[task][number] for task in ("math", "math_strict")]
    assert [verdict.error for verdict in found] == [None, None]
    assert tuple(verdict.scores["accuracy"] for verdict in found) == split(TABLE[number])[2]


def test_equal_answers_are_equal_however_they_are_written(pool):
    items = [(example(gold), rf"\boxed{{{answer}}}") for gold, answer, _ in map(split, EQUAL)]
    verdicts = pool.score("math", items)
    wrong = [row for row, v in zip(EQUAL, verdicts) if v.scores.get("accuracy") != split(row)[2][0]]
    assert wrong == []


def test_a_per_cent_sign_or_a_base_of_its_own_must_be_asked_for(pool):
    items = [(example(gold, asked), rf"\boxed{{{answer}}}") for asked, gold, answer, _ in QUESTIONS]
    found = [verdict.scores["accuracy"] for verdict in pool.score("math", items)]
    assert found == [right for *_, right in QUESTIONS]
