"""training_prompts/ of a study: the training prompts that drift is measured on, and what models reply to them.

A file for each set of prompts and one for each model's replies to it, named by a hash of what it was made with: the
runs of a study that learn from the same questions share them.
"""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.results.base_replies_file import read_base_replies, write_base_replies
from jaxreason.results.claims import digest, plain

# Also what their unit is called in drift.
TRAINING_PROMPTS = "training_prompts"
Tokens = list[int]


def write_training_file(
    workdir: epath.PathLike, kind: str, made_with: dict[str, Any], tokens: Sequence[Sequence[int]]
) -> None:
    """Writes token ids.

    Args:
      workdir: of the study.
      kind: `prompts` or `replies`.
      made_with: what they depend on.
      tokens: of each prompt, or of the reply to each, in the order of the prompts.
    """
    folder = epath.Path(workdir) / TRAINING_PROMPTS
    write_base_replies(folder, made_with, tokens, _name(kind, made_with))


def read_training_file(
    workdir: epath.PathLike, kind: str, made_with: dict[str, Any]
) -> list[Tokens] | None:
    """What `write_training_file` wrote; None where there is nothing that was made with just this.

    Raises:
      UserError: the file is broken; names it.
    """
    folder = epath.Path(workdir) / TRAINING_PROMPTS
    found = read_base_replies(folder, made_with, _name(kind, made_with))
    return None if found is None else [list(tokens) for tokens in found]


def _name(kind: str, made_with: dict[str, Any]) -> str:
    return f"{kind}.{digest(plain(made_with))[:16]}.json"
