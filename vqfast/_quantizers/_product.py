"""Code books side by side: each quantizes some of the features."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import FLOAT64, as_array
from ._base import as_code_books
from ._opq import even_splits, opq, rotated, slices_of
from ._search import Searchable
from ._training import ROUNDS, k_means, lloyd_rounds, nearest_codes, part_codes


class ProductQuantizer(Searchable):
    """Several code books side by side, each for some of the features.

    Parameters
    ----------
    n_code_books : int
        The number of parts that the features are cut into, in their order; the first ones are
        one longer if it does not divide them.
    n_codes : int, optional
        The number of code words of each book, from 2 to 65536.
    rotation : {None, 'opq'}, optional
        Whether to train a rotation before the cut. It pays where the order of the features
        means nothing or their variances differ.
    rng : {None, int, Generator, ...}, optional
        Passed to ``numpy.random.default_rng`` by `fit`: the observations that the code words
        start from.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. No result depends on it.

    Attributes
    ----------
    code_books : list of ndarray, each of shape (n_codes, n_features_of_book)
        The code words: float32 if trained on float32, otherwise float64.
    counts : list of ndarray, each of shape (n_codes,)
        How many observations stand behind each code word.
    splits : list of slice
        The features of each code book.
    rotation_matrix : ndarray, shape (n_features, n_features), or None
        Observations times this matrix are what the code books are for.

    See Also
    --------
    AdditiveQuantizer : about 0.6 of the error, at 60 times the time to encode.

    Notes
    -----
    `fit` runs 15 rounds of k-means in each part. With a rotation, 21 times before that the code
    words move to their means and the rotation to the solution of the Procrustes problem, an SVD
    of an n_features square matrix, on at most 65536 observations; the best is kept [2]_.
    `encode` is exact as `vq` is and takes O(n_codes n_features); O(n_features^2) more with
    a rotation. Memory besides input and output: a copy of the rotated observations in `fit`,
    of 32768 rows in `encode`.

    References
    ----------
    .. [1] H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search",
       IEEE Transactions on Pattern Analysis and Machine Intelligence 33 (2011) 117-128.
    .. [2] T. Ge, K. He, Q. Ke, J. Sun, "Optimized product quantization for approximate nearest
       neighbor search", CVPR 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import ProductQuantizer
    >>> obs = np.random.default_rng(0).normal(size=(1000, 8)).astype("f4")
    >>> quantizer = ProductQuantizer(4, 16, rng=0).fit(obs)
    >>> codes = quantizer.encode(obs)
    >>> codes.shape, codes.dtype
    ((1000, 4), dtype('uint8'))
    >>> quantizer.decode(codes).dtype
    dtype('float32')
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes", "rotation")
    _extras: ClassVar[tuple[str, ...]] = ("rotation_matrix",)
    _encode_checks: ClassVar[bool] = True

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
        """A quantizer with given code books, for the features in their order.

        Parameters
        ----------
        code_books : sequence of array_like, each of shape (n_codes, n_features_of_book)
            The code books; together as wide as an observation. They are copied.
        rotation_matrix : array_like, shape (n_features, n_features), optional
            An orthogonal matrix that observations are multiplied with first.
        rng, workers : optional
            As in the constructor.

        Returns
        -------
        quantizer

        Raises
        ------
        ValueError
            If shapes do not go together or a value is not finite.
        """
        books = as_code_books(code_books)
        matrix = None
        if rotation_matrix is not None:
            matrix = np.array(as_array(rotation_matrix, "rotation_matrix"), dtype=FLOAT64, order="C")
        rotation = None if matrix is None else "opq"
        quantizer = cls(len(books), books[0].shape[0], rotation=rotation, rng=rng, workers=workers)
        quantizer._set_given(books, rotation_matrix=matrix)
        return quantizer

    def _check_state(self, code_books: list[NDArray[Any]], extras: dict[str, Any]) -> None:
        n_features, matrix = sum(book.shape[1] for book in code_books), extras["rotation_matrix"]
        if (matrix is None) != (self.rotation is None):
            raise ValueError(f"rotation is {self.rotation!r} and rotation_matrix is {type(matrix).__name__}")
        if matrix is None:
            return
        if matrix.shape != (n_features, n_features) or matrix.dtype != FLOAT64:
            raise ValueError(f"rotation_matrix must be ({n_features}, {n_features}), got shape {matrix.shape}")
        if not np.abs(matrix @ matrix.T - np.eye(n_features)).max() < 1e-6:
            raise ValueError("rotation_matrix must be orthogonal")

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

    def sum_code_books(self) -> NDArray[np.float64]:
        """The code books over all features, (n_code_books, n_codes, n_features): the same vectors as sums."""
        books = np.zeros((self.n_code_books, self.n_codes, self.n_features))
        for m, columns in enumerate(self.splits):
            books[m][:, columns] = self.code_books[m]
        if self.rotation_matrix is None:
            return books
        matrix = self.rotation_matrix.T
        return rotated(books.reshape(-1, self.n_features), matrix, 1).reshape(books.shape)

    def _check_for_fit(self, obs: NDArray[Any]) -> None:
        super()._check_for_fit(obs)
        if obs.shape[1] < self.n_code_books:
            raise ValueError(
                f"obs must have at least n_code_books={self.n_code_books} features (columns), got shape {obs.shape}"
            )

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        parts = even_splits(obs.shape[1], self.n_code_books)
        children = rng.spawn(self.n_code_books + 1)
        matrix, starts = None, None
        if self.rotation == "opq":
            matrix, starts = opq(obs, parts, self.n_codes, children, workers)
        rows = obs if matrix is None else rotated(obs, matrix, workers)
        books = []
        for m, columns in enumerate(parts):
            own = rows[:, columns]
            if starts is None:
                book = k_means(own, self.n_codes, ROUNDS, children[m], workers)
            else:
                book = lloyd_rounds(own, starts[m], ROUNDS, workers)
            books.append(book.astype(obs.dtype))
        codes = part_codes(rows, parts, books, self.code_dtype, workers)
        counts = [np.bincount(column, minlength=self.n_codes).astype(FLOAT64) for column in codes.T]
        return {"code_books": books, "counts": counts, "rotation_matrix": matrix}

    def _rotated(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        return obs if self.rotation_matrix is None else rotated(obs, self.rotation_matrix, workers)

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        rows = self._rotated(obs, workers)
        return part_codes(rows, self.splits, self.code_books, self.code_dtype, workers)

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        rows = np.empty((codes.shape[0], self.n_features), dtype=self.dtype)
        for m, columns in enumerate(self.splits):
            rows[:, columns] = self.code_books[m][codes[:, m]]
        return rows if self.rotation_matrix is None else rotated(rows, self.rotation_matrix.T, workers)

    def _step(self, obs: NDArray[Any], workers: int) -> dict[str, Any]:
        rows = self._rotated(obs, workers)
        pairs = [
            mean_step(rows[:, columns], self.code_books[m], self.counts[m], workers)
            for m, columns in enumerate(self.splits)
        ]
        return {"code_books": [book for book, _ in pairs], "counts": [counts for _, counts in pairs]}


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
