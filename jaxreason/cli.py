"""The `jaxreason` program: one verb a stage, each reading the sections that it needs of any recipe."""

import contextlib
import os
import pathlib
import sys

# transformers is used for its tokenizers; that it finds no PyTorch is no news to anyone here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from jaxreason import chat, convert, distributed, dry_run, sharding, study
from jaxreason.analysis import drift
from jaxreason.config import ConfigError, nearest, parse, to_dict
from jaxreason.ending import all_end_together
from jaxreason.errors import UserError
from jaxreason.evaluation import evaluator, settings, transfer
from jaxreason.host_memory import keep_freed_memory
from jaxreason.memory import OUT_OF_MEMORY, out_of_memory_message
from jaxreason.models import huggingface
from jaxreason.models.precision import make_products_exact
from jaxreason.plan.recipe import plan_recipe
from jaxreason.plan.slices import GPU_SHARE, find_slice
from jaxreason.plan.table import format_plan
from jaxreason.questions import prepare
from jaxreason.recipes import check_override, find_recipe, load_recipe, on_slice, split_argument
from jaxreason.report import build as report
from jaxreason.results.buckets import check_path
from jaxreason.results.claims import claim
from jaxreason.results.files import write_json
from jaxreason.rl import loop as rl
from jaxreason.serve.settings import ServeConfig
from jaxreason.training import sft

USAGE = """jaxreason VERB --config FILE [--config.section.field=value ...] --workdir DIR

  study     train twins of a base model, evaluate and compare them, write the report
            jaxreason study --config configs/study_tiny.py --workdir runs/tiny
            --dry-run lists the stages with estimated time and disk, and does nothing
  sft       fine-tune a model on worked answers (recipe sections: model, mesh, sft)
            jaxreason sft --config configs/study_tiny.py --config.sft.epochs=1.0 --workdir runs/sft
  rl        train a model on verified rewards with GRPO (model, mesh, rl)
            jaxreason rl --config configs/study_tiny.py --workdir runs/rl
  eval      sample and grade the benchmarks (model, mesh, eval)
            jaxreason eval --config configs/study_tiny.py --config.model.path=runs/rl/model --workdir runs/rl
  transfer  the transferability index of scores in a CSV file (transfer)
            jaxreason transfer --config configs/transfer_paper.py --workdir runs/paper
  drift     compare a tuned model with its base: hidden states, token distributions, weights (model, mesh, drift)
            jaxreason drift --config configs/study_tiny.py --tuned runs/rl/model --workdir runs/rl \\
              --base-evaluation runs/base/evaluation --tuned-evaluation runs/rl/evaluation
  report    write report.html, report.md and figures from a study's files (report)
            jaxreason report --config configs/study_tiny.py --workdir runs/tiny
  convert   write a run's checkpoint as a Hugging Face folder (model, mesh)
            jaxreason convert --config configs/study_tiny.py --source runs/rl/checkpoints --target runs/rl/hf
  chat      talk to a model in the terminal (model, mesh, chat)
            jaxreason chat --config configs/study_tiny.py --config.model.path=runs/rl/model
  serve     answer OpenAI's clients over HTTP (model, mesh, serve; needs the extra `serve`)
            jaxreason serve --config configs/study_tiny.py --config.model.path=runs/rl/model
  plan      what a recipe needs on a TPU slice or GPUs, without one: memory, time, what fits (model, mesh, sft or rl)
            jaxreason plan --config configs/sft_qwen3_14b_think.py --slice v5p-64
            --nofit leaves out the largest sizes that fit, --remat adds every remat policy (each compiles more)

--config is a path, or the name of a recipe that came with the package. --workdir holds everything that a run
writes; the same command run again continues it. Some recipes take a word more: configs/rl_qwen3.py:0.6b,h100.
Seeds: --config.seed (study: --config.study.seeds).
"""

VERBS = (
    "study",
    "sft",
    "rl",
    "eval",
    "transfer",
    "drift",
    "report",
    "convert",
    "chat",
    "serve",
    "plan",
)

FLAGS = flags.FLAGS
PATHS = ("workdir", "tuned", "base_evaluation", "tuned_evaluation", "source", "target")
config_flags.DEFINE_config_file("config", None, "Recipe: a Python file with get_config().")
flags.DEFINE_string("workdir", None, "Directory for everything the run writes; may be gs://...")
flags.DEFINE_bool("dry_run", False, "study: list stages, time and disk, and stop.")
flags.DEFINE_string("tuned", None, "drift: Hugging Face folder of the tuned model.")
flags.DEFINE_string("base_evaluation", None, "drift: evaluation folder of the base model.")
flags.DEFINE_string("tuned_evaluation", None, "drift: evaluation folder of the tuned model.")
flags.DEFINE_string(
    "source", None, "convert: checkpoints folder of a run, or a Hugging Face folder."
)
flags.DEFINE_string("slice", None, "plan: a TPU slice (v5p-64, 2xv5e-256) or GPUs (h100, h200-8).")
flags.DEFINE_bool("fit", True, "plan: also compile once more for the largest sizes that fit.")
flags.DEFINE_bool("remat", False, "plan: also compile the training step under every remat policy.")
flags.DEFINE_string("target", None, "convert: the Hugging Face folder to write.")


