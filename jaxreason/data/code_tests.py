"""Tests of programming problems as LiveCodeBench packs them: base64, zlib, a pickle, JSON.

A pickle can name any function for its reader to call. Here every name is refused, so only plain values remain, and only
a text is accepted.
"""

import base64
import binascii
import io
import json
import pickle
import zlib
from typing import Any

from jaxreason.data.rows import RowError

MOST_BYTES = 512 << 20  # Of one problem's tests, unpacked.
STDIN, FUNCTION = "stdin", "functional"

CodeTest = dict[str, str]  # With keys input, output and testtype.


class _NoClasses(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise RowError("unsafe tests", f"the pickle asks for {module}.{name}"[:100])


def all_tests(packed: dict[str, str | None]) -> list[CodeTest]:
    """Returns the tests of a problem, public ones first.

    Args:
      packed: `public`, a JSON text, and `private`, JSON or packed; either may be None or blank.

    Raises:
      RowError: a part cannot be read, is not a list of tests of one kind, or there are no tests.
    """
    public = _read("public tests", packed.get("public"))
    private = _read("private tests", packed.get("private"))
    tests = [_checked(test) for test in public + private]
    if not tests:
        raise RowError("no tests", "neither public nor private ones")
    kinds = {test["testtype"] for test in tests}
    if len(kinds) > 1:
        raise RowError("mixed tests", f"kinds {', '.join(sorted(kinds))} in one problem")
    return tests


def _read(what: str, text: str | None) -> list[Any]:
    if text is None or not text.strip():
        return []
    try:
        found = json.loads(text if text.lstrip()[:1] == "[" else unpack(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, RowError):
            raise
        raise RowError("unreadable tests", f"{what}: {error}"[:200]) from None
    if not isinstance(found, list):
        raise RowError("unreadable tests", f"{what}: expected a list, got {type(found).__name__}")
    return found


def unpack(text: str) -> str:
    """Returns the JSON text inside base64, zlib and a pickle.

    Raises:
      RowError: the text has a different format, names a class, or is larger than MOST_BYTES.
    """
    try:
        data = _inflate(base64.b64decode(text, validate=True))
        value = _NoClasses(io.BytesIO(data)).load()
    except RowError:
        raise
    except (binascii.Error, zlib.error) as error:
        raise RowError("unreadable tests", f"not base64 of zlib: {error}"[:200]) from None
    except Exception as error:  # A damaged pickle may raise any error.
        raise RowError("unreadable tests", f"no pickle of a text: {error!r}"[:200]) from None
    if not isinstance(value, str):
        raise RowError("unreadable tests", f"the pickle holds {type(value).__name__}, not a text")
    return value


def _inflate(data: bytes) -> bytes:
    reader = zlib.decompressobj()
    found = reader.decompress(data, MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise RowError("oversized tests", f"more than {MOST_BYTES >> 20} MiB unpacked")
    if not reader.eof:
        raise zlib.error("the data end too soon")
    return found


def _checked(test: Any) -> CodeTest:
    if not isinstance(test, dict):
        raise RowError("unreadable tests", f"a test is {type(test).__name__}, not an object")
    for name in ("input", "output", "testtype"):
        if not isinstance(test.get(name), str):
            raise RowError("unreadable tests", f"a test without the text {name!r}")
    if test["testtype"] not in (STDIN, FUNCTION):
        raise RowError("unreadable tests", f"testtype {test['testtype'][:40]!r}")
    return {name: test[name] for name in ("input", "output", "testtype")}
