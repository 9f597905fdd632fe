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
    """One code book: an observation becomes the index of its nearest code word.

    Parameters
    ----------
    n_codes : int, optional
        The number of code words, from 2 to 65536.
    rng : {None, int, Generator, ...}, optional
        Passed to ``numpy.random.default_rng`` by `fit`: the observations that the code words
        start from.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. No result depends on it.

    Attributes
    ----------
    code_books : list of one ndarray, shape (n_codes, n_features)
        The code words: float32 if trained on float32, otherwise float64.
    counts : list of one ndarray, shape (n_codes,)
        How many observations stand behind each code word.

    See Also
    --------
    vq, kmeans2 : the same as functions.
    ProductQuantizer : many more code words for the memory of few.

    Notes
    -----
    `fit` runs 15 rounds of Lloyd's algorithm with long steps [1]_ from different random
    observations; words that lose all members move to the observations farthest from their
    words. It takes O(n_obs n_codes n_features) a round; memory as for `kmeans2`. `encode` is exact:
    the code is the argmin of ``sum((x - c)**2)`` in float64, the lowest index on ties.

    References
    ----------
    .. [1] R. M. Gray, "Vector quantization", IEEE ASSP Magazine 1 (1984) 4-29.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import VectorQuantizer
    >>> obs = np.random.default_rng(0).normal(size=(1000, 8))
    >>> quantizer = VectorQuantizer(16, rng=0).fit(obs)
    >>> quantizer.encode(obs[:3]).shape
    (3, 1)
    >>> quantizer.distortion(obs) < VectorQuantizer(4, rng=0).fit(obs).distortion(obs)
    True
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_codes",)
    _encode_checks: ClassVar[bool] = True

    def __init__(self, n_codes: int = 256, *, rng: Any = None, workers: int | None = None) -> None:
        super().__init__(1, n_codes, rng, workers)

    @classmethod
    def from_code_books(cls, code_books: ArrayLike, *, rng: Any = None, workers: int | None = None) -> Self:
        """A quantizer with a given code book, in a sequence of length one.

        Parameters
        ----------
        code_books : sequence of array_like, each of shape (n_codes, n_features)
            One code book. They are copied.
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
