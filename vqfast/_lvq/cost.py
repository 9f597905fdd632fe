"""Models that descend a cost function: GLVQ, GMLVQ and RSLVQ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import Training, class_sq_dists, posteriors, project
from .._core.nearest import Nearest
from .base import DistanceClassifier, LVQClassifier, check_count, check_number
from .data import TrainingData

# Rows that are projected at once for prediction, to bound the memory.
_PROJECTED_AT_ONCE = 1 << 14

_LARGEST = float(np.finfo(float).max)


class _Cost(LVQClassifier):
    """Models whose rate has the unit of a squared distance, with a default from the data."""

    learning_rate_: float

    def _check_rule(self) -> None:
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, 0, _LARGEST)

    def _default_rate(self, data: TrainingData) -> float:
        return 0.1 * data.total_variance

    def _prepare(self, data: TrainingData) -> None:
        rate = self._default_rate(data) if self.learning_rate is None else self.learning_rate
        self.learning_rate_ = float(rate)

    def _first_rate(self) -> float:
        return self.learning_rate_


class GLVQ(_Cost, DistanceClassifier):
    _rule = "glvq"

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float | None = None,
        schedule: str = "linear",
        decay: float = 0.5,
        beta: float = 0.0,
        shuffle: bool = True,
        max_drift: float = 2.0,
        random_state: Any = None,
        workers: int | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.init = init
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.beta = beta
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers

    def _check_rule(self) -> None:
        super()._check_rule()
        check_number("beta", self.beta, 0, _LARGEST, low_included=True)

    def _options(self) -> dict[str, Any]:
        return {"beta": float(self.beta)}


class GMLVQ(_Cost, DistanceClassifier):
    _rule = "gmlvq"

    projection_: NDArray[np.float64]

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        rank: int | None = None,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float | None = None,
        matrix_learning_rate: float = 0.02,
        schedule: str = "linear",
        decay: float = 0.5,
        beta: float = 0.0,
        shuffle: bool = True,
        max_drift: float = 2.0,
        random_state: Any = None,
        workers: int | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.rank = rank
        self.init = init
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.matrix_learning_rate = matrix_learning_rate
        self.schedule = schedule
        self.decay = decay
        self.beta = beta
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers

    def _check_rule(self) -> None:
        super()._check_rule()
        check_number("beta", self.beta, 0, _LARGEST, low_included=True)
        check_number("matrix_learning_rate", self.matrix_learning_rate, 0, 1, low_included=True)
        if self.rank is not None:
            check_count("rank", self.rank)

    def _default_rate(self, data: TrainingData) -> float:
        return super()._default_rate(data) / self.n_features_in_

    def _prepare(self, data: TrainingData) -> None:
        super()._prepare(data)
        n_features = self.n_features_in_
        rank = n_features if self.rank is None else min(self.rank, n_features)
        directions = np.eye(n_features) if rank == n_features else _principal_directions(data, rank)
        self.projection_ = directions / np.sqrt(rank)

    def _options(self) -> dict[str, Any]:
        # The kernel's matrix rate is in units of that of the prototypes.
        ratio = self.matrix_learning_rate / self.learning_rate_ if self.learning_rate_ > 0 else 0.0
        return {"beta": float(self.beta), "matrix_rate": ratio}

    def _state(self) -> dict[str, Any]:
        return {"omega": self.projection_}

    def _finish(self, training: Training) -> None:
        self.projection_ = training.omega()

    @property
    def relevance_(self) -> NDArray[np.float64]:
        """The matrix of the metric, (n_features, n_features): its diagonal sums to 1."""
        self._check_fitted()
        return self.projection_.T @ self.projection_

    def _projected_prototypes(self) -> NDArray[np.float64]:
        return project(self.prototypes_, self.projection_)

    def _nearest(self, obs: NDArray[Any], workers: int) -> NDArray[np.int32]:
        codes, book = np.empty(len(obs), dtype=np.int32), self._projected_prototypes()
        for first in range(0, len(obs), _PROJECTED_AT_ONCE):
            rows = project(obs[first : first + _PROJECTED_AT_ONCE], self.projection_, workers)
            Nearest(rows, len(book), workers).assign(book, codes[first : first + _PROJECTED_AT_ONCE])
        return codes

    def _class_sq_dists(self, obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
        book = self._projected_prototypes()
        parts = (obs[first : first + _PROJECTED_AT_ONCE] for first in range(0, len(obs), _PROJECTED_AT_ONCE))
        found = [class_sq_dists(project(part, self.projection_, workers), book, self._starts, workers) for part in parts]
        return np.concatenate(found)

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        obs, workers = self._observations(X)
        return project(obs, self.projection_, workers).astype(obs.dtype, copy=False)

    def fit_transform(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NDArray[Any]:
        return self.fit(X, y, sample_weight).transform(X)


def _principal_directions(data: TrainingData, rank: int) -> NDArray[np.float64]:
    """The first principal directions of the data, (rank, n_features), the largest element of each positive."""
    centred = data.obs - data.centre
    weights = np.ones(len(centred)) if data.given_weights is None else data.given_weights
    covariance = (centred * weights[:, None]).T @ centred
    directions = np.linalg.eigh(covariance)[1][:, : -rank - 1 : -1].T
    largest = np.abs(directions).argmax(axis=1)
    return directions * np.sign(directions[np.arange(rank), largest])[:, None]


class RSLVQ(_Cost):
    _rule = "rslvq"

    variance_: float

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        variance: float | None = None,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float | None = None,
        schedule: str = "linear",
        decay: float = 0.5,
        shuffle: bool = True,
        max_drift: float = 2.0,
        random_state: Any = None,
        workers: int | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.variance = variance
        self.init = init
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers

    def _check_rule(self) -> None:
        super()._check_rule()
        if self.variance is not None:
            check_number("variance", self.variance, 0, _LARGEST)

    def _default_rate(self, data: TrainingData) -> float:
        return 0.16 * self.variance_

    def _prepare(self, data: TrainingData) -> None:
        default = data.total_variance / 8
        self.variance_ = float(self.variance if self.variance is not None else default if default > 0 else 1.0)
        super()._prepare(data)

    def _options(self) -> dict[str, Any]:
        return {"variance": self.variance_}

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        obs, workers = self._observations(X)
        return self._posteriors(obs, workers)

    def _posteriors(self, obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
        book = np.ascontiguousarray(self.prototypes_, dtype=np.float64)
        return posteriors(obs, book, self._starts, self.variance_, workers)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        obs, workers = self._observations(X)
        if len(self.prototypes_) <= len(self.classes_):
            return np.take(self.prototype_labels_, self._nearest(obs, workers))
        codes = np.empty(len(obs), dtype=np.intp)
        for first in range(0, len(obs), _PROJECTED_AT_ONCE):
            part = slice(first, first + _PROJECTED_AT_ONCE)
            codes[part] = self._posteriors(obs[part], workers).argmax(axis=1)
        return self.classes_[codes]
