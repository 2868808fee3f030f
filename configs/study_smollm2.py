"""The study on real weights: SmolLM2-135M-Instruct, an RL and two SFT twins, eight real benchmarks and sums.

    python scripts/import_smollm2.py smollm2
    jaxreason study --config configs/study_smollm2.py --config.eval.data_folder=data --workdir runs/smollm2

Hardware: 2 CPU cores and 12 GB of memory, about an hour and a half. RL and the first SFT twin learn the same sums of
two one-digit numbers, of which the base gets about a third right: RL from its own graded replies, SFT from worked
ones. The second SFT twin learns GSM8K's own solutions. `data` holds `math/`, `general/` and
`benchmarks/aime/` as docs/adding_benchmarks.md says.
With at most 64 problems per benchmark, intervals are about 12 points either way.
"""

from ml_collections import ConfigDict

from configs import sections

SUMS = "{workdir}/questions/sums_"
FIELDS = {"id": "id", "prompt": "question", "answer": "answer"}
PROBLEMS = 64  # Problems of each benchmark; all if there are fewer.
REAL = (
    *("math500", "gsm8k", "aime24", "aime25", "olympiadbench"),
    *("acpbench", "mc_taco", "ifeval"),
)


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.sums = one_digit_sums()
    config.model = sections.model_on_cpu("smollm2", unroll=30)
    config.sft = _sft({"sums": _sums("train", response="response")}, batch_size=12, epochs=4.0)
    config.sft_gsm8k = _sft({"gsm8k": _gsm8k()}, batch_size=9, epochs=1.0)
    config.rl = _rl()
    config.eval = _evaluation()
    config.drift = sections.drift(
        "greedy", texts_per_benchmark=4, max_length=512, batch_size=4, logprob_chunk=256
    )
    config.transfer = sections.transfer()
    config.report = sections.report(
        "When SmolLM2-135M learns sums, what happens to everything else?",
        "Does learning one-digit sums by RL or by SFT, or GSM8K by SFT, help or harm the rest?",
        (
            "At most 64 problems a benchmark: an interval of one score is about 12 points either way.",
            "One seed: nothing here says how much another run would differ.",
            "Weights were rounded to 4 bits before (Q4_1): scores are not those of the original model.",
        ),
    )
    config.study = sections.study(
        "SmolLM2-135M",
        (1,),
        {
            "rl_sums": sections.arm("rl", "RL, sums", "rl"),
            "sft_sums": sections.arm("sft", "SFT, sums", "sft"),
            "sft_gsm8k": sections.arm("sft", "SFT, GSM8K", "sft_gsm8k"),
        },
    )
    config.chat = sections.chat(256, 2048)
    config.serve = sections.serve(256, 2048)
    return config


def _sums(split: str, **fields: str) -> ConfigDict:
    return sections.dataset(f"{SUMS}{split}.jsonl", {**FIELDS, **fields}, task="last_number")


def one_digit_sums() -> ConfigDict:
    """Makes the section of sums of two one-digit numbers, a third of which are held out."""
    return sections.sums(
        seed=0,
        draws=5000,
        min_terms=2,
        max_terms=2,
        min_digits=1,
        max_digits=1,
        held_out=1,
        parts=3,
    )


def held_out_sums() -> ConfigDict:
    """Makes the dataset of the third of the sums that no arm learns."""
    return _sums("test")


def _gsm8k() -> ConfigDict:
    fields = {"prompt": "question", "answer": "answer", "response": "answer"}
    options = {"answer_after": "####", "response_remove": "<<.*?>>"}
    return sections.dataset(
        "data/math/gsm8k_train.jsonl", fields, task="gsm8k", limit=384, options=options
    )


def _sft(datasets: dict[str, ConfigDict], **changes) -> ConfigDict:
    sizes = {"length": 256, "micro_batch_rows": 4, "logprob_chunk": 256}
    optimizer = {"warmup_steps": 5}
    often = {"log_every": 1, "checkpoint_every": 20}
    return sections.sft(datasets, 5e-5, optimizer=optimizer, **often, **sizes, **changes)


def _rl() -> ConfigDict:
    sums = _sums("train")
    sums.task = "last_number_strict"
    return sections.rl(
        {"sums": sums},
        1e-5,
        num_steps=30,
        prompts_per_step=8,
        mini_batch_prompts=8,
        decoding=sections.decoding(1.0, 64),
        sampler=sections.sampler(64, 128, prefill_tokens=512),
        micro_batch_rows=4,
        row_length=256,
        logprob_chunk=256,
    )


def _evaluation() -> ConfigDict:
    benchmarks = {name: {"limit": PROBLEMS, "samples": {"greedy": 1}} for name in REAL}
    benchmarks["sums"] = {"limit": PROBLEMS, "samples": {"greedy": 1, "t1": 4}}
    return sections.evaluation(
        benchmarks,
        {"greedy": sections.decoding(0.0, 256), "t1": sections.decoding(1.0, 256)},
        own={"sums": {"label": "Sums", "group": "math", "data": held_out_sums()}},
        data_folder="data",
        sampler=sections.sampler(32, 2304, prefill_tokens=1024),
    )
