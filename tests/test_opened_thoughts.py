"""Replies that begin within a thought, since the chat template ends the prompt with `<think>` (DeepSeek-R1)."""

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_pieces import write_pieces

from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.eval_requests import WantedSamples, make_replies
from jaxreason.evaluation.grading import make_grades, sample_line
from jaxreason.results.sample_files import SampleKey
from jaxreason.rl.generation import Collector
from jaxreason.sampling.sampling_params import Completion, SamplingParams
from jaxreason.studies import cross_sample
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import Verdict

DECODING = SamplingParams(0.0, max_tokens=64)
OPENED, PLAIN = "[INST] 2+3 [/INST]<think>\n", "[INST] 2+3 [/INST]"
CUT, CLOSED = "Perhaps it is 5", "Perhaps it is 5</think> It is 5"
BOX = r"Perhaps it is \boxed{5}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), "first"))


class Pool:
    """Grades in this process."""

    def score(self, task, items):
        kind = TASKS[task]
        return [Verdict(kind.score(*item), kind.extract(*item), None) for item in items]


def a_job(tokenizer, prompt, task):
    example = Example("q", task, ({"role": "user", "content": "2+3"},), "5", "s", {})
    return EvalJob(
        key=SampleKey("b", "own", "greedy"),
        benchmark=SimpleNamespace(),
        items=[EvalItem("q", example, "", "q")],
        graders={task: ("v",)},
        num_samples=1,
        decoding=DECODING,
        delimiter="",
        prompts=[tuple(tokenizer.encode(prompt))],
        head={},
    )


def sampled(tokenizer, prompt, text, task="last_number"):
    """The item and the line of a reply."""
    tokens = tuple(tokenizer.encode_part(text))
    engine = SimpleNamespace(
        generate=lambda requests, *_, **__: [Completion(requests[0].id, 0, tokens, (), "length")]
    )
    job = a_job(tokenizer, prompt, task)
    wanted = [WantedSamples(job, np.ones((1, 1), bool))]
    ((_, reply),) = make_replies(engine, tokenizer, wanted, DECODING, 0, lambda: None)
    return job.items[0], sample_line("b", reply)


@pytest.mark.parametrize(
    ("prompt", "text", "task", "right", "extracted"),
    [
        (OPENED, CUT, "last_number", 0, None),
        (OPENED, CLOSED, "last_number", 1, "5"),
        (PLAIN, CUT, "last_number", 1, "5"),
        (OPENED, BOX, "math", 0, None),
        (OPENED, BOX, "math_paper", 1, "5"),  # as the paper's code reads it
    ],
)
def test_a_thought_that_is_not_closed_answers_nothing_wherever_it_was_opened(
    tokenizer, prompt, text, task, right, extracted
):
    item, line = sampled(tokenizer, prompt, text, task)
    assert line["completion"] == text
    assert line.get("opened") is (True if prompt == OPENED else None)
    (grade,) = make_grades(Pool(), task, [(item, line)])
    assert (grade["scores"]["accuracy"], grade["extracted"]) == (right, extracted)


def test_a_cross_sampled_reply_tells_that_its_prompt_opens_a_thought(tokenizer):
    row = np.asarray([tokenizer.encode_part(CUT)])
    zeros = np.zeros_like(row)
    found = SimpleNamespace(
        tokens=row, length=[row.size], js=zeros * 0.0, own=zeros, other=zeros, taken=zeros
    )
    for prompt, opened in ((OPENED, True), (PLAIN, None)):
        job = a_job(tokenizer, prompt, "last_number")
        asked = SimpleNamespace(part=job, tokenizer=tokenizer, stop_ids=tokenizer.stop_ids)
        assert cross_sample._line(asked, found, 0, 0).get("opened") is opened


def test_a_reward_is_for_what_follows_the_thought(tokenizer):
    graded = []
    pool = SimpleNamespace(
        timeout_s=1.0,
        score=lambda task, items, _: graded.extend(items) or Pool().score(task, items),
    )
    prompts = [
        SimpleNamespace(
            example=a_job(tokenizer, p, "last_number").items[0].example, tokens=tokenizer.encode(p)
        )
        for p in (OPENED, PLAIN)
    ]
    maker = Collector.__new__(Collector)
    maker._tokenizer, maker._pool = tokenizer, pool
    maker._questions = SimpleNamespace(batch=lambda step, number: prompts)
    replies = [
        [(Completion("0", 0, (1,), (), "length"), CUT)],
        [(Completion("1", 0, (1,), (), "length"), CUT)],
    ]
    pending = maker._begin_grading(1, 0, replies, beside=False)
    assert [v.scores["accuracy"] for v in pending._verdicts()] == [0, 1]
    assert [text for _, text in graded] == [f"<think>\n{CUT}", CUT]
