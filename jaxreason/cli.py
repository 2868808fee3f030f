"""The `jaxreason` program: finds the verb, its recipe and its flags, runs it, and reports how it ended."""

import contextlib
import io
import os
import select
import sys
import traceback

# Shows XLA's errors but not its warnings, such as "Can't reduce memory use below ... by rematerialization" for programs
# that fit. 1 shows warnings too, 0 everything. XLA reads this when JAX is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from etils import epath

import jaxreason
from jaxreason.config import ConfigError, nearest
from jaxreason.errors import USERS_FAULT, exit_code
from jaxreason.host_memory import no_collection
from jaxreason.plan.slices import find_slice
from jaxreason.recipes import load_recipe, on_slice
from jaxreason.results import redaction
from jaxreason.results.atomic_files import about
from jaxreason.verbs import late_writes
from jaxreason.verbs.call import Call
from jaxreason.verbs.catalogue import VERBS, section_help, usage, verb_help
from jaxreason.verbs.endings import INTERRUPTED, READER_GONE, explain
from jaxreason.verbs.flags import check_paths, parse_flags
from jaxreason.verbs.log_file import LogFile
from jaxreason.verbs.overrides import apply_overrides

OUTPUT = "standard output"  # Its name in the message of an error.


def main(argv: list[str] | None = None) -> None:
    """The entry point of the console program.

    It ends with code 2 and one message for an error that a user can cause, with 130 at Ctrl-C, and with a traceback for
    any other error. The log of the working directory has the traceback in any case.
    """
    words = list(sys.argv if argv is None else argv)[1:]
    _open_output()
    try:
        try:
            if not _informed(words):
                with _together(words[0]):
                    _run(words[0], words[1:])
        except SystemExit:
            _flush()  # Python would do it after us, and tell of an error by a traceback.
            raise
        _flush()
    except BrokenPipeError:
        if not _reader_gone():
            raise
        _drop_output()
        raise SystemExit(READER_GONE) from None
    except OSError as error:
        message = explain(error, None, ()) if error.filename == OUTPUT else None
        if message is None:
            raise
        _drop_output()
        print(f"jaxreason: {message}", file=sys.stderr)
        raise SystemExit(USERS_FAULT) from None


def _flush() -> None:
    with about(OUTPUT):
        sys.stdout.flush()


