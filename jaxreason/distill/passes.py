"""Plans the requests to a teacher: the questions, one or two passes over them, and which replies are missing."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from jaxreason.config import ConfigError, to_dict
from jaxreason.data.encoding import encode_prompts
from jaxreason.data.examples import Example, load_examples, prompt_messages
from jaxreason.data.rows import DropLog, is_missing
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.distill.distill_config import DistillConfig
from jaxreason.errors import UserError
from jaxreason.results import claims
from jaxreason.results.distill_files import distill_replies_path, read_replies, replies_head
from jaxreason.results.jsonl import grown_exists, join_parts, read_grown, write_jsonl
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.gold_answers import unmatched
from jaxreason.tasks.registry import TASKS, grader_version

_LOG = logging.getLogger(__name__)

MAIN, NO_THINK = "main", "no_think"
FORMAT = 1
NO_LIMIT = 2**31
# Field of a record: how a teacher that runs here is held in memory; records of older versions lack it.
HELD = "held"


@dataclass(frozen=True)
class TeacherQuestion:
    """A question. `key` is `<dataset>/<id>`; `source` is the name under which its yield is reported."""

    key: str
    source: str
    example: Example


@dataclass(frozen=True)
class Pass:
    """One pass: all questions, asked in one way. Each pass has its own file of replies.

    Attributes:
      name: MAIN or NO_THINK.
      thinking: the chat template's switch.
      decoding: how replies are sampled.
      samples: replies to each question.
      prompts: the prompt of each question, as tokens of the local tokenizer.
      asked: for each question, a hash of what the teacher is asked.
      head: what replies depend on beside their question.
    """

    name: str
    thinking: bool | None
    decoding: SamplingParams
    samples: int
    prompts: list[tuple[int, ...]]
    asked: list[str]
    head: dict[str, Any]


@dataclass(frozen=True)
class DistillPlan:
    """The questions, the passes over them, and the rows that were left out, by dataset and reason."""

    questions: list[TeacherQuestion]
    passes: list[Pass]
    rows: dict[str, dict]


def plan_passes(
    config: DistillConfig, tokenizer: Tokenizer, identity: dict[str, Any], seed: int
) -> DistillPlan:
    """Plans the passes of a distillation.

    Args:
      config: the recipe's section.
      tokenizer: the teacher's tokenizer if it runs here, else the one that counts tokens.
      identity: identity of the teacher.
      seed: seed of the run.

    Raises:
      UserError: no question is left, or a question has more than one turn.
    """
    drops = DropLog()
    questions = _load(config, drops)
    room = config.sampler.max_length if config.on_engine else NO_LIMIT
    encoded = {}
    for name, thinking, decoding, _ in _ways(config):
        longest = room - decoding.max_tokens if config.on_engine else NO_LIMIT
        examples = [question.example for question in questions]
        kept, tokens = encode_prompts(examples, tokenizer, thinking, longest, drops)
        there = {id(example) for example in kept}
        questions = [question for question in questions if id(question.example) in there]
        encoded[name] = {id(e): tuple(ids) for e, ids in zip(kept, tokens, strict=True)}
    passes = [
        _make_pass(config, way, questions, encoded[way[0]], identity | {"seed": seed})
        for way in _ways(config)
    ]
    _check_differ(config, passes)
    return DistillPlan(questions, passes, drops.to_json())


def _ways(config: DistillConfig) -> list[tuple[str, bool | None, SamplingParams, int]]:
    ways = [(MAIN, config.thinking, config.decoding, config.samples)]
    if config.no_think == "generate":
        decoding = config.no_think_decoding or config.decoding
        ways.append((NO_THINK, False, decoding, config.no_think_samples or config.samples))
    return ways


def _load(config: DistillConfig, drops: DropLog) -> list[TeacherQuestion]:
    questions = []
    for name, dataset in config.datasets.items():
        examples = load_examples(dataset, drops)
        if told := unmatched(examples):
            _LOG.warning("%s", told)
        for example in examples:
            _check_one_turn(example)
            given = example.metadata.get("data_source")
            source = str(name if is_missing(given) else given or name)
            questions.append(TeacherQuestion(f"{name}/{example.id}", source, example))
    return questions


def _check_one_turn(example: Example) -> None:
    """Checks that a row has one question only, because the turns before it would be lost.

    Raises:
      UserError: names the question.
    """
    roles = [message["role"] for message in prompt_messages(example)]
    if roles not in (["user"], ["system", "user"]):
        raise UserError(
            f"{example.metadata.get('where', example.id)}: expected one question, perhaps after a system message, to "
            f"distill an answer to; got messages of {', '.join(roles)}."
        )


def _make_pass(
    config: DistillConfig,
    way: tuple[str, bool | None, SamplingParams, int],
    questions: Sequence[TeacherQuestion],
    encoded: dict[int, tuple[int, ...]],
    known: dict[str, Any],
) -> Pass:
    name, thinking, decoding, samples = way
    prompts = [encoded[id(question.example)] for question in questions]
    asked = [
        _hash(list(prompt) if config.on_engine else prompt_messages(question.example))
        for question, prompt in zip(questions, prompts, strict=True)
    ]
    head = {"format": FORMAT, "pass": name, "thinking": thinking, "decoding": to_dict(decoding)}
    return Pass(name, thinking, decoding, samples, prompts, asked, head | known)


def _check_differ(config: DistillConfig, passes: list[Pass]) -> None:
    if len(passes) == 2 and config.on_engine and passes[0].prompts == passes[1].prompts:
        raise ConfigError(
            "distill.no_think='generate': expected a chat template that asks otherwise with thinking=False; this one "
            "asks the same. 'drop' takes the thoughts out of the replies."
        )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def contents(asked: DistillPlan) -> dict[str, Any]:
    """Returns everything that a dataset is made of beside replies: what rows and graders know of the questions."""
    digest = hashlib.sha256()
    for question in asked.questions:
        e = question.example
        known = {name: value for name, value in e.metadata.items() if name != "where"}
        read = [question.key, question.source, e.task, e.answer, known, list(e.messages)]
        digest.update(json.dumps(read, sort_keys=True, default=str).encode(errors="surrogatepass"))
    tasks = sorted({question.example.task for question in asked.questions})
    versions = {task: grader_version(TASKS[task]) for task in tasks}
    return {"questions": len(asked.questions), "sha256": digest.hexdigest(), "graders": versions}


def reply_seed(seed: int, name: str, question: str, sample: int, bits: int) -> int:
    """Returns the seed of one reply. It depends on these arguments only, not on the order in which replies arrive."""
    text = f"{seed}/distill/{name}/{question}/{sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - bits)


def claim_pass(folder: epath.Path, one: Pass) -> None:
    """Writes the record of a pass, or refuses a file of replies that were made with other settings.

    Raises:
      ConfigError: shows the differences.
    """
    path = distill_replies_path(folder, one.name)
    begun = grown_exists(path) and bool(read_grown(path))
    older = {"sections": {"decoding": SamplingParams}, "later": (HELD,)}
    claims.claim(path.parent, one.head, begun, name=replies_head(one.name), **older)


def replies_of(
    folder: epath.Path, one: Pass, questions: Sequence[TeacherQuestion]
) -> dict[tuple[int, int], dict[str, Any]]:
    """Returns the existing replies by (place of the question, sample).

    Replies to questions or samples that are no longer asked for stay in the file but are not returned.

    Raises:
      ConfigError: a question was worded differently then.
    """
    places = {question.key: place for place, question in enumerate(questions)}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for line in read_replies(folder, one.name):
        place = places.get(line["id"])
        if place is None or not 0 <= line["sample"] < one.samples:
            continue
        if line["of"] != one.asked[place]:
            raise ConfigError(
                f"{distill_replies_path(folder, one.name)}: {line['id']!r} was asked in other words than this run does "
                "(its text, template or system message has changed). Use another --workdir, or remove the replies to "
                "it."
            )
        found.setdefault((place, line["sample"]), line)
    return found


def missing_replies(
    folder: epath.Path, one: Pass, questions: Sequence[TeacherQuestion]
) -> list[tuple[int, int]]:
    """Returns (place of the question, sample) of each missing reply, in order."""
    there = replies_of(folder, one, questions)
    pairs = ((p, s) for p in range(len(questions)) for s in range(one.samples))
    return [pair for pair in pairs if pair not in there]


def sort_replies(folder: epath.Path, one: Pass, questions: Sequence[TeacherQuestion]) -> None:
    """Sorts the lines of a file by question; those that are no longer asked for come last.

    So the file does not depend on the order in which replies arrived. On a bucket it becomes one object.
    """
    path = distill_replies_path(folder, one.name)
    lines = read_replies(folder, one.name)
    places = {question.key: place for place, question in enumerate(questions)}
    last = len(questions)
    ordered = sorted(lines, key=lambda line: (places.get(line["id"], last), line["sample"]))
    if ordered != lines:
        write_jsonl(path, ordered)
    join_parts(path)


def reply_line(
    one: Pass,
    question: TeacherQuestion,
    place: int,
    sample: int,
    content: str,
    reasoning: str | None,
    finish_reason: str,
    num_tokens: int | None,
) -> dict[str, Any]:
    """Returns the line of a reply, unchanged."""
    return {
        "id": question.key,
        "sample": sample,
        "of": one.asked[place],
        "content": content,
        "reasoning_content": reasoning,
        "finish_reason": finish_reason,
        "num_tokens": num_tokens,
    }
