"""VERBS: one entry for each verb of the program; the help texts are made from it."""

import functools
import importlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from jaxreason.config import ConfigError, nearest
from jaxreason.host_memory import no_collection
from jaxreason.recipe_fields import FieldInfo, describe_fields
from jaxreason.verbs.call import Call
from jaxreason.verbs.flags import Flag, flags_of


@dataclass(frozen=True)
class Verb:
    """One verb of the program.

    Attributes:
      summary: what the verb does, for the list of all verbs.
      sections: the sections of the recipe that it reads; () for a verb that takes no recipe.
      example: a command line that calls it.
      run: the function that does the work.
      takes: how help shows the argument that belongs to no flag; "" if there is none.
      several: whether that argument may be given any number of times, including none.
      notes: further sentences for its help.
      devices: whether it uses devices, if it reads the section `mesh`.
    """

    summary: str
    sections: tuple[str, ...]
    example: str
    run: Callable[[Call], None]
    takes: str = ""
    notes: str = ""
    several: bool = False
    devices: bool = True

    @property
    def on_devices(self) -> bool:
        """Whether the verb runs on a mesh of all devices of all processes."""
        return "mesh" in self.sections and self.devices


def _function(module: str, name: str) -> Callable[[Call], None]:
    """Returns a verb's function; its module, and what that needs, is imported when it is called."""
    return functools.partial(_call, f"jaxreason.verbs.{module}", name)


def _call(module: str, name: str, call: Call) -> None:
    with no_collection():
        found = importlib.import_module(module)
    getattr(found, name)(call)


