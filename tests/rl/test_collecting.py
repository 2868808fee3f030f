"""Which groups of a step are trained on, with real graders and given replies."""

import dataclasses

import numpy as np
import pytest
from tiny_rl import CHARACTERS, rl_config

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.rl.generation import Collector
from jaxreason.rl.given_replies import GivenReply
from jaxreason.rl.prompts import PromptFeed, TrainingPrompt
from jaxreason.rl.rl_config import DynamicSamplingConfig, SamplesConfig
from jaxreason.tasks.verify import VerifierPool


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_character_tokenizer(folder, CHARACTERS)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(1, 20.0) as made:
        yield made


def prompt_of(tokenizer, name, answer):
    """A question with a reply of "0" and one of "1"."""
    message = {"role": "user", "content": "?"}
    example = Example(name, "last_number", (message,), answer, "made", {})
    replies = [GivenReply(np.array(tokenizer.encode_part(text)), text) for text in "01"]
    return TrainingPrompt(example, tuple(tokenizer.encode_prompt((message,), None)), tuple(replies))


def collect(tokenizer, pool, answers, **changes):
    """A step on questions with these answers, asked in their order."""
    sampling = DynamicSamplingConfig(drop_equal=False, prompts_per_batch=len(answers))
    given = {"samples": SamplesConfig(given=2), "group_size": 2, "dynamic_sampling": sampling}
    config = dataclasses.replace(rl_config("none"), **given | changes)
    prompts = [prompt_of(tokenizer, f"q{i}", answer) for i, answer in enumerate(answers)]
    order = PromptFeed(prompts, len(answers), 0).indices(0, 0)
    prompts = [prompts[place] for place in np.argsort(order)]
    feed = PromptFeed(prompts, len(answers), 0)
    return Collector(config, None, pool, feed, tokenizer, lambda: False).collect(0)


@pytest.mark.parametrize("advantage", ["grpo", "one"])
def test_a_group_without_any_grade_takes_no_place_among_those_that_are_trained_on(
    tokenizer, pool, advantage
):
    changes = {"prompts_per_step": 1, "advantage": advantage}
    found = collect(tokenizer, pool, ["no number", "1"], **changes)
    assert [group.example.answer for group in found.groups] == ["no number", "1"]
    assert found.trained == [False, True]


@pytest.mark.filterwarnings("error")
def test_groups_without_a_grade_are_neither_all_right_nor_all_wrong(tokenizer, pool, caplog):
    drop = DynamicSamplingConfig(prompts_per_batch=2)
    found = collect(tokenizer, pool, ["7", "no number"], dynamic_sampling=drop, prompts_per_step=2)
    assert found.trained == [False, False]
    assert "of 2 groups all replies are right in 0, wrong in 1, and the mean reward is 0." in (
        caplog.text
    )
