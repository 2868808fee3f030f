"""Hugging Face model folders to sharded parameters, streamed.

Each process reads only the parts of tensors that its own devices hold. It never has more than two (stacked)
parameters' parts in memory: one that is read, and the one before it on its way to the devices. Of parameters that are
read layer by layer it has a few layers.
"""

import logging
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import huggingface_hub
import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from jaxreason.config import FREE, LEARNED, at_least
from jaxreason.errors import UserError, check_running, hub_error
from jaxreason.memory import check_room
from jaxreason.models.architecture import Architecture, Model, check_how
from jaxreason.models.decoder import abstract_params, init_params, param_shardings
from jaxreason.models.families import dotted, weight_shapes
from jaxreason.models.hf_config import architecture_from_hf, check_family
from jaxreason.models.safetensors_reader import LocalFile, Source, find_sources
from jaxreason.models.weight_copy import copy_into, short_turns
from jaxreason.models.weight_files import check_weights, read_settings, verified_identity
from jaxreason.sharding import abstract_arrays, bytes_on_device, unstacked

_LOG = logging.getLogger(__name__)

# README.md is the base's card, which names its license.
_SETTINGS = ("*.json", "*.jinja", "merges.txt", "tokenizer.model", "README.md")
_DOWNLOADED = (*_SETTINGS, "*.safetensors")
# Weights a second time, in another program's form or of earlier steps: no index names them.
_NOT_DOWNLOADED = ("consolidated*.safetensors", "*/*.safetensors")
ADAPTER = "adapter_config.json"
_MOST_THREADS = 8  # That read the layers of a parameter; more would wait for memory.


@dataclass(frozen=True)
class ModelConfig:
    """The model of a recipe, and how it is run."""

    path: Annotated[str, FREE]
    """Hugging Face folder or hub name; "" if init is "random". The weights identify a run, not this path."""
    init: Annotated[Literal["pretrained", "random"], LEARNED] = "pretrained"
    """Whether weights are read ("pretrained") or drawn ("random")."""
    architecture: Annotated[dict[str, Any], LEARNED] = field(default_factory=dict)
    """Settings of a Hugging Face config.json; only when init is "random"."""
    dtype: Annotated[str, LEARNED] = "bfloat16"
    """The dtype that the network computes in."""
    param_dtype: Annotated[str, LEARNED] = "float32"
    """The dtype that parameters are kept in. Train in float32: fewer bits lose most small updates."""
    remat: Annotated[str, FREE] = "full"
    """Which activations are computed again in the backward pass: a key of `models.remat.REMAT`."""
    attention: Annotated[str, FREE] = "blockwise"
    """How attention is computed: a key of `models.attention.ATTENTION`."""
    unroll: Annotated[int, at_least(1), FREE] = 1
    """Layers of one iteration of the loop over layers: more compile longer and may run faster."""

    def __post_init__(self):
        check_how(self.dtype, self.param_dtype, self.remat, self.attention, self.unroll)

    @property
    def is_absent(self) -> bool:
        """Whether the recipe has no model, as in a study in which every arm has a base of its own."""
        return self.init == "pretrained" and not self.path


def open_model(
    config: ModelConfig, mesh: Mesh | None, key: jax.Array | None = None
) -> tuple[Model, dict[str, Any]]:
    """The model of `config` and its parameters, each made or loaded where it lives on `mesh`.

    Raises:
      ValueError: the settings contradict each other, the folder is not usable, or the weights do not fit.
      MemoryError: as `check_weights_room`.
    """
    if config.init == "random":
        if config.path or key is None:
            raise UserError(
                f"model.init='random' needs path='' (got {config.path!r}) and a random key."
            )
        model = make_model(config, architecture_from_hf(config.architecture))
        check_weights_room(model, mesh)
        return model, init_params(model, key, mesh)
    folder, model = _pretrained(config)
    check_weights_room(model, mesh)
    return model, load_params(folder, model, mesh)


def check_weights_room(model: Model, mesh: Mesh | None) -> None:
    """Refuses weights that the host has no memory for.

    Raises:
      MemoryError: as `check_room`.
    """
    shapes = abstract_params(model)
    on_each = bytes_on_device(abstract_arrays(shapes, _placed(shapes, model, mesh)))
    num_devices = 1 if mesh is None else len(mesh.local_devices)
    check_room(on_each * num_devices, "the model's weights")


def _placed(shapes: Any, model: Model, mesh: Mesh | None) -> Any:
    single = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda _: single, shapes) if mesh is None else param_shardings(model, mesh)


