"""Replaces the weights of a served model: what may be loaded, who asks for it, and how the engine gets it.

`WeightUpdater` handles the requests of clients and signals on process 0. `LoadedWeights` exchanges the engine's
parameters on every process of a job.
"""

import dataclasses
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
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
from jaxreason.results.atomic_files import is_remote
from jaxreason.sampling.engine import Engine
from jaxreason.serve.api_errors import ApiError
from jaxreason.sharding import gather_texts

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
LOST = "reading failed midway, and so did reading the weights from before; the server ends"
# Fields of an architecture that the compiled programs do not depend on.
NOT_COMPILED = ("initializer_range", "max_position_embeddings")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


class LostWeightsError(RuntimeError):
    """The old weights are gone and new ones could not be loaded."""


class LoadedWeights:
    """The weights of an engine. Nobody else may hold its parameters, because a second copy may not fit into memory.

    Args:
      engine: the engine, made with the weights of `folder`.
      model: the network that the weights were loaded for.
      tokenizer: the tokenizer of prompts and replies.
      folder: folder of the model.
    """

    def __init__(self, engine: Engine, model: Model, tokenizer: Tokenizer, folder: str):
        self._engine, self._model, self._tokenizer = engine, model, tokenizer
        self.first_folder = self._folder = epath.Path(folder)
        self._note()

    def _note(self) -> None:
        self.fingerprint = _fingerprint(self._engine.sampled_from[1])
        self.loaded_at = int(time.time())

    def check(self, folder: epath.Path) -> None:
        """Checks that these weights can replace the loaded ones. It reads all bytes; one process alone may call it.

        Raises:
          UserError: one line: what was expected, what was found, and what to do.
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

    def load(self, folder: epath.Path) -> None:
        """Gives the engine the weights of `folder`. Every process must call it, after `check` has passed.

        Each parameter is read and replaces the old one before the next is read, so there are never two copies of the
        model. If a read fails midway, the old weights are gone, and their folder is read again.

        Raises:
          UserError: on every process. The engine has the old weights again, or others that their folder holds by
            now; the message says which.
          LostWeightsError: on every process. The old folder could not be read either.
        """
        # Headers are read before any parameter is replaced.
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
    """Returns the result of `work`. Every process must call it; if it fails on one process, it fails on all.

    Otherwise the other processes would wait without end in the next collective.

    Raises:
      UserError: with the reason of the first process that failed.
    """
    value, reason = None, ""
    try:
        value = work()
    # The other processes must not wait for this one, whatever went wrong.
    except Exception as error:
        reason = str(error) or repr(error)
    for index, text in enumerate(gather_texts(reason)):
        if text:
            raise UserError(f"process {index}: {text}" if jax.process_count() > 1 else text)
    return value


def _first_difference(served: Architecture, other: Architecture) -> str:
    """Describes the first setting that differs and that the compiled programs depend on."""
    for field in dataclasses.fields(Architecture):
        expected, got = getattr(served, field.name), getattr(other, field.name)
        if field.name not in NOT_COMPILED and expected != got:
            return f"{field.name} is {got!r}, the served model has {expected!r}"
    return ""


def _fingerprint(params: dict[str, Any]) -> str:
    """Returns sixteen hexadecimal digits that identify the parameters as the sampler has them."""
    parts = [params[name] for name in sorted(params)]
    parts = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
    return hashlib.sha256(" ".join(map(fingerprint, parts)).encode()).hexdigest()[:16]


class WeightUpdater:
    """Updates the weights of one server, one update at a time.

    An update runs in a thread of its own. It reads and checks all files there while the engine continues with the old
    weights. Then it queues the folder for the engine's thread, the only one that may touch the engine, and waits.

    Args:
      weights: the engine's weights.
      enqueue: makes the engine's thread load a folder, and returns a future for it.
      root: the folder that all paths must be in; "" for none.
    """

    def __init__(self, weights: LoadedWeights, enqueue: Callable[[epath.Path], Future], root: str):
        self._weights, self._enqueue, self.root = weights, enqueue, root
        self._busy = threading.Lock()

    def update(self, path: str) -> Future:
        """Loads the weights of a folder in the root. If that fails, the future has an ApiError.

        Requests from before are answered with the old weights, and requests after the future is set with the new ones.
        The update continues even if the client does not wait for it.
        """
        return self._start(lambda: self._update(lambda: resolve_inside(self.root, path), path))

    def reload(self) -> Future:
        """Reads the folder again that the server was started with, and logs the outcome."""
        return self._start(self._reload)

    def _reload(self) -> None:
        folder, before = self._weights.first_folder, self._weights.fingerprint
        try:
            self._update(lambda: folder, str(folder))
        except ApiError as error:
            _LOG.error("SIGHUP: the weights stay as they are: %s", error)
            return
        except Exception:  # Nobody reads the future of an update that a signal asked for.
            _LOG.exception("SIGHUP: the change of weights failed")
            return
        _LOG.info("SIGHUP: %s read again: %s, was %s", folder, self._weights.fingerprint, before)

    def _start(self, work: Callable[[], None]) -> Future:
        done: Future = Future()
        done.set_running_or_notify_cancel()  # A client that disconnects cannot cancel the update.

        def run() -> None:
            try:
                work()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        # A daemon thread: a server that ends does not wait until a large folder has been read.
        threading.Thread(target=run, name="weights", daemon=True).start()
        return done

    def _update(self, find: Callable[[], epath.Path], shown: str) -> None:
        """Runs one update. Messages show `shown` in place of the full path, which clients need not know."""
        if not self._busy.acquire(blocking=False):
            raise ApiError(
                409, "another change of weights is under way; ask again when it has ended"
            )
        folder = shown
        try:
            folder = find()
            self._weights.check(folder)
            self._enqueue(folder).result()
        except (UserError, OSError) as error:
            text = " ".join(str(error).replace(str(folder), shown).split())
            raise ApiError(400, text, "path", "weights_refused") from error
        except LostWeightsError as error:
            raise ApiError(500, LOST) from error
        finally:
            self._busy.release()


def resolve_inside(root: str, path: str) -> epath.Path:
    """Returns the folder that `path` names, after all links are followed; it must be inside `root`.

    Args:
      root: a local folder, or one in a bucket.
      path: relative to `root`, or absolute.

    Raises:
      ApiError: (403) it is outside, or a link in it leads outside; (400) it is empty, has unprintable
        characters, or cannot be read.
    """
    if not path or not path.isprintable():
        raise ApiError(400, "path: expected a folder's, inside serve.weights_root", "path")
    outside = ApiError(403, f"{path!r} is not inside serve.weights_root", "path", "weights_outside")
    if is_remote(root):
        whole = path if is_remote(path) else f"{root.rstrip('/')}/{path}"
        if not _is_within(whole, root) or {"..", "."} & set(whole.split("/")):
            raise outside
        return epath.Path(whole)
    base = os.path.realpath(os.path.expanduser(root))
    folder = os.path.realpath(os.path.join(base, path))
    try:
        files = os.listdir(folder) if _is_within(folder, base) and os.path.isdir(folder) else []
    except OSError as error:
        text = f"{path!r} cannot be looked into: {error.strerror}"
        raise ApiError(400, text, "path", "weights_refused") from error
    found = [folder, *(os.path.realpath(os.path.join(folder, name)) for name in files)]
    if not all(_is_within(one, base) for one in found):
        raise outside
    return epath.Path(folder)


def _is_within(path: str, root: str) -> bool:
    root = root.rstrip("/")
    return path == root or path.startswith(f"{root}/")
