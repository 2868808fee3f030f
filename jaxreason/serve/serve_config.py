"""The section `serve` of a recipe."""

from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import above, at_least, check_ranges, defaults, needed, unclaimed, within
from jaxreason.errors import UserError
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class ServeConfig:
    """The address of a server, and how it serves its model.

    Raises:
      ValueError: a field is out of range; names the field.
    """

    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is reached from this machine only."""
    port: Annotated[int, within(0, 65535)] = 8000
    """The port to listen on; 0 takes a free one."""
    name: str = ""
    """The name of the model for clients; "" takes that of its folder. Its path is understood as well."""
    api_key: str = ""
    """What clients must send as a bearer token; "" takes JAXREASON_API_KEY, and asks for none if that is unset."""
    max_body_bytes: Annotated[int, at_least(1)] = 2**20
    """The largest body of a request, in bytes."""
    max_sequences: Annotated[int, at_least(1)] = 256
    """Replies that run or wait at a time; requests beyond that are answered with 429."""
    max_tokens: Annotated[int, at_least(1)] = needed()
    """Most tokens of a reply that a client may ask for."""
    decoding: Annotated[SamplingParams, defaults(temperature=1.0)] = needed()
    """The values of fields that a request leaves out, `max_tokens` among them."""
    sampler: Annotated[
        SamplerConfig, defaults(slots=8, decode_block=4, prefill_tokens=1024, top_logprobs=5)
    ] = needed()
    """Sizes of the engine; its `top_logprobs` is the most that clients may ask for."""
    thinking: bool | None = None
    """The chat template's thinking switch; None leaves it to the template."""
    body_timeout_s: Annotated[float, above(0)] = 30.0
    """Seconds within which the whole body of a request must arrive."""
    drain_s: Annotated[float, at_least(0)] = 60.0
    """Seconds after SIGTERM in which requests that have begun may end."""
    weights_root: str = ""
    """Folder that POST /v1/weights may take new weights from, itself and all below it; "" turns it off."""

    def __post_init__(self) -> None:
        check_ranges(self, "serve")
        if self.decoding.max_tokens > self.max_tokens:
            raise UserError(
                f"serve.decoding.max_tokens={self.decoding.max_tokens}: expected at most max_tokens={self.max_tokens}"
            )
