"""The groups that benchmarks belong to, and the order in which they are shown everywhere."""

from collections.abc import Iterable
from typing import Literal, get_args

GroupName = Literal["math", "other", "non_reasoning"]
MATH = "math"  # the group that is trained on, and that the others are compared with
OTHER, NON_REASONING = "other", "non_reasoning"
REST = "rest"  # the mean of all groups but math
TRAINING = "training"  # of drift alone: replies to training prompts
GROUP_ORDER: tuple[GroupName, ...] = get_args(GroupName)


def groups_in_order(groups: Iterable[str]) -> list[str]:
    """Names of groups, each once: those of GROUP_ORDER in its order, then others as they come."""
    names = list(dict.fromkeys(groups))
    known = [name for name in GROUP_ORDER if name in names]
    return known + [name for name in names if name not in known]