def main(argv: list[str] | None = None) -> None:
    """Entry of the console program: exits with 2 after a message for what a user can cause."""
    argv = list(sys.argv if argv is None else argv)
    if len(argv) < 2 or argv[1] in ("-h", "--help", "help") or "--help" in argv:
        _print_usage()
        raise SystemExit(0 if len(argv) > 1 else 2)
    with all_end_together():
        try:
            _run(argv[1], argv[2:])
        except (UserError, FileNotFoundError, flags.Error) as error:
            # What only we can cause (AssertionError, JAX's own ValueError ...) keeps its traceback.
            if os.environ.get("JAXREASON_TRACEBACK"):
                raise
            print(f"jaxreason {argv[1]}: {error}", file=sys.stderr)
            raise SystemExit(2) from None


def _print_usage() -> None:
    try:
        print(USAGE, flush=True)
    except (
        BrokenPipeError
    ):  # `jaxreason --help | head`: Python would complain once more on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(verb: str, arguments: list[str]) -> None:
    if verb not in VERBS:
        raise ConfigError(f"no such verb{nearest(verb, VERBS)} Verbs: {', '.join(VERBS)}.")
    config = _parse_flags(arguments)
    for name in PATHS:
        check_path(getattr(FLAGS, name))
    optional = FLAGS.workdir if verb == "plan" else ""
    if FLAGS.dry_run and verb != "study":
        raise ConfigError(f"--dry-run is for `jaxreason study`; `jaxreason {verb}` has none.")
    needs = verb not in ("convert", "chat", "serve", "plan") and not FLAGS.dry_run
    workdir = _needed("workdir", verb) if needs else optional
    try:
        RUN[verb](config, epath.Path(workdir) if workdir else None)
    except jax.errors.JaxRuntimeError as error:
        if not OUT_OF_MEMORY.search(str(error)):
            raise
        read = tuple(config.keys()) if verb == "study" else (verb,)
        raise ConfigError(out_of_memory_message(config, read, str(error))) from error


def _parse_flags(arguments: list[str]):
    """The recipe with its overrides; every override is checked by name before absl sees it."""
    arguments = _joined([_normal(argument) for argument in arguments], ("--slice",))
    arguments = _with_found_recipe(arguments)
    recipe = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    if not recipe:
        raise ConfigError("--config FILE is needed.")
    config = load_recipe(recipe[-1])
    for argument in arguments:
        if argument.startswith("--config."):
            check_override(config, argument.removeprefix("--config.").split("=")[0])
    _check_flag_names(arguments)
    FLAGS.unparse_flags()
    # absl prints its own usage for some errors; its message alone is what a user needs.
    FLAGS(["jaxreason", *arguments])
    return FLAGS.config


def _normal(argument: str) -> str:
    """`--dry-run` as absl knows it, `--dry_run`; values and recipe fields stay as they are."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name.startswith("--config"):
        return argument
    return "--" + name[2:].replace("-", "_") + equals + value


def _joined(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """`--flag value` as `--flag=value`, for these flags."""
    result, rest = [], iter(arguments)
    for argument in rest:
        result.append(f"{argument}={next(rest, '')}" if argument in names else argument)
    return result


def _with_found_recipe(arguments: list[str]) -> list[str]:
    """`--config FILE[:ARGUMENT]` as one argument with the file's path, wherever the recipe was found.

    A recipe that can be had for a slice is that for the one of `--slice`, if there is one.
    """
    slices = [a.removeprefix("--slice=") for a in arguments if a.startswith("--slice=")]
    result, rest = [], iter(arguments)
    for argument in rest:
        if argument == "--config":
            argument = f"--config={next(rest, '')}"
        if argument.startswith("--config="):
            name = argument.removeprefix("--config=")
            name = on_slice(name, find_slice(slices[-1]).name) if slices else name
            argument = split_argument(name)[1]
            path = str(find_recipe(name))
            argument = f"--config={path}" + (f":{argument}" if argument else "")
        result.append(argument)
    return result


def _check_flag_names(arguments: list[str]) -> None:
    known = (
        "config",
        "workdir",
        "dry_run",
        "tuned",
        "base_evaluation",
        "tuned_evaluation",
        "source",
        "target",
        "slice",
        "fit",
        "remat",
    )
    for argument in arguments:
        name = argument.removeprefix("--").split("=")[0].removeprefix("no")
        if argument.startswith("--") and name.split(".")[0] not in known:
            shown = [f"--{k.replace('_', '-')}" for k in known]
            raise ConfigError(
                f"{argument}: no such flag{nearest(argument, shown)} Flags: {', '.join(shown)}."
            )


def _needed(flag: str, verb: str) -> str:
    value = getattr(FLAGS, flag)
    if not value:
        raise ConfigError(f"--{flag.replace('_', '-')} is needed by `jaxreason {verb}`.")
    return value


def section(config, name: str, cls: type):
    """A section of the recipe as its dataclass.

    Raises:
      ConfigError: when the recipe has no such section, or it does not fit.
    """
    if name not in config:
        raise ConfigError(
            f"config.{name}: this recipe has no such section (it has {', '.join(config.keys())})."
        )
    return parse(cls, config[name], f"config.{name}")


@contextlib.contextmanager
def _mesh(config):
    """The recipe's device mesh, set for the run; starts jax.distributed first where the environment asks for it."""
    study.check_recipe(config)
    keep_freed_memory()
    # JAX by itself takes three quarters of a GPU's memory
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))
    distributed.initialize_processes()
    distributed.show_messages()
    enable_compilation_cache()
    mesh = sharding.make_mesh(section(config, "mesh", sharding.MeshConfig))
    make_products_exact(_model(config).dtype)
    with jax.set_mesh(mesh):
        yield mesh


