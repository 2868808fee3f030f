"""What to say where a library is missing that an extra of the package installs."""

import contextlib
from collections.abc import Iterator

from jaxreason.config import ConfigError


@contextlib.contextmanager
def extra(extra_name: str, *libraries: str) -> Iterator[None]:
    """If importing one of `libraries` fails inside, the error names the extra that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in libraries:
            raise
        raise ConfigError(
            f"{name} is not installed: pip install 'jaxreason[{extra_name}]' "
            f"(from a checkout: -e '.[{extra_name}]')"
        ) from None
