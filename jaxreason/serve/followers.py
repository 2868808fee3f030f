"""What the processes of a job do that do not listen: the same calls of the engine as process 0."""

from collections.abc import Iterator

from etils import epath

from jaxreason.errors import UserError
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.serve.orders import END, STOP, Orders
from jaxreason.serve.scores import PromptScorer
from jaxreason.serve.tickets import of_order
from jaxreason.serve.weights import Weights


def follow(
    engine: Engine, scorer: PromptScorer, decoding: SamplingParams, weights: Weights, orders: Orders
) -> None:
    """Works until process 0 says that it is over; whatever is raised ends the whole job."""
    while (step := orders.tell()) != STOP:
        if isinstance(step, dict):
            _change(weights, step["weights"])
            continue
        how = orders.cancelling()
        for _ in engine.generate(_requests(orders, scorer), decoding, **how):
            pass


def _change(weights: Weights, folder: str) -> None:
    try:
        weights.change(epath.Path(folder))
    except UserError:
        return  # process 0 knows of it too, and tells whoever asked


def _requests(orders: Orders, scorer: PromptScorer) -> Iterator[Request | None]:
    while (order := orders.tell()) != END:
        if order is None:
            yield None
            continue
        request = of_order(order)
        good = not order["scores"] or scorer.score(request.tokens).are_numbers
        yield request if good and order["replies"] else None