def enable_compilation_cache() -> None:
    """Compiled programs are kept in JAX_COMPILATION_CACHE_DIR, or in the user's cache folder."""
    if not jax.config.jax_compilation_cache_dir:
        folder = os.environ.get("XDG_CACHE_HOME", str(pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", f"{folder}/jaxreason/jax")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _model(config):
    return section(config, "model", huggingface.ModelConfig)


def _study(config, workdir):
    study.check_recipe(config)
    if FLAGS.dry_run:
        return print(dry_run.describe_study(config))
    with _mesh(config) as mesh:
        study.run_study(config, mesh, workdir)


def _claimed(config, workdir, *names):
    """The recipe with its question files written, in a working directory that belongs to these sections."""
    used = {name: config[name] for name in ("seed", *names) if name in config}
    distributed.on_process_zero(lambda: claim(workdir, to_dict(used)))
    return prepare(config, workdir)


def _sft(config, workdir):
    with _mesh(config) as mesh, study.locked(workdir):
        config = _claimed(config, workdir, "model", "sft")
        sft.run_sft(
            section(config, "sft", sft.SFTConfig), _model(config), mesh, workdir, config.seed
        )


def _rl(config, workdir):
    with _mesh(config) as mesh, study.locked(workdir):
        config = _claimed(config, workdir, "model", "rl")
        rl.run_rl(section(config, "rl", rl.RLConfig), _model(config), mesh, workdir, config.seed)


def _eval(config, workdir):
    with _mesh(config) as mesh, study.locked(workdir):
        config = prepare(config, workdir)
        evaluator.run_eval(
            section(config, "eval", settings.EvalConfig),
            _model(config),
            mesh,
            workdir,
            config.seed,
        )


def _transfer(config, workdir):
    rows = transfer.run_transfer(section(config, "transfer", transfer.TransferConfig), workdir)
    print(transfer.format_table(rows))


def _drift(config, workdir):
    tuned = {**_model(config).__dict__, "path": _needed("tuned", "drift")}
    with _mesh(config) as mesh:
        drift.run_drift(
            section(config, "drift", drift.DriftConfig),
            _model(config),
            huggingface.ModelConfig(**tuned),
            mesh,
            workdir,
            epath.Path(_needed("base_evaluation", "drift")),
            epath.Path(_needed("tuned_evaluation", "drift")),
        )


def _report(config, workdir):
    report.run_report(workdir, section(config, "report", report.ReportConfig))


def _convert(config, workdir):
    del workdir
    with _mesh(config) as mesh:
        convert.run_convert(
            _model(config), mesh, _needed("source", "convert"), _needed("target", "convert")
        )


def _chat(config, workdir):
    del workdir
    with _mesh(config) as mesh:
        chat.run_chat(section(config, "chat", chat.ChatConfig), _model(config), mesh, config.seed)


def _serve(config, workdir):
    del workdir
    try:
        from jaxreason.serve import server
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise ConfigError(
            f"{error.name} is not installed: pip install 'jaxreason[serve]' (from a checkout: -e '.[serve]')"
        ) from None
    with _mesh(config) as mesh:
        server.run_serve(section(config, "serve", ServeConfig), _model(config), mesh)


def _plan(config, workdir):
    study.check_recipe(config)
    distributed.show_messages()
    plan = plan_recipe(config, find_slice(_needed("slice", "plan")), FLAGS.fit, FLAGS.remat)
    print(format_plan(plan))
    if workdir is not None:
        write_json(workdir / "plan.json", plan.to_json())


RUN = {
    "study": _study,
    "sft": _sft,
    "rl": _rl,
    "eval": _eval,
    "transfer": _transfer,
    "drift": _drift,
    "report": _report,
    "convert": _convert,
    "chat": _chat,
    "serve": _serve,
    "plan": _plan,
}
