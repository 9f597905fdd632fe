"""The rotation before a product quantizer, by alternating Procrustes problems."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.least_squares import add_normal_equations, rotate
from .._validation import FLOAT64
from ._training import k_means, part_codes

# Observations that the rotation is trained on, at most.
_MOST_ROWS = 1 << 16

# Rounds of k-means before the first rotation, and rotations with a step of k-means each.
_FIRST_ROUNDS = 8
_STEPS = 20


def opq(
    obs: NDArray[Any],
    parts: list[slice],
    n_codes: int,
    rngs: list[np.random.Generator],
    workers: int,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """A rotation, and code books of the rotated parts, that leave a small error.

    From no rotation on, code books and rotation are improved in turn: the code words move to
    the means of their members, and the rotation becomes the best one for the codes, U V of the
    singular value decomposition of X^T X^, X^ being the decoded codes. The generators are one
    for each part and one for the choice of observations.
    """
    if obs.shape[0] > _MOST_ROWS:
        obs = obs[np.sort(rngs[-1].choice(obs.shape[0], _MOST_ROWS, replace=False))]
    obs = np.ascontiguousarray(obs)
    n_features = obs.shape[1]
    matrix = np.eye(n_features)
    books = [
        k_means(obs[:, columns], n_codes, _FIRST_ROUNDS, rng, workers)
        for columns, rng in zip(parts, rngs[:-1], strict=True)
    ]
    best: tuple[float, NDArray[np.float64], list[NDArray[np.float64]]] | None = None
    sq_sum = float(np.square(obs, dtype=FLOAT64).sum())
    for _ in range(_STEPS + 1):
        rows = obs @ matrix.astype(obs.dtype)
        cross, error = np.empty((n_features, n_features)), sq_sum
        all_codes = part_codes(rows, parts, books, np.dtype(np.uint16), workers)
        for m, columns in enumerate(parts):
            codes = np.ascontiguousarray(all_codes[:, m])
            sums = np.zeros((1, n_codes, n_features))
            add_normal_equations(obs, codes[:, None, None], None, np.zeros(n_features), sums, None, workers)
            counts = np.bincount(codes, minlength=n_codes)[:, None]
            means = sums[0] @ matrix[:, columns] / np.maximum(counts, 1)
            books[m] = np.where(counts > 0, means, books[m])
            cross[:, columns] = sums[0].T @ books[m]
            error += float((counts * np.square(books[m])).sum()) - 2 * float((means * counts * books[m]).sum())
        if best is None or error < best[0]:
            best = error, matrix, [book.copy() for book in books]
        u, _, v = np.linalg.svd(cross)
        matrix = u @ v
    assert best is not None
    return best[1], best[2]


def even_splits(n_features: int, n_parts: int) -> list[slice]:
    """The features in consecutive parts; the first ones are one longer if they do not divide."""
    each, longer = divmod(n_features, n_parts)
    return slices_of([each + (m < longer) for m in range(n_parts)])


def slices_of(widths: list[int]) -> list[slice]:
    """Consecutive slices of given lengths."""
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]


def rotated(obs: NDArray[Any], matrix: NDArray[np.float64], workers: int) -> NDArray[Any]:
    """obs @ matrix, each sum in float64 in the order of the features, in the type of obs."""
    products = np.empty((obs.shape[0], matrix.shape[1]), dtype=obs.dtype)
    rotate(obs, np.ascontiguousarray(matrix), products, workers)
    return products
