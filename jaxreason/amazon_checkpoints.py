"""Makes Orbax read and write `s3://`.

Orbax writes through tensorstore, which has a driver for S3, but Orbax itself only knows Google's buckets. It takes any
other path for one on a disk: it would rename files, and it refuses `s3://` as not absolute. So the four places where it
asks whether a path is Google's get an answer for Amazon's too. An Orbax version that supports S3 itself is left
unchanged; for a version with other places, the error names what is missing.
"""

import os
from typing import Any

from orbax.checkpoint._src.path import gcs_utils
from orbax.checkpoint._src.serialization import tensorstore_utils

from jaxreason.errors import UserError

SCHEME = "s3://"
_WANTED = (
    (gcs_utils, "is_gcs_path"),
    (gcs_utils, "get_kvstore_for_gcs"),
    (tensorstore_utils, "_use_gcs_driver"),
    (tensorstore_utils, "_normalize_path"),
)


def teach_orbax() -> None:
    """Makes Orbax write to and read from `s3://`. A second call has no effect.

    Raises:
      UserError: this version of Orbax has other parts.
    """
    if _knows_amazon():
        return
    missing = [name for module, name in _WANTED if not hasattr(module, name)]
    if not missing:
        for module, name in _WANTED:
            setattr(module, name, _MADE[name](getattr(module, name)))
    if missing or not _knows_amazon():
        raise UserError(
            "Checkpoints on s3:// cannot be written by this version of orbax-checkpoint; install 0.12.8, "
            "or use a folder or gs://."
        )


def _knows_amazon() -> bool:
    try:
        spec = tensorstore_utils.build_kvstore_tspec(f"{SCHEME}bucket/a", use_ocdbt=True)
    except ValueError:
        return False
    return "s3" in str(spec.get("base"))


def _driver(path: str) -> dict[str, Any]:
    """Returns tensorstore's driver. It finds credentials, and the address of another company's
    server, as Amazon's clients do.
    """
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    spec = {"driver": "s3", "bucket": bucket, "path": name}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    return spec


# For each place, how its replacement is made from the original.
_MADE = {
    "is_gcs_path": lambda was: lambda path: os.fspath(path).startswith(SCHEME) or was(path),
    "get_kvstore_for_gcs": lambda was: (
        lambda path: _driver(path) if path.startswith(SCHEME) else was(path)
    ),
    "_use_gcs_driver": lambda was: lambda path: path.startswith(SCHEME) or was(path),
    "_normalize_path": lambda was: (
        lambda path: (
            SCHEME + os.path.normpath(path.removeprefix(SCHEME))
            if path.startswith(SCHEME)
            else was(path)
        )
    ),
}
