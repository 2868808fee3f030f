"""The paper's eighteen tuned models against their bases: scores, index, drift, and its numbers beside ours.

    jaxreason study --config configs/survey.py:v5p-64 --dry-run              # stages, chip-hours, disk; nothing run
    jaxreason study --config configs/survey.py:7b,h100-8 --workdir runs/survey
    jaxreason study --config configs/survey.py:v5p-64 --workdir runs/survey

The argument after the colon has, in any order: a slice or GPUs (v5p-64); sizes (7b) or arms (limo_32b) to measure, or
none for all; `modes` to measure Qwen3-14B in its two modes as well; `models=FOLDER` if the models are stored as
FOLDER/owner/name; `data=FOLDER` for the folder of the benchmarks' files; ARM=FOLDER for the folder of one model. A
working directory may gain models: existing results are kept, and the report is about the models of the last call.

Models are loaded by hub name, so ask for access to Llama-3.1-8B, and to GPQA. General-Reasoner SFT was not
released: it is left out without general_reasoner_sft=FOLDER. Each model has its own tokenizer and chat
template, as released; Llama-3.1-8B has no template, so it is asked in plain text. Qwen2.5-Math-7B has 4,096
positions and is asked within them.

Expected: the paper's numbers (arXiv 2507.00432v2), which the report shows beside ours. This has not been run at this
size yet; a test runs it with stand-ins of every family.
"""

import math

from ml_collections import ConfigDict

from configs import paper_benchmarks, qwen3, sections
from jaxreason.plan.slices import find_slice
from jaxreason.results import published
from jaxreason.results.published import published_models

PAGE = 128
SLOTS = 128  # Sequences that a part decodes at the same time.
REPLY = 2500  # Mean tokens of a reply, for --dry-run only; an assumption.
# hidden_size, intermediate_size, layers, heads, kv heads, vocabulary and tied embeddings, from
# each model's config.json.
SHAPES = {
    "Qwen2.5-1.5B": (1536, 8960, 28, 12, 2, 151936, True),
    "Qwen2.5-7B": (3584, 18944, 28, 28, 4, 152064, False),
    "Qwen2.5-Math-7B": (3584, 18944, 28, 28, 4, 152064, False),
    "Qwen2.5-14B": (5120, 13824, 48, 40, 8, 152064, False),
    "Qwen2.5-32B": (5120, 27648, 64, 40, 8, 152064, False),
    "Llama-8B": (4096, 14336, 32, 32, 8, 128256, False),
    "Mistral-24B": (5120, 32768, 40, 32, 8, 131072, False),
    "Qwen3-14B": (5120, 17408, 40, 40, 8, 151936, False),
}
KINDS = {
    "Qwen2.5": "qwen2",
    "Qwen2.5-Math": "qwen2",
    "Qwen3": "qwen3",
    "Llama": "llama",
    "Mistral": "mistral",
}
PLAIN = ("meta-llama/Llama-3.1-8B",)  # Bases without a chat template.
MODES = {"Qwen3-14B (think)": True, "Qwen3-14B (no-think)": False}


def arm_name(model: str) -> str:
    """Returns the folder name of a model: `s1.1-7B` becomes `s1_1_7b`."""
    return "".join(c if c.isalnum() else "_" for c in model.lower()).strip("_").replace("__", "_")


ARMS = {arm_name(name): model for name, model in published_models().items() if model.scores}


