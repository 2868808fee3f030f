"""What does not fit into memory: refused beforehand where programs run on the CPU, with advice for the recipe.

The memory of an accelerator has an allocator that refuses what does not fit. Linux promises more memory than there is,
and later ends the process without a word.
"""

import re
from collections.abc import Mapping

import jax
import ml_collections

from jaxreason.host_memory import room_left

OUT_OF_MEMORY = re.compile(r"resource_exhausted|out of memory", re.IGNORECASE)
LEAN_REMAT = ("full", "offload")
SMALLEST_CHUNK = 128
LEARNING = {"sft", "rl"}  # Sections whose programs keep what the backward pass needs.
MORE_DEVICES = "More devices on mesh.fsdp or mesh.tensor help too; `jaxreason plan` says what fits before a run."
GIB = 2**30


def check_room(needed: int, what: str) -> None:
    """Does nothing on an accelerator, or where the system does not tell how much memory it has left.

    Args:
      needed: bytes that this process is about to fill.
      what: what they are for, the subject of "needs" in the message.

    Raises:
      MemoryError: the host has fewer bytes left, swap included.
    """
    left = room_left(needed) if jax.default_backend() == "cpu" else None
    if left is not None and needed > left:
        raise MemoryError(
            f"{what} needs {needed / GIB:.1f} GiB, and this host has {left / GIB:.1f} GiB left."
        )


def out_of_memory_message(
    config: ml_collections.ConfigDict, names: tuple[str, ...], error: str
) -> str:
    """Says that memory ran out, which memory, and which fields of the recipe to change to which values.

    Args:
      config: the recipe.
      names: the sections that the verb reads.
      error: the message of the compiler or the allocator.
    """
    first = next((line for line in error.splitlines() if OUT_OF_MEMORY.search(line)), error)
    changes = [change for name in names if name in config for change in _section(config, name)]
    changes += _model(config) if LEARNING & set(names) else []
    lines = "\n".join(f"  --config.{field}={value}  (now {now})" for field, value, now in changes)
    advice = f"Changes that need less, the cheapest first:\n{lines}\n" if changes else ""
    there_is = room(jax.local_devices()[0].memory_stats())
    text = f"out of memory: {first.strip()[:400]}\n{there_is}{advice}"
    return text.rstrip() if jax.default_backend() == "cpu" else text + MORE_DEVICES


def room(stats: Mapping[str, int] | None) -> str:
    """Describes a device's memory for programs and how much is in use; "" if the device does
    not report it, like a CPU.
    """
    limit = (stats or {}).get("bytes_limit", 0)
    if not limit:
        return ""
    peak = stats.get("peak_bytes_in_use", stats.get("bytes_in_use", 0))
    return f"A device has {limit / GIB:.2f} GiB for programs, of which up to {peak / GIB:.2f} were in use.\n"


def _section(config: ml_collections.ConfigDict, name: str) -> list[tuple[str, object, object]]:
    """Returns (field, proposed value, present value) for the fields that the section has."""
    section, found = config[name], []
    for field in ("micro_batch_rows", "sampler.slots"):
        found += _halved(section, name, field, 1)
    if name == "eval":  # Likelihoods of given answers are computed for a whole dispatch at a time.
        found += _halved(section, name, "sampler.score_tokens", SMALLEST_CHUNK)
    if section.get("sampler", {}).get("gather_weights", False):
        found.append((f"{name}.sampler.gather_weights", False, True))
    if "logprob_chunk" in section:
        found += _halved(section, name, "logprob_chunk", SMALLEST_CHUNK)
    if name == "drift":
        found += _halved(section, name, "batch_size", 1)
    return found


def _halved(section, name: str, field: str, least: int) -> list[tuple[str, object, object]]:
    value = section
    for part in field.split("."):
        if part not in value:
            return []
        value = value[part]
    return [(f"{name}.{field}", value // 2, value)] if value // 2 >= least else []


def _model(config: ml_collections.ConfigDict) -> list[tuple[str, object, object]]:
    found, model = [], config.get("model", {})
    if model.get("attention") == "plain":  # Its scores grow with the length's square.
        found.append(("model.attention", "blockwise", "plain"))
    if model.get("remat", "full") not in LEAN_REMAT:
        found.append(("model.remat", "full", model.remat))
    return found
