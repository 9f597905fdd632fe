"""The verb of all quantizers that finds the codes nearest to a query."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core.search import CodeSearch, rerank
from .._validation import FLOAT64, resolve_workers
from ._base import Quantizer, as_count

NORMS = ("byte", "float32")

# Queries that are compared with original vectors in one piece, to bound the memory.
RERANKED_AT_ONCE = 1 << 12


class PreparedCodes:
    """Codes packed for searches together with the code books; made by ``prepare`` of a quantizer.

    It is not changed by searches and may be used by several threads at once. A quantizer whose
    code books have changed since refuses it.

    Attributes
    ----------
    n : int
        How many codes there are; also ``len()``.
    """

    def __init__(self, searched: CodeSearch, quantizer: Quantizer) -> None:
        self._searched = searched
        self._arrays = _searched_arrays(quantizer)
        self.n: int = searched.n

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return f"<{self.n} prepared codes of {self._searched.n_books} code books>"

    def fits(self, quantizer: Quantizer) -> bool:
        """Whether the code books are those of the quantizer."""
        theirs = _searched_arrays(quantizer)
        return len(theirs) == len(self._arrays) and all(
            a is b or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in zip(self._arrays, theirs, strict=True)
        )

    def __reduce__(self) -> Any:
        raise TypeError("prepared codes do not pickle: pickle the quantizer and the codes, and prepare again")


def _searched_arrays(quantizer: Quantizer) -> list[NDArray[Any]]:
    """What a search depends on besides the codes."""
    rotation = getattr(quantizer, "rotation_matrix", None)
    return [*quantizer.code_books, *([] if rotation is None else [rotation])]


class Searchable(Quantizer):
    """A quantizer whose codes can be searched."""

    # Whether a vector is the sum of its code words, rather than one after another.
    _words_are_added: ClassVar[bool] = False

    def prepare(self, codes: ArrayLike, *, norms: str = "byte") -> PreparedCodes:
        """Pack codes for many searches.

        `search` does this in every call if it is given plain codes, which costs about as much
        as fifty queries for product codes and as a thousand for codes whose words are added.

        Parameters
        ----------
        codes : array_like of int, shape (n, n_code_books)
            What `encode` returned. It is copied.
        norms : {"byte", "float32"}, optional
            How exactly the squared length of a vector that is a sum of code words is kept
            beside its code: in a byte, or in a byte and four more. Searches give the same
            results. With a byte alone a few per cent more vectors are decoded to decide,
            with float32 memory is read at random: by default, a byte, which was the faster one
            wherever it was measured. Of no effect on product and flat codes, which need
            no lengths, and above 256 codes a code book, where float32 is taken.

        Returns
        -------
        PreparedCodes
            To be given to `search` in place of the codes.

        Notes
        -----
        Time is O(n n_code_books), with a decoding of all codes where words are added. Memory
        is that of the codes (two to a byte up to 16 codes a code book), one byte or five for each
        sum, 32,768 codes more as a sample, and the code books in float64 (product), or in
        float32 and as given (sums).
        """
        workers = resolve_workers(self.workers)
        array = self._as_codes(codes)
        if norms not in NORMS:
            raise ValueError(f"norms must be 'byte' or 'float32', got {norms!r}")
        words = [np.ascontiguousarray(book) for book in self.code_books]
        searched = CodeSearch(
            words,
            np.ascontiguousarray(array),
            is_sum=self._words_are_added,
            rotation=getattr(self, "rotation_matrix", None),
            norms=norms,
            workers=workers,
        )
        return PreparedCodes(searched, self)

    def search(
        self,
        queries: ArrayLike,
        codes: ArrayLike | PreparedCodes,
        k: int,
        *,
        rerank: ArrayLike | None = None,
        n_candidates: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the codes whose vectors are nearest to each query, without decoding them.

        Parameters
        ----------
        queries : array_like, shape (n_queries, n_features)
            They are not encoded (asymmetric distances).
        codes : array_like of int, shape (n, n_code_books), or PreparedCodes
            What `encode` returned, or `prepare` made of it.
        k : int
            How many codes to find for each query.
        rerank : array_like, shape (n, n_features), optional
            The original vectors of the codes: the nearest `n_candidates` are ordered again by
            their true distances.
        n_candidates : int, optional
            How many codes to find for `rerank`; default ``10 * k``.

        Returns
        -------
        indices : ndarray of int64, shape (n_queries, k)
            Rows of `codes`, the nearest first, the lowest index on ties. Where there are fewer
            than `k` codes the rest are -1.
        sq_dists : ndarray of float64, shape (n_queries, k)
            Squared Euclidean distances to the decoded codes (with `rerank` to the original
            vectors), infinite where the index is -1.

        Raises
        ------
        ValueError
            If there are no code books, a shape or a code does not fit them, a query is not
            finite, or the prepared codes are those of other code books.
        TypeError
            If an array does not hold numbers of the right kind, or `k` is not an integer.

        Notes
        -----
        The result is exact for the codes, whatever the instruction set and the number of workers:
        the one that the float64 distances to ``decode(codes)`` give. In product codes a distance is
        the sum over the code books, from the first to the last, of the squared distance between
        the features of the query and of the code word (with a rotation, in the rotated
        space, the query being rotated in float64; decoding rounds anew). In sums of code words it is the
        squared distance to the decoded vector. Squares are added in eight interleaved
        partial sums, see ``kernels/search.h``.

        Up to 256 codes a code book, a table of bytes for each query [1]_ [2]_ rejects almost all
        codes with a proven bound, and some hundreds are computed in float64; the threshold comes from a
        sample and is checked. Time is O(n n_code_books) a query, with a small constant, plus
        O(n_codes n_features) for the tables of product codes and O(n_code_books n_codes n_features)
        for those of sums. More than 256 codes, or fewer than 8192 rows, are compared one by one.
        Workers share the queries or, if there are few, the codes. Memory is 8 MB a
        worker at most unless `k` or the tables need more.

        References
        ----------
        .. [1] H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor
           search", IEEE TPAMI 33 (2011) 117-128.
        .. [2] F. André, A.-M. Kermarrec and N. Le Scouarnec, "Cache locality is not enough:
           high-performance nearest neighbor search with product quantization fast scan",
           PVLDB 9 (2015) 288-299.

        Examples
        --------
        >>> import numpy as np
        >>> from vqfast import ProductQuantizer
        >>> obs = np.random.default_rng(0).normal(size=(1000, 8))
        >>> quantizer = ProductQuantizer(4, 16, rng=0).fit(obs)
        >>> codes = quantizer.prepare(quantizer.encode(obs))
        >>> indices, sq_dists = quantizer.search(obs[:2], codes, 5)
        >>> indices.shape
        (2, 5)
        """
        workers = resolve_workers(self.workers)
        array = self._as_obs(queries, workers, name="queries")
        k = as_count(k, "k", 1)
        vectors, wanted = None, k
        if rerank is not None:
            vectors = self._as_obs(rerank, workers, name="rerank")
            wanted = max(k, 10 * k if n_candidates is None else as_count(n_candidates, "n_candidates", 1))
        elif n_candidates is not None:
            raise ValueError("n_candidates goes with rerank, which was not given")
        prepared = codes if isinstance(codes, PreparedCodes) else self.prepare(codes)
        if not prepared.fits(self):
            raise ValueError("codes were prepared for other code books: prepare them again after a fit")
        if vectors is not None and vectors.shape[0] != prepared.n:
            raise ValueError(f"rerank must hold the {prepared.n} vectors of the codes, got shape {vectors.shape}")
        wanted = min(wanted, max(prepared.n, k)) if vectors is not None else wanted
        indices, sq_dists = found = np.empty((array.shape[0], wanted), np.int64), np.empty((array.shape[0], wanted))
        prepared._searched.search(array, wanted, indices, sq_dists, workers)
        return found if vectors is None else _reranked(array, vectors, indices, k, workers)


def _reranked(
    queries: NDArray[Any], vectors: NDArray[Any], candidates: NDArray[np.int64], k: int, workers: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k candidates of each query that are nearest by the original vectors."""
    indices, sq_dists = np.empty((queries.shape[0], k), np.int64), np.empty((queries.shape[0], k))
    for first in range(0, queries.shape[0], RERANKED_AT_ONCE):
        rows = slice(first, first + RERANKED_AT_ONCE)
        # In the order of the indices, for the ties; what is missing comes last.
        some = np.sort(candidates[rows].view(np.uint64), axis=1).view(np.int64)
        rerank(
            np.ascontiguousarray(queries[rows], dtype=FLOAT64), vectors, some, indices[rows], sq_dists[rows], workers
        )
    return indices, sq_dists
