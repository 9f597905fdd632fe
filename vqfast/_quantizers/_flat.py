"""One code book."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._base import as_code_books
from ._product import mean_step
from ._search import Searchable
from ._training import ROUNDS, k_means, nearest_codes


class VectorQuantizer(Searchable):
    """One code book: every observation becomes the index of its nearest code word."""

    _parameters: ClassVar[tuple[str, ...]] = ("n_codes",)

    def __init__(self, n_codes: int = 256, *, rng: Any = None, workers: int | None = None) -> None:
        super().__init__(1, n_codes, rng, workers)

    @classmethod
    def from_code_books(cls, code_books: ArrayLike, *, rng: Any = None, workers: int | None = None) -> Self:
        """A quantizer with a given code book, in a sequence of length one."""
        books = as_code_books(code_books)
        quantizer = cls(books[0].shape[0], rng=rng, workers=workers)
        quantizer._set_given(books)
        return quantizer

    def _check_state(self, code_books: list[NDArray[Any]], extras: dict[str, Any]) -> None:
        if len(code_books) != 1:
            raise ValueError(f"code_books must hold one code book, got {len(code_books)}")

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        book = k_means(obs, self.n_codes, ROUNDS, rng, workers)
        counts = np.bincount(nearest_codes(obs, book, workers), minlength=self.n_codes)
        return {"code_books": [book.astype(obs.dtype)], "counts": [counts.astype(float)]}

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        return nearest_codes(obs, self.code_books[0], workers)[:, None]

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        words: NDArray[Any] = self.code_books[0][codes[:, 0]]
        return words

    def _step(self, obs: NDArray[Any], workers: int) -> dict[str, Any]:
        book, counts = mean_step(obs, self.code_books[0], self.counts[0], workers)
        return {"code_books": [book], "counts": [counts]}
