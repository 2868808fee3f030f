"""Log-likelihood tasks by lm-eval's own `hf` model and by ours, in alternation, on the same weights and devices.

    python scripts/import_smollm2.py smollm2
    python scripts/bench_harness.py smollm2 --data data

`--data` is the folder of benchmarks that recipes call `eval.data_folder`. Both models get the same requests. The
time of lm-eval's call is compared, including tokenization but not loading or compiling. Needs the extra
`harness`, torch and accelerate.
"""

import argparse
import csv
import json
import logging
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
from lm_eval.api.instance import Instance

SHOTS = 5
Request = tuple[str, ...]


def mc_taco(data: pathlib.Path, limit: int) -> list[Request]:
    """Makes requests for yes and no after a passage, a question and a candidate."""
    with (data / "general/mc_taco_test.tsv").open() as file:
        rows = [row for row, _ in zip(csv.reader(file, delimiter="\t", quoting=3), range(limit))]
    asked = [
        f"Passage: {passage}\nQuestion: {question}\nCandidate answer: {candidate}\nPlausible:"
        for passage, question, candidate, *_ in rows
    ]
    return [(context, f" {choice}") for context in asked for choice in ("no", "yes")]


def _choices(data: pathlib.Path) -> list[tuple[str, list[str]]]:
    rows = json.loads((data / "general/acpbench_mcq_app.json").read_text())
    return [
        (f"{row['context']}\nQuestion: {row['question']}\nAnswer:", row["choices"]["text"])
        for row in rows
    ]


def choices(data: pathlib.Path, limit: int) -> list[Request]:
    """Makes requests for the texts of four options after a question."""
    return [
        (context, f" {option}") for context, options in _choices(data)[:limit] for option in options
    ]


def few_shot(data: pathlib.Path, limit: int) -> list[Request]:
    """Makes the same requests after examples that all questions share."""
    rows = _choices(data)
    shots = "\n\n".join(f"{context} {options[0]}" for context, options in rows[-SHOTS:])
    return [
        (f"{shots}\n\n{context}", f" {option}")
        for context, options in rows[:limit]
        for option in options
    ]


def _texts(data: pathlib.Path, limit: int) -> list[str]:
    lines = (data / "math/gsm8k_test.jsonl").read_text().splitlines()[:limit]
    return [f"{row['question']}\n{row['answer']}" for row in map(json.loads, lines)]


def last_word(data: pathlib.Path, limit: int) -> list[Request]:
    """Makes requests for a text's last word; they share nothing."""
    return [
        (text.rpartition(" ")[0], " " + text.rpartition(" ")[2]) for text in _texts(data, limit)
    ]


def rolling(data: pathlib.Path, limit: int) -> list[Request]:
    """Makes requests for whole texts: they share nothing, and every token is predicted."""
    return [(text,) for text in _texts(data, limit)]


KINDS: dict[str, tuple[Callable[[pathlib.Path, int], list[Request]], int]] = {
    "mc_taco": (mc_taco, 160),
    "choices": (choices, 12),
    "few_shot": (few_shot, 4),
    "last_word": (last_word, 48),
    "rolling": (rolling, 32),
}


def run(model, kind: str, requests: list[Request]) -> tuple[float, list[float]]:
    """Returns seconds and log-likelihoods."""
    name = "loglikelihood_rolling" if kind == "rolling" else "loglikelihood"
    instances = [Instance(name, {}, request, index) for index, request in enumerate(requests)]
    began = time.perf_counter()
    found = getattr(model, name)(instances, disable_tqdm=True)
    seconds = time.perf_counter() - began
    return seconds, [one if isinstance(one, float) else one[0] for one in found]


def compare(kind: str, requests: list[Request], ours, peer, repeats: int) -> None:
    run(ours, kind, requests)  # The first run compiles.
    times: dict[str, list[float]] = {"ours": [], "hf": []}
    for _ in range(repeats):
        seconds, found = run(ours, kind, requests)
        times["ours"].append(seconds)
        seconds, expected = run(peer, kind, requests)
        times["hf"].append(seconds)
    gap = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    shown = (
        f"{name} {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"
        for name, values in times.items()
    )
    ratio = statistics.median(times["hf"]) / statistics.median(times["ours"])
    print(
        f"{kind:<10} {len(requests)} requests: {', '.join(shown)}; ratio {ratio:.2f}; largest difference {gap:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of questions")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="of the hf model; lm-eval's default is 1"
    )
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    from lm_eval.models.huggingface import HFLM

    from jaxreason.evaluation.harness_loading import LoadedHarnessModel

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    peer = HFLM(
        pretrained=arguments.model,
        device=device,
        dtype="float32",
        batch_size=arguments.batch_size,
        max_length=2048,
    )
    ours = LoadedHarnessModel(path=arguments.model, dtype="float32", max_length=2048)
    for kind in arguments.kinds:
        make, limit = KINDS[kind]
        requests = make(arguments.data, max(1, int(limit * arguments.scale)))
        compare(kind, requests, ours, peer, arguments.repeats)


if __name__ == "__main__":
    main()