def get_config(argument="v5p-64"):
    chosen = _parse(argument)
    slice_, paths = find_slice(chosen["slice"]), chosen["paths"]
    arms = {name: ARMS[name] for name in chosen["arms"]}
    shapes = [SHAPES[_shape(model)] for model in arms.values()]
    config = ConfigDict()
    config.seed = 0
    tensor = math.gcd(slice_.devices // slice_.num_slices, *(shape[4] for shape in shapes))
    config.mesh = sections.mesh(data=slice_.num_slices, tensor=tensor)
    fused = "splash" if slice_.kind.platform == "tpu" else "cudnn"
    config.model = sections.model("", attention=fused, param_dtype="bfloat16")
    config.eval = paper_benchmarks.evaluation(_sampler(slice_, tensor, shapes))
    config.eval.within_positions = True
    config.drift = paper_benchmarks.drift()
    config.drift.batch_size = max(8, slice_.devices // tensor)
    config.transfer = sections.transfer(variant="paper")
    config.report = _report("general_reasoner_sft" in arms)
    made = {
        name: _arm(model, paths.get(name, ""), chosen["models"]) for name, model in arms.items()
    }
    config.study = sections.study("survey", (0,), made, measured_dtype="bfloat16")
    config.plan = sections.plan({}, slice=slice_.name, eval_tokens=REPLY)
    about = {name: {"architecture": architecture(model)} for name, model in arms.items()}
    config.plan.arms = ConfigDict(about)
    if chosen["data"]:
        config.eval.source, config.eval.data_folder = "files", chosen["data"]
    return config


def _parse(argument: str) -> dict:
    """Parses the recipe's argument.

    Raises:
      ValueError: a part is not a size, an arm, a folder or a slice, or names an arm that was not released.
    """
    sizes = {model.size.lower() for model in ARMS.values()}
    found = {"slice": "v5p-64", "models": "", "data": "", "paths": {}}
    wanted, modes = [], False
    for part in filter(None, argument.split(",")):
        key, equals, folder = part.partition("=")
        if equals and key in ("models", "data"):
            found[key] = folder
        elif equals and key in ARMS:
            found["paths"][key] = folder
        elif part == "modes":
            modes = True
        elif part in sizes or part in ARMS:
            wanted.append(part)
        elif equals:
            raise ValueError(f"{key!r}: no such arm; there are {', '.join(ARMS)}.")
        else:
            found["slice"] = find_slice(part).name
    there = [
        n
        for n, m in ARMS.items()
        if m.path or n in found["paths"] or (found["models"] and n in wanted)
    ]
    tuned = [n for n in there if ARMS[n].name not in MODES]
    named = [n for n in there if n in wanted or (ARMS[n].size.lower() in wanted and n in tuned)]
    missing = [n for n in wanted if n in ARMS and n not in there]
    if missing:
        raise ValueError(f"{missing[0]}: not released; give its folder, {missing[0]}=FOLDER.")
    arms = named or tuned
    extra = [n for n in there if modes and n not in arms and ARMS[n].name in MODES]
    return found | {"arms": [*arms, *extra]}


def _arm(model: published.PublishedModel, path: str, folder: str) -> ConfigDict:
    """Makes the arm of a tuned model, asked as its chat template does by default; Qwen3-14B in one of its modes."""
    asked = {"thinking": MODES[model.name]} if model.name in MODES else {}
    base_asked = {"prompt_format": "plain"} if model.base_path in PLAIN else {}
    place = f"{folder}/" if folder else ""
    return sections.arm(
        "given",
        model.name,
        "",
        path=path or place + (model.path or arm_name(model.name)),
        base=place + model.base_path,
        asked=asked,
        base_asked=base_asked,
        published=model.name,
    )


def _report(complete: bool) -> ConfigDict:
    limits = (
        "The models were made by others, with other data and budgets: methods differ in more than their name.",
    )
    if not complete:
        limits += ("General-Reasoner SFT was not released, so it is not among the models.",)
    return sections.report(
        "When language models get better at math, what happens to everything else?",
        "Do published models that were tuned for math by SFT or by RL keep what their bases could do?",
        limits,
        variant="paper",
    )


def _shape(model: published.PublishedModel) -> str:
    return f"{model.family}-{model.size}"


def architecture(model: published.PublishedModel) -> dict:
    """Returns the settings of the model's config.json, so that it can be planned before it is downloaded."""
    hidden, inner, layers, heads, kv_heads, vocab, tied = SHAPES[_shape(model)]
    kind = KINDS[model.family]
    found = {
        "model_type": kind,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
    }
    return found | ({} if kind == "qwen2" else {"head_dim": qwen3.HEAD_DIM})


def _sampler(slice_, tensor: int, shapes: list[tuple]) -> ConfigDict:
    """Makes a sampler with pages for the memory that the largest model leaves, whose weights may
    be split over all devices.
    """
    parts = slice_.devices // tensor
    whole = 2 * max(_parameters(shape) for shape in shapes)
    gathers = whole / tensor < 0.6 * slice_.kind.hbm
    weights = whole if gathers else whole * tensor / slice_.devices
    page = max(4 * shape[2] * shape[4] * qwen3.HEAD_DIM * PAGE for shape in shapes)
    free = max(0.0, 0.8 * slice_.kind.hbm * tensor - weights)
    return sections.sampler(
        parts * SLOTS,
        paper_benchmarks.MAX_LENGTH,
        prefill_tokens=512 * parts,
        page_size=PAGE,
        pages=parts * max(int(free // page), paper_benchmarks.MAX_LENGTH // PAGE),
        gather_weights=gathers,
    )


def _parameters(shape: tuple) -> int:
    hidden, inner, layers, heads, kv_heads, vocab, tied = shape
    layer = 2 * hidden * qwen3.HEAD_DIM * (heads + kv_heads) + 3 * hidden * inner
    return layers * layer + vocab * hidden * (1 if tied else 2)
