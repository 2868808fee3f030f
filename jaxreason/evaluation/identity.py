"""What samples and grades were made with, as hashes that a resumed run is compared with."""

import hashlib
import json
from collections.abc import Sequence

from jaxreason.evaluation.benchmarks import Item

FORMAT = 2  # of sample and grade files


def prompts_identity(prompts: Sequence[tuple[str, Sequence[int]]]) -> str:
    """A hash of (id, token ids) of all questions, in order."""
    return _hash(f"{name} {list(tokens)}\n" for name, tokens in prompts)


def gold_identity(items: Sequence[Item]) -> str:
    """A hash of what a grader knows of the questions: gold answers and metadata, but for the places of their rows."""
    known = []
    for item in items:
        metadata = {name: v for name, v in item.example.metadata.items() if name != "where"}
        known.append([item.id, item.example.answer, metadata])
    return _hash(json.dumps(entry, sort_keys=True, default=str) for entry in known)


def _hash(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode(errors="surrogatepass"))
    return digest.hexdigest()
