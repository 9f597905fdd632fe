"""Models that descend a cost function: GLVQ, GMLVQ and RSLVQ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import Training, class_sq_dists, posteriors, project
from .._core.nearest import Nearest
from .._validation import not_finite
from .base import DistanceClassifier, LVQClassifier, check_count, check_number
from .data import TrainingData

# Rows that are projected or multiplied at once, to bound the memory.
_PROJECTED_AT_ONCE = 1 << 14

# Between these a number and its reciprocal are finite and precise.
_SMALLEST = 1e-290
_LARGEST = float(np.finfo(float).max)


class _Cost(LVQClassifier):
    """Models whose rate has the unit of a squared distance, with a default from the data."""

    learning_rate_: float

    def _check_rule(self) -> None:
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, 0, _LARGEST)

    def _default_rate(self, data: TrainingData) -> float:
        return 0.1 * data.total_variance / self._largest_slope()

    def _largest_slope(self) -> float:
        """Of the function of the relative distance difference that is summed up in the cost."""
        beta = float(getattr(self, "beta", 0))
        return beta / 4 if beta > 0 else 1.0

    def _prepare(self, data: TrainingData) -> None:
        rate = self._default_rate(data) if self.learning_rate is None else self.learning_rate
        self.learning_rate_ = float(rate)

    def _first_rate(self) -> float:
        return self.learning_rate_


class GLVQ(_Cost, DistanceClassifier):
    """GLVQ: gradient descent on the relative difference of two distances.

    Robust and fast. `GMLVQ` learns the metric as well; `RSLVQ` is often more accurate.

    Parameters
    ----------
    n_prototypes : int, dict or array_like of int, optional
        Prototypes of each class: one number for all, numbers by label, or one for each class
        in the order of `classes_`. Ignored where `init` gives prototypes.
    init : {'kmeans', 'means', 'samples', 'neighbours'}, pair or estimator, optional
        Where prototypes start: at the k-means of their class; at the means of random parts of
        it; at random observations of it; or at random observations that most of their five
        nearest neighbours agree with. A pair ``(prototypes, labels)`` gives them; an LVQ
        estimator is fitted first, on the same data, and hands over its prototypes.
    n_epochs : int, optional
        Passes over the observations.
    learning_rate : float, optional
        Rate of the first step, in the unit of a squared distance: a step of the rule is the
        rate over such a one. None is a tenth of the
        total variance of the observations, over the largest slope of the sigmoid.
    schedule : {'linear', 'inverse_time', 'geometric', 'constant'}, optional
        How the rate falls over the T steps of a fit: ``rate (T - t) / T``; ``rate C / (C + t)``
        with ``C = T / 100``; by the factor `decay` after each epoch; or not.
    decay : float, optional
        Factor of the geometric schedule, in (0, 1].
    beta : float, optional
        Steepness of the sigmoid ``1 / (1 + exp(-beta mu))`` of the cost; 0 is the identity.
    shuffle : bool, optional
        Whether every epoch presents the observations in a new random order, instead of that
        of the rows. If so, the fit does not depend on the order of the rows.
    max_drift : float, optional
        The fit stops, with a warning and the prototypes of the epoch before, if one is more
        than so many times as far from the mean of the observations as any of them.
    random_state : {None, int, Generator, SeedSequence, RandomState}, optional
        Seed or source of the random numbers. The same seed gives the same bits.
    workers : int, optional
        Threads for the initialisation and for predictions; None and -1 are all that this
        process may use. The result does not depend on it. The steps of a fit follow from each
        other and run on one.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels.
    prototypes_ : ndarray, shape (n_prototypes, n_features)
        Prototypes, grouped by class in that order; float32 for float32 observations, otherwise
        float64.
    prototype_labels_ : ndarray, shape (n_prototypes,)
        Their labels.
    n_features_in_ : int
        Number of features.
    n_steps_ : int
        Presentations so far.
    learning_rate_ : float
        The rate of the first step.

    Raises
    ------
    ValueError, TypeError
        By `fit` and `partial_fit`: if a parameter is out of its range or of the wrong type.

    Notes
    -----
    The cost is the sum over the observations of ``f(mu)``, ``mu = (d+ - d-) / (d+ + d-)``, d+
    and d- being the squared distances to the nearest prototype of the observation's label
    and to the nearest other one. At rate a, with ``s = d+ + d-``::

        w+ += a f'(mu) 4 d- / s^2 (x - w+)
        w- -= a f'(mu) 4 d+ / s^2 (x - w-)

    where both factors are limited to 1: no prototype is carried past an observation.

    A steep sigmoid, as by default, counts errors near the border rather than distances: on
    standardised digits, with one prototype a class, it raises the accuracy from 0.906 to
    0.948.

    A step takes O(n_prototypes n_features) time; memory besides the input is 60 bytes an
    observation, some copies of the prototypes and, for a k-means start of several prototypes,
    a copy of one class at a time.

    References
    ----------
    .. [1] A. Sato, K. Yamada, "Generalized learning vector quantization", Advances in Neural
       Information Processing Systems 8 (1995) 423-429.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import GLVQ
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (50, 4)), rng.normal(3, 1, (50, 4))])
    >>> y = np.repeat(["cat", "dog"], 50)
    >>> model = GLVQ(random_state=0).fit(X, y)
    >>> model.predict(X[[0, 99]]).tolist()
    ['cat', 'dog']
    >>> np.sign(model.decision_function(X[[0, 99]]))
    array([-1.,  1.])
    """

    _rule = "glvq"

    beta: float

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float | None = None,
        schedule: str = "linear",
        decay: float = 0.5,
        beta: float = 10.0,
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
    """GMLVQ: GLVQ that learns the metric, a matrix of relevances.

    For features of unlike importance or that depend on each other; `relevance_` says which
    count, `transform` projects observations, for instance onto a plane to look at.

    Parameters
    ----------
    n_prototypes : int, dict or array_like of int, optional
        Prototypes of each class: one number for all, numbers by label, or one for each class
        in the order of `classes_`. Ignored where `init` gives prototypes.
    rank : int, optional
        Rows of the projection; None is all features.
    init : {'kmeans', 'means', 'samples', 'neighbours'}, pair or estimator, optional
        Where prototypes start: at the k-means of their class; at the means of random parts of
        it; at random observations of it; or at random observations that most of their five
        nearest neighbours agree with. A pair ``(prototypes, labels)`` gives them; an LVQ
        estimator is fitted first, on the same data, and hands over its prototypes.
    n_epochs : int, optional
        Passes over the observations.
    learning_rate : float, optional
        Rate of the first step, in the unit of a squared distance: a step of the rule is the
        rate over such a one. None is a tenth of the
        variance of a feature, on average, over the largest slope of the sigmoid.
    matrix_learning_rate : float, optional
        Rate of the matrix, whose norm is 1, at the first step, in [0, 1]. None is 0.02 over the
        largest slope of the sigmoid.
    schedule : {'linear', 'inverse_time', 'geometric', 'constant'}, optional
        How the rate falls over the T steps of a fit: ``rate (T - t) / T``; ``rate C / (C + t)``
        with ``C = T / 100``; by the factor `decay` after each epoch; or not.
    decay : float, optional
        Factor of the geometric schedule, in (0, 1].
    beta : float, optional
        Steepness of the sigmoid ``1 / (1 + exp(-beta mu))`` of the cost; 0 is the identity.
    shuffle : bool, optional
        Whether every epoch presents the observations in a new random order, instead of that
        of the rows. If so, the fit does not depend on the order of the rows.
    max_drift : float, optional
        The fit stops, with a warning and the prototypes of the epoch before, if one is more
        than so many times as far from the mean of the observations as any of them.
    random_state : {None, int, Generator, SeedSequence, RandomState}, optional
        Seed or source of the random numbers. The same seed gives the same bits.
    workers : int, optional
        Threads for the initialisation and for predictions; None and -1 are all that this
        process may use. The result does not depend on it. The steps of a fit follow from each
        other and run on one.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels.
    prototypes_ : ndarray, shape (n_prototypes, n_features)
        Prototypes, grouped by class in that order; float32 for float32 observations, otherwise
        float64.
    prototype_labels_ : ndarray, shape (n_prototypes,)
        Their labels.
    n_features_in_ : int
        Number of features.
    n_steps_ : int
        Presentations so far.
    projection_ : ndarray, shape (rank, n_features)
        The matrix of `transform`; the sum of its squares is 1.
    relevance_ : ndarray, shape (n_features, n_features)
        ``projection_.T @ projection_``, the matrix of the metric; its diagonal has the relevance
        of each feature and the sum 1.
    learning_rate_ : float
        The rate of the first step.

    Raises
    ------
    ValueError, TypeError
        By `fit` and `partial_fit`: if a parameter is out of its range or of the wrong type.

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
        check_number("beta", self.beta, 0, _LARGEST, low_included=True)
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


