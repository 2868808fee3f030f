"""The weights that an engine has, and their exchange for those of another folder, on every process of a job."""

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from etils import epath

from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.fingerprint import fingerprint
from jaxreason.models.huggingface import check_loadable, open_params, read_architecture, resolve
from jaxreason.models.safetensors_reader import first_not_finite
from jaxreason.models.weight_files import find_damage
from jaxreason.sampling.engine import Engine
from jaxreason.sharding import gather_texts

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
# What an architecture says beside what its programs do.
FREE = ("initializer_range", "max_position_embeddings")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


class LostWeightsError(RuntimeError):
    """The old weights are gone, and there are no new ones."""


class Weights:
    """What an engine has loaded; its parameters belong to nobody else.

    Args:
      engine: made with the weights of `folder`.
      model: the network, as they were loaded for it.
      tokenizer: the prompts' and replies'.
      folder: a model's.
    """

    def __init__(self, engine: Engine, model: Model, tokenizer: Tokenizer, folder: str):
        self._engine, self._model, self._tokenizer = engine, model, tokenizer
        self.first = self._folder = epath.Path(folder)
        self._note()

    def _note(self) -> None:
        self.fingerprint = _fingerprint(self._engine.sampled_from[1])
        self.loaded = int(time.time())

    def check(self, folder: epath.Path) -> None:
        """Whether these weights can take the place of those that are there; all bytes are read. Any process, alone.

        Raises:
          UserError: one line: what was expected, what came, and what to do.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected a Hugging Face model folder.")
        self._check_settings(folder)
        check_loadable(folder, self._model)
        found = find_damage(folder) or first_not_finite(folder)
        if found:
            raise UserError(found)

    def _check_settings(self, folder: epath.Path) -> None:
        architecture = read_architecture(resolve(os.fspath(folder)))
        differs = _first_difference(self._model.architecture, architecture)
        if differs:
            raise UserError(
                f"{folder / 'config.json'}: {differs}. Start another server for another architecture."
            )
        longest, room = self._engine.max_length, architecture.max_position_embeddings
        if room < longest:
            raise UserError(
                f"{folder / 'config.json'}: max_position_embeddings={room}; expected at least "
                f"sampler.max_length={longest}. Start a server with a smaller one."
            )
        has_own = any((folder / name).exists() for name in TOKENIZERS)
        other = self._tokenizer.other_token(load_tokenizer(folder)) if has_own else None
        if other is not None:
            raise UserError(
                f"{folder}: another tokenizer: {other}. Start another server for this model."
            )

    def change(self, folder: epath.Path) -> None:
        """Gives the engine the weights of `folder`; every process must call it, and `check` has passed.

        Headers are read once more before anything is touched. When a read fails after that, the folder of the weights
        from before is read again.

        Raises:
          UserError: on every process; the engine has the weights from before, or those that their folder holds by
            now, which it then says.
          LostWeightsError: on every process; these could not be read again either.
        """
        read = _agreed(lambda: open_params(folder, self._model, self._engine.mesh))
        try:
            self._replace(read)
        except Exception as error:
            _LOG.error("%s: reading failed (%s); reading %s again", folder, error, self._folder)
            before = self.fingerprint
            self._restore(error)
            then = "the weights from before were read again."
            if self.fingerprint != before:
                then = (
                    "the folder of the weights from before was read again, and holds others by now."
                )
            raise UserError(f"{folder}: reading failed ({error}); {then}") from error
        self._folder = folder
        self._note()

    def _replace(self, read: Callable[[tuple], jax.Array]) -> None:
        self._engine.replace_params(lambda path: _agreed(lambda: read(path)))

    def _restore(self, cause: Exception) -> None:
        try:
            self._replace(
                _agreed(lambda: open_params(self._folder, self._model, self._engine.mesh))
            )
        except Exception as error:
            raise LostWeightsError(
                f"new weights could not be read ({cause}), and neither could those from before ({error})"
            ) from error
        self._note()


def _agreed(work: Callable[[], T]) -> T:
    """What `work` returns; every process calls it, and where it fails on one, it fails on all.

    Raises:
      UserError: with the reason of the first process that it failed on.
    """
    value, reason = None, ""
    try:
        value = work()
    except Exception as error:  # whatever it was, the others must not wait for this process
        reason = str(error) or repr(error)
    for index, text in enumerate(gather_texts(reason)):
        if text:
            raise UserError(f"process {index}: {text}" if jax.process_count() > 1 else text)
    return value


def _first_difference(served: Architecture, other: Architecture) -> str:
    """The first setting that programs are made for and that is another, in words."""
    for field in dataclasses.fields(Architecture):
        expected, got = getattr(served, field.name), getattr(other, field.name)
        if field.name not in FREE and expected != got:
            return f"{field.name} is {got!r}, the served model has {expected!r}"
    return ""


def _fingerprint(params: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits of the parameters as the sampler has them: a layer after the other, by one program."""
    parts = [params[name] for name in sorted(params)]
    parts = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
    return hashlib.sha256(" ".join(map(fingerprint, parts)).encode()).hexdigest()[:16]
