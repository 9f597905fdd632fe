"""Where the prototypes of a fit start."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.lloyd import lloyd
from .._core.means import Means
from .._core.nearest import Nearest
from .._core.seeds import Seeds
from .._seeding import plus_plus
from .conventions import warn
from .data import TrainingData, as_observations, indices_of

# Rounds of k-means; the online steps that follow need no more.
_ROUNDS = 20
# Neighbours that vote on a candidate.
_NEIGHBOURS = 5

Start = Callable[[TrainingData, int, int, np.random.Generator], NDArray[np.float64]]


def kmeans_of_class(data: TrainingData, c: int, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """k-means of the observations of a class, from a k-means++ start."""
    rows, weights = data.rows_of(c)
    obs = data.obs[rows]
    book = np.array(plus_plus(obs, k, rng, weights, data.workers), dtype=np.float64)
    search = Nearest(obs, k, data.workers, rounds=_ROUNDS)
    lloyd(search, Means(search, weights), book, np.zeros(len(obs), dtype=np.int32), _ROUNDS)
    return book


def means_of_class(data: TrainingData, c: int, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The means of k random parts of a class."""
    rows, weights = data.rows_of(c)
    means = []
    for part in np.array_split(rng.permutation(len(rows)), k):
        members = data.obs[rows[part]].astype(np.float64)
        means.append(np.average(members, axis=0, weights=None if weights is None else weights[part]))
    return np.array(means)


def _draw(rows: NDArray[np.int64], weights: NDArray[np.float64] | None, k: int, rng: np.random.Generator) -> Any:
    """k different rows in random order, in proportion to their weights."""
    return rng.choice(rows, size=k, replace=False, p=None if weights is None else weights / weights.sum())


def samples_of_class(data: TrainingData, c: int, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """k different observations of a class."""
    return np.asarray(data.obs[_draw(*data.rows_of(c), k, rng)], dtype=np.float64)


def neighbours_of_class(data: TrainingData, c: int, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """k different observations of a class that most of their five nearest neighbours share.

    Where there are fewer, other observations of the class fill up.
    """
    rows, weights = data.rows_of(c)
    own = data.classes == c
    n_neighbours = min(_NEIGHBOURS, len(data.obs) - 1)
    agreed: list[int] = []
    others: list[int] = []
    for row in _draw(rows, weights, len(rows), rng):
        to_row = Seeds(data.obs, workers=data.workers)
        to_row.lower(row)
        sq_dists = to_row.sq_dists
        sq_dists[row] = np.inf
        votes = own[np.argpartition(sq_dists, n_neighbours)[:n_neighbours]]
        (agreed if 2 * votes.sum() >= n_neighbours else others).append(row)
        if len(agreed) == k:
            break
    return data.obs[(agreed + others)[:k]].astype(np.float64)


STARTS: dict[str, Start] = {
    "kmeans": kmeans_of_class,
    "means": means_of_class,
    "samples": samples_of_class,
    "neighbours": neighbours_of_class,
}


def counts_of(n_prototypes: Any, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Prototypes of each class from an int, a dict by label or an array in the order of the classes."""
    if isinstance(n_prototypes, Mapping):
        missing = [label for label in classes.tolist() if label not in n_prototypes]
        extra = [label for label in n_prototypes if label not in classes.tolist()]
        if missing or extra:
            raise ValueError(f"n_prototypes must have one entry for each class: missing {missing}, not a class {extra}")
        values = [n_prototypes[label] for label in classes.tolist()]
    elif np.ndim(n_prototypes) == 0:
        values = [n_prototypes] * len(classes)
    else:
        values = list(n_prototypes)
        if len(values) != len(classes):
            raise ValueError(
                f"n_prototypes must have one entry for each of the {len(classes)} classes, got {len(values)}"
            )
    try:
        counts = np.array([operator.index(value) for value in values], dtype=np.int64)
    except TypeError:
        raise TypeError(f"n_prototypes must be an int, a dict or an array of ints, got {n_prototypes!r}") from None
    if (counts < 1).any():
        raise ValueError(f"n_prototypes must be at least 1 for each class, got {n_prototypes!r}")
    return counts


def check_start(init: Any, estimator: type) -> None:
    """Refuse what is neither a name, nor a pair of arrays, nor an estimator."""
    if isinstance(init, str):
        if init not in STARTS:
            raise ValueError(
                f"init must be one of {sorted(STARTS)}, a pair (prototypes, labels) or an LVQ estimator, got {init!r}"
            )
    elif not isinstance(init, estimator) and not (isinstance(init, tuple | list) and len(init) == 2):
        raise TypeError(f"init must be a name, a pair (prototypes, labels) or an LVQ estimator, got {init!r}")


def start_by_name(
    init: str, data: TrainingData, counts: NDArray[np.int64], wanted: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Prototypes of the wanted classes, and the number of each one's class."""
    found, indices, fewer = [], [], []
    for c in np.flatnonzero(wanted):
        k = int(counts[c])
        if k > 1:
            most = len(data.rows_of(int(c))[0])
            if most < k:
                fewer.append(int(c))
                k = most
        simple = k == 1 and init in ("kmeans", "means")
        found.append(data.means[c][None] if simple else STARTS[init](data, int(c), k, rng))
        indices.append(np.full(k, c))
    if fewer:
        warn(
            f"{len(fewer)} of the classes have fewer different observations than prototypes were asked for; "
            "they get one prototype for each",
            RuntimeWarning,
        )
    return np.concatenate(found), np.concatenate(indices)


def start_from_arrays(
    init: Any, classes: NDArray[Any], n_features: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Given prototypes, grouped by class, and the number of each one's class."""
    prototypes = as_observations(init[0], 1, name, n_features).astype(np.float64)
    labels = np.asarray(init[1])
    if labels.shape != (len(prototypes),):
        raise ValueError(f"init must have one label for each prototype, got {len(prototypes)} and shape {labels.shape}")
    indices = indices_of(labels, classes, "init")
    grouped = np.argsort(indices, kind="stable")
    return prototypes[grouped], indices[grouped].astype(np.int64)
