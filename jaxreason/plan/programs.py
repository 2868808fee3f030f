"""The jitted steps of a recipe with abstract arguments: the same functions that a run compiles, without a device."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.compiling import ProgramCall
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_axes, param_shardings
from jaxreason.models.sampler_weights import move_program
from jaxreason.rl.checks import check_rl
from jaxreason.rl.references import AVERAGE, copied
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.update import abstract_rollouts, needs_reference
from jaxreason.rl.update import make_update_programs as make_rl_programs
from jaxreason.sampling.engine_calls import engine_calls
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sharding import abstract_arrays, check_rows, num_parts
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.sft import make_step, sft_arguments
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.state import TrainState, abstract_train_state, state_shardings

STEPS = 1000  # Of the schedule: a number in the program that does not change its size.
REFERENCE_PASS = "log-prob pass of the reference"
STOP_IDS = (151643, 151645)  # As many as Qwen3 has; the number does not matter either.


@dataclass(frozen=True)
class Program:
    """A jitted function and its arguments.

    Attributes:
      name: name for tables.
      kind: "train", "read" (a forward pass over rows), "decode" or "move" (no products and no tokens).
      function: the jitted function.
      args: abstract arguments, with shardings.
      held: what is in memory while it runs, by kind: `params`, `optimizer`, `cache`, `batch`.
      beside: the parts of `held` that are not arguments, so the compiler does not see them.
      rows: rows that are processed at the same time, over all devices (decode: slots).
      length: tokens of a row (decode: of the cache).
      pieces: how many such pieces one run processes, one after the other.
      new_tokens: tokens of each row that a piece reads or writes.
    """

    name: str
    kind: str
    function: Any
    args: tuple
    held: dict[str, Any]
    rows: int
    length: int
    pieces: int
    new_tokens: int
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """The positions of a run, including padding."""
        return self.rows * self.new_tokens * self.pieces


def sft_programs(
    config: SFTConfig,
    model: Model,
    mesh: Mesh,
    num_micro_batches: int = 0,
    sampler: SamplerConfig | None = None,
) -> list[Program]:
    """Returns the training step, with as many micro-batches as a step's examples fill, and the programs of validation.

    Args:
      config: the recipe's section.
      model: static description of the model.
      mesh: mesh of the target.
      num_micro_batches: as `micro_batches` counts them; 0 = for examples as long as a row.
      sampler: sizes of the engine that validates the model between steps; None without validation.

    Raises:
      ValueError: the recipe does not fit the mesh or the model; names the field and a value that would fit.
    """
    check_rows(mesh, config.micro_batch_rows, "sft.micro_batch_rows")
    _check_length("sft.length", config.length, model)
    optimizer = make_optimizer(config.optimizer, _steps(config), param_axes(model))
    state = abstract_train_state(model, optimizer, mesh)
    pieces = num_micro_batches or micro_batches(config, 0)
    step = make_step(config, model, optimizer, state_shardings(state), pieces)
    arguments = sft_arguments(config, state, mesh, pieces)
    _, batch, *frozen = arguments
    base = _measured_base(config, model, mesh)
    held = {"params": [state.params, *frozen, base], "optimizer": state.opt_state, "batch": batch}
    others = [*frozen, base]
    validation = _validation_programs(sampler, model, mesh, state, others) if sampler else []
    return [
        Program(
            "SFT step",
            "train",
            step,
            arguments,
            held,
            config.micro_batch_rows,
            config.length,
            pieces,
            config.length,
            {"params": base},
        ),
        *validation,
    ]


def _measured_base(config: SFTConfig | RLConfig, model: Model, mesh: Mesh) -> list[Any]:
    """Returns the base's parameters, which a run holds that measures its KL from the base (`base_kl`)."""
    if not config.base_kl.every:
        return []
    return [_parameters(dataclasses.replace(model, param_dtype=model.dtype), mesh)]


def _parameters(model: Model, mesh: Mesh) -> Any:
    return abstract_arrays(abstract_params(model), param_shardings(model, mesh))


def _validation_programs(
    sampler: SamplerConfig, model: Model, mesh: Mesh, state: TrainState, others: list[Any]
) -> list[Program]:
    """Returns the programs of SFT's validation. Its engine holds a copy of the weights only while it runs."""
    _check_length("eval.sampler.max_length", sampler.max_length, model)
    move = _move(sampler, model, mesh, state, others)
    copied = [others, *(p.args[0] for p in move)]
    programs = [*move, *_sampling_programs(sampler, model, mesh, state, copied)]
    return [dataclasses.replace(p, name=f"validation: {p.name}") for p in programs]


def micro_batches(config: SFTConfig, example_tokens: int) -> int:
    """Returns how many micro-batches a full step fills, for examples of this mean length, packed without gaps.

    With 0 tokens, examples are as long as a row.
    """
    tokens = min(example_tokens or config.length, config.length)
    rows = config.batch_size * tokens / config.length if config.pack else config.batch_size
    return math.ceil(math.ceil(rows) / config.micro_batch_rows)


