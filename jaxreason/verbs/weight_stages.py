"""The verbs that work on weights as they are stored: no model is built, no recipe is read."""

from jaxreason.analysis import surgery, weight_folders
from jaxreason.config import ConfigError
from jaxreason.runtime.preemption import Interrupt
from jaxreason.studies import study
from jaxreason.verbs import outcome
from jaxreason.verbs.call import Call
from jaxreason.verbs.setup import show_messages

DTYPES = ("float32", "bfloat16", "float16")


def run_weights(call: Call) -> None:
    """Model folders against a base, or the runs of a study against theirs."""
    base, tuned = (call.flags[name] for name in ("base", "tuned"))
    if bool(base) != bool(tuned):
        raise ConfigError("--base and --tuned go together; without both, --workdir is a study's.")
    show_messages(call)
    with study.locked_by_all(call.workdir, call.verb), Interrupt() as interrupt:
        if base:
            names = [name.strip() for name in tuned.split(",") if name.strip()]
            found = base, names, call.workdir, interrupt.check
            folders = weight_folders.compare_folders(*found)
        else:
            folders = weight_folders.compare_study(call.workdir, interrupt.check)
        for folder in folders:
            call.tell(outcome.weights(folder))
        call.tell(outcome.overlaps(call.workdir))


def run_surgery(call: Call) -> None:
    """A model folder made of two."""
    flags, dtype = call.flags, call.flags["dtype"]
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype={dtype}: expected one of {', '.join(DTYPES)}.")
    words = (flags[name] for name in ("change", "amount", "layers", "kinds", "rest"))
    how = surgery.parse_surgery(*words)
    show_messages(call)
    with Interrupt() as interrupt:
        between = lambda: interrupt.check("No folder was written.")  # noqa: E731
        names = flags["base"], flags["tuned"], flags["target"]
        surgery.run_surgery(*names, how, dtype, between)
    call.tell(f"wrote {flags['target']}")
