"""`jaxreason check`: shows in seconds what a recipe would train on and ask.

It loads no weights, compiles nothing and writes nothing.
"""

import dataclasses
import math
import os
import tempfile
from collections.abc import Sequence

import jax
from etils import epath

from jaxreason.config import parse
from jaxreason.data.encoding import encode_examples, encode_prompts
from jaxreason.data.examples import Example, each_reply, load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distill.distill_config import DistillConfig, check_distill
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmarks import count_repeated
from jaxreason.evaluation.eval_jobs import asked_jobs, encode_all
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig, resolve, static_model
from jaxreason.results.atomic_files import glob_in
from jaxreason.results.distill_files import distill_folder
from jaxreason.rl.checks import check_rl
from jaxreason.rl.rl_config import RLConfig
from jaxreason.studies.question_set import QuestionsConfig, check_sources, prepare_questions
from jaxreason.studies.recipe_sections import section_classes
from jaxreason.studies.study_checks import check_stages
from jaxreason.tasks.gold_answers import unmatched
from jaxreason.training.sft_config import SFTConfig, check_sft
from jaxreason.training.state import warn_of_rounding
from jaxreason.verbs.call import Call
from jaxreason.verbs.device_setup import without_devices

MOST_ENCODED = 2000  # At most so many examples of a section are tokenized and counted.
LEARNED = ("«", "»")
NO_LIMIT = 2**31
FOUND_NOTHING = "nothing was found that would stop a run."


def check_verb(call: Call) -> None:
    """Prints what was found, one part after another.

    Raises:
      UserError: the first error found that would stop a run: a field, a path, a column, a template or a length.
    """
    without_devices(call)
    print(f"fields: all fit ({', '.join(call.config.keys())})")
    if "model" not in call.config:
        return _check_questions(call)
    with tempfile.TemporaryDirectory() as scratch:
        call = dataclasses.replace(call, config=prepare_questions(call.config, epath.Path(scratch)))
        if _only_in_arms(call):
            print("model: none but those of the arms")
            _check_study(call, None)
        else:
            model = _check_model(call.model)
            _check_training(call, model, scratch)
            _check_study(call, call.model.path, seen=model is not None)
    print(FOUND_NOTHING)


def _check_questions(call: Call) -> None:
    """Checks a recipe that only collects questions; one that only reads tables has nothing more to check."""
    if "questions" in call.config:
        config = call.section("questions", QuestionsConfig)
        check_sources(config)
        _load({name: source.data for name, source in config.sources.items()})
        print(FOUND_NOTHING)


def _only_in_arms(call: Call) -> bool:
    """Returns whether the recipe has models in the arms of its study alone, as one of finished checkpoints may."""
    return "study" in call.config and call.model.is_absent


def _check_training(call: Call, model: Model | None, scratch: str) -> None:
    if "distill" in call.config:
        _check_distill(call.section("distill", DistillConfig), call.model)
    found = {name: cls for name, cls in section_classes(call.config).items() if name in call.config}
    if model is not None and {SFTConfig, RLConfig} & set(found.values()):
        warn_of_rounding(model)
    for name, cls in found.items():
        if cls is SFTConfig:
            if waits := _unmade(call.section(name, SFTConfig), scratch):
                print(f"{name}: {waits} is what `jaxreason distill` makes, so it was not seen")
                continue
            _check_sft(name, call.section(name, SFTConfig), call.model, model)
        elif cls is RLConfig:
            _check_rl(name, call.section(name, RLConfig), call.model, model)


def _check_study(call: Call, path: str | None, seen: bool = True) -> None:
    """Checks the questions, by the tokenizer of `path` if it is given, and the stages if the models were seen."""
    if "eval" in call.config:
        _check_eval(parse(EvalConfig, call.config.eval, "config.eval"), path)
    if "study" in call.config and seen:
        call.require("eval", "drift", "transfer", "report")
        check_stages(call.config, None)


def _unmade(config: SFTConfig, scratch: str) -> str:
    """Returns the first dataset that a distillation would write into the working directory, or ""."""
    made = f"{distill_folder(scratch)}/"
    return next((name for name, d in config.datasets.items() if d.path.startswith(made)), "")


def _check_model(config: ModelConfig) -> Model | None:
    """Returns the static model; None if its settings are neither on this machine nor to be had from the hub."""
    path, here = config.path, epath.Path(config.path).expanduser()
    if config.init == "pretrained":
        try:
            settings = resolve(config.path, weights=False)
        except UserError as error:
            print(f"model: its settings and weights were not seen: {error}")
            return None
        config = dataclasses.replace(config, path=os.fspath(settings))
    model = static_model(config)
    size = sum(math.prod(x.shape) for x in jax.tree.leaves(abstract_params(model)))
    print(f"model: {path or 'made at random'}, {size:,} parameters")
    if path and here.is_dir() and not glob_in(here, "*.safetensors"):
        raise UserError(f"{here}: no *.safetensors file, so there are no weights to start from.")
    return model


