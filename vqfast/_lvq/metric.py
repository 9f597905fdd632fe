"""The model that learns a metric: GMLVQ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import Training, class_sq_dists, project
from .._core.nearest import Nearest
from .._validation import not_finite
from .cost import LARGEST, CostClassifier
from .data import TrainingData
from .margins import DistanceClassifier
from .parameters import check_count, check_number, completed

# Rows that are projected or multiplied at once, to bound the memory.
_PROJECTED_AT_ONCE = 1 << 14


@completed
class GMLVQ(CostClassifier, DistanceClassifier):
    """GMLVQ: GLVQ that learns the metric, a matrix of relevances.

    For features of unlike importance or that depend on each other; `relevance_` says which
    count, `transform` projects observations, for instance onto a plane to look at.

    Parameters
    ----------
    rank : int, optional
        Rows of the projection; None is all features.
    learning_rate : float, optional
        Rate of the first step, in the unit of a squared distance: a step of the rule is the
        rate over such a one. None is a tenth of the
        variance of a feature, on average, over the largest slope of the sigmoid.
    matrix_learning_rate : float, optional
        Rate of the matrix, whose norm is 1, at the first step, in [0, 1]. None is 0.02 over the
        largest slope of the sigmoid.

    Attributes
    ----------
    projection_ : ndarray, shape (rank, n_features)
        The matrix of `transform`; the sum of its squares is 1.
    relevance_ : ndarray, shape (n_features, n_features)
        ``projection_.T @ projection_``, the matrix of the metric; its diagonal has the relevance
        of each feature and the sum 1.
    learning_rate_ : float
        The rate of the first step.

    Notes
    -----
    As `GLVQ` with the squared distances ``d = |P (x - w)|^2``. The projection P starts as the
    identity over the root of n_features, or with the first principal directions if its rank
    is limited. With the factors ``g+ = f'(mu) 4 d- / s^2`` and ``g- = f'(mu) 4 d+ / s^2``, at the
    rates a and b of prototypes and matrix, all in one step::

        w+ += a g+ P'P (x - w+)
        w- -= a g- P'P (x - w-)
        P  -= b (g+ P (x - w+) (x - w+)' - g- P (x - w-) (x - w-)'),  then  P /= |P|

    where ``a g`` is limited to 1 and a term of the last line to half the norm of P.

    A step takes O((n_prototypes + 6) n_features rank) time; memory besides the input is 60
    bytes an observation, some copies of the prototypes and of the matrix and, for a k-means
    start of several prototypes, a copy of one class at a time.

    References
    ----------
    .. [1] P. Schneider, M. Biehl, B. Hammer, "Adaptive relevance matrices in learning vector
       quantization", Neural Computation 21 (2009) 3532-3561.
    .. [2] K. Bunte, P. Schneider, B. Hammer, F.-M. Schleif, T. Villmann, M. Biehl, "Limited
       rank matrix learning, discriminative dimension reduction and visualization", Neural
       Networks 26 (2012) 159-173.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import GMLVQ
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))  # only the first feature tells the classes apart
    >>> y = X[:, 0] > 0
    >>> model = GMLVQ(random_state=0).fit(X, y)
    >>> int(model.relevance_.diagonal().argmax())
    0
    >>> model.set_params(rank=2).fit_transform(X, y).shape
    (200, 2)
    """

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
        matrix_learning_rate: float | None = None,
        schedule: str = "linear",
        decay: float = 0.5,
        beta: float = 5.0,
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
        check_number("beta", self.beta, 0, LARGEST, low_included=True)
        if self.matrix_learning_rate is not None:
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
        given = self.matrix_learning_rate
        matrix_rate = 0.02 / self._largest_slope() if given is None else given
        ratio = matrix_rate / self.learning_rate_ if self.learning_rate_ > 0 else 0.0
        return {"beta": float(self.beta), "matrix_rate": ratio}

    def _state(self) -> dict[str, Any]:
        return {"omega": self.projection_}

    def _finish(self, training: Training) -> None:
        self.projection_ = training.omega()

    @property
    def relevance_(self) -> NDArray[np.float64]:
        """The matrix of the metric, (n_features, n_features): its diagonal sums to 1."""
        self._check_fitted()
        return np.asarray(self.projection_.T @ self.projection_)

    def _projected_prototypes(self) -> NDArray[np.float64]:
        return project(self.prototypes_, self.projection_)

    def _nearest(self, obs: NDArray[Any], workers: int) -> NDArray[np.int32]:
        codes, book = np.empty(len(obs), dtype=np.int32), self._projected_prototypes()
        for first in range(0, len(obs), _PROJECTED_AT_ONCE):
            rows = project(obs[first : first + _PROJECTED_AT_ONCE], self.projection_, workers)
            found = codes[first : first + _PROJECTED_AT_ONCE]
            if not Nearest(rows, len(book), workers).assign(book, found, check_finite=True):
                raise not_finite("X")
        return codes

    def _class_sq_dists(self, obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
        book = self._projected_prototypes()
        parts = (obs[first : first + _PROJECTED_AT_ONCE] for first in range(0, len(obs), _PROJECTED_AT_ONCE))
        found = [
            class_sq_dists(project(part, self.projection_, workers), book, self._starts, workers) for part in parts
        ]
        return np.concatenate(found)

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Project observations into the space of the learned metric.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray, shape (n_obs, rank)
            ``X @ projection_.T``, float32 for float32 observations, otherwise float64.

        Raises
        ------
        ValueError, TypeError
            As in `predict`.
        """
        obs, workers = self._observations(X)
        return project(obs, self.projection_, workers).astype(obs.dtype, copy=False)

    def fit_transform(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NDArray[Any]:
        """`fit`, then `transform` of the same observations.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        ndarray, shape (n_obs, rank)
            As in `transform`.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        """
        return self.fit(X, y, sample_weight).transform(X)


def _principal_directions(data: TrainingData, rank: int) -> NDArray[np.float64]:
    """The first principal directions of the data, (rank, n_features), the largest element of each positive."""
    weights = np.ones(len(data.obs)) if data.given_weights is None else data.given_weights
    covariance = np.zeros((data.obs.shape[1], data.obs.shape[1]))
    for first in range(0, len(data.obs), _PROJECTED_AT_ONCE):
        part = slice(first, first + _PROJECTED_AT_ONCE)
        centred = data.obs[part] - data.centre
        covariance += (centred * weights[part, None]).T @ centred
    directions = np.linalg.eigh(covariance)[1][:, : -rank - 1 : -1].T
    signs = np.sign(directions[np.arange(rank), np.abs(directions).argmax(axis=1)])
    return np.asarray(directions * signs[:, None])
