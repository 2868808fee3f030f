"""Files that are written completely or not at all: text, bytes and JSON, as every stage writes and reads them."""

import contextlib
import glob
import json
import os
import pathlib
import re
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.buckets import read_whole, time_in_store
from jaxreason.results.lease import check_held
from jaxreason.results.process_life import lives, short_place

WHAT_TO_DO = "Put back a copy of it, or remove it to have it made again."
_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
}
_LEFTOVER = re.compile(r".+\.tmp-(?:([0-9a-f]{8})-)?(\d+)")  # Older versions wrote no place.
_TOLD_BY_RUST = re.compile(r"\(os error (\d+)\)")
_DAY = 86400.0  # In seconds. No write takes so long.


def absolute(path: epath.PathLike) -> epath.Path:
    """Returns the absolute path, which Orbax and sections with their own folder need; `gs://...` is absolute.

    With a `..` it is the path that the system opens: of `link/../run` the `run` beside the folder that is linked.
    """
    if is_remote(path):
        return epath.Path(path)
    climbs = os.pardir in os.fspath(path).split(os.sep)
    return epath.Path(os.path.realpath(path) if climbs else os.path.abspath(path))


def is_remote(path: epath.PathLike) -> bool:
    """Returns whether a path is on a bucket, where objects are written whole and cannot be appended to or renamed."""
    return "://" in os.fspath(path)


def is_taken(path: epath.PathLike) -> bool:
    """Returns whether something has this name; a link that leads nowhere does, although it does not `exist`."""
    return epath.Path(path).exists() or (not is_remote(path) and os.path.islink(path))


def size_of(path: epath.PathLike) -> int:
    """Returns the bytes of a file.

    `epath` also looks up the owner's name, which fails where this system does not know the owner: in a container with
    the folder of a user outside of it.
    """
    return epath.Path(path).stat().length if is_remote(path) else os.stat(path).st_size


def changed_at(path: epath.PathLike) -> int:
    """Returns when a file was written, in whole seconds since 1970; see `size_of`. `epath` does not know it on s3."""
    if not is_remote(path):
        return int(os.stat(path).st_mtime)
    told = time_in_store(epath.Path(path))
    return epath.Path(path).stat().mtime if told is None else int(told)


def atomic_write_text(path: epath.PathLike, text: str) -> None:
    """Writes a text in UTF-8 with `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: epath.PathLike, data: bytes) -> None:
    """Writes a whole file or none: under a temporary name beside it, synced to the disk, then renamed.

    First it removes what ended processes have left half-written in that folder. Objects of a bucket always appear
    whole.

    Raises:
      OSError: the disk is full, or the path cannot be written; the file is then unchanged.
      LeaseError: on a bucket, if another run has taken over the directory that this one held.
    """
    path = epath.Path(path)
    if is_remote(path):
        check_held()
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    # Hosts and containers that share the disk have processes of the same number.
    temporary = path.parent / f"{path.name}.tmp-{short_place()}-{os.getpid()}"
    try:
        with about(path), open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # Its errors have a number, epath's have none.
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove(path: epath.PathLike) -> None:
    """Removes a file, if it is there.

    Raises:
      LeaseError: as `atomic_write_bytes`.
    """
    if is_remote(path):
        check_held()
    epath.Path(path).unlink(missing_ok=True)


def remove_folder(path: epath.PathLike) -> None:
    """Removes a folder with all that is in it, if it is there.

    Raises:
      LeaseError: as `atomic_write_bytes`.
    """
    if is_remote(path):
        check_held()
    epath.Path(path).rmtree(missing_ok=True)


@contextlib.contextmanager
def about(path: epath.PathLike) -> Iterator[None]:
    """Adds the file's name to errors of the system: those of `write`, `flush` and `fsync` do not have it.

    Libraries in Rust tell such an error in words alone; it becomes an OSError too.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise
    except Exception as error:
        told = _TOLD_BY_RUST.search(str(error))
        if told is None:
            raise
        raise OSError(int(told[1]), os.strerror(int(told[1])), os.fspath(path)) from error


