"""README.md of an exported folder: the base, the data, the recipe, the code, and how to prompt the model.

Everything in it is read from files: the record of the run (config.json, metrics.jsonl), the base's own card and
config files. Facts that are not known are left out.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.models.card_metadata import (
    TAG,
    front_matter,
    read_card,
    roots_of,
    settings_of,
    without_places,
)
from jaxreason.models.huggingface import resolve
from jaxreason.results.atomic_files import read_object
from jaxreason.results.card_scores import (
    MODEL,
    NO_SCORES,
    as_code,
    as_words,
    has_marks,
    without_scores,
)
from jaxreason.results.jsonl import grown_exists
from jaxreason.results.training_files import metrics_path, read_metrics

_METHODS = {"sft": "supervised fine-tuning", "rl": "reinforcement learning from verified answers"}
_ASK = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
messages = [{{"role": "user", "content": QUESTION}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{switch}
)
reply = model.generate(**prompt{limit})[0, prompt["input_ids"].shape[1] :]
print(tokenizer.decode(reply, skip_special_tokens=True))
```"""


def run_card(
    run: epath.PathLike, stop_tokens: Mapping[int, str], steps: int | None, code: Mapping[str, Any]
) -> str:
    """The card of a model that a training run made.

    Args:
      run: folder of the run; without its config.json the card leaves out base, data and recipe.
      stop_tokens: id and text of each, the one that ends a turn first.
      steps: training steps after which the model is as it is exported; None for all that the run's metrics hold.
      code: what the export is made with, as `results.code_version` gives it.

    Raises:
      UserError: config.json or metrics.jsonl is broken.
    """
    steps = _last_step(epath.Path(run)) if steps is None else steps
    path = epath.Path(run) / "config.json"
    found = read_object(path, {"claimed": dict, "recipe": dict}) if path.exists() else {}
    record = without_places(found, roots_of(epath.Path(run)))
    claimed, recipe = record.get("claimed", {}), record.get("recipe", {})
    stage = claimed.get("stage", "")
    section, model = recipe.get(stage, {}), recipe.get("model", {})
    base = found.get("recipe", {}).get("model", {}).get("path", "")
    made = [*record.get("code", []), code]
    front = front_matter(base, section, stage)
    parts = [
        f"# {as_words(_title(model, stage))}",
        _section("Base", _base(claimed, model)),
        _section("Data", _data(claimed.get("data", {}), section.get("datasets", {}))),
        _section("Recipe", _recipe(stage, recipe, section, model, steps)),
        _section("How it is asked", _asking(section, stop_tokens)),
        _section("Made with", _made_with(made)),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n{NO_SCORES}"


def converted_card(source: str, stop_tokens: Mapping[int, str], code: Mapping[str, Any]) -> str:
    """The card of a model folder or hub model stored anew: its own, if it has one of these, but for the scores.

    Args:
      source: as the user names it.
      stop_tokens, code: as of `run_card`.
    """
    text = read_card(resolve(source))
    if has_marks(text) and TAG in (settings_of(text).get("tags") or ()):
        return without_scores(text)
    shown = without_places(source, roots_of(None))
    parts = [
        f"# {as_words(_name(shown))}",
        _section("Base", f"{as_code(shown)}, its weights stored anew and not trained."),
        _section("How it is asked", _asking({}, stop_tokens)),
        _section("Made with", _made_with([code])),
    ]
    front = front_matter(source, {}, "")
    return f"---\n{front}---\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n{NO_SCORES}"


def mixed_card(
    base: str,
    tuned: str,
    done: Mapping[str, Any],
    stop_tokens: Mapping[int, str],
    code: Mapping[str, Any],
) -> str:
    """The card of a model whose weights were made from two models'.

    Args:
      base, tuned: as the user names them.
      done: what was done, as plain values.
      stop_tokens, code: as of `run_card`.
    """
    shown = [without_places(name, roots_of(None)) for name in (base, tuned)]
    parts = [
        f"# {as_words(_name(shown[1]))}, its weights changed",
        _section("Base", f"{as_code(shown[0])}, and {as_code(shown[1])}, which was tuned from it."),
        _section("What was done", _block(without_places(dict(done), roots_of(None)))),
        _section("How it is asked", _asking({}, stop_tokens)),
        _section("Made with", _made_with([code])),
    ]
    front = front_matter(base, {}, "")
    return f"---\n{front}---\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n{NO_SCORES}"


def longest_reply(section: Mapping[str, Any]) -> int | None:
    """The largest number of tokens of a reply in training, from the recipe's section; None if it does not say."""
    decoding = section.get("decoding")
    return decoding["max_tokens"] if decoding else section.get("length")


def _last_step(run: epath.Path) -> int | None:
    path = metrics_path(run)
    lines = read_metrics(path) if grown_exists(path) else []
    return lines[-1]["step"] if lines else None


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _title(model: Mapping[str, Any], stage: str) -> str:
    name = _name(model.get("path", "")) or "A model that began at random"
    method = _METHODS.get(stage)
    return f"{name}, after {method}" if method else name


def _name(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2]
    return path if name == MODEL else name  # every run calls it so


def _base(claimed: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    if not model:
        return ""
    if model.get("init") == "random":
        start = f"None: the parameters began at random, with seed {claimed['seed']}, and this architecture:"
        return f"{start}\n\n{_block(model['architecture'])}"
    name, identity = f"{as_code(model['path'])}.", claimed.get("base")
    if not identity:
        return name
    return f"{name} SHA-256 of its weights and config.json: `{identity['sha256']}`."


def _data(contents: Mapping[str, Any], datasets: Mapping[str, Any]) -> str:
    if not contents:
        return ""
    counts = list(dict.fromkeys(k for c in contents.values() for k, v in c.items() if _count(v)))
    head = ["data set", "source", *(name.replace("_", " ") for name in counts), "SHA-256"]
    lines = [
        [
            as_words(name),
            _source(datasets.get(name, {})),
            *(c.get(k, "") for k in counts),
            c.get("sha256", ""),
        ]
        for name, c in contents.items()
    ]
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(value: Any) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", str(value))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _source(dataset: Mapping[str, Any]) -> str:
    split = f" ({as_words(dataset['split'])})" if dataset.get("split") else ""
    return f"{dataset['source']}: {as_code(dataset['path'])}{split}" if dataset else ""


def _recipe(
    stage: str,
    recipe: Mapping[str, Any],
    section: Mapping[str, Any],
    model: Mapping[str, Any],
    steps: int | None,
) -> str:
    made = "" if steps is None else f"{steps} training step{'s' if steps != 1 else ''}. "
    if not section:
        return made.strip()
    seed = f"Seed {recipe['seed']}. " if "seed" in recipe else ""
    return f"{made}{seed}As it was run:\n\n{_block({stage: section, 'model': model})}"


def _block(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def _asking(section: Mapping[str, Any], stop_tokens: Mapping[int, str]) -> str:
    thinking = section.get("thinking")
    lines = [_switch(thinking)] if "thinking" in section else []
    datasets = section.get("datasets", {})
    templates = dict.fromkeys(one.get("prompt_template", "{prompt}") for one in datasets.values())
    if list(templates) == ["{prompt}"]:
        lines.append("A question was put as it is in the data, with nothing before or after it.")
    else:
        lines += [f"A question was put as\n\n{_block(text)}\n" for text in templates]
    stops = ", ".join(f"{as_code(text)} ({token})" for token, text in stop_tokens.items())
    lines.append(f"A reply ends with one of: {stops}. The first ends a turn.")
    switch = "" if thinking is None else f", enable_thinking={thinking}"
    limit = longest_reply(section)
    tokens = "" if limit is None else f", max_new_tokens={limit}"
    return "\n".join(
        [*(f"- {line}" for line in lines), "", _ASK.format(switch=switch, limit=tokens)]
    )


def _switch(thinking: bool | None) -> str:
    if thinking is None:
        return "The chat template was used as it is: `enable_thinking` was not passed to it."
    how = "with" if thinking else "without"
    return f"It was trained {how} thinking: pass `enable_thinking={thinking}` to the chat template."


def _made_with(code: list[Mapping[str, Any]]) -> str:
    """One line for each version of the code that took part, the oldest first."""
    return "\n".join(dict.fromkeys(f"- {_told(one)}" for one in code))


def _told(code: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in code["versions"].items())
    if "commit" not in code:
        return versions
    clean = "" if code["clean"] else ", with changes that are not in it"
    return f"{versions}; commit `{code['commit']}`{clean}"
