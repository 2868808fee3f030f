"""Ways in which answers are written: gold answer, `==` (right) or `!=` (wrong), answer in the box."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.reply_text import last_boxed
from jaxreason.tasks.verify import VerifierPool

TABLE = r"""
\frac{\pi}{12} == \frac\pi{12}
\frac{1}{\pi} == \frac1\pi
\frac{\sqrt{2}}{2} == \frac\sqrt{2}2
\frac{a}{b} == \frac ab
x/2 == \frac x 2
\frac{x+1}{2} == \frac{x+1}2
\frac{1}{2} == \nicefrac{1}{2}
\frac{2469}{20000} == \dfrac{2469}{20,\!000}
\dfrac{1}{29,\!322,\!216} == 1/29322216
\frac{1}{2} == ½
2\frac{1}{2} == 2½
\sqrt[3]{4} == \sqrt[3](4)
\sqrt{2(x+1)} == \sqrt(2(x+1))
\sqrt{2(x+1)} != \sqrt{2}(x+1)
3 != 3\mathrm{i}
3i == 3\mathrm{i}
2 != 2\mathrm{\pi}
2e == 2\operatorname{e}
\ln 2 == \log_e 2
\frac{1}{3} == 0.\dot{3}
\frac{4}{11} == 0.\dot{3}\dot{6}
\frac{1}{3} == 0.\bar{3}
\frac{1}{3} == 0.(3)
\frac{1}{3} == 0.333\ldots
\frac{1}{6} == 0.1666...
\frac{1}{3} != 0.333
\sqrt{2} != 1.414\ldots
(1,2) == <1,2>
(1,2) != <1,3>
5000 == 5 \text{ thousand dollars}
7 != 7 \text{ tenths}
7 != 7\text{ hundredths}
7 != 7\text{ Millionen}
7 != 7 \text{ lakh}
7 != 7\text{k}
5 != 5\text{ half}
7 == \text{seven}
25 == \text{twenty-five}
1000000 == \text{one million}
2 != \text{three}
5 != \text{not five}
5 != \text{four or five}
12 == \large 12
12 == \textstyle 12
12 == \enspace 12
12 == \hspace{1mm}12
12 == \underbrace{12}
12 == \mathbf{12.0}
12 == \mathsf{12}
\frac{1}{2} == \mathbf{\frac{1}{2}}
\mathbf{v} != \mathbf{w}
-5 == —5
-5 != —6
\infty == ∞
x \le 5 == x ≤ 5
60^\circ == 60º
60^\circ == 60\degree
20^\circ\text{C} != 20^\circ\text{F}
20^\circ\text{C} == 20
\emptyset == \text{∅}
\emptyset == \text{no solution}
0 != \text{no solution}
(-\infty,\infty) == \text{all real numbers}
(-\infty,5] == x≤5
(-\infty,-1]\cup[2,\infty) == x \leq -1 \quad \text{or} \quad x \geq 2
(-\infty,2)\cup(2,3)\cup(3,\infty) == x \ne 2, 3
(-\infty,2)\cup(2,3)\cup(3,\infty) == x \ne 2 \text{ and } x\ne 3
(-\infty,2)\cup(2,3)\cup(3,\infty) != x \ne 2
-2 \le x \le 7 == 7 \ge x \ge -2
-2 \le x \le 7 != 7 > x \ge -2
x > 3 != y > 3
8000 == USD 8,000
12 == 12 cm^2
2 \text{ pounds} != 2 \text{ ounces}
2 \text{ pounds} == 32 \text{ ounces}
2 \text{ pounds} == £2
2 \text{ gallons} == 8 \text{ quarts}
3 \text{ years} != 3 \text{ months}
12:30 \text{ a.m.} == 0:30
12:30 \text{ p.m.} != 24:30
12:00 \text{ p.m.} != 12:00 \text{ a.m.}
9 \text{ a.m.} == 9:00 a.m.
9 \text{ a.m.} == 9
9 \text{ a.m.} != 9:30
9 \text{ a.m.} != 9 \text{ p.m.}
9:00 != 9
05\!:\!00 == 5{:}00
1:2:3 != 1:3:2
1:2:3 == 2:4:6
1:00:00 != 2:00:00
2:3 == 2 \text{ to } 3
2 != 2 \text{ to } 3
52_8 == (52)_8
52_8 == 52\text{ base }8
52_8 == 52_{\text{base 8}}
52_8 != 52\text{ base }9
5 == \begin{align*}5\end{align*}
5 == \begin{gathered}5\end{gathered}
5 == \begin{array}{c}5\end{array}
5 == \text{The answer is 5}
5 == Answer: 5
5 == The answer is 5.
5 == \text{Thus, } 5
5 == \textbf{Answer: } 5
5 == \mathrm{Answer:}\ 5
5 == x\text{ is }5
5 == \text{exactly }5
5 == \text{(E) }5
5 != The answer is not 5
5 != \text{The answer is 5 or 6}
5 != \text{Answer: 6}
\text{ellipse} == \text{an ellipse}
\text{ellipse} != \text{a circle}
"""
ROWS = [
    (*(row.split(" == ") if " == " in row else row.split(" != ")), float(" == " in row))
    for row in TABLE.strip().split("\n")
]
BOXES = [
    (r"Thus \boxed{5}. The box \boxed{\phantom{5}} is left.", "5"),
    (r"Thus \boxed{5}. The box \boxed{\ } is left.", "5"),
    (r"Thus \boxed{5}. The box \boxed{\hspace{1cm}} is left.", "5"),
    (r"Thus \boxed{5}. It is \boxed{\{\}}.", r"\{\}"),
    (r"Thus $\boxed5$", "5"),
    (r"Thus \boxed\frac12.", r"\frac12"),
    (r"Thus \framebox{5}", "5"),
]


def test_answers_are_read_in_whatever_way_they_are_written():
    items = [
        (Example("1", "math", (), gold, "", {}), rf"\boxed{{{answer}}}") for gold, answer, _ in ROWS
    ]
    with VerifierPool(1, 60.0) as pool:
        verdicts = pool.score("math", items)
    assert [
        (row[:2], verdict)
        for row, verdict in zip(ROWS, verdicts, strict=True)
        if verdict.scores.get("accuracy") != row[2]
    ] == []


def test_a_tolerance_is_applied_to_the_value_of_a_name():
    examples = Example("1", "math", (), "4.2", "", {"error": "1e-1"})
    items = [(examples, rf"\boxed{{{answer}}}") for answer in ("x=4.25", "x=4.35")]
    with VerifierPool(1, 60.0) as pool:
        assert [v.scores["accuracy"] for v in pool.score("math", items)] == [1.0, 0.0]


@pytest.mark.parametrize(("text", "box"), BOXES)
def test_an_empty_box_is_no_answer_and_a_box_needs_no_braces(text, box):
    assert last_boxed(text) == box
