"""Keeps quiet what the other writes of a checkpoint say after one of them has failed.

When a write fails, Orbax ends its event loop and raises the error, which the program tells. The writes beside it then
find the loop closed, each in a thread of TensorStore, and asyncio finds errors for which nobody asked. Each of them
prints a traceback that says nothing new.
"""

import functools
import logging
import sys


@functools.cache
def silence() -> None:
    """Drops these tracebacks in this process from now on; all others are printed as before."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda found: None if _is_late(found) else before(found)
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_late(found: "sys.UnraisableHookArgs") -> bool:
    trace = found.exc_traceback
    first = trace.tb_frame.f_code.co_name if trace else ""
    return first == "call_soon_threadsafe" and str(found.exc_value) == "Event loop is closed"


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    unasked = "exception was never retrieved" in record.getMessage()
    return not (unasked and "OCDBT database" in str(error))
