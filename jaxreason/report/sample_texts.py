"""Texts of replies as a page or a script can hold them, whatever a model wrote."""

import hashlib
import json
import re
from typing import Any


def as_script(value: Any) -> str:
    """JSON in ASCII that is a value in a script, and cannot end the element that holds it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text_hash(text: str) -> int:
    """The same for a text on every machine; lone surrogates have one too."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])


def cut(text: str, most: int) -> str:
    """A text of about `most` characters at most: the middle of a longer one is left out, which is said there."""
    if len(text) <= most:
        return text
    start, end = most * 2 // 3, most // 3
    left = len(text) - start - end
    return f"{text[:start]}\n[… {left:,} characters left out …]\n{text[-end:]}"


def cut_all(value: Any, most: int) -> Any:
    """`cut` of every text in a question or a reply."""
    if isinstance(value, str):
        return cut(value, most)
    if isinstance(value, dict):
        return {name: cut_all(part, most) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [cut_all(part, most) for part in value]
    return value


def printable(text: str) -> str:
    """A text as a page can hold it: control characters as their pictures, lone surrogates as replaced."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f]", lambda found: chr(0x2400 + ord(found[0])), text)
    return re.sub("[\x7f\ud800-\udfff]", "\ufffd", text)


def printable_all(value: Any) -> Any:
    """`printable` of every text in a value."""
    if isinstance(value, dict):
        return {name: printable_all(part) for name, part in value.items()}
    if isinstance(value, list):
        return [printable_all(part) for part in value]
    return printable(value) if isinstance(value, str) else value
