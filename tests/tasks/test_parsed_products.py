r"""Notations that the parser reads as something else: products as sums, variables as units, dropped marks."""

import pytest
from answer_tables import wrong_rows

from jaxreason.tasks.latex_answers import read_value

TOPICS = {}
TOPICS["whole numbers before and behind what is computed"] = r"""
60 =. \binom{5}{2}\binom{4}{2}
16 != \binom{5}{2}\binom{4}{2}
30 =. 5\binom{4}{2}
11 != 5\binom{4}{2}
\frac{5}{16} =. \binom{5}{2}\frac{1}{32}
\frac{3}{2} =. 2\left(\frac{3}{4}\right)
\frac{11}{4} != 2\left(\frac{3}{4}\right)
\frac{11}{4} == 2\frac{3}{4}
3\binom{100}{2} != \binom{100}{2}+3
24 =. 2\operatorname{lcm}(4,6)
\binom{n}{k} == {n \choose k}
"""
TOPICS["letters that are no units"] = r"""
6m != 6
6m == 6 m
2t != 2
a+b+c != a+b
a+b+c == c+b+a
x+2m != x+2
3d != 3
3 != 3d
a+2d == 2d+a
a+(n-1)d == a+dn-d
a+2d != a+2
\frac{ad-bc}{2} == \frac{da-cb}{2}
\sin^2 t != \sin^2
y\,dx+x\,dy=0 != 2y\,dx=0
2 != 2s
"""
TOPICS["units that are written without a command"] = r"""
12 == 12 kg
12 == 12kg
12 == 12 s
12 == 12 hours
12 kg == 12
12 apples == 12
12 apples != 13
12\pi == 12\pi cm
12\pi == 12\pi cm^2
12\pi == 12\pi square units
12\pi != 12 cm
\frac{1}{2} == \frac{1}{2} hour
\frac{1}{2} == \dfrac{1}{2} hours
3\sqrt{2} == 3\sqrt{2} units
12 == 12th
"""
TOPICS["transposes"] = r"""
A != A^T
A^T != A
A^TB != AB
A^TB == A^{\top}B
A^T == A^\mathrm{T}
2 != 2^T
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \begin{pmatrix} 1 & 2 \end{pmatrix}^T
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \begin{bmatrix} 1 & 2 \end{bmatrix}^{\top}
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == (1,2)^T
\begin{pmatrix} 1 \\ 2 \end{pmatrix} != (2,1)^T
"""
TOPICS["dots"] = r"""
(1,2,10) != (1,2,\ldots,10)
(1,2,\ldots,10) != (1,2,10)
13 != 1+2+\ldots+10
3, 4 != 3, 4, ...
3, 4 != 3, 4, \dots
3, 4 == 3, 4.
1,2,\ldots,10 == 1, 2, ..., 10
1+2+\cdots+n == 1 + 2 + \ldots + n
\sqrt{2} =. 1.41421356\ldots
\frac{1}{3} == 0.333\dots
"""
TOPICS["about equal"] = r"""
12 != 1\approx 2
12 == \approx 12
\frac{2}{3} == \frac{2}{3} \approx 66.7\%
\frac{1}{3} != \frac{2}{3} \approx 66.7\%
12\pi == 12\pi \text{ cm}^2 \approx 37.7 \text{ cm}^2
12\pi != 13\pi \text{ cm}^2 \approx 37.7 \text{ cm}^2
"""
TOPICS["sets and points"] = r"""
x<-2 \text{ or } x>3 != x<-2 \text{ and } x>3
x<-2 \text{ or } x>3 == x<-2, x>3
\mathbb{R}\setminus\{0\} == \mathbb{R}\backslash\{0\}
\mathbb{R}\setminus\{0\} != \mathbb{R}\backslash\{1\}
(p,q)=(2,3) == q=3, p=2
(p,q)=(2,3) != p=3, q=2
(q,p)=(3,2) == p=2, q=3
(x,y)=(1,2),(2,1) == x=1,y=2 \text{ or } x=2,y=1
(x,y)=(1,2),(2,1) != x=1,y=2
\varphi(n) == \phi(n)
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_the_parsers_own_reading_does_not_decide(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []


def test_a_sum_of_binomials_is_still_one_sum():
    assert read_value(r"\sum_{k=0}^{5}\binom{5}{k}").doit() == 32
    assert read_value(r"\sum_{k=0}^5 2\binom{5}{k}").doit() == 64
