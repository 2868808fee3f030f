"""FLAGS: every flag of the program, declared once.

Parsing by absl, the help texts and the checks of flags are all made from this list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from absl import flags as absl_flags

from jaxreason.config import ConfigError, nearest
from jaxreason.results.buckets import check_path

RECIPE_VERBS = (
    *("study", "questions", "distill", "sft", "rl"),
    *("eval", "grade", "transfer", "drift", "cross-sample", "report"),
)
MODEL_VERBS = ("convert", "chat", "serve", "plan", "check")


@dataclass(frozen=True)
class Flag:
    """One flag of the command line.

    Attributes:
      name: the name, without the leading `--`.
      value: how help shows the flag's value; "" for a switch, which takes none.
      help: a sentence for the help text.
      verbs: the verbs that take it.
      needed: those of `verbs` that require it.
      spared_by: a switch that makes it optional for all of them.
      default: the default of a switch, or of a flag that may be left out.
    """

    name: str
    value: str
    help: str
    verbs: tuple[str, ...]
    needed: tuple[str, ...] = ()
    spared_by: str = ""
    default: Any = None


FLAGS = (
    Flag(
        "config",
        "RECIPE",
        "a Python file with get_config(), or the name of a recipe that came with the package (`study_tiny`); some "
        "take a word more: `rl_qwen3:0.6b,h100`. --config.SECTION.FIELD=VALUE sets any field of it.",
        (*RECIPE_VERBS, *MODEL_VERBS),
        (*(verb for verb in RECIPE_VERBS if verb != "report"), *MODEL_VERBS),
    ),
    Flag(
        "workdir",
        "DIR",
        "holds everything that the run writes, log.txt among it; may be gs://...; the same command continues a run.",
        (*RECIPE_VERBS, "plan", "export", "weights"),
        (*RECIPE_VERBS, "export", "weights"),
        spared_by="dry-run",
    ),
    Flag(
        "profile",
        "",
        "trace the devices for five seconds or more from the first step on: <workdir>/profile, for xprof.",
        ("study", "sft", "rl", "eval", "distill"),
    ),
    Flag("dry-run", "", "list the stages with estimated time and disk, and stop.", ("study",)),
    Flag(
        "base",
        "MODEL",
        "Hugging Face folder or hub name of the base; for `weights` not of a study, which names its own.",
        ("weights", "surgery"),
        ("surgery",),
    ),
    Flag(
        "tuned",
        "MODEL",
        "Hugging Face folder or hub name of the tuned model; for `weights` several, with commas between them.",
        ("drift", "cross-sample", "weights", "surgery"),
        ("drift", "cross-sample", "surgery"),
    ),
    Flag(
        "change",
        "WHAT",
        "interpolate (base + amount x (tuned - base)), singular_values or singular_vectors (the base's restored).",
        ("surgery",),
        ("surgery",),
    ),
    Flag("amount", "A", "factor for interpolate; left out: 1, which keeps the tuned model's tensors.", ("surgery",)),
    Flag(
        "layers",
        "LIST",
        "the layers to change: 0-3,7 or 0-3,outside (embeddings, final norm, head); left out: all.",
        ("surgery",),
    ),
    Flag("kinds", "LIST", "the kinds of parameters to change: q_proj,k_proj; left out: all.", ("surgery",)),
    Flag(
        "rest",
        "WHOSE",
        "base or tuned: the model that all else is taken from; left out: base for interpolate, else tuned.",
        ("surgery",),
    ),
    Flag("dtype", "NAME", "dtype of the weights written; left out: that of the tuned model.", ("surgery",)),
    Flag(
        "base-evaluation", "DIR", "evaluation folder of the base model.", ("drift",), ("drift",)
    ),
    Flag(
        "tuned-evaluation", "DIR", "evaluation folder of the tuned model.", ("drift",), ("drift",)
    ),
    Flag(
        "follow",
        "RUN",
        "folder of a training run: its base and every checkpoint are evaluated, each as it appears.",
        ("eval",),
    ),
    Flag(
        "best",
        "NAME",
        "with --follow: the group or benchmark whose score says which step is best; left out: math.",
        ("eval",),
    ),
    Flag(
        "source",
        "DIR",
        "checkpoints folder of a run, or a Hugging Face folder or hub name.",
        ("convert",),
        ("convert",),
    ),
    Flag("step", "N", "step of the checkpoint; left out: the newest.", ("convert",)),
    Flag(
        "target",
        "PATH",
        "what to write: convert and surgery a folder, init a Python file, which must not exist yet; export logs into "
        "a folder.",
        ("convert", "init", "export", "surgery"),
        ("convert", "init", "export", "surgery"),
    ),
    Flag("slice", "NAME", "a TPU slice (v5p-64, 2xv5e-256) or GPUs (h100, h200-8).", ("plan",), ("plan",)),
    Flag("fit", "", "compile once more for the largest sizes that fit; --nofit: do not.", ("plan",), default=True),
    Flag("remat", "", "also compile the training step under every remat policy.", ("plan",)),
    Flag("search", "", "rank remat policies, unrolled layers and rows at a time; the fastest that fits.", ("plan",)),
    Flag("model", "DIR", "Hugging Face folder or hub name of your model.", ("init",), ("init",)),
    Flag("data", "FILE", "your questions: jsonl, json, csv, tsv or parquet.", ("init",), ("init",)),
    Flag(
        "responses",
        "FILE",
        "completions to grade instead of the working directory's samples: jsonl, one per line.",
        ("grade",),
    ),
    Flag("benchmark", "NAME", "the benchmark that the responses answer.", ("grade",)),
    Flag("variant", "NAME", "robust or paper: grade the responses as this one alone.", ("grade",)),
    Flag(
        "fields",
        "MAP",
        "columns of the responses file, where their names are not found: response=output,id=key,prompt=input.",
        ("grade",),
    ),
    Flag(
        "lm-eval",
        "DIR",
        "results of lm-evaluation-harness with --log_samples, to put among the scores of the working directory.",
        ("grade",),
    ),
    Flag("group", "NAME", "the group of lm-eval's tasks: math, other or non_reasoning.", ("grade",)),
    Flag("decoding", "NAME", "the decoding that lm-eval's tasks are compared with.", ("grade",), default="greedy"),
    Flag("steps", "N", "the number of last steps of which speed and times are told.", ("status",), default="50"),
    Flag("replies", "N", "the number of replies to show.", ("show",), default="3"),
)  # fmt: skip


def flags_of(verb: str) -> tuple[Flag, ...]:
    """Returns the flags that a verb takes."""
    return tuple(flag for flag in FLAGS if verb in flag.verbs)


def parse_flags(verb: str, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the values of the verb's flags by name, and the arguments that belong to no flag.

    Raises:
      ConfigError: the verb does not take a flag that was given, a required flag is missing, or a flag has no value.
    """
    values = absl_flags.FlagValues()
    for flag in flags_of(verb):
        define = absl_flags.DEFINE_string if flag.value else absl_flags.DEFINE_bool
        default = flag.default if flag.value else bool(flag.default)
        define(_absl_name(flag.name), default, flag.help, flag_values=values)
    try:
        rest = values(["jaxreason", *map(_normal, arguments)])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        raise ConfigError(_unknown(verb, error.flagname.replace("_", "-"))) from None
    except absl_flags.Error as error:
        raise ConfigError(str(error)) from None
    found = {flag.name: values[_absl_name(flag.name)].value for flag in flags_of(verb)}
    for flag in flags_of(verb):
        if verb in flag.needed and not found[flag.name] and not found.get(flag.spared_by):
            raise ConfigError(
                f"--{flag.name} is needed by `jaxreason {verb}`: --{flag.name} {flag.value}, {flag.help}"
            )
    return found, rest