def _check_sft(name: str, config: SFTConfig, model_config: ModelConfig, model: Model | None):
    tokenizer = _check_tokenizer(name, config.tokenizer or model_config.path)
    if model is not None:
        check_sft(config, model, tokenizer, None)
    examples = _load(config.datasets)
    if config.every_reply:
        examples = [part for example in examples for part in each_reply(example)]
    drops, some = DropLog(), examples[:MOST_ENCODED]
    kept, encoded = encode_examples(some, tokenizer, config.thinking, NO_LIMIT, drops)
    lengths = [len(tokens) for tokens, _ in encoded]
    _say_counts(name, "examples", examples, some, lengths, config.length, drops)
    print(f"{name}: {kept[0].id} as it is learned, what counts between {' and '.join(LEARNED)}:")
    print(_indented(marked(tokenizer, *encoded[0])))


def _check_rl(name: str, config: RLConfig, model_config: ModelConfig, model: Model | None):
    tokenizer = _check_tokenizer(name, model_config.path)
    if model is not None:
        check_rl(config, model, None, tokenizer)
    _check_prompts(name, config, tokenizer, config.sampler.max_length - config.decoding.max_tokens)


def _check_distill(config: DistillConfig, model_config: ModelConfig):
    check_distill(config)
    path = config.teacher.path if config.on_engine else config.tokenizer
    tokenizer = _check_tokenizer("distill", path or model_config.path)
    room = config.sampler.max_length - config.decoding.max_tokens if config.on_engine else NO_LIMIT
    _check_prompts("distill", config, tokenizer, room)


def _check_prompts(name: str, config: RLConfig | DistillConfig, tokenizer: Tokenizer, room: int):
    examples, drops = _load(config.datasets), DropLog()
    if told := unmatched(examples):
        print(f"{name}: {told}")
    some = examples[:MOST_ENCODED]
    kept, encoded = encode_prompts(some, tokenizer, config.thinking, NO_LIMIT, drops)
    _say_counts(name, "prompts", examples, some, [len(tokens) for tokens in encoded], room, drops)
    print(f"{name}: {kept[0].id} as it is asked, answer {kept[0].answer!r}:")
    print(_indented(tokenizer.show(encoded[0])))


def _check_eval(config: EvalConfig, path: str | None) -> None:
    tokenizer = None if path is None else load_tokenizer(path)
    for part in asked_jobs(config):
        name = f"eval.{part.key.name}"
        if repeated := count_repeated(part.items):
            print(
                f"{name}: {repeated} questions repeat an earlier one; intervals count both as one"
            )
        if tokenizer is None:
            print(f"{name}: {len(part.items)} questions")
            continue
        some = part.items[:MOST_ENCODED]
        prompts, problems = encode_all(tokenizer, config, some)
        longest = max(map(len, prompts))
        if problems:
            print(
                f"{name}: {len(problems)} of {len(some)} questions cannot be put and count as errors"
            )
        print(f"{name}: {len(part.items)} questions, longest prompt {longest} tokens")
        room = config.sampler.max_length - part.decoding.max_tokens
        if part.kind == "generate" and longest > room:
            print(
                f"{name}: prompts over {room} tokens cut replies short of the decoding's max_tokens"
            )


def _check_tokenizer(name: str, path: str) -> Tokenizer:
    tokenizer = load_tokenizer(path)
    ends = ", ".join(f"{tokenizer.show([i])!r} ({i})" for i in tokenizer.stop_ids)
    print(f"{name}: tokenizer of {tokenizer.vocab_size:,} tokens; a reply ends with {ends}")
    return tokenizer


def _load(datasets: dict[str, DatasetConfig]) -> list[Example]:
    drops = DropLog()
    examples = [e for dataset in datasets.values() for e in load_examples(dataset, drops)]
    for dataset in datasets.values():
        print(f"data: {dataset.label}: {drops.summary(dataset.label)}")
    return examples


def _say_counts(
    name: str,
    noun: str,
    examples: Sequence[Example],
    some: Sequence[Example],
    lengths: list[int],
    limit: int,
    drops: DropLog,
) -> None:
    """Prints how many examples there are and how long they are; raises UserError if none of them fits."""
    over = sum(length > limit for length in lengths)
    if over == len(lengths):
        raise UserError(
            f"{name}: all {noun} are longer than {limit} tokens (the shortest has {min(lengths)})."
        )
    bad = sum(sum(counts["dropped"].values()) for counts in drops.to_json().values())
    seen = f", of the first {len(some)}" if len(some) < len(examples) else ","
    found = (
        f"{seen} the longest has {max(lengths)} tokens, {over} have more than the limit of {limit}"
    )
    print(f"{name}: {len(examples)} {noun}{found}, {bad} are refused by the chat template")


def marked(tokenizer: Tokenizer, tokens: Sequence[int], mask: Sequence[int]) -> str:
    """Returns the tokens as text, special tokens included, with marks around those that the mask selects."""
    start = mask.index(1) if 1 in mask else len(mask)
    opened, closed = LEARNED
    return f"{tokenizer.show(tokens[:start])}{opened}{tokenizer.show(tokens[start:])}{closed}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
