"""Units with Greek letters, dates, commands that only change the look, sets, logarithms and several boxes."""

import pytest
from answer_tables import example, wrong_rows

from jaxreason.data.examples import Example
from jaxreason.tasks.reply_text import boxed_answer

TOPICS = {}
TOPICS["units with Greek letters"] = r"""
5\ \Omega == 5\text{ ohms}
5\ \Omega == 5\,\Omega
5\ \Omega == 5
5\ \Omega == 5 Ω
5\ \Omega != 5\ \text{k}\Omega
5000\ \Omega =. 5\,\mathrm{k\Omega}
5\ \Omega != 5\text{ V}
5\,\mu\text{m} == 5\text{ micrometers}
5\,\mu\text{m} == 5\text{ µm}
5\,\mu\text{m} == 5\,\mathrm{\mu m}
5\,\mu\text{m} == 5 μm
5\,\mu\text{m} == 5
5\,\mu\text{m} != 5\text{ mm}
5\,\mu\text{m} != 5\,\mu\text{s}
5\mu m != 5
3\mu != 3
3\Omega x != 3x
"""
TOPICS["other units"] = r"""
1\text{ L} =. 1000\text{ cm}^3
1\text{ L} != 1000\text{ m}^3
1\text{ L} =. 1000\text{ mL}
5\text{ GB} != 5\text{ MB}
5\text{ GB} == 5\text{ gigabytes}
5\text{ GHz} =. 5000\text{ MHz}
5\text{ GHz} != 5\text{ MHz}
5\text{ mA} != 5\text{ A}
"""
TOPICS["dates and times"] = r"""
\text{June 20} == \text{June 20th}
\text{June 20th} == \text{June 20}
\text{June 20} == June 20th
\text{June 20} == \text{the 20th of June}
\text{June 20} == \text{20 June}
\text{June 20} == \text{June } 20^{\text{th}}
\text{June 20, 2015} == \text{June 20th, 2015}
\text{June 20} != \text{June 21st}
\text{June 20} != \text{July 20th}
\text{March 1} != \text{March 11th}
\text{noon} == 12:00 \text{ p.m.}
12:00 \text{ noon} == 12:00 p.m.
12:00 \text{ a.m.} == \text{midnight}
\text{noon} != \text{midnight}
2:3 == 2 to 3
2:3 != 3 to 2
"""
TOPICS["a limit that does not exist"] = r"""
\text{DNE} == \text{does not exist}
\text{does not exist} == DNE
\text{does not exist} == \text{The limit does not exist.}
0 != \text{DNE}
\infty != \text{does not exist}
\text{DNE} != \text{exists}
"""
TOPICS["commands that only change the look"] = r"""
12 == \texttt{12}
12 == \textsf{12}
12 == \emph{12}
12 == \hbox{12}
12 == \ensuremath{12}
12 == \colorbox{yellow}{12}
12 == \bbox[yellow]{12}
12 == \smash{12}
12 == 12\vspace{1cm}
12 == 12\rule{0pt}{10pt}
12 == 12\nonumber
12 == \mathstrut 12
12 != \texttt{13}
12 != 1\rule{0pt}{2pt}
\{1,2\} == \lbrace 1,2\rbrace
(3,4) == \lparen 3,4\rparen
[3,4] == \lbrack 3,4\rbrack
[3,4] != \lparen 3,4\rparen
(3,4) == \mathopen{}\left(3,4\right)\mathclose{}
(1,2) == ⟨1,2⟩
(1,2) != ⟨2,1⟩
\begin{pmatrix} 1 \\ 2 \end{pmatrix} == \begin{pmatrix} 1 \cr 2 \end{pmatrix}
4\sqrt{2} == 4\surd 2
5\sqrt{2} == 5√{2}
2e == 2\text{e}
2\text{e} != 2
1,2 == \text{1 and 2}
1 != \text{1 and 2}
\frac{1}{6} == 0.1(6)
\frac{1}{6} != 0.1(5)
"""
TOPICS["bases"] = r"""
25_7 == 25\text{ (base 7)}
25_7 != 25\text{ (base 8)}
101_2 == \overline{101}_2
101_2 != \overline{101}_3
"""
TOPICS["sets of numbers"] = r"""
\mathbb{R}\setminus\{0\} == x\neq 0
\mathbb{R}\setminus\{0\} != x\neq 1
\mathbb R == \text{all real numbers}
[1,2] == [1;2]
[1,2] != ]1;2[
(1,2) != (1;3)
[-1,1] =. |x|\le 1
[-1,1] != |x|<1
(-1,5) =. |x-2|<3
(-1,5) != |x+2|<3
(-\infty,-1)\cup(1,\infty) =. |x|>1
(-\infty,-1)\cup(1,\infty) != |x|\ge1
-1 \le x \le 1 =. |x|\leq 1
[0,\pi] == 0 \le \theta \le \pi
[0,\pi] != 0 \le \theta < \pi
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_an_answer_counts_in_each_way_of_writing_that_says_the_same(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []


LOGARITHMS = [  # question, gold answer, reply, whether it is right
    (r"Compute $\int_1^2 \frac{1}{x}\,dx$.", r"\ln 2", r"\log 2", 1.0),
    (r"Compute $\int_1^2 \frac{1}{x}\,dx$.", r"\log 2", r"\ln 2", 1.0),
    (r"Compute $\int_1^2 \frac{1}{x}\,dx$.", r"\ln 2", r"\log_{10} 2", 0.0),
    (r"Compute $\int_1^2 \frac{1}{x}\,dx$.", r"\ln 2", r"\log 3", 0.0),
    (r"Solve $e^x = 2$.", r"\ln 2", r"\log(2)", 1.0),
    (r"Solve $e^x = 2$ with $\log_{10}$.", r"\ln 2", r"\log(2)", 0.0),
    (r"Find $\log 4 - \log 2$.", r"\log 2", r"\ln 2", 0.0),
    ("", r"\ln 2", r"\log 2", 0.0),
]


def test_a_logarithm_without_a_base_is_natural_where_the_question_is_of_calculus(pool):
    for question, gold, reply, right in LOGARITHMS:
        verdict = pool.score("math", [(example(gold, question), rf"\boxed{{{reply}}}")])[0]
        assert verdict.scores["accuracy"] == right, (question, gold, reply)


def test_a_tolerance_allows_neither_a_per_cent_sign_nor_another_base(pool):
    for reply, right in [("3.52", 1.0), (r"3.5\%", 0.0), (r"350\%", 1.0), ("3.5_{8}", 0.0)]:
        item = Example("1", "math", (), "3.5", "", {"error": "1e-1"})
        assert pool.score("math", [(item, rf"\boxed{{{reply}}}")])[0].scores["accuracy"] == right


BOXES = [
    (r"\boxed{1} and \boxed{2}", "1, 2"),
    (r"$x=\boxed{1}$ or $x=\boxed{2}$.", "1, 2"),
    (r"\boxed{1}, \boxed{2}, and \boxed{3}", "1, 2, 3"),
    (r"\(\boxed{x=1}\) and \(\boxed{x=2}\)", "x=1, x=2"),
    (r"\boxed{1} plus something is \boxed{2}", "2"),
    (r"First \boxed{1}. And \boxed{2}", "2"),
    (r"\boxed{1}\boxed{2}", "2"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"The answer is not \boxed{7}.", None),
    (r"It is \boxed{8} and not \boxed{7}.", "8"),
    (r"\boxed{8}, not $\boxed{7}$", "8"),
    (r"\boxed 5", "5"),
    (r"\boxed{1} and \boxed{}", "1"),
]


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_boxes_that_only_a_word_joins_are_one_list_and_a_denied_box_is_none(text, answer):
    assert boxed_answer(text) == answer


TAKEN_BACK = [  # reply, the answer found
    ("\\boxed{4}\nWait, that's wrong. The answer is 5.", "5"),
    ("\\boxed{4}\nOops, that is not right. So the answer is $\\frac{1}{2}$.", r"\frac{1}{2}"),
    ("\\boxed{4}\nWait, that's wrong. \\boxed{6}. The answer is 6.", "6"),
    ("\\boxed{4}\nWait, that's wrong. I cannot say.", "4"),
    ("Is it 3? Wait, that is wrong. \\boxed{4}", "4"),
    ("\\boxed{4}. Many think the answer is 5. That is wrong.", "4"),
]


@pytest.mark.parametrize(("text", "answer"), TAKEN_BACK)
def test_a_box_that_is_taken_back_gives_way_to_what_is_announced_then(text, answer, pool):
    item = Example("1", "math", (), answer, "", {})
    assert pool.score("math", [(item, text)])[0].scores["accuracy"] == 1.0
    other = Example("1", "math", (), "99", "", {})
    assert pool.score("math", [(other, text)])[0].scores["accuracy"] == 0.0


def test_two_boxes_of_equal_values_are_one_value_and_boxes_of_two_are_none_of_them(pool):
    for gold, reply, right in [
        ("1,2", r"\boxed{2} and \boxed{1}", 1.0),
        ("2", r"\boxed{1} and \boxed{2}", 0.0),
        ("0.5", r"\boxed{\frac{1}{2}} or \boxed{0.5}", 1.0),
    ]:
        verdict = pool.score("math", [(example(gold), reply)])[0]
        assert verdict.scores["accuracy"] == right, (gold, reply)
