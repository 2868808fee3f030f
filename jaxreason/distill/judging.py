"""Splits a reply into thoughts and text, and judges it right, wrong or neither.

Graders on process 0 grade in rounds and write a line for each reply. A line is made again if anything that the
verdict depends on has changed.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from jaxreason.data.examples import Example
from jaxreason.data.thoughts import CLOSE, OPEN
from jaxreason.distill.passes import Pass, TeacherQuestion, replies_of
from jaxreason.errors import UserError
from jaxreason.results.distill_files import read_verdicts, verdicts_path
from jaxreason.results.jsonl import JsonlWriter, join_parts, write_jsonl
from jaxreason.results.sample_files import is_failed
from jaxreason.tasks.registry import TASKS, grader_version
from jaxreason.tasks.verify import Verdict, VerifierPool

RIGHT, WRONG, NO_ANSWER = "right", "wrong", "no_answer"
UNFINISHED, MALFORMED, NOT_GRADABLE = "unfinished", "malformed", "not_gradable"
OUTCOMES = (RIGHT, WRONG, NO_ANSWER, UNFINISHED, MALFORMED, NOT_GRADABLE)
# Outcomes that show whether the teacher can answer the question.
KNOWN = (RIGHT, WRONG, NO_ANSWER, UNFINISHED)
FINISHED = "stop"


@dataclass(frozen=True)
class ReplyParts:
    """A reply without the marks of its think block.

    `whole` is false if the reply is malformed, so that it cannot be learned as it was written.
    """

    thoughts: str
    text: str
    whole: bool


@dataclass(frozen=True)
class Judged:
    """A reply and its outcome.

    Attributes:
      sample: number of the sample.
      parts: thoughts and text.
      outcome: one of OUTCOMES.
      finish_reason: the finish reason that the teacher reported.
      num_tokens: the tokens that the teacher counted, or None.
    """

    sample: int
    parts: ReplyParts
    outcome: str
    finish_reason: str
    num_tokens: int | None

    def to_json(self) -> dict[str, Any]:
        """Returns the value for the column `replies`."""
        return {
            "content": self.parts.text,
            "reasoning_content": self.parts.thoughts or None,
            "correct": int(self.outcome == RIGHT),
            "finish_reason": self.finish_reason,
            "tokens": self.num_tokens,
        }


def split_reply(content: str, reasoning: str | None) -> ReplyParts:
    """Splits thoughts from text. Thoughts come in a field of their own or before the first `</think>` of the content.

    The opening mark may be missing, since some chat templates put it into the prompt. If a thought is not closed,
    everything after its mark is thought. If a mark is left over, or a text stands before a thought that is not closed,
    no chat template can write the reply as it was.
    """
    left_over = False
    if reasoning and reasoning.strip():
        thoughts, text = reasoning, content
    else:
        before, closed, after = content.partition(CLOSE)
        if closed:
            thoughts, text = before.strip().removeprefix(OPEN), after
        else:
            text, opened, thoughts = content.partition(OPEN)
            left_over = bool(opened and text.strip())
    marked = any(mark in part for mark in (OPEN, CLOSE) for part in (thoughts, text))
    return ReplyParts(thoughts.strip(), text.strip(), not (marked or left_over))


def needs_verdict(reply: dict[str, Any]) -> bool:
    """Whether a grader must see a reply. One that was cut off, failed or is malformed is not right in any case."""
    parts = split_reply(reply["content"], reply["reasoning_content"])
    return reply["finish_reason"] == FINISHED and parts.whole and bool(parts.text)


def judge(
    reply: dict[str, Any], verdict: dict[str, Any] | None, thinking: bool | None = None
) -> Judged:
    """Judges a reply by its line and, if `needs_verdict`, by its verdict's line.

    If `thinking` is false, a reply that has thoughts anyway is malformed.
    """
    parts = split_reply(reply["content"], reply["reasoning_content"])
    if thinking is False and parts.thoughts:
        parts = replace(parts, whole=False)
    outcome = _outcome(reply, parts, verdict)
    return Judged(reply["sample"], parts, outcome, reply["finish_reason"], reply["num_tokens"])


def _outcome(reply: dict[str, Any], parts: ReplyParts, verdict: dict[str, Any] | None) -> str:
    if is_failed(reply):
        return NOT_GRADABLE
    if reply["finish_reason"] != FINISHED:
        return UNFINISHED
    if not parts.whole:
        return MALFORMED
    if not parts.text:
        return NO_ANSWER
    if verdict is None or verdict["error"] is not None or verdict["correct"] is None:
        return NOT_GRADABLE
    if not math.isfinite(verdict["correct"]):  # Not the reply's fault, as in RL.
        return NOT_GRADABLE
    if verdict["correct"] >= 1.0:
        return RIGHT
    return NO_ANSWER if verdict["extracted"] is None else WRONG


AT_ONCE = 64
ReplyKey = tuple[int, int]  # Place of the question, and number of the sample.


class Judging:
    """Judges the replies of a pass.

    Args:
      folder: folder of the distillation.
      one: the pass.
      questions: all questions.
      pool: the graders.
    """

    def __init__(
        self,
        folder: epath.Path,
        one: Pass,
        questions: Sequence[TeacherQuestion],
        pool: VerifierPool,
    ):
        self._path, self._questions, self._pool = verdicts_path(folder, one.name), questions, pool
        self._replies, self._thinking = replies_of(folder, one, questions), one.thinking
        tasks = {question.example.task for question in questions}
        self._versions = {task: grader_version(TASKS[task]) for task in tasks}
        self._gold = [_gold(question.example) for question in questions]
        # Whether the file has one line for each reply, in the order of the questions.
        self._ordered = True
        self._verdicts = self._kept(folder, one)
        waiting = [
            place
            for place, reply in self._replies.items()
            if place not in self._verdicts and needs_verdict(reply)
        ]
        # The pool grades one task at a time, so replies of the same task stand together.
        self._waiting = sorted(waiting, key=lambda at: (questions[at[0]].example.task, at))
        self._writer = JsonlWriter(self._path) if self._waiting else None

    def _kept(self, folder: epath.Path, one: Pass) -> dict[ReplyKey, dict[str, Any]]:
        """Returns the existing verdicts that are still valid. A reply whose grading failed is graded again."""
        try:
            lines = read_verdicts(folder, one.name)
        except UserError:  # The file is damaged, so all verdicts are made again.
            write_jsonl(self._path, [])
            return {}
        places = {question.key: place for place, question in enumerate(self._questions)}
        found, seen = {}, []
        for line in lines:
            at = places.get(line["id"], -1), line["sample"]
            reply = self._replies.get(at)
            if reply is None:
                continue
            seen.append(at)
            if line["error"] is None and line["of"] == self._of(at, reply):
                found[at] = line
        # Lines are appended by task, behind those that no longer hold. A kill may come before they are put in order.
        self._ordered = seen == sorted(set(seen))
        return found

    def _of(self, at: ReplyKey, reply: dict[str, Any]) -> str:
        """Returns a hash of everything that a verdict depends on."""
        text = split_reply(reply["content"], reply["reasoning_content"]).text
        task = self._questions[at[0]].example.task
        seen = [text, self._gold[at[0]], task, self._versions[task]]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def work(self) -> bool:
        """Grades AT_ONCE replies. Returns whether none is left; then the file is in the order of the questions."""
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

    def _line(self, at: ReplyKey, verdict: Verdict) -> dict[str, Any]:
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
        if self._writer is not None or not self._ordered:
            write_jsonl(self._path, [self._verdicts[at] for at in sorted(self._verdicts)])
        self._writer, self._ordered = None, True
        join_parts(self._path)

    def judged(self) -> list[list[Judged]]:
        """Returns the replies to each question, in the order of the samples."""
        found: list[list[Judged]] = [[] for _ in self._questions]
        for at in sorted(self._replies):
            verdict = self._verdicts.get(at)
            found[at[0]].append(judge(self._replies[at], verdict, self._thinking))
        return found

    def errors(self) -> list[str]:
        """Returns the graders' reasons why replies could not be graded."""
        lines = (self._verdicts[at] for at in sorted(self._verdicts))
        return [line["error"] for line in lines if line["error"] is not None]


def _gold(example: Example) -> str:
    """Returns a hash of everything that a grader knows of a question, except for the place of its row."""
    known = {name: value for name, value in example.metadata.items() if name != "where"}
    text = json.dumps([example.answer, known], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
