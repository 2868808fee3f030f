"""Tasks whose graders fail in every way a grader can; imported in the workers of a VerifierPool."""

import os
import subprocess
import sys
import time

from jaxreason.tasks.registry import Task


def setup():
    """Nothing to load."""


def score(example, text):
    if text == "hang":
        time.sleep(600)
    if text == "spin":
        while True:
            pass
    if text == "raise":
        raise ZeroDivisionError("no such answer")
    if text == "recurse":
        return score(example, text)
    if text == "crash":
        os._exit(7)
    if text == "exit":
        sys.exit("a grader must not end the run")
    if text == "print":
        for stream in (1, 2):
            os.write(stream, b"noise " * 1_000_000)
    if text == "fork":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        return {"accuracy": 0.0, "child": float(child.pid)}
    if text == "memory":
        return {"accuracy": float(len(bytearray(1 << 40)))}
    return {"accuracy": float(text == example.answer), "pid": float(os.getpid())}


def extract(example, text):
    return text[:1]


def refuse():
    raise ImportError("the library of this task is not there")


TASKS = {
    "pooled": Task("generate", "accuracy", score, extract, worker_setup=setup),
    "cheap": Task("generate", "accuracy", score, extract),
}
BROKEN = {"pooled": Task("generate", "accuracy", score, extract, worker_setup=refuse)}
