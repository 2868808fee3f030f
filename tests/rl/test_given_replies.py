"""Replies that questions bring along: which are learned, as what, and that none is lost without being counted."""

import dataclasses
import json
from collections import Counter

import pytest
from tiny_rl import SAMPLER, rl_config

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.rl.prompts import load_prompts
from jaxreason.rl.rewards import Reward
from jaxreason.rl.rl_config import DynamicSamplingConfig, SamplesConfig
from jaxreason.rl.rollouts import RolloutGroup, Sample
from jaxreason.rl.step_metrics import measure_groups
from jaxreason.sampling.sampling_params import Completion

KEEP_ALL = DynamicSamplingConfig(drop_equal=False, prompts_per_batch=0, max_batches=1)
THINKING = """{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{{ '<assistant><think>' + m.reasoning_content | default('', true) + '</think>' + m.content + '<end>' }}
{%- else -%}{{ '<user>' + m.content + '<end>' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<assistant>' }}{%- if enable_thinking is defined and not enable_thinking -%}{{ '<think></think>' }}{%- endif -%}
{%- endif -%}"""


def given_config(folder, replies, thinking=None):
    """Four questions with `replies` each."""
    rows = [
        {"id": f"q{i}", "prompt": f"{i:b}?", "answer": "1", "replies": replies} for i in range(4)
    ]
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sampler = dataclasses.replace(SAMPLER, max_length=60)
    fields = {"dynamic_sampling": KEEP_ALL, "thinking": thinking, "sampler": sampler}
    config = rl_config(path, samples=SamplesConfig(given=2), **fields)
    dataset = dataclasses.replace(config.datasets["questions"], metadata=("replies",))
    return dataclasses.replace(config, datasets={"questions": dataset})


def test_questions_that_no_reply_could_answer_are_told(tmp_path, caplog):
    save_character_tokenizer(tmp_path / "tokenizer", "01 ?")
    config = given_config(tmp_path, ["0", "1"])
    blind = dataclasses.replace(
        config.datasets["questions"], fields={"id": "id", "prompt": "prompt"}
    )
    config = dataclasses.replace(config, datasets={"questions": blind})
    load_prompts(config, load_tokenizer(tmp_path / "tokenizer"))
    assert "questions.jsonl:1: example 'q0': there is no answer to compare" in caplog.text
    assert "(4 of 4 questions)" in caplog.text


def found_of(folder, replies, thinking=None, characters="01 ?", template=None):
    """What becomes of the replies of one question, by number, and the texts that can be drawn."""
    save_character_tokenizer(folder / "tokenizer", characters)
    if template:
        (folder / "tokenizer" / "chat_template.jinja").write_text(template)
    data = load_prompts(
        given_config(folder, replies, thinking), load_tokenizer(folder / "tokenizer")
    )
    counts = {name: count / 4 for name, count in data.replies["questions"].items()}
    return counts, [given.text for given in data.prompts[0].replies]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (None, "not a text"),
        (3, "not a text"),
        (["0"], "not a text"),
        ({}, "not a text"),
        ({"content": None}, "not a text"),
        ({"content": "0", "reasoning_content": 5}, "not a text"),
        ("", "empty"),
        ({"content": " \n"}, "empty"),
        ({"content": "0", "finish_reason": "length"}, "cut off"),
        ({"content": "0" * 80}, "too long"),
        ({"content": "x"}, "not encodable"),
        ({"content": "0", "finish_reason": None, "reasoning_content": None}, "used"),
        ({"content": "0", "reasoning": ["1"]}, "not a text"),
        ({"content": "0", "thinking": "1", "reasoning": "0"}, "not usable"),
        ({"content": "0", "tool_calls": [{"name": "f"}]}, "not usable"),
        ({"content": "0", "weight": 0}, "not usable"),
        ({"content": "0", "train": False}, "not usable"),
        ({"content": "0", "prefix": True}, "not usable"),
        ({"content": "0", "role": "user"}, "not usable"),
        ({"content": "0", "tool_calls": [], "weight": 1, "train": True, "refusal": None}, "used"),
        ({"content": "0", "role": "assistant", "thinking": "", "reasoning": None}, "used"),
        ({"content": "0", "finish_reason": float("nan"), "cot": float("nan")}, "used"),
        ({"content": "0", "thinking": True, "loss": 1.25}, "used"),
        ({"content": "0", "thinking": False, "reasoning": "1", "cot": " 1"}, "not encodable"),
        ({"content": "0", "loss": 0}, "not usable"),
        ({"content": "0", "from": "human"}, "not usable"),
        ({"content": "0", "role": "critic"}, "not usable"),
        ({"value": "0", "from": "gpt"}, "used"),
    ],
)
def test_every_given_reply_is_used_or_counted_by_why_it_is_not(reply, why, tmp_path):
    counts, texts = found_of(tmp_path, ["1", reply])
    assert counts == Counter(["used", why])
    assert texts == ["1"] + ["0"] * (why == "used")


THOUGHTS = [
    {"content": "1", "reasoning_content": "0"},
    {"content": "<think>0</think>1"},
    {"content": "1", "reasoning_content": None},
]

NAMES = ["reasoning_content", "reasoning", "thinking", "thought", "cot"]


@pytest.mark.parametrize("name", NAMES)
def test_thoughts_of_a_given_reply_are_read_under_every_name_that_messages_have(name, tmp_path):
    counts, texts = found_of(
        tmp_path, [{"content": "1", name: "0"}], None, "01 ?<>/think", THINKING
    )
    assert texts == ["<think>0</think>1"]
    assert counts == {"used": 1}


@pytest.mark.parametrize("name", NAMES)
def test_thoughts_left_out_are_counted_under_every_name(name, tmp_path):
    counts, texts = found_of(
        tmp_path, [{"content": "1", name: "0"}], False, "01 ?<>/think", THINKING
    )
    assert texts == ["1"]
    assert counts == {"used": 1, "thoughts left out": 1}


def test_thinking_false_leaves_thoughts_out_wherever_they_stand_as_in_sft(tmp_path):
    characters = "01 ?<>/think"
    counts, texts = found_of(tmp_path, THOUGHTS, False, characters, THINKING)
    assert texts == ["1", "1", "1"]
    assert counts == {"used": 3, "thoughts left out": 2}


@pytest.mark.parametrize("thinking", [None, True, False])
def test_a_reply_of_thoughts_alone_is_not_learned(thinking, tmp_path):
    only = [{"content": "", "reasoning_content": "0"}, {"content": "<think>0</think> "}]
    good = [{"content": "1", "reasoning_content": "0"}]
    counts, texts = found_of(tmp_path, good + only, thinking, "01 ?<>/think", THINKING)
    assert counts["empty"] == 2 and len(texts) == 1


def test_pass_at_k_goes_up_to_the_replies_that_are_sampled():
    def sample(number, reason):
        reward = Reward(1.0, {"answer": 1.0}, {}, None, None, 1.0)
        return Sample(Completion("0", number, (1, 2), (-1.0, -1.0), reason), "1", reward)

    example = Example("q", "last_number", ({"role": "user", "content": "?"},), "1", "made", {})
    samples = [sample(i, "stop") for i in range(3)] + [sample(i, "given") for i in (3, 4)]
    found = measure_groups([RolloutGroup(0, example, (1,), tuple(samples))])
    assert {x for x in found if x.startswith("pass")} == {"pass_at_1", "pass_at_2", "pass_at_3"}
