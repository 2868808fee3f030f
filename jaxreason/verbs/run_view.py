"""`jaxreason show DIR`: shows the parts of a run, an evaluation or a study that a folder has.

It reads the folder's files and nothing else.
"""

from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from jaxreason.config import ConfigError, whole_number
from jaxreason.errors import UserError
from jaxreason.evaluation import transfer
from jaxreason.results.claims import DONE
from jaxreason.results.distill_files import YIELD, distill_folder
from jaxreason.results.drift_files import drift_folder
from jaxreason.results.grade_files import graders_of, grades_path
from jaxreason.results.jsonl import grown_exists, read_jsonl
from jaxreason.results.rollout_files import read_rollouts, rollout_steps, rollouts_path
from jaxreason.results.sample_files import SampleKey, sample_keys, samples_path
from jaxreason.results.score_files import EVALUATION, SCORES
from jaxreason.results.study_files import (
    bases_of,
    is_study,
    read_manifest,
    read_transfer,
    run_folders,
    trajectory_path,
    transfer_path,
)
from jaxreason.results.training_files import metrics_path
from jaxreason.verbs import outcome
from jaxreason.verbs.call import Call, existing_folder

LONGEST = 400  # At most so many characters of a prompt or reply are shown.


def show_verb(call: Call) -> None:
    """Prints every part that the folder has.

    Raises:
      ConfigError: the folder does not exist, or has no files of this program.
    """
    folder, word = existing_folder(call.paths[0]), call.flags["replies"]
    replies = whole_number(word)
    if replies is None:
        raise ConfigError(f"--replies={word}: expected a number, 0 or more.")
    parts = list(_parts(folder, replies))
    if not parts:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
        raise ConfigError(f"{folder}: no run, evaluation or study is here (there is {there}).")
    print("\n\n".join(parts))


def _parts(folder: epath.Path, replies: int) -> Iterator[str]:
    for title, path, text in _found(folder):
        if grown_exists(path):
            yield f"{title} ({path})\n{text()}"
    yield from _samples(folder, replies)
    yield from _rollouts(folder, replies)
    if is_study(folder):
        yield from _arms(folder)


def _found(folder: epath.Path) -> list[tuple[str, epath.Path, Callable[[], str]]]:
    """Lists the parts a folder can have: title, the file whose presence shows that the part is there, and text."""
    return [
        ("study", folder / "report" / "summary.json", lambda: _summary(folder)),
        ("training", metrics_path(folder), lambda: _training(folder)),
        ("distillation", distill_folder(folder) / YIELD, lambda: outcome.distillation(folder)),
        ("scores", folder / SCORES, lambda: outcome.score_table(folder)),
        ("scores", folder / EVALUATION / SCORES, lambda: outcome.score_table(folder / EVALUATION)),
        ("trajectory", trajectory_path(folder), lambda: outcome.trajectory(folder)),
        ("drift", drift_folder(folder), lambda: outcome.drift(folder)),
        ("transfer", transfer_path(folder), lambda: _transfer(folder)),
    ]


def _summary(folder: epath.Path) -> str:
    from jaxreason.report.build import summary_text  # with Matplotlib

    return summary_text(folder)


def _training(folder: epath.Path) -> str:
    done = "complete" if (folder / DONE).exists() else "not complete: the same command continues it"
    return f"{outcome.training(folder)}\n{done}"  # fmt: skip


def _transfer(folder: epath.Path) -> str:
    return transfer.format_table(read_transfer(folder)["rows"])


def _samples(folder: epath.Path, replies: int) -> Iterator[str]:
    """Shows some replies of an evaluation, each from another sample file as far as there are enough files."""
    inside = [folder / name for name in ("", EVALUATION)]
    found = [(place, key) for place in inside for key in sample_keys(place)][:replies]
    for number, (place, key) in enumerate(found):
        share = replies // len(found) + (number < replies % len(found))
        path = samples_path(place, key)
        for row in _graded(place, key, read_jsonl(path)[:share]):
            yield f"a reply ({path})\n{_reply(row, _score(row))}"


def _graded(folder: epath.Path, key: SampleKey, rows: list[dict]) -> list[dict]:
    """Returns the samples with the grades of the first grader that has graded them."""
    for grader in graders_of(folder, key):
        path = grades_path(folder, key, grader)
        lines = read_jsonl(path) if grown_exists(path) else []
        found = {(line.get("id"), line.get("sample")): line for line in lines}
        return [row | found.get((row.get("id"), row.get("sample")), {}) for row in rows]
    return rows


def _rollouts(folder: epath.Path, replies: int) -> Iterator[str]:
    for step in rollout_steps(folder)[-1:]:
        for row in read_rollouts(folder, step)[:replies]:
            score = f"reward {row.get('reward')}"
            yield f"a rollout ({rollouts_path(folder, step)})\n{_reply(row, score)}"


def _arms(folder: epath.Path) -> Iterator[str]:
    """Shows the progress of each model of a study."""
    rows = [["model", "trained", "evaluated", "drift measured"]]
    manifest = read_manifest(folder)
    names = [one["name"] for one in (*bases_of(manifest), *manifest["arms"])]
    for run in (run for name in names for run in run_folders(folder, name)):
        files = run / DONE, run / EVALUATION / SCORES, drift_folder(run)
        rows.append([str(run.relative_to(folder)), *("yes" if f.exists() else "-" for f in files)])
    yield f"models ({folder})\n{outcome.in_columns(rows)}"


def _score(row: dict[str, Any]) -> str:
    if row.get("error"):
        return f"not graded: {row['error']}"
    return ", ".join(f"{name} {value:g}" for name, value in (row.get("scores") or {}).items())


def _reply(row: dict[str, Any], score: str) -> str:
    try:
        prompt, reply = row["prompt"], row["completion"]
    except KeyError as error:
        raise UserError(f"a line of replies has no {error}: {sorted(row)}.") from None
    lines = [f"question {row.get('id')}: {_short(prompt)}", f"reply: {_short(reply)}"]
    if row.get("scores") is None and "reward" not in row and not row.get("error"):
        return "\n".join([*lines, "not graded yet"])
    lines.append(f"answer {row.get('answer')!r}, found {row.get('extracted')!r}; {score}")
    return "\n".join(lines)


def _short(text: str) -> str:
    text = text if isinstance(text, str) else str(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
