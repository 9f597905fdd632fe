"""Code books side by side: each quantizes some of the features."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import FLOAT64, as_array
from ._base import Quantizer, as_code_books, as_count
from ._training import k_means, nearest_codes


class ProductQuantizer(Quantizer):
    """Several code books side by side, each for some of the features."""

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes", "rotation")
    _extras: ClassVar[tuple[str, ...]] = ("rotation_matrix",)

    rotation: str | None
    rotation_matrix: NDArray[np.float64] | None

    def __init__(
        self,
        n_code_books: int,
        n_codes: int = 256,
        *,
        rotation: str | None = None,
        rng: Any = None,
        workers: int | None = None,
    ) -> None:
        super().__init__(n_code_books, n_codes, rng, workers)
        if rotation not in (None, "opq"):
            raise ValueError(f"rotation must be None or 'opq', got {rotation!r}")
        self.rotation = rotation
        self.rotation_matrix = None

    @classmethod
    def from_code_books(
        cls,
        code_books: ArrayLike,
        *,
        rotation_matrix: ArrayLike | None = None,
        rng: Any = None,
        workers: int | None = None,
    ) -> Self:
        """A quantizer with given code books, for the features in their order."""
        books = as_code_books(code_books)
        n_features = sum(book.shape[1] for book in books)
        matrix = None
        if rotation_matrix is not None:
            matrix = np.array(as_array(rotation_matrix, "rotation_matrix"), dtype=FLOAT64, order="C")
            if matrix.shape != (n_features, n_features):
                raise ValueError(f"rotation_matrix must have shape {(n_features,) * 2}, got {matrix.shape}")
            if not np.allclose(matrix @ matrix.T, np.eye(n_features), atol=1e-6):
                raise ValueError("rotation_matrix must be orthogonal")
        rotation = None if matrix is None else "opq"
        quantizer = cls(len(books), books[0].shape[0], rotation=rotation, rng=rng, workers=workers)
        quantizer._set_given(books, rotation_matrix=matrix)
        return quantizer

    @property
    def n_features(self) -> int:
        """Features of an observation."""
        self._check_fitted()
        return sum(book.shape[1] for book in self.code_books)

    @property
    def splits(self) -> list[slice]:
        """The features (after the rotation, if there is one) of each code book."""
        self._check_fitted()
        return slices_of([book.shape[1] for book in self.code_books])

    def _check_for_fit(self, obs: NDArray[Any]) -> None:
        super()._check_for_fit(obs)
        if obs.shape[1] < self.n_code_books:
            raise ValueError(
                f"obs must have at least n_code_books={self.n_code_books} features (columns), got shape {obs.shape}"
            )

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        matrix = None
        rows = obs if matrix is None else rotated(obs, matrix)
        books, counts = [], []
        for columns, child in zip(
            even_splits(obs.shape[1], self.n_code_books), rng.spawn(self.n_code_books), strict=True
        ):
            book = k_means(rows[:, columns], self.n_codes, 25, child, workers)
            codes = nearest_codes(rows[:, columns], book, workers)
            books.append(book.astype(obs.dtype))
            counts.append(np.bincount(codes, minlength=self.n_codes).astype(float))
        return {"code_books": books, "counts": counts, "rotation_matrix": matrix}

    def _rotated(self, obs: NDArray[Any]) -> NDArray[Any]:
        return obs if self.rotation_matrix is None else rotated(obs, self.rotation_matrix)

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        rows = self._rotated(obs)
        codes = np.empty((obs.shape[0], self.n_code_books), dtype=self.code_dtype)
        for m, columns in enumerate(self.splits):
            codes[:, m] = nearest_codes(rows[:, columns], self.code_books[m], workers)
        return codes

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        rows = np.empty((codes.shape[0], self.n_features), dtype=self.dtype)
        for m, columns in enumerate(self.splits):
            rows[:, columns] = self.code_books[m][codes[:, m]]
        return rows if self.rotation_matrix is None else rotated(rows, self.rotation_matrix.T)

    def _step(self, obs: NDArray[Any], workers: int) -> dict[str, Any]:
        rows = self._rotated(obs)
        pairs = [
            mean_step(rows[:, columns], self.code_books[m], self.counts[m], workers)
            for m, columns in enumerate(self.splits)
        ]
        return {"code_books": [book for book, _ in pairs], "counts": [counts for _, counts in pairs]}


def even_splits(n_features: int, n_parts: int) -> list[slice]:
    """The features in consecutive parts; the first ones are one longer if they do not divide."""
    as_count(n_parts, "n_code_books", 1, n_features)
    each, longer = divmod(n_features, n_parts)
    return slices_of([each + (m < longer) for m in range(n_parts)])


def slices_of(widths: list[int]) -> list[slice]:
    """Consecutive slices of given lengths."""
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]


def rotated(obs: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    """obs @ matrix, each sum in the order of the features, in the type of obs."""
    total = np.zeros((obs.shape[0], matrix.shape[1]))
    for j in range(obs.shape[1]):
        total += obs[:, j, None].astype(FLOAT64) * matrix[j]
    return total.astype(obs.dtype)


def mean_step(
    obs: NDArray[Any], book: NDArray[Any], counts: NDArray[np.float64], workers: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A code book whose words are means of `counts` observations, after some more of them."""
    codes = nearest_codes(obs, book, workers)
    added = np.bincount(codes, minlength=book.shape[0])
    sums = np.zeros(book.shape)
    np.add.at(sums, codes, obs)
    total = counts + added
    weight = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    moved = book + (sums - added[:, None] * book.astype(FLOAT64)) * weight[:, None]
    return moved.astype(book.dtype), total
