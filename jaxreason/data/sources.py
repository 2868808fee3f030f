"""SOURCES: the sources of rows, as functions of a DatasetConfig. Large libraries are loaded on use."""

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from etils import epath

from jaxreason.config import nearest
from jaxreason.data.file_rows import read_files
from jaxreason.data.rows import DatasetConfig, SourceRow, no_split, python_value, source_options
from jaxreason.errors import UserError, hub_error

# File suffix -> the builder of `datasets` that reads it.
_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the SyntaxWarnings that compiling it (reasoning_gym's cellpylib) may print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return importlib.import_module(name)


def _library(name: str, config: DatasetConfig) -> ModuleType:
    try:
        return import_quietly(name)
    except ImportError as error:
        raise UserError(
            f"{config.label}: this source needs the package {name} ({error})."
        ) from error


def _rows(name: str, items: Iterable[dict[str, Any]]) -> Iterator[SourceRow]:
    return (
        SourceRow(name, number, python_value(item)) for number, item in enumerate(items, start=1)
    )


def read_huggingface(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields rows of a dataset on the Hugging Face Hub, of a local copy, or of one made by `save_to_disk`.

    Options: `name` of the subset (GSM8K: main) and `revision`, for the hub; `files`, names of files of the dataset,
    comma-separated and all of one kind. With `files`, only these are read, directly. A dataset that needs a program of
    its own, or whose parts have different columns, can thus be read without that program.

    Raises:
      UserError: the hub cannot be reached, or the dataset or its split does not exist, is damaged, or needs a program
        of its own, which is never run.
    """
    options = source_options(config, ("name", "revision", "files"))
    datasets = _library("datasets", config)
    if not config.split and not _is_saved_dataset(config.path):
        raise UserError(f"{config.label}: split is empty; expected one such as 'train' or 'test'.")
    try:
        dataset = _open_huggingface(datasets, config, options)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(f"{config.label}: {error} {_LOCAL_HINT}") from error
    except ConnectionError as error:
        told = (
            f"{config.label}: the Hugging Face Hub could not be reached, and {config.path!r} "
            f"is not in the local cache ({error}). {_LOCAL_HINT}"
        )
        raise hub_error(told, error) from error
    # A folder's contents may be damaged in any way; programs in it (RuntimeError) are not run.
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        reason = f": {str(error.__cause__)[:300]}" if error.__cause__ else ""
        raise hub_error(f"{config.label}: {error}{reason}", error) from error
    yield from _rows(config.label, dataset)


_LOCAL_HINT = "A local folder or file of the dataset can be given as path instead."


def _is_saved_dataset(path: str) -> bool:
    return (epath.Path(path).expanduser() / "state.json").exists()


def _open_huggingface(datasets: ModuleType, config: DatasetConfig, options: dict[str, Any]) -> Any:
    path = epath.Path(config.path).expanduser()
    if names := options.pop("files", None):
        revision = f"@{options['revision']}" if "revision" in options else ""
        root = path if path.is_dir() else f"hf://datasets/{config.path}{revision}"
        found = [f"{root}/{name.strip()}" for name in str(names).split(",")]
        return datasets.load_dataset(
            _builder(found[0]), data_files={config.split: found}, split=config.split
        )
    if path.is_file():
        return datasets.load_dataset(
            _builder(str(path)), data_files=str(path), split=config.split, **options
        )
    if _is_saved_dataset(config.path):
        return _without_split(datasets.load_from_disk(str(path)), config)
    if (path / "dataset_dict.json").exists():
        return _pick_split(datasets.load_from_disk(str(path)), config)
    name = str(path) if path.is_dir() else config.path
    return datasets.load_dataset(name, split=config.split, **options)


def _builder(file: str) -> str:
    suffix = epath.Path(file).suffix
    if suffix not in _BUILDERS:
        raise UserError(f"cannot read {suffix!r}; expected {', '.join(_BUILDERS)}.")
    return _BUILDERS[suffix]


def _without_split(dataset: Any, config: DatasetConfig) -> Any:
    if config.split:
        raise UserError(
            f"split {config.split!r}: this folder holds one split only; leave it empty."
        )
    return dataset


def _pick_split(splits: Any, config: DatasetConfig) -> Any:
    if config.split not in splits:
        there = ", ".join(splits)
        raise UserError(f"no split {config.split!r}; found: {there}{nearest(config.split, splits)}")
    return splits[config.split]


def read_tfds(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields rows of a TFDS dataset stored as ArrayRecord; TensorFlow is not needed.

    `path` is the folder of a version of the dataset, or its name (`name/config:version`). Options: `data_dir`, the
    folder of prepared datasets; `download`, 1 to download and prepare a missing one.

    Raises:
      ValueError: the dataset or split does not exist, or is stored in another format.
    """
    options = source_options(config, ("data_dir", "download"))
    tfds = _library("tensorflow_datasets", config)
    if not config.split:
        raise UserError(f"{config.label}: split is empty; expected one such as 'train' or 'test'.")
    with _as_value_error(config):
        builder = _tfds_builder(tfds, config, options)
        if options.get("download"):
            builder.download_and_prepare()
        _check_prepared(builder)
        source = builder.as_data_source(split=config.split)
    yield from _rows(config.label, (source[index] for index in range(len(source))))


def _check_prepared(builder: Any) -> None:
    """Raises short errors for two problems that tfds itself reports at length, or as a KeyError."""
    if not builder.info.splits:
        hint = "options.download=1 fetches and prepares it"
        raise UserError(f"no prepared dataset in {builder.data_dir}; {hint}.")
    stored = builder.info.file_format.value
    if stored != "array_record":
        raise UserError(
            f"{builder.data_dir} holds {stored} files, which TensorFlow alone can read; prepare it "
            "with file_format='array_record', or convert it with `tfds convert_format`."
        )


@contextlib.contextmanager
def _as_value_error(config: DatasetConfig) -> Iterator[None]:
    try:
        yield
    except (AssertionError, OSError, ValueError, TypeError) as error:
        # tfds continues with the list of all its datasets.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        kept = [lines[0], *(line for line in lines[1:] if line.startswith("Did you mean"))]
        raise UserError(f"{config.label}: {' '.join(kept)}") from error


def _tfds_builder(tfds: ModuleType, config: DatasetConfig, options: dict[str, Any]) -> Any:
    folder = epath.Path(config.path).expanduser()
    if (folder / "dataset_info.json").exists():
        return tfds.builder_from_directory(folder)
    if folder.is_absolute() or config.path.startswith((".", "~")):
        raise UserError(f"no dataset_info.json in {folder}: not the folder of a dataset's version.")
    where = {"data_dir": options["data_dir"]} if "data_dir" in options else {}
    return tfds.builder(config.path, file_format="array_record", **where)


def read_reasoning_gym(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields questions of the reasoning_gym task named by `path`, made with the config's seed.

    Columns: `question`, `answer`, `metadata`, and the entries of the metadata by their own names. Options: `size`, the
    number of questions, and the fields of the task's own configuration.

    Raises:
      ValueError: for an unknown task, or an option or value that the task does not have.
    """
    no_split(config)
    gym = _library("reasoning_gym", config)
    if config.path not in gym.factory.DATASETS:
        hint = nearest(config.path, gym.factory.DATASETS)
        raise UserError(f"{config.label}: reasoning_gym has no task {config.path!r}{hint}")
    fields = gym.factory.DATASETS[config.path][1].__dataclass_fields__
    options = source_options(config, tuple(name for name in fields if name != "seed"))
    if "size" not in options:
        raise UserError(f"{config.label}: options.size is missing: how many questions to make.")
    with _as_value_error(config):
        dataset = gym.create_dataset(config.path, seed=config.seed, **options)
    name = f"{config.path}.seed{config.seed}"
    yield from _rows(name, (item["metadata"] | item for item in dataset))


SOURCES: dict[str, Callable[[DatasetConfig], Iterator[SourceRow]]] = {
    "file": read_files,
    "huggingface": read_huggingface,
    "tfds": read_tfds,
    "reasoning_gym": read_reasoning_gym,
}
