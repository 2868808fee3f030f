"""What the routes share."""

import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.engine_config import EngineStats
from jaxreason.serve.calls import Parser
from jaxreason.serve.changes import Changes
from jaxreason.serve.errors import ApiError
from jaxreason.serve.weights import Weights
from jaxreason.serve.worker import Worker


@dataclass
class Service:
    """A model that is served.

    Attributes:
      name: of the model.
      api_key: "" for none.
      max_body_bytes: of a request.
      body_timeout_s: within which it must be there.
      parser: of bodies.
      worker: started.
      tokenizer: the model's.
      stats: the engine's.
      weights: what the engine has loaded; None where that is not known.
      changes: of the weights; None where clients may make none.
      responses: how many there were of each (route, status).
    """

    name: str
    api_key: str
    max_body_bytes: int
    body_timeout_s: float
    parser: Parser
    worker: Worker
    tokenizer: Tokenizer
    stats: EngineStats
    weights: Weights | None = None
    changes: Changes | None = None
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    created: int = field(default_factory=lambda: int(time.time()))
    # Long prompts are made tokens beside the event loop, one at a time.
    parsing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parse"))

    def authorize(self, request: Request) -> None:
        """Checks the key.

        Raises:
          ApiError: (401) one is asked for, and the request has another or none.
        """
        if not self.api_key:
            return
        sent = request.headers.get("authorization", "").encode()
        if not secrets.compare_digest(sent, f"Bearer {self.api_key}".encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "a valid API key is needed", None, "invalid_api_key", headers)

    def describe(self) -> dict[str, Any]:
        """The model as /v1/models lists it; `created` and `fingerprint` are those of its weights."""
        created = self.created if self.weights is None else self.weights.loaded
        about = {"object": "model", "created": created, "owned_by": "jaxreason"}
        known = {} if self.weights is None else {"fingerprint": self.weights.fingerprint}
        return {"id": self.name, **about, **known}
