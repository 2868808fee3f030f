"""Replies that a stop string has ended, also one that ends with a special token."""

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_pieces import write_pieces

from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.distill import passes, teacher_engine
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.eval_requests import WantedSamples, make_replies
from jaxreason.results.sample_files import SampleKey
from jaxreason.sampling.sampling_params import Completion, SamplingParams
from jaxreason.studies import cross_sample

DECODING = SamplingParams(0.0, max_tokens=64, stop=("\nQuestion 2", "END<|im_start|>"))
REPLIES = [
    ("5.\nQuestion 2", "5."),
    ("Answer 5 END<|im_start|>", "Answer 5 "),
    ("Answer 5 END", "Answer 5 END"),
    ("Answer 5</s>", "Answer 5"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), "first"))


def a_job():
    example = Example("q", "last_number", ({"role": "user", "content": "2+3"},), "5", "s", {})
    return EvalJob(
        key=SampleKey("b", "own", "greedy"),
        benchmark=SimpleNamespace(),
        items=[EvalItem("q", example, "", "q")],
        graders={"last_number": ("v",)},
        num_samples=1,
        decoding=DECODING,
        delimiter="",
        prompts=[(1, 2)],
        head={},
    )


@pytest.mark.parametrize("text, read", REPLIES)
def test_an_evaluated_reply_ends_before_its_stop_string(tokenizer, text, read):
    made = Completion("own/q", 0, tuple(tokenizer.encode_part(text)), (), "stop")
    engine = SimpleNamespace(
        generate=lambda requests, *_, **__: [Completion(requests[0].id, 0, made.tokens, (), "stop")]
    )
    wanted = [WantedSamples(a_job(), np.ones((1, 1), bool))]
    ((_, reply),) = make_replies(engine, tokenizer, wanted, DECODING, 0, lambda: None)
    assert (reply.text, tuple(reply.tokens)) == (read, made.tokens)


@pytest.mark.parametrize("text, read", REPLIES)
def test_a_teachers_reply_ends_before_its_stop_string(tokenizer, text, read):
    one = passes.Pass("main", None, DECODING, 1, [(1, 2)], ["a"], {})
    made = Completion("0 0", 0, tuple(tokenizer.encode_part(text)), (), "stop")
    asked = [passes.TeacherQuestion("q0", "s", None)]
    assert teacher_engine._line(tokenizer, one, asked, made)["content"] == read


@pytest.mark.parametrize("text, read", REPLIES)
def test_a_cross_sampled_reply_ends_before_its_stop_string(tokenizer, text, read):
    tokens = tokenizer.encode_part(text)
    row = np.asarray([tokens])
    zeros = np.zeros_like(row)
    found = SimpleNamespace(
        tokens=row, length=[len(tokens)], js=zeros * 0.0, own=zeros, other=zeros, taken=zeros
    )
    asked = SimpleNamespace(part=a_job(), tokenizer=tokenizer, stop_ids=tokenizer.stop_ids)
    assert cross_sample._line(asked, found, 0, 0)["completion"] == read