TINY = "--config configs/study_tiny.py"
VERBS = {
    "study": Verb(
        "train twins of a base model, evaluate and compare them, write the report",
        ("model", "mesh", "study", "sft", "rl", "eval", "drift", "transfer", "report"),
        f"jaxreason study {TINY} --workdir runs/tiny",
        _function("stages", "study_verb"),
        notes="--dry-run lists the stages with estimated time and disk, and does nothing.",
    ),
    "questions": Verb(
        "collect training questions from several sources: with answers that can be checked, and none twice",
        ("questions",),
        "jaxreason questions --config configs/questions_paper.py --workdir runs/questions",
        _function("stages", "questions_verb"),
        notes="It writes <workdir>/questions/questions.jsonl, and questions_report.json, which counts what was left "
        "out, and why.",
    ),
    "sft": Verb(
        "fine-tune a model on worked answers",
        ("model", "mesh", "sft"),
        f"jaxreason sft {TINY} --config.sft.epochs=1.0 --workdir runs/sft",
        _function("stages", "sft_verb"),
    ),
    "rl": Verb(
        "train a model on verified rewards with GRPO",
        ("model", "mesh", "rl"),
        f"jaxreason rl {TINY} --workdir runs/rl",
        _function("stages", "rl_verb"),
    ),
    "distill": Verb(
        "sample a teacher's answers, grade them, and write those that are kept as a dataset",
        ("model", "mesh", "distill"),
        "jaxreason distill --config configs/distill_tiny.py --workdir runs/distill_tiny",
        _function("stages", "distill_verb"),
        notes="The teacher is the recipe's model, another folder or hub name, or any OpenAI-compatible endpoint.",
    ),
    "eval": Verb(
        "sample replies to the benchmarks and grade them",
        ("model", "mesh", "eval"),
        f"jaxreason eval {TINY} --config.model.path=runs/rl/model --workdir runs/rl",
        _function("stages", "eval_verb"),
        notes="With --follow RUN it evaluates every checkpoint of a training run, with its transferability index and "
        "drift (sections transfer and drift).",
    ),
    "grade": Verb(
        "grade samples again, or completions made by other programs; no model is loaded",
        ("eval",),
        f"jaxreason grade {TINY} --workdir runs/tiny",
        _function("stages", "grade_verb"),
        notes="In the folder of a study it grades the samples of every model. --responses grades completions of "
        "--benchmark from a file; --lm-eval imports results of lm-evaluation-harness.",
    ),
    "export": Verb(
        "write evaluations as logs of Inspect, for `inspect view` (needs the extra `inspect`)",
        (),
        "jaxreason export --workdir runs/tiny --target runs/tiny/inspect",
        _function("result_verbs", "export_verb"),
        notes="It writes one log for each sample file, with its grades; for a study, one folder for each model.",
    ),
    "transfer": Verb(
        "compute the transferability index from scores in a CSV file, or of a study",
        ("transfer",),
        "jaxreason transfer --config configs/transfer_paper.py --workdir runs/paper",
        _function("result_verbs", "transfer_verb"),
    ),
    "drift": Verb(
        "compare a tuned model with its base: hidden states, token distributions, weights",
        ("model", "mesh", "drift"),
        f"jaxreason drift {TINY} --tuned runs/rl/model --workdir runs/rl \\\n"
        "    --base-evaluation runs/base/evaluation --tuned-evaluation runs/rl/evaluation",
        _function("stages", "drift_verb"),
    ),
    "weights": Verb(
        "compare stored weights: how much changed, in which directions, and what several runs changed alike",
        (),
        "jaxreason weights --base Qwen/Qwen3-14B-Base --tuned ReasoningTransferability/UniReason-Qwen3-14B-RL \\\n"
        "    --workdir runs/weights",
        _function("stages", "weights_verb"),
        notes="It reads one tensor after the other from the disk and builds no model. Without --base and --tuned it "
        "compares every run of the study in --workdir with its base.",
    ),
    "surgery": Verb(
        "write a mix of a base and a tuned model: interpolated, with swapped layers or the base's singular values",
        (),
        "jaxreason surgery --base runs/base/model --tuned runs/rl/model --change singular_values \\\n"
        "    --target runs/restored",
        _function("stages", "surgery_verb"),
        notes="`jaxreason eval` and transformers can load the folder. Its tokenizer is the tuned model's.",
    ),
    "cross-sample": Verb(
        "grade replies of one model in which another model chose a few tokens: how much of a gain those tokens carry",
        ("model", "mesh", "eval", "cross_sample"),
        f"jaxreason cross-sample {TINY} --config.cross_sample.benchmark=add \\\n"
        "    --tuned runs/tiny/rl/seed_0/model --workdir runs/tiny/rl/seed_0",
        _function("stages", "cross_sample_verb"),
        notes="The recipe's model is the base. With a study's run as --workdir, the study's report shows the result.",
    ),
    "report": Verb(
        "write report.html, report.md and the figures from a study's files",
        ("report",),
        f"jaxreason report {TINY} --workdir runs/tiny",
        _function("result_verbs", "report_verb"),
        takes="[STUDY ...]",
        several=True,
        notes="`jaxreason report A B C --workdir runs/all` writes one report of several finished studies. Without "
        "--config it takes the recipe that the (first) study's folder holds.",
    ),
    "convert": Verb(
        "write a checkpoint of a run as a Hugging Face folder",
        ("model", "mesh"),
        f"jaxreason convert {TINY} --source runs/rl/checkpoints --target runs/rl/hf",
        _function("stages", "convert_verb"),
        notes="It takes the newest checkpoint, or that of --step.",
    ),
    "chat": Verb(
        "talk to a model in the terminal",
        ("model", "mesh", "chat"),
        f"jaxreason chat {TINY} --config.model.path=runs/rl/model",
        _function("answering", "chat_verb"),
    ),
    "serve": Verb(
        "serve a model over HTTP with OpenAI's API (needs the extra `serve`)",
        ("model", "mesh", "serve"),
        f"jaxreason serve {TINY} --config.model.path=runs/rl/model",
        _function("answering", "serve_verb"),
    ),
    "plan": Verb(
        "estimate the memory and time that a recipe needs on a TPU slice or GPUs, without having one",
        ("model", "mesh", "plan", "sft", "rl"),
        "jaxreason plan --config configs/sft_qwen3_14b_think.py --slice v5p-64",
        _function("stages", "plan_verb"),
        devices=False,
        notes="--nofit skips the search for the largest sizes that fit. --remat adds every remat policy.",
    ),
    "check": Verb(
        "check a recipe in seconds: fields, paths, chat template, stop tokens, longest prompt, a rendered example",
        ("model", "mesh", "sft", "rl", "distill", "eval"),
        f"jaxreason check {TINY}",
        _function("recipe_check", "check_verb"),
        devices=False,
        notes="No weights are loaded and nothing is compiled or written.",
    ),
    "show": Verb(
        "print the scores, metrics and a few replies of a run, an evaluation or a study",
        (),
        "jaxreason show runs/tiny",
        _function("run_view", "show_verb"),
        takes="DIR",
    ),
    "status": Verb(
        "show the state of a run: whether it lives, its stage and speed, the time left, the last error",
        (),
        "jaxreason status runs/tiny",
        _function("status_view", "status_verb"),
        takes="DIR",
        notes="It only reads files, so it also works during the run and on gs://. It exits with 1 if the run is dead "
        "or has failed.",
    ),
    "init": Verb(
        "write a recipe for your own model and data",
        (),
        "jaxreason init --model Qwen/Qwen3-0.6B --data questions.jsonl --target my_recipe.py",
        _function("starter_recipe", "init_verb"),
        notes="It recognizes the columns of the file by their names; `jaxreason check` shows the result.",
    ),
}


