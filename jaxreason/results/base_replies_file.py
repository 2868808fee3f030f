"""Replies that a model gave to training prompts, on which it is compared with another: token ids in a file.

base_replies.json of a training run has its base's; training_prompts/ of a study those of all models that drift asks.
"""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.results.claims import plain
from jaxreason.results.files import read_object, write_json

BASE_REPLIES = "base_replies.json"


def write_base_replies(
    workdir: epath.PathLike,
    made_with: dict[str, Any],
    replies: Sequence[Sequence[int]],
    name: str = BASE_REPLIES,
) -> None:
    """Writes the token ids of the replies, and what they were made with: model, sampling and prompts."""
    value = {"made_with": made_with, "replies": [list(reply) for reply in replies]}
    write_json(epath.Path(workdir) / name, value)


def read_base_replies(
    workdir: epath.PathLike, made_with: dict[str, Any], name: str = BASE_REPLIES
) -> list[tuple[int, ...]] | None:
    """The replies, in the order of the prompts; None where there are none that were made with just this."""
    path = epath.Path(workdir) / name
    if not path.exists():
        return None
    found = read_object(path, {"made_with": dict, "replies": list})
    if found["made_with"] != plain(made_with):
        return None
    return [tuple(reply) for reply in found["replies"]]
