"""Evaluations as logs of Inspect (extra `inspect`), one for each sample file: `inspect view --log-dir DIR` opens them.

It reads an evaluation's scores, samples and grades. It loads no model and computes nothing that is not in them.
"""

import hashlib
import json
import pathlib
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from etils import epath
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score

from jaxreason import __version__
from jaxreason.results.atomic_files import about, atomic_write_bytes, changed_at, read_object
from jaxreason.results.grade_files import graded_samples, grades_path, read_grades
from jaxreason.results.sample_files import SampleKey, read_samples, sample_head_path
from jaxreason.results.score_files import SCORES, read_score_rows, sample_key_of

# Our finish reasons in Inspect's terms; all others become "unknown" there, and are kept in the sample's metadata.
STOPS = {"stop": "stop", "length": "max_tokens"}
SETTINGS = ("top_p", "top_k", "max_tokens")  # Of a decoding, with the same name in both.


def write_logs(folder: epath.Path, target: epath.Path) -> list[epath.Path]:
    """Writes a log for each sample file of a finished evaluation, and returns their paths.

    A log is named after the evaluation's time, the sample file and a hash of its origin, so the same evaluation gives
    the same names. A log of the same name is overwritten.

    Args:
      folder: of the evaluation.
      target: the folder to write into; may be on a bucket.

    Raises:
      UserError: the evaluation has not finished, or a file of it is broken or missing.
    """
    members: dict[SampleKey, list[dict]] = {}
    for row in read_score_rows(folder):
        members.setdefault(sample_key_of(row), []).append(row)
    about = read_object(folder / SCORES, {"model": str})
    ended = datetime.fromtimestamp(changed_at(folder / SCORES), UTC).replace(microsecond=0)
    paths = []
    for key, rows in members.items():
        log = _log(folder, key, rows, about, ended.isoformat())
        time = ended.isoformat().replace(":", "-")
        task = key.name.replace("_", "-")  # Underscores separate the parts of a log's name.
        path = target / f"{time}_{task}_{log.eval.task_id}.eval"
        atomic_write_bytes(path, _bytes(log))
        paths.append(path)
    return paths


