"""New weights while a model is served: which folders they may come from, one change at a time, what is refused."""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import is_remote
from jaxreason.serve.errors import ApiError
from jaxreason.serve.weights import LostWeightsError, Weights
from jaxreason.serve.worker import Worker

_LOG = logging.getLogger(__name__)
LOST = "reading failed midway, and so did reading the weights from before; the server ends"


class Changes:
    """Changes of one server's weights, each in a thread of its own: reading takes a while.

    Args:
      weights: the engine's.
      worker: started.
      root: folder that paths are in; "" for none.
    """

    def __init__(self, weights: Weights, worker: Worker, root: str):
        self._weights, self._worker, self.root = weights, worker, root
        self._busy = threading.Lock()

    def to_folder(self, path: str) -> Future:
        """Changes to the weights of a folder in the root; the future fails with an ApiError.

        What came before is answered with the old weights, what comes after the answer with the new ones. A client
        that does not wait for it changes nothing.
        """
        return self._start(lambda: self._make(lambda: inside(self.root, path), path))

    def again(self) -> Future:
        """Reads the folder once more that the server was started with; says in the log what came of it."""
        return self._start(self._again)

    def _again(self) -> None:
        folder, before = self._weights.first, self._weights.fingerprint
        try:
            self._make(lambda: folder, str(folder))
        except ApiError as error:
            _LOG.error("SIGHUP: the weights stay as they are: %s", error)
            return
        except Exception:  # nobody asks the future of a signal
            _LOG.exception("SIGHUP: the change of weights failed")
            return
        _LOG.info("SIGHUP: %s read again: %s, was %s", folder, self._weights.fingerprint, before)

    def _start(self, work: Callable[[], None]) -> Future:
        done: Future = Future()
        done.set_running_or_notify_cancel()  # whoever stops waiting for it does not end it

        def run() -> None:
            try:
                work()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        # Not to be waited for when the server ends while a large folder is looked at.
        threading.Thread(target=run, name="weights", daemon=True).start()
        return done

    def _make(self, find: Callable[[], epath.Path], shown: str) -> None:
        """One change, `shown` in place of the folder's path in what goes wrong."""
        if not self._busy.acquire(blocking=False):
            raise ApiError(
                409, "another change of weights is under way; ask again when it has ended"
            )
        folder = shown
        try:
            folder = find()
            self._weights.check(folder)
            self._worker.change(folder).result()
        except (UserError, OSError) as error:
            text = " ".join(str(error).replace(str(folder), shown).split())
            raise ApiError(400, text, "path", "weights_refused") from error
        except LostWeightsError as error:
            raise ApiError(500, LOST) from error
        finally:
            self._busy.release()


def inside(root: str, path: str) -> epath.Path:
    """The folder that `path` names, which lies in `root` whatever links lead where.

    Args:
      root: a local folder, or one in a bucket.
      path: relative to it, or whole.

    Raises:
      ApiError: (403) it is outside, or something in it leads outside; (400) it is no path, has characters that
        nobody could read in a message, or cannot be looked into.
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
