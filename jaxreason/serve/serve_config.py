"""What `config.serve` says."""

from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import above, at_least, check_ranges, unclaimed, within
from jaxreason.errors import UserError
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import SamplerConfig


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class ServeConfig:
    """Where and how a model is served.

    Attributes:
      host: address to listen on; 127.0.0.1 is reached from this machine only.
      port: 0 takes a free one.
      name: of the model, as clients write it; "" takes that of its folder. Its path is understood as well.
      api_key: what clients must send as a bearer token; "" takes JAXREASON_API_KEY, and asks for none if that is unset.
      max_body_bytes: of a request.
      max_sequences: replies that run or wait at a time; requests beyond that are answered with 429.
      max_tokens: most tokens of a reply that a client may ask for.
      decoding: of fields that a request leaves out, `max_tokens` among them.
      sampler: sizes of the engine; its `top_logprobs` is the most that clients may ask for.
      thinking: the chat template's thinking switch; None leaves it to the template.
      body_timeout_s: within which a request's body must be there.
      drain_s: what SIGTERM leaves to requests that have begun.
      weights_root: folder that POST /v1/weights may take new weights from, itself and all below it; "" turns it off.

    Raises:
      ValueError: a field is out of range; names the field.
    """

    host: str
    port: Annotated[int, within(0, 65535)]
    name: str
    api_key: str
    max_body_bytes: Annotated[int, at_least(1)]
    max_sequences: Annotated[int, at_least(1)]
    max_tokens: Annotated[int, at_least(1)]
    decoding: Decoding
    sampler: SamplerConfig
    thinking: bool | None
    body_timeout_s: Annotated[float, above(0)]
    drain_s: Annotated[float, at_least(0)]
    weights_root: str = ""

    def __post_init__(self) -> None:
        check_ranges(self, "serve")
        if self.decoding.max_tokens > self.max_tokens:
            raise UserError(
                f"serve.decoding.max_tokens={self.decoding.max_tokens}: expected at most max_tokens={self.max_tokens}"
            )