def usage() -> str:
    """Returns the list of all verbs, each with an example."""
    lines = ["jaxreason VERB [--flag value ...]", ""]
    for name, verb in VERBS.items():
        lines += [
            f"  {name:<12} {verb.summary}",
            f"               {verb.example}".replace("\n", "\n" + " " * 15),
        ]
    return "\n".join(
        [
            *lines,
            "",
            "`jaxreason VERB --help` lists a verb's flags. `jaxreason help SECTION.FIELD` explains fields of a",
            "recipe (`sft`, `rl.optimizer`). `jaxreason --version` prints the version.",
            "--config is a path, or the name of a recipe that came with the package;",
            "--config.SECTION.FIELD=VALUE sets any field of it. --workdir holds everything that a run",
            "writes; the same command run again continues it.",
        ]
    )


def _shown(flag: Flag) -> str:
    head = f"  --{f'{flag.name} {flag.value}'.strip():<24} "
    default = f" Default: {flag.default}." if flag.value and flag.default else ""
    indent = " " * len(head)
    return textwrap.fill(
        head + flag.help + default, 100, subsequent_indent=indent, break_on_hyphens=False
    )


def verb_help(name: str) -> str:
    """Returns the help of a verb: what it does, its flags, the sections that it reads, and an example."""
    verb = VERBS[name]
    flags = flags_of(name)
    needed = [f"--{f.name} {f.value}" for f in flags if name in f.needed]
    words = " ".join(word for word in ("jaxreason", name, verb.takes, *needed) if word)
    shown = [_shown(flag) for flag in flags]
    read = ", ".join(verb.sections)
    parts = [f"{words}\n\n{verb.summary[0].upper()}{verb.summary[1:]}. {verb.notes}".rstrip()]
    parts += ["Flags:\n" + "\n".join(shown)] if shown else []
    parts += (
        [
            f"Sections of the recipe that it reads, if the recipe has them: {read}. "
            "`jaxreason help SECTION` lists the fields of one."
        ]
        if read
        else []
    )
    return "\n\n".join([*parts, f"Example:\n  {verb.example}"])  # fmt: skip


def section_help(words: list[str]) -> str | None:
    """Lists the fields of a section, or of a part of one such as `rl.optimizer`.

    The first of `words` that names a section is taken; returns None if none does.

    Raises:
      ConfigError: the section has no such field.
    """
    from jaxreason.studies.recipe_sections import SECTIONS  # with JAX

    for word in words:
        section, _, part = word.removeprefix("config.").partition(".")
        if section in SECTIONS:
            fields = describe_fields(SECTIONS[section])
            shown = [f for f in fields if not part or f"{f.path}.".startswith(f"{part}.")]
            if not shown:
                raise ConfigError(f"{word}: no such field{nearest(part, [f.path for f in fields])}")
            return "\n".join(_shown_field(section, field) for field in shown)
    return None


def _shown_field(section: str, field: FieldInfo) -> str:
    parts = [field.type, field.range, f"default {field.default}" if field.default else ""]
    about = f"  {', '.join(filter(None, parts))}. {field.doc}"
    text = textwrap.fill(about, 100, subsequent_indent="  ", break_on_hyphens=False)
    return f"{section}.{field.path}\n{text}"
