"""The continuation that a model finds most likely, from the log-likelihoods of all of them."""

import math
from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError


def likeliest(
    example: Example,
    choices: Sequence[str],
    logprobs: Sequence[float],
    per_character: bool = False,
) -> int:
    """Returns the index of the most likely choice; the first one of equal ones.

    Args:
      example: the question, named in errors.
      choices: the continuations.
      logprobs: the log-likelihood of each, in nats, summed over its tokens; -inf is allowed.
      per_character: divides each by the number of characters of its choice.

    Raises:
      UserError: the numbers differ, one is not a number, or a choice to divide by is empty.
    """
    if len(choices) != len(logprobs) or not choices:
        raise UserError(
            f"example {example.id!r}: {len(choices)} choices have {len(logprobs)} log-likelihoods."
        )
    if any(math.isnan(value) for value in logprobs):
        raise UserError(f"example {example.id!r}: a log-likelihood is not a number: {logprobs}.")
    if per_character and not all(choices):
        raise UserError(f"example {example.id!r}: an empty choice has no likelihood a character.")
    values = [
        value / len(choice) if per_character else value
        for choice, value in zip(choices, logprobs, strict=True)
    ]
    return max(range(len(values)), key=values.__getitem__)
