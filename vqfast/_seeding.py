"""How a fit starts: the generator it draws from, and the first code book.

The draws are SciPy's, call for call, so that a seed gives the code book it gave there.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._core.nearest import Nearest
from ._core.seeds import Seeds
from ._validation import FLOAT64

if TYPE_CHECKING:  # numpy.random is loaded with the first draw, not with the package
    Rng = np.random.Generator | np.random.RandomState


class _NotGiven:
    """Default of `rng` and `seed`, for which None has a meaning of its own."""

    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN: Any = _NotGiven()


def resolve_rng(rng: Any, seed: Any, function: str) -> Callable[[], Rng]:
    """A function that returns the generator which ``rng=`` or ``seed=`` name.

    ``rng`` goes through ``np.random.default_rng`` at once; ``seed`` is only looked at when
    the generator is needed, as in SciPy. With neither it is NumPy's global generator.
    """
    if rng is not NOT_GIVEN:
        if seed is not NOT_GIVEN:
            raise TypeError(
                f"{function}() got multiple values for argument now known as `rng`. Specify one of `rng` or `seed`."
            )
        generator = np.random.default_rng(rng)
        return lambda: generator
    return lambda: _legacy_generator(None if seed is NOT_GIVEN else seed)


def _legacy_generator(seed: Any) -> Rng:
    if seed is None or seed is np.random:
        return np.random.mtrand._rand
    if isinstance(seed, numbers.Integral):
        return np.random.RandomState(int(seed))
    if isinstance(seed, np.random.RandomState | np.random.Generator):
        return seed
    raise ValueError(f"'{seed}' cannot be used to seed a numpy.random.RandomState instance")


def points(data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int) -> NDArray[Any]:
    """k different observations, chosen uniformly or in proportion to their weights."""
    p = None if weights is None else weights / weights.sum()
    chosen = rng.choice(data.shape[0], size=k, replace=False, p=p)
    return np.asarray(data[chosen])


def random_normal(
    data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int
) -> NDArray[Any]:
    """k draws of a normal distribution with the mean and the covariance of the data."""
    mean = np.mean(data, axis=0) if weights is None else np.average(data, axis=0, weights=weights)
    if data.ndim == 1:
        x = rng.standard_normal(size=k)
        x *= np.sqrt(np.cov(data, aweights=weights))
    elif data.shape[1] > data.shape[0]:
        centred, n_free = data - mean, data.shape[0] - 1.0
        if weights is not None:
            centred = centred * np.sqrt(weights / weights.mean())[:, None]
        _, s, vh = np.linalg.svd(centred, full_matrices=False)
        x = rng.standard_normal(size=(k, s.size))
        x = x @ (s[:, None] * vh / np.sqrt(n_free))
    else:
        covariance = np.atleast_2d(np.cov(data.T, aweights=weights))
        x = rng.standard_normal(size=(k, data.shape[1]))
        x = x @ np.linalg.cholesky(covariance).T
    x += mean
    return np.asarray(x)


def plus_plus(data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int) -> NDArray[Any]:
    """k-means++: each next code word is an observation drawn by its squared distance.

    O(n_obs k n_features): the distance to the nearest code word so far is kept, not
    computed again. D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful
    seeding", SODA 2007.
    """
    obs = data if data.ndim == 2 else data[:, None]
    first = _first_point(obs.shape[0], rng, weights)
    shares = np.array([rng.uniform() for _ in range(k - 1)], dtype=FLOAT64)
    book = np.array(obs[Seeds(obs, k, weights, workers).choose(first, shares)], dtype=FLOAT64)
    return book if data.ndim == 2 else book[:, 0]


def _first_point(n_obs: int, rng: Rng, weights: NDArray[np.float64] | None) -> int:
    if weights is not None:
        return int(rng.choice(n_obs, p=weights / weights.sum()))
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(n_obs))
    return int(rng.randint(n_obs, dtype="int64"))


# The two below look at no more observations than so many, and so many for each code word: the
# start is a rough thing, and the fit that follows sees all of them.
_SAMPLE, _SAMPLE_PER_CODE = 1 << 14, 16
# Rounds of k-means||, and observations drawn in each for every code word wanted.
_ROUNDS, _OVERSAMPLING = 5, 1.0


def _sample(
    data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Rows of some observations in the order of their index, and their weights.

    Those without weight are left out where there are enough others.
    """
    obs = data if data.ndim == 2 else data[:, None]
    n_wanted = max(_SAMPLE, _SAMPLE_PER_CODE * k)
    all_weights = np.ones(obs.shape[0]) if weights is None else weights
    eligible = np.flatnonzero(all_weights > 0)
    if len(eligible) < k:
        eligible = np.arange(obs.shape[0])
    if len(eligible) > n_wanted:
        eligible = np.sort(rng.choice(eligible, size=n_wanted, replace=False))
    if len(eligible) == obs.shape[0]:
        return obs, all_weights
    return np.ascontiguousarray(obs[eligible]), all_weights[eligible]


