"""The other side of `bench.py`: Hugging Face transformers on torch, doing the same work on the same weights."""

import os

import numpy as np

from configs import qwen3

SMALL = "smollm2"  # SmolLM2's shape, with Qwen3's blocks.
RATE = 1e-5


def settings(size: str) -> dict:
    """Returns the config.json of a size."""
    if size != SMALL:
        return qwen3.architecture(size)
    shape = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "head_dim": 64}
    heads = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
    return qwen3.architecture("0.6b") | shape | heads


def torch_model(arguments, folder: str):
    """Makes the peer, on the accelerator if torch has one, and writes its weights to `folder` for our side."""
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count())
    torch.set_float32_matmul_precision("high")  # TensorFloat-32, which XLA chooses too.
    config = transformers.Qwen3Config(**settings(arguments.size))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = transformers.Qwen3ForCausalLM(config).to(getattr(torch, arguments.dtype))
    model.generation_config.eos_token_id = None
    if arguments.sides == "both":
        model.save_pretrained(folder)
    model = model.float() if arguments.what == "train" else model
    return torch.compile(model) if arguments.compiled else model


def peer_step(peer, arguments, tokens: np.ndarray):
    import torch

    ids = torch.tensor(tokens.astype(np.int64), device=peer.device)
    adam = torch.optim.AdamW(peer.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    narrow = arguments.dtype != "float32"

    def run() -> float:
        adam.zero_grad(set_to_none=True)
        with torch.autocast(peer.device.type, getattr(torch, arguments.dtype), enabled=narrow):
            loss = peer(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        adam.step()
        return loss.item()

    return run


def peer_prefill(peer, tokens: np.ndarray):
    import torch

    ids = torch.tensor(tokens.astype(np.int64), device=peer.device)

    def run() -> float:
        with torch.no_grad():
            return float(peer(input_ids=ids, logits_to_keep=1).logits.float().mean())

    return run


def peer_replies(peer, prompts, lengths, batch: int):
    import torch

    def run() -> float:
        made = []
        for begin in range(0, len(prompts), batch):
            ids = torch.tensor(prompts[begin : begin + batch].astype(np.int64), device=peer.device)
            wanted = lengths[begin : begin + batch]
            options = {"do_sample": False, "max_new_tokens": int(wanted.max()), "pad_token_id": 0}
            with torch.no_grad():
                replies = peer.generate(ids, attention_mask=torch.ones_like(ids), **options)
            replies = replies[:, ids.shape[1] :].tolist()
            made += [token for reply, n in zip(replies, wanted, strict=True) for token in reply[:n]]
        return float(np.mean(made))

    return run
