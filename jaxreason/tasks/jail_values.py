"""Messages and plain values between a jail and the world outside. Reading them never runs code.

Values are None, booleans, numbers, texts, bytes, and lists, tuples, sets and dicts of them. An object of any other
class is never passed on, so no `__eq__` of a program is ever called.
"""

import json
import os
import struct
from typing import Any

_HEADER = struct.Struct(">I")
_PLAIN = (bool, int, float, str)


def to_plain(value: Any) -> Any:
    """Returns the value in a form that JSON can hold; kinds of values that JSON lacks become `{kind: ...}`.

    Raises:
      TypeError: for anything else.
      RecursionError: for a value that contains itself.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or type(value) in _PLAIN:
        return value
    for kind in _PLAIN[1:]:  # Another class that contains a plain value, such as an enum.
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    for name, kind in (("tuple", tuple), ("set", set), ("frozenset", frozenset)):
        if isinstance(value, kind):
            return {name: [to_plain(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    raise TypeError(f"no plain value: {type(value).__name__}")


def from_plain(held: Any) -> Any:
    """Returns the value that was given to `to_plain`.

    Raises:
      ValueError, TypeError: `to_plain` cannot have made this.
    """
    if isinstance(held, list):
        return [from_plain(item) for item in held]
    if not isinstance(held, dict):
        return held
    ((kind, inside),) = held.items()
    if kind == "complex":
        return complex(*inside)
    if kind == "bytes":
        return bytes.fromhex(inside)
    items = [from_plain(item) for item in inside]
    makers = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
    if kind not in makers:
        raise ValueError(f"no kind of value: {kind!r}")
    return makers[kind](items)


def dump(message: Any) -> bytes:
    """Returns a message as JSON; lone surrogates are kept."""
    return json.dumps(message).encode()


def frame(data: bytes) -> bytes:
    """Returns a message with its length in front."""
    return _HEADER.pack(len(data)) + data


def send(target: int, data: bytes) -> None:
    """Writes a frame to a blocking file descriptor."""
    view = memoryview(frame(data))
    while view:
        view = view[os.write(target, view) :]


def receive(source: int) -> bytes:
    """Returns the next frame of a blocking file descriptor. Raises EOFError at its end."""
    (length,) = _HEADER.unpack(_exactly(source, _HEADER.size))
    return _exactly(source, length)


def _exactly(source: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(source, min(length, 1 << 20))
        if not part:
            raise EOFError("the other side is gone")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class FrameReader:
    """Collects bytes as they arrive and returns whole frames.

    Args:
      longest: size of a frame in bytes above which ValueError is raised.
    """

    def __init__(self, longest: int):
        self.longest, self._bytes = longest, bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Returns the first frame once it is complete."""
        self._bytes += data
        if len(self._bytes) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack(self._bytes[: _HEADER.size])
        if length > self.longest:
            raise ValueError(f"a message of {length} bytes")
        end = _HEADER.size + length
        if len(self._bytes) < end:
            return None
        found = bytes(self._bytes[_HEADER.size : end])
        del self._bytes[:end]
        return found
