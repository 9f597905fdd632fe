"""Code books one after another: each quantizes what the ones before left over."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import FLOAT64
from ._base import Quantizer, as_code_books, as_count, check_equal_widths
from ._training import k_means, nearest_codes


class ResidualQuantizer(Quantizer):
    """Several code books one after another, each for what the ones before left over."""

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes", "beam")

    def __init__(
        self,
        n_code_books: int,
        n_codes: int = 256,
        *,
        beam: int = 5,
        rng: Any = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(n_code_books, n_codes, rng, workers)
        self.beam = as_count(beam, "beam", 1)

    @classmethod
    def from_code_books(
        cls, code_books: ArrayLike, *, beam: int = 5, rng: Any = None, workers: int | None = None
    ) -> Self:
        """A quantizer with given code books, in their order."""
        books = as_code_books(code_books)
        check_equal_widths(books)
        quantizer = cls(len(books), books[0].shape[0], beam=beam, rng=rng, workers=workers)
        quantizer._set_given(books)
        return quantizer

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        residuals, books, counts = obs.copy(), [], []
        for child in rng.spawn(self.n_code_books):
            book = k_means(residuals, self.n_codes, 10, child, workers).astype(obs.dtype)
            codes = nearest_codes(residuals, book, workers)
            residuals -= book[codes]
            books.append(book)
            counts.append(np.bincount(codes, minlength=self.n_codes).astype(float))
        return {"code_books": books, "counts": counts}

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        residuals = obs.astype(FLOAT64)
        codes = np.empty((obs.shape[0], self.n_code_books), dtype=self.code_dtype)
        for m, book in enumerate(self.code_books):
            codes[:, m] = nearest_codes(residuals, book, workers)
            residuals -= book[codes[:, m]]
        return codes

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        total = np.zeros((codes.shape[0], self.n_features))
        for m, book in enumerate(self.code_books):
            total += book[codes[:, m]]
        return total.astype(self.dtype)
