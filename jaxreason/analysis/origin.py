"""The origin of a file of analysis/: models, texts and code. The file states it, and readers compare it."""

import dataclasses
import hashlib
import json
import logging
from typing import Any

from etils import epath

from jaxreason.analysis.drift_metrics import METRICS, reads_of
from jaxreason.analysis.texts import Unit
from jaxreason.config import claimed
from jaxreason.errors import UserError
from jaxreason.models.huggingface import ModelConfig, ModelSource
from jaxreason.results.atomic_files import check_object
from jaxreason.results.claims import brought_up, differences, plain_json, refuse
from jaxreason.results.drift_files import MADE_WITH, drift_path, read_drift, read_drift_part

_LOG = logging.getLogger(__name__)
OF_INTERVALS = ("resamples", "confidence", "seed")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The models, texts and code that drift is measured with.

    Attributes:
      section: the dataclass of the settings.
      settings: the section's fields, without those that change no number.
      models: how both models are run, and hashes of their weights.
      texts: for each unit (`<benchmark>.<source>`) the number of texts and a hash of them.
      of_folders: whether both models are folders, whose weights are compared as they are stored.
    """

    section: type
    settings: dict[str, Any]
    models: dict[str, Any]
    texts: dict[str, dict]
    of_folders: bool = False

    @classmethod
    def of(cls, section: Any, base: ModelSource, tuned: ModelSource, units: list[Unit]) -> "Origin":
        """Returns the origin of measurements of these models on these texts."""
        models = {"base": base, "tuned": tuned}
        hashes = {name: model.identity for name, model in models.items()}
        runs = {"run": {name: claimed(model.config) for name, model in models.items()}}
        texts = {unit_name(unit): _hash(unit) for unit in units}
        of_folders = all(model.folder is not None for model in models.values())
        return cls(
            type(section),
            plain_json(claimed(section)),
            plain_json(hashes | runs),
            texts,
            of_folders,
        )

    def of_metric(self, metric: str) -> dict[str, dict]:
        """Returns the origin that a metric's file states.

        The distance of weights depends only on the models; if both are folders, not even on how they are run.
        """
        about = METRICS[metric]
        if about.reads == "weights":
            kept = {k: v for k, v in self.models.items() if k != "run" or not self.of_folders}
            return {MADE_WITH: {"models": kept}}
        texts = {n: of for n, of in self.texts.items() if reads_of(_source(n)) == about.reads}
        made = self._made(about.reads, texts)
        others = {x for m in METRICS.values() for x in m.settings} - set(about.settings)
        own = {name: value for name, value in made["settings"].items() if name not in others}
        return {MADE_WITH: made | {"settings": own}}

    def of_part(self, unit: Unit) -> dict[str, dict]:
        """Returns the origin that the part of one unit states."""
        name = unit_name(unit)
        return {MADE_WITH: self._made(reads_of(unit.source), {name: self.texts[name]})}

    def _made(self, reads: str, texts: dict[str, dict]) -> dict[str, Any]:
        # The settings for choosing and reading replies change no number that is computed from questions.
        known = self.settings if reads == "texts" else {n: self.settings[n] for n in OF_INTERVALS}
        return {"settings": known, "models": self.models, "texts": texts}


def is_pending(workdir: epath.PathLike, metric: str, origin: Origin) -> bool:
    """Returns whether a metric must be measured: it has no file, or one with the texts of fewer or more benchmarks.

    Raises:
      UserError: its file is broken, or was made with something else; the message has the differences.
    """
    path, made = drift_path(workdir, metric), read_drift(workdir, metric)
    if made is None:
        return True
    old = check_object(made, {MADE_WITH: dict}, str(path))[MADE_WITH]
    new = origin.of_metric(metric)[MADE_WITH]
    if METRICS[metric].reads != "texts" and "run" not in new["models"]:
        # Before weights were read from the folders, the result depended on how the models were run.
        old = old | {"models": {k: v for k, v in old.get("models", {}).items() if k != "run"}}
    common = set(old.get("texts", {})) & set(new.get("texts", {}))
    changed = _changes(origin, _of_texts(old, common), _of_texts(new, common))
    refuse(path, changed, "Use another --workdir, or remove this file.")
    others = sorted(set(old.get("texts", {})) ^ set(new.get("texts", {})))
    if others:
        _LOG.info("%s: made again, since these came or went: %s.", path, ", ".join(others))
    return bool(others)


def _of_texts(made: dict[str, Any], names: set[str]) -> dict[str, Any]:
    if "texts" not in made:
        return made
    return made | {"texts": {name: of for name, of in made["texts"].items() if name in names}}


def _changes(origin: Origin, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns the differences of two origins; the old one may be from an older version."""
    runs = {f"models.run.{name}": ModelConfig for name in ("base", "tuned")}
    as_now = brought_up(old, {"settings": origin.section} | runs)
    # A file only has the settings that its metric reads.
    known = {*old.get("settings", {}), *new.get("settings", {})}
    settings = {name: x for name, x in as_now.get("settings", {}).items() if name in known}
    return differences(as_now | ({"settings": settings} if "settings" in old else {}), new)


def kept_metrics(workdir: epath.PathLike, origin: Origin, unit: Unit) -> dict[str, Any]:
    """Returns the metrics in the part of a unit, if it has this origin; none if it is broken or has other settings."""
    try:
        part = read_drift_part(workdir, unit_name(unit))
    except UserError as error:
        _LOG.warning("Measured anew: %s", error)
        return {}
    same = part is not None and part[MADE_WITH] == origin.of_part(unit)[MADE_WITH]
    return part["metrics"] if same else {}


def unit_name(unit: Unit) -> str:
    """Returns the name of a unit in file names."""
    return f"{unit.benchmark}.{unit.source}"


def _source(name: str) -> str:
    return name.rpartition(".")[2]


def _hash(unit: Unit) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps([unit.group, unit.num_cut, unit.num_dropped]).encode())
    for text in unit.texts:
        told = [text.id, text.tokens, text.reply_start, text.begun, text.ended]
        digest.update(json.dumps(told).encode())
    clusters = unit.clusters()
    if len(set(clusters)) < len(clusters):  # Else intervals are those of texts one by one.
        digest.update(json.dumps(clusters).encode())
    return {"texts": len(unit.texts), "sha256": digest.hexdigest()}
