"""A bucket that lives in memory: whole objects alone, no folders, nothing is appended to or renamed.

`Bucket` is what `etils.epath` opens `gs://` paths with in a test. `served` gives the same objects over HTTP as Google's
JSON interface does, as far as tensorstore asks for it, so that Orbax writes its arrays there as well. It is stricter
than a real bucket's client, which copies and deletes where it is asked to rename.
"""

import contextlib
import fnmatch
import http.server
import io
import json
import os
import posixpath
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

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
      changes: names of objects as they were written and removed (`-name`), in order.
      dies: told the name of each change before it is made; from the first True on every change raises `Killed`.
    """

    def __init__(self):
        self.objects: dict[str, bytes] = {}
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


@contextlib.contextmanager
def served(bucket: Bucket) -> Iterator[str]:
    """The address at which the objects are served as Google's JSON interface does."""
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Reads, lists, writes and removes objects; generations are of the kind that is not looked at."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *_):
        """Says nothing."""

    def _asked(self) -> tuple[str, str | None, dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        found = re.fullmatch(r"(?:/upload)?/storage/v1/b/([^/]+)/o(?:/(.+))?", parts.path)
        name = urllib.parse.unquote(found[2]) if found[2] else None
        return found[1], name, dict(urllib.parse.parse_qsl(parts.query))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _about(self, bucket: str, name: str) -> dict[str, str]:
        size = len(self.bucket.objects.get(f"{bucket}/{name}", b""))
        about = {"kind": "storage#object", "name": name, "bucket": bucket, "size": str(size)}
        return about | {"generation": "1", "metageneration": "1", "updated": "2026-01-01T00:00:00Z"}

    def do_GET(self):
        bucket, name, query = self._asked()
        if name is None:
            start = f"{bucket}/{query.get('prefix', '')}"
            found = [n for n in self.bucket.names() if n.startswith(start)]
            items = [self._about(bucket, n.split("/", 1)[1]) for n in found]
            return self._answer(
                200, json.dumps({"kind": "storage#objects", "items": items}).encode()
            )
        data = self.bucket.objects.get(f"{bucket}/{name}")
        if data is None:
            return self._answer(404, b"{}")
        if query.get("alt") != "media":
            return self._answer(200, json.dumps(self._about(bucket, name)).encode())
        first, last = 0, len(data) - 1
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self._answer(200, data, x_goog_generation="1")
        if wanted[1]:
            first, last = int(wanted[1]), min(int(wanted[2] or last), last)
        else:
            first = max(len(data) - int(wanted[2]), 0)
        ends = f"bytes {first}-{last}/{len(data)}"
        self._answer(206, data[first : last + 1], x_goog_generation="1", Content_Range=ends)

    def do_POST(self):
        bucket, _, query = self._asked()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.bucket.put(f"{bucket}/{query['name']}", data)
        except Killed:
            return self._answer(403, b"{}")
        self._answer(200, json.dumps(self._about(bucket, query["name"])).encode())

    def do_DELETE(self):
        bucket, name, _ = self._asked()
        try:
            self.bucket.delete(f"{bucket}/{name}")
        except FileNotFoundError:
            return self._answer(404, b"{}")
        self._answer(204, b"")
