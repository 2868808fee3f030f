"""Finished sample and grade files as an evaluation leaves them, from the few fields that a test is about."""

import json
from pathlib import Path

from jaxreason.results.grade_files import grade_head_path, grades_path
from jaxreason.results.sample_files import SampleKey, sample_digest, sample_head_path, samples_path

PROMPT, GRADER = "own", "hash_answer"
SAMPLE = {
    "sample": 0,
    "subset": "",
    "prompt": "?",
    "prompt_tokens": [1, 2],
    "completion": "!",
    "tokens": [3],
    "finish_reason": "stop",
}
GRADE = {"answer": "1", "extracted": "1", "scores": {"right": 1.0}, "error": None}
SCORED = {"prompt": PROMPT, "grader": GRADER, "variant": "robust"}  # of a row of scores.json


def key_of(benchmark: str, decoding: str, prompt: str = PROMPT) -> SampleKey:
    return SampleKey(benchmark, prompt, decoding)


def write_samples(
    folder: Path,
    benchmark: str,
    decoding: str,
    lines: list[dict],
    prompt: str = PROMPT,
    grader: str = GRADER,
) -> Path:
    """Writes a sample file and a grade file, with their heads; what a line does not say is as in SAMPLE and GRADE."""
    whole = [SAMPLE | {"benchmark": benchmark, "cluster": x["id"]} | x for x in lines]
    whole = [{"num_tokens": len(line["tokens"])} | line for line in whole]
    samples = [{k: v for k, v in line.items() if k not in GRADE} for line in whole]
    shared = ("id", "benchmark", "sample", "subset", "cluster")
    grades = [
        {name: line[name] for name in shared}
        | {name: line.get(name, value) for name, value in GRADE.items()}
        | {"of": sample_digest(line)}
        for line in whole
    ]
    key = key_of(benchmark, decoding, prompt)
    head = key._asdict() | {"num_questions": len({line["id"] for line in whole})}
    head |= {"num_samples": max(line["sample"] for line in whole) + 1, "grader": grader}
    paths = samples_path(folder, key), grades_path(folder, key, grader)
    heads = sample_head_path(folder, key), grade_head_path(folder, key, grader)
    for path, head_path, rows in zip(paths, heads, (samples, grades), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        head_path.write_text(json.dumps(head))
    return paths[0]
