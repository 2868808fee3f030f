"""The model `jaxreason` of lm-eval, made from `--model_args`: the target of the entry point `lm_eval.models`."""

import inspect
from typing import Any

import jax
from etils import epath

from jaxreason.config import nearest
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.harness import HarnessModel
from jaxreason.models.huggingface import ModelConfig, open_model, read_architecture, resolve
from jaxreason.models.weight_files import read_settings
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import engine_for
from jaxreason.sharding import MeshConfig, make_mesh, num_parts

# Every slot has pages of its own for so many positions of the cache; longer sequences share pages.
FULL_PAGES_LENGTH = 4096


class LoadedHarnessModel(HarnessModel):
    """A HarnessModel from a folder or a hub name.

    Args:
      path: of the model.
      dtype: of weights and activations; "auto": the one in the model's config.json, or float32 if it has none.
      data, fsdp, tensor, context: sizes of the mesh's axes; one may be -1 for the remaining devices.
      max_length: the most tokens of a sequence; None: as many as the model allows.
      slots: number of sequences that are generated at the same time; None: 16, or as many as the devices need.
      score_tokens: tokens of one dispatch when continuations are scored; None: 512 on CPU, whose caches hold the arrays
        of so many, else 4096.
      max_gen_toks, enable_thinking, think_end_token, add_bos_token, prefix_token_id, seed: as in HarnessModel.
      batch_size, max_batch_size, device: lm-eval always sends them. `slots` and `score_tokens` replace the first two,
        and JAX uses the devices that it finds.
      unknown: any other arguments; refused by name.

    Raises:
      UserError: an argument is unknown or out of range, or the model cannot be loaded.
    """

    def __init__(
        self,
        path: str = "",
        dtype: str = "auto",
        data: int = 1,
        fsdp: int = -1,
        tensor: int = 1,
        context: int = 1,
        max_length: int | None = None,
        slots: int | None = None,
        score_tokens: int | None = None,
        max_gen_toks: int = 256,
        enable_thinking: bool | None = None,
        think_end_token: str = "",
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        seed: int = 0,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **unknown: Any,
    ):
        del batch_size, max_batch_size, device
        _check_arguments(path, unknown)
        folder = resolve(path)
        mesh = make_mesh(MeshConfig(data, fsdp, tensor, context))
        tokenizer = load_tokenizer(folder)
        if max_length is None:
            max_length = read_architecture(folder).max_position_embeddings
        with jax.set_mesh(mesh):
            on_cpu = mesh.devices.flat[0].platform == "cpu"
            score_tokens = score_tokens or (512 if on_cpu else 4096)
            sampler = _sampler(num_parts(mesh, "act_batch"), max_length, slots, score_tokens)
            engine = _open_engine(folder, dtype, mesh, tokenizer, sampler)
        super().__init__(
            engine,
            tokenizer,
            path,
            max_gen_toks,
            enable_thinking,
            think_end_token,
            add_bos_token,
            prefix_token_id,
            seed,
        )


def _check_arguments(path: str, unknown: dict[str, Any]) -> None:
    known = [n for n in inspect.signature(LoadedHarnessModel).parameters if n != "unknown"]
    for name in unknown:
        raise UserError(
            f"model_args: {name!r} is not known{nearest(name, known) or '.'} Expected some of {', '.join(known)}."
        )
    if not path:
        raise UserError(
            "model_args: path=FOLDER is missing, the model's folder or its name on the hub"
        )


def _sampler(parts: int, max_length: int, slots: int | None, score_tokens: int) -> SamplerConfig:
    """Returns the sizes of the engine if `parts` devices have rows of their own."""
    slots = -(-16 // parts) * parts if slots is None else slots
    block, page = 16, 64
    columns, enough = (
        -(-length // page) for length in (max_length, min(max_length, FULL_PAGES_LENGTH))
    )
    pages = parts * (1 + max(columns, -(-(slots + parts) * enough // parts)))
    return SamplerConfig(
        slots=slots,
        max_length=max_length,
        decode_block=16,
        prefill_tokens=parts * block * -(-min(256, max_length) // block),
        prefill_block=block,
        score_tokens=score_tokens,
        page_size=page,
        pages=pages,
    )


def _declared_dtype(folder: epath.Path) -> str:
    config = read_settings(folder / "config.json")
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def _open_engine(
    folder: epath.Path,
    dtype: str,
    mesh: jax.sharding.Mesh,
    tokenizer: Tokenizer,
    sampler: SamplerConfig,
) -> Engine:
    dtype = _declared_dtype(folder) if dtype == "auto" else dtype
    layers = read_architecture(folder).num_hidden_layers
    config = ModelConfig(
        path=str(folder),
        init="pretrained",
        architecture={},
        dtype=dtype,
        param_dtype=dtype,
        remat="none",
        attention="plain",  # The engine has its own.
        unroll=layers if mesh.devices.flat[0].platform == "cpu" else 1,
    )
    model, params = open_model(config, mesh)
    return engine_for(model, params, sampler, mesh, tokenizer)
