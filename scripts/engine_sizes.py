"""Sizes of the engines that scripts measure: a recipe's defaults with the changes of a measurement."""

from configs import sections
from jaxreason.config import parse
from jaxreason.sampling.engine_config import SamplerConfig

PAGE = 64


def engine_sizes(slots: int, longest: int, **changes) -> SamplerConfig:
    """Returns sizes for `slots` sequences of at most `longest` tokens, in whole pages, without gathered weights."""
    page = changes.setdefault("page_size", PAGE)
    changes.setdefault("gather_weights", False)
    length = -(-longest // page) * page
    return parse(SamplerConfig, sections.sampler(slots, length, **changes), "sampler")
