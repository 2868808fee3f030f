"""Finished sample files as an evaluation leaves them, from the few fields that a test is about."""

import json
from pathlib import Path

LINE = {
    "sample": 0,
    "subset": "",
    "prompt": "?",
    "prompt_tokens": [1, 2],
    "completion": "!",
    "tokens": [3],
    "answer": "1",
    "extracted": "1",
    "scores": {"right": 1.0},
    "error": None,
    "finish_reason": "stop",
}


def write_samples(folder: Path, benchmark: str, decoding: str, lines: list[dict]) -> Path:
    """Writes a sample file and its head; what a line does not say is as in LINE."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = [LINE | {"benchmark": benchmark, "cluster": line["id"]} | line for line in lines]
    whole = [{"num_tokens": len(line["tokens"])} | line for line in whole]
    path = folder / f"{benchmark}.{decoding}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in whole))
    questions = len({line["id"] for line in whole})
    head = {"benchmark": benchmark, "num_questions": questions}
    head["num_samples"] = max(line["sample"] for line in whole) + 1
    (folder / f"{benchmark}.{decoding}.head.json").write_text(json.dumps(head))
    return path