def open_reader(config: ModelConfig, mesh: Mesh | None) -> tuple[Model, Callable[..., jax.Array]]:
    """The model of `config`, which must be pretrained, and a function that reads each parameter by its path.

    Raises:
      ValueError: as `open_model`; that a tensor cannot be read shows when it is read.
    """
    if config.init == "random":
        raise UserError(
            "model.init='random': expected 'pretrained', a model that has been trained."
        )
    folder, model = _pretrained(config)
    check_weights(folder)
    return model, open_params(folder, model, mesh)


def _pretrained(config: ModelConfig) -> tuple[epath.Path, Model]:
    if config.init != "pretrained":
        raise UserError(f"model.init={config.init!r}: expected 'pretrained' or 'random'.")
    if config.architecture:
        raise UserError(
            "model.architecture: only for init='random'; a pretrained folder has its own."
        )
    folder = resolve(config.path)
    _LOG.info("loading the weights of %s", folder)
    return folder, make_model(config, read_architecture(folder))


def static_model(config: ModelConfig) -> Model:
    """The static description that `open_model` would give, without its parameters.

    Raises:
      ValueError: as `open_model`.
    """
    if config.init == "random":
        return make_model(config, architecture_from_hf(config.architecture))
    return make_model(config, read_architecture(resolve(config.path)))


def make_model(config: ModelConfig, architecture: Architecture) -> Model:
    """The static model of an architecture, run as `config` says."""
    return Model(
        architecture=architecture,
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        remat=config.remat,
        attention=config.attention,
        unroll=config.unroll,
    )


def resolve(path: str, weights: bool = True) -> epath.Path:
    """The folder of a model: `path` itself if it is one, else the hub's files for that name, downloaded.

    Args:
      path: a folder or a hub name.
      weights: whether the weights are needed; else they are not downloaded.

    Raises:
      UserError: neither a folder nor a name that the hub (or its local cache) has, or a model of
        another family that brings code (`auto_map`): refused before anything else of it is loaded.
    """
    folder = epath.Path(path).expanduser()
    if not path or not folder.is_dir():
        folder = _download(path, _DOWNLOADED if weights else _SETTINGS)
    file = folder / "config.json"
    config = read_settings(file) if file.exists() else {}
    if "auto_map" in config:
        try:
            check_family(config)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return folder


def _download(path: str, files: tuple[str, ...]) -> epath.Path:
    # It brings in a client of HTTP, which a folder on the disk does not need.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise UserError(f"the model {path!r}: no such folder, and not a hub name (owner/model).")
    try:
        folder = huggingface_hub.snapshot_download(
            path, allow_patterns=list(files), ignore_patterns=list(_NOT_DOWNLOADED)
        )
        return epath.Path(folder)
    except (OSError, HFValidationError, HfHubHTTPError) as error:
        told = (
            f"the model {path!r}: no such folder here, and the Hugging Face hub did not give it: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}. "
            "Give the path of a downloaded folder, or check the name and the connection."
        )
        raise hub_error(told, error) from error


def _instead(folder: epath.Path) -> str:
    """Says what to give in place of a folder that is no model's: its model if it is a run's, or a run's checkpoints."""
    for model in (folder / "model", folder.parent / "model"):
        if (model / "config.json").exists():
            return f"the run's is {model}"
    return "expected a Hugging Face folder"


def read_architecture(folder: epath.Path) -> Architecture:
    """The architecture of a folder's config.json.

    Raises:
      ValueError: no config.json, an adapter's folder, or settings that cannot be honoured.
    """
    file = epath.Path(folder) / "config.json"
    if (file.parent / ADAPTER).exists():
        raise UserError(
            f"{folder}: {ADAPTER} makes it an adapter (LoRA), which transformers would apply to another model; "
            f"expected whole weights. Merge it into its model (peft's merge_and_unload), or remove {ADAPTER} if that "
            "is done."
        )
    config = read_settings(file) if file.exists() else None
    if config is None or "model_type" not in config:
        lacks = "no config.json" if config is None else "no model_type in its config.json"
        raise UserError(f"{folder}: {lacks}, so no model folder; {_instead(folder)}.")
    try:
        return architecture_from_hf(config)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # of another type than known
        raise UserError(f"{file}: {error}") from error


def load_params(folder: str | epath.Path, model: Model, mesh: Mesh | None) -> dict[str, Any]:
    """Parameters of a folder, every device's part read straight to it, in the model's param_dtype.

    Where an export has left checksums.json beside the weights, all of their bytes are compared first.

    Raises:
      LoadError: one of the five kinds in `safetensors_reader`, with the key.
      UserError: a file that is missing, damaged or not as it was exported.
    """
    folder = epath.Path(folder)
    check_weights(folder)
    read, before = open_params(folder, model, mesh), None

    def read_next(path: tuple, _: Any) -> jax.Array:
        nonlocal before
        before = read(path, before)
        return before

    return jax.tree_util.tree_map_with_path(read_next, abstract_params(model))


