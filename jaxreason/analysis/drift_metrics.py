"""The drift metrics by name: the inputs of each, and the function that prepares it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jaxreason.analysis.cka import cka_distance
from jaxreason.analysis.frechet import frechet
from jaxreason.analysis.hidden_states import cosine_distance
from jaxreason.analysis.loaded_weights import weight_drift
from jaxreason.analysis.metric_types import Prepared
from jaxreason.analysis.pca_shift import paper_pca_shift, pca_shift
from jaxreason.analysis.procrustes import procrustes
from jaxreason.analysis.raw_questions import SOURCE
from jaxreason.analysis.shifted_tokens import ABOUT, shifted_tokens
from jaxreason.analysis.sinks import sink_change
from jaxreason.analysis.subspaces import subspaces
from jaxreason.analysis.token_distributions import token_kl


class Metric(NamedTuple):
    """A metric of `texts` takes TextMeasurements, one of `questions` takes QuestionStates, and one of `weights` takes
    the result of `compare_weights`. All values are 0 for a model compared with itself, or undefined.
    """

    reads: Literal["texts", "questions", "weights"]
    prepare: Callable[..., Prepared]
    settings: tuple[str, ...] = ()  # Fields of the section that `prepare` takes by name.
    any_shape: bool = False  # Whether models of different depth or width have it too.
    shows_tokens: bool = False  # Whether it needs the texts of tokens.
    about: Mapping[str, Any] = MappingProxyType({})  # Added to the details of its file.

    def needs(self) -> tuple[str, ...]:
        """Returns the parts of two models that must be comparable for the metrics (keys of `comparable.why_not`)."""
        if self.reads == "weights":
            return ("weights",)
        return ("texts",) if self.any_shape else ("texts", "layers")


METRICS: dict[str, Metric] = {
    "pca_shift": Metric("texts", pca_shift, ("components",)),
    "paper_pca_shift": Metric("questions", paper_pca_shift),
    "token_kl": Metric("texts", token_kl, any_shape=True),
    "shifted_tokens": Metric(
        "texts",
        shifted_tokens,
        any_shape=True,
        shows_tokens=True,
        settings=("shift_threshold",),
        about=ABOUT,
    ),
    "cka": Metric("texts", cka_distance),
    "subspaces": Metric("texts", subspaces, ("components",)),
    "frechet": Metric("texts", frechet),
    "procrustes": Metric("texts", procrustes),
    "sinks": Metric("texts", sink_change),
    "cosine": Metric("texts", cosine_distance),
    "weights": Metric("weights", weight_drift),
}


def reads_of(source: str) -> Literal["texts", "questions"]:
    """Returns the inputs of the metrics that are measured on a unit of this source."""
    return "questions" if source == SOURCE else "texts"
