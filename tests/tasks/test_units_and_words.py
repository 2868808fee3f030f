"""Units that differ, words and commands around a number, and sets of numbers in words."""

import pytest
from answer_tables import wrong_rows

TOPICS = {}
TOPICS["units"] = r"""
100\text{ K} != 100^\circ\text{C}
100\text{ K} == 100\text{ kelvin}
20^\circ\text{C} == 20 \text{ degrees Celsius}
20^\circ\text{C} != 20 \text{ degrees Fahrenheit}
20^\circ\text{C} == 20^\circ
1\text{ atm} != 1\text{ Pa}
1\text{ atm} =. 101325\text{ Pa}
1\text{ cal} != 1\text{ J}
1\text{ kWh} != 1\text{ kW}
1\text{ kWh} =. 3600000\text{ J}
2\text{ cups} != 2\text{ tablespoons}
2\text{ cups} =. 32\text{ tablespoons}
2\text{ mol} != 2\text{ g}
12\text{ cm} == 12 \operatorname{cm}
12\text{ cm} != 12 \operatorname{m}
"""
TOPICS["numbers with words"] = r"""
5000000 == 5\text{ Million}
5000000 == 5\text{ millions}
5 != 5\text{ Million}
250000 =. \frac14\text{ million}
5 == \text{a total of }5
5 == \text{only }5
5 == \text{We get }5
5 == \text{Thus we have } x = 5
5 == 5\;(\text{five})
5 != \text{not only }5
5 != 5 (\text{or } 6)
5 != \text{a total of }6
"""
TOPICS["environments and looks"] = r"""
5 == \begin{multline}5\end{multline}
5 == \begin{alignedat}{1}5\end{alignedat}
5 == \begin{eqnarray}5\end{eqnarray}
5 == \begin{displaymath}5\end{displaymath}
5 == \begin{center}5\end{center}
(1,2) == \begin{array}{l}x=1\\y=2\end{array}
(1,2) != \begin{array}{l}x=2\\y=1\end{array}
5 == \> 5
5 == \textcolor[HTML]{FF0000}{5}
5 == \color[rgb]{1,0,0}5
5 == \fcolorbox{red}{white}{5}
5 == \mathord{5}
5 == 5} \boxed{\checkmark
5 == 5} instead of \boxed{6
6 != 5} rather than \boxed{6
5 != \begin{multline}6\end{multline}
"""
TOPICS["sets"] = r"""
(1,2)\cup(3,4) == (1,2)\text{ or }(3,4)
(1,2)\cup(3,4) != (1,2)\text{ or }(3,5)
(1,2),(3,4) == (1,2)\text{ or }(3,4)
\{2\}\cup[3,\infty) == x=2\text{ or }x\ge3
\{2\}\cup[3,\infty) != x=2\text{ or }x>3
(3,\infty) == \text{all }x>3
(-\infty,1)\cup(1,\infty) == \mathbb{R}-\{1\}
(-\infty,1)\cup(1,\infty) == \text{all real numbers except }1
(-\infty,1)\cup(1,\infty) == \text{all reals except 1}
(-\infty,1)\cup(1,\infty) != \text{all real numbers except }2
"""


@pytest.mark.parametrize("topic", TOPICS)
def test_units_words_commands_and_sets_count_for_what_they_say(topic, pool):
    assert wrong_rows(pool, TOPICS[topic]) == []
