"""Reports a step with NaN or infinity: in which tensor it began, which examples it had, and the batch as files."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool

from jaxreason.checkpoint import Checkpointer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.models.safetensors_reader import first_not_finite
from jaxreason.results.atomic_files import atomic_write_bytes, write_json
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sharding import leaves_by_path, to_host
from jaxreason.training.train_step import NOT_FINITE

FOLDER = "not_finite"
WHY, ARRAYS = "why.json", "batch.npz"
SHOWN = 8  # Ids shown in the message; the file has all of them.
REMEDIES = (
    "A lower learning rate, a longer warm-up, a smaller clip_norm or float32 activations are the usual remedies; a "
    "recipe that is changed so needs another working directory."
)
# The order in which a forward pass uses the parts of a model.
ORDER = (
    *("embed_tokens", "layers", "norm", "lm_head"),
    *("input_layernorm", "self_attn", "post_attention_layernorm", "mlp"),
    *("q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)


class NotFiniteStepError(UserError, FloatingPointError):
    """A step gave NaN or infinity. The most frequent cause is the learning rate of the recipe,
    which the user can change.
    """


@dataclass(frozen=True)
class Failed:
    """The inputs of a step that failed.

    Attributes:
      ids: ids of its examples or questions.
      batch: its arrays, as they lie on the devices of all processes; None if the step computed nothing.
      flags: the step's measurement NOT_FINITE; None likewise.
    """

    ids: Sequence[str]
    batch: Any | None
    flags: Bool[np.ndarray, "2 N"] | None


def wrong_numbers(measurements: dict[str, Any]) -> dict[str, float]:
    """Returns the measurements that are infinite or NaN."""
    numbers = {name: float(x) for name, x in measurements.items() if name != NOT_FINITE}
    return {name: value for name, value in numbers.items() if not math.isfinite(value)}


class FiniteCheck:
    """Ends a run at the first step with a number that is not finite, and keeps what is needed to investigate it.

    Every process calls it with the same numbers.

    Args:
      workdir: working directory of the run; `not_finite/step_<n>/` is written there.
      model: static description of the model, for the names of the tensors.
      model_config: the model that the run starts from.
      checkpoints: checkpoints of the run.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        model: Model,
        model_config: ModelConfig,
        checkpoints: Checkpointer,
    ):
        self._workdir, self._config = epath.Path(workdir), model_config
        self._checkpoints = checkpoints
        self._names = list(leaves_by_path(abstract_params(model)))

    def __call__(
        self, step: int, measurements: dict[str, Any], failed: Callable[[], Failed]
    ) -> None:
        """Checks the measurements of step `step` (from 1); `failed` is called only if one is not finite.

        Raises:
          NotFiniteStepError: with the step, its numbers, the first tensor, the examples, where the
            batch is, and what is saved.
        """
        wrong = wrong_numbers(measurements)
        if not wrong:
            return
        found = failed()
        tensors = self._tensors(found)
        saved = max(self._checkpoints.steps(), default=None)
        sentences = [
            f"step {step}: " + ", ".join(f"{name}={value}" for name, value in wrong.items()),
            tensors_in_words(tensors, len(self._names)),
            self._base(step, tensors),
            ids_in_words(found.ids),
            self._keep(step, wrong, tensors, found, saved),
            what_is_saved(saved),
        ]
        raise NotFiniteStepError(". ".join(text for text in sentences if text) + f". {REMEDIES}")

    def _tensors(self, found: Failed) -> dict[str, list[str]]:
        """Returns the names of the tensors that are not finite, under "gradient" and "update", in
        the order of the network.
        """
        if found.flags is None:
            return {"gradient": [], "update": []}
        order = sorted(range(len(self._names)), key=lambda i: _place(self._names[i]))
        return {
            kind: [self._names[i] for i in order if row[i]]
            for kind, row in zip(("gradient", "update"), np.asarray(found.flags), strict=True)
        }

    def _base(self, step: int, tensors: dict[str, list[str]]) -> str:
        """Says if the run started from weights that are not finite; checked only if its first step failed."""
        if step > 1 or len(tensors["gradient"]) < len(self._names) or self._config.init == "random":
            return ""
        found = on_process_zero(lambda: first_not_finite(resolve(self._config.path)))
        return found and f"The model itself is not finite: {found}"

    def _keep(self, step: int, wrong: dict, tensors: dict, found: Failed, saved: int | None) -> str:
        """Writes the batch and then the reason, and returns where they are as text."""
        folder = self._workdir / FOLDER / f"step_{step}"
        arrays = None if found.batch is None else on_host(found.batch)
        why = {
            "step": step,
            "numbers": {name: str(value) for name, value in wrong.items()},
            "first_tensor": next((x for names in tensors.values() for x in names), None),
            "tensors": tensors,
            "ids": list(found.ids),
            "newest_checkpoint": saved,
            "arrays": None if arrays is None else {k: list(x.shape) for k, x in arrays.items()},
        }
        fault = on_process_zero(lambda: _write(folder, arrays, why))
        return f"The batch could not be saved: {fault}" if fault else f"The batch is in {folder}"


def tensors_in_words(tensors: dict[str, list[str]], num: int) -> str:
    """Names the first tensor whose gradient is not finite or, if all gradients are, whose update is not."""
    for kind, names in tensors.items():
        if names:
            which = "all" if len(names) == num else f"{len(names)} of"
            return (
                f"The first tensor whose {kind} has no finite norm, in the order of the network: {names[0]} "
                f"({which} {num} tensors have none)"
            )
    return ""


def ids_in_words(ids: Sequence[str]) -> str:
    """Returns the first few ids of a step's examples as text."""
    if not ids:
        return ""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"In its batch: {', '.join(ids[:SHOWN])}{more}"


def what_is_saved(step: int | None) -> str:
    """Says which steps are saved, and what running the same command again would do."""
    have = f"The newest checkpoint is that of step {step}" if step else "No checkpoint was written"
    return f"{have}, nothing of this step was saved, and the same command would come to it again"


def on_host(batch: Any) -> dict[str, np.ndarray]:
    """Returns the whole arrays of a batch by name, on every process; all processes must call it."""
    return to_host({name: x for name, x in batch._asdict().items() if x is not None})


def _place(name: str) -> tuple[int, ...]:
    return tuple(ORDER.index(part) if part in ORDER else len(ORDER) for part in name.split("."))


def _write(folder: epath.Path, arrays: dict[str, np.ndarray] | None, why: dict) -> str:
    """Writes the files; returns "" or the reason of a failure, since the step's error matters more than a full disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if arrays is not None:
            data = io.BytesIO()
            np.savez_compressed(data, **arrays)
            atomic_write_bytes(folder / ARRAYS, data.getvalue())
        write_json(folder / WHY, why)
    except OSError as error:
        return str(error)
    return ""