def _draw(potential: NDArray[np.float64], size: int, rng: Rng) -> NDArray[np.int64]:
    """Indices in proportion to the potential, with replacement."""
    cumulative = np.cumsum(potential)
    found = np.searchsorted(cumulative, rng.uniform(size=size) * cumulative[-1], side="right")
    return np.asarray(np.minimum(found, len(potential) - 1), dtype=np.int64)


def _potential(
    sq_dists: NDArray[np.float64], weights: NDArray[np.float64], chosen: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What to draw by: weighted squared distances or, if there are none, all that is not chosen."""
    with np.errstate(invalid="ignore"):
        potential = np.asarray(sq_dists * weights, dtype=FLOAT64)
        potential = np.nan_to_num(potential, nan=0.0, posinf=np.finfo(FLOAT64).max)
    if potential.any():
        return np.asarray(potential / potential.max(), dtype=FLOAT64)
    left = np.ones_like(weights)
    left[chosen] = 0
    if (left * weights).any():
        return left * weights
    return left if left.any() else np.ones_like(weights)


def _greedy(obs: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64], workers: int) -> NDArray[np.int64]:
    """Indices of k observations, each the best of some drawn by squared distance."""
    n_trials = 2 + int(np.log(k))
    chosen = _draw(_potential(np.zeros_like(weights), weights, np.array([], dtype=np.int64)), 1, rng)
    seeds = Seeds(obs, k * (n_trials + 1), weights, workers)
    seeds.lower(chosen[0])
    while len(chosen) < k:
        candidates = _draw(_potential(seeds.sq_dists, weights, chosen), n_trials, rng)
        gains = np.nan_to_num([seeds.gain(candidate) for candidate in candidates], nan=-1, posinf=np.inf)
        best = candidates[np.argmax(gains)]
        seeds.lower(best)
        chosen = np.append(chosen, best)
    return chosen


def greedy_plus_plus(
    data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int
) -> NDArray[Any]:
    """Greedy k-means++: of 2 + log(k) draws by squared distance the one that leaves the least.

    Looks at no more than 16 k observations (at least 16,384), drawn first: O(k^2 log(k)
    n_features). Arthur and Vassilvitskii, SODA 2007, section 6.
    """
    obs, sample_weights = _sample(data, k, rng, weights)
    book = np.array(obs[_greedy(obs, k, rng, sample_weights, workers)], dtype=FLOAT64)
    return book if data.ndim == 2 else book[:, 0]


def scalable(data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int) -> NDArray[Any]:
    """k-means||: five rounds draw about k observations each by squared distance, all at once.

    The greedy k-means++ then chooses k of them, weighted by how many observations are nearest
    to each. Looks at a sample as `greedy_plus_plus` does. B. Bahmani et al., "Scalable
    k-means++", PVLDB 5 (2012) 622-633.
    """
    if data.shape[0] < k:
        raise ValueError(f"minit='||' needs at least {k} observations, got {data.shape[0]}")
    obs, sample_weights = _sample(data, k, rng, weights)
    nothing = np.array([], dtype=np.int64)
    candidates = _draw(_potential(np.zeros_like(sample_weights), sample_weights, nothing), 1, rng)
    codes = np.zeros(obs.shape[0], dtype=np.int32)
    sq_dists, dist = np.full(obs.shape[0], np.inf), np.empty(obs.shape[0])
    new = candidates
    for _ in range(_ROUNDS):
        Nearest(obs, len(new), workers).assign(np.array(obs[new], dtype=FLOAT64), codes, dist)
        sq_dists = np.minimum(sq_dists, dist * dist)
        if not (sq_dists * sample_weights).any():
            break
        potential = _potential(sq_dists, sample_weights, candidates)
        share = _OVERSAMPLING * k * potential / potential.sum()
        new = np.flatnonzero(rng.uniform(size=len(share)) < share)
        if not len(new):
            break
        candidates = np.append(candidates, new)
    candidates = np.unique(candidates)
    if len(candidates) < k:
        rest = np.setdiff1d(np.arange(obs.shape[0]), candidates)
        candidates = np.append(candidates, rng.permutation(rest)[: k - len(candidates)])
    Nearest(obs, len(candidates), workers).assign(np.array(obs[candidates], dtype=FLOAT64), codes)
    counts = np.bincount(codes, weights=sample_weights, minlength=len(candidates)).astype(FLOAT64)
    few = np.ascontiguousarray(obs[candidates])
    book = np.array(few[_greedy(few, k, rng, counts, workers)], dtype=FLOAT64)
    return book if data.ndim == 2 else book[:, 0]


INITIALISERS: dict[str, Callable[..., NDArray[Any]]] = {
    "random": random_normal,
    "points": points,
    "++": plus_plus,
    "greedy++": greedy_plus_plus,
    "||": scalable,
}


def start(
    minit: str, data: NDArray[Any], k: int, rng: Rng, weights: NDArray[np.float64] | None, workers: int
) -> NDArray[np.float64]:
    """The first code book by the named method, as float64, of the rank of the data."""
    return np.array(INITIALISERS[minit](data, k, rng, weights, workers), dtype=FLOAT64)
