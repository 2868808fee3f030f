"""The shared parts of the Qwen3 recipes: sizes, the use of a target, and the study's numbers. Not a recipe itself.

Numbers are those that the paper states (arXiv 2507.00432v2, appendix A.3), and otherwise those of its training scripts.
Each recipe lists where the two disagree. A target is a name of `jaxreason.plan.slices`: it decides the mesh, the
micro-batches and the sampler's slots, and nothing that changes what is learned.
"""

from ml_collections import ConfigDict

from configs import sections
from jaxreason.plan.slices import Slice, find_slice

# Hub name; hidden_size, intermediate_size, layers, heads and tied embeddings, from its config.json.
SIZES = {
    "14b": ("Qwen/Qwen3-14B-Base", 5120, 17408, 40, 40, False),
    "8b": ("Qwen/Qwen3-8B-Base", 4096, 12288, 36, 32, False),
    "4b": ("Qwen/Qwen3-4B-Base", 2560, 9728, 36, 32, True),
    "1.7b": ("Qwen/Qwen3-1.7B-Base", 2048, 6144, 28, 16, True),
    "0.6b": ("Qwen/Qwen3-0.6B-Base", 1024, 3072, 28, 16, True),
}
# The fastest way to train on one card that fills at most 92 % of the memory that programs may use, with all layers
# unrolled: (stage, size, slice) -> remat policy, rows at the same time, and GiB at the peak. `jaxreason plan --search`
# compiled them without a card. For other combinations everything is recomputed and layers are scanned.
ON_ONE_CARD = {
    ("sft", "0.6b", "h100-1"): ("none", 2, 50.8),
    ("sft", "0.6b", "h200-1"): ("none", 4, 90.7),
    ("sft", "1.7b", "h100-1"): ("none", 1, 57.8),
    ("sft", "1.7b", "h200-1"): ("none", 4, 105.2),
    ("sft", "4b", "h200-1"): ("weight_dots_attention", 1, 116.5),
    ("rl", "0.6b", "h100-1"): ("none", 2, 63.8),
    ("rl", "0.6b", "h200-1"): ("none", 4, 109.8),
    ("rl", "1.7b", "h100-1"): ("attention", 2, 64.5),
    ("rl", "1.7b", "h200-1"): ("none", 2, 108.9),
    ("rl", "4b", "h200-1"): ("attention", 1, 117.6),
}
HEAD_DIM, KV_HEADS, VOCAB = 128, 8, 151936
MAX_PROMPT, MAX_REPLY = 2048, 20480
SFT_EXAMPLES = 39_900
# About the mean tokens of an example, prompt and reply, for the time of a plan.
EXAMPLE_TOKENS = {"think": 5000, "no_think": 800}
# Sequences that a part decodes at the same time, and positions of a page of its cache.
EVAL_SLOTS, PAGE = 128, 128
HUB = "ReasoningTransferability"  # The paper's authors on the hub.
RESPONSES = {"think": "think_response", "no_think": "no_think_response"}
# As in verl's converter of MATH, which the released one follows: the question, a space, and this sentence.
BOXED = "{prompt} Let's think step by step and output the final answer within \\boxed{{}}."


def architecture(size: str) -> dict:
    """Returns the settings of the model's config.json, so that the model can be planned before it is downloaded."""
    _, hidden, inner, layers, heads, tied = SIZES[size]
    return {
        "model_type": "qwen3",
        "vocab_size": VOCAB,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "hidden_act": "silu",
    }


def num_parameters(size: str) -> int:
    """Returns the number of the model's parameters, computed from its settings."""
    _, hidden, inner, layers, heads, tied = SIZES[size]
    attention = 2 * hidden * HEAD_DIM * (heads + KV_HEADS) + 2 * HEAD_DIM
    layer = attention + 3 * hidden * inner + 2 * hidden
    return layers * layer + hidden + VOCAB * hidden * (1 if tied else 2)


