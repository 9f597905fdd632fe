"""whiten, vq and py_vq: scaling observations and finding their code words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core.few import assign_few, worth_packing
from ._core.nearest import Nearest
from ._validation import (
    FLOAT32,
    FLOAT64,
    as_array,
    as_real,
    as_rows,
    check_real,
    check_same_features,
    not_finite,
    resolve_workers,
)

# Rows of a float32 array that whiten widens to float64 at once.
_WHITENED_AT_ONCE = 1 << 14


class ClusterError(Exception):
    """A cluster of `kmeans2` has become empty and ``missing='raise'`` asked to know."""


def _std_of_narrow(obs: NDArray[Any]) -> NDArray[Any]:
    """Standard deviations of float16 or float32 columns, summed in float64.

    ``np.std`` adds the rows in the type of the data, which is wrong by a factor of 38 at
    1e7 rows with a mean of 100 and a deviation of 0.29.
    """
    n_obs = obs.shape[0]
    mean = np.add.reduce(obs, axis=0, dtype=FLOAT64) / n_obs
    total = np.zeros(obs.shape[1:])
    for start in range(0, n_obs, _WHITENED_AT_ONCE):
        diff = obs[start : start + _WHITENED_AT_ONCE] - mean
        total += np.add.reduce(diff * diff, axis=0)
    return np.asarray(np.sqrt(total / n_obs), dtype=obs.dtype)


def whiten(obs: ArrayLike, check_finite: bool | None = None) -> NDArray[Any]:
    """Scale every feature to unit variance.

    Each column is divided by its standard deviation over all observations (``ddof=0``), as
    is usual before k-means, so that no feature outweighs the others by its unit alone.

    Parameters
    ----------
    obs : array_like, shape (n_obs, n_features) or (n_obs,)
        One observation a row. Any real or complex numbers.
    check_finite : bool, optional
        Whether to refuse infinities and NaN, and to warn of constant columns. The default,
        None, does both.

    Returns
    -------
    ndarray
        The scaled observations in the float type of `obs`; float64 for integers. Columns
        with a standard deviation of exactly zero are returned as they are.

    Raises
    ------
    ValueError
        If `check_finite` is true and `obs` contains an infinity or a NaN.

    Warns
    -----
    RuntimeWarning
        If `check_finite` is true and a column has a standard deviation of zero.

    Notes
    -----
    Time and memory are O(n_obs n_features). float16 and float32 observations are summed in
    float64, unlike ``scipy.cluster.vq.whiten``, whose deviations are wrong for many rows.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import whiten
    >>> features = np.array([[1.9, 2.3, 1.7],
    ...                      [1.5, 2.5, 2.2],
    ...                      [0.8, 0.6, 1.7]])
    >>> whiten(features)
    array([[4.17944278, 2.69811351, 7.21248917],
           [3.29956009, 2.93273208, 9.33380951],
           [1.75976538, 0.7038557 , 7.21248917]])
    """
    check_finite = check_finite is None or bool(check_finite)
    obs = as_array(obs, "obs", check_finite, resolve_workers(None))
    narrow = obs.dtype.kind == "f" and obs.dtype.itemsize <= 4 and obs.ndim > 0 and obs.shape[0] > 0
    std = np.asarray(_std_of_narrow(obs) if narrow else np.std(obs, axis=0))
    constant = std == 0
    if constant.any():
        std = np.where(constant, std.dtype.type(1), std)
        if check_finite:
            warnings.warn(
                "Some columns have standard deviation zero. The values of these columns will not change.",
                RuntimeWarning,
                stacklevel=2,
            )
    return np.asarray(obs / std)


def _nearest(
    obs: NDArray[Any], code_book: NDArray[Any], dist_dtype: np.dtype[Any], check_finite: bool, workers: int
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Codes and distances; the observations are checked as they are read, in the same pass."""
    check_same_features(obs, code_book)
    obs = as_real(obs if obs.ndim else obs.reshape(1))
    n_codes = code_book.shape[0] if code_book.ndim else 1
    codes = np.empty(obs.shape[0], dtype=np.int32)
    dist = np.empty(obs.shape[0], dtype=dist_dtype)
    if dist_dtype is FLOAT32 and not worth_packing(obs.shape[0], n_codes, obs.shape[1] if obs.ndim == 2 else 1):
        book = as_rows(code_book, FLOAT32)
        finite = assign_few(as_rows(obs, FLOAT32), book, codes, dist, check_finite)
    else:
        book = as_rows(code_book, FLOAT64)
        finite = Nearest(obs, n_codes, workers).assign(book, codes, dist, check_finite=check_finite)
    if not finite:
        raise not_finite("obs")
    return codes, dist