def _bytes(log: EvalLog) -> bytes:
    """Returns the bytes of a log. The library writes to its own kinds of paths; all of them include a local file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "log.eval"
        with about(path):
            write_eval_log(log, str(path))
        return path.read_bytes()


def _log(
    folder: epath.Path, key: SampleKey, rows: list[dict], about: Mapping[str, Any], ended: str
) -> EvalLog:
    lines, model = read_samples(folder, key), about["model"]
    head = read_object(sample_head_path(folder, key), {})
    graders = dict.fromkeys(row["grader"] for row in rows)
    graded = {name: _graded(folder, key, name, lines) for name in graders}
    samples = [
        _sample(line, {name: found[number] for name, found in graded.items()}, model, rows)
        for number, line in enumerate(lines)
    ]
    used = [usage for sample in samples for usage in sample.model_usage.values()]
    usage = {model: sum(used, ModelUsage())} if used else {}
    completed = sum(sample.error is None for sample in samples)
    counts = {"total_samples": len(lines), "completed_samples": completed}
    return EvalLog(
        status="success",
        eval=_spec(key, head, about, lines, ended),
        results=EvalResults(scores=_scores(rows), **counts),
        stats=EvalStats(started_at=ended, completed_at=ended, model_usage=usage),
        samples=samples,
    )


def _graded(folder: epath.Path, key: SampleKey, grader: str, lines: list[dict]) -> list[dict]:
    source = str(grades_path(folder, key, grader))
    return graded_samples(lines, read_grades(folder, key, grader), source)


def _spec(
    key: SampleKey, head: dict, about: Mapping[str, Any], lines: list[dict], ended: str
) -> EvalSpec:
    made_with = json.dumps([about["model"], head], sort_keys=True)
    name = hashlib.sha256(made_with.encode()).hexdigest()[:22]
    ids = list(dict.fromkeys(line["id"] for line in lines))
    return EvalSpec(
        eval_id=name,
        run_id=name,
        task_id=name,
        created=ended,
        task=key.benchmark,
        task_display_name=key.name,
        task_args=key._asdict(),
        dataset=EvalDataset(name=key.benchmark, samples=len(ids), sample_ids=ids),
        model=about["model"],
        model_generate_config=_settings(head),
        config=EvalConfig(epochs=head["num_samples"]),
        packages={"jaxreason": __version__},
        metadata={"asked": about.get("asked", {}), "made_with": head},
    )


def _settings(head: dict) -> GenerateConfig:
    decoding = head.get("decoding_settings", {})  # It has none if completions were given.
    values = {name: decoding[name] for name in SETTINGS if decoding.get(name)}  # 0 is off.
    values["temperature"] = decoding.get("temperature")  # 0 is greedy.
    stop = list(decoding.get("stop", ()))
    return GenerateConfig(**values, stop_seqs=stop or None, seed=head.get("seed"))


def _sample(line: dict, grades: dict[str, dict], model: str, rows: list[dict]) -> EvalSample:
    reason, usage = line["finish_reason"], _usage(line)
    prompt, reply = _messages(line, model)
    choice = ChatCompletionChoice(message=reply, stop_reason=STOPS.get(reason, "unknown"))
    failed = EvalError(message=reason, traceback="", traceback_ansi="")
    kept = ("subset", "cluster", "finish_reason", "choice_logprobs")
    return EvalSample(
        id=line["id"],
        epoch=line["sample"] + 1,  # Counted from 1 there.
        input=line["prompt"],
        choices=line.get("choices"),
        target=next(iter(grades.values()))["answer"],
        messages=[prompt, reply],
        output=ModelOutput(model=model, choices=[choice], usage=usage),
        scores={grader: _score(grade, grader, rows) for grader, grade in grades.items()},
        metadata={name: line[name] for name in kept if name in line},
        model_usage={} if usage is None else {model: usage},
        error=failed if reason.startswith("error") else None,
    )


def _messages(line: dict, model: str) -> tuple[ChatMessageUser, ChatMessageAssistant]:
    """Returns messages with ids of our own: Inspect's are random, so two exports would differ."""
    name = f"{line['id']}.{line['sample']}"
    prompt = {"id": f"{name}.prompt", "content": line["prompt"], "source": "input"}
    reply = {"id": f"{name}.reply", "content": line["completion"], "source": "generate"}
    return ChatMessageUser(**prompt), ChatMessageAssistant(**reply, model=model)


def _usage(line: dict) -> ModelUsage | None:
    number, put = line["num_tokens"], len(line["prompt_tokens"])
    if number is None:  # The completion came as text.
        return None
    return ModelUsage(input_tokens=put, output_tokens=number, total_tokens=put + number)


def _score(grade: dict, grader: str, rows: list[dict]) -> Score:
    gold = {"gold": grade["answer"]}
    if grade["error"] is not None:
        return Score.unscored(explanation=grade["error"], reason="scoring_failed", metadata=gold)
    primary = {row["metric"] for row in rows if row["grader"] == grader and row["primary"]}
    # The first value stands for the sample in the viewer's lists.
    values = dict(sorted(grade["scores"].items(), key=lambda pair: pair[0] not in primary))
    return Score(value=values, answer=grade["extracted"], metadata=gold)


def _scores(rows: list[dict]) -> list[EvalScore]:
    """Returns a score for each grader and metric, primary ones first; a grader's scores are equal in all variants."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in sorted(rows, key=lambda row: not row["primary"]):
        found.setdefault((row["grader"], row["metric"]), []).append(row)
    return [_metrics(*name, members) for name, members in found.items()]


def _metrics(grader: str, metric: str, members: list[dict]) -> EvalScore:
    row = members[0]
    values = {name: row.get(name) for name in ("mean", "low", "high")}
    whole = {name: row.get(name) for name in ("n", "formula", "weight", "group", "label")}
    return EvalScore(
        name=metric,
        scorer=grader,
        scored_samples=row.get("graded"),
        unscored_samples=row.get("errors"),
        metrics={n: EvalMetric(name=n, value=v) for n, v in values.items() if v is not None},
        metadata=whole | {"variants": [member["variant"] for member in members]},
    )
