"""What OpenAI's own client gets, beside what the engine gives; and text in pieces."""

import random

import httpx
import jax
import openai
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from serving import GENERATE, LONG, one_device

from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.stopping import before_stop
from jaxreason.serve.choices import TextStream

PROMPT = "<user>13+24=<assistant>"
QUESTION = [{"role": "user", "content": "13+24="}]
PARSERS = {
    "text/plain": text_string_to_metric_families,
    "application/openmetrics-text": openmetrics_parser.text_string_to_metric_families,
}
GREEDY = SamplingParams(0.0, 0, 1.0, 12, ())


@pytest.fixture
def generate(engine, tokenizer):
    def run(decoding, seed=0, num_samples=1, prompt=PROMPT):
        request = Request("direct", tuple(tokenizer.encode(prompt)), seed, num_samples, decoding)
        with jax.set_mesh(one_device()):
            return sorted(GENERATE(engine, [request], decoding), key=lambda reply: reply.sample)

    return run


def complete(client, prompt=PROMPT, **changes):
    return client.completions.create(model="tiny_base", prompt=prompt, **changes)


def chat(client, **changes):
    return client.chat.completions.create(model="tiny_base", messages=QUESTION, **changes)


def test_a_completion_is_the_engines(client, tokenizer, generate):
    (expected,) = generate(GREEDY)
    found = complete(client, temperature=0, max_tokens=12)
    assert found.choices[0].text == tokenizer.decode(expected.tokens) != ""
    assert found.choices[0].finish_reason == expected.finish_reason
    assert found.usage.prompt_tokens == len(tokenizer.encode(PROMPT))
    assert found.usage.completion_tokens == len(expected.tokens)
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_a_chat_uses_the_chat_template(client):
    reply = chat(client, temperature=0, max_tokens=12)
    assert (
        reply.choices[0].message.content
        == complete(client, temperature=0, max_tokens=12).choices[0].text
    )
    assert reply.choices[0].message.role == "assistant"
    assert reply.usage.prompt_tokens == 8


def test_messages_may_come_in_parts_and_with_the_templates_switch(client):
    parts = [{"type": "text", "text": "13+"}, {"type": "text", "text": "24="}]
    found = client.chat.completions.create(
        model="tiny_base",
        messages=[{"role": "user", "content": parts}],
        temperature=0,
        max_completion_tokens=12,
        user="somebody",
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    assert (
        found.choices[0].message.content
        == chat(client, temperature=0, max_tokens=12).choices[0].message.content
    )


def test_sampling_fields_reach_the_engine(client, tokenizer, generate):
    decoding = SamplingParams(1.5, 7, 0.9, 20, (), 0.01, 1.2)
    extra = {"top_k": 7, "min_p": 0.01, "repetition_penalty": 1.2}
    found = complete(
        client, temperature=1.5, top_p=0.9, max_tokens=20, seed=5, n=3, extra_body=extra
    )
    expected = generate(decoding, seed=5, num_samples=3)
    assert [c.text for c in found.choices] == [tokenizer.decode(one.tokens) for one in expected]
    assert len({c.text for c in found.choices}) > 1


def test_a_seed_gives_the_same_replies_again_whatever_runs_beside_them(client):
    alone = complete(client, **LONG).choices[0].text
    together = complete(client, prompt=["<user>1+1=<assistant>", PROMPT], **LONG).choices
    assert together[1].text == alone and together[0].text != alone
    assert complete(client, **(LONG | {"seed": 4})).choices[0].text != alone


@pytest.mark.parametrize("as_ids", [False, True])
def test_several_prompts_give_their_choices_in_order(client, tokenizer, as_ids):
    prompts = ["<user>5+5=<assistant>", PROMPT]
    single = [
        complete(client, prompt=p, temperature=0, max_tokens=12).choices[0].text for p in prompts
    ]
    given = [tokenizer.encode(p) for p in prompts] if as_ids else prompts
    found = complete(client, prompt=given, temperature=0, max_tokens=12, n=2)
    assert [c.index for c in found.choices] == [0, 1, 2, 3]
    assert [c.text for c in found.choices] == [single[0]] * 2 + [single[1]] * 2
    assert found.usage.prompt_tokens == sum(len(tokenizer.encode(p)) for p in prompts)


def test_log_probabilities_of_a_completion_are_the_engines(client, tokenizer, generate):
    (expected,) = generate(GREEDY)
    found = complete(client, temperature=0, max_tokens=12, logprobs=3).choices[0].logprobs
    assert found.tokens == [tokenizer.show([token]) for token in expected.tokens]
    assert found.token_logprobs == pytest.approx(expected.logprobs, abs=1e-5)
    for shown, top in zip(found.top_logprobs, expected.top_logprobs, strict=True):
        named = {tokenizer.show([token]): logprob for token, logprob in top[:3]}
        assert shown == pytest.approx(named, abs=1e-5)
    assert found.text_offset == list(range(len(expected.tokens)))


def test_log_probabilities_of_a_chat_are_the_engines(client, tokenizer, generate):
    (expected,) = generate(GREEDY)
    found = chat(client, temperature=0, max_tokens=12, logprobs=True, top_logprobs=2)
    entries = found.choices[0].logprobs.content
    assert [e.token for e in entries] == [tokenizer.show([t]) for t in expected.tokens]
    assert [e.logprob for e in entries] == pytest.approx(expected.logprobs, abs=1e-5)
    assert [bytes(e.bytes).decode() for e in entries] == [e.token for e in entries]
    assert [[t.token for t in e.top_logprobs] for e in entries] == [
        [tokenizer.show([token]) for token, _ in top[:2]] for top in expected.top_logprobs
    ]


def test_a_prompt_is_scored_as_the_engine_scores_it(client, tokenizer, engine):
    text = "<user>13+24=<assistant>37<end>"
    found = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=1).choices[0]
    ids = tokenizer.encode(text)
    assert found.text == text and found.logprobs.token_logprobs[0] is None
    with jax.set_mesh(one_device()):
        scores = engine.score([(ids[:i], ids[i : i + 1]) for i in range(1, len(ids))])
    assert found.logprobs.token_logprobs[1:] == pytest.approx([s.logprob for s in scores], abs=1e-4)
    for score, token, top in zip(
        scores, found.logprobs.tokens[1:], found.logprobs.top_logprobs[1:], strict=True
    ):
        assert (token in top) == score.greedy


