"""What a fit is given: checked observations, classes and weights, and in which order they come."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import hashes, shuffle
from .._core.means import Means
from .._core.nearest import Nearest
from .._validation import as_array, as_real, as_weights
from .conventions import data_conversion_warning, warn


def as_rng(random_state: Any) -> np.random.Generator:
    """A Generator from None, an int, a Generator, a SeedSequence or a RandomState (which is drawn from)."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(random_state)


def as_observations(
    values: ArrayLike, workers: int, name: str, n_features: int | None = None, deferred: bool = False
) -> NDArray[Any]:
    """(n_obs, n_features) float32 or float64 that the kernels can read; finite.

    With `deferred`, what the kernels read where it lies is left for the search to check.
    """
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise TypeError("X must be a dense array, but it is sparse; use X.toarray() if it fits into memory")
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}")
    if array.dtype.kind in "OUS":
        array = array.astype(np.float64)
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {array.ndim}D array instead: X has shape {array.shape}. Reshape your data using "
            "X.reshape(-1, 1) if it has a single feature or X.reshape(1, -1) if it is a single observation."
        )
    for count, what in zip(array.shape, ("sample(s)", "feature(s)"), strict=True):
        if count == 0:
            raise ValueError(f"Found array with 0 {what} (shape={array.shape}) while a minimum of 1 is required.")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"X has {array.shape[1]} features, but {name} is expecting {n_features} features as input.")
    return as_real(as_array(array, "X", workers=workers, deferred=deferred))


def as_labels(values: ArrayLike | None, n_obs: int, name: str) -> NDArray[Any]:
    """(n_obs,) labels of any type but fractions."""
    if values is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), "
            "for example using ravel().",
            data_conversion_warning(),
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        raise ValueError(f"y should be a 1d array of labels, got an array of shape {labels.shape} instead.")
    if labels.shape[0] != n_obs:
        raise ValueError(f"X and y must have equally many rows, got {n_obs} and {labels.shape[0]}")
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: y has dtype " + str(labels.dtype))
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError("Input y contains NaN or infinity.")
        if (labels != np.floor(labels)).any():
            raise ValueError("Unknown label type: continuous. Labels are classes; y holds fractions.")
    if labels.dtype.kind == "O" and any(label is None or label != label for label in labels):
        raise ValueError("Input y contains NaN or None.")
    return labels


