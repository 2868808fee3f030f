"""Notations of other languages, of numbers, of lists and of sets, by topic."""

import pytest
from answer_tables import example, wrong_rows

TOPICS = {}
TOPICS["other languages"] = r"""
5 == 5元
5 == 5个
5 == 5 个
5 == 5円
5 == 5개
5 == 5\text{元}
5 == \text{5元}
5 != 5万
5 != 5\text{万}
5 != 5亿元
5 != 5百
5 != 5以上
5 != 5\text{以上}
5 != 5左右
5 != 5多
5 != 5半
5 != 5或6
5,6 == 5或6
5\text{ m} == 5米
5\text{ m} != 5千米
5\text{ m} != 5厘米
5 \text{ km} == 5千米
5\text{ kg} == 5千克
\$5 == 5美元
\$5 != 5元
90^\circ == 90度
5 == 答案：5
5 == 答案是5
5 == 答案为5。
5 == 所以答案是5
5 == \text{答案是}5
5 == \text{答案：}5
5 != 答案不是5
5 == 五
12 == 十二
20 == 二十
35 == 三十五
5 != 六
1,2 == 1，2
1,2 == 1、2
1,2 == 1和2
1,2 == 1 和 2
1 != 1和2
(1,2) == （1，2）
(1,2) != （2，1）
(-\infty,1] == (-\infty，1]
1,2 == x=1 \text{或} x=2
1,2 == x=1或x=2
1,2 == 1 \text{ und } 2
1,2 == 1 \text{ y } 2
1,2 == 1 \text{ et } 2
1,2 == 1 \text{ ou } 2
1 != 1 \text{ et } 2
5 == \text{La respuesta es } 5
5 == La respuesta es 5
5 == Die Antwort ist 5
5 != La respuesta no es 5
50\% == 50％
"""
TOPICS["notations of numbers"] = r"""
0.0025 == 2.5e-3
0.0025 != 2.5e3
300000000 == 3e8
300000000 == 3.0E8
300000000 == 3E+8
300000000\text{ m/s} == 3e8\text{ m/s}
100 == 1e2
100 == 1.0e2
-100 == -1e2
2e == 2e
2e^3 == 2e^3
2e+3 == 2e + 3
2e-3 == 2e - 3
2e-3 != 0.002
0.000001 == 1e-6
0.00002 == 2e-05
300000000 == 3 × 10⁸
3000 != 3 × 10⁸
300000000 == 3·10⁸
0.003 == 3 × 10⁻³
x^{12} == x¹²
a_1 == a₁
52_8 == 52₈
6 =. 2 × 3
6 =. 12 ÷ 2
1000000 == 1'000'000
1000000 == 1.000.000
1000 != 1.000
1.5 != 1.500.000
5' 6'' == 5'6''
4\pi == 4 pi
4\pi == 4pi
\frac{\pi}{2} == pi/2
2\sqrt{3} == 2sqrt(3)
2\sqrt{3} == 2 sqrt{3}
\sqrt{x+1} == sqrt(x+1)
\lg 5 == \log_{10} 5
\lg 5 == \frac{\ln 5}{\ln 10}
\lg 5 != \ln 5
\infty == \text{infinity}
\infty == infinity
-\infty == -infinity
-\infty == \text{negative infinity}
\infty != \text{negative infinity}
-5 == \text{negative 5}
5 == x\approx5
5 != x\approx 5.2
5.2 == x\approx 5.2
5 == 5\pmod 7
5 == 5 \pmod{7}
5 == x \equiv 5 \pmod{7}
5 != 12\pmod 7
5 \pmod 7 != 5 \pmod 8
5 \pmod 7 == 5 \pmod{7}
5000000 == \$5\text{M}
5000000 == \$5M
5000000 == \$5\text{ million}
5 != \$5\text{M}
5 == 5\tag{1}
5 == \left.5\right.
0.5 != \left.5\right.
\frac{1}{2} == \left.\frac{1}{2}\right.
(1,2] == \left(1,2\right].
5 == 5^{\text{th}}
5 == 5^\text{th}
5 == 5^{th}
5 != 5^{t}
"""
TOPICS["lists and sets"] = r"""
1,2 == x=1 \lor x=2
1,2 == x=1 \vee x=2
1 != x=1 \lor x=2
p \lor q == p \lor q
1,2 == 1 \& 2
1,2 == \begin{aligned} x&=1 \\ x&=2 \end{aligned}
5 == \begin{aligned} x&=2+3 \\ &=5 \end{aligned}
5 != \begin{aligned} x&=2+3 \\ &=6 \end{aligned}
5 != \begin{aligned} x&=5 \\ y&=6 \end{aligned}
5 == \begin{aligned} x&=5 \end{aligned}
(0,\infty) == ]0,\infty[
(0,1) == ]0;1[
[0,1) == [0,1[
(0,1] == ]0,1]
(0,1) != ]0,1]
[0,1] != ]0,1[
(0,1)\cup(2,3) == ]0,1[ \cup ]2,3[
[0,1]\cup[2,3) == [0,1] \cup [2,3[
(0,1) == x \in ]0,1[
[0,1],[2,3] == [0,1],[2,3]
(1,2),(3,4) == (x,y)\in\{(1,2),(3,4)\}
(1,2),(3,4) != (x,y)\in\{(1,2),(4,3)\}
\text{I and III} == \text{III and I}
\text{I and III} == \text{I, III}
\text{I and III} != \text{I and II}
\text{I and III} != \text{I}
\text{I, II, and III} == \text{III, II and I}
\text{Alice and Bob} == \text{Bob and Alice}
\text{Alice and Bob} != \text{Alice}
\text{Yes and No} != \text{No and Yes}
\text{True and False} != \text{False and True}
A, C == \text{A and C}
A, C != \text{A and B}
5 != 5 \text{ quarters}
B == \text{(B)}
\text{salt and pepper} == \text{salt and pepper}
"""
TOPICS["looks of an answer"] = r"""
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \begin{pmatrix} 1 \\[4pt] 2 \end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \begin{pmatrix} 1 \\[0.5em] 2 \end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix} != \begin{pmatrix} 1 \\[4pt] 3 \end{pmatrix}
(2,-1) == \color{blue}{(2,-1)}
(2,-1) == \textcolor{red}{\left(2,-1\right)}
\text{Evelyn} == \color{blue}{\text{Evelyn}}
5 == \color{red} 5
5 != \color{red}{6}
(3,\infty) == \therefore (3,\infty)
5 == \Rightarrow x = 5
5 != \implies 6
\text{(C)} == \text{(C)}.
\text{(C)} == \text{(C)}\quad
(3,2) == \{(3,2)\}
(3,2) == (x,y) \in \{(3,2)\}
(3,2) != \{(2,3)\}
(3,2) != \{(3,2),(1,1)\}
"""
TOPICS["units without a command"] = r"""
72\text{ mph} == 72 miles per hour
72 mph == 72 miles per hour
72\text{ mph} != 72 miles per minute
60\text{ km/h} == 60 kilometers per hour
5\text{ meters} == 5m
5\text{ meters} == 5 m
5\text{ meters} != 5 s
5\text{ hours} == 5h
3\text{ hours }20\text{ minutes} == 3 h 20 min
3\text{ hours }20\text{ minutes} != 3 h 30 min
100 == 100cm^2
100 == 100cm²
100 == 100 m^2
100 == 100\,m/s
100 == 100mL
100 != 100ab^2
100 != 100x^2
5\text{ cm}^2 == 5cm^2
5\text{ cm}^2 != 5cm^3
25 == 25°C
25 == 25^\circ C
25^\circ\text{C} == 25^{\circ}C
25^\circ\text{C} != 25^\circ F
"""
TOPICS["remarks on a letter"] = r"""
2k\pi == 2k\pi, k \in \mathbb{Z}
2k\pi == x = 2k\pi,\quad k\in\mathbb Z
2k\pi == 2k\pi \ (k \in \mathbb{Z})
2k\pi == 2k\pi \text{ where } k \text{ is an integer}
2k\pi == 2k\pi \text{ for any integer } k
2k\pi == 2n\pi, n \in \mathbb{Z}
2k\pi, k \in \mathbb{Z} == 2\pi k
2k\pi, k \in \mathbb{Z} == x = 2n\pi \text{ for } n \in \mathbb{Z}
x = \frac{\pi}{4}+k\pi == \frac{\pi}{4}+n\pi, n\in\mathbb{Z}
2k\pi != k\pi, k \in \mathbb{Z}
2k\pi != 2n\pi
2k\pi != 2k\pi, k \in \mathbb{N}
x^2, x \in \mathbb{R} != x^2, x \in \mathbb{Z}
x>3 != x>3, x\in\mathbb{Z}
x>3 == x>3, x\in\mathbb{R}
5 != 5, k \in \mathbb{Z}
f(x)=x == f(x)=x \text{ for all } x
f(x)=x == f(x) = x, \forall x \in \mathbb{R}
f(x)=x != f(x)=x^2 \text{ for all } x
f(x)=cx == f(x)=kx \text{ for some constant } k
f(x)=cx == f(x)=kx \text{ where } k \text{ is any real number}
"""
TOPICS["complex numbers and functions"] = r"""
2 \operatorname{cis} 60^\circ =. 1+i\sqrt{3}
2\text{ cis } 60^\circ == 2\operatorname{cis}60^\circ
2\operatorname{cis}\frac{\pi}{3} =. 1+i\sqrt{3}
2\operatorname{cis}\frac{\pi}{3} == 2\text{cis}\left(\frac{\pi}{3}\right)
2\operatorname{cis}\frac{\pi}{3} =. 2e^{i\pi/3}
2\operatorname{cis}\frac{\pi}{3} != 2\operatorname{cis}\frac{\pi}{6}
1+i =. \sqrt{2} cis 45°
\operatorname{cis}\theta == \cos\theta+i\sin\theta
\sqrt{-4} == 2i
-1 =. e^{i\pi}
5 != 5i
\max(a,b) == \max\{a,b\}
3 =. \max\{1,3\}
\text{I and II only} == \text{I, II}
\text{I and II only} == \text{I and II}
\text{I and II only} != \text{I and III only}
\begin{bmatrix}1\\2\\3\end{bmatrix} == [1,2,3]^T
\begin{bmatrix}1\\2\\3\end{bmatrix} != [1,3,2]^T
"""
TOPICS["unions"] = r"""
(-\infty,-1)\cup(2,\infty) == x\in(-\infty,-1)\text{ or }x\in(2,\infty)
(-\infty,-1)\cup(2,\infty) == x\in(-\infty,-1) or x\in(2,\infty)
(-\infty,-1)\cup(2,\infty) == x < -1 || x > 2
(-\infty,-1)\cup(2,\infty) != x < -1 || x > 3
(-\infty,-1)\cup(2,\infty) != x\in(-\infty,-1)\text{ or }x\in[2,\infty)
"""
TOPICS["congruences"] = r"""
n\equiv 3 \pmod 5 == n \equiv 3 \mod 5
n\equiv 3 \pmod 5 == n\equiv 3\mod{5}
n\equiv 3 \pmod 5 == n\equiv 3\ (\mathrm{mod}\ 5)
n\equiv 3 \pmod 5 == n ≡ 3 (mod 5)
n\equiv 3 \pmod 5 == n\equiv 3 \text{ (mod 5)}
n\equiv 3 \pmod 5 == n\equiv 3 \text{ mod } 5
n\equiv 3 \pmod 5 == 3 \bmod 5
n\equiv 3 \pmod m == n\equiv 3 \mod m
n\equiv 1,3 \pmod 8 == n\equiv 1,3 (mod 8)
n\equiv 3 \pmod 5 != n\equiv 3 (mod 7)
n\equiv 3 \pmod 5 != n\equiv 2 \mod 5
3 == n\equiv 3 (mod 5)
2 =. 17 \bmod 5
2 =. 17 \mod 5
2 != 18 \bmod 5
"""
TOPICS["fractions, lists and bases in other signs"] = r"""
\frac38 == 3⁄8
\frac38 == 3∕8
\frac38 == ³⁄₈
\frac38 == ^3/_8
\frac{19}{8} == 2³⁄₈
\frac38 != ³⁄₇
2,3,5 == 2,3\text{, and }5
2,3,5 == 2\text{, }3\text{, and }5
12 == 12_{10}
12 == 12\text{ (base 10)}
12 != 12_8
110_2 != 6_{10}
"""
TOPICS["points and vectors"] = r"""
(1,2) == x=1, y=2
(1,2) == y=2, x=1
(1,2) == x=1 \text{ and } y=2
(1,2) == \begin{cases} x=1 \\ y=2 \end{cases}
(1,2) != x=2, y=1
(1,2) != x=1, x=2
(1,2) != 1, 2
[1,2] != x=1, y=2
(1,2,3) == a=1,\ b=2,\ c=3
(1,2,3) != a=1, b=2
(1,2),(3,4) == x=1,y=2 \text{ or } x=3,y=4
(1,2),(3,4) != x=1,y=4 \text{ or } x=3,y=2
x=1, y=2 == (1,2)
x=1, y=2 != (2,1)
x=1, y=2 == (y,x)=(2,1)
x=1, y=2 != (y,x)=(1,2)
x=1,y=2; x=3,y=4 == (1,2),(3,4)
(3,\frac{\pi}{2}) =. (3, 1.5707963)
(3,\frac{\pi}{2}) != (3, 1.57)
(3,\frac{\pi}{2}) != (1.5707963, 3)
[0,\sqrt2] != (0,1.41421356)
x=1, y=2 == \begin{cases} x=1 \\ y=2 \end{cases}
x=1, y=2 != \begin{cases} x=2 \\ y=1 \end{cases}
(1,2) == \begin{pmatrix} 1 \\ 2 \end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == (1,2)
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \langle 1, 2 \rangle
\begin{pmatrix} 1 \\ 2 \end{pmatrix} != (2,1)
\begin{pmatrix} 1 \\ 2 \end{pmatrix} != [1,2]
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} != (1,2,3,4)
"""
TOPICS["letters of choices"] = r"""
B == \textbf{(B)}\ 12
B == B) 12
B == \text{Option B}
\text{(B)} == \text{(B) } 12
\textbf{(C)}\ 5 == C
\textbf{(C)}\ 5 == 5
\textbf{(C)}\ 5 != D
B != (A) 12
B != (B) or (C)
B != A. 5 and B. 6
B != \text{not B}
A != A = 5
12 == (B) 12
12 == (B)\ 12
12 != (B) 13
AC == A, C
A, C == \text{(A) and (C)}
ACD == \text{A, C, D}
AC != A, D
AC != A
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_an_answer_counts_in_each_way_of_writing_that_says_the_same(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []


@pytest.mark.parametrize(
    ("point", "right"), [("(x,y)", 1.0), (r"\left(y, x\right)", 0.0), ("", 1.0)]
)
def test_coordinates_with_names_have_the_order_of_the_questions_point(point, right, pool):
    verdict = pool.score("math", [(example("(1,2)", f"Find ${point}$."), r"\boxed{x=1, y=2}")])[0]
    assert verdict.scores["accuracy"] == right
