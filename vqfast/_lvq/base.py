"""What all models of learning vector quantization share: fitting by online steps, and prediction."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import SCHEDULES, Schedule, Training
from .._core.nearest import Nearest
from .._validation import not_finite, resolve_workers
from .conventions import Classifier, not_fitted, warn
from .data import (
    Presentations,
    TrainingData,
    as_labels,
    as_observations,
    as_order,
    as_rng,
    check_weights,
    classes_of,
    indices_of,
    starts_of,
)
from .parameters import check_count, check_number
from .start import check_start, counts_of, start_by_name, start_from_arrays

# What a fit sets besides the public attributes.
_PRIVATE = ("_starts", "_timing")
# Codes whose labels are looked up at once: their copy as array indices stays in the cache.
_LABELLED_AT_ONCE = 1 << 14
# Steps between two looks at the prototypes where an explicit order makes no epochs.
_FEWEST_STEPS = 1024
# partial_fit goes on learning past the end of its schedule at this share of the first rate.
_FLOOR = 0.01


class LVQClassifier(Classifier):
    """Base of the models; a subclass has a constructor, a rule and what the rule needs to know."""

    _rule: ClassVar[str]

    # What every constructor sets.
    n_prototypes: Any
    init: Any
    n_epochs: int
    learning_rate: float | None
    schedule: str
    decay: float
    shuffle: bool
    max_drift: float
    random_state: Any
    workers: int | None

    # What a fit finds.
    classes_: NDArray[Any]
    n_features_in_: int
    n_steps_: int
    prototypes_: NDArray[Any]
    prototype_labels_: NDArray[Any]

    # ---- hooks of the rules ------------------------------------------------------------

    def _check_rule(self) -> None:
        """Refuse bad parameters of the rule."""
        check_number("learning_rate", self.learning_rate, 0, 1)

    def _prepare(self, data: TrainingData) -> None:
        """Set what depends on the data, before the first step."""

    def _first_rate(self) -> float:
        """The rate of step 0."""
        return float(self.learning_rate)  # type: ignore[arg-type]

    def _options(self) -> dict[str, Any]:
        """What the kernel needs to know."""
        return {}

    def _finish(self, training: Training) -> None:
        """Take what a model has besides prototypes."""

    # ---- fitting -------------------------------------------------------------------------

    def _check_parameters(self) -> int:
        """Refuse bad parameters; the number of threads."""
        check_count("n_epochs", self.n_epochs)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {sorted(SCHEDULES)}, got {self.schedule!r}")
        check_number("decay", self.decay, 0, 1)
        check_number("max_drift", self.max_drift, 1, np.finfo(float).max, low_included=True)
        check_start(self.init, LVQClassifier)
        self._check_rule()
        return resolve_workers(self.workers)

    def _data(
        self, X: ArrayLike, y: ArrayLike | None, sample_weight: ArrayLike | None, first: bool, classes: Any = None
    ) -> TrainingData:
        """Check everything that a fit is given."""
        name = type(self).__name__
        workers = self._check_parameters()
        obs = as_observations(X, workers, name, None if first else self.n_features_in_)
        labels = as_labels(y, len(obs), name)
        weights = check_weights(sample_weight, len(obs))
        if first and classes is None:
            found, indices = classes_of(labels)
        else:
            found = np.unique(as_labels(classes, len(np.asarray(classes)), name)) if first else self.classes_
            indices = indices_of(labels, found, "y")
        if first:
            counts_of(self.n_prototypes, found)
            self.classes_, self.n_features_in_ = found, obs.shape[1]
        elif obs.dtype != self.prototypes_.dtype:
            obs = obs.astype(self.prototypes_.dtype)
        return TrainingData(obs, indices, len(found), weights, workers)

    def _start(self, data: TrainingData, wanted: NDArray[np.bool_], rng: np.random.Generator) -> Any:
        """Prototypes of the wanted classes, and the number of each one's class."""
        if isinstance(self.init, str):
            return start_by_name(self.init, data, counts_of(self.n_prototypes, self.classes_), wanted, rng)
        if isinstance(self.init, LVQClassifier):
            model = type(self.init)(**self.init.get_params(deep=False))
            if model.random_state is None:
                model.random_state = int(rng.integers(2**32))
            model.fit(data.obs, self.classes_[data.classes], data.given_weights)
            pair = model.prototypes_, model.prototype_labels_
        else:
            pair = self.init
        prototypes, indices = start_from_arrays(pair, self.classes_, self.n_features_in_, type(self).__name__)
        return prototypes[wanted[indices]], indices[wanted[indices]]

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        order: ArrayLike | None = None,
    ) -> Self:
        """Learn prototypes.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row. float32 is learned from in float32, everything else in
            float64.
        y : array_like, shape (n_obs,)
            Labels of any type that can be sorted: integers, strings, booleans.
        sample_weight : array_like, shape (n_obs,), optional
            Non-negative weights: an observation is presented in proportion to its weight.
            Repeating a row and doubling its weight are the same; a common factor changes
            nothing.
        order : array_like of int, optional
            Indices of the observations in the exact sequence of their presentations, instead
            of `n_epochs` and `shuffle`. The schedule ends with it. Not with `sample_weight`.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If an argument or a parameter is out of its range or of the wrong shape or type.

        Warns
        -----
        RuntimeWarning
            If the prototypes blow up; those of the last good epoch are kept. Or if a class has
            fewer observations than prototypes.
        """
        if order is not None and sample_weight is not None:
            raise ValueError("order and sample_weight exclude each other: order says what is presented how often")
        before = dict(vars(self))
        try:
            self._forget()
            data = self._data(X, y, sample_weight, True)
            given = None if order is None else as_order(order, len(data.obs))
            self._fit_first(data, given, as_rng(self.random_state))
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _forget(self) -> None:
        """Drop what an earlier fit has found, and nothing that others have attached."""
        for name in [name for name in vars(self) if name.endswith("_") or name in _PRIVATE]:
            delattr(self, name)

    def _fit_first(self, data: TrainingData, order: NDArray[np.int64] | None, rng: np.random.Generator) -> None:
        prototypes, indices = self._start(data, data.present, rng)
        self._set_prototypes(prototypes.astype(data.obs.dtype), indices)
        self._prepare(data)
        self.n_steps_ = 0
        presentations = Presentations(data, self.shuffle) if order is None else None
        epoch = len(data.obs) if presentations is None else presentations.n_steps
        horizon = epoch * self.n_epochs if order is None else len(order)
        self._timing = (horizon, epoch)
        if presentations is not None:
            self._train(data, (presentations.epoch(rng) for _ in range(self.n_epochs)))
        else:
            assert order is not None
            pieces = range(0, len(order), max(epoch, _FEWEST_STEPS))
            self._train(data, (order[first : first + pieces.step] for first in pieces))

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        order: ArrayLike | None = None,
    ) -> Self:
        """Go on learning with one more epoch, of these observations.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.
        y : array_like, shape (n_obs,)
            Labels.
        classes : array_like, optional
            All labels that there will be; needed by the first call unless `y` has them all. A
            class gets its prototypes with its first observations.
        sample_weight : array_like, shape (n_obs,), optional
            As in `fit`.
        order : array_like of int, optional
            As in `fit`.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError, TypeError
            As in `fit`; if a label is not one of `classes`.

        Warns
        -----
        RuntimeWarning
            As in `fit`.

        Notes
        -----
        The schedule goes on where the last call ended, its length being `n_epochs` of the
        first call's data. Rates never fall below a hundredth of the first one.
        """
        if order is not None and sample_weight is not None:
            raise ValueError("order and sample_weight exclude each other: order says what is presented how often")
        before = dict(vars(self))
        try:
            first = not hasattr(self, "prototypes_")
            data = self._data(X, y, sample_weight, first, classes)
            given = None if order is None else as_order(order, len(data.obs))
            rng = as_rng(self.random_state)
            if first:
                self.n_steps_ = 0
            else:
                rng = np.random.default_rng([int(rng.integers(2**32)), self.n_steps_])
            self._add_missing(data, rng, first)
            presentations = Presentations(data, self.shuffle)
            if first:
                self._prepare(data)
                self._timing = (presentations.n_steps * self.n_epochs, presentations.n_steps)
            self._train(data, [presentations.epoch(rng) if given is None else given], _FLOOR)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _add_missing(self, data: TrainingData, rng: np.random.Generator, first: bool) -> None:
        """Prototypes for the classes that are seen for the first time."""
        known = np.zeros(len(self.classes_), dtype=bool)
        if not first:
            known[:] = np.diff(self._starts) > 0
        wanted = data.present & ~known
        if not wanted.any():
            return
        prototypes, indices = self._start(data, wanted, rng)
        prototypes = prototypes.astype(data.obs.dtype)
        if not first:
            prototypes = np.concatenate([self.prototypes_, prototypes])
            indices = np.concatenate([self._class_of_prototype(), indices])
        grouped = np.argsort(indices, kind="stable")
        self._set_prototypes(prototypes[grouped], indices[grouped])
        self._grown(grouped)

    def _grown(self, grouped: NDArray[np.int64]) -> None:
        """Prototypes have been added at the end and then taken in this order."""

    def _set_prototypes(self, prototypes: NDArray[Any], indices: NDArray[np.int64]) -> None:
        self.prototypes_ = prototypes
        self._starts = starts_of(indices, len(self.classes_))
        self.prototype_labels_ = self.classes_[indices]

    def _class_of_prototype(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.classes_)), np.diff(self._starts))

    def _train(self, data: TrainingData, epochs: Any, floor: float = 0.0) -> None:
        """Present every epoch; stop if the prototypes blow up, with those of the epoch before."""
        horizon, epoch = self._timing
        schedule = Schedule(self.schedule, self._first_rate(), horizon, epoch, self.decay, floor)
        training = Training(
            self._rule, data.obs, data.classes, self.prototypes_, self._starts, **self._state(), **self._options()
        )
        centre = data.centre
        spread = np.square(self.prototypes_ - centre).sum(axis=1, dtype=np.float64).max()
        rounding = np.square(centre).sum() * 1e-10
        limit = self.max_drift**2 * max(data.sq_radius, float(spread)) + rounding
        training.watch(centre, limit)
        for rows in epochs:
            training.train(rows, schedule, self.n_steps_)
            if not training.settle():
                warn(
                    f"the prototypes of {type(self).__name__} blew up in the epoch after step {self.n_steps_}: one "
                    f"went more than max_drift={self.max_drift:g} times as far from the mean of X as any observation. "
                    "Those of the epoch before are kept. A smaller learning_rate, init='kmeans' or more prototypes "
                    "help.",
                    RuntimeWarning,
                )
                break
            self.n_steps_ += len(rows)
        self.prototypes_ = training.prototypes()
        self._finish(training)

    def _state(self) -> dict[str, Any]:
        """What a training goes on from, besides the prototypes."""
        return {}

    # ---- prediction --------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "prototypes_"):
            raise not_fitted(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' first.")

    def _observations(self, X: ArrayLike, deferred: bool = False) -> tuple[NDArray[Any], int]:
        """Checked observations (with `deferred`, by `_nearest`) and the number of threads."""
        self._check_fitted()
        workers = resolve_workers(self.workers)
        return as_observations(X, workers, type(self).__name__, self.n_features_in_, deferred), workers

    def _nearest(self, obs: NDArray[Any], workers: int) -> NDArray[np.int32]:
        """Index of the nearest prototype of every observation."""
        codes = np.empty(len(obs), dtype=np.int32)
        book = np.ascontiguousarray(self.prototypes_, dtype=np.float64)
        if not Nearest(obs, len(book), workers).assign(book, codes, check_finite=True):
            raise not_finite("X")
        return codes

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Label of the nearest prototype of every observation.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray, shape (n_obs,)
            Labels; of equally near prototypes the first counts.

        Raises
        ------
        ValueError, TypeError
            If `X` is not finite, or not of the shape of the training data; if the estimator is
            not fitted.
        """
        obs, workers = self._observations(X, deferred=True)
        codes = self._nearest(obs, workers)
        labels = np.empty(len(codes), dtype=self.prototype_labels_.dtype)
        for first in range(0, len(codes), _LABELLED_AT_ONCE):
            part = slice(first, first + _LABELLED_AT_ONCE)
            labels[part] = self.prototype_labels_[codes[part]]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of the observations that get their label.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.
        y : array_like, shape (n_obs,)
            Labels.
        sample_weight : array_like, shape (n_obs,), optional
            Weights of the observations.

        Returns
        -------
        float
            The accuracy.

        Raises
        ------
        ValueError, TypeError
            As in `predict`.
        """
        predicted = self.predict(X)
        labels = as_labels(y, len(predicted), type(self).__name__)
        weights = check_weights(sample_weight, len(predicted))
        return float(np.average(predicted == labels, weights=weights))