def sft(size: str, response: str, target: str, tensor: int = 0) -> ConfigDict:
    """Fine-tunes on the teacher's replies, with or without its thoughts; splits heads over
    `tensor` devices if given.
    """
    slice_ = find_slice(target)
    examples = 512
    tensor = tensor or max(1, slice_.devices // examples)
    parts = slice_.devices // tensor
    config = _base(size, slice_, tensor)
    rows = _train_fastest(config, "sft", size, slice_)
    fields = {"prompt": "question", "response": RESPONSES[response]}
    teacher = sections.dataset(
        f"{HUB}/math_sft_40K", fields, source="huggingface", split="train", task="math"
    )
    # 39,900 examples in steps of 512 give 117 steps in 1.5 epochs. The schedule is that of 2
    # epochs; a tenth of it warms up.
    optimizer = {"warmup_steps": 16, "b2": 0.999}
    config.sft = sections.sft(
        {"teacher": teacher},
        5e-5,
        thinking=response == "think",
        length=16384,
        batch_size=examples,
        micro_batch_rows=parts * rows,
        epochs=1.5,
        schedule_epochs=2.0,
        overlong="cut",  # As in LLaMA-Factory.
        optimizer=optimizer,
        log_every=1,
        checkpoint_every=50,
        export_dtype="bfloat16",
    )
    tokens = EXAMPLE_TOKENS[response]
    config.plan = sections.plan(architecture(size), examples=SFT_EXAMPLES, example_tokens=tokens)
    return config


def rl(size: str, target: str) -> ConfigDict:
    """GRPO with DAPO's dynamic sampling, token-mean loss, asymmetric clip and overlong shaping, without KL."""
    slice_ = find_slice(target)
    # Decoding reads all weights for each token. With heads split over devices, a device gathers
    # at most an eighth of them.
    per_slice = slice_.devices // slice_.num_slices
    tensor = min(KV_HEADS, per_slice)
    parts = slice_.devices // tensor
    config = _base(size, slice_, tensor)
    rows = _train_fastest(config, "rl", size, slice_)
    fields = {"prompt": "question", "answer": "golden_answer"}
    questions = sections.dataset(
        f"{HUB}/math_rl_48k",
        fields,
        source="huggingface",
        split="train",
        task="math_strict",  # An answer that is an unfinished calculation earns nothing.
        prompt_template=BOXED,
        metadata=("data_source",),
    )
    length = MAX_PROMPT + MAX_REPLY
    sampler = sections.sampler(
        parts * slots(size, slice_, tensor),
        length,
        prefill_tokens=512 * parts,
        page_size=128,
        # Otherwise they are gathered again for every token; small chips have no room for a whole copy.
        gather_weights=gathers(size, slice_, tensor),
    )
    asked = sections.decoding(1.0, MAX_REPLY, top_p=0.7)
    config.rl = sections.rl(
        {"math": questions},
        1e-6,
        # The scripts do not pass the switch, so no think block, empty or not, opens the reply.
        thinking=None,
        num_steps=140,
        prompts_per_step=512,
        group_size=16,
        decoding=sections.decoding(1.0, MAX_REPLY),
        sampler=sampler,
        rewards={
            "num_workers": 32,
            "timeout_s": 30.0,
            "overlong_buffer": 4096,
            "overlong_penalty": 1.0,
            # From verl's DAPO manager: with +1 and -1, a penalty of 1 is half of what an answer is worth.
            "wrong": -1.0,
        },
        dynamic_sampling={"prompts_per_batch": 1536, "max_batches": 10},
        mini_batch_prompts=128,
        micro_batch_rows=parts * rows,
        row_length=length,
        # 10 steps of 4 updates each warm up.
        optimizer={"warmup_steps": 40, "b2": 0.999, "weight_decay": 0.1},
        checkpoint_every=5,
        export_dtype="bfloat16",
        # Every question of AIME24 as often as in DAPO's file. The paper used step 140, so no step is chosen.
        validation=sections.validation(every=5, benchmark="aime24", decoding=asked, samples=32),
    )
    config.eval = sections.evaluation(
        {"aime24": {"limit": 0, "samples": {"validation": 32}}},
        {"validation": asked},
        source="hub",
        sampler=sampler,
    )
    config.plan = sections.plan(architecture(size), reply_tokens=MAX_REPLY)
    return config


def evaluate(config: ConfigDict, size: str, target: str, max_length: int) -> ConfigDict:
    """Configures the model for the slice and returns the sampler of its evaluation, with pages
    for the memory that is left.
    """
    slice_ = find_slice(target)
    per_slice = slice_.devices // slice_.num_slices
    tensor = min(KV_HEADS, per_slice)
    parts = slice_.devices // tensor
    config.update(_base(size, slice_, tensor))
    config.model.param_dtype = "bfloat16"
    free = 0.8 * slice_.kind.hbm * tensor - 2 * num_parameters(size)
    page = 2 * 2 * SIZES[size][3] * KV_HEADS * HEAD_DIM * PAGE  # bfloat16 keys, values
    return sections.sampler(
        parts * EVAL_SLOTS,
        max_length,
        prefill_tokens=512 * parts,
        page_size=PAGE,
        pages=parts * int(free // page),
        gather_weights=gathers(size, slice_, tensor),
    )


def slots(size: str, slice_: Slice, tensor: int) -> int:
    """Returns the sequences that the devices of one part of the rows decode at the same time.

    They fill the memory that the training state leaves free, minus a fifth. `jaxreason plan` compiles the result and
    says what the largest number is.
    """
    layers = SIZES[size][3]
    row = 2 * 2 * layers * KV_HEADS * HEAD_DIM * (MAX_PROMPT + MAX_REPLY)  # bfloat16 keys, values
    state = 12 * num_parameters(size) / (slice_.devices // slice_.num_slices)
    copy = gathered_bytes(size, tensor)
    gathered = copy if gathers(size, slice_, tensor) else copy / SIZES[size][3] * 4
    free = 0.8 * (slice_.kind.hbm - state - gathered) * tensor - row
    return max(1, int(free // row))


def gathers(size: str, slice_: Slice, tensor: int) -> bool:
    """Whether there is room for weights that are only split by heads."""
    return gathered_bytes(size, tensor) < slice_.kind.hbm / 8


def gathered_bytes(size: str, tensor: int) -> float:
    """Returns the bytes of the weights in bfloat16 if they are only split by heads."""
    return 2 * num_parameters(size) / tensor


def _base(size: str, slice_: Slice, tensor: int) -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    # Parameters and optimizer state are split over a slice. Slices hold copies and only exchange gradients.
    config.mesh = sections.mesh(data=slice_.num_slices, tensor=tensor)
    fused = "splash" if slice_.kind.platform == "tpu" else "cudnn"
    config.model = sections.model(SIZES[size][0], attention=fused)
    return config


def _train_fastest(config: ConfigDict, stage: str, size: str, slice_: Slice) -> int:
    """Sets how the model is trained if ON_ONE_CARD has the combination; returns the rows of
    a device at the same time.
    """
    found = ON_ONE_CARD.get((stage, size, slice_.name))
    if found is None:
        return 1
    remat, rows, _ = found
    config.model.update({"remat": remat, "unroll": SIZES[size][3]})
    return rows


def parse_argument(argument: str, **defaults: str) -> dict[str, str]:
    """Splits a recipe's argument, such as `0.6b,h100,no_think,data=FOLDER`, in any order; the rest is from `defaults`.

    Raises:
      ValueError: a part is not a size, a response, a folder or a slice.
    """
    chosen = dict(defaults)
    for part in filter(None, argument.split(",")):
        if part.startswith("data=") and "data" in defaults:
            chosen["data"] = part.removeprefix("data=")
            continue
        known = "size" if part in SIZES else "response" if part in RESPONSES else "target"
        if known not in defaults:
            raise ValueError(f"{part!r}: this recipe has no {known} to choose.")
        chosen[known] = find_slice(part).name if known == "target" else part
    return chosen
