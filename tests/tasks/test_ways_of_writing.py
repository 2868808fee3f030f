"""Words, units and names in answers, by topic."""

import pytest
from answer_tables import example, wrong_rows

from jaxreason.data.examples import Example

TOPICS = {}
TOPICS["refusals and other equations"] = r"""
x=\frac{1}{67} != -x=\frac{1}{67}
x=\frac{1}{67} != 2x=\frac{1}{67}
x=4 != x^2=4
x=4 != |x|=4
x=4 == x=4
x=4 == 4
x=4 == x_1=4
x=4 == x=2+2=4
4 =. 2x=4
y=2x+1 == y-2x=1
y=2x+1 == 2x-y+1=0
r = 6.2 != \text{not }r=6.2
1,2 != \text{not }1, 2
1,2 != 1, 2 \text{ or more}
1,2,4 != 1, 2, \text{ and } 4 \text{ or more}
1,2,4 == 1, 2, \text{ and } 4
1,2 == 1 or 2
1,2 == 1 \text{ or } 2
\begin{pmatrix} 3 \\ 1 \end{pmatrix} == \mathbf{\begin{pmatrix} 3 \\ 1 \end{pmatrix}}
9\text{ min} == \mathbf{9\text{ min}}
\text{odd} == \mathbf{\text{odd}}
810^\circ == 810^\circ \text{ units}
"""
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
12 == \text{a dozen}
100 == \text{a hundred}
100 != \text{a thousand}
1000000 == \text{a million dollars}
150 == \text{a hundred and fifty}
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
\text{two lines} == \text{two lines}
\text{two lines} == x = \text{two lines}
\text{two lines} != \text{two parabolas}
\text{two lines} != 2
1 != \text{one of them}
2 != \text{two point five}
3 != \text{third}
"""
TOPICS["units"] = r"""
5 \text{ cm} != 5 \text{ in}
12\text{ in.} != 12\text{ ft}
12\text{ in} =. 1\text{ ft}
144\text{ in}^2 =. 1\text{ ft}^2
5\text{ tons} != 5\text{ kg}
5\text{ tons} == 5\text{ tonnes}
5\text{ kW} != 5\text{ W}
5\text{ kW} =. 5000\text{ W}
5\text{ V} != 5\text{ A}
5\text{ N} != 5\text{ kN}
5\text{ N} == 5\text{ newtons}
5\text{ acres} != 5\text{ hectares}
5\text{ apples} == 5\text{ fruits}
164 \pi \mbox{ square feet} != 164 \pi \mbox{ square inches}
2\sqrt{3} \text{ cm} != 2\sqrt{3} \text{ m}
164 \pi \mbox{ square feet} == 164\pi
\pi\text{ hours} =. 60\pi\text{ minutes}
5\text{ hours} == 5\text{ hours long}
5\text{ years} == 5\text{ years old}
20^\circ\text{C} == 20 \text{ degrees Celsius}
5\text{ km/h} == 5 \text{ kph}
5\text{ Meters Per Second} == 5 \text{ m/s}
5 \text{ Square Inches} == 5 \text{ in}^2
5 == 5 \text{ in total}
5 == 5 \text{ ways in all}
5 \text{ cm} == 5 \text{ units}
5 \text{ kg} != 5 \text{ m}
5 \text{ MW} =. 5000 \text{ kW}
"""
TOPICS["quantities in several units"] = r"""
150\text{ minutes} =. 2\text{ hours }30\text{ minutes}
150\text{ minutes} =. 2\text{ hours and }30\text{ minutes}
150\text{ minutes} =. \text{2 hours, 30 minutes}
150\text{ minutes} != 2\text{ hours }20\text{ minutes}
2.5\text{ hours} =. 2\text{ hours }30\text{ minutes}
2\text{ hours }30\text{ minutes} =. 2.5\text{ hours}
2\text{ hours }30\text{ minutes} == 2\text{ h }30\text{ min}
2\text{ hours }30\text{ minutes} == 2 hours 30 minutes
2\text{ hours }30\text{ minutes} != 2
2\text{ hours }30\text{ minutes} != 30
66\text{ in} =. 5 \text{ ft } 6 \text{ in}
66\text{ in} =. 5' 6''
30 != 5 \text{ ft } 6 \text{ in}
5 != 5 \text{ ft } 6 \text{ in}
30.25^\circ =. 30^\circ 15'
30^\circ 15' =. 30.25^\circ
30^\circ 15' == 30^{\circ}15^{\prime}
30^\circ 15' != 30^\circ
30^\circ 15' != 30^\circ 16'
\$5.40 =. 5 \text{ dollars and } 40 \text{ cents}
5 != 5 \text{ feet 6 inches}
5.5 \text{ feet} =. 5 \text{ feet 6 inches}
5.5 \text{ feet} =. \text{5 feet 6 inches}
"""
TOPICS["names before the value"] = r"""
f^{-1}(x)=\frac{x}{2} == \frac{x}{2}
g^{-1}(x)=2x+1 == 2x+1
f'(x)=2x == 2x
f''(x)=2 == 2
f^{\prime}(x)=2x == 2x
f^{(3)}(x)=2x == 2x
|AB|=5 == 5
\overline{AB}=5 == 5
\cos\theta=\frac12 == \frac12
\cos 2\theta=\frac12 == \frac12
\sin^2 A=\frac12 == \frac12
\tan A = 2 == 2
\tan\angle ABC = 2 == 2
P(X=2)=\frac13 == \frac13
P(A \mid B)=\frac13 == \frac13
\mathbb{P}(A)=\frac13 == \frac13
E[X]=3.5 == 3.5
E(X)=3.5 == 3.5
\mathbb{E}[X]=3.5 == 3.5
\lim_{x\to 0} f(x) = 2 == 2
\lim_{n\to\infty} \frac{a_n}{n} = 2 == 2
\theta = 30^\circ == 30^\circ
\angle ABC = 30^\circ == 30^\circ
m\angle ABC = 30^\circ == 30
\alpha_1 = 2 == 2
[ABC] = 5 == 5
\vec{v} = (1,2) == (1,2)
\mathbf{v} = (1,2) == (1,2)
\bar{x} = 5 == 5
(x,y)=(1,2) == (1,2)
f(3) = 5 == 5
(f\circ g)(x) = 2x == 2x
a_{n+1} = 5 == 5
|z| = 5 == 5
\frac{AB}{CD} = 2 == 2
f(x)=x^2+1 == f(t)=t^2+1
f(n)=n == f(x)=x
f(x)=2x, f(x)=-x == f(t)=2t, f(t)=-t
f(x)=x^2+1 != f(t)=t^2+2
f(x)=ax != f(a)=a^2
f(x)=x+1 != g(x)=x+2
f(x)=\sin x == f(t)=\sin t
f(x)=at+x != f(t)=at+t
|x| = x != x
x^2 = 4 != 4
x+y = 5 != 5
2x = 4 != 4
3(2) = 6 != 5
a(b+c) = 5 != 5
f(x+1)=x^2 != x^2
\sin x = \cos x != \cos x
\frac{x}{y} = 2 != 3
x \cdot y = 5 != 5
n! = 120 != 120
|x-1| = 3 != 3
"""
TOPICS["degrees inside functions"] = r"""
\tan 15^\circ =. 2-\sqrt{3}
\sin 30^\circ == \frac12
\sin 10^\circ =. \cos 80^\circ
\cos 36^\circ =. \frac{1+\sqrt5}{4}
\frac12 =. \sin 30^\circ
\frac12 =. \sin(30^\circ)
\frac12 =. \sin{30^{\circ}}
\frac12 =. \sin 30°
\frac14 =. \sin^2 30^\circ
\frac12 =. \sin\left(30^\circ\right)
\frac12 =. \sin\frac{60^\circ}{2}
\frac12 =. \sin(90^\circ - 60^\circ)
\frac12 =. \cos(2\cdot 30^\circ)
-\frac12 =. \sin(-30^\circ)
-\frac12 =. \sin -30^\circ
\frac{\sqrt3}{4} =. \sin 30^\circ\cos 30^\circ
\sin 30^\circ != \sin 31^\circ
\sin 30^\circ != \sin 30
30^\circ == 30
\sin\theta == \sin\theta
\arcsin\frac12 != 30
10\sin 50^\circ == 10 \sin 50^\circ
10\sin 50^\circ =. 10 \cos 40^\circ
10\sin 50^\circ != 10 \cos 50^\circ
x=\frac{1}{\sin 10^\circ} =. \frac{1}{\cos 80^\circ}
\cos x^\circ == \cos x^\circ
\cos x^\circ != \cos x
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_an_answer_counts_in_each_way_of_writing_that_says_the_same(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []


TOLERANT = [  # gold answer, its unit, the reply, whether it is right for `math` and for `math_strict`
    ("1.5", "cm", r"1.5\text{ m}", [0.0, 0.0]),
    ("150", "cm", r"1.5\text{ m}", [1.0, 0.0]),
    ("1.5", "cm", r"1.505\text{ cm}", [1.0, 1.0]),
    ("1.5", "cm", r"1.505", [1.0, 1.0]),
    ("1.5", "cm", r"15.05\text{ mm}", [1.0, 0.0]),
    (r"1.5\text{ cm}", "", r"1.5\text{ kg}", [0.0, 0.0]),
    (r"1.5\text{ cm}", "", r"1.505\text{ cm}", [1.0, 1.0]),
]


def test_a_tolerance_is_that_of_the_gold_answers_unit(pool):
    for gold, unit, reply, wanted in TOLERANT:
        item = Example("1", "math", (), gold, "", {"error": "1e-2", "unit": unit})
        found = [pool.score(t, [(item, rf"\boxed{{{reply}}}")])[0] for t in ("math", "math_strict")]
        assert [v.scores.get("accuracy", v.error) for v in found] == wanted, (gold, unit, reply)


def test_quarters_are_coins_if_the_question_is_about_them_and_fourths_if_not(pool):
    items = [
        (example("5", asked), r"\boxed{5\text{ quarters}}") for asked in ("How many quarters?", "")
    ]
    assert [v.scores["accuracy"] for v in pool.score("math", items)] == [1.0, 0.0]
