"""Makes optimizers and learning-rate schedules from a recipe: OPTIMIZERS, SCHEDULES.

The logical axis names of a parameter tell whether it is a matrix: a weight with two axes besides `layers` (stacked
layers are separate matrices). All other parameters (norm scales, biases) are vectors. They get no weight decay,
and Adam instead of Muon.
"""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import optax

from jaxreason.config import LEARNED, above, at_least, below, needed, within
from jaxreason.errors import UserError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MuonConfig:
    """The settings that only Muon has."""

    momentum: Annotated[float, below(0, 1), LEARNED]
    """Decay of the momentum before it is orthogonalised."""
    rms: Annotated[float, above(0), LEARNED]
    """The root mean square of an update before the learning rate; with 0.2, rates of Adam can
    be used (arXiv 2502.16982).
    """
    num_iterations: Annotated[int, at_least(1), LEARNED]
    """Number of Newton-Schulz iterations."""
    embeddings: Annotated[bool, LEARNED]
    """Whether token embedding and output head use Muon too. Otherwise they use AdamW, as all vectors do."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The `optimizer` section of a recipe."""

    name: Annotated[str, LEARNED] = "adamw"
    """A key of OPTIMIZERS."""
    learning_rate: Annotated[float, above(0), LEARNED] = needed()
    """The peak of the learning rate."""
    schedule: Annotated[str, LEARNED] = "cosine"
    """A key of SCHEDULES: the shape after the warm-up."""
    warmup_steps: Annotated[int, at_least(0), LEARNED] = 10
    """The step (counted from 1) at which the linear warm-up reaches the peak."""
    final_fraction: Annotated[float, within(0, 1), LEARNED] = 0.0
    """The share of the peak that the rate has fallen to at the end; `constant` ignores it."""
    b1: Annotated[float, below(0, 1), LEARNED] = 0.9
    """Adam's decay of the first moment."""
    b2: Annotated[float, below(0, 1), LEARNED] = 0.95
    """Adam's decay of the second moment."""
    eps: Annotated[float, above(0), LEARNED] = 1e-8
    """Added to the denominators."""
    weight_decay: Annotated[float, at_least(0), LEARNED] = 0.0
    """Decoupled weight decay, times the learning rate; on matrices only."""
    clip_norm: Annotated[float, at_least(0), LEARNED] = 1.0
    """Gradients with a larger global norm are scaled down to this norm; 0 turns it off."""
    state_dtype: Annotated[Literal["float32", "bfloat16"], LEARNED] = "float32"
    """The dtype of the first moment (momentum); float16 cannot hold a large model's small gradients. The second moment
    is always float32: bfloat16 cannot hold a decay of 0.999.
    """
    muon: MuonConfig | None = None
    """Settings of Muon; None unless `name` is "muon"."""


Schedule = Callable[[Any], Any]

SCHEDULES: dict[str, Callable[[float, int, float], Schedule]] = {
    "constant": lambda rate, steps, final: optax.constant_schedule(rate),
    "linear": lambda rate, steps, final: optax.linear_schedule(rate, rate * final, steps),
    "cosine": lambda rate, steps, final: optax.cosine_decay_schedule(rate, steps, final),
}


def fit_warmup(config: OptimizerConfig, num_steps: int) -> OptimizerConfig:
    """Shortens a warm-up that would take all steps of a short run to half of them.

    A message says so. In this way a recipe for hundreds of steps can be tried with three.
    """
    if config.warmup_steps < num_steps:
        return config
    warmup = num_steps // 2
    _LOG.warning(
        "optimizer.warmup_steps=%d: shortened to %d, since the schedule has %d steps.",
        config.warmup_steps,
        warmup,
        num_steps,
    )
    return dataclasses.replace(config, warmup_steps=warmup)


def make_schedule(config: OptimizerConfig, num_steps: int) -> Schedule:
    """Returns the learning rate as a function of the number of updates made before: a linear warm-up, then SCHEDULES.

    Raises:
      ValueError: the schedule is unknown, or the warm-up takes all steps.
    """
    _known(config.schedule, SCHEDULES, "schedule")
    warmup = config.warmup_steps
    if not 0 <= warmup < num_steps:
        raise UserError(
            f"optimizer.warmup_steps={warmup}: expected at least 0 and fewer than the "
            f"{num_steps} steps of the run."
        )
    # The decay ends one update after the last one. Otherwise a final fraction of 0 would waste the last update.
    decay = SCHEDULES[config.schedule](
        config.learning_rate, num_steps - warmup, config.final_fraction
    )
    if warmup == 0:
        return decay
    # The rate of the first step is above 0. At rate 0 a step would change Adam's moments but no weight.
    first = config.learning_rate / warmup
    rise = optax.linear_schedule(first, config.learning_rate, warmup - 1)
    return optax.join_schedules([rise, decay], [warmup])


