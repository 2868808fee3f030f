"""Tiny models of two families in Hugging Face folders, and small tasks of four kinds in lm-eval's own format."""

import json
from pathlib import Path

import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

TEXTS = [
    "the quick brown fox jumps over the lazy dog and runs away from it",
    "Question: what is 12 + 30? Answer: 42\n\nQuestion: what is 7 + 8? Answer: 15\n\n",
    "naïve café, 東京の雨, Привет 🙂 and a long way to go",
    "A passage about rain. It fell for three days; then the sun came out again.\n",
]
CHAT_TEMPLATE = """\
{%- for m in messages -%}
{{ '<|turn|>' + m.role + '\\n' + m.content + '<|end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|turn|>assistant\\n' }}
{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif -%}
{%- endif -%}
"""
SIZES = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=256,
    initializer_range=0.4,
)


def make_tokenizer(begin: bool) -> transformers.PreTrainedTokenizerFast:
    """Bytes merged to about 400 tokens; with `begin` it puts <|begin|> before a text, as Llama's does."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|turn|>", "<|text_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXTS * 4, trainer)
    if begin:
        inner.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", 0)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|begin|>" if begin else None,
        # Qwen's ends a text with another token than a turn, and with the larger id of the two
        eos_token="<|end|>" if begin else "<|text_end|>",
        pad_token="<|end|>",
        chat_template=("{{ bos_token }}" if begin else "") + CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_folder(folder: Path, family: str) -> Path:
    """A random model with its tokenizer: "qwen3" without BOS, "llama" with one."""
    import torch

    tokenizer = make_tokenizer(begin=family == "llama")
    kind = {"qwen3": "Qwen3", "llama": "Llama"}[family]
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end|>")]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, **SIZES
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _rows() -> dict[str, list[dict]]:
    words = [
        "rain",
        "the sun",
        "naïve café",
        "東京",
        "three days 🙂",
        "it",
        "a long way to go",
        "12 + 30",
    ]
    questions = [f"What is said of {word}?" for word in words]
    return {
        "choice": [
            {"q": q, "options": [words[i], words[i - 1], words[i - 2] + "."], "answer": i % 3}
            for i, q in enumerate(questions)
        ],
        # a context that ends with a space, none at all, and one that is far too long
        "last_word": [
            {"context": "the quick brown fox jumps over the ", "word": "lazy dog"},
            {"context": "", "word": "東京の雨 and more"},
            {"context": "A passage about rain.", "word": " It fell"},
            {"context": " ".join(TEXTS) * 3, "word": " naïve"},
        ],
        "perplexity": [
            {"text": text * times} for text, times in zip(TEXTS, (1, 4, 2, 9), strict=True)
        ],
        "reply": [{"q": q} for q in questions] + [{"q": " ".join(TEXTS) * 3}],
    }


def write_tasks(folder: Path) -> Path:
    """Four tasks, `tiny_choice`, `tiny_last_word`, `tiny_perplexity` and `tiny_reply`; a folder for --include_path."""
    import yaml

    folder.mkdir(exist_ok=True)
    for name, rows in _rows().items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
        task = {"task": f"tiny_{name}", **source, "test_split": "test", **_TASKS[name]}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


_TASKS = {
    "choice": {
        "output_type": "multiple_choice",
        "fewshot_split": "test",
        "description": "A passage about rain. It fell for three days.\n\n",
        "doc_to_text": "Question: {{q}} Answer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{word}}",
        "target_delimiter": "",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc"},
        ],
    },
    "perplexity": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}],
    },
    "reply": {
        "output_type": "generate_until",
        "fewshot_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{q}}",
        "generation_kwargs": {"until": ["\n", "ai"], "max_gen_toks": 24, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}
