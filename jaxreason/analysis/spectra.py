"""Singular values and directions of a matrix: exact if it is small, by random projection if it is large.

On the CPU numpy computes them (LAPACK), on an accelerator JAX does, on one device. All is float32, so singular values
are accurate to 1e-6 of the largest. Beyond `EXACT_SIDE` the leading ones come from a randomised range finder with power
iterations (Halko, Martinsson and Tropp, arXiv 0909.4061). The contribution of the others to entropy and energy comes
from stochastic Lanczos quadrature (Ubaru, Chen and Saad, 2017) of the matrix without its leading directions.
docs/weights.md says how accurate this is.
"""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

# All singular values are computed if a matrix' smaller side is at most this.
EXACT_SIDE = 2048
LEADING = 128  # Singular values that are computed of a larger one.
OVERSAMPLED, POWERS = 64, 4
PROBES, STEPS = 8, 48


def _exactly(function: Callable) -> Callable:
    """Requests full float32 products: GPUs and TPUs use fewer bits by default."""

    @functools.wraps(function)
    def exact(*arguments, **named):
        with jax.default_matmul_precision("highest"), _alone():
            return function(*arguments, **named)

    return exact


def _alone() -> contextlib.AbstractContextManager:
    """Runs on one device of this process; inside a run's mesh, all devices would take part."""
    if _library() is np:
        return contextlib.nullcontext()
    return jax.set_mesh(Mesh(np.array(jax.local_devices()[:1]), ("one",)))


class Factors(NamedTuple):
    """Leading singular values and vectors of a matrix [m, n], largest first.

    Attributes:
      values: k of them; all if `exact`.
      left, right: one direction per column.
      exact: whether these are all.
    """

    values: Float[np.ndarray, " k"]
    left: Float[np.ndarray, "m k"]
    right: Float[np.ndarray, "n k"]
    exact: bool


@_exactly
def factorise(matrix: Float[np.ndarray, "m n"], side: int = EXACT_SIDE) -> Factors:
    """Returns all singular values and vectors if the smaller side is at most `side`, else the leading ones."""
    xp = _library()
    x = _placed(matrix)
    if min(matrix.shape) <= side:
        left, values, right = xp.linalg.svd(x, full_matrices=False)
        return Factors(np.asarray(values), np.asarray(left), np.asarray(right).T, True)
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((matrix.shape[1], LEADING + OVERSAMPLED), np.float32)
    basis = _range(xp, x, _placed(drawn))
    inner, values, right = xp.linalg.svd(basis.T @ x, full_matrices=False)
    left = basis @ inner[:, :LEADING]
    found = values[:LEADING], left, right[:LEADING].T
    return Factors(*(np.asarray(part) for part in found), False)


def _range(xp: Any, x: Any, drawn: Any) -> Any:
    """Returns an orthonormal basis of the span of the leading left directions."""
    basis, _ = xp.linalg.qr(x @ drawn)
    for _ in range(POWERS):
        across, _ = xp.linalg.qr(x.T @ basis)
        basis, _ = xp.linalg.qr(x @ across)
    return basis


class Spread(NamedTuple):
    """How many directions a matrix uses, from the energies (squared singular values) of its directions.

    Attributes:
      effective_rank: exp of the entropy of the directions' shares of the energy.
      stable_rank: the energy divided by that of the first direction.
      top_1, top_10: the share of the energy in the first 1 % and 10 % of the directions.
    """

    effective_rank: float
    stable_rank: float
    top_1: float
    top_10: float


@_exactly
def spread(matrix: Float[np.ndarray, "m n"], factors: Factors, seed: int = 0) -> Spread | None:
    """Returns the spread of a matrix's energy over directions; None for a matrix of zeros.

    Args:
      matrix: the matrix.
      factors: the result of `factorise`.
      seed: seed of the probes, if it is not exact.
    """
    energies = np.square(factors.values.astype(np.float64))
    total = float(energies.sum()) if factors.exact else _energy(matrix)
    if not total or not energies[0]:
        return None
    shares, counts = energies / total, np.ones(len(energies))
    if not factors.exact:
        rest, weights = _rest(matrix, factors, total, max(0.0, 1 - float(shares.sum())), seed)
        shares, counts = np.concatenate([shares, rest]), np.concatenate([counts, weights])
    held = shares[shares > 0], counts[shares > 0]
    entropy = -float((held[1] * held[0] * np.log(held[0])).sum())
    side = min(matrix.shape)
    tops = (_first(shares, counts, math.ceil(part * side)) for part in (0.01, 0.1))
    return Spread(math.exp(entropy), 1 / float(shares[0]), *tops)


def _energy(matrix: np.ndarray) -> float:
    return float(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64))


