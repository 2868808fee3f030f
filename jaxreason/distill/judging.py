"""Grading replies in rounds, on process 0: a line for each, made again where anything that it rests on has changed."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.data.examples import Example
from jaxreason.distill.outcomes import Judged, judge, needs_verdict, split_reply
from jaxreason.distill.passes import Pass, Question, replies_of
from jaxreason.errors import UserError
from jaxreason.results.distill_files import read_verdicts, verdicts_path
from jaxreason.results.growing_files import join_parts
from jaxreason.results.jsonl import JsonlWriter, write_jsonl
from jaxreason.tasks.registry import TASKS, grader_version
from jaxreason.tasks.verify import Verdict, VerifierPool

AT_ONCE = 64
Place = tuple[int, int]  # of a question, and the sample


class Judging:
    """The verdicts on the replies of a pass.

    Args:
      folder: of the distillation.
      one: the pass.
      questions: all of them.
      pool: the graders.
    """

    def __init__(
        self, folder: epath.Path, one: Pass, questions: Sequence[Question], pool: VerifierPool
    ):
        self._path, self._questions, self._pool = verdicts_path(folder, one.name), questions, pool
        self._replies, self._thinking = replies_of(folder, one, questions), one.thinking
        tasks = {question.example.task for question in questions}
        self._versions = {task: grader_version(TASKS[task]) for task in tasks}
        self._gold = [_gold(question.example) for question in questions]
        self._verdicts = self._kept(folder, one)
        waiting = [
            place
            for place, reply in self._replies.items()
            if place not in self._verdicts and needs_verdict(reply)
        ]
        # Those of one task together: the pool grades one task at a time.
        self._waiting = sorted(waiting, key=lambda at: (questions[at[0]].example.task, at))
        self._writer = JsonlWriter(self._path) if self._waiting else None

    def _kept(self, folder: epath.Path, one: Pass) -> dict[Place, dict[str, Any]]:
        """The verdicts that are there and hold; what could not be graded is tried again."""
        try:
            lines = read_verdicts(folder, one.name)
        except UserError:  # damaged: all are made again
            write_jsonl(self._path, [])
            return {}
        places = {question.key: place for place, question in enumerate(self._questions)}
        found = {}
        for line in lines:
            at = places.get(line["id"], -1), line["sample"]
            reply = self._replies.get(at)
            if reply is not None and line["error"] is None and line["of"] == self._of(at, reply):
                found[at] = line
        return found

    def _of(self, at: Place, reply: dict[str, Any]) -> str:
        """A hash of all that a verdict rests on."""
        text = split_reply(reply["content"], reply["reasoning_content"]).text
        task = self._questions[at[0]].example.task
        seen = [text, self._gold[at[0]], task, self._versions[task]]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def work(self) -> bool:
        """Grades AT_ONCE replies; true when none is left, and the file then has the order of the questions."""
        if not self._waiting:
            self._close()
            return True
        task = self._questions[self._waiting[0][0]].example.task
        batch = [
            at for at in self._waiting[:AT_ONCE] if self._questions[at[0]].example.task == task
        ]
        self._waiting = self._waiting[len(batch) :]
        items = []
        for place, sample in batch:
            reply = self._replies[place, sample]
            text = split_reply(reply["content"], reply["reasoning_content"]).text
            items.append((self._questions[place].example, text))
        for at, verdict in zip(batch, self._pool.score(task, items), strict=True):
            self._verdicts[at] = line = self._line(at, verdict)
            self._writer.write(line)
        self._writer.flush_if_due()
        return False

    def _line(self, at: Place, verdict: Verdict) -> dict[str, Any]:
        question = self._questions[at[0]]
        return {
            "id": question.key,
            "sample": at[1],
            "of": self._of(at, self._replies[at]),
            "correct": verdict.scores.get(TASKS[question.example.task].primary),
            "scores": verdict.scores,
            "extracted": verdict.extracted,
            "error": verdict.error,
        }

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            write_jsonl(self._path, [self._verdicts[at] for at in sorted(self._verdicts)])
        join_parts(self._path)

    def judged(self) -> list[list[Judged]]:
        """The replies to each question, in the order of the samples."""
        found: list[list[Judged]] = [[] for _ in self._questions]
        for at in sorted(self._replies):
            verdict = self._verdicts.get(at)
            found[at[0]].append(judge(self._replies[at], verdict, self._thinking))
        return found

    def errors(self) -> list[str]:
        """Why replies could not be graded, as far as a grader said so."""
        lines = (self._verdicts[at] for at in sorted(self._verdicts))
        return [line["error"] for line in lines if line["error"] is not None]


def _gold(example: Example) -> str:
    """A hash of what a grader knows of a question, but for the place of its row."""
    known = {name: value for name, value in example.metadata.items() if name != "where"}
    text = json.dumps([example.answer, known], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
