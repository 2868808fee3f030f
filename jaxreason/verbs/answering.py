"""The verbs that answer people, `chat` and `serve`: they start fast, so nothing is imported that only others need."""

from jaxreason import chat
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.verbs.call import Call, on_mesh
from jaxreason.verbs.extras import extra


def chat_verb(call: Call) -> None:
    """Holds a conversation in the terminal."""
    section = call.section("chat", chat.ChatConfig)
    with on_mesh(call) as mesh:
        chat.run_chat(section, call.model, mesh, call.config.seed)


def serve_verb(call: Call) -> None:
    """Runs the HTTP server."""
    section = call.section("serve", ServeConfig)
    with extra("serve", "fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"):
        from jaxreason.serve import server
    with on_mesh(call) as mesh:
        server.run_serve(section, call.model, mesh)
