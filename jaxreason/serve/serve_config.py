"""The `serve` section of a recipe."""

from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import above, at_least, check_ranges, defaults, needed, unclaimed, within
from jaxreason.errors import UserError
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class ServeConfig:
    """The address of a server, and its settings.

    Raises:
      ValueError: a field is out of range; names the field.
    """

    host: str = "127.0.0.1"
    """The address to listen on; 127.0.0.1 can be reached from this machine only."""
    port: Annotated[int, within(0, 65535)] = 8000
    """The port to listen on; 0 for any free one."""
    name: str = ""
    """The model's name for clients; "" for the name of its folder. Clients may also use its path."""
    api_key: str = ""
    """The bearer token that clients must send; "" for the value of JAXREASON_API_KEY, or
    for none if that is not set.
    """
    max_body_bytes: Annotated[int, at_least(1)] = 2**20
    """The largest body of a request, in bytes."""
    max_sequences: Annotated[int, at_least(1)] = 256
    """The most replies that may run or wait at the same time; further requests are answered with 429."""
    max_tokens: Annotated[int, at_least(1)] = needed()
    """The most tokens of a reply that a client may ask for."""
    decoding: Annotated[SamplingParams, defaults(temperature=1.0)] = needed()
    """Defaults for fields that a request leaves out, including `max_tokens`."""
    sampler: Annotated[
        SamplerConfig, defaults(slots=8, decode_block=4, prefill_tokens=1024, top_logprobs=5)
    ] = needed()
    """Sizes of the engine; `top_logprobs` is the largest number that clients may ask for."""
    thinking: bool | None = None
    """The chat template's thinking switch; None leaves it to the template."""
    body_timeout_s: Annotated[float, above(0)] = 30.0
    """Seconds within which the whole body of a request must arrive."""
    drain_s: Annotated[float, at_least(0)] = 60.0
    """Seconds after SIGTERM in which running requests may finish."""
    weights_root: str = ""
    """Folder from which POST /v1/weights may load new weights, including everything below it; "" turns this off."""

    def __post_init__(self) -> None:
        check_ranges(self, "serve")
        if self.decoding.max_tokens > self.max_tokens:
            raise UserError(
                f"serve.decoding.max_tokens={self.decoding.max_tokens}: expected at most max_tokens={self.max_tokens}"
            )