def check_paths(verb: str, values: dict[str, Any], paths: Sequence[str] = ()) -> None:
    """Checks that every path given by a flag, or as an argument of its own, could be opened.

    Raises:
      UserError: as `results.buckets.check_path`.
    """
    for path in paths:
        check_path(path)
    for flag in flags_of(verb):
        if flag.value in ("DIR", "PATH", "RUN", "MODEL"):
            several = flag.value == "MODEL"  # Several models are separated by commas.
            for path in (values[flag.name] or "").split(",") if several else [values[flag.name]]:
                check_path(path.strip() if several else path)


def _absl_name(name: str) -> str:
    return name.replace("-", "_")


def _normal(argument: str) -> str:
    """Writes `--dry-run` as absl expects it, `--dry_run`; the value stays as it is."""
    name, equals, value = argument.partition("=")
    return _absl_name(name[2:]).join(("--", equals + value)) if name[:2] == "--" else argument


def _unknown(verb: str, name: str) -> str:
    elsewhere = [flag for flag in FLAGS if flag.name in (name, name.removeprefix("no"))]
    if elsewhere:
        verbs = ", ".join(f"`jaxreason {other}`" for other in elsewhere[0].verbs)
        return f"--{name} is for {verbs}; `jaxreason {verb}` does not read it."
    shown = [f"--{flag.name}" for flag in flags_of(verb)]
    hint = nearest(f"--{name}", shown)
    return f"--{name}: no such flag{hint or '.'} Flags of `jaxreason {verb}`: {', '.join(shown)}."
