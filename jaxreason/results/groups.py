"""The groups of benchmarks, and the order in which they are shown everywhere."""

from collections.abc import Iterable
from typing import Literal, get_args

GroupName = Literal["math", "other", "non_reasoning"]
MATH = "math"  # The group that models are trained on, and with which the others are compared.
OTHER, NON_REASONING = "other", "non_reasoning"
REST = "rest"  # The mean of all groups but math.
TRAINING = "training"  # Only in drift: replies to training prompts.
GROUP_ORDER: tuple[GroupName, ...] = get_args(GroupName)


def groups_in_order(groups: Iterable[str]) -> list[str]:
    """Returns the names of groups, each once: those of GROUP_ORDER in this order, then the others as given."""
    names = list(dict.fromkeys(groups))
    known = [name for name in GROUP_ORDER if name in names]
    return known + [name for name in names if name not in known]
