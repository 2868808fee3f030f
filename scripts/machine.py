"""Describes the machine behind a number: its processor and devices, its load, and the versions of libraries."""

import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

CPUINFO = pathlib.Path("/proc/cpuinfo")
TELLING = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
LIBRARIES = ("jax", "jaxlib", "torch", "transformers")


def processor(cpuinfo: str) -> dict[str, Any]:
    """Returns the model name and the instruction sets that matter for products, from the text of /proc/cpuinfo."""
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    maker = re.search(r"^vendor_id\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    numbers = re.search(r"^cpu family\s*:\s*(\d+)\s*^model\s*:\s*(\d+)", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return {
        "name": name[1].strip() if name else platform.processor() or platform.machine(),
        "maker": maker[1].strip() if maker else "",
        "family_and_model": [int(x) for x in numbers.groups()] if numbers else [],
        "instructions": [flag for flag in TELLING if flag in has],
    }


def machine() -> dict[str, Any]:
    """Describes this machine now; the load is the mean number of programs that wanted a core in the last minute."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    return processor(text) | {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
    }


def described(found: dict[str, Any]) -> str:
    """Returns one line for people."""
    numbers = "/".join(map(str, found["family_and_model"]))
    kind = f" (family/model {numbers})" if numbers else ""
    versions = ", ".join(f"{name} {v}" for name, v in found["versions"].items())
    return (
        f"{found['name']}{kind}, {found['cores']} cores, {' '.join(found['instructions']) or 'no AVX'}, "
        f"load {found['load']}; Python {found['python']}, {versions}"
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(described(machine()))