def _first(shares: np.ndarray, counts: np.ndarray, number: int) -> float:
    """Returns the share of the energy in the first `number` directions; `counts` directions have each share."""
    order = np.argsort(-shares, kind="stable")
    shares, counts = shares[order], counts[order]
    before = np.concatenate([[0.0], np.cumsum(counts)[:-1]])
    taken = np.clip(number - before, 0, counts)
    return min(1.0, float((taken * shares).sum()))


def _rest(
    matrix: np.ndarray, factors: Factors, energy: float, left_over: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shares of the energy beyond the leading directions, and how many directions have each share.

    It is Gauss quadrature of the spectrum of A A' outside the leading directions, by Lanczos from random probes. Its
    weights are random, but the number of directions and the energy that are left are known.
    """
    side = min(matrix.shape)
    wide = matrix.shape[0] <= matrix.shape[1]
    x = _placed(matrix if wide else matrix.T)
    known = _placed(factors.left if wide else factors.right)
    rng = np.random.default_rng((seed, 1))
    nodes, weights = _quadrature(x, known, rng.standard_normal((side, PROBES)).astype(np.float32))
    shares, number = np.clip(nodes, 0, None) / energy, side - len(factors.values)
    weights = weights * number / weights.sum()
    return _calibrated(shares, weights, number, left_over)


def _calibrated(
    shares: np.ndarray, weights: np.ndarray, number: int, left_over: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns shares and weights whose weights sum to `number`, and whose weighted shares sum to `left_over`.

    The weights change by a factor that is linear in the share (regression estimator, Deville and Sarndal 1992), so a
    spectrum of two values is found exactly. Where no such factor is positive everywhere, the shares are scaled.
    """
    first, second = float((weights * shares).sum()), float((weights * shares**2).sum())
    variance = number * second - first**2
    if variance > 1e-6 * number * second:
        slope = (number * left_over - first * number) / variance
        factor = 1 + slope * (shares - first / number)
        if factor.min() >= 0:
            return shares, weights * factor
    return np.minimum(shares * (left_over / first if first else 0.0), left_over), weights


def _quadrature(x: Any, known: Any, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    xp = _library()

    def apart(v):
        # Done twice: after one projection in float32 a rest of the leading directions remains, which Lanczos would find
        # again.
        v = v - known @ (known.T @ v)
        return v - known @ (known.T @ v)

    v = apart(_placed(probes))
    sizes = xp.sqrt((v * v).sum(0))
    steps = min(STEPS, x.shape[0] - known.shape[1])
    basis, alphas, betas = [v / sizes], [], []
    for _ in range(steps):
        w = apart(x @ (x.T @ basis[-1]))
        alphas.append((w * basis[-1]).sum(0))
        for _ in range(2):  # Without reorthogonalisation, Lanczos finds the same values again.
            for b in basis:
                w = w - b * (w * b).sum(0)
        betas.append(xp.sqrt((w * w).sum(0)))
        basis.append(w / xp.maximum(betas[-1], 1e-30))
    alphas, betas = (np.asarray(xp.stack(part), np.float64) for part in (alphas, betas))
    found = [_gauss(alphas[:, p], betas[:-1, p]) for p in range(probes.shape[1])]
    sizes = np.square(np.asarray(sizes, np.float64))
    weights = [size * weight for size, (_, weight) in zip(sizes, found, strict=True)]
    return np.concatenate([node for node, _ in found]), np.concatenate(weights)


def _gauss(alphas: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nodes, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
    return nodes, np.square(vectors[0])


def _library() -> Any:
    return np if jax.default_backend() == "cpu" else jnp


def _placed(matrix: np.ndarray) -> Any:
    """Moves the work to one device of this process; on the CPU it stays where it is."""
    matrix = np.ascontiguousarray(matrix, np.float32)
    return matrix if _library() is np else jax.device_put(matrix, jax.local_devices()[0])


def angles(
    first: Float[np.ndarray, "m k"], second: Float[np.ndarray, "m r"]
) -> Float[np.ndarray, " j"]:
    """Returns the min(k, r) principal angles between the spans of two sets of orthonormal columns, in degrees."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    if second.shape[1] > first.shape[1]:
        first, second = second, first
    inner = first.T @ second
    cosines = np.linalg.svd(inner, compute_uv=False)[::-1]
    # An arc cosine near 1 loses half of the digits, so small angles are computed from the sines (Bjorck and Golub
    # 1973).
    sines = np.linalg.svd(second - first @ inner, compute_uv=False)
    small = cosines**2 > 0.5
    radians = np.where(small, np.arcsin(np.clip(sines, 0, 1)), np.arccos(np.clip(cosines, 0, 1)))
    return np.degrees(radians)
