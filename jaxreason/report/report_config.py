"""The `report` section of a recipe."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxreason.config import at_least, between, unclaimed


@unclaimed("a report is made anew at each start")
@dataclass(frozen=True)
class ReportConfig:
    """The settings of a report in a recipe."""

    title: str
    """The heading of the report."""
    question: str
    """The question that the study asks, in one sentence."""
    limits: tuple[str, ...] = ()
    """Limits of the study that the recipe's author knows, one sentence each."""
    confidence: Annotated[float, between(0, 1)] = 0.95
    """The confidence level of the bootstrap intervals."""
    resamples: Annotated[int, at_least(1)] = 2000
    """Number of resamples of the bootstrap."""
    seed: Annotated[int, at_least(0)] = 0
    """The seed of the bootstrap."""
    variant: Literal["robust", "paper"] = "robust"
    """The variant of the benchmarks whose scores the report is about. If a benchmark was also measured in the other
    one, its scores are given beside them.
    """
    figures: bool = True
    """False draws none: the report then has its tables, samples and summary.json only, and takes less time."""