def vq(
    obs: ArrayLike, code_book: ArrayLike, check_finite: bool = True, *, workers: int | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Assign the nearest code word to every observation.

    Parameters
    ----------
    obs : array_like, shape (n_obs, n_features) or (n_obs,)
        One observation a row; a 1-d array holds observations of one feature. float32 and
        float64 arrays are read where they lie, with any strides.
    code_book : array_like, shape (n_codes, n_features) or (n_codes,)
        One code word a row, with the same rank as `obs`.
    check_finite : bool, optional
        Whether to refuse infinities and NaN. Without the check, a code word that is not
        finite is never chosen, and an observation that is not finite gets code 0 and the
        distance infinity.
    workers : int, optional
        Threads to use. None (the default) and -1 mean all that this process may use; small
        problems take fewer. The result does not depend on it.

    Returns
    -------
    codes : ndarray, shape (n_obs,)
        Index of the nearest code word of each observation, the lowest one on ties: int32,
        or int64 if neither array holds floats.
    dist : ndarray, shape (n_obs,)
        Euclidean distance (not squared) to that code word: float32 if the common type of
        the arrays is float32, otherwise float64.

    Raises
    ------
    ValueError
        If the shapes do not go together, the code book is empty, the numbers are complex,
        or `check_finite` is true and a value is not finite.
    TypeError
        If an array does not hold numbers, or the common type is float16 or long double.

    Notes
    -----
    A code is the argmin of ``sum((x - c)**2)`` in float64, whatever the type of the input,
    the instruction set and the number of workers: a float32 scan with a proven error bound
    leaves the few code words that can be nearest, and the float64 formula decides among
    them. The distance of the winner is computed by that formula.

    Time is O(n_obs n_codes n_features). Besides the results it needs two float32 copies and
    a float64 copy of the code book and about half a megabyte for each worker (24 float32
    observations, if that is more); integers and arrays in another byte order are converted
    to a copy first.

    References
    ----------
    .. [1] R. M. Gray, "Vector quantization", IEEE ASSP Magazine 1 (1984) 4-29.

    Examples
    --------
    >>> import numpy as np
    >>> from vqfast import vq
    >>> code_book = np.array([[1., 1., 1.],
    ...                       [2., 2., 2.]])
    >>> features = np.array([[1.9, 2.3, 1.7],
    ...                      [1.5, 2.5, 2.2],
    ...                      [0.8, 0.6, 1.7]])
    >>> vq(features, code_book)
    (array([1, 1, 0], dtype=int32), array([0.43588989, 0.73484692, 0.83066239]))
    """
    n_workers = resolve_workers(workers)
    obs = as_array(obs, "obs", check_finite, deferred=True)
    code_book = as_array(code_book, "code_book", check_finite)
    common = np.result_type(obs, code_book)
    check_real(common)
    if common.kind != "f":
        codes, dist = _nearest(obs, code_book, FLOAT64, check_finite, n_workers)
        return codes.astype(np.int64), dist
    if common.itemsize < 4:
        raise TypeError(f"type other than float or double not supported, got {common}")
    return _nearest(obs, code_book, FLOAT32 if common == FLOAT32 else FLOAT64, check_finite, n_workers)


def py_vq(
    obs: ArrayLike, code_book: ArrayLike, check_finite: bool = True, *, workers: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`vq` with int64 codes and float64 distances, for any real numbers.

    Kept because ``scipy.cluster.vq`` has it; `vq` is as exact and needs less memory.

    Parameters
    ----------
    obs, code_book, check_finite, workers
        As in `vq`; float16 and long double are accepted too (the latter as float64).

    Returns
    -------
    codes : ndarray of int64, shape (n_obs,)
        Index of the nearest code word of each observation.
    dist : ndarray of float64, shape (n_obs,)
        Euclidean distance to that code word.

    Raises
    ------
    ValueError, TypeError
        As in `vq`.

    Examples
    --------
    >>> from vqfast import py_vq
    >>> py_vq([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [3.0, 3.0]])
    (array([0, 1]), array([0., 1.]))
    """
    n_workers = resolve_workers(workers)
    obs = as_array(obs, "obs", check_finite, deferred=True)
    code_book = as_array(code_book, "code_book", check_finite)
    common = np.result_type(obs, code_book)
    if common.kind == "c":
        check_real(common)
    codes, dist = _nearest(obs, code_book, FLOAT64, check_finite, n_workers)
    return codes.astype(np.int64), dist