def copy_files(source: epath.PathLike, target: epath.Path) -> None:
    """Writes every file below a local folder to the same place below another folder, each one atomically.

    Raises:
      LeaseError: as `atomic_write_bytes`.
    """
    for path in pathlib.Path(source).rglob("*"):  # epath cannot walk a tree.
        if not path.is_dir():
            atomic_write_bytes(target / path.relative_to(source), path.read_bytes())


def glob_in(folder: epath.PathLike, pattern: str) -> list[epath.Path]:
    """Returns the paths below a folder that match a pattern, by name.

    `epath.Path.glob` reads the folder's name as a pattern, too: of `run[1]` it lists `run1`.
    """
    return sorted(epath.Path(glob.escape(os.fspath(folder))).glob(pattern))


def remove_others(folder: epath.Path, names: Collection[str]) -> None:
    """Removes the files of a folder that have none of these names."""
    for path in inside(folder):
        if path.name not in names:
            remove(path)


def inside(folder: epath.Path) -> list[epath.Path]:
    """Returns what is in a folder: nothing if there is none, since on a bucket an empty folder does not exist."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_leftovers(folder: epath.Path) -> None:
    for name in os.listdir(folder):
        found = _LEFTOVER.fullmatch(name)
        if found and _is_left(folder / name, found[1], int(found[2])):
            (folder / name).unlink(missing_ok=True)


def _is_left(temporary: epath.Path, place: str | None, process: int) -> bool:
    """Returns whether the writer of a temporary file has ended; of one on another host or in another container only the
    file's age tells.
    """
    if place in (None, short_place()):
        return not lives(process)
    with contextlib.suppress(FileNotFoundError):  # Renamed meanwhile.
        return time.time() - changed_at(temporary) > _DAY
    return False


def _sync_folder(folder: epath.Path) -> None:
    """Syncs the folder's new names to the disk too, so that a power cut cannot undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except (
        OSError
    ):  # Some network file systems cannot do this; the file's content has been synced in any case.
        pass
    finally:
        os.close(descriptor)


def write_json(path: epath.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: epath.PathLike, advice: str = WHAT_TO_DO) -> Any:
    """Returns the value in a JSON file; `advice` says what to do if it is broken.

    Raises:
      UserError: the file is empty, cut off, not UTF-8 or not JSON; the message names it.
    """
    return parse_json(read_whole(epath.Path(path)), str(path), advice)


def parse_json(data: bytes, source: str, advice: str = WHAT_TO_DO) -> Any:
    """Does what `read_json` does, for bytes already read; `source` names their file in messages."""
    text = _decode(data, source, advice)
    if not text.strip():
        raise UserError(f"{source}: the file is empty. {advice}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid JSON ({error}). {advice}") from error


def read_object(
    path: epath.PathLike, types: Mapping[str, type], advice: str = WHAT_TO_DO
) -> dict[str, Any]:
    """Returns the object in a JSON file, which must have values of these types under these keys.

    Raises:
      UserError: as `read_json`, or it is not such an object; the message names the file.
    """
    return check_object(read_json(path, advice), types, str(path), advice)


def check_object(
    value: Any, types: Mapping[str, type], source: str, advice: str = WHAT_TO_DO
) -> dict[str, Any]:
    """Does what `read_object` does, for a value already read; `source` names its file in messages."""
    if not isinstance(value, dict):
        raise UserError(f"{source}: expected an object, got {value!r:.80}. {advice}")
    for key, kind in types.items():
        if not isinstance(value.get(key), (int, float) if kind is float else kind):
            found = f"{value[key]!r:.80}" if key in value else "nothing"
            raise UserError(f"{source}, {key}: expected {_NAMES[kind]}, got {found}. {advice}")
    return value


def _decode(content: bytes, source: str, advice: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{source}, line {line}: not UTF-8 ({error}). {advice}") from error