def _drop_output() -> None:
    """Drops what is still to be printed, so that Python does not try it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _together(verb: str) -> contextlib.AbstractContextManager[None]:
    """Returns what ends all processes of a job together, for a verb that may be run by several."""
    if verb not in VERBS or not VERBS[verb].on_devices:
        return contextlib.nullcontext()  # Without JAX, whose import takes a second.
    from jaxreason.runtime.ending import all_end_together

    return all_end_together()


def _open_output() -> None:
    """Escapes what the terminal has no letters for, and drops what is printed if the output is closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _reader_gone() -> bool:
    """Whether nobody reads our output any more, as after `jaxreason show runs/tiny | head`."""
    if sys.__stdout__ is None:
        return False
    poll = select.poll()
    poll.register(sys.__stdout__.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _informed(words: list[str]) -> bool:
    """Prints help or the version if it was asked for; returns whether it was."""
    if words[:1] == ["--version"]:
        _print(f"jaxreason {jaxreason.__version__}")
        return True
    helps = {"-h", "--help", "-help", "help"}
    if words and not helps & set(words):
        return False
    try:
        _print(_help(words))
    except ConfigError as error:
        print(f"jaxreason help: {error}", file=sys.stderr)
        raise SystemExit(USERS_FAULT) from None
    if not words:
        raise SystemExit(USERS_FAULT)
    return True


def _print(text: str) -> None:
    with about(OUTPUT):
        print(text)


def _help(words: list[str]) -> str:
    """Returns the help: for `help sft` the verb and the section's fields, for `sft --help` the verb, else all verbs."""
    verb = next((word for word in words if word in VERBS), None)
    fields = section_help(words[1:]) if words[:1] == ["help"] else None
    parts = [verb_help(verb) if verb else "", fields]
    return "\n\n".join(filter(None, parts)) or usage()


def _run(verb: str, arguments: list[str]) -> None:
    redaction.begin(arguments)
    sys.excepthook = _print_hidden
    late_writes.silence()
    log = LogFile(None)
    config = None
    try:
        if verb not in VERBS:
            raise ConfigError(
                f"no such verb{nearest(verb, VERBS) or '.'} Verbs: {', '.join(VERBS)}."
            )
        _check_texts(arguments)
        if VERBS[verb].on_devices and "--dry-run" not in arguments:
            # This comes first, so that an error on one machine reaches the other processes.
            from jaxreason.runtime import distributed

            distributed.initialize_processes()
        flags, config, paths = _parsed(verb, arguments)
        check_paths(verb, flags, paths)
        workdir = flags.get("workdir")
        log = LogFile(epath.Path(workdir) if workdir else None, ("jaxreason", verb, *arguments))
        VERBS[verb].run(Call(verb, config, flags, tuple(paths), log))
    except (Exception, KeyboardInterrupt) as error:
        log.write_error(error)
        _end(verb, config, error)
    finally:
        log.close()


def _check_texts(words: list[str]) -> None:
    """Refuses words that Python could not read as text: they are paths mostly, which are written into files."""
    folder = ""
    # A current folder that was removed is no fault where the paths are absolute.
    with contextlib.suppress(FileNotFoundError):
        folder = os.getcwd()
    for word in (*words, folder):
        if word != word.encode(errors="replace").decode():
            raise ConfigError(
                f"{word!a} is not UTF-8, so it could not be written into files. Take another name, or, if the "
                "terminal has another encoding, set LC_ALL=C.UTF-8."
            )


def _print_hidden(*error) -> None:
    """Prints the traceback that ends the program as Python does, but without secrets."""
    print(redaction.hide("".join(traceback.format_exception(*error))), end="", file=sys.stderr)


def _parsed(verb: str, arguments: list[str]):
    """Returns the verb's flags, the recipe with its overrides, and the arguments that belong to no flag."""
    fields = tuple(f"{dashes}{name}." for dashes in ("-", "--") for name in ("config", "noconfig"))
    own = [word for word in arguments if not word.startswith(fields)]
    name = _last_value(own, "--config")
    if name is None or not VERBS[verb].sections:
        flags, paths = parse_flags(verb, arguments)
        return flags, None, _checked_paths(verb, paths)
    slice_name = _last_value(own, "--slice") if verb == "plan" else None
    name = on_slice(name, find_slice(slice_name).name) if slice_name else name
    # Not above: they need JAX, for whose import `status` or `--help` should not wait.
    with no_collection():
        from jaxreason.studies.recipe_sections import check_recipe, section_classes
    config = load_recipe(name)
    rest = apply_overrides(config, section_classes(config), arguments)
    check_recipe(config)
    flags, paths = parse_flags(verb, rest)
    return flags, config, _checked_paths(verb, paths)


def _last_value(words: list[str], flag: str) -> str | None:
    """Returns the value of the last `flag VALUE` or `flag=VALUE` on the command line; one dash is as good as two."""
    pairs = zip(words, [*words[1:], None], strict=False)
    names = flag, flag.removeprefix("-")
    found = [
        word.partition("=")[2] if "=" in word else after
        for word, after in pairs
        if word.partition("=")[0] in names
    ]
    return found[-1] if found else None


def _checked_paths(verb: str, paths: list[str]) -> list[str]:
    takes = VERBS[verb].takes
    if VERBS[verb].several:
        return paths
    if len(paths) != bool(takes):
        expected = f"expected one {takes}" if takes else "expected flags alone"
        came = f"got {', '.join(map(repr, paths))}" if paths else "got none"
        raise ConfigError(f"{expected}, {came}. `jaxreason {verb} --help` shows an example.")
    return paths


def _name_output(error: OSError) -> None:
    """Names the output in an error without a file, if what a verb printed still waits and cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        error.filename = OUTPUT
        _drop_output()


def _end(verb: str, config, error: BaseException) -> None:
    """Ends the program: with one message if a user can fix the cause, otherwise with the traceback."""
    if isinstance(error, KeyboardInterrupt):
        print(f"jaxreason {verb}: interrupted.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    if isinstance(error, BrokenPipeError) and _reader_gone():
        raise error
    if isinstance(error, OSError) and error.filename is None:
        _name_output(error)
    sections = VERBS[verb].sections if verb in VERBS else ()
    message = explain(error, config, sections)
    if message is None or os.environ.get("JAXREASON_TRACEBACK"):
        raise error
    print(f"jaxreason {verb}: {redaction.hide(message)}", file=sys.stderr)
    raise SystemExit(exit_code(error)) from None
