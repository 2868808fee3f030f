"""Counts the bytes that collectives move, by mesh axis, from the text of a compiled program.

A loop counts as often as the constant in its condition says, and a loop whose length depends on data counts once. Of a
conditional, the branch with the most bytes counts.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_SIZES = {"pred": 1, "bf16": 2, "c64": 8, "c128": 16, "s4": 0.5, "u4": 0.5}
_SHAPE = re.compile(r"\b(pred|bf16|c64|c128|[suf]\d+[a-z0-9]*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_CALLED = re.compile(
    r"(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_MESH_GROUPS = re.compile(
    r"replica_groups=mesh\[(.*?\d)\](?:, device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?)\))? ?\{(.*?)\}"
)
# Marks what comes from other slices through the hosts: only the axis `data` joins slices (`sharding.make_mesh`).
_MEGASCALE = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


class CollectiveBytes(NamedTuple):
    """The bytes that one device receives in one run of a program.

    Attributes:
      by_axis: bytes by the mesh axes (joined by `+`) along which a collective runs.
      by_kind: bytes by kind of collective.
      open_loops: number of loops of unknown length with collectives; each counts once.
    """

    by_axis: dict[str, float]
    by_kind: dict[str, float]
    open_loops: int


class _Instruction(NamedTuple):
    name: str
    shape: str
    op: str
    rest: str
    root: bool


def read_collectives(text: str, mesh_shape: dict[str, int]) -> CollectiveBytes:
    """Reads the collectives of a compiled module.

    Args:
      text: `compiled.as_text()`.
      mesh_shape: axis names and sizes, in the order of the mesh; partition i is its i-th device.
    """
    computations, entry = _parse(text)
    totals: Counter = Counter()
    open_loops = 0

    def walk(name: str, times: float, scatter: bool) -> tuple[Counter, int]:
        found: Counter = Counter()
        loops = 0
        for item in computations.get(name, ()):
            kind = item.op.removesuffix("-start")
            if kind in KINDS:
                moved = _received(item, kind, mesh_shape, scatter)
                found[(moved[0], kind)] += times * moved[1]
            elif across := _MEGASCALE.search(item.rest if item.op == "recv" else ""):
                found[("data", f"{across[1].lower()} across slices")] += times * _bytes(
                    item, "recv"
                )
            for targets, trips, is_scatter in _calls(item, computations):
                parts = [walk(t, times * (trips or 1), scatter or is_scatter) for t in targets]
                best = max(parts, key=lambda part: sum(part[0].values()), default=(Counter(), 0))
                found.update(best[0])
                loops += best[1] + (trips is None and sum(best[0].values()) > 0)
        return found, loops

    totals, open_loops = walk(entry, 1.0, False)
    by_axis, by_kind = defaultdict(float), defaultdict(float)
    for (axis, kind), moved in totals.items():
        if moved:
            by_axis[axis] += moved
            by_kind[kind] += moved
    return CollectiveBytes(dict(by_axis), dict(by_kind), open_loops)


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif current is not None and (found := _INSTRUCTION.match(line)):
            root, name, shape, op, rest = found.groups()
            current.append(_Instruction(name, shape, op, rest, bool(root)))
    return computations, entry


def _calls(item: _Instruction, computations) -> Iterator[tuple[list[str], int | None, bool]]:
    """Yields (computations of which one is taken, repetitions or None if unknown, whether it
    is a fused reduce-scatter).
    """
    if item.op in ("async-done", "async-update") or "=" not in item.rest:
        return
    if branches := _BRANCHES.search(item.rest):
        yield [name.strip().lstrip("%") for name in branches[1].split(",")], 1, False
        return
    called = dict(_CALLED.findall(item.rest))
    if item.op == "while":
        yield [called["body"]], _trips(item, computations[called["condition"]]), False
    elif item.op == "conditional":
        yield [called["true_computation"], called["false_computation"]], 1, False
    elif item.op in ("call", "fusion", "async-start", "custom-call") and called:
        target = called.get("calls") or called.get("to_apply")
        if target:
            yield [target], 1, "reduce-scatter" in target


def _trips(item: _Instruction, condition: Sequence[_Instruction]) -> int | None:
    """Returns how often a loop runs: as the compiler says, or from `counter < constant` in its condition."""
    if known := _TRIPS.search(item.rest):
        return int(known[1])
    root = next((i for i in condition if i.root), None)
    if root is None or not (root.op == "compare" and "direction=LT" in root.rest):
        return None
    constants = {i.name: i.rest for i in condition if i.op == "constant"}
    operands = re.findall(r"%([\w.\-]+)", root.rest.split(")")[0])
    for name in operands:
        if name in constants and (value := re.match(r"(\d+)\)", constants[name])):
            return int(value[1])
    return None


def _received(
    item: _Instruction, kind: str, mesh_shape: dict[str, int], scatter: bool
) -> tuple[str, float]:
    """Returns the axes along which a collective runs, and the bytes that a device receives in it."""
    groups = _groups(item.rest, mesh_shape)
    axes, size = _axes(groups, mesh_shape), groups.shape[1]
    if size <= 1:
        return axes, 0.0
    if kind.startswith("collective"):
        return axes, _bytes(item, kind)
    whole = _bytes(item, kind)
    share = (size - 1) / size
    factor = {"all-reduce": 2 * share, "reduce-scatter": size - 1}.get(kind, share)
    return axes, whole * (share if scatter and kind == "all-reduce" else factor)


def _bytes(item: _Instruction, kind: str) -> float:
    """Returns the bytes of the result. A `-start` returns its operands too, before the result."""
    shapes = _SHAPE.findall(item.shape)
    if item.op == "recv":  # Its result is (data, context, token).
        shapes = [s for s in shapes if not (s[0] == "u32" and s[1] == "")]
    elif item.op.endswith("-start") and kind != "all-reduce":
        real = [s for s in shapes if not (s[0] == "u32" and s[1] == "")]
        shapes = real[len(real) // 2 :]
    return float(
        sum(_size(dtype) * math.prod(map(int, d.split(",") if d else ())) for dtype, d in shapes)
    )


def _size(dtype: str) -> float:
    return _SIZES.get(dtype) or int(re.match(r"[suf](\d+)", dtype)[1]) / 8


def _groups(rest: str, mesh_shape: dict[str, int]) -> np.ndarray:
    """Returns [groups, members]: the partitions that communicate with each other."""
    everyone = np.arange(math.prod(mesh_shape.values()))
    if found := re.search(r"source_target_pairs=\{(\{[^=]*?\})\}", rest):
        return _lists(found[1])
    if found := re.search(r"replica_groups=\{(\{.*?\})\}", rest):
        return _lists(found[1])
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](T\([\d,]+\))?", rest):
        return _order(-1, f"[{found[2]}]{found[3] or ''}").reshape(_numbers(found[1]))
    if found := _MESH_GROUPS.search(rest):
        return _mesh_groups(*found.groups())
    return everyone[None]


def _order(total: int, written: str | None) -> np.ndarray:
    """Returns the devices in an order such as `[4,2]T(1,0)` (counted, reshaped, transposed,
    flattened) or in a plain list.
    """
    if not written:
        return np.arange(total)
    shape, turned = re.fullmatch(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", written).groups()
    shape = _numbers(shape)
    if turned is None and total > 1 and sorted(shape) == list(range(total)):
        return np.array(shape)
    ids = np.arange(math.prod(shape)).reshape(shape)
    return (ids.transpose(_numbers(turned)) if turned else ids).reshape(-1)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _lists(text: str) -> np.ndarray:
    return np.array([[int(i) for i in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", text)])


def _mesh_groups(sizes_text: str, order: str | None, axes_text: str) -> np.ndarray:
    """Returns groups that are written as a mesh, its order of devices, and axes or parts of axes (`:(before)size`)."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", sizes_text)}
    dims: list[tuple[int, bool]] = []
    chosen = {
        name: (int(before or 1), int(part or 0))
        for name, before, part in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes_text)
    }
    for name, size in sizes.items():
        if name not in chosen:
            dims.append((size, False))
            continue
        before, part = chosen[name]
        part = part or size // before
        dims += [(before, False), (part, True), (size // before // part, False)]
    total = math.prod(size for size, _ in dims)
    ids = _order(total, order).reshape([size for size, _ in dims])
    inside = [i for i, (_, moves) in enumerate(dims) if moves]
    outside = [i for i, (_, moves) in enumerate(dims) if not moves]
    members = math.prod(dims[i][0] for i in inside)
    return ids.transpose(outside + inside).reshape(-1, members)


def _axes(groups: np.ndarray, mesh_shape: dict[str, int]) -> str:
    """Returns the mesh axes along which the members of a group differ."""
    coordinates = np.unravel_index(groups, tuple(mesh_shape.values()))
    moves = [bool(np.any(c != c[:, :1])) for c in coordinates]
    return (
        "+".join(name for name, moving in zip(mesh_shape, moves, strict=True) if moving) or "none"
    )