def classes_of(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """The sorted classes and the position of every label in them."""
    if labels.dtype.kind in "iu" and labels.dtype.itemsize <= 8:
        low, high = int(labels.min()), int(labels.max())
        if high - low < 4 * len(labels) and high < 1 << 62:  # a table instead of a sort
            shifted = labels.astype(np.int64) - low
            present = np.bincount(shifted) > 0
            (values,) = np.nonzero(present)
            return (values + low).astype(labels.dtype), (np.cumsum(present) - 1)[shifted].astype(np.int32)
    classes, indices = np.unique(labels, return_inverse=True)
    return classes, indices.astype(np.int32)


def indices_of(labels: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.int32]:
    """Positions of the labels in the sorted classes; ValueError for a label that is not among them."""
    found = np.searchsorted(classes, labels)
    found[found == len(classes)] = 0
    unknown = classes[found] != labels
    if unknown.any():
        first = labels[unknown][:1].tolist()[0]
        raise ValueError(f"{name} contains the label {first!r}, which is not one of the classes {classes.tolist()}")
    return found.astype(np.int32)


def starts_of(indices: NDArray[np.integer[Any]], n_classes: int) -> NDArray[np.int32]:
    """Where each class begins among prototypes that are grouped by class, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.bincount(indices, minlength=n_classes))]).astype(np.int32)


class TrainingData:
    """Observations, classes and weights of one call of fit, without repetitions.

    Equal observations of one class are one with the sum of their weights, and all come in an
    order that depends on their values alone: so a fit depends neither on the order of the rows
    nor on whether a row is repeated or has twice the weight.
    """

    def __init__(
        self,
        obs: NDArray[Any],
        classes: NDArray[np.int32],
        n_classes: int,
        weights: NDArray[np.float64] | None,
        workers: int,
    ) -> None:
        self.obs, self.classes, self.n_classes, self.workers = obs, classes, n_classes, workers
        self.given_weights = weights
        totals = np.bincount(classes, weights, n_classes)
        self.means = np.zeros((n_classes, obs.shape[1]))
        Means(Nearest(obs, n_classes, workers), weights).update(classes, self.means, np.empty(n_classes, dtype=bool))
        self.present = totals > 0
        self.centre = totals @ self.means / totals.sum()
        sq_dists = self._sq_dists_to(self.centre)
        self.sq_radius = float(sq_dists.max())
        self._check_range()
        self.total_variance = float(np.average(sq_dists, weights=weights))

    @cached_property
    def _distinct(self) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        return _distinct(self.obs, self.classes, self.given_weights)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Indices of the distinct observations."""
        return self._distinct[0]

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """Their weights; None if they are all equal."""
        return self._distinct[1]

    def _check_range(self) -> None:
        """Refuse observations whose squared distances leave the range of their type."""
        limits = np.finfo(self.obs.dtype)
        if not self.sq_radius < float(limits.max) / 64:
            raise ValueError(f"X is too large: squared distances overflow {self.obs.dtype}; scale it")
        if self.sq_radius < float(limits.tiny) * 2**20 and (self.obs != self.obs[0]).any():
            raise ValueError(f"X is too small: squared distances underflow {self.obs.dtype}; scale it")

    def _sq_dists_to(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        dist = np.empty(len(self.obs))
        Nearest(self.obs, 1, self.workers).assign(centre[None], np.empty(len(self.obs), dtype=np.int32), dist)
        return dist * dist

    def rows_of(self, c: int) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        """Indices of the distinct observations of class number c, and their weights."""
        own = self.classes[self.rows] == c
        return self.rows[own], None if self.weights is None else self.weights[own]


def _distinct(
    obs: NDArray[Any], classes: NDArray[np.int32], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Rows of the distinct pairs of observation and class that have weight, and their weights.

    The weights are None if they are all equal.
    """
    hashed = hashes(obs, classes)
    rows = np.argsort(hashed, kind="stable")
    if weights is not None:
        rows = rows[weights[rows] > 0]
    hashed = hashed[rows]
    (equal,) = np.nonzero(hashed[1:] == hashed[:-1])
    if equal.size:  # equal hashes of different observations do not happen, but they might
        a, b = rows[equal], rows[equal + 1]
        equal = equal[(classes[a] == classes[b]) & (obs[a] == obs[b]).all(axis=1)]
    if not equal.size:
        kept = None if weights is None else weights[rows]
        return rows, None if kept is None or kept.min() == kept.max() else kept
    first = np.ones(len(rows), dtype=bool)
    first[equal + 1] = False
    summed = np.add.reduceat(np.ones(len(rows)) if weights is None else weights[rows], np.flatnonzero(first))
    return rows[first], None if summed.min() == summed.max() else summed


class Presentations:
    """Which observation each step of a fit sees.

    An epoch has as many steps as there are distinct observations. Each is seen once, in a
    random order; with unequal weights, in proportion to its weight (systematic sampling:
    the numbers of an epoch differ from the exact shares by less than one).
    """

    def __init__(self, data: TrainingData, shuffle: bool) -> None:
        self.shuffle = shuffle
        if shuffle:
            self.rows, weights = data.rows, data.weights
        else:
            weights = data.given_weights
            self.rows = np.arange(len(data.obs)) if weights is None else np.flatnonzero(weights)
            weights = None if weights is None else weights[self.rows]
        self.ends = None if weights is None else np.cumsum(weights)
        self.n_steps = len(self.rows)
        self.rows = np.ascontiguousarray(self.rows, dtype=np.int64)

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of the next epoch."""
        if self.ends is not None:
            offset = rng.random() if self.shuffle else 0.5
            positions = (np.arange(self.n_steps) + offset) * (self.ends[-1] / self.n_steps)
            chosen = np.searchsorted(self.ends, positions, side="right")
            rows = np.asarray(self.rows[np.minimum(chosen, self.n_steps - 1)])
        elif self.shuffle:
            rows = self.rows.copy()
        else:
            return self.rows
        if self.shuffle:
            shuffle(rows, rng.random(self.n_steps))
        return rows


def as_order(order: ArrayLike, n_obs: int) -> NDArray[np.int64]:
    """An explicit sequence of presentations."""
    indices = np.asarray(order)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or not indices.size:
        raise ValueError(f"order must be a sequence of indices, got shape {indices.shape} and dtype {indices.dtype}")
    if indices.min() < 0 or indices.max() >= n_obs:
        raise ValueError(f"order must hold indices from 0 to {n_obs - 1}, got {indices.min()} to {indices.max()}")
    return np.ascontiguousarray(indices, dtype=np.int64)


def check_weights(sample_weight: ArrayLike | None, n_obs: int) -> NDArray[np.float64] | None:
    """Weights of the observations; None if they are all equal."""
    if sample_weight is not None and np.asarray(sample_weight).ndim == 0:
        sample_weight = np.full(n_obs, sample_weight)
    weights = as_weights(sample_weight, n_obs)
    return None if weights is None or weights.min() == weights.max() else weights
