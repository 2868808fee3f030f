"""A bucket over HTTP as Google's and Amazon's interfaces have it, for the clients that are used on a real one.

Objects are whole, are written under a condition where one is asked for, and cannot be appended to, copied or renamed:
what asks for that gets an error, and is noted in `Bucket.refused`. No credentials are looked at.
"""

import contextlib
import email
import email.policy
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from xml.sax.saxutils import escape

import bucket
import pytest
from etils import epath

from jaxreason.results import buckets

EARLIEST = 1  # generation of an object that was put here without one


@contextlib.contextmanager
def served(store: "bucket.Bucket") -> Iterator[str]:
    """The address at which the objects are served: Google's paths begin with words that no bucket here has."""
    handler = type("Handler", (_Handler,), {"store": store, "uploads": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def google(address: str) -> dict[str, str]:
    """Environment variables with which gcsfs and tensorstore find it."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would ask another service for the kind of bucket
    }


def amazon(address: str) -> dict[str, str]:
    """Environment variables with which s3fs and tensorstore find it."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


CLIENTS = {"gs": "gcsfs", "s3": "s3fs"}


@contextlib.contextmanager
def opened(monkeypatch: pytest.MonkeyPatch, scheme: str) -> Iterator["bucket.Bucket"]:
    """A new bucket that paths of this scheme open until the test ends, with the client that is used on a real one."""
    pytest.importorskip(CLIENTS[scheme])
    held, path = bucket.Bucket(), epath.Path(f"{scheme}://bucket")
    with served(held) as address:
        found = google(address) if scheme == "gs" else amazon(address)
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        buckets.check_path(path)
        epath.backend.fsspec_backend._get_filesystem.cache_clear()
        buckets._store(path).clear_instance_cache()  # the server of another test was elsewhere
        yield held


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an answer of two pieces takes 40 ms
    store: "bucket.Bucket"
    uploads: dict[str, str]

    def log_message(self, *_):
        """Says nothing."""

    def handle(self):
        with contextlib.suppress(ConnectionError):  # a client that was killed, or does not wait
            super().handle()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            return _unchunked(self.rfile)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            return _without_sizes(data)
        return data

    def _handle(self) -> None:
        self._data = self._body()
        self.store.requests.append(f"{self.command} {self.path}")
        parts = urllib.parse.urlsplit(self.path)
        self._query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        interface = (
            _Google if re.match("/(storage|upload|download|batch)/", parts.path) else _Amazon
        )
        try:
            interface(self).handle(parts.path)
        except bucket.Killed:
            self._answer(403, b"{}")

    def __getattr__(self, name):
        if name.startswith("do_"):  # of every kind of request
            return self._handle
        raise AttributeError(name)

    def send(self, data: bytes, **headers: str) -> None:
        """The object, or the range of it that is asked for."""
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self._answer(200, data, **headers)
        first, last = 0, len(data) - 1
        if wanted[1]:
            first, last = int(wanted[1]), min(int(wanted[2] or last), last)
        else:
            first = max(len(data) - int(wanted[2]), 0)
        if first > last:
            return self._answer(416, b"", Content_Range=f"bytes */{len(data)}")
        ends = f"bytes {first}-{last}/{len(data)}"
        self._answer(206, data[first : last + 1], Content_Range=ends, **headers)


class _Google:
    def __init__(self, request: _Handler):
        self._request, self._store = request, request.store
        self._query, self._answer = request._query, request._answer

    def handle(self, path: str) -> None:
        if path.startswith("/batch/"):
            return self._batch()
        found = re.fullmatch(r"(?:/upload|/download)?/storage/v1/b/([^/]+)(/o(?:/(.+))?)?", path)
        if found is None:
            return self._refuse(path)
        where, name = found[1], urllib.parse.unquote(found[3] or "")
        work = {"GET": self._get, "DELETE": self._delete, "POST": self._post}
        if self._request.command not in work or "/rewriteTo/" in path or "/copyTo/" in path:
            return self._refuse(path)
        work[self._request.command](where, name, in_bucket=found[2] is not None)

    def _refuse(self, path: str) -> None:
        self._store.refused.append(f"{self._request.command} {path}")
        self._answer(501, b"{}")

    def _about(self, where: str, name: str) -> dict[str, str]:
        key = f"{where}/{name}"
        size = len(self._store.objects.get(key, b""))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._store.times.get(key, 0)))
        about = {"kind": "storage#object", "name": name, "bucket": where, "size": str(size)}
        generation = str(self._store.generations.get(key, EARLIEST))
        about |= {"generation": generation, "metageneration": "1", "etag": generation}
        return about | {"updated": f"{stamp}.000Z", "timeCreated": f"{stamp}.000Z"}

    def _get(self, where: str, name: str, in_bucket: bool) -> None:
        if not in_bucket:
            return self._json({"kind": "storage#bucket", "name": where})
        if not name:
            return self._list(where)
        data = self._store.objects.get(f"{where}/{name}")
        if data is None:
            return self._answer(404, b"{}")
        if self._query.get("alt") != "media":
            return self._json(self._about(where, name))
        generation = str(self._store.generations.get(f"{where}/{name}", EARLIEST))
        self._request.send(data, x_goog_generation=generation)

    def _json(self, value: dict) -> None:
        self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def _list(self, where: str) -> None:
        names, prefixes = _listed(self._store, where, self._query)
        items = [self._about(where, name) for name in names]
        found = {"kind": "storage#objects", "items": items, "prefixes": prefixes}
        self._json(found)

    def _delete(self, where: str, name: str, in_bucket: bool) -> None:
        try:
            self._store.delete(f"{where}/{name}")
        except FileNotFoundError:
            return self._answer(404, b"{}")
        self._answer(204)

    def _post(self, where: str, name: str, in_bucket: bool) -> None:
        data, kind = self._request._data, self._query.get("uploadType")
        if "upload_id" in self._query:
            return self._put()
        if kind == "resumable":
            about = json.loads(data or b"{}")
            upload = f"u{len(self._request.uploads)}"
            self._request.uploads[upload] = f"{where}/{self._query.get('name') or about['name']}"
            host = self._request.headers["Host"]
            location = f"http://{host}/upload/storage/v1/b/{where}/o?upload_id={upload}"
            condition = self._query.get("ifGenerationMatch")
            location += f"&ifGenerationMatch={condition}" if condition else ""
            return self._answer(200, b"{}", Location=location)
        if kind == "multipart":
            about, data = _parts_of(self._request.headers["Content-Type"], data)
            name = about["name"]
        self._write(f"{where}/{name or self._query['name']}", data)

    def _put(self) -> None:
        """A piece of an object, or its last: it is there with the last one."""
        key = self._request.uploads[self._query["upload_id"]]
        pieces = self._store.pieces.setdefault(self._query["upload_id"], bytearray())
        pieces += self._request._data
        if self._request.headers.get("Content-Range", "").endswith("/*"):
            return self._answer(308, b"", Range=f"bytes=0-{len(pieces) - 1}")
        self._write(key, bytes(pieces))

    def _write(self, key: str, data: bytes) -> None:
        condition = self._query.get("ifGenerationMatch")
        if not self._store.put_if(key, data, None if condition is None else int(condition)):
            return self._answer(412, b'{"error": {"message": "conditionNotMet", "code": 412}}')
        self._json(self._about(*key.split("/", 1)))

    def _batch(self) -> None:
        """Removals alone."""
        boundary = "answers"
        asked = re.findall(rb"Content-ID: (<[^>]+>)[^<]*?DELETE (\S+) HTTP", self._request._data)
        out = []
        for number, path in asked:
            found = re.fullmatch(r"/storage/v1/b/([^/]+)/o/([^?]+).*", path.decode())
            name = f"{found[1]}/{urllib.parse.unquote(found[2])}"
            try:
                self._store.delete(name)
                status = "204 No Content"
            except FileNotFoundError:
                status = "404 Not Found"
            number = number.decode().replace("<", "<response-")
            out.append(
                f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n"
            )
        body = ("".join(out) + f"--{boundary}--\r\n").encode()
        self._answer(200, body, Content_Type=f"multipart/mixed; boundary={boundary}")


