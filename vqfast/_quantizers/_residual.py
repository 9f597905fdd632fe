"""Code books one after another: each quantizes what the ones before left over."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.additive import SumBooks
from .._validation import FLOAT32, FLOAT64
from ._base import as_code_books, as_count
from ._least_squares import mean_of, refit
from ._progressive import progressive_k_means
from ._sums import SumQuantizer, errors_of, used
from ._training import nearest_codes

# Joint steps after the last stage: how far the books go, in ways to the least-squares solution.
# No length below 2 raises the error of the codes they have; the two together leave SIFT
# descriptors with 0.5 % less of it than three plain ones.
_JOINT_STEPS = (1.7, 1.0)


class ResidualQuantizer(SumQuantizer):
    """Several code books one after another, each for what the ones before left over.

    Parameters
    ----------
    n_code_books : int
        The number of code books.
    n_codes : int, optional
        The number of code words of each book, from 2 to 65536.
    beam : int, optional
        Partial tuples that a search goes on with, from 1 (greedy) to 1024.
    rng : {None, int, Generator, ...}, optional
        Passed to ``numpy.random.default_rng`` by `fit`: the observations that the code words
        start from.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. No result depends on it.

    Attributes
    ----------
    code_books : list of ndarray, each of shape (n_codes, n_features)
        The code words, in the order of the stages: float32 if trained on float32, otherwise
        float64.
    counts : list of ndarray, each of shape (n_codes,)
        How many observations stand behind each code word.
    training_distortions : list of float
        Mean squared error on the training set after each step of the last fit; it never rises.

    See Also
    --------
    AdditiveQuantizer : less error, but its codes cannot be cut short.

    Notes
    -----
    The first code books alone are a coarser quantizer: codes may be cut to any length.

    `fit` trains each book by k-means on what is left over, 6 rounds each among its first 4, 8, 16
    and 32 principal components and 5 with all features [3]_, searches all codes
    with the beam, and then twice fits all books together to the codes, by the
    normal equations (counts of pairs of words and sums of observations; a float64 Cholesky
    factorisation of n_words = n_code_books n_codes rows), and searches codes anew, keeping for
    each observation the better ones. Beyond 8192 words the books are fitted one after another.

    `encode` adds rows of a table of the inner products of code words, in integers: with M
    books of K words of d features O(M K d + beam K M^2) an observation. The table takes 2 n_words^2
    bytes, at most 128 MiB; larger or finer books are searched in float64 without a table, in
    O(beam M K d). `fit` needs memory for a copy of the observations and 8 n_words^2 bytes.

    References
    ----------
    .. [1] Y. Chen, T. Guan, C. Wang, "Approximate nearest neighbor search by residual vector
       quantization", Sensors 10 (2010) 11259-11273.
    .. [2] A. Babenko, V. Lempitsky, "Additive quantization for extreme vector compression",
       CVPR 2014.
    .. [3] S. Liu, H. Lu, J. Shao, "Improved residual vector quantization for high-dimensional
       approximate nearest neighbor search", arXiv:1509.05195 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import ResidualQuantizer
    >>> obs = np.random.default_rng(0).normal(size=(1000, 8))
    >>> quantizer = ResidualQuantizer(3, 16, rng=0).fit(obs)
    >>> codes = quantizer.encode(obs)
    >>> coarse = ResidualQuantizer.from_code_books(quantizer.code_books[:2])
    >>> errors = [np.square(obs - q.decode(codes[:, :m])).sum() for q, m in ((coarse, 2), (quantizer, 3))]
    >>> bool(errors[0] > errors[1])
    True
    """

    _parameters: ClassVar[tuple[str, ...]] = ("n_code_books", "n_codes", "beam")
    _ordered: ClassVar[bool] = True

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
        self.beam = as_count(beam, "beam", 1, 1024)
        self.training_distortions = []

    @classmethod
    def from_code_books(
        cls, code_books: ArrayLike, *, beam: int = 5, rng: Any = None, workers: int | None = None
    ) -> Self:
        """A quantizer with given code books, in their order.

        Parameters
        ----------
        code_books : sequence of array_like, each of shape (n_codes, n_features)
            The code books, all of one width. They are copied.
        beam : int, optional
            As in the constructor.
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
        quantizer = cls(len(books), books[0].shape[0], beam=beam, rng=rng, workers=workers)
        quantizer._set_given(books)
        return quantizer

    def _search(self, books: SumBooks, obs: NDArray[Any], codes: NDArray[np.uint16]) -> None:
        books.search(obs, codes, "in order", self.beam)

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        books, codes = self._stages(obs, rng, workers)
        narrow, shift = obs.dtype == FLOAT32, mean_of(obs, workers)
        errors = errors_of(books, narrow, obs, codes, workers)
        history = [float(errors.mean())]
        codes, errors = self._better(books, obs, codes, errors, workers)
        history.append(float(errors.mean()))
        for step in _JOINT_STEPS:
            new = books + step * (refit(obs, codes, books, shift, workers) - books)
            new = new.astype(obs.dtype).astype(FLOAT64)
            new_errors = errors_of(new, narrow, obs, codes, workers)
            if not new_errors.mean() < history[-1]:
                break
            books = new
            codes, errors = self._better(books, obs, codes, new_errors, workers)
            history += [float(new_errors.mean()), float(errors.mean())]
        return {
            "code_books": list(books.astype(obs.dtype)),
            "counts": list(used(codes, self.n_codes)),
            "training_distortions": history,
        }

    def _stages(
        self, obs: NDArray[Any], rng: np.random.Generator, workers: int
    ) -> tuple[NDArray[np.float64], NDArray[np.uint16]]:
        """Code books by k-means of what is left over, and the codes of that."""
        rest = np.array(obs, order="C")
        codes = np.empty((obs.shape[0], self.n_code_books), dtype=np.uint16)
        books = np.empty((self.n_code_books, self.n_codes, obs.shape[1]))
        for m, child in enumerate(rng.spawn(self.n_code_books)):
            book = progressive_k_means(rest, self.n_codes, child, workers).astype(obs.dtype)
            codes[:, m] = nearest_codes(rest, book, workers)
            rest -= book[codes[:, m]]
            books[m] = book
        return books, codes

    def _better(
        self,
        books: NDArray[np.float64],
        obs: NDArray[Any],
        codes: NDArray[np.uint16],
        errors: NDArray[np.float64],
        workers: int,
    ) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
        """For each observation the better of its codes and newly searched ones."""
        new = np.empty_like(codes)
        self._search(SumBooks(books, obs.dtype == FLOAT32, workers, ordered=True), obs, new)
        new_errors = errors_of(books, obs.dtype == FLOAT32, obs, new, workers)
        better = new_errors < errors
        return np.where(better[:, None], new, codes), np.where(better, new_errors, errors)
