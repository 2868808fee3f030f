"""Turns the error that ended a call into a message, if a user can fix its cause.

Any other error keeps its traceback.
"""

import errno
import os
import re

import ml_collections

from jaxreason.errors import UserError

INTERRUPTED = 130  # The exit code that shells use: 128 + SIGINT.
READER_GONE = 141  # 128 + SIGPIPE

# What a user can do about an operating-system error, by errno. An OSError that is not listed keeps its traceback.
ADVICE = {
    errno.ENOSPC: "free some space or take another disk; the same command continues",
    errno.EDQUOT: "free some space or take another disk; the same command continues",
    errno.EFBIG: "take a file system that holds larger files",
    errno.EACCES: "give this user the right to it, or take another path",
    errno.EPERM: "give this user the right to it, or take another path",
    errno.EROFS: "take a path on a disk that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file where a folder is expected; take another path",
    errno.EISDIR: "a folder is there where a file is expected; move it away or take another path",
    errno.EEXIST: "something is there already; move it away or take another path",
    errno.ENOTEMPTY: "move what is in the folder away or take another path",
    errno.ENAMETOOLONG: "take a shorter path",
    errno.ELOOP: "the links of this path lead in a circle; take another path",
    errno.EMFILE: "allow more open files (`ulimit -n 65536`)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EADDRINUSE: "another program listens there; take another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; check the host",
}

# Python's words where no folder for temporary files can be written; the error has the number of a missing file.
NO_TEMPORARY = "No usable temporary directory"
TEMPORARY_ADVICE = "let the variable TMPDIR name a folder that this user can write"

TOLD_BY_TENSORSTORE = re.compile(r'local file "([^"]+)".*\[os_error_code=\'(\d+)\'\]', re.DOTALL)


def explain(
    error: BaseException, config: ml_collections.ConfigDict | None, sections: tuple[str, ...]
) -> str | None:
    """Returns the message for an error whose cause a user can fix, or None for any other error.

    Args:
      error: what ended the call.
      config: the recipe, if it was loaded.
      sections: the sections of the recipe that the verb reads, for advice about memory.
    """
    if isinstance(error, UserError):
        return _on_one_line(str(error))
    if isinstance(error, OSError) and error.errno in ADVICE:
        paths = [os.fsdecode(p) for p in (error.filename, error.filename2) if _is_path(p)]
        where = f"{' -> '.join(paths)}: " if paths else ""
        what = error.strerror or os.strerror(error.errno)
        advice = TEMPORARY_ADVICE if NO_TEMPORARY in what else ADVICE[error.errno]
        return _on_one_line(f"{where}{what}; {advice}.")
    # TensorStore, which writes checkpoints, reports an operating-system error only in the text of a ValueError.
    told = TOLD_BY_TENSORSTORE.search(str(error)) if isinstance(error, ValueError) else None
    if told and int(told[2]) in ADVICE:
        number = int(told[2])
        return f"{told[1]}: {os.strerror(number)}; {ADVICE[number]}."
    return _of_memory(error, config, sections)


def _of_memory(
    error: BaseException, config: ml_collections.ConfigDict | None, sections: tuple[str, ...]
) -> str | None:
    import jax  # Here, since verbs that only look at files start without it.

    from jaxreason.memory import OUT_OF_MEMORY, out_of_memory_message

    ended = isinstance(error, jax.errors.JaxRuntimeError) and OUT_OF_MEMORY.search(str(error))
    if ended or isinstance(error, MemoryError):
        return str(error) if config is None else out_of_memory_message(config, sections, str(error))
    return None


def _on_one_line(message: str) -> str:
    """Escapes what moves or colours a terminal's cursor: names of files may have line breaks and worse."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def _is_path(value: object) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))
