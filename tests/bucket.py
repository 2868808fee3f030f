"""A bucket that lives in memory: whole objects alone, no folders, nothing is appended to or renamed.

`Bucket` is what `etils.epath` opens `gs://` paths with in a test. `object_store.served` gives the same objects over
HTTP, so that Orbax writes its arrays there as well. It is stricter than a real bucket's client, which copies and
deletes where it is asked to rename.
"""

import fnmatch
import io
import os
import posixpath
import re
import threading
import time
from collections.abc import Callable

from etils.epath import gpath, stat_utils
from etils.epath.backend import Backend

QUIET_SECONDS = 0.5


class Killed(BaseException):
    """As after SIGKILL: nothing that the code does from now on reaches the bucket."""


class _Object(io.BytesIO):
    """Is in the bucket when it is closed, and not before."""

    def __init__(self, bucket: "Bucket", name: str):
        super().__init__()
        self._bucket, self._name = bucket, name

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._bucket.put(self._name, data)


class Bucket(Backend):
    """Objects by name (`bucket/folder/name`).

    Attributes:
      objects: what is there.
      generations, times: of what is there, those of the last change.
      requests: all requests over HTTP, as "GET /path?query", in order.
      refused: those for what a bucket has not.
      changes: names of objects as they were written and removed (`-name`), in order.
      dies: told the name of each change before it is made; from the first True on every change raises `Killed`.
    """

    def __init__(self):
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.times: dict[str, float] = {}
        self.pieces: dict[str, bytearray] = {}
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.changes: list[str] = []
        self.dies: Callable[[str], bool] = lambda _: False
        self._dead = False
        self._attempts = 0
        self._lock = threading.RLock()

    def _change(self, name: str) -> None:
        self._attempts += 1
        self._dead = self._dead or self.dies(name)
        if self._dead:
            raise Killed(name)
        self.changes.append(name)

    def put(self, name: str, data: bytes) -> None:
        with self._lock:
            self._change(name)
            self.objects[name] = bytes(data)
            self.generations[name] = len(self.changes)
            self.times[name] = time.time()

    def put_if(self, name: str, data: bytes, generation: int | None) -> bool:
        """Writes it if the object is of this generation (0: if there is none; None: in any case)."""
        with self._lock:
            now = self.generations.get(name, 1) if name in self.objects else 0
            if generation is not None and generation != now:
                return False
            self.put(name, data)
            return True

    def delete(self, name: str) -> None:
        with self._lock:
            if name not in self.objects:
                raise FileNotFoundError(name)
            self._change(f"-{name}")
            del self.objects[name]

    def die_after(self, changes: int) -> None:
        """Makes so many changes more, and none after them."""
        end = len(self.changes) + changes
        self.dies = lambda _: len(self.changes) >= end

    def die_at(self, pattern: str, count: int) -> None:
        """Dies as an object of such a name is written (`-name`: removed) for the `count`-th time from now on."""
        left = [count]

        def dies(name: str) -> bool:
            left[0] -= fnmatch.fnmatch(name, pattern)
            return left[0] == 0

        self.dies = dies

    def revive(self) -> None:
        """As when the machine is there again, and no thread of what ran before is."""
        seen = -1
        while seen != self._attempts:
            seen = self._attempts
            time.sleep(QUIET_SECONDS)
        self._dead, self.dies = False, lambda _: False

    def names(self, pattern: str = "*") -> list[str]:
        return sorted(fnmatch.filter(self.objects, pattern))

    def _below(self, path) -> list[str]:
        return [name for name in list(self.objects) if name.startswith(f"{_name(path)}/")]

    # What epath asks for.

    def open(self, path, mode):
        name = _name(path)
        if "a" in mode:
            raise AssertionError(f"appends to {path}")
        if "w" in mode:
            raw = _Object(self, name)
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8", newline="")
        if name not in self.objects:
            raise FileNotFoundError(2, "No such object", str(path))
        raw = io.BytesIO(self.objects[name])
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

    def exists(self, path):
        return _name(path) in self.objects or self.isdir(path)

    def isdir(self, path):
        return bool(self._below(path))

    def listdir(self, path):
        start = len(_name(path)) + 1
        found = sorted({name[start:].split("/")[0] for name in self._below(path)})
        if not found:
            raise FileNotFoundError(2, "No such folder", str(path))
        return found

    def glob(self, path):
        pattern = re.compile(fnmatch.translate(_name(path)).replace(".*", "[^/]*"))
        prefixes = {
            "/".join(name.split("/")[: n + 1])
            for name in list(self.objects)
            for n in range(name.count("/") + 1)
        }
        return sorted(f"gs://{name}" for name in prefixes if pattern.fullmatch(name))

    def walk(self, top, *, top_down=True, on_error=None):
        names = self.listdir(top)
        folders = [name for name in names if self.isdir(posixpath.join(os.fspath(top), name))]
        yield top, folders, [name for name in names if name not in folders]
        for name in folders:
            yield from self.walk(posixpath.join(os.fspath(top), name))

    def makedirs(self, path, *, exist_ok=False, mode=None):
        if not exist_ok and self.exists(path):
            raise FileExistsError(path)

    mkdir = makedirs

    def rmtree(self, path):
        names = self._below(path)
        if not names:
            raise FileNotFoundError(path)
        for name in names:
            self.delete(name)

    def remove(self, path):
        self.delete(_name(path))

    def rename(self, path, dst):
        raise AssertionError(f"renames {path} to {dst}")

    replace = rename

    def copy(self, path, dst, overwrite):
        assert not os.fspath(dst).startswith("gs://"), f"copies within the bucket: {path} to {dst}"
        if not overwrite and os.path.exists(dst):
            raise FileExistsError(dst)
        with open(dst, "wb") as file:
            file.write(self.objects[_name(path)])

    def stat(self, path):
        name = _name(path)
        if not self.exists(path):
            raise FileNotFoundError(path)
        length = len(self.objects.get(name, b""))
        return stat_utils.StatResult(
            is_directory=name not in self.objects,
            length=length,
            mtime=0,
            owner=None,
            group=None,
            mode=None,
        )


def _name(path) -> str:
    return os.fspath(path).removeprefix("gs://").rstrip("/")


def use(monkeypatch) -> Bucket:
    """A new bucket that `gs://` paths open until the test ends."""
    bucket = Bucket()
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", bucket)
    return bucket
