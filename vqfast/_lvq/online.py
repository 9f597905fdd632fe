"""Kohonen's online rules: LVQ1, OLVQ1, LVQ2.1 and LVQ3."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.lvq import WHEN_CORRECT, Training
from .margins import DistanceClassifier
from .parameters import check_number, completed

_WINDOW_ON = ("distance", "squared_distance")


@completed
class LVQ1(DistanceClassifier):
    """LVQ1: the nearest prototype is attracted if right, repelled if wrong.

    The classic rule. `OLVQ1` learns faster; `RSLVQ`, or `OLVQ1` followed by `LVQ21`, more
    accurately.

    Notes
    -----
    For an observation x whose nearest prototype is w, at rate a::

        w += a (x - w)    if w has the label of x
        w -= a (x - w)    otherwise

    A step takes O(n_prototypes n_features) time; memory besides the input is 60 bytes an
    observation, some copies of the prototypes and, for a k-means start of several prototypes,
    a copy of one class at a time.

    References
    ----------
    .. [1] T. Kohonen, "The self-organizing map", Proceedings of the IEEE 78 (1990) 1464-1480.
    .. [2] T. Kohonen, "Self-Organizing Maps", 3rd edition, Springer (2001).

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import LVQ1
    >>> X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [6.0, 5.0], [5.0, 6.0]])
    >>> y = ["low", "low", "low", "high", "high", "high"]
    >>> model = LVQ1(random_state=0).fit(X, y)
    >>> model.predict([[1.0, 1.0], [4.0, 5.0]]).tolist()
    ['low', 'high']
    >>> model.prototype_labels_.tolist()
    ['high', 'low']
    """

    _rule = "lvq1"

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.03,
        schedule: str = "linear",
        decay: float = 0.5,
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
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers


@completed
class OLVQ1(DistanceClassifier):
    """OLVQ1: LVQ1 with a rate of its own for every prototype.

    Settles within a few epochs and needs no schedule: the first model to try among the
    classic rules, best followed by `LVQ21`.

    Parameters
    ----------
    learning_rate : float, optional
        Rate of every prototype at first, and at most, in (0, 0.5].

    Attributes
    ----------
    learning_rates_ : ndarray, shape (n_prototypes,)
        Rates of the prototypes at the end.

    Notes
    -----
    As `LVQ1`, with the rate a of the nearest prototype, which afterwards becomes
    ``a / (1 + a)`` if the prototype was right and ``min(learning_rate, a / (1 - a))`` if it
    was wrong: so that all observations weigh the same in its place, however late they came.

    From a start where most nearest prototypes are wrong, as with few random observations of
    many classes, repulsion beats attraction and the rule diverges; k-means starts do not.

    A step takes O(n_prototypes n_features) time; memory besides the input is 60 bytes an
    observation, some copies of the prototypes and, for a k-means start of several prototypes,
    a copy of one class at a time.

    References
    ----------
    .. [1] T. Kohonen, J. Hynninen, J. Kangas, J. Laaksonen, K. Torkkola, "LVQ_PAK: the learning
       vector quantization program package", Helsinki University of Technology, report A30
       (1996).
    .. [2] T. Kohonen, "Self-Organizing Maps", 3rd edition, Springer (2001).

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import LVQ21, OLVQ1
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(4, 1, (50, 2))])
    >>> y = np.repeat([0, 1], 50)
    >>> LVQ21(init=OLVQ1(3), random_state=0).fit(X, y).score(X, y) > 0.97
    True
    """

    _rule = "olvq1"
    schedule = "constant"
    decay = 1.0

    learning_rates_: NDArray[np.float64]

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.3,
        shuffle: bool = True,
        max_drift: float = 2.0,
        random_state: Any = None,
        workers: int | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.init = init
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers

    def _check_rule(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, 0.5)

    def _prepare(self, data: Any) -> None:
        self.learning_rates_ = np.full(len(self.prototypes_), self._first_rate())

    def _grown(self, grouped: NDArray[np.int64]) -> None:
        if hasattr(self, "learning_rates_"):
            new = np.full(len(grouped) - len(self.learning_rates_), self._first_rate())
            self.learning_rates_ = np.concatenate([self.learning_rates_, new])[grouped]

    def _options(self) -> dict[str, Any]:
        return {"rate": self._first_rate()}

    def _state(self) -> dict[str, Any]:
        return {"rates": self.learning_rates_}

    def _finish(self, training: Training) -> None:
        self.learning_rates_ = training.rates()


class _Pairs(DistanceClassifier):
    """The rules that compare the two nearest prototypes."""

    _rule = "pairs"

    window: float
    window_on: str
    when_correct: str

    def _check_rule(self) -> None:
        super()._check_rule()
        check_number("window", self.window, 0, 1)
        if self.window_on not in _WINDOW_ON:
            raise ValueError(f"window_on must be one of {sorted(_WINDOW_ON)}, got {self.window_on!r}")
        if self.when_correct not in WHEN_CORRECT:
            raise ValueError(f"when_correct must be one of {sorted(WHEN_CORRECT)}, got {self.when_correct!r}")

    def _options(self) -> dict[str, Any]:
        ratio = (1 - self.window) / (1 + self.window)
        squared = self.window_on == "squared_distance"
        return {"window": ratio if squared else ratio * ratio, "when_correct": self.when_correct}


@completed
class LVQ21(_Pairs):
    """LVQ2.1: the two nearest prototypes move the border between them.

    For the last touch after `OLVQ1` or `LVQ1`, as in ``LVQ21(init=OLVQ1(3))``; with
    ``when_correct='keep'`` it is LVQ2.

    Notes
    -----
    Let i be the nearest prototype and j the next one. If exactly one of them has the label of
    the observation x and both are inside the window, at rate a::

        w += a (x - w)    for the right one
        w -= a (x - w)    for the wrong one

    A wide window at a high rate drives prototypes apart for as long as it lasts, which `LVQ3`
    lessens; hence the default window, narrower than the 0.2 to 0.3 of the literature. Three or
    more prototypes of each class stand higher rates: 0.1.

    A step takes O(n_prototypes n_features) time; memory besides the input is 60 bytes an
    observation, some copies of the prototypes and, for a k-means start of several prototypes,
    a copy of one class at a time.

    References
    ----------
    .. [1] T. Kohonen, "Improved versions of learning vector quantization", International Joint
       Conference on Neural Networks 1 (1990) 545-550.
    .. [2] A. Witoelar, A. Ghosh, J. J. G. de Vries, B. Hammer, M. Biehl, "Window-based example
       selection in learning vector quantization", Neural Computation 22 (2010) 2924-2961.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import LVQ21, OLVQ1
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> LVQ21(init=OLVQ1(), random_state=0).fit(X, y).predict([[2.2], [2.8]])
    array([0, 1])
    """

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.03,
        schedule: str = "linear",
        decay: float = 0.5,
        window: float = 0.1,
        window_on: str = "distance",
        when_correct: str = "pair",
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
        self.window = window
        self.window_on = window_on
        self.when_correct = when_correct
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers


@completed
class LVQ3(_Pairs):
    """LVQ3: LVQ2.1 that also attracts the two nearest when both are right.

    More stable than `LVQ21` where there are several prototypes for each class.

    Parameters
    ----------
    epsilon : float, optional
        Share of the rate, in (0, 1], by which both move when both are right.

    Notes
    -----
    Let i be the nearest prototype and j the next one. If exactly one of them has the label of
    the observation x and both are inside the window, at rate a::

        w += a (x - w)    for the right one
        w -= a (x - w)    for the wrong one

    If both have the label of x, both are attracted at rate ``epsilon a``, in or out of the
    window.

    A step takes O(n_prototypes n_features) time; memory besides the input is 60 bytes an
    observation, some copies of the prototypes and, for a k-means start of several prototypes,
    a copy of one class at a time.

    References
    ----------
    .. [1] T. Kohonen, "The self-organizing map", Proceedings of the IEEE 78 (1990) 1464-1480.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import LVQ3
    >>> prototypes, labels = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]]), ["a", "a", "b"]
    >>> model = LVQ3(init=(prototypes, labels), learning_rate=0.1, schedule="constant", epsilon=0.5)
    >>> model.fit([[0.5, 1.0], [9.0, 9.0]], ["a", "b"], order=[0]).prototypes_
    array([[0.025, 0.05 ],
           [0.975, 0.05 ],
           [4.   , 0.   ]])
    """

    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.03,
        schedule: str = "linear",
        decay: float = 0.5,
        window: float = 0.1,
        window_on: str = "distance",
        epsilon: float = 0.1,
        when_correct: str = "pair",
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
        self.window = window
        self.window_on = window_on
        self.epsilon = epsilon
        self.when_correct = when_correct
        self.shuffle = shuffle
        self.max_drift = max_drift
        self.random_state = random_state
        self.workers = workers

    def _check_rule(self) -> None:
        super()._check_rule()
        check_number("epsilon", self.epsilon, 0, 1)

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "epsilon": self.epsilon}
