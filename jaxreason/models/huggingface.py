"""Hugging Face model folders to sharded parameters and back, streamed, with five distinct refusals.

Each process reads only the parts of tensors that its own devices hold, and never has more than one (stacked)
parameter's parts in memory. A folder that `save_model` has written is complete, or not there.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import huggingface_hub
import jax
import numpy as np
import safetensors.numpy
from etils import epath
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jax.experimental import multihost_utils
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from jaxreason.config import FREE, LEARNED, at_least
from jaxreason.errors import UserError
from jaxreason.models.checkpoint_reader import Source, find_sources
from jaxreason.models.decoder import (
    Architecture,
    Model,
    abstract_params,
    init_params,
    param_shardings,
)
from jaxreason.models.families import architecture_from_hf, check_family
from jaxreason.models.settings_files import CONFIG_FILE, read_copied, settings_files
from jaxreason.models.stop_tokens import with_stop_tokens
from jaxreason.models.weight_files import check_weights, read_settings
from jaxreason.models.weight_plan import StoredWeight, dotted, plan_files, weight_shapes
from jaxreason.results.card_scores import CARD_FILE
from jaxreason.results.checksums import CHECKSUMS_FILE, write_checksums
from jaxreason.results.files import atomic_write_bytes, is_remote
from jaxreason.results.hash_cache import hash_once
from jaxreason.results.lease import check_held

_LOG = logging.getLogger(__name__)

# README.md is the base's card, which names its license.
_SETTINGS = ("*.json", "*.jinja", "merges.txt", "tokenizer.model", "README.md")
TOLD_BY_SAFETENSORS = re.compile(r"\(os error (\d+)\)")
_DOWNLOADED = (*_SETTINGS, "*.safetensors")

ExportDtype = Literal["float32", "bfloat16", "float16"]  # of weights in an exported folder


@dataclass(frozen=True)
class ModelConfig:
    """Which model, and how it is run."""

    path: Annotated[str, FREE]
    """Hugging Face folder or hub name; "" when init is "random". Its weights are what a run is claimed by."""
    init: Annotated[Literal["pretrained", "random"], LEARNED] = "pretrained"
    """Whether weights are read ("pretrained") or drawn ("random")."""
    architecture: Annotated[dict[str, Any], LEARNED] = field(default_factory=dict)
    """Settings of a Hugging Face config.json; only when init is "random"."""
    dtype: Annotated[str, LEARNED] = "bfloat16"
    """In which the network computes."""
    param_dtype: Annotated[str, LEARNED] = "float32"
    """In which parameters are kept."""
    remat: Annotated[str, FREE] = "full"
    """Which activations are computed again in the backward pass: a key of `models.remat.REMAT`."""
    attention: Annotated[str, FREE] = "blockwise"
    """How attention is computed: a key of `models.attention.ATTENTION`."""
    unroll: Annotated[int, at_least(1), FREE] = 1
    """Layers of one iteration of the loop over layers: more compile longer and may run faster."""


def open_model(
    config: ModelConfig, mesh: Mesh | None, key: jax.Array | None = None
) -> tuple[Model, dict[str, Any]]:
    """The model of `config` and its parameters, each made or loaded where it lives on `mesh`.

    Raises:
      ValueError: the settings contradict each other, the folder is not usable, or the weights do not fit.
    """
    if config.init == "random":
        if config.path or key is None:
            raise UserError(
                f"model.init='random' needs path='' (got {config.path!r}) and a random key."
            )
        model = make_model(config, architecture_from_hf(config.architecture))
        return model, init_params(model, key, mesh)
    if config.init != "pretrained":
        raise UserError(f"model.init={config.init!r}: expected 'pretrained' or 'random'.")
    if config.architecture:
        raise UserError(
            "model.architecture: only for init='random'; a pretrained folder has its own."
        )
    folder = resolve(config.path)
    model = make_model(config, read_architecture(folder))
    _LOG.info("loading the weights of %s", folder)
    return model, load_params(folder, model, mesh)


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
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise UserError(f"model.path={path!r}: no such folder, and not a hub name (owner/model).")
    try:
        return epath.Path(huggingface_hub.snapshot_download(path, allow_patterns=list(files)))
    except (OSError, HFValidationError, HfHubHTTPError) as error:
        raise UserError(
            f"model.path={path!r}: no such folder here, and the Hugging Face hub did not give it: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}. "
            "Give the path of a downloaded folder, or check the name and the connection."
        ) from error


def read_architecture(folder: epath.Path) -> Architecture:
    """The architecture of a folder's config.json.

    Raises:
      ValueError: no config.json, or settings that cannot be honoured.
    """
    file = epath.Path(folder) / "config.json"
    if not file.exists():
        raise UserError(f"{folder}: no config.json, so not a (complete) model folder.")
    config = read_settings(file)
    try:
        return architecture_from_hf(config)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # of another type than known
        raise UserError(f"{file}: {error}") from error


def load_params(folder: str | epath.Path, model: Model, mesh: Mesh | None) -> dict[str, Any]:
    """Parameters of a folder, every device's part read straight to it, in the model's param_dtype.

    Where an export has left checksums.json beside the weights, all of their bytes are compared first.

    Raises:
      LoadError: one of the five kinds in `checkpoint_reader`, with the key.
      UserError: a file that is missing, damaged or not as it was exported.
    """
    folder = epath.Path(folder)
    check_weights(folder)
    read = open_params(folder, model, mesh)
    return jax.tree_util.tree_map_with_path(lambda path, _: read(path), abstract_params(model))


def open_params(
    folder: str | epath.Path, model: Model, mesh: Mesh | None
) -> Callable[[tuple], jax.Array]:
    """Reads parameters of a folder one at a time, by their path in the tree; the headers of all files are read now.

    Raises:
      UserError: as `load_params`, but that checksums are not looked at.
    """
    shapes = abstract_params(model)
    single = SingleDeviceSharding(jax.devices()[0])
    shardings = (
        jax.tree.map(lambda _: single, shapes) if mesh is None else param_shardings(model, mesh)
    )
    sources = find_sources(epath.Path(folder), weight_shapes(shapes))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    wanted = {
        dotted(path): (shape, sharding)
        for (path, shape), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True)
    }

    def read(path: tuple) -> jax.Array:
        name = dotted(path)
        shape, sharding = wanted[name]
        stacked = name.startswith("layers.")
        layers = range(shape.shape[0]) if stacked else range(1)
        return _load_param([sources[name, layer] for layer in layers], stacked, shape, sharding)

    return read


def _load_param(
    sources: list[Source], stacked: bool, shape: jax.ShapeDtypeStruct, sharding: Sharding
) -> jax.Array:
    """Reads each distinct part of a parameter once, and puts it on the devices that hold it."""
    places = {  # (start, stop) of every dim, since slices cannot be keys before Python 3.12
        device: tuple(s.indices(size)[:2] for s, size in zip(index, shape.shape, strict=True))
        for device, index in sharding.addressable_devices_indices_map(shape.shape).items()
    }
    parts = {
        bounds: np.empty([b - a for a, b in bounds], shape.dtype) for bounds in places.values()
    }
    for layer, source in enumerate(sources):
        for bounds, part in parts.items():
            index = tuple(slice(*pair) for pair in bounds)
            if not stacked:
                part[...] = source.read(index)
            elif bounds[0][0] <= layer < bounds[0][1]:
                part[layer - bounds[0][0]] = source.read(index[1:])
    arrays = [jax.device_put(parts[bounds], device) for device, bounds in places.items()]
    return jax.make_array_from_single_device_arrays(shape.shape, sharding, arrays)


def save_model(
    folder: str | epath.Path,
    model: Model,
    params: dict[str, Any],
    *,
    tokenizer_from: str | epath.Path | None,
    max_shard_bytes: int,
    dtype: str | None = None,
    stop_tokens: Mapping[int, str] | None = None,
    pad_token: tuple[int, str] | None = None,
    longest_reply: int | None = None,
    card: Callable[[], str] | None = None,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Writes a Hugging Face folder that transformers loads; every process must call it, process 0 writes.

    Weights pass through the host a shard file at a time. The folder appears whole: it is written under a
    temporary name and renamed (on a bucket, which cannot rename, config.json comes last).

    Args:
      folder: where to; a folder that is there is replaced.
      model: static description.
      params: parameters.
      tokenizer_from: model folder whose tokenizer, chat template and generation config are copied.
      max_shard_bytes: size of one file; a larger tensor gets a file of its own.
      dtype: of the stored weights; None keeps each as it is.
      stop_tokens: id and text of every token that ends a reply, that of the chat template first. They
        are written as end-of-sequence tokens, so that other programs stop where this one does; None
        leaves what `tokenizer_from` says.
      pad_token: with `stop_tokens`, as in `with_stop_tokens`.
      longest_reply: the same.
      card: makes the text of README.md, on process 0; None for none.
      between: called by every process before each file; it may raise, and there is then no (new) folder.

    Raises:
      ValueError: `tokenizer_from` has no tokenizer.
    """
    copied = read_copied(None if tokenizer_from is None else epath.Path(tokenizer_from))
    files = plan_files(model, params, max_shard_bytes, dtype)

    def rest() -> dict[str, bytes]:
        found = settings_files(model, copied, files, dtype)
        if stop_tokens:
            found = with_stop_tokens(found, stop_tokens, pad_token, longest_reply)
        if card is not None:
            found[CARD_FILE] = card().encode()
        return found

    write_folder(folder, files, lambda weight: weight.to_host(params, dtype), rest, between)


