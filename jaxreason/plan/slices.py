"""Accelerators that can be named: topology, chips, devices, memory and speeds. This module does not use jax.

The numbers are the makers', from the given links, all in bytes, FLOP and seconds. HBM is what a program can use: for
TPUs what the compiler of libtpu 0.0.48 reports as available, for GPUs the share of the card that our runs take. The
speeds of ICI and NVLink are those of one direction, summed over a chip's links: half of what makers call bidirectional.
"""

import math
import re
from dataclasses import dataclass

from jaxreason.config import ConfigError, nearest, whole_number
from jaxreason.models.device_peaks import DEVICE_KINDS
from jaxreason.models.device_peaks import PEAK_FLOPS as PEAK

GIB = 2**30
GPU_SHARE = 0.92


@dataclass(frozen=True)
class Generation:
    """A kind of accelerator. Numbers are those of one device; a chip may have two.

    Attributes:
      label: the maker's name.
      platform: "tpu" or "gpu".
      devices_per_chip: the number of devices that a program sees for each chip.
      cores_per_chip: what the number in a slice's name counts, per chip.
      hbm: bytes that a program may use.
      flops: peak bfloat16 FLOP/s of matrix products.
      hbm_speed: bytes/s.
      link_speed: bytes/s to other devices of the slice, one direction, all links.
      network_speed: bytes/s to other slices or nodes, one direction.
      source: where the numbers come from.
    """

    label: str
    platform: str
    devices_per_chip: int
    cores_per_chip: int
    hbm: float
    flops: float
    hbm_speed: float
    link_speed: float
    network_speed: float
    source: str


_DOCS = "https://cloud.google.com/tpu/docs"
GENERATIONS: dict[str, Generation] = {
    # On a TPU VM, a v4 chip's two cores are one device ("megacore"); so they are here. Its page gives no ICI speed: it
    # has 6 links of 50 GB/s (Jouppi et al., arXiv 2304.01433). The network's speed is assumed to be v5p's.
    "v4": Generation(
        "TPU v4", "tpu", 1, 2, 30.75 * GIB, PEAK["v4"], 1200e9, 300e9, 6.25e9, f"{_DOCS}/v4"
    ),
    "v5e": Generation(
        "TPU v5e", "tpu", 1, 1, 15.75 * GIB, PEAK["v5e"], 819e9, 200e9, 3.125e9, f"{_DOCS}/v5e"
    ),
    "v5p": Generation(
        "TPU v5p", "tpu", 1, 2, 95.73 * GIB, PEAK["v5p"], 2765e9, 600e9, 6.25e9, f"{_DOCS}/tpu7x"
    ),
    "v6e": Generation(
        "TPU v6e", "tpu", 1, 1, 31.24 * GIB, PEAK["v6e"], 1638e9, 400e9, 12.5e9, f"{_DOCS}/tpu7x"
    ),
    # The two devices of a chip share its memory, links and network.
    "tpu7x": Generation(
        "TPU7x", "tpu", 2, 2, 94.74 * GIB, PEAK["tpu7x"], 3690e9, 300e9, 6.25e9, f"{_DOCS}/tpu7x"
    ),
    "h100": Generation(
        "NVIDIA H100 SXM",
        "gpu",
        1,
        1,
        GPU_SHARE * 79.6 * GIB,
        PEAK["h100"],
        3350e9,
        450e9,
        50e9,
        "https://www.nvidia.com/en-us/data-center/h100/",
    ),
    "h200": Generation(
        "NVIDIA H200 SXM",
        "gpu",
        1,
        1,
        GPU_SHARE * 140.4 * GIB,
        PEAK["h200"],
        4800e9,
        450e9,
        50e9,
        "https://www.nvidia.com/en-us/data-center/h200/",
    ),
}


