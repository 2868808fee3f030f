"""Texts, tokens and their places where a tokenizer puts a space and BOS before a text (Llama 2, Mistral)."""

import asyncio

import pytest
from sentence_pieces import write_pieces
from serving import serve_config

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.sampling.sampling_params import Completion
from jaxreason.serve.choices import ChoiceWriter, TextStream, TokenLogprob
from jaxreason.serve.completions import RunningJob, _collect
from jaxreason.serve.preprocess import Preprocessor
from jaxreason.serve.prompt_logprobs import PromptLogprobs
from jaxreason.serve.token_texts import TokenTexts

PROMPT = "The capital is:"


@pytest.fixture(scope="module", params=["prepend", "first"])
def pieces(request, tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), request.param))


def number(tokenizer, *symbols):
    return tuple(tokenizer._hf.get_vocab()[symbol] for symbol in symbols)


def reply_of(tokenizer, prompt, text):
    """The tokens that `text` has after the prompt."""
    return tuple(tokenizer.encode_after(tokenizer.encode(prompt), text)[1])


class Scripted:
    """Gives every prompt its log-probabilities and the same reply, a token at a time."""

    def __init__(self, reply):
        self._reply = reply

    def submit(self, prompts):
        for prompt in prompts:
            prompt.fingerprint = "f"
            count = len(prompt.request.tokens) - 1
            if prompt.wants_logprobs:
                prompt.post("prompt", PromptLogprobs((-1.0,) * count, ((),) * count))
            for end in range(1, len(self._reply) + 1) if prompt.wants_replies else ():
                tokens, reason = self._reply[:end], "stop" if end == len(self._reply) else ""
                prompt.post(0, Completion("r", 0, tokens, (-1.0,) * end, reason))

    def cancel(self, prompts):
        pass


def answer(tokenizer, prompt, reply, **fields):
    """The choice of a completion."""
    vocab = len(tokenizer._hf.get_vocab())
    body = {"prompt": prompt, "max_tokens": 20, **fields}
    job = Preprocessor(serve_config(), tokenizer, vocab, ("m",)).completion(body)

    async def run():
        running = RunningJob(job, Scripted(reply), tokenizer)
        texts = TokenTexts(tokenizer.decode, tokenizer.token_bytes)
        return await _collect(running, ChoiceWriter(False, job.logprobs, texts), job)

    return asyncio.run(run())["choices"][0]


def test_a_token_has_its_space(pieces):
    texts = TokenTexts(pieces.decode, pieces.token_bytes)
    symbols = {"▁Paris": " Paris", "Paris": "Paris", "▁": " ", "<0x0A>": "\n", "<s>": "<s>"}
    for symbol, text in symbols.items():
        assert texts.text(*number(pieces, symbol)) == text
    assert texts.text(*number(pieces, "<0xC3>")) == "\N{REPLACEMENT CHARACTER}"


def test_tokens_that_differ_in_a_space_are_both_among_the_likeliest(pieces):
    one, other = number(pieces, "▁Paris", "Paris")
    shown = TokenLogprob(one, -0.1, ((one, -0.1), (other, -2.5)))
    texts = TokenTexts(pieces.decode, pieces.token_bytes)
    (found,) = ChoiceWriter(False, 5, texts)._table((shown,))["top_logprobs"]
    assert found == {" Paris": -0.1, "Paris": -2.5}
    (entry,) = ChoiceWriter(True, 5, texts)._table((shown,))["content"]
    assert [entry["token"], bytes(entry["bytes"])] == [" Paris", b" Paris"]
    assert [top["token"] for top in entry["top_logprobs"]] == [" Paris", "Paris"]


@pytest.mark.parametrize("stop", [(), ("never",)])
def test_the_text_of_a_reply_begins_as_it_follows_its_prompt(pieces, stop):
    for text in (" Paris is", "Paris", "é", "  Paris", "\nParis"):
        tokens = reply_of(pieces, PROMPT, text)
        stream = TextStream(pieces.decode, stop, pieces.encode(PROMPT))
        found = [stream.push(tokens[:end], end == len(tokens)) for end in range(1, len(tokens) + 1)]
        assert "".join(found) == text
        assert TextStream(pieces.decode, stop, pieces.encode(PROMPT)).push(tokens, True) == text
        assert answer(pieces, PROMPT, tokens)["text"] == text
        assert answer(pieces, PROMPT, tokens, echo=True)["text"] == PROMPT + text
    # Nothing precedes it.
    assert (
        TextStream(pieces.decode, (), [*pieces.begin]).push(pieces.encode_part("ab"), True) == "ab"
    )


