"""What a grader reads of a reply that a stop string has ended."""

from types import SimpleNamespace

import pytest
from sentence_pieces import write_pieces

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.results.rollout_files import write_in_flight
from jaxreason.rl.generation import Collector
from jaxreason.rl.resume import fetch
from jaxreason.sampling.sampling_params import Completion, SamplingParams

REPLIES = [
    ("The answer is 5.\nQuestion 2", "The answer is 5."),
    ("The answer is 5.", "The answer is 5."),
    ("5 END<|im_start|>", "5 "),
    ("END 5", "END 5"),
]
DECODING = SamplingParams(1.0, max_tokens=64, stop=("\nQuestion 2", "END<|im_start|>"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), "first"))


def completion(tokenizer, text):
    tokens = tuple(tokenizer.encode_part(text))
    return Completion("0", 0, tokens, (-1.0,) * len(tokens), "stop")


@pytest.mark.parametrize("text, read", REPLIES)
def test_a_sampled_reply_is_graded_without_its_stop_string(tokenizer, text, read):
    made = completion(tokenizer, text)
    engine = SimpleNamespace(generate=lambda *_, **__: [made])
    config = SimpleNamespace(decoding=DECODING, sampled=1)
    collector = Collector(config, engine, None, SimpleNamespace(seed=0), tokenizer, lambda: False)
    replies = [[]]
    assert collector._sample(0, 0, [], replies)
    assert replies == [[(made, read)]]


@pytest.mark.parametrize("text, read", REPLIES)
def test_a_waiting_reply_is_graded_without_its_stop_string(tokenizer, text, read, tmp_path):
    made = completion(tokenizer, text)
    line = {"prompt": 0, "sample": 0, "staleness": 1, "finish_reason": "stop"}
    line |= {"tokens": list(made.tokens), "logprobs": list(made.logprobs)}
    write_in_flight(tmp_path, 2, [line], [2])
    assert fetch(tmp_path, 2, 1, 1, tokenizer, DECODING.stop).replies == [[(made, read)]]
