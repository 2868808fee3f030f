"""SmolLM2-135M-Instruct as its own teacher: its right answers to GSM8K and to sums of one-digit numbers.

    python scripts/import_smollm2.py smollm2
    jaxreason distill --config configs/distill_smollm2.py --workdir runs/distill_smollm2
    jaxreason sft --config configs/distill_smollm2.py --workdir runs/distill_smollm2

Hardware: 2 CPU cores and 6 GB of memory, about ten minutes for 2 replies to each of 64 questions. `data` holds `math/`
as docs/adding_benchmarks.md says. The graders are those of rewards: an answer counts only if it is written out. The
script's weights were rounded to 4 bits. Of 64 replies to GSM8K, none was right and 46 were cut at 256 tokens. Of 64
replies to sums, 14 were right, which gives 12 rows to learn from.
"""

from ml_collections import ConfigDict

from configs import sections, study_smollm2

FIELDS = {"id": "id", "prompt": "question", "answer": "answer"}


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.mesh = sections.mesh()
    config.sums = study_smollm2.one_digit_sums()
    config.model = sections.model_on_cpu("smollm2", unroll=30)
    sums = sections.dataset(
        "{workdir}/questions/sums_train.jsonl", FIELDS, task="last_number_strict", limit=32
    )
    gsm8k = sections.dataset(
        "data/math/gsm8k_train.jsonl",
        {"prompt": "question", "answer": "answer"},
        task="gsm8k_strict",
        limit=32,
        options={"answer_after": "####"},
    )
    config.distill = sections.distill(
        {"gsm8k": gsm8k, "sums": sums},
        256,
        768,
        samples=2,
        cutoff=512,
        sampler={"slots": 32, "prefill_tokens": 1024},
    )
    rows = sections.dataset(
        "{workdir}/distill/data/*.jsonl", {**FIELDS, "response": "no_think_response"}, task="math"
    )
    config.sft = sections.sft(
        {"own": rows}, 1e-5, length=512, batch_size=4, epochs=1.0, logprob_chunk=256, log_every=1
    )
    return config