def open_params(
    folder: str | epath.Path, model: Model, mesh: Mesh | None
) -> Callable[..., jax.Array]:
    """Reads parameters of a folder one at a time, by their path in the tree; the headers of all files are read now.

    The function that is returned also takes arrays that must be ready before the new one goes to the devices, for
    example the parameter before it: one is read from the disk while another is on its way, and no third is there. With
    the number of a layer it reads a stacked parameter's part of that layer; several threads may read at a time.

    Raises:
      UserError: as `load_params`, but that checksums are not looked at.
    """
    shapes = abstract_params(model)
    shardings = _placed(shapes, model, mesh)
    sources = find_sources(epath.Path(folder), weight_shapes(shapes))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    wanted = {
        dotted(path): (shape, sharding)
        for (path, shape), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True)
    }

    def read(path: tuple, before: Any = None, layer: int | None = None) -> jax.Array:
        name = dotted(path)
        shape, sharding = wanted[name]
        if layer is not None:
            shape = jax.ShapeDtypeStruct(shape.shape[1:], shape.dtype)
            return _load_param([sources[name, layer]], False, shape, unstacked(sharding), before)
        stacked = name.startswith("layers.")
        layers = range(shape.shape[0]) if stacked else range(1)
        found = [sources[name, layer] for layer in layers]
        return _load_param(found, stacked, shape, sharding, before)

    return read


def _load_param(
    sources: list[Source],
    stacked: bool,
    shape: jax.ShapeDtypeStruct,
    sharding: Sharding,
    before: Any,
) -> jax.Array:
    """Reads each distinct part of a parameter once, and puts it on the devices that hold it when `before` is ready."""
    places = {  # (start, stop) of every dim, since slices cannot be keys before Python 3.12
        device: tuple(s.indices(size)[:2] for s, size in zip(index, shape.shape, strict=True))
        for device, index in sharding.addressable_devices_indices_map(shape.shape).items()
    }
    parts = {
        bounds: np.empty([b - a for a, b in bounds], shape.dtype) for bounds in places.values()
    }

    def read(layer: int) -> None:
        with sources[layer].file.turn, short_turns():
            check_running("reading weights")
            for bounds, part in parts.items():
                index = tuple(slice(*pair) for pair in bounds)
                if not stacked:
                    copy_into(part, sources[layer].read(index))
                elif bounds[0][0] <= layer < bounds[0][1]:
                    copy_into(part[layer - bounds[0][0]], sources[layer].read(index[1:]))

    if len(sources) == 1:
        read(0)
    else:
        with ThreadPoolExecutor(_threads(sources)) as pool:
            list(pool.map(read, range(len(sources))))
    jax.block_until_ready(before)
    arrays = [jax.device_put(parts[bounds], device) for device, bounds in places.items()]
    return jax.make_array_from_single_device_arrays(shape.shape, sharding, arrays)


def _threads(sources: list[Source]) -> int:
    """How many layers are read at a time: a file behind a network keeps one tensor in memory, for all of its parts."""
    local = all(isinstance(source.file, LocalFile) for source in sources)
    return min(len(sources), os.cpu_count() or 1, _MOST_THREADS) if local else 1


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded: its name, its settings, and the function that loads it.

    Attributes:
      name: for readers.
      config: how it is run.
      identity: what its results depend on: a hash of its weights.
      load: gives the network, run as it is told, and its parameters on the mesh.
      folder: the Hugging Face folder or hub name that it is loaded from; None of any other model.
    """

    name: str
    config: ModelConfig
    identity: dict[str, Any]
    load: Callable[[ModelConfig], tuple[Model, Any]]
    folder: str | None = None

    @classmethod
    def of_folder(cls, config: ModelConfig, mesh: Mesh) -> "ModelSource":
        """The Hugging Face folder or hub name of a recipe; every process must call it.

        Raises:
          UserError: there is no such model, or its weights are not as they were exported.
        """
        identity = verified_identity(resolve(config.path))
        load = lambda how: open_model(how, mesh)  # noqa: E731
        return cls(config.path, config, identity, load, config.path)

    def architecture(self) -> Architecture:
        """The architecture of the model; no weight is read.

        Raises:
          UserError: the settings are missing, or cannot be honoured.
        """
        if self.config.init == "random":
            return architecture_from_hf(self.config.architecture)
        return read_architecture(resolve(self.config.path))

    def open(self, **changes: Any) -> tuple[Model, Any]:
        """The network and its parameters; `changes` are of fields of `config` that change no number."""
        return self.load(replace(self.config, **changes))


def check_loadable(folder: epath.PathLike, model: Model) -> None:
    """Whether the files of a folder are whole and hold every weight of the model in its shape; no weight is read.

    Raises:
      UserError: with the file and the tensor.
    """
    find_sources(epath.Path(folder), weight_shapes(abstract_params(model)))
