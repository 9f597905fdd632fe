"""What residual and additive quantizers share: vectors that are sums of code words."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._core.additive import SumBooks
from .._validation import FLOAT32, FLOAT64
from ._base import check_equal_widths
from ._least_squares import moved
from ._search import Searchable


class SumQuantizer(Searchable):
    """The common base of quantizers whose code words are added."""

    _words_are_added = True

    # Whether the books are searched one after another.
    _ordered: ClassVar[bool] = False
    # Mean squared error on the training set after each step of the last fit.
    training_distortions: list[float]

    def _check_state(self, code_books: list[NDArray[Any]], extras: dict[str, Any]) -> None:
        check_equal_widths(code_books)

    def _search(self, books: SumBooks, obs: NDArray[Any], codes: NDArray[np.uint16]) -> None:
        """Write the codes of the observations."""
        raise NotImplementedError

    def _sum_books(self, workers: int) -> SumBooks:
        books = np.array(self.code_books, dtype=FLOAT64)
        return SumBooks(books, self.dtype == FLOAT32, workers, ordered=self._ordered)

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        codes = np.empty((obs.shape[0], self.n_code_books), dtype=np.uint16)
        self._search(self._sum_books(workers), obs, codes)
        return codes

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        obs = np.empty((codes.shape[0], self.n_features), dtype=self.dtype)
        self._sum_books(workers).decode(np.require(codes, np.uint16, ["C"]), obs)
        return obs

    def _step(self, obs: NDArray[Any], workers: int) -> dict[str, Any]:
        codes = self._encode(obs, workers)
        counts = np.array(self.counts)
        books = moved(obs, codes, np.array(self.code_books, dtype=FLOAT64), counts, workers)
        return {"code_books": list(books.astype(self.dtype)), "counts": list(counts + used(codes, self.n_codes))}


def used(codes: NDArray[Any], n_codes: int) -> NDArray[np.float64]:
    """How often each word of each book occurs."""
    return np.array([np.bincount(column, minlength=n_codes) for column in codes.T], dtype=FLOAT64)


def errors_of(
    books: NDArray[np.float64], narrow: bool, obs: NDArray[Any], codes: NDArray[np.uint16], workers: int
) -> NDArray[np.float64]:
    """Squared errors of the observations with given codes."""
    errors = np.empty(obs.shape[0])
    SumBooks(books, narrow, workers).sq_errors(obs, codes, errors)
    return errors
