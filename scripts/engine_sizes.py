"""Sizes of the engines that are measured: a recipe's defaults, with what a measurement changes."""

from configs import sections
from jaxreason.config import parse
from jaxreason.sampling.engine_config import SamplerConfig

PAGE = 64


def engine_sizes(slots: int, longest: int, **changes) -> SamplerConfig:
    """`slots` sequences of at most `longest` tokens, in whole pages; on one device no weights are gathered."""
    page = changes.setdefault("page_size", PAGE)
    changes.setdefault("gather_weights", False)
    length = -(-longest // page) * page
    return parse(SamplerConfig, sections.sampler(slots, length, **changes), "sampler")
