"""What is wrong with the weights of a model's folder, found without a device: files, tensors, values."""

import numpy as np
from etils import epath

from jaxreason.models.checkpoint_reader import find_sources, open_files
from jaxreason.models.decoder import Model, abstract_params
from jaxreason.models.weight_plan import weight_shapes

ROWS = 4096  # of a tensor, looked at together


def check_loadable(folder: epath.PathLike, model: Model) -> None:
    """Whether the files of a folder are whole and hold every weight of the model in its shape; no weight is read.

    Raises:
      UserError: with the file and the tensor.
    """
    find_sources(epath.Path(folder), weight_shapes(abstract_params(model)))


def first_not_finite(folder: epath.PathLike) -> str:
    """The first tensor that holds NaN or infinity, with its file and how many; "" where all are numbers.

    Raises:
      UserError: a file is damaged.
    """
    folder = epath.Path(folder)
    for name, file in open_files(folder).items():
        for key, (shape, _) in file.tensors().items():
            bad = sum(
                _not_finite(file, key, shape, start) for start in range(0, _rows(shape), ROWS)
            )
            if bad:
                return f"{folder / name}: {key} holds {bad:,} values that are NaN or infinite"
    return ""


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


def _not_finite(file, key: str, shape: tuple[int, ...], start: int) -> int:
    rows = (
        (slice(start, min(start + ROWS, shape[0])), *(slice(None) for _ in shape[1:]))
        if shape
        else ()
    )
    return int((~np.isfinite(file.read(key, rows).astype(np.float32))).sum())