def write_folder(
    folder: str | epath.Path,
    files: Mapping[str, list[StoredWeight]],
    tensor: Callable[[StoredWeight], np.ndarray],
    rest: Callable[[], Mapping[str, bytes]],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Writes a model folder, whole or not at all, as `save_model`; every process must call it, process 0 writes.

    Args:
      folder: where to; a folder that is there is replaced.
      files: the tensors of each weight file.
      tensor: makes one of them, on every process.
      rest: name and content of each other file, on process 0.
      between: called by every process before each file.
    """
    folder = epath.Path(folder)
    remote = is_remote(folder)
    target = folder if remote else folder.parent / f"{folder.name}.incomplete"
    writes, hashes = jax.process_index() == 0, {}
    if writes:
        _empty(target)
    for name, tensors in files.items():
        between()
        arrays = {weight.key: tensor(weight) for weight in tensors}
        if writes:
            hashes[name] = _write_file(target / name, arrays)
    if writes:
        write_checksums(target / CHECKSUMS_FILE, hashes)
        _write_rest(target, rest())
        if not remote:
            _replace(target, folder)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"saved {folder}")


def _empty(folder: epath.Path) -> None:
    """An empty folder; what it held is first made unreadable as a model, since not all goes at once on a bucket."""
    check_held()
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    folder.rmtree(missing_ok=True)
    folder.mkdir(parents=True)


def _write_file(path: epath.Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Writes a safetensors file and returns its size and hash."""
    metadata = {"format": "pt"}  # transformers insists
    if is_remote(path):
        data = safetensors.numpy.save(arrays, metadata)
        atomic_write_bytes(path, data)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    try:
        safetensors.numpy.save_file(arrays, os.fspath(path), metadata)
    except safetensors.SafetensorError as error:  # it tells an error of the system in words alone
        told = TOLD_BY_SAFETENSORS.search(str(error))
        if told is None:
            raise
        raise OSError(int(told[1]), os.strerror(int(told[1])), os.fspath(path)) from error
    os.chmod(path, 0o644)  # the library makes it readable by its owner only
    return hash_once(path)


def _write_rest(folder: epath.Path, files: Mapping[str, bytes]) -> None:
    for name in sorted(files, key=lambda name: name == CONFIG_FILE):  # last: the folder is complete
        atomic_write_bytes(folder / name, files[name])


def _replace(new: epath.Path, folder: epath.Path) -> None:
    """Puts `new` in the place of `folder`; whoever looks finds the old one, none, or the new one."""
    old = folder.parent / f"{folder.name}.replaced"
    if old.exists():
        old.rmtree()
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    if old.exists():
        old.rmtree()
