"""Functions, roots and binomials in every way of writing them."""

import pytest
from answer_tables import wrong_rows

TOPICS = {}
TOPICS["names without a command of their own"] = r"""
\ln 2 == \operatorname{ln} 2
\ln 2 == \operatorname{ln}(2)
\ln 2 == \mathrm{ln}\,2
\ln 2 == \text{ln }2
\ln 2 == ln 2
\ln 2 == ln(2)
\frac{\ln 2}{3} == \frac{ln 2}{3}
\ln 2 != \operatorname{ln} 3
\ln 2 != ln(3)
\ln 2 != \operatorname{log} 2
\sin 1 == \operatorname{sin} 1
\sin 1 == sin(1)
\sin 1 != cos(1)
\sin x == sin x
\sin^2 x == \operatorname{sin}^2 x
\sin x != \operatorname{cos} x
\arctan 2 == \operatorname{arctan} 2
\arctan 2 == \operatorname{arctg} 2
\arctan 2 == arctan(2)
\arctan 2 != \arctan 3
\arcsin \frac{1}{3} == \operatorname{arcsin}\frac{1}{3}
\arcsin \frac{1}{3} != \operatorname{arccos}\frac{1}{3}
\tan x == \operatorname{tg} x
\cot x == \operatorname{ctg} x
\sinh x == \operatorname{sinh} x
\log_3 5 == \operatorname{log}_3 5
\log_3 5 == log_3 5
e^{2x} == exp(2x)
\cot x =. \cos x/\sin x
\sin \frac{x}{2} == \sin (x/2)
30\text{ sec} == 30 sec
30\text{ sec} == 30 \mathrm{sec}
\text{tan} == \text{tan}
"""
TOPICS["roots and powers"] = r"""
\sqrt[3]{2} == \sqrt[3]2
\sqrt[3]{2} == \sqrt[3] 2
2\sqrt[3]{2} == 2\sqrt[3]2
\sqrt[3]{x} == \sqrt[3]x
\sqrt[3]{\pi} == \sqrt[3]\pi
\sqrt[3]{2} == ∛2
\sqrt[3]{2} == ∛(2)
\sqrt[3]{12} == ∛12
\sqrt[4]{2} == ∜2
\sqrt[3]{2} != \sqrt[4]2
\sqrt[3]{2} != \sqrt[3]3
\sqrt[3]{2} != ∜2
\sqrt{2} == 2^\frac12
\sqrt{2} != 3^\frac12
x^3-2x+1 == x**3-2*x+1
x^{12} == x**12
x^3 != x**2
"""
TOPICS["binomials and products"] = r"""
\binom{5}{2} == \tbinom52
\binom{5}{2} == \dbinom{5}{2}
\binom{n}{2} == \dbinom n2
\binom{n}{2} != \dbinom n3
3x == 3 \ast x
"""
TOPICS["words and marks"] = r"""
\emptyset == \text{The empty set}
\emptyset == the empty set
\emptyset == \text{There are no solutions}
\emptyset == \text{There is no real solution.}
\emptyset == \text{No solutions exist}
\emptyset != \text{not the empty set}
\emptyset != \text{There are 2 solutions}
12 == 12 \qed
12 == 12\,\square
12 == 12 \Box
[0,1] \cup [2,3] == [0,1] U [2,3]
[0,1] \cup [2,3] != [0,1] U [2,4]
2\frac{1}{2} == 2 \text{ and a half}
2\frac{1}{2} == 2 and a half
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_a_function_or_root_counts_however_it_is_written(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []
