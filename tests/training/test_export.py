"""Exported twins stop where they learned to: every kind of base by every way of exporting, and a trained twin."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import transformers
from base_folders import DOCUMENT, HF_CONFIG, PADS, STOPS, TURN, model_config, write_model
from tiny_models import random_params
from tiny_rl import SAMPLER as TINY_SAMPLER
from tiny_rl import rl_config
from tiny_sft import ADAMW, ONE_DEVICE, make_recipe

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import make_model, open_model
from jaxreason.rl import loop as rl
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import make_mesh
from jaxreason.training import sft
from jaxreason.training.convert import run_convert
from jaxreason.training.state import TrainState

WAYS = ("sft", "rl", "convert a run", "convert a folder")


def mesh():
    return make_mesh(ONE_DEVICE, jax.devices()[:1])


def read(folder, name):
    return json.loads((folder / name).read_text())


def export(way, base, folder):
    """The export of an untrained twin of `base`."""
    model = make_model(model_config(), architecture_from_hf(HF_CONFIG))
    params = random_params(abstract_params(model))  # nothing is compiled for them
    if way == "convert a folder":
        run_convert(model_config(base), mesh(), str(base), str(folder / "out"))
        return folder / "out"
    if way == "convert a run":
        with Checkpointer(folder / "run" / "checkpoints", keep=0) as checkpoints:
            checkpoints.save(1, {"params": params, "step": np.int32(1)})
        checkpoints = str(folder / "run" / "checkpoints")
        run_convert(model_config(base), mesh(), checkpoints, str(folder / "out"))
        return folder / "out"
    recipe = make_recipe(folder) if way == "sft" else rl_config("questions.jsonl")
    state = TrainState(np.int32(1), params, {})
    loop = {"sft": sft, "rl": rl}[way]
    with Interrupt() as interrupt:
        tokenizer = load_tokenizer(base)
        loop.export(recipe, model, state, str(base), tokenizer, folder, interrupt)
    return folder / "model"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", STOPS)
def test_every_way_of_exporting_every_kind_of_base_names_the_same_stop_tokens(kind, way, tmp_path):
    base = write_model(kind, tmp_path / "base")
    trained = load_tokenizer(base)
    folder = export(way, base, tmp_path)
    exported = load_tokenizer(folder)
    assert list(exported.stop_tokens.items()) == list(trained.stop_tokens.items())
    assert tuple(exported.stop_tokens.values()) == STOPS[kind]
    assert exported.stop_ids == trained.stop_ids and exported.pad_id == trained.pad_id
    ids = list(exported.stop_tokens)
    declared = ids[0] if len(ids) == 1 else ids
    assert read(folder, "config.json")["eos_token_id"] == declared
    assert read(folder, "generation_config.json")["eos_token_id"] == declared
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert (theirs.eos_token, theirs.eos_token_id) == (STOPS[kind][0], ids[0])
    assert theirs.pad_token == PADS[kind]
    pads = read(folder, "generation_config.json").get("pad_token_id")
    assert pads == (None if PADS[kind] is None else exported.pad_id)
    assert "pad_token_id" not in read(folder, "config.json")


@pytest.mark.parametrize(("way", "most"), [("sft", 32), ("rl", 8), ("convert a folder", 4)])
def test_a_limit_of_the_base_is_raised_to_the_longest_reply_of_the_training(way, most, tmp_path):
    folder = export(way, write_model("base", tmp_path / "base"), tmp_path)
    assert read(folder, "generation_config.json")["max_new_tokens"] == most


QUESTIONS = {f"{a}+{b}=": str(a + b) * (1 + (a + b) % 3) for a in (1, 4, 7) for b in (2, 8)}
SAMPLER = dataclasses.replace(TINY_SAMPLER, slots=8, max_length=40)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The folder of a run that has learned six answers from a base whose files name the end of a document alone."""
    folder = tmp_path_factory.mktemp("twin")
    base = write_model("base", folder / "base")
    rows = [{"question": q, "answer": a} for q, a in QUESTIONS.items()]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(folder)
    recipe = dataclasses.replace(
        recipe,
        datasets={
            "sums": dataclasses.replace(recipe.datasets["sums"], path=str(folder / "answers.jsonl"))
        },
        tokenizer="",
        length=16,
        pack=False,
        batch_size=6,
        epochs=100.0,
        optimizer=dataclasses.replace(ADAMW, learning_rate=2e-2, weight_decay=0.0),
        log_every=50,
        checkpoint_every=0,
    )
    with jax.set_mesh(mesh()):
        sft.run_sft(recipe, model_config(base), mesh(), folder / "run", seed=3)
    return folder / "run"


@pytest.fixture(scope="module")
def ours(twin):
    """Our greedy reply to each question: tokens, text and why it ended."""
    model, params = open_model(model_config(twin / "model"), mesh())
    tokenizer = load_tokenizer(twin / "model")
    ends = tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode
    engine = Engine(model, params, SAMPLER, mesh(), *ends)
    prompts = [tokenizer.encode_prompt(said(question), None) for question in QUESTIONS]
    requests = [Request(str(i), tuple(prompt), 0, 1) for i, prompt in enumerate(prompts)]
    found = engine.generate(requests, SamplingParams(0.0, 0, 1.0, 20, ()))
    replies = sorted(found, key=lambda c: int(c.id))
    return [
        (p, c.tokens, tokenizer.decode(c.tokens)) for p, c in zip(prompts, replies, strict=True)
    ]


def said(question):
    return [{"role": "user", "content": question}]


@pytest.mark.slow
def test_the_trained_twin_ends_its_turns_and_not_a_document(twin, ours):
    turn = load_tokenizer(twin / "model").stop_tokens
    assert [text for _, _, text in ours] == list(QUESTIONS.values())
    assert {turn[tokens[-1]] for _, tokens, _ in ours} == {TURN} and DOCUMENT in turn.values()


@pytest.mark.slow
def test_transformers_generate_stops_after_the_answer(twin, ours):
    torch = pytest.importorskip("torch", reason="Hugging Face's generate needs torch")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(twin / "model").eval()
    for prompt, tokens, _ in ours:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = theirs.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False)
        assert tuple(made[0, len(prompt) :].tolist()) == tokens


def test_the_text_pipeline_asked_with_messages_stops_after_the_answer(twin, ours):
    pytest.importorskip("torch", reason="Hugging Face's pipelines need torch")
    ask = transformers.pipeline("text-generation", model=str(twin / "model"), device="cpu")
    for batch in (1, 3):  # in a batch short prompts are padded
        found = ask([said(q) for q in QUESTIONS], do_sample=False, batch_size=batch)
        texts = [one[0]["generated_text"][-1]["content"] for one in found]
        assert texts == [text for _, _, text in ours]


def test_a_base_named_as_it_was_would_run_on(twin, ours):
    """With the base's end of a document alone the replies do not end: what the export is for."""
    torch = pytest.importorskip("torch", reason="Hugging Face's generate needs torch")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(twin / "model").eval()
    document = {text: i for i, text in load_tokenizer(twin / "model").stop_tokens.items()}[DOCUMENT]
    for prompt, tokens, _ in ours:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = theirs.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                eos_token_id=document,
                max_new_tokens=len(tokens) + 2,
            )
        assert made.shape[1] > len(prompt) + len(tokens)


def test_the_program_on_the_card_asks_the_twin_as_it_was_trained(twin, ours, capsys):
    pytest.importorskip("torch", reason="Hugging Face's models need torch")
    text = (twin / "model" / "README.md").read_text()
    program = text.partition("```python\n")[2].partition("```")[0]
    for (_, _, reply), question in zip(ours, QUESTIONS, strict=True):
        exec(program, {"FOLDER": str(twin / "model"), "QUESTION": question})
        assert capsys.readouterr().out == reply + "\n"
