"""Metadata of a model card: the front matter that the Hub reads, and paths with the machine's own folders replaced."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from etils import epath

from jaxreason.errors import UserError
from jaxreason.models.huggingface import resolve
from jaxreason.results.atomic_files import absolute, is_remote
from jaxreason.results.card_scores import CARD_FILE
from jaxreason.results.study_files import is_study

TAG = "jaxreason"
_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_HUB_DATASET = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_FRONT_MATTER = re.compile(r"---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_LICENSE = ("license", "license_name", "license_link")
_MOST_LICENSE = 300  # characters


def front_matter(base: str, section: Mapping[str, Any], stage: str) -> str:
    """The YAML that the Hub reads. A base or a dataset is named there only if the Hub has it."""
    value: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if _on_hub(base, _HUB_NAME):
        value["base_model"] = base
        if stage:
            value["base_model_relation"] = "finetune"
    sources = section.get("datasets", {}).values()
    names = [one["path"] for one in sources if one.get("source") == "huggingface"]
    names = [name for name in dict.fromkeys(names) if _on_hub(name, _HUB_DATASET)]
    if names:
        value["datasets"] = names
    value |= _license(base)
    value["tags"] = [TAG, stage] if stage else [TAG]
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _on_hub(name: str, pattern: re.Pattern) -> bool:
    """Whether the name is one of the Hub: it has the form of one, and no local folder has this name."""
    return bool(pattern.fullmatch(name)) and not epath.Path(name).exists()


def _license(base: str) -> dict[str, str]:
    """The license fields of the base's own card; {} if it has none or the base is gone."""
    try:
        text = read_card(resolve(base)) if base else ""
    except UserError:  # the base is gone
        return {}
    found = settings_of(text)
    kept = {name: found[name] for name in _LICENSE if isinstance(found.get(name), str)}
    whole = "license" in kept and all(len(value) <= _MOST_LICENSE for value in kept.values())
    return kept if whole else {}


def read_card(folder: epath.Path) -> str:
    """The text of a folder's card; "" without one."""
    file = folder / CARD_FILE
    local = is_remote(file) or Path(file).is_file()  # a pipe would be waited for
    return file.read_bytes().decode(errors="replace") if local and file.exists() else ""


def settings_of(card: str) -> dict[str, Any]:
    """The front matter of a card as a dict; {} if it has none, or it is no YAML object."""
    found = _FRONT_MATTER.match(card)
    try:
        value = yaml.safe_load(found[1]) if found else {}
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def roots_of(run: epath.Path | None) -> list[tuple[str, str]]:
    """Folders of this machine, and the text that is shown in place of each."""
    own = [] if run is None else [absolute(run)]
    if own and is_study(own[0].parent.parent):
        own.append(own[0].parent.parent)
    home = os.path.expanduser("~").rstrip("/")
    return [(f"{folder}/", "") for folder in map(str, own)] + ([(home, "~")] if home else [])


def without_places(value: Any, roots: list[tuple[str, str]]) -> Any:
    """Replaces the folders of `roots_of` in all texts of a plain value (nested dicts, lists and strings)."""
    if isinstance(value, dict):
        return {key: without_places(item, roots) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item, roots) for item in value]
    if isinstance(value, str):
        for folder, shown in roots:
            end = "" if folder.endswith("/") else r"(?![\w.-])"
            pattern = rf"(?<![\w.~-]){re.escape(folder)}{end}"
            value = re.sub(pattern, lambda _, shown=shown: shown, value)
    return value
