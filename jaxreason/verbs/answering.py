"""The verbs that answer people, `chat` and `serve`: they start fast, so nothing is imported that only others need."""

from concurrent.futures import Future, ThreadPoolExecutor

from jaxreason import chat
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.host_memory import keep_freed_memory, no_collection
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.verbs.call import Call
from jaxreason.verbs.device_setup import on_mesh
from jaxreason.verbs.extras import extra


def chat_verb(call: Call) -> None:
    """Holds a conversation in the terminal."""
    section = call.section("chat", chat.ChatConfig)
    loading = begin_loading_tokenizer(call.model)
    with on_mesh(call) as mesh:
        chat.run_chat(section, call.model, mesh, loading, call.config.seed)


def serve_verb(call: Call) -> None:
    """Runs the HTTP server."""
    section = call.section("serve", ServeConfig)
    loading = begin_loading_tokenizer(call.model)
    with (
        no_collection(),
        extra("serve", "fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"),
    ):
        from jaxreason.serve import server
    with on_mesh(call) as mesh:
        server.run_serve(section, call.model, mesh, loading)


def begin_loading_tokenizer(model: ModelConfig) -> Future[Tokenizer]:
    """Loads a model's tokenizer in a thread, while the devices are initialized and the weights are read.

    The future has the errors of `resolve` and `load_tokenizer`.
    """
    keep_freed_memory()  # Only a process that has had no other thread uses one heap for all of them.
    return ThreadPoolExecutor(1, "tokenizer").submit(
        lambda: load_tokenizer(str(resolve(model.path, weights=False)))
    )
