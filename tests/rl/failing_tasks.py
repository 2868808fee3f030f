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


def hangs(text):
    """Whether the grader of HANGING never ends on this reply; so it is with about a quarter of all."""
    return sum(text.encode()) % 4 == 0


def _hanging(task):
    def score(example, text):
        if hangs(text):
            time.sleep(600)
        return task.score(example, text)

    return dataclasses.replace(task, score=score)


HANGING = {name: _hanging(REAL[name]) for name in ("last_number", "hash_answer")}