def test_an_echo_comes_before_the_reply(client):
    reply = complete(client, temperature=0, max_tokens=12).choices[0].text
    assert (
        complete(client, temperature=0, max_tokens=12, echo=True).choices[0].text == PROMPT + reply
    )


@pytest.mark.parametrize("count", [1, 3])
def test_a_streamed_completion_is_the_whole_one_in_pieces(client, count):
    settings = {**LONG, "n": count, "logprobs": 2, "stop": ["#", "qq"]}
    whole = complete(client, **settings)
    texts, tokens, reasons, usage = [""] * count, [[] for _ in range(count)], {}, None
    options = {"include_usage": True}
    for chunk in complete(client, **settings, stream=True, stream_options=options):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    assert usage == whole.usage


def test_a_streamed_chat_is_the_whole_one_in_pieces(client):
    whole = chat(client, **LONG).choices[0]
    chunks = list(chat(client, **LONG, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant" and len(whole.message.content) > 50
    assert "".join(delta.content or "" for delta in deltas) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def test_a_reply_ends_before_its_stop_string(client):
    whole = complete(client, **LONG).choices[0].text
    stop = whole[10:13]
    found = complete(client, **LONG, stop=["never there", stop])
    assert found.choices[0].text == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    streamed = complete(client, **LONG, stop=stop, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == whole[: whole.index(stop)]


def test_a_reply_ends_at_max_tokens(client):
    found = complete(client, **(LONG | {"max_tokens": 5}))
    assert found.choices[0].finish_reason == "length" and found.usage.completion_tokens == 5


def test_without_max_tokens_a_reply_is_as_long_as_there_is_room(client):
    found = complete(client, prompt="1" * 155, temperature=5.0, seed=2)
    assert found.usage.completion_tokens == 5 and found.choices[0].finish_reason == "length"


def test_without_max_tokens_no_prompt_takes_another_ones_room(client):
    short, full = "1", "1" * 158
    options = {"temperature": 5.0, "seed": 2}
    alone = [complete(client, prompt=p, **options).choices[0].text for p in (short, full)]
    both = [choice.text for choice in complete(client, prompt=[short, full], **options).choices]
    assert both == alone and len(both[0]) > 2 >= len(both[1])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("*/*", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")],
)
def test_metrics_are_what_prometheus_reads(server, client, accept, content_type):
    complete(client, temperature=0, max_tokens=3)
    response = httpx.get(f"{server.url}/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith(f"{content_type}; version=")
    kinds = {metric.name: metric.type for metric in PARSERS[content_type](response.text)}
    gauges = {name for name, kind in kinds.items() if kind == "gauge"}
    assert gauges == {"jaxreason_running_sequences", "jaxreason_waiting_sequences"}
    counters = ("responses", "sequences", "prompt_tokens", "generated_tokens")
    counters += ("engine_decoded_tokens", "engine_host_seconds")
    assert {kinds[f"jaxreason_{name}"] for name in counters} == {"counter"}
    found = server.metrics()
    assert found['responses_total{route="/v1/completions",status="200"}'] >= 1
    assert found['sequences_total{finish_reason="length"}'] >= 1
    assert found["generated_tokens_total"] >= 3


def test_the_model_is_listed_and_another_is_not_found(client):
    assert [model.id for model in client.models.list()] == ["tiny_base"]
    assert client.models.retrieve("tiny_base").id == "tiny_base"
    with pytest.raises(openai.NotFoundError, match="'gpt-4' is not served here"):
        client.completions.create(model="gpt-4", prompt=PROMPT)


# Streamed text: whole characters, nothing of a stop string, and in the end what one piece would have been.


def decode(ids):
    """One byte a token; 256 is a special token."""
    return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def pieces(tokens, ends, stop=()):
    stream = TextStream(decode, stop)
    return [stream.push(tokens[:end], final=end == len(tokens)) for end in ends]


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_make_the_whole_text(seed):
    draw = random.Random(seed)
    text = "".join(draw.choice("añ€😀 b\n") for _ in range(40))
    tokens = [*text.encode(), 256]
    ends = [*sorted(draw.sample(range(len(tokens)), 12)), len(tokens)]
    found = pieces(tokens, ends)
    assert "".join(found) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in found)


def test_a_character_is_given_when_all_its_bytes_are_there():
    assert pieces(list("€".encode()) + [97, 97], [1, 2, 3, 4, 5]) == ["", "", "€", "a", "a"]


def test_a_character_that_is_never_completed_comes_at_the_end():
    assert pieces([97, 0xE2], [1, 2]) == ["a", "\N{REPLACEMENT CHARACTER}"]


def test_the_beginning_of_a_stop_string_waits_until_it_is_none():
    assert pieces(list(b"a\nQb\nQ:c"), range(1, 9), ("\nQ:",)) == [
        "a",
        "",
        "",
        "\nQb",
        "",
        "",
        "",
        "",
    ]


def test_the_beginning_of_a_stop_string_is_text_when_the_reply_ends_there():
    assert pieces(list(b"a\nQ"), [1, 2, 3], ("\nQ:",)) == ["a", "", "\nQ"]


def test_the_first_stop_string_counts_and_nothing_follows_it():
    stream = TextStream(decode, ("xx", "b"))
    assert stream.push(list(b"abxx"), final=False) == "a"
    assert stream.push(list(b"abxxc"), final=True) == ""


class Decode:
    """One byte a token; 256 is the special token <end>."""

    def __call__(self, ids):
        return decode(ids)

    def with_special(self, ids):
        parts = (b"<end>" if i == 256 else bytes([i]) for i in ids)
        return b"".join(parts).decode("utf-8", "replace")


def test_what_a_stop_string_with_a_special_token_has_of_the_text_is_not_given_out():
    stream, tokens = TextStream(Decode(), ("b<end>",)), [*b"ab", 256]
    assert [stream.push(tokens[:n], final=n == 3) for n in (1, 2, 3)] == ["a", "", ""]
    stream = TextStream(Decode(), ("b<end>",))
    assert [stream.push([*b"ab"][:n], final=n == 2) for n in (1, 2)] == ["a", "b"]


@pytest.mark.parametrize("step", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("stop", "tokens", "text"),
    [
        ("<end><end>user", [*b"ab", 256, 256, *b"user"], "ab"),
        ("<end>xyz", [*b"ab", 256, *b"xyz"], "ab"),
        ("b<end>xyz<end>", [*b"ab", 256, *b"xyz", 256], "a"),
        ("<end>xyz", [*b"ab", 256, *b"xya"], "abxya"),
        ("<end>é", [*b"ab", 256, *"é".encode()], "ab"),
    ],
)
def test_pieces_have_nothing_of_a_stop_string_that_begins_with_a_special_token(
    step, stop, tokens, text
):
    ends = [*range(step, len(tokens), step), len(tokens)]
    stream = TextStream(Decode(), (stop,))
    found = [stream.push(tokens[:end], final=end == len(tokens)) for end in ends]
    assert "".join(found) == text == before_stop(tokens, (stop,), Decode())


@pytest.mark.parametrize("step", [1, 2, 3])
def test_text_of_a_stop_string_waits_while_the_next_character_of_it_is_incomplete(step):
    stop, tokens = ("<end>x€y",), [*b"ab", 256, *"x€y".encode()]
    ends = [*range(step, len(tokens), step), len(tokens)]
    stream = TextStream(Decode(), stop)
    assert "".join(stream.push(tokens[:end], final=end == len(tokens)) for end in ends) == "ab"
    other = [*tokens[:-1], *b"z"]
    stream = TextStream(Decode(), stop)
    found = [stream.push(other[:end], final=end == len(other)) for end in ends]
    assert "".join(found) == "abx€z"


def test_of_two_stop_strings_that_end_together_the_one_that_begins_first_counts():
    def joined(ids):
        """Token 1 has two characters."""
        return decode([byte for i in ids for byte in (b"cd" if i == 1 else (i,))])

    class Joined:
        __call__ = staticmethod(joined)

        def with_special(self, ids):
            return Decode().with_special([b for i in ids for b in (b"cd" if i == 1 else (i,))])

    stop, tokens = ("cd", "b<end>c"), [*b"ab", 256, 1]
    assert TextStream(Joined(), stop).push(tokens, final=True) == "a"
    assert before_stop(tokens, stop, Joined()) == "a"