def rl_programs(
    config: RLConfig, model: Model, mesh: Mesh, reference: Model | None = None
) -> list[Program]:
    """Returns the update, the log-prob passes, the transfer of weights to the sampler, prefill and decode.

    Each one counts what else is in memory then. The sampler's weights always are, unless they are the trainer's own.
    Without sampled replies there is no sampler.

    Args:
      config: the recipe's section.
      model: static description of the policy.
      mesh: mesh of the target.
      reference: description of the KL term's reference if it is another model, a teacher.

    Raises:
      ValueError: as a run of the recipe would.
    """
    check_rl(config, model, mesh)
    optimizer = make_optimizer(
        config.optimizer, config.num_steps * config.updates_per_step, param_axes(model)
    )
    state = abstract_train_state(model, optimizer, mesh)
    longest = config.sampler.max_length - config.decoding.max_tokens
    programs = make_rl_programs(config, model, optimizer, state, longest, reference or model)
    layout = programs.layout
    num_batches = -(-config.prompts_per_step // config.mini_batch_prompts)
    batch = abstract_rollouts(config, mesh, layout)
    teacher = reference and _parameters(reference, mesh)
    fixed = [teacher or state.params] * config.has_kl
    frozen = fixed * config.exact_kl
    # The moving average is the reference.
    copies = [state.params for name in copied(config) if name != AVERAGE]
    copies += _measured_base(config, model, mesh)
    move = _move(config.sampler, model, mesh, state, [fixed, copies]) if config.sampled else []
    made = [copies, *(p.args[1] for p in move)]
    others = [fixed * (not config.exact_kl), *made]
    waiting = {"batch": [batch] * (num_batches - 1), "params": others}
    held = {
        "params": [state.params, *frozen, others],
        "batch": [batch, waiting["batch"]],
        "optimizer": state.opt_state,
    }
    piece = (layout.micro_batch_rows, layout.row_length, layout.num_micro_batches)
    unscored = batch._replace(old_logprobs=None, ref_logprobs=None)
    scoring = []
    if teacher and needs_reference(config):
        read = "read", programs.reference_pass, (teacher, unscored), held, *piece, layout.row_length
        beside = {"optimizer": state.opt_state, "params": [state.params, *made]}
        scoring = [Program(REFERENCE_PASS, *read, waiting | beside)]
    sampling = []
    if config.sampled:
        beside = [fixed, copies, *(p.args[0] for p in move)]
        sampling = _sampling_programs(config.sampler, model, mesh, state, beside)
    return [
        Program(
            "RL policy step",
            "train",
            programs.train_step,
            (state, batch, *frozen),
            held,
            *piece,
            layout.row_length,
            waiting,
        ),
        Program(
            "log-prob pass",
            "read",
            programs.logprob_pass,
            (state.params, unscored),
            held,
            *piece,
            layout.row_length,
            waiting | {"optimizer": state.opt_state, "frozen": frozen},
        ),
        *scoring,
        *move,
        *sampling,
    ]


def _move(
    sizes: SamplerConfig, model: Model, mesh: Mesh, state: TrainState, others: list[Any]
) -> list[Program]:
    """Returns the program that copies the trainer's parameters to the sampler; none if nothing is copied.

    `others` are parameters of other models that are in memory too.
    """
    found = move_program(model, mesh, sizes.weights)
    if found is None:
        return []
    function, args = found
    held = {"params": [state.params, args[1], others], "optimizer": state.opt_state}
    beside = {"optimizer": state.opt_state, "params": others}
    return [Program("weights to the sampler", "move", function, args, held, 0, 0, 1, 0, beside)]


def _sampling_programs(
    sizes: SamplerConfig, model: Model, mesh: Mesh, state: TrainState, copied: list[Any]
) -> list[Program]:
    """Returns prefill and decode.

    `copied` is in memory too: the trainer's parameters if they were copied for the sampler, and other models.
    """
    calls = engine_calls(model, mesh, sizes, STOP_IDS)
    decode, prefill = (placed_call(mesh, calls[name]) for name in ("decode", "prefill"))
    params, slot_state = decode[1][:2]
    beside = {"optimizer": state.opt_state, "params": copied}
    held = {"params": [params, beside["params"]], "optimizer": state.opt_state, "cache": slot_state}
    parts = num_parts(mesh, "act_batch")
    return [
        Program(
            "prefill",
            "read",
            *prefill,
            held,
            # As if each part had one prompt.
            parts,
            sizes.max_length,
            1,
            sizes.prefill_tokens // parts,
            beside,
        ),
        Program(
            "decode, one token",
            "decode",
            *decode,
            held,
            sizes.slots,
            sizes.max_length,
            1,
            1,
            beside,
        ),
    ]


def placed_call(mesh: Mesh, call: ProgramCall) -> ProgramCall:
    """Returns the same call with host arrays replaced by replicated ones, as a run places them."""
    whole = NamedSharding(mesh, PartitionSpec())

    def place(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding or whole)

    return call[0], jax.tree.map(place, call[1])


def _steps(config: SFTConfig) -> int:
    return max(STEPS, config.optimizer.warmup_steps + 1)


def _check_length(field_name: str, length: int, model: Model) -> None:
    limit = model.architecture.max_position_embeddings
    if length > limit:
        raise UserError(f"{field_name}={length}: the model's max_position_embeddings is {limit}.")
