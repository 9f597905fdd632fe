"""Kohonen's online rules: LVQ1, OLVQ1, LVQ2.1 and LVQ3."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.lvq import WHEN_CORRECT, Training
from .base import DistanceClassifier, check_number

_WINDOW_ON = ("distance", "squared_distance")


class LVQ1(DistanceClassifier):
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


class OLVQ1(DistanceClassifier):
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


class LVQ21(_Pairs):
    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.03,
        schedule: str = "linear",
        decay: float = 0.5,
        window: float = 0.3,
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


class LVQ3(_Pairs):
    def __init__(
        self,
        n_prototypes: Any = 1,
        *,
        init: Any = "kmeans",
        n_epochs: int = 10,
        learning_rate: float = 0.03,
        schedule: str = "linear",
        decay: float = 0.5,
        window: float = 0.3,
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