def generation_of(device_kind: str) -> Generation | None:
    """Returns the generation of a device by its name in JAX ("NVIDIA H200"); None if it is not in the table."""
    return GENERATIONS.get(DEVICE_KINDS.get(device_kind, ""))


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = (
    "2x2x1",
    "2x2x2",
    "2x2x4",
    "2x4x4",
    "4x4x4",
    "4x4x8",
    "4x8x8",
    "8x8x8",
    "8x8x16",
    "8x16x16",
    "16x16x16",
)
TOPOLOGIES: dict[str, tuple[str, ...]] = {
    "v4": _CUBES[:-1],
    "v5e": _FLAT,
    "v5p": _CUBES,
    "v6e": _FLAT,
    "tpu7x": _CUBES,
}
GPU_NODES = (1, 8)
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "v7x": "tpu7x", "ironwood": "tpu7x"}


@dataclass(frozen=True)
class Slice:
    """One or more equal slices (or GPU nodes).

    Attributes:
      name: the name that was asked for: `v5p-64` or `2xv5p-64`.
      generation: key of GENERATIONS.
      topology: topology of one slice, as the compiler takes it; "" for GPUs.
      chips: chips of all slices.
      num_slices: number of slices; the data-centre network joins them.
    """

    name: str
    generation: str
    topology: str
    chips: int
    num_slices: int

    @property
    def kind(self) -> Generation:
        """The kind of its devices."""
        return GENERATIONS[self.generation]

    @property
    def devices(self) -> int:
        """The number of devices that a program sees over all slices."""
        return self.chips * self.kind.devices_per_chip

    @property
    def described(self) -> str:
        """The slice as text for a heading: name, chips, devices."""
        shape = f", {self.num_slices} x {self.topology}" if self.num_slices > 1 else ""
        shape = shape or (f", {self.topology}" if self.topology else "")
        return f"{self.name} ({self.kind.label}{shape}: {self.chips} chips, {self.devices} devices)"


def _slices() -> dict[str, Slice]:
    found = {}
    for generation, topologies in TOPOLOGIES.items():
        for topology in topologies:
            chips = math.prod(int(side) for side in topology.split("x"))
            name = f"{generation}-{chips * GENERATIONS[generation].cores_per_chip}"
            found[name] = Slice(name, generation, topology, chips, 1)
    for generation in ("h100", "h200"):
        for gpus in GPU_NODES:
            found[f"{generation}-{gpus}"] = Slice(f"{generation}-{gpus}", generation, "", gpus, 1)
    return found


SLICES: dict[str, Slice] = _slices()


def find_slice(name: str) -> Slice:
    """Returns the slice of this name; `2xv5p-64` is two slices, `h100` one card, `v5litepod-16` is `v5e-16`.

    Raises:
      ConfigError: there is no such slice; lists the nearest one and all others.
    """
    match = re.fullmatch(r"(?:(\d+)x)?([a-z][a-z0-9]*)(?:-(\d+))?", name.strip().lower())
    several, generation, size = match.groups() if match else (None, name, None)
    generation = ALIASES.get(generation, generation)
    size = size or ("1" if generation in ("h100", "h200") else "")
    known = SLICES.get(f"{generation}-{size}")
    count = int(several or 1)
    if known is None or count < 1:
        valid = _nearest_first(generation, size)
        # Of a known generation the nearest size is meant, not the name with the most letters in common.
        near = valid[:1] if valid[0].startswith(f"{generation}-") else SLICES
        raise ConfigError(
            f"--slice {name}: no such slice{nearest(f'{generation}-{size}', near) or '.'} "
            f"There are, nearest first: {', '.join(valid)}; and several of one, as 2xv5p-64."
        )
    if count == 1:
        return known
    return Slice(f"{count}x{known.name}", generation, known.topology, known.chips * count, count)


def _nearest_first(generation: str, size: str) -> list[str]:
    """Returns all names: those of the generation by distance in size, then the others in the table's order."""
    wanted = whole_number(size) or 1

    def distance(name: str) -> tuple[bool, float]:
        family, number = name.rsplit("-", 1)
        same = family == generation
        return not same, abs(math.log(int(number) / wanted)) if same else 0.0

    return sorted(SLICES, key=distance)


def larger(slice_: Slice) -> list[Slice]:
    """Returns the larger slices of the same generation, smallest first."""
    same = [s for s in SLICES.values() if s.generation == slice_.generation]
    return [s for s in same if s.chips > slice_.chips]
