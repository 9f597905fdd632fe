"""Models whose confidence is a comparison of distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.lvq import class_sq_dists
from .base import LVQClassifier


class DistanceClassifier(LVQClassifier):
    """Models whose confidence is a comparison of distances."""

    def _class_sq_dists(self, obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
        book = np.ascontiguousarray(self.prototypes_, dtype=np.float64)
        return class_sq_dists(obs, book, self._starts, workers)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """How much nearer each class is than the others, from -1 to 1.

        Parameters
        ----------
        X : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray of float64, shape (n_obs, n_classes) or (n_obs,)
            ``(other - own) / (other + own)``, with the squared distances to the nearest
            prototype of the class and to the nearest one of all others. For two classes it is
            a vector, that of the second class.

        Raises
        ------
        ValueError, TypeError
            As in `predict`.
        """
        obs, workers = self._observations(X)
        margins = relative_margins(self._class_sq_dists(obs, workers))
        return margins[:, -1].copy() if margins.shape[1] <= 2 else margins


def relative_margins(sq_dists: NDArray[np.float64]) -> NDArray[np.float64]:
    """(other - own) / (other + own) for the squared distances (n_obs, n_classes) to each class."""
    n_obs, n_classes = sq_dists.shape
    if n_classes == 1:
        return np.ones((n_obs, 1))
    rows, nearest = np.arange(n_obs), sq_dists.argmin(axis=1)
    best = sq_dists[rows, nearest]
    rest = sq_dists.copy()
    rest[rows, nearest] = np.inf
    others = np.repeat(best[:, None], n_classes, axis=1)
    others[rows, nearest] = rest.min(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        total = others + sq_dists
        margins = np.where(total > 0, (others - sq_dists) / np.where(total > 0, total, 1), 0.0)
    margins[np.isinf(sq_dists)] = -1
    margins[np.isinf(others) & np.isfinite(sq_dists)] = 1
    return margins
