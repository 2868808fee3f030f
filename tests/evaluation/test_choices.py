"""Continuations that are compared, with a tokenizer that puts a space before a text."""

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_pieces import KINDS, write_pieces
from tiny_evaluation import GREEDY

from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.eval_requests import WantedSamples, make_replies
from jaxreason.results.sample_files import SampleKey
from jaxreason.sampling.scoring import Score


class Scores:
    """Keeps the pairs that it is given; a shorter continuation is the more likely one."""

    def score(self, pairs):
        self.pairs = pairs
        return [Score(-float(len(text)), len(text), False, None) for _, text in pairs]


@pytest.fixture(params=KINDS)
def pieces(request, tmp_path):
    return load_tokenizer(write_pieces(tmp_path, request.param))


def compared(tokenizer, prompt, delimiter):
    example = Example("q", "headqa", ({"role": "user", "content": prompt},), "1", "s", {})
    example.metadata["choices"] = {"label": ["1", "2"], "text": ["Paris", "London is"]}
    job = EvalJob(
        key=SampleKey("b", "own", "greedy"),
        benchmark=SimpleNamespace(),
        items=[EvalItem("q", example, "", "q")],
        graders={"headqa": ("v",)},
        num_samples=1,
        decoding=GREEDY,
        delimiter=delimiter,
        prompts=[tuple(tokenizer.encode(prompt))],
        head={},
    )
    engine, wanted = Scores(), [WantedSamples(job, np.ones((1, 1), bool))]
    ((_, reply),) = make_replies(engine, tokenizer, wanted, GREEDY, 0, lambda: None)
    return engine.pairs, reply


@pytest.mark.parametrize(
    "prompt, delimiter, first",
    [
        ("The capital is:", " ", ["▁Paris"]),
        ("The capital is:", "", ["Paris"]),
        ("The capital is: ", "", ["▁Paris"]),
        ("[INST] The capital is:\n", "", ["<0x0A>", "Paris"]),
    ],
)
def test_choices_are_scored_by_the_tokens_that_they_have_after_the_prompt(
    pieces, prompt, delimiter, first
):
    pairs, reply = compared(pieces, prompt, delimiter)
    assert pieces._hf.convert_ids_to_tokens(pairs[0][1]) == first
    for (before, after), text in zip(pairs, ("Paris", "London is"), strict=True):
        assert [*before, *after] == pieces.encode(prompt + delimiter + text)
    # The line has what was scored.
    assert (list(reply.prompt_tokens), list(reply.tokens)) == tuple(map(list, pairs[0]))
    assert (reply.text, reply.extra["choice_logprobs"]) == (
        "Paris",
        [-len(pairs[0][1]), -len(pairs[1][1])],
    )
