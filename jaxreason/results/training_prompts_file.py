"""training_prompts.json of a run: the training prompts that drift is measured on, as token ids."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.results.claims import plain
from jaxreason.results.files import read_object, write_json

# Their unit in drift, and the folder of the replies to them in a study, which its runs share.
TRAINING_PROMPTS = "training_prompts"
FILE = "training_prompts.json"


def write_training_prompts(
    folder: epath.PathLike, made_with: dict[str, Any], prompts: Sequence[Sequence[int]]
) -> None:
    """Writes the prompts, and what they were chosen from."""
    value = {"made_with": made_with, "prompts": [list(prompt) for prompt in prompts]}
    write_json(epath.Path(folder) / FILE, value)


def read_training_prompts(
    folder: epath.PathLike, made_with: dict[str, Any]
) -> list[list[int]] | None:
    """The prompts; None where there are none that were chosen from just this.

    Raises:
      UserError: the file is broken; names it.
    """
    path = epath.Path(folder) / FILE
    if not path.exists():
        return None
    found = read_object(path, {"made_with": dict, "prompts": list})
    return found["prompts"] if found["made_with"] == plain(made_with) else None