class RSLVQ(_Cost):
    """RSLVQ: the posterior probability of the labels is made as large as possible.

    The model to start with: with one prototype a class it is as accurate as the others with
    several, it hardly depends on its parameters, and it has a real `predict_proba`.

    Parameters
    ----------
    n_prototypes : int, dict or array_like of int, optional
        Prototypes of each class: one number for all, numbers by label, or one for each class
        in the order of `classes_`. Ignored where `init` gives prototypes.
    variance : float, optional
        Variance of the normal densities around the prototypes, the same for all. None is an
        eighth of the total variance of the observations; results change little within a
        factor of four.
    init : {'kmeans', 'means', 'samples', 'neighbours'}, pair or estimator, optional
        Where prototypes start: at the k-means of their class; at the means of random parts of
        it; at random observations of it; or at random observations that most of their five
        nearest neighbours agree with. A pair ``(prototypes, labels)`` gives them; an LVQ
        estimator is fitted first, on the same data, and hands over its prototypes.
    n_epochs : int, optional
        Passes over the observations.
    learning_rate : float, optional
        Rate of the first step, in the unit of a squared distance. None is 0.16 times the
        variance.
    schedule : {'linear', 'inverse_time', 'geometric', 'constant'}, optional
        How the rate falls over the T steps of a fit: ``rate (T - t) / T``; ``rate C / (C + t)``
        with ``C = T / 100``; by the factor `decay` after each epoch; or not.
    decay : float, optional
        Factor of the geometric schedule, in (0, 1].
    shuffle : bool, optional
        Whether every epoch presents the observations in a new random order, instead of that
        of the rows. If so, the fit does not depend on the order of the rows.
    max_drift : float, optional
        The fit stops, with a warning and the prototypes of the epoch before, if one is more
        than so many times as far from the mean of the observations as any of them.
    random_state : {None, int, Generator, SeedSequence, RandomState}, optional
        Seed or source of the random numbers. The same seed gives the same bits.
    workers : int, optional
        Threads for the initialisation and for predictions; None and -1 are all that this
        process may use. The result does not depend on it. The steps of a fit follow from each
        other and run on one.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels.
    prototypes_ : ndarray, shape (n_prototypes, n_features)
        Prototypes, grouped by class in that order; float32 for float32 observations, otherwise
        float64.
    prototype_labels_ : ndarray, shape (n_prototypes,)
        Their labels.
    n_features_in_ : int
        Number of features.
    n_steps_ : int
        Presentations so far.
    variance_ : float
        The variance of the densities.
    learning_rate_ : float
        The rate of the first step.

    Raises
    ------
    ValueError, TypeError
        By `fit` and `partial_fit`: if a parameter is out of its range or of the wrong type.

    Notes
    -----
    The prototypes are the centres of equally likely normal densities. With P the posterior
    of each prototype given x, and Q the same among the prototypes of the label of x (0 for
    the others), at rate a::

        w += a / variance (Q - P) (x - w)    for all prototypes

    which ascends the sum of the logarithms of the posteriors of the labels. `predict` returns
    the label with the largest posterior: with one prototype a class that is the nearest one.

    A step takes O(n_prototypes n_features) time, and an exponential for each prototype;
    memory besides the input is 60 bytes an observation, some copies of the prototypes and,
    for a k-means start of several prototypes, a copy of one class at a time.

    References
    ----------
    .. [1] S. Seo, K. Obermayer, "Soft learning vector quantization", Neural Computation 15
       (2003) 1589-1604.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import RSLVQ
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(2, 1, (50, 2))])
    >>> y = np.repeat([0, 1], 50)
    >>> model = RSLVQ(random_state=0).fit(X, y)
    >>> probability = model.predict_proba([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    >>> bool(probability[0, 0] > 0.9), bool(0.3 < probability[1, 0] < 0.7)
    (True, True)
    """

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
            check_number("variance", self.variance, _SMALLEST, _LARGEST)

    def _default_rate(self, data: TrainingData) -> float:
        return 0.16 * self.variance_

    def _prepare(self, data: TrainingData) -> None:
        default = data.total_variance / 8
        self.variance_ = float(self.variance if self.variance is not None else default if default > _SMALLEST else 1.0)
        super()._prepare(data)

    def _options(self) -> dict[str, Any]:
        return {"variance": self.variance_}

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Posterior probability of every label.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray of float64, shape (n_obs, n_classes)
            Probabilities in the order of `classes_`; rows sum to 1.

        Raises
        ------
        ValueError, TypeError
            As in `predict`.
        """
        obs, workers = self._observations(X)
        return self._posteriors(obs, workers)

    def _posteriors(self, obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
        book = np.ascontiguousarray(self.prototypes_, dtype=np.float64)
        return posteriors(obs, book, self._starts, self.variance_, workers)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Label with the largest posterior probability of every observation.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray, shape (n_obs,)
            Labels; of equally likely ones the first counts.

        Raises
        ------
        ValueError, TypeError
            If `X` is not finite, or not of the shape of the training data; if the estimator is
            not fitted.
        """
        self._check_fitted()
        if np.diff(self._starts).max() == 1:
            return super().predict(X)
        obs, workers = self._observations(X)
        codes = np.empty(len(obs), dtype=np.intp)
        for first in range(0, len(obs), _PROJECTED_AT_ONCE):
            part = slice(first, first + _PROJECTED_AT_ONCE)
            codes[part] = self._posteriors(obs[part], workers).argmax(axis=1)
        return self.classes_[codes]
