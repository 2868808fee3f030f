"""Continuations that are compared, with a tokenizer that puts a space before a text."""

from types import SimpleNamespace

import numpy as np
import pytest
from sentence_pieces import KINDS, write_pieces
from tiny_evaluation import GREEDY, eval_config
from tiny_qwen3 import model_config

from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob, plan_jobs
from jaxreason.evaluation.eval_requests import WantedSamples, make_replies
from jaxreason.evaluation.eval_settings import BenchmarkRun
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


def test_likelihoods_of_an_older_version_are_not_continued(pieces, model_folder, tmp_path):
    (tmp_path / "general").mkdir()
    rows = "It was 2 today.\tHow long?\t2 days\tyes\tx\n"
    (tmp_path / "general" / "mc_taco_test.tsv").write_text(rows)
    runs = {"mc_taco": BenchmarkRun(0, {"greedy": 1})}
    config = eval_config({}, runs, data_folder=str(tmp_path))
    source = SimpleNamespace(identity={}, name="m", config=model_config(model_folder))
    (job,) = plan_jobs(config, source, pieces, 0)
    assert job.head["choices"] == "encoded after the prompt"
    (job,) = plan_jobs(config, source, load_tokenizer(model_folder), 0)
    assert "choices" not in job.head  # Those of other tokenizers have not changed.
