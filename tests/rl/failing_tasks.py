"""`last_number` with a grader that some replies stop; imported in the workers of a VerifierPool."""

import dataclasses
import os
import time

from jaxreason.tasks import last_number
from jaxreason.tasks.registry import TASKS as REAL


def score(example, text):
    """As the real one, unless the reply says otherwise."""
    if "hang" in text:
        time.sleep(600)
    if "crash" in text:
        os._exit(7)
    if "raise" in text:
        raise ValueError("cannot evaluate nan")
    return last_number.score(example, text)


def refuse(example, text):
    """Fails on every reply."""
    raise LookupError("the library is gone")


TASKS = {"last_number": dataclasses.replace(REAL["last_number"], score=score)}
BROKEN = {"last_number": dataclasses.replace(REAL["last_number"], score=refuse)}


def score_slowly(example, text):
    """Never ends on replies that begin with a one."""
    if text.startswith("1"):
        time.sleep(600)
    return last_number.score(example, text)


HANGING = {"last_number": dataclasses.replace(REAL["last_number"], score=score_slowly)}
