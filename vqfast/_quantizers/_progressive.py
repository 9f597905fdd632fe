"""k-means of many features that begins with few principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import FLOAT64
from ._training import k_means, lloyd_rounds

# Components that code words are trained among, one after another, and rounds with each; then
# rounds with all features.
_COMPONENTS = (4, 8, 16, 32)
_ROUNDS, _LAST_ROUNDS = 6, 5

# Observations that the components are computed from, at most, and passes over them.
_MOST_ROWS = 1 << 13
_PASSES = 2


def progressive_k_means(obs: NDArray[Any], n_codes: int, rng: np.random.Generator, workers: int) -> NDArray[np.float64]:
    """A code book by k-means among few principal components first, then among more.

    Where there are few of them code words find good places from different observations, and
    seldom leave them later: eight books for the residuals of SIFT descriptors leave 5 % less
    error than twelve rounds with all features from the beginning, in about the same time [1]_.

    References
    ----------
    .. [1] S. Liu, H. Lu, J. Shao, "Improved residual vector quantization for high-dimensional
       approximate nearest neighbor search", arXiv:1509.05195 (2015).
    """
    steps = [n for n in _COMPONENTS if 2 * n <= obs.shape[1]]
    if not steps:
        return k_means(obs, n_codes, (len(_COMPONENTS) + 1) * _ROUNDS, rng, workers)
    mean, axes = _principal_axes(obs, steps[-1], rng)
    components = obs @ axes.astype(obs.dtype)
    centre = mean @ axes
    book = np.array(components[rng.choice(obs.shape[0], n_codes, replace=False)], dtype=FLOAT64)
    for n, before in zip(steps, [steps[0], *steps], strict=False):
        book[:, before:] = centre[before:]
        rows = np.ascontiguousarray(components[:, :n])
        book[:, :n] = lloyd_rounds(rows, np.ascontiguousarray(book[:, :n]), _ROUNDS, workers)
    return lloyd_rounds(obs, (book - centre) @ axes.T + mean, _LAST_ROUNDS, workers)


def _principal_axes(
    obs: NDArray[Any], n_axes: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean, and the first principal axes (n_features, n_axes), nearly, by subspace iteration."""
    if obs.shape[0] > _MOST_ROWS:
        obs = obs[np.sort(rng.choice(obs.shape[0], _MOST_ROWS, replace=False))]
    mean = obs.mean(axis=0, dtype=FLOAT64)
    centred = obs - mean
    axes = rng.normal(size=(obs.shape[1], n_axes))
    for _ in range(_PASSES):
        axes = np.linalg.qr(centred.T @ (centred @ axes))[0]
    components = centred @ axes
    turn = np.linalg.eigh(components.T @ components)[1]
    return mean, np.ascontiguousarray((axes @ turn)[:, ::-1])