class _Amazon:
    def __init__(self, request: _Handler):
        self._request, self._store = request, request.store
        self._query, self._answer = request._query, request._answer

    def handle(self, path: str) -> None:
        where, _, name = urllib.parse.unquote(path).lstrip("/").partition("/")
        key, command = f"{where}/{name}", self._request.command
        if self._request.headers.get("x-amz-copy-source") or self._query.keys() & {"uploads"}:
            self._store.refused.append(f"{command} {path}")
            return self._answer(501)
        if not name and command == "POST":
            return self._remove_many(where)
        if not name:
            return self._list(where) if command == "GET" else self._answer(200)
        if command == "PUT":
            return self._write(key)
        if command == "DELETE":
            with contextlib.suppress(FileNotFoundError):
                self._store.delete(key)
            return self._answer(204)
        data = self._store.objects.get(key)
        if data is None:
            return self._answer(404, _error("NoSuchKey"), Content_Type="application/xml")
        headers = {
            "ETag": self._tag(key),
            "Last_Modified": self._time(key, "%a, %d %b %Y %H:%M:%S GMT"),
        }
        if command == "HEAD":
            return self._answer(200, Content_Length=str(len(data)), **headers)
        self._request.send(data, **headers)

    def _tag(self, key: str) -> str:
        return f'"{hashlib.md5(self._store.objects[key]).hexdigest()}"'

    def _time(self, key: str, form: str) -> str:
        return time.strftime(form, time.gmtime(self._store.times.get(key, 0)))

    def _write(self, key: str) -> None:
        new = self._request.headers.get("If-None-Match") == "*"
        tag = self._request.headers.get("If-Match")
        if tag and (key not in self._store.objects or self._tag(key) != tag):
            return self._answer(412, _error("PreconditionFailed"))
        if not self._store.put_if(key, self._request._data, 0 if new else None):
            return self._answer(412, _error("PreconditionFailed"), Content_Type="application/xml")
        self._answer(200, ETag=self._tag(key))

    def _remove_many(self, where: str) -> None:
        for name in re.findall(rb"<Key>([^<]+)</Key>", self._request._data):
            with contextlib.suppress(FileNotFoundError):
                self._store.delete(f"{where}/{name.decode()}")
        self._answer(200, b"<DeleteResult></DeleteResult>", Content_Type="application/xml")

    def _list(self, where: str) -> None:
        names, prefixes = _listed(self._store, where, self._query)
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self._store.objects[f'{where}/{name}'])}</Size>"
            f"<ETag>{escape(self._tag(f'{where}/{name}'))}</ETag>"
            f"<LastModified>{self._time(f'{where}/{name}', '%Y-%m-%dT%H:%M:%S.000Z')}</LastModified></Contents>"
            for name in names
        )
        folders = "".join(
            f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in prefixes
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{where}</Name><Prefix>{escape(self._query.get('prefix', ''))}</Prefix>"
            f"<KeyCount>{len(names) + len(prefixes)}</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<IsTruncated>false</IsTruncated>{items}{folders}</ListBucketResult>"
        )
        self._answer(200, body.encode(), Content_Type="application/xml")


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def _listed(store: "bucket.Bucket", where: str, query: dict) -> tuple[list[str], list[str]]:
    """Names that begin with the prefix, and of those with a delimiter after it what comes up to that."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    names, prefixes = [], set()
    for name in (n.split("/", 1)[1] for n in store.names() if n.startswith(f"{where}/{prefix}")):
        rest = name[len(prefix) :]
        if delimiter and delimiter in rest:
            prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
        else:
            names.append(name)
    return names, sorted(prefixes)


def _parts_of(content_type: str, data: bytes) -> tuple[dict, bytes]:
    """The two parts of an upload: what the object is called, and the object."""
    whole = f"Content-Type: {content_type}\r\n\r\n".encode()
    boundary = email.message_from_bytes(whole, policy=email.policy.HTTP).get_boundary().encode()
    _, about, content, *_ = data.split(b"--" + boundary)
    content = content[content.index(b"\n\n" if b"\r\n\r\n" not in content[:200] else b"\r\n\r\n") :]
    content = content.removeprefix(b"\r\n\r\n").removeprefix(b"\n\n")
    return json.loads(about[about.index(b"{") :]), content.removesuffix(b"\n").removesuffix(b"\r")


def _unchunked(stream) -> bytes:
    data = b""
    while size := int(stream.readline().split(b";")[0], 16):
        data += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return data


def _without_sizes(data: bytes) -> bytes:
    """Of `aws-chunked` content the bytes alone."""
    found = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        found, data = found + data[:size], data[size + 2 :]
    return found
