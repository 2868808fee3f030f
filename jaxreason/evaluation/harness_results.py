"""Results of lm-eval (`--output_path DIR --log_samples`) as scores of documents, and as our sample and grade files.

Every document is a question with one sample. Documents with the same requests to the model are one cluster. Only
metrics that are a mean over documents can be scores here; others, such as a perplexity, are left out and named. Nothing
here imports lm-eval.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in, read_object, write_json
from jaxreason.results.grade_files import grade_head_path, grades_path
from jaxreason.results.jsonl import read_jsonl, write_jsonl
from jaxreason.results.sample_files import SampleKey, sample_digest, sample_head_path, samples_path

PROMPT, GRADER = (
    "lm_eval",
    "lm_eval",
)  # Used in the files in place of the names of our own prompts and graders.
NO_FILTER = "none"
ROUNDING = 1e-6  # Between lm-eval's mean and ours.


@dataclass(frozen=True)
class Document:
    """A document of a task: prompt and reply, and its score by metric.

    `requests` has all that the model was asked, in lm-eval's form: prompts, and the continuations that were compared.
    """

    id: str
    prompt: str
    reply: str
    target: str
    scores: dict[str, float]
    requests: str = ""


@dataclass(frozen=True)
class HarnessTask:
    """A task with one filter.

    Attributes:
      name: of the task.
      filter: lm-eval's, which took the answers from the replies; "none" if there was none.
      higher_is_better: by metric; a metric for which lm-eval does not say it is missing.
      left_out: metrics that are not a mean over documents.
      documents: in lm-eval's order.
      made_with: lm-eval's version, the model and its arguments, and the task's settings.
    """

    name: str
    filter: str
    higher_is_better: dict[str, bool]
    left_out: tuple[str, ...]
    documents: list[Document]
    made_with: dict[str, Any]

    @property
    def benchmark(self) -> str:
        """Its name as a benchmark."""
        return self.name if self.filter == NO_FILTER else f"{self.name}-{self.filter}"


def read_harness_results(folder: epath.PathLike) -> list[HarnessTask]:
    """Returns the tasks of a results folder, in order of name and filter; only the newest run of each task.

    Args:
      folder: the one that `--output_path` named, or the model's folder in it.

    Raises:
      UserError: there are no results, a task's samples are missing, incomplete or doubled, or their mean is not that of
        the results; the message names the file.
    """
    folder = epath.Path(folder)
    files = sorted(
        [*glob_in(folder, "results_*.json"), *glob_in(folder, "*/results_*.json")], key=_date
    )
    if len({file.parent for file in files}) > 1:
        names = ", ".join(sorted({file.parent.name for file in files}))
        raise UserError(
            f"{folder}: has results of several models ({names}); name the folder of one"
        )
    found: dict[tuple[str, str], HarnessTask] = {}
    for file in files:
        found |= {(task.name, task.filter): task for task in _read_run(file)}
    if not found:
        raise UserError(f"{folder}: no results_*.json of lm-eval, or no task in it")
    return [found[key] for key in sorted(found)]


def _date(file: epath.Path) -> str:
    return file.name.removeprefix("results_").removesuffix(".json")


def _read_run(file: epath.Path) -> Iterator[HarnessTask]:
    """Yields the tasks of one run, without the means of groups."""
    run = read_object(file, {"results": dict, "configs": dict})
    for name in sorted(run["configs"]):
        path = file.parent / f"samples_{name}_{_date(file)}.jsonl"
        if not path.exists():
            raise UserError(f"{path}: not found; run lm-eval with --log_samples")
        lines: dict[str, list[dict]] = {}
        for number, line in enumerate(read_jsonl(path), start=1):
            if not {"doc_id", "metrics", "target", "resps"} <= set(line):
                raise UserError(f"{path}, line {number}: not a sample of lm-eval")
            lines.setdefault(line.get("filter", NO_FILTER), []).append(line)
        for filter_name, some in sorted(lines.items()):
            yield _task(run, name, filter_name, some, str(path))


def _task(run: dict, name: str, filter_name: str, lines: list[dict], source: str) -> HarnessTask:
    ids = [str(line["doc_id"]) for line in lines]
    twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
    expected = run.get("n-samples", {}).get(name, {}).get("effective", len(ids))
    if twice:
        raise UserError(f"{source}: document {twice[0]} is there more than once")
    if len(ids) != expected:
        raise UserError(f"{source}: has {len(ids)} documents, but the results are of {expected}")
    means = run["results"].get(name, {})
    metrics = list(dict.fromkeys(metric for line in lines for metric in line["metrics"]))
    kept = [m for m in metrics if _is_mean(means.get(f"{m},{filter_name}"), m, lines, source)]
    better = run.get("higher_is_better", {}).get(name, {})
    made = {n: run.get(n) for n in ("lm_eval_version", "model_name", "config")}
    return HarnessTask(
        name=name,
        filter=filter_name,
        higher_is_better={m: bool(better[m]) for m in kept if better.get(m) is not None},
        left_out=tuple(m for m in metrics if m not in kept),
        documents=[_document(line, kept) for line in lines],
        made_with=made | {"task": run["configs"][name]},
    )


def _is_mean(given: Any, metric: str, lines: list[dict], source: str) -> bool:
    """Returns whether the metric is the mean of numbers that the documents have.

    Raises:
      UserError: it is a mean of scores from 0 to 1, but not of these: the samples are not those of the results.
    """
    values = [line.get(metric) for line in lines]
    if not isinstance(given, int | float) or not all(_is_number(value) for value in values):
        return False
    mean = math.fsum(values) / len(values)
    if math.isclose(mean, given, rel_tol=ROUNDING, abs_tol=ROUNDING):
        return True
    if all(0 <= value <= 1 for value in values) and 0 <= given <= 1:
        raise UserError(
            f"{source}: the mean of {metric} is {mean:.6g}, but the results say {given:.6g}"
        )
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)


def _document(line: dict, metrics: list[str]) -> Document:
    """Returns a document. Its question is identified by the first prompt: choices differ only in their continuation."""
    asked = line.get("arguments", {})
    replies = line.get("filtered_resps", line["resps"])
    return Document(
        id=str(line["doc_id"]),
        prompt=_first_prompt(asked),
        reply="\n".join(str(reply) for reply in replies),
        target=str(line["target"]),
        scores={metric: float(line[metric]) for metric in metrics},
        requests=json.dumps(asked, sort_keys=True) if asked else "",
    )


def _first_prompt(asked: dict | list) -> str:
    """Returns the first argument of the first request; older versions of lm-eval wrote lists of them."""
    requests = list(asked.values()) if isinstance(asked, dict) else asked
    first = requests[0] if requests else ()
    arguments = list(first.values()) if isinstance(first, dict) else first
    return str(arguments[0]) if arguments else ""


def write_harness_task(folder: epath.Path, task: HarnessTask, decoding: str) -> SampleKey:
    """Writes the task's sample and grade files in the evaluation `folder`, for `read_samples` and `read_grades`.

    Returns:
      the key of both; `decoding` is the name in it.

    Raises:
      UserError: no metric of the task is a mean over documents.
    """
    if not task.documents[0].scores:
        left_out = ", ".join(task.left_out)
        raise UserError(f"{task.name}: none of its metrics is a mean over documents ({left_out})")
    key = SampleKey(task.benchmark, PROMPT, decoding)
    clusters = _clusters(task.documents)
    samples = [
        _sample_line(key.benchmark, *pair) for pair in zip(task.documents, clusters, strict=True)
    ]
    grades = [_grade_line(*pair) for pair in zip(samples, task.documents, strict=True)]
    head = key._asdict() | {"num_samples": 1, "num_questions": len(samples)}
    head |= {"made_with": task.made_with}
    write_jsonl(samples_path(folder, key), samples)
    write_json(sample_head_path(folder, key), head)
    write_jsonl(grades_path(folder, key, GRADER), grades)
    write_json(grade_head_path(folder, key, GRADER), head | {"grader": GRADER})
    return key


def _clusters(documents: list[Document]) -> list[str]:
    """Returns the cluster of each document: the first one with the same requests, whose replies tell nothing new."""
    first: dict[str, str] = {}
    return [first.setdefault(one.requests, one.id) if one.requests else one.id for one in documents]


def _sample_line(name: str, document: Document, cluster: str) -> dict[str, Any]:
    """Returns the line of a sample. The reply came from elsewhere, as text, so its tokens are not known."""
    return {
        "id": document.id,
        "benchmark": name,
        "sample": 0,
        "subset": "",
        "cluster": cluster,
        "prompt": document.prompt,
        "prompt_tokens": [],
        "completion": document.reply,
        "tokens": [],
        "num_tokens": None,
        "finish_reason": "imported",
    }


def _grade_line(sample: dict[str, Any], document: Document) -> dict[str, Any]:
    shared = ("id", "benchmark", "sample", "subset", "cluster")
    return {name: sample[name] for name in shared} | {
        "answer": document.target,
        "extracted": None,
        "scores": document.scores,
        "error": None,
        "of": sample_digest(sample),
    }
