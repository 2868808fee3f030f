"""What of two models can be compared, and why the rest cannot: known before their weights are loaded."""

from collections.abc import Mapping

from jaxreason.analysis.vocabularies import why_other_vocabulary
from jaxreason.checkpoint import leaves_by_path
from jaxreason.errors import UserError
from jaxreason.models.decoder import Model, abstract_params
from jaxreason.models.huggingface import make_model
from jaxreason.models.model_source import ModelSource
from jaxreason.models.stored_tensors import open_stored, shared_places
from jaxreason.runtime.distributed import on_process_zero

# Fields of an architecture that make states of one layer comparable, position by position.
SHAPE = ("num_hidden_layers", "hidden_size")


def why_not(base: ModelSource, tuned: ModelSource) -> dict[str, str]:
    """What of two models is not comparable, with the reason; empty for two of one architecture and vocabulary.

    Returns:
      by what is missing: `texts` (a model cannot read what the other one wrote), `layers` (no state of one has its
      counterpart in the other), `weights` (not the same parameters).
    """
    models = [make_model(source.config, source.architecture()) for source in (base, tuned)]
    folders = [base.folder, tuned.folder]
    found = {
        "texts": why_other_vocabulary(base, tuned),
        "layers": _why_other_shape(*models),
        "weights": _why_other_weights(*models)
        if None in folders
        else on_process_zero(lambda: _why_other_tensors(*folders)),
    }
    return {what: reason for what, reason in found.items() if reason}


def same_shape(base: Model, tuned: Model) -> bool:
    """Whether both have as many layers, of one width."""
    return not _why_other_shape(base, tuned)


def _why_other_shape(base: Model, tuned: Model) -> str:
    said = [_shape_of(model) for model in (base, tuned)]
    return "" if said[0] == said[1] else f"the base has {said[0]}, the tuned model {said[1]}"


def _shape_of(model: Model) -> str:
    depth, width = (getattr(model.architecture, field) for field in SHAPE)
    return f"{depth} layers of width {width}"


def _why_other_weights(base: Model, tuned: Model) -> str:
    shapes = [_shapes(abstract_params(model)) for model in (base, tuned)]
    if shapes[0] == shapes[1]:
        return ""
    names = sorted(set(shapes[0]) | set(shapes[1]))
    path = next(name for name in names if shapes[0].get(name) != shapes[1].get(name))
    sizes = [shapes[i].get(path, "none") for i in (0, 1)]
    return f"{path} is {sizes[0]} in the base and {sizes[1]} in the tuned model"


def _why_other_tensors(base: str, tuned: str) -> str:
    """Of two folders, compared as they are stored: vocabularies may be padded, and heads tied in one of them."""
    models = [open_stored(name) for name in (base, tuned)]
    try:
        shared_places(models)
    except UserError as error:
        return str(error).rstrip(".")
    return ""


def _shapes(params: Mapping) -> dict[str, str]:
    leaves = leaves_by_path(params)
    return {path: " x ".join(map(str, leaf.shape)) for path, leaf in leaves.items()}
