"""kmeans and kmeans2: Lloyd's algorithm with SciPy's interface."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._assign import ClusterError
from ._core.lloyd import lloyd
from ._core.means import Means
from ._core.nearest import Nearest
from ._seeding import INITIALISERS, NOT_GIVEN, points, resolve_rng, start
from ._validation import (
    as_array,
    as_real,
    as_rows,
    as_weights,
    check_real,
    check_same_features,
    range_of,
    resolve_workers,
)

# A run of `kmeans` has no known length; this is what the search plans for.
_MANY_ROUNDS = 20

_EMPTY = "One of the clusters is empty. Re-run kmeans with a different initialization."


def kmeans(
    obs: ArrayLike,
    k_or_guess: ArrayLike,
    iter: int = 20,
    thresh: float = 1e-5,
    check_finite: bool = True,
    *,
    rng: Any = NOT_GIVEN,
    seed: Any = NOT_GIVEN,
    workers: int | None = None,
    sample_weight: ArrayLike | None = None,
    max_iter: int | None = None,
    return_codes: bool = False,
) -> tuple[Any, ...]:
    """Find a code book by k-means, iterated until the mean distance settles.

    Parameters
    ----------
    obs : array_like, shape (n_obs, n_features) or (n_obs,)
        One observation a row. float32 and float64 are read where they lie; integers,
        booleans and float16 are converted.
    k_or_guess : int or array_like
        The number of code words, or the initial code book with the rank of `obs`. A 2-d
        array is always a code book.
    iter : int, optional
        Number of restarts from different random observations when k is given; the code
        book with the smallest distortion is returned. Ignored with an initial code book.
    thresh : float, optional
        A run stops once the mean distance changes by at most this much. It must not be
        negative unless `max_iter` is given.
    check_finite : bool, optional
        Whether to refuse infinities and NaN.
    rng : {None, int, Generator, ...}, optional
        Passed to ``numpy.random.default_rng``. Only for the random choice of observations.
    seed : {None, int, RandomState, Generator}, optional
        SciPy's older spelling: an int seeds a RandomState, None is NumPy's global
        generator, which is also what is used if neither `rng` nor `seed` is given.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. The result does not
        depend on it.
    sample_weight : array_like, shape (n_obs,), optional
        Non-negative weights of the observations in the means, the distortion and the
        choice of the first code book.
    max_iter : int, optional
        At most so many iterations a run. By default there is no limit.
    return_codes : bool, optional
        Whether to return the codes as well.

    Returns
    -------
    code_book : ndarray, shape (n_codes, n_features) or (n_codes,)
        In the type of `obs`. Clusters that lose all members are dropped, so there may be
        fewer than k rows.
    distortion : float
        Mean Euclidean distance (not squared) of the observations to their code words in
        the returned code book, a NumPy scalar of the type of `obs`.
    codes : ndarray of int32, shape (n_obs,)
        Only with `return_codes`: the code of every observation in the returned code book.

    Raises
    ------
    ValueError
        If a number or a shape is out of range, or a value is not finite.
    TypeError
        If `obs` does not hold real numbers, or both `rng` and `seed` are given.

    See Also
    --------
    kmeans2 : one run of a fixed number of rounds with a choice of initialisations.

    Notes
    -----
    An iteration takes O(n_obs n_codes n_features) time. Memory besides the input is 20
    bytes an observation, some copies of the code book and, with 14 features or more, bounds and
    integers that save work between iterations: at most the size of the data and 2 GiB.

    The objective is the squared error while the stopping rule watches the mean distance,
    as in SciPy, so the latter may rise between iterations. A restart that can no longer end below
    the best so far is left a scan early, as is one whose codes have stopped changing.

    References
    ----------
    .. [1] S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on
       Information Theory 28 (1982) 129-137.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import kmeans
    >>> features = np.array([[1.9, 2.3], [1.5, 2.5], [0.8, 0.6], [0.4, 1.8],
    ...                      [0.1, 0.1], [0.2, 1.8], [2.0, 0.5], [0.3, 1.5], [1.0, 1.0]])
    >>> code_book, distortion = kmeans(features, 2, rng=1)
    >>> code_book.shape
    (2, 2)
    >>> code_book, distortion, codes = kmeans(features, features[:2], return_codes=True)
    >>> codes
    array([0, 1, 0, 1, 1, 1, 0, 1, 0], dtype=int32)
    """
    make_rng = resolve_rng(rng, seed, "kmeans")
    n_workers = resolve_workers(workers)
    obs = as_array(obs, "obs", check_finite, n_workers, deferred=True)
    known = range_of(obs, "obs", check_finite, n_workers)
    guess = as_array(k_or_guess, "k_or_guess", check_finite)
    if iter < 1:
        raise ValueError(f"iter must be at least 1, got {iter}")
    check_real(obs.dtype)
    check_real(guess.dtype)
    if max_iter is not None and operator.index(max_iter) < 1:
        raise ValueError(f"max_iter must be None or at least 1, got {max_iter}")
    if thresh < 0 and max_iter is None:
        raise ValueError(f"thresh must not be negative without max_iter, as no run would end, got {thresh}")
    if obs.ndim not in (1, 2):
        raise ValueError(f"ndim different than 1 or 2 are not supported, got obs of shape {obs.shape}")
    weights = as_weights(sample_weight, obs.shape[0])
    obs = as_real(obs)
    if guess.size != 1 or guess.ndim == 2:
        if guess.size < 1:
            raise ValueError(f"Asked for 0 clusters. Initial book was {guess}")
        check_same_features(obs, guess)
        fit = _Fit(obs, guess.shape[0], weights, n_workers, known)
        book, distortion = fit.run(as_rows(np.array(guess, np.float64, order="C")), thresh, max_iter)
    else:
        k = int(guess.item())
        if k != guess.item():
            raise ValueError("If k_or_guess is a scalar, it must be an integer.")
        if k < 1:
            raise ValueError(f"Asked for {k} clusters.")
        n_runs = operator.index(iter)
        book, distortion, fit = _best_of(n_runs, obs, k, make_rng(), weights, thresh, max_iter, n_workers, known)
    shaped = book.astype(obs.dtype)
    result = (shaped if obs.ndim == 2 else shaped[:, 0], obs.dtype.type(distortion))
    return (*result, fit.codes_for(book)) if return_codes else result


def _best_of(
    n_runs: int,
    obs: NDArray[Any],
    k: int,
    rng: Any,
    weights: NDArray[np.float64] | None,
    thresh: float,
    max_iter: int | None,
    workers: int,
    known: tuple[float, float] | None,
) -> tuple[NDArray[np.float64], float, _Fit]:
    """The run with the smallest distortion, the first of equals."""
    best: tuple[NDArray[np.float64], float] | None = None
    fit: _Fit | None = None
    for _ in range(n_runs):
        guess = as_rows(points(obs, k, rng, weights, workers))
        fit = fit or _Fit(obs, k, weights, workers, known)
        result = fit.run(guess.copy(), thresh, max_iter, np.inf if best is None else best[1])
        if best is None or result[1] < best[1]:
            best = result
    assert best is not None
    assert fit is not None
    return *best, fit


def _lowest_distortion(distortion: float, before: NDArray[np.float64], book: NDArray[np.float64]) -> float:
    """A bound from below of the mean distance to the book, given that to the one before.

    No distance shrinks by more than the longest step of a code word; a code word left out shrinks none.
    Roundings are far below the 1e-6 of either that are taken off, but where squares underflow.
    """
    if not len(book) or not 1e-140 < distortion < np.inf:
        return -np.inf
    step = np.sqrt(np.square(book - before).sum(axis=1).max())
    return float(distortion * (1 - 1e-6) - step * (1 + 1e-6))


class _Fit:
    """The runs of one call of `kmeans`: they share the scratch and the packed code book."""

    def __init__(
        self,
        obs: NDArray[Any],
        n_codes: int,
        weights: NDArray[np.float64] | None,
        workers: int,
        known: tuple[float, float] | None,
    ) -> None:
        self.search = Nearest(obs, n_codes, workers, rounds=_MANY_ROUNDS)
        self.means = Means(self.search, weights, known)
        self.weights = weights
        self.codes = np.zeros(obs.shape[0], dtype=np.int32)
        self.dist = np.empty(obs.shape[0])

    def distortion_of(self, book: NDArray[np.float64], follow: bool) -> float:
        """Assign the observations to the book; the mean of their distances.

        With `follow` the book is the one before with the means of the last update.
        """
        self.search.assign(book, self.codes, self.dist, follow=follow, moved=self.means.computed())
        if self.weights is None:
            return float(np.mean(self.dist))
        return float(np.average(self.dist, weights=self.weights))

    def run(
        self, book: NDArray[np.float64], thresh: float, max_iter: int | None, best: float = np.inf
    ) -> tuple[NDArray[np.float64], float]:
        """Iterate from the book, which is overwritten, until the mean distance settles.

        Two scans that cannot change the outcome are left out: those after a round in which no code
        changed, as all that follow are its like; and the last one of a run that cannot end below
        `best`, whose distortion is then a bound from below.
        """
        self.means.forget()
        previous, change, n_done, follow = np.inf, np.inf, 0, False
        before = book
        while change > thresh and (max_iter is None or n_done < max_iter):
            distortion = self.distortion_of(book, follow)
            if best < np.inf:
                before = book.copy()
            members = np.empty(book.shape[0], dtype=bool)
            follow = not self.means.update(self.codes, book, members, all_means=False)
            if follow and self.means.n_moved == 0:
                return book, distortion
            if not follow:
                book, before = book[members], before[members]
                self.means.forget()
            change, previous, n_done = abs(previous - distortion), distortion, n_done + 1
        lowest = _lowest_distortion(previous, before, book) if best < np.inf else -np.inf
        return book, lowest if lowest >= best else self.distortion_of(book, follow)

    def codes_for(self, book: NDArray[np.float64]) -> NDArray[np.int32]:
        """The codes of the observations in the book."""
        self.search.assign(book, self.codes)
        return self.codes


def kmeans2(
    data: ArrayLike,
    k: ArrayLike,
    iter: int = 10,
    thresh: float = 1e-5,
    minit: str = "random",
    missing: str = "warn",
    check_finite: bool = True,
    *,
    rng: Any = NOT_GIVEN,
    seed: Any = NOT_GIVEN,
    workers: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Find a code book by a fixed number of rounds of k-means.

    Parameters
    ----------
    data : array_like, shape (n_obs, n_features) or (n_obs,)
        One observation a row. float32 and float64 are read where they lie; integers,
        booleans and float16 are converted.
    k : int or array_like
        The number of code words, or the initial code book with the rank of `data`
        (``minit='matrix'``, or any array with more than one element or two dimensions).
    iter : int, optional
        Number of rounds. Rounds that would change nothing are not run.
    thresh : float, optional
        Not used; accepted because SciPy has it.
    minit : {'random', 'points', '++', 'matrix', 'greedy++', '||'}, optional
        The initial code book: normal draws with the mean and covariance of the data,
        different observations, k-means++ [1]_, or `k` itself. Not in SciPy: the greedy
        k-means++, which takes the best of 2 + log(k) draws, and k-means|| [2]_, which draws
        many at once; both look at 16 k observations, or 16,384 if that is more.
    missing : {'warn', 'raise'}, optional
        What to do when a cluster is empty: warn and leave its code word where it is, or
        raise `ClusterError`.
    check_finite : bool, optional
        Whether to refuse infinities and NaN.
    rng, seed : optional
        The generator to draw from, as in `kmeans`.
    workers : int, optional
        Threads to use; None and -1 mean all that this process may use. The result does not
        depend on it.
    sample_weight : array_like, shape (n_obs,), optional
        Non-negative weights of the observations in the means and in the initialisation. A
        cluster is empty when its total weight is zero.

    Returns
    -------
    code_book : ndarray, shape (n_codes, n_features) or (n_codes,)
        In the type of `data`.
    codes : ndarray of int32, shape (n_obs,)
        The code of every observation in the code book *before* its last update, as in
        SciPy; ``vq(data, code_book)`` gives those of the returned one.

    Raises
    ------
    ValueError
        If a number, a name or a shape is out of range, or a value is not finite.
    TypeError
        If `data` does not hold real numbers, or both `rng` and `seed` are given.
    ClusterError
        If ``missing='raise'`` and a cluster is empty after a round.

    Warns
    -----
    UserWarning
        For every round with an empty cluster if ``missing='warn'``; if k is not an integer.

    See Also
    --------
    kmeans : restarts, and iterations until the mean distance settles.

    Notes
    -----
    A round takes O(n_obs n_codes n_features) time, the k-means++ initialisation less than
    one round. Memory besides the input and the codes is 8 bytes an observation (up to 40 and, for
    32 codes or more, one or two a feature while k-means++ draws), some copies of the code book
    and, with 14 features or more, bounds and integers that save work from round to round: at most
    the size of the data and 2 GiB. With up to eight features of float32 it is a sorted copy
    instead: 4 bytes a feature and 32 an observation.

    References
    ----------
    .. [1] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding",
       Proceedings of the 18th ACM-SIAM Symposium on Discrete Algorithms (2007) 1027-1035.
    .. [2] B. Bahmani, B. Moseley, A. Vattani, R. Kumar, S. Vassilvitskii, "Scalable
       k-means++", Proceedings of the VLDB Endowment 5 (2012) 622-633.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import kmeans2
    >>> rng = np.random.default_rng(7)
    >>> data = np.vstack([rng.normal(0, 1, (50, 2)), rng.normal(10, 1, (50, 2))])
    >>> code_book, codes = kmeans2(data, 2, minit="++", rng=1)
    >>> np.bincount(codes)
    array([50, 50])
    """
    make_rng = resolve_rng(rng, seed, "kmeans2")
    if int(iter) < 1:
        raise ValueError(f"Invalid iter ({iter}), must be a positive integer.")
    if missing not in ("warn", "raise"):
        raise ValueError(f"Unknown missing method {missing!r}")
    n_workers = resolve_workers(workers)
    data = as_array(data, "data", check_finite, n_workers, deferred=True)
    known = range_of(data, "data", check_finite, n_workers)
    guess = as_array(k, "k", check_finite)
    if data.ndim not in (1, 2):
        raise ValueError("Input of rank > 2 is not supported.")
    if data.size < 1 or guess.size < 1:
        raise ValueError("Empty input is not supported.")
    check_real(data.dtype)
    check_real(guess.dtype)
    weights = as_weights(sample_weight, data.shape[0])
    n_rounds = operator.index(iter)
    given = minit == "matrix" or guess.size > 1 or guess.ndim == 2
    n_codes = _check_code_book(data, guess) if given else _check_count(guess, minit)
    if not given and n_codes != guess.item():
        warnings.warn("k was not an integer, was converted.", stacklevel=2)
    if not given and minit != "points" and guess.dtype.kind not in "iu":
        raise TypeError(f"k must be an integer with minit={minit!r}, got {k!r}")
    data = as_real(data)
    book = guess if given else start(minit, data, n_codes, make_rng(), weights, n_workers)
    if check_finite and not np.isfinite(book).all():
        raise ValueError(f"array must not contain infs or NaNs, but the code book of minit={minit!r} does")
    book = as_rows(np.array(book, np.float64, order="C"))
    codes = np.zeros(data.shape[0], dtype=np.int32)
    search = Nearest(data, n_codes, n_workers, rounds=n_rounds)
    n_with_empty = lloyd(search, Means(search, weights, known), book, codes, n_rounds, missing == "raise")
    if check_finite and n_rounds > 1 and not np.isfinite(book).all():
        raise ValueError("array must not contain infs or NaNs, but the means of data have overflowed")
    if n_with_empty and missing == "raise":
        raise ClusterError(_EMPTY)
    for _ in range(n_with_empty):
        warnings.warn(_EMPTY, stacklevel=2)
    book = book.astype(data.dtype, copy=False)
    return (book if data.ndim == 2 else book[:, 0].copy()), codes


def _check_code_book(data: NDArray[Any], guess: NDArray[Any]) -> int:
    """Number of code words of an initial code book."""
    if data.ndim != guess.ndim:
        raise ValueError(f"k array doesn't match data rank: {guess.shape} for data of shape {data.shape}")
    if data.ndim > 1 and guess.shape[1] != data.shape[1]:
        raise ValueError(f"k array doesn't match data dimension: {guess.shape} for data of shape {data.shape}")
    return int(guess.shape[0])


def _check_count(guess: NDArray[Any], minit: str) -> int:
    """A scalar number of code words."""
    count = int(guess.item())
    if count < 1:
        raise ValueError(f"Cannot ask kmeans2 for {count} clusters (k was {guess})")
    if minit not in INITIALISERS:
        raise ValueError(f"Unknown init method {minit!r}")
    return count