@pytest.mark.parametrize("prompt", ["a數數數", "😀ééé", "😀\n😀", "aéaééé"])
def test_a_reply_keeps_its_space_after_characters_of_several_tokens(pieces, prompt):
    """The last eight tokens of the prompt begin within a character."""
    tokens = number(pieces, "▁Paris", "▁a")
    assert answer(pieces, prompt, tokens)["text"] == " Paris a"
    found = answer(pieces, prompt, tokens, echo=True, logprobs=0)
    assert found["text"] == prompt + " Paris a"
    places = [len(prompt), len(prompt) + 6]
    assert found["logprobs"]["text_offset"][-2:] == places
    begun = [*pieces.encode(prompt), *number(pieces, "<0xC3>")]  # And where one is not complete.
    assert answer(pieces, begun, tokens)["text"] == " Paris a"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bytes_that_break_whole_characters_before_them_break_them_in_a_stream_too(pieces, size):
    grin, broken = [f"<0x{byte:02X}>" for byte in "😀".encode()], "<0xFF>"
    tokens = number(pieces, *grin, *grin, broken, "a", *grin, "▁ab", *grin)
    whole = "\N{REPLACEMENT CHARACTER}" * 9 + "a😀 ab😀"  # as the tokenizer decodes it
    assert pieces.decode(tokens) == whole
    stream, ends = TextStream(pieces.decode, ()), [*range(size, len(tokens), size), len(tokens)]
    found = [stream.push(tokens[:end], final=end == len(tokens)) for end in ends]
    assert "".join(found) == whole
    assert any(found[:-1])  # not all of it at the end


def test_a_character_that_the_prompt_has_begun_is_not_lost(pieces):
    first, *rest = "é".encode()
    prompt = [*pieces.encode(PROMPT), *number(pieces, f"<0x{first:02X}>")]
    reply = number(pieces, *(f"<0x{byte:02X}>" for byte in rest), "Paris")
    assert TextStream(pieces.decode, (), prompt).push(reply, True) == pieces.decode(reply)


@pytest.mark.parametrize(
    "prompt",
    ["The capital is:", "ab cd", " ab", "é[INST] ab", "<s>ab", "ab </s>", "a\n\n ", "[INST]"],
)
def test_an_echo_is_the_text_that_was_sent(pieces, prompt):
    reply = (*reply_of(pieces, prompt, " Paris is"), *number(pieces, "</s>"))
    assert answer(pieces, prompt, reply, echo=True)["text"].startswith(prompt)
    found = answer(pieces, prompt, reply, echo=True, logprobs=1)
    text, table = found["text"], found["logprobs"]
    assert text[: len(prompt)] == prompt
    tokens = [*pieces.encode(prompt), *reply]
    assert len(table["tokens"]) == len(table["text_offset"]) == len(tokens)
    assert table["tokens"][0] == "<s>" and table["text_offset"][0] == 0
    count = len(pieces.encode(prompt))
    assert table["text_offset"][count] == len(prompt)
    for token, place in zip(table["tokens"][:count], table["text_offset"], strict=False):
        sent = token not in ("<s>", "</s>") or token in prompt
        if token.strip() and "\N{REPLACEMENT CHARACTER}" not in token and sent:
            assert text.startswith((token, token.lstrip(" ")), place)
    assert text[table["text_offset"][-1] :] == ""  # The end of the reply is not shown.


def test_an_echo_of_tokens_shows_those_that_were_sent(pieces):
    ids = pieces.encode(PROMPT)
    reply = reply_of(pieces, PROMPT, " Paris")
    whole = f"{pieces.show(ids)} Paris"  # Transformers shows a space after BOS.
    assert whole == f"<s> {PROMPT} Paris"
    assert answer(pieces, ids, reply, echo=True)["text"] == whole
    found = answer(pieces, ids, reply, echo=True, logprobs=1)
    assert found["text"] == whole
    assert found["logprobs"]["text_offset"] == [0, 3, 7, 15, 18, 19]


def test_the_places_of_a_reply_count_whole_characters_and_no_hidden_tokens(pieces):
    reply = (*reply_of(pieces, PROMPT, " Paris é"), *number(pieces, "[INST]", "Paris"))
    found = answer(pieces, PROMPT, reply, logprobs=1)
    assert found["text"] == " Paris éParis"
    assert found["logprobs"]["text_offset"] == [0, 6, 7, 7, 8, 8]


def test_places_where_nothing_precedes_the_reply(pieces):
    reply = number(pieces, "▁Paris", "▁is")
    found = answer(pieces, list(pieces.begin), reply, logprobs=1)
    assert found["text"][found["logprobs"]["text_offset"][1] :] == " is"
