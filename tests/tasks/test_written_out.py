r"""What `math_strict` takes (`==`) and refuses (`!=`); all are answers that a model may give for a reward."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.verify import VerifierPool
from jaxreason.tasks.written_out import operations

TABLE = r"""
5050 != 5050 = \sum_{k=1}^{100} k
5050 == \sum_{k=1}^{100} k = 5050
5050 != x = \sum_{k=1}^{100} k
5050 != \frac{100 \cdot 101}{2}
5050 != \frac{100(101)}{2}
5050 != \frac{10100}{2}
5050 == 5050.0
5050 == 5,050
5050 != 5000+50
5050 != (50)(101)
5050 != 50(101)
5050 != 50*101
5050 != 50 \times 101
5050 != \prod_{k=1}^{1} 5050
5050 != \left|-5050\right|
5050 != -(-5050)
5050 != \sqrt{5050^2}
5050 != 5050^1
5050 != \lim_{x \to 5050} x
5050 != \det\begin{pmatrix}5050\end{pmatrix}
5050 != {101 \choose 2}
5050 != C(101,2)
5050 != \frac{101!}{99! 2!}
5050 != \text{the sum } 5050
5050 != 505 \times 10
5050 == 5.05 \times 10^3
5050 != 101000\% \div 20
5050 != \frac{15150}{3}
5050 != \log_2 2^{5050}
5050 != \int_0^{5050} 1 \, dx
5050 != 5051-1
5050 == \mathbf{5050}
5050 == 5050 \text{ apples}
5050 != 5049 + 1 \text{ apples}
5050 == 505000\%
\frac{3}{4} != 1-\frac{1}{4}
\frac{3}{4} != \frac{1}{2}+\frac{1}{4}
\frac{3}{4} == \frac{6}{8}
\frac{3}{4} != 3 \cdot \frac14
\frac{3}{4} != 3 \div 4
\frac{3}{4} != \left(\frac12\right)^2 \cdot 3
\frac{3}{4} != 1 - \left(\frac12\right)^2
\frac{3}{4} != \frac{1+2}{4}
\frac{3}{4} != \frac{3}{2^2}
\frac{3}{4} != \frac{\binom{3}{1}}{4}
\frac{3}{4} != 3^1/4
\frac{3}{4} == 0.75
\frac{3}{4} == 75\%
2\sqrt{5} != \sqrt{4^2+2^2}
2\sqrt{5} != \sqrt{16+4}
2\sqrt{5} == \sqrt{20}
2\sqrt{5} != \sqrt{(3-1)^2+(5-1)^2}
10 != \sqrt{6^2+8^2}
2\sqrt{5} != 2 \cdot 5^{1/2}
\frac{\pi}{4} != \arctan 1
\frac{\pi}{4} != \tan^{-1}(1)
\frac{\pi}{4} != \frac{\pi}{2} - \frac{\pi}{4}
\frac{\pi}{4} != 45^\circ
90^\circ != 180^\circ - 90^\circ
90 != 180^\circ/2
x^2+2x+1 == (x+1)^2
x^2+2x+1 != \int (2x+2) dx
x^2+2x+1 != \frac{d}{dx}(x^3/3+x^2+x)
x^2+2x+1 != x^2+x+x+1
3+4i == 3+4i
3+4i != (2+i)^2
3+4i != 1+2+4i
(3,4) != (\sqrt{9}, 4)
\{1,2\} != \{1, 1+1\}
1,2 != 1, \frac{4}{2}
""".strip().split("\n")
LEFT_TO_DO = {
    "2+2": "like terms",
    "36/2": "division",
    r"\frac{36}{2}": "division",
    r"\sqrt{16}": "even root",
    r"\sqrt{3}": "root",
    "2^{10}": "power",
    "10!": "factorial",
    r"\binom{10}{2}": "binom",
    r"\sum_{k=1}^{100} k": "sum",
    r"4 \cdot 3\pi": "product",
    r"1+\sqrt{2}": "sum of constants",
}
WRITTEN_OUT = ["5", "-5", "0.5", "1,234", r"\frac{2}{4}", r"4\frac{2}{3}", r"5\%", r"3 \times 10^5"]
WRITTEN_OUT += [
    r"\frac{2\pi}{3}",
    "x^2 + 2x",
    "(1, 2)",
    r"(-\infty, 2]",
    r"x \ge 2",
    "3 - 2i",
    r"\text{even}",
]


@pytest.mark.parametrize(("answer", "kind"), LEFT_TO_DO.items())
def test_an_operation_that_is_left_to_do_is_named(answer, kind):
    assert kind in operations(answer)


@pytest.mark.parametrize("answer", WRITTEN_OUT)
def test_a_value_that_is_written_out_leaves_nothing_to_do(answer):
    assert operations(answer) == set()


def test_answers_to_a_reward_must_be_written_out():
    rows = [row.split(" == ") if " == " in row else row.split(" != ") for row in TABLE]
    items = [(Example("", "", (), gold, "", {}), rf"\boxed{{{answer}}}") for gold, answer in rows]
    with VerifierPool(1, 60.0) as pool:
        verdicts = pool.score("math_strict", items)
    wrong = [
        row for row, v in zip(TABLE, verdicts) if v.scores.get("accuracy") != float(" == " in row)
    ]
    assert wrong == []
