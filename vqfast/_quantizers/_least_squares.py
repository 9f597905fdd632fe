"""The code books that fit given codes best: the update step of residual and additive training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.additive import SumBooks
from .._core.least_squares import add_normal_equations
from .._validation import FLOAT64

# Rows that a pass over the training set works on at once.
CHUNK_ROWS = 1 << 14

# The normal equations take 8 n_words^2 bytes, 512 MiB at the most; beyond, the books are
# improved in turn.
MOST_JOINT_WORDS = 8192

# Words in a block of the factorisation: a product of two with the rest takes 0.2 s at most.
_BLOCK = 1024

# Weight, in observations, that keeps a code word where it is: the equations have no unique
# solution, as a constant can move from book to book, and none for a word that nobody uses.
_RIDGE = 1e-2


class NormalEquations:
    """What is known of the joint least-squares problem after some observations."""

    def __init__(self, n_books: int, n_codes: int, shift: NDArray[np.float64], workers: int) -> None:
        n_words = n_books * n_codes
        self.shift = shift
        self.workers = workers
        self.counts = np.zeros((n_words, n_words))
        self.sums = np.zeros((n_books, n_codes, shift.size))

    def add(self, obs: NDArray[Any], codes: NDArray[np.uint16], weights: NDArray[np.float64] | None = None) -> None:
        """Some more observations with their tuples (n_obs, n_kept, n_books)."""
        add_normal_equations(obs, codes, weights, self.shift, self.sums, self.counts, self.workers)

    def word_counts(self) -> NDArray[np.float64]:
        """How many observations use each code word, (n_books, n_codes)."""
        return self.counts.diagonal().reshape(self.sums.shape[:2]).copy()

    def solve(self, code_books: NDArray[np.float64]) -> NDArray[np.float64]:
        """The code books with the least squared error, near the ones before. Can be done once."""
        centred = code_books.copy()
        centred[0] -= self.shift
        solution = _solve(self.counts, self.sums + _RIDGE * centred, np.full(len(self.counts), _RIDGE))
        solution[0] += self.shift
        return solution


def _solve(counts: NDArray[np.float64], sums: NDArray[np.float64], ridge: NDArray[np.float64]) -> NDArray[np.float64]:
    """(counts + diag(ridge)) X = sums, from the upper triangle of counts, which is overwritten.

    Cholesky factorisation by blocks, so that no call of LAPACK takes longer than a signal may
    wait.
    """
    from scipy.linalg import cho_factor, solve_triangular

    n_words = len(counts)
    counts.flat[:: n_words + 1] += ridge
    blocks = [slice(first, min(n_words, first + _BLOCK)) for first in range(0, n_words, _BLOCK)]
    for b, own in enumerate(blocks):
        lower = np.asfortranarray(counts[own, own].T)
        counts[own, own] = cho_factor(lower, lower=True, overwrite_a=True, check_finite=False)[0].T
        rest = slice(own.stop, None)
        if own.stop < n_words:
            counts[own, rest] = solve_triangular(counts[own, own], counts[own, rest], trans=1, check_finite=False)
        for later in blocks[b + 1 :]:
            counts[later, later.start :] -= counts[own, later].T @ counts[own, later.start :]
    solution = sums.reshape(n_words, -1)
    for transposed in (1, 0):
        solution = solve_triangular(counts, solution, trans=transposed, check_finite=False)
    return np.asarray(solution, dtype=FLOAT64, order="C").reshape(sums.shape)


def mean_of(obs: NDArray[Any], workers: int) -> NDArray[np.float64]:
    """The mean observation, added up in the order of the rows, whatever the layout of the array."""
    n_features = obs.shape[1]
    sums, codes = np.zeros((1, 1, n_features)), np.zeros((CHUNK_ROWS, 1, 1), dtype=np.uint16)
    for first in range(0, obs.shape[0], CHUNK_ROWS):
        rows = obs[first : first + CHUNK_ROWS]
        add_normal_equations(rows, codes[: rows.shape[0]], None, np.zeros(n_features), sums, None, workers)
    mean: NDArray[np.float64] = sums[0, 0] / obs.shape[0]
    return mean


def refit(
    obs: NDArray[Any],
    codes: NDArray[np.uint16],
    code_books: NDArray[np.float64],
    shift: NDArray[np.float64],
    workers: int,
) -> NDArray[np.float64]:
    """Code books with less squared error for the codes (n_obs, n_books): the least, if that can be had."""
    n_books, n_codes = code_books.shape[:2]
    if n_books * n_codes > MOST_JOINT_WORDS:
        return moved_in_turn(obs, codes, code_books, np.full((n_books, n_codes), _RIDGE), workers)
    equations = NormalEquations(n_books, n_codes, shift, workers)
    equations.add(obs, np.ascontiguousarray(codes)[:, None])
    return equations.solve(code_books)


def moved(
    obs: NDArray[Any],
    codes: NDArray[np.uint16],
    code_books: NDArray[np.float64],
    counts: NDArray[np.float64],
    workers: int,
) -> NDArray[np.float64]:
    """Code books that stand for `counts` observations of each word, after some more of them."""
    n_books, n_codes = code_books.shape[:2]
    if n_books * n_codes > MOST_JOINT_WORDS:
        return moved_in_turn(obs, codes, code_books, counts + _RIDGE, workers)
    equations = NormalEquations(n_books, n_codes, np.zeros(code_books.shape[2]), workers)
    for rows, rest in _what_is_left(obs, codes, code_books, workers):
        equations.add(rest, codes[rows, None])
    return code_books + _solve(equations.counts, equations.sums, (counts + _RIDGE).ravel())


def moved_in_turn(
    obs: NDArray[Any],
    codes: NDArray[np.uint16],
    code_books: NDArray[np.float64],
    counts: NDArray[np.float64],
    workers: int,
) -> NDArray[np.float64]:
    """As `moved`, one book after another: no step raises the error, nor is it the best one."""
    books, still = code_books.copy(), np.zeros(code_books.shape[2])
    for m, book in enumerate(books):
        sums = np.zeros((1, *book.shape))
        own = np.ascontiguousarray(codes[:, None, m : m + 1])
        for rows, rest in _what_is_left(obs, codes, books, workers):
            add_normal_equations(rest, own[rows], None, still, sums, None, workers)
        n_members = np.bincount(codes[:, m], minlength=len(book))
        book += sums[0] / (n_members + counts[m])[:, None]
    return books


def _what_is_left(obs: NDArray[Any], codes: NDArray[np.uint16], code_books: NDArray[np.float64], workers: int) -> Any:
    """Chunks of rows, and the observations there less the vectors of their codes."""
    books = SumBooks(code_books, False, workers)
    for first in range(0, obs.shape[0], CHUNK_ROWS):
        rows = slice(first, first + CHUNK_ROWS)
        vectors = np.empty(obs[rows].shape)
        books.decode(codes[rows], vectors)
        yield rows, np.subtract(obs[rows], vectors, dtype=FLOAT64)
