"""The drift metrics by name: what each reads, and the function that prepares it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxreason.analysis.cka import cka_distance
from jaxreason.analysis.frechet import frechet
from jaxreason.analysis.hidden_states import cosine_distance
from jaxreason.analysis.measured import Prepared
from jaxreason.analysis.pca_shift import pca_shift
from jaxreason.analysis.procrustes import procrustes
from jaxreason.analysis.sinks import sink_change
from jaxreason.analysis.subspaces import subspaces
from jaxreason.analysis.token_distributions import token_kl
from jaxreason.analysis.weights import weight_drift


class Metric(NamedTuple):
    """A metric of `texts` takes a Measured, one of `weights` what `compare_weights` gives. All
    values are 0 for a model compared with itself. `settings` are fields of the recipe's section
    that `prepare` takes by name."""

    reads: Literal["texts", "weights"]
    prepare: Callable[..., Prepared]
    settings: tuple[str, ...] = ()
    any_shape: bool = False  # whether models of another depth or width have it, too

    def needs(self) -> tuple[str, ...]:
        """What must be comparable of two models (keys of `comparable.why_not`)."""
        if self.reads == "weights":
            return ("weights",)
        return ("texts",) if self.any_shape else ("texts", "layers")


METRICS: dict[str, Metric] = {
    "pca_shift": Metric("texts", pca_shift, ("components",)),
    "token_kl": Metric("texts", token_kl, any_shape=True),
    "cka": Metric("texts", cka_distance),
    "subspaces": Metric("texts", subspaces, ("components",)),
    "frechet": Metric("texts", frechet),
    "procrustes": Metric("texts", procrustes),
    "sinks": Metric("texts", sink_change),
    "cosine": Metric("texts", cosine_distance),
    "weights": Metric("weights", weight_drift),
}
