"""What all quantizers share: parameters, checks, the common verbs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import FLOAT32, FLOAT64, as_array, as_real, check_real, resolve_workers
from ._files import Path, read, write

# Rows that encode, decode and distortion work on at once.
CHUNK_ROWS = 1 << 15

MOST_CODES = 1 << 16


class Quantizer:
    """The common base: subclasses say how to train, encode and decode, on checked arrays.

    Fitted state is `code_books` (a list of arrays (n_codes, features of that book), float32 if
    trained on float32, otherwise float64), `counts` (for each book, how many observations stand
    behind each code word; zeros if it was given) and what ``_extras`` names.
    """

    # Names of hyper-parameters, in the order of the constructor; rng and workers come after.
    _parameters: ClassVar[tuple[str, ...]] = ()
    # Names of further fitted arrays, None or an array each.
    _extras: ClassVar[tuple[str, ...]] = ()
    # Whether `_encode` refuses what is not finite as it reads it, which saves a pass.
    _encode_checks: ClassVar[bool] = False

    n_code_books: int
    n_codes: int
    code_books: list[NDArray[Any]]
    counts: list[NDArray[np.float64]]

    def __init__(self, n_code_books: int, n_codes: int, rng: Any, workers: int | None) -> None:
        self.n_code_books = as_count(n_code_books, "n_code_books", 1)
        self.n_codes = as_count(n_codes, "n_codes", 2, MOST_CODES)
        resolve_workers(workers)
        self.rng = rng
        self.workers = workers
        self.code_books = []
        self.counts = []

    # ---- what subclasses do ------------------------------------------------------------------

    def _train(self, obs: NDArray[Any], rng: np.random.Generator, workers: int) -> dict[str, Any]:
        """The fitted state for the observations: code_books, counts and the extras."""
        raise NotImplementedError

    def _encode(self, obs: NDArray[Any], workers: int) -> NDArray[Any]:
        """The codes of some observations."""
        raise NotImplementedError

    def _decode(self, codes: NDArray[Any], workers: int) -> NDArray[Any]:
        """The vectors of some codes, in the type of the code books."""
        raise NotImplementedError

    def _step(self, obs: NDArray[Any], workers: int) -> dict[str, Any]:
        """The fitted state after some more observations."""
        raise NotImplementedError

    # ---- the verbs ---------------------------------------------------------------------------

    def fit(self, obs: ArrayLike) -> Self:
        """Train the code books; what was learned before is forgotten.

        Parameters
        ----------
        obs : array_like, shape (n_obs, n_features)
            The training set, of at least `n_codes` observations, one a row. float32 and
            float64 are read where they lie; integers of up to 16 bits become float32, other
            numbers float64.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the shape does not go with the parameters or a value is not finite; before any
            work and any random draw.
        TypeError
            If `obs` does not hold real numbers.
        """
        workers = resolve_workers(self.workers)
        array = self._as_obs(obs, workers, for_fit=True)
        rng = np.random.default_rng(self.rng)
        self._set(self._train(array, rng, workers))
        return self

    def partial_fit(self, obs: ArrayLike) -> Self:
        """Improve the code books by some more observations; the first call is a `fit`.

        The code words move to the least-squares solution for the new observations with their
        codes, each held back by as many observations as it stands for already: a mean of all
        its members, where only one code book covers a feature.

        Parameters
        ----------
        obs : array_like, shape (n_obs, n_features)
            More observations, any number; the first time as many as for `fit`.

        Returns
        -------
        self
        """
        if not self.is_fitted:
            return self.fit(obs)
        workers = resolve_workers(self.workers)
        array = self._as_obs(obs, workers)
        if array.shape[0]:
            self._set(self._step(array, workers))
        return self

    def encode(self, obs: ArrayLike) -> NDArray[Any]:
        """The codes of observations.

        Parameters
        ----------
        obs : array_like, shape (n_obs, n_features)
            One observation a row.

        Returns
        -------
        ndarray, shape (n_obs, n_code_books)
            uint8, or uint16 with more than 256 codes. The codes of an observation depend
            neither on its position, nor on the others, nor on the machine.

        Raises
        ------
        ValueError
            If there are no code books, the shape is wrong, or a value is not finite.
        TypeError
            If `obs` does not hold real numbers.
        """
        workers = resolve_workers(self.workers)
        array = self._as_obs(obs, workers, for_encode=True)
        codes = np.empty((array.shape[0], self.n_code_books), dtype=self.code_dtype)
        for first in range(0, array.shape[0], CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            codes[rows] = self._encode(array[rows], workers)
        return codes

    def decode(self, codes: ArrayLike) -> NDArray[Any]:
        """The vectors that codes stand for.

        Parameters
        ----------
        codes : array_like of integers, shape (n_obs, n_code_books)
            One tuple of codes a row.

        Returns
        -------
        ndarray, shape (n_obs, n_features)
            In the type of the code books; sums of code words are added in float64, in the
            order of the books, and then rounded.

        Raises
        ------
        ValueError
            If there are no code books, the shape is wrong, or a code is out of range.
        TypeError
            If `codes` does not hold integers.
        """
        workers = resolve_workers(self.workers)
        array = self._as_codes(codes)
        obs = np.empty((array.shape[0], self.n_features), dtype=self.dtype)
        for first in range(0, array.shape[0], CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            obs[rows] = self._decode(array[rows], workers)
        return obs

    def distortion(self, obs: ArrayLike) -> float:
        """The mean squared Euclidean distance of observations to their decoded codes.

        Parameters
        ----------
        obs : array_like, shape (n_obs, n_features)
            At least one observation.

        Returns
        -------
        float
        """
        workers = resolve_workers(self.workers)
        array = self._as_obs(obs, workers)
        if not array.shape[0]:
            raise ValueError("obs must hold at least one observation to have a distortion")
        total = 0.0
        for first in range(0, array.shape[0], CHUNK_ROWS):
            rows = array[first : first + CHUNK_ROWS]
            difference = rows.astype(FLOAT64) - self._decode(self._encode(rows, workers), workers)
            total += float(np.square(difference).sum(axis=1).sum())
        return total / int(array.shape[0])

    def save(self, path: Path) -> None:
        """Write the quantizer to an uncompressed ``.npz`` file of plain arrays, without pickle.

        The file is complete or not there: one of that name is replaced at the very end. `rng`
        and `workers` are not saved.

        Parameters
        ----------
        path : str or path-like
            Name of the file, used as it is.
        """
        self._check_fitted()
        parameters = {name: getattr(self, name) for name in self._parameters}
        write(path, type(self).__name__, parameters, self._arrays())

    @classmethod
    def load(cls, path: Path, *, rng: Any = None, workers: int | None = None) -> Self:
        """The quantizer in a file that `save` of the same class wrote.

        Parameters
        ----------
        path : str or path-like
            Name of the file.
        rng, workers : optional
            As in the constructor.

        Returns
        -------
        quantizer
            Equal to the one that was saved.

        Raises
        ------
        ValueError
            If the file is cut, damaged, foreign, or holds a quantizer of another class.
        OSError
            If there is no such file, or it cannot be read.
        """
        parameters, arrays = read(path, cls.__name__)
        try:
            quantizer = cls(**parameters, rng=rng, workers=workers)
            quantizer._set(quantizer._state_of(arrays))
        except (TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"{path!r} does not hold a whole {cls.__name__}: {error}") from error
        return quantizer

    # ---- what can be asked -------------------------------------------------------------------

    @property
    def is_fitted(self) -> bool:
        """Whether there are code books."""
        return bool(self.code_books)

    @property
    def n_features(self) -> int:
        """Features of an observation."""
        self._check_fitted()
        return int(self.code_books[0].shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the code books and of decoded vectors."""
        self._check_fitted()
        return self.code_books[0].dtype

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer that holds a code."""
        return np.min_scalar_type(self.n_codes - 1)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._parameters)
        return f"{type(self).__name__}({given})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Quantizer)
        same = all(getattr(self, name) == getattr(other, name) for name in self._parameters)
        mine, others = self._arrays(), other._arrays()
        return (
            same
            and mine.keys() == others.keys()
            and all(a.dtype == others[k].dtype and np.array_equal(a, others[k]) for k, a in mine.items())
        )

    __hash__ = None  # type: ignore[assignment]

    # ---- inside ------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The fitted state as named arrays: what a file holds and what is compared."""
        arrays = {f"code_book_{m}": book for m, book in enumerate(self.code_books)}
        arrays |= {f"counts_{m}": counts for m, counts in enumerate(self.counts)}
        extras = {name: getattr(self, name) for name in self._extras}
        return arrays | {name: array for name, array in extras.items() if array is not None}

    def _set(self, state: dict[str, Any]) -> None:
        """Take over a fitted state, all of it or nothing."""
        self.__dict__.update(state)

    def _set_given(self, code_books: list[NDArray[Any]], **extras: Any) -> None:
        """Take over code books that were not trained here."""
        self._check_state(code_books, extras)
        self._set({"code_books": code_books, "counts": [np.zeros(len(book)) for book in code_books], **extras})

    def _check_state(self, code_books: list[NDArray[Any]], extras: dict[str, Any]) -> None:
        """Refuse given code books and extras that do not go together."""
        raise NotImplementedError

    def _state_of(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """The fitted state of the arrays of a file, checked."""
        left = dict(arrays)
        books = as_code_books([left.pop(f"code_book_{m}") for m in range(self.n_code_books)])
        counts = [as_array(left.pop(f"counts_{m}"), "counts") for m in range(self.n_code_books)]
        for book, own in zip(books, counts, strict=True):
            if book.shape[0] != self.n_codes or own.shape != (self.n_codes,) or not own.min() >= 0:
                raise ValueError(f"code books and counts must have {self.n_codes} rows, got {book.shape}, {own.shape}")
        extras = {name: left.pop(name, None) for name in self._extras}
        if left:
            raise ValueError(f"there are unknown arrays: {', '.join(left)}")
        self._check_state(books, extras)
        return {"code_books": books, "counts": [own.astype(FLOAT64) for own in counts], **extras}

    def _check_fitted(self) -> None:
        if not self.code_books:
            raise ValueError(f"this {type(self).__name__} has no code books yet: call fit, or from_code_books")

    def _as_obs(
        self, obs: ArrayLike, workers: int, for_fit: bool = False, for_encode: bool = False, name: str = "obs"
    ) -> NDArray[Any]:
        """The observations as a finite float32 or float64 matrix of the right width."""
        if not for_fit:
            self._check_fitted()
        array = as_array(obs, name, True, workers, deferred=for_encode and self._encode_checks)
        check_real(array.dtype)
        if array.ndim != 2:
            raise ValueError(f"{name} must be 2-d, (n_{name}, n_features), got shape {array.shape}")
        if not for_fit and array.shape[1] != self.n_features:
            raise ValueError(f"{name} must have {self.n_features} features (columns), got shape {array.shape}")
        if for_fit:
            self._check_for_fit(array)
        if array.dtype.kind in "biu" and array.dtype.itemsize <= 2:
            return array.astype(FLOAT32)  # exact
        return as_real(array)

    def _check_for_fit(self, obs: NDArray[Any]) -> None:
        if obs.shape[0] < self.n_codes:
            raise ValueError(
                f"obs must hold at least n_codes={self.n_codes} observations to fit, got shape {obs.shape}"
            )
        if obs.shape[1] < 1:
            raise ValueError(f"obs must have at least one feature (column), got shape {obs.shape}")

    def _as_codes(self, codes: ArrayLike) -> NDArray[Any]:
        """The codes as a matrix of the smallest unsigned integer, all of them in range."""
        self._check_fitted()
        array = np.asarray(codes)
        if array.dtype.kind not in "ui":
            raise TypeError(f"codes must be integers, got dtype {array.dtype}")
        if array.ndim != 2 or array.shape[1] != self.n_code_books:
            raise ValueError(f"codes must have shape (n_obs, {self.n_code_books}), got {array.shape}")
        if array.size and not (array.min() >= 0 and array.max() < self.n_codes):
            raise ValueError(f"codes must lie in [0, {self.n_codes}), got {array.min()} to {array.max()}")
        return array.astype(self.code_dtype, copy=False)


def as_count(value: Any, name: str, least: int, most: int | None = None) -> int:
    """A whole number in a range."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < least or (most is not None and count > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {bounds}, got {count}")
    return count


def as_code_books(code_books: Any) -> list[NDArray[Any]]:
    """Given code books as a list of finite C-ordered copies of one float type and one number of codes."""
    if isinstance(code_books, np.ndarray) and code_books.ndim not in (1, 3):
        raise ValueError(f"code_books must be a sequence of 2-d arrays, got an array of shape {code_books.shape}")
    books = [as_array(book, f"code_books[{m}]") for m, book in enumerate(code_books)]
    if not books:
        raise ValueError("code_books must hold at least one code book")
    for m, book in enumerate(books):
        check_real(book.dtype)
        if book.ndim != 2 or book.shape[1] < 1:
            raise ValueError(f"code_books[{m}] must have shape (n_codes, n_features), got {book.shape}")
        if book.shape[0] != books[0].shape[0]:
            raise ValueError(
                f"code_books must have the same number of codes, got shapes {books[0].shape} and {book.shape}"
            )
    narrow = all(book.dtype.kind == "f" and book.dtype.itemsize <= 4 for book in books)
    dtype = FLOAT32 if narrow else FLOAT64
    return [np.array(book, dtype=dtype, order="C") for book in books]


def check_equal_widths(code_books: Sequence[NDArray[Any]]) -> None:
    """Books whose words are added must have the same number of features."""
    for m, book in enumerate(code_books):
        if book.shape[1] != code_books[0].shape[1]:
            raise ValueError(
                f"code_books must have the same number of features, got shapes {code_books[0].shape} "
                f"for code_books[0] and {book.shape} for code_books[{m}]"
            )