def make_optimizer(
    config: OptimizerConfig, num_steps: int, param_axes: Any
) -> optax.GradientTransformation:
    """Makes the gradient transformation of a recipe: clipping by global norm, then OPTIMIZERS.

    Args:
      config: the recipe's section.
      num_steps: updates of the whole run, for the schedule.
      param_axes: tree of logical axis names, as `models.decoder.param_axes` returns it.

    Raises:
      ValueError: the name is unknown, or a `muon` section is missing or not allowed.
    """
    _known(config.name, OPTIMIZERS, "name")
    if (config.name == "muon") != (config.muon is not None):
        raise UserError(
            f"optimizer.muon: expected a section when name is 'muon' and None otherwise; name is "
            f"{config.name!r}, muon is {config.muon!r}."
        )
    chosen = OPTIMIZERS[config.name](config, make_schedule(config, num_steps), param_axes)
    if config.clip_norm == 0.0:
        return chosen
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), chosen)


def check_optimizer(config: OptimizerConfig, param_axes: Any) -> None:
    """Checks the section before the number of steps is known.

    Raises:
      UserError: as `make_optimizer`; a warm-up that is too long is shortened later.
    """
    make_optimizer(dataclasses.replace(config, warmup_steps=0), 1, param_axes)


def is_matrix(names: tuple[str, ...]) -> bool:
    """Whether a parameter of these logical axes is a (stack of) matrices rather than vectors."""
    return len(_matrix_dims(names)) == 2


def _matrix_dims(names: tuple[str, ...]) -> list[int]:
    return [dim for dim, name in enumerate(names) if name != "layers"]


def _map_axes(function: Callable[[tuple[str, ...]], Any], param_axes: Any) -> Any:
    return jax.tree.map(function, param_axes, is_leaf=lambda node: isinstance(node, tuple))


def _adamw(config: OptimizerConfig, schedule: Schedule, param_axes: Any):
    return optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        mu_dtype=config.state_dtype,
        weight_decay=config.weight_decay,
        mask=_map_axes(is_matrix, param_axes),
    )


def _muon(config: OptimizerConfig, schedule: Schedule, param_axes: Any):
    """Optax's Muon for matrices and Adam for the rest, with AdamW's decay on both."""

    def dimensions(names):
        if not is_matrix(names) or ("vocab" in names and not config.muon.embeddings):
            return optax.MaskedNode()
        return optax.contrib.MuonDimensionNumbers(*_matrix_dims(names))

    # Layers are stacked in one array [L, I, O]. The dimension numbers tell which two axes are the matrix, so that each
    # layer is orthogonalised by itself.
    orthogonalised = _map_axes(dimensions, param_axes)
    muon = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=config.muon.num_iterations,
            beta=config.muon.momentum,
            eps=config.eps,
            mu_dtype=config.state_dtype,
            weight_dimension_numbers=orthogonalised,
        ),
        optax.stateless(lambda updates, _: _scale_to_rms(updates, config.muon.rms)),
    )
    adam = optax.scale_by_adam(config.b1, config.b2, config.eps, mu_dtype=config.state_dtype)
    labels = _map_axes(
        lambda names: "adam" if dimensions(names) == optax.MaskedNode() else "muon", param_axes
    )
    return optax.chain(
        optax.partition({"muon": muon, "adam": adam}, labels),
        # Applied after both, so that matrices have the same decay under Muon and under Adam.
        optax.add_decayed_weights(config.weight_decay, _map_axes(is_matrix, param_axes)),
        optax.scale_by_learning_rate(schedule),
    )


def _scale_to_rms(updates: Any, rms: float) -> Any:
    """Scales updates to this root mean square; an orthogonal [.., I, O] has 1 / sqrt(max(I, O)) (arXiv 2502.16982)."""
    return jax.tree.map(lambda u: u * (rms * max(u.shape[-2:]) ** 0.5), updates)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": _adamw,
    "muon": _muon,
}


def _known(value: str, valid: dict, field: str) -> None:
    if value not in valid:
        raise UserError(f"optimizer.{field}={value!r}: expected one of {', '.join(valid)}.")
