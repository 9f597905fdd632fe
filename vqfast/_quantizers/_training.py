"""k-means and least squares as the quantizers use them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.lloyd import Means
from .._core.nearest import Nearest
from .._validation import FLOAT64


def nearest_codes(obs: NDArray[Any], book: NDArray[Any], workers: int) -> NDArray[np.int32]:
    """The code of every observation in one code book, exactly."""
    codes = np.empty(obs.shape[0], dtype=np.int32)
    Nearest(obs, book.shape[0], workers).assign(np.require(book, FLOAT64, ["C"]), codes)
    return codes


def k_means(
    obs: NDArray[Any], n_codes: int, n_rounds: int, rng: np.random.Generator, workers: int
) -> NDArray[np.float64]:
    """A code book by rounds of Lloyd's algorithm from different observations.

    Words that lose all members move to the observations farthest from theirs.
    """
    book = np.array(obs[rng.choice(obs.shape[0], n_codes, replace=False)], dtype=FLOAT64)
    return lloyd_rounds(obs, book, n_rounds, workers)


def lloyd_rounds(obs: NDArray[Any], book: NDArray[np.float64], n_rounds: int, workers: int) -> NDArray[np.float64]:
    """The book after so many rounds; it is overwritten."""
    search = Nearest(obs, book.shape[0], workers, rounds=n_rounds)
    means = Means(search)
    codes, members = np.zeros(obs.shape[0], dtype=np.int32), np.empty(book.shape[0], dtype=bool)
    follow = False
    for _ in range(n_rounds):
        search.assign(book, codes, follow=follow)
        n_empty = means.update(codes, book, members)
        follow = True
        if n_empty and refill(search, book, codes, members):
            follow = False
        elif means.n_moved == 0:
            break
    return book


def refill(search: Nearest, book: NDArray[np.float64], codes: NDArray[np.int32], members: NDArray[np.bool_]) -> bool:
    """Move the words without members to the observations that are farthest from their words."""
    dist = np.empty(codes.size)
    search.assign(book, codes, dist)
    empty = np.flatnonzero(~members)
    farthest = np.argsort(-dist, kind="stable")[: empty.size]
    farthest = farthest[dist[farthest] > 0]
    book[empty[: farthest.size]] = search.array[farthest]
    return farthest.size > 0
