"""Shows a plan as text."""

from collections.abc import Sequence

from jaxreason.plan.recipe_plan import Plan, StagePlan
from jaxreason.plan.roofline import ASSUMPTIONS
from jaxreason.plan.run_time import RunTime
from jaxreason.plan.slices import GIB, Slice

_HELD = ("params", "optimizer", "batch", "cache")


def format_plan(plan: Plan) -> str:
    """Returns the tables of all stages and the assumptions behind them."""
    kind = plan.slice.kind
    mesh = ", ".join(f"{axis}={size}" for axis, size in plan.mesh.items())
    arch = plan.model.architecture
    lines = [
        f"{plan.slice.described}",
        f"  a device: {kind.hbm / GIB:.2f} GiB for programs, {kind.flops / 1e12:g} TFLOP/s bfloat16, "
        f"HBM {kind.hbm_speed / 1e9:g} GB/s, links {kind.link_speed / 1e9:g} GB/s, network "
        f"{kind.network_speed / 1e9:g} GB/s ({kind.source})",
        f"  mesh {mesh}; {arch.model_type}, {plan.num_parameters:,} parameters, {plan.model.dtype} "
        f"computing, {plan.model.param_dtype} weights, remat {plan.model.remat}, attention "
        f"{plan.model.attention}",
    ]
    for stage in plan.stages:
        lines += ["", *_stage(stage, plan)]
    lines += ["", "Assumptions", *(f"  - {line}" for line in ASSUMPTIONS)]
    return "\n".join(lines)


def _stage(stage: StagePlan, plan: Plan) -> list[str]:
    verdict = "fits" if stage.fits(plan.slice) else "DOES NOT FIT"
    lines = [f"{stage.name}: {verdict}", *_memory(stage, plan.slice)]
    lines += ["", *_speed(stage)]
    lines += ["", *_collectives(stage)]
    if stage.name == "rl" and all(program.kind != "move" for program in stage.programs):
        lines += ["", "  Weights do not move to the sampler: it uses the trainer's own."]
    if stage.limits:
        lines += ["", *_limits(stage)]
    if stage.remats:
        lines += ["", *_remats(stage, plan)]
    if stage.run_times:
        lines += ["", *_run_times(stage)]
    return lines + [f"  {line}" for line in stage.advice]


def _memory(stage: StagePlan, slice_: Slice) -> list[str]:
    header = ("GiB of a device", "parameters", "optimizer", "batch", "KV cache", "activations")
    rows = []
    for found in stage.measured:
        held = [_gib(found.held.get(kind, 0)) for kind in _HELD]
        if found.refused:
            last = ["-", f"more than {_gib(max(found.total, slice_.kind.hbm))}", "does not fit"]
        else:
            share = found.total / slice_.kind.hbm
            last = [_gib(found.temporary), _gib(found.total), f"{share:.0%} of HBM"]
        how = "" if found.compiled else " (estimated)"
        rows.append([found.name + how, *held, *last])
    return aligned([*header, "peak", ""], rows)


def _speed(stage: StagePlan) -> list[str]:
    header = ["work and time", "tokens", "FLOP/token model", "executed", "of it attention"]
    header += ["compute s", "memory s", "links s", "step s", "MFU"]
    rows = []
    for program, found, timed in zip(stage.programs, stage.measured, stage.timed, strict=True):
        attention = "in kernels" if found.work.kernels else ""
        if found.work.attention and not found.work.kernels:
            attention = f"{found.work.attention / program.tokens / 1e9:,.1f} G"
        tokens = max(program.tokens, 1)
        rows.append(
            [
                program.name,
                f"{program.tokens:,}",
                f"{timed.model_flops / tokens / 1e9:,.1f} G",
                f"{timed.executed_flops / tokens / 1e9:,.1f} G",
                attention,
                *(f"{s:.3g}" for s in (timed.compute, timed.memory, timed.links)),
                f"{timed.best:.3g} to {timed.worst:.3g}",
                f"{timed.mfu(timed.best):.0%} to {timed.mfu(timed.worst):.0%}",
            ]
        )
    return aligned(header, rows)


def _collectives(stage: StagePlan) -> list[str]:
    axes = sorted({axis for found in stage.measured for axis in found.moved.by_axis})
    if not axes:
        return ["  collectives: not known without compiling, or none"]
    rows = [
        [found.name, *(_gib(found.moved.by_axis.get(axis, 0)) for axis in axes)]
        + [", ".join(f"{k} {_gib(v)}" for k, v in sorted(found.moved.by_kind.items()))]
        for found in stage.measured
    ]
    return aligned(["GiB received by a device, along", *axes, "by kind"], rows)


def _remats(stage: StagePlan, plan: Plan) -> list[str]:
    """Lists what each policy recomputes and what it keeps instead."""
    devices = plan.slice.devices
    most = max(found.work.weights for found in stage.remats.values())
    rows = []
    for policy, found in stage.remats.items():
        work = found.work.weights / devices / 1e12
        saved = (most - found.work.weights) / devices / 1e12
        peak = "more than " * found.refused + _gib(
            max(found.total, found.refused * plan.slice.kind.hbm)
        )
        fits = "yes" if not found.refused and found.total <= plan.slice.kind.hbm else "no"
        attention = f"{found.work.attention / devices / 1e12:,.0f} TFLOP"
        if found.work.kernels:
            attention = f"{found.work.kernels:,.0f} kernels"
        rows.append([policy, f"{work:,.0f}", f"{saved:,.0f}", attention, peak, fits])
    header = (
        f"{stage.measured[0].name} by model.remat",
        "products with weights, TFLOP a device",
        "saved",
        "attention",
        "peak GiB",
        "fits",
    )
    return aligned(header, rows)


def _limits(stage: StagePlan) -> list[str]:
    rows = [[x.what, f"{x.largest:,}", f"{x.now:,}", x.how] for x in stage.limits]
    return aligned(["largest that fits", "", "recipe", "from"], rows)


def _run_times(stage: StagePlan) -> list[str]:
    rows = [
        [
            run.what,
            f"{run.steps:,}",
            f"{run.tokens / 1e6:,.0f} M",
            _speed_of(run),
            f"{run.chip_hours[0]:,.0f} to {run.chip_hours[1]:,.0f}",
            ", ".join(f"{name} {hours:,.1f} h" for name, hours in run.parts.items()),
        ]
        for run in stage.run_times
    ]
    header = ["the whole run", "steps", "tokens", "useful tokens/s", "chip-hours", "at best"]
    return aligned(header, rows)


def _speed_of(run: RunTime) -> str:
    """Returns tokens per second of the whole slice at best, without padding."""
    seconds = 3600 * sum(run.parts.values())
    return f"{run.tokens / seconds:,.0f}" if seconds else ""


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table; columns are as wide as needed."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]

    def line(cells):
        first, *others = zip(cells, widths, strict=True)
        return (
            "  " + "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]).rstrip()
        )

    return [line(header), *(line(row) for row in rows)]


def _gib(number: float) -> str:
    return f"{number / GIB:.2f}"
