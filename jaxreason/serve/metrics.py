"""What /metrics shows, in Prometheus' text format."""

from collections import Counter

from jaxreason.sampling.engine_config import EngineStats
from jaxreason.serve.worker import Worker

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(worker: Worker, stats: EngineStats, responses: Counter[tuple[str, int]]) -> str:
    """All metrics; `responses` counts (route, status)."""
    running, waiting = worker.load()
    counts = dict(worker.counts)
    ended = {k.removeprefix("ended:"): v for k, v in counts.items() if k.startswith("ended:")}
    return "".join(
        [
            _metric("responses_total", "counter", "HTTP responses.", _by_route(responses)),
            _metric("running_sequences", "gauge", "Replies that the engine has.", {"": running}),
            _metric("waiting_sequences", "gauge", "Replies that wait for it.", {"": waiting}),
            _metric(
                "sequences_total",
                "counter",
                "Replies by how they ended.",
                {f'{{finish_reason="{reason}"}}': n for reason, n in sorted(ended.items())},
            ),
            *(
                _metric(f"{name}_total", "counter", text, {"": counts.get(name, 0)})
                for name, text in (
                    ("prompt_tokens", "Tokens of prompts given to the engine."),
                    ("generated_tokens", "Tokens of replies that have ended."),
                )
            ),
            *(
                _metric(f"engine_{name}_total", "counter", f"{name.replace('_', ' ')}.", {"": n})
                for name, n in vars(stats).items()
            ),
        ]
    )


def _by_route(responses: Counter[tuple[str, int]]) -> dict[str, int]:
    pairs = sorted(dict(responses).items())
    return {f'{{route="{route}",status="{status}"}}': n for (route, status), n in pairs}


def _metric(name: str, kind: str, text: str, values: dict[str, float]) -> str:
    name = f"jaxreason_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return "\n".join(lines + [f"{name}{labels} {value}" for labels, value in values.items()]) + "\n"
