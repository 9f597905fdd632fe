"""The door: every conversion of an array, and the errors that several functions share."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core.machine import can_thread, max_threads
from ._core.passes import extents, magnitude

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)

# OpenMP's threads do not survive a fork, so a forked child works on one; a constant,
# since a child has another number.
_LOADED_BY = os.getpid()

# More threads than CPUs help nobody; beyond some thousands the OpenMP library ends the process.
_MOST_WORKERS = max(8, os.cpu_count() or 1)

# Rows of a non-native array that are looked at in one piece, to bound the memory.
_CHECKED_AT_ONCE = 1 << 16


def _quota_of_cgroup() -> int:
    """CPUs that the control group grants, rounded up; a large number if it does not say."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return 1 << 16


_CPU_QUOTA = _quota_of_cgroup()


def resolve_workers(workers: int | None) -> int:
    """Threads to use at most: None and -1 are all that this process may use."""
    if os.getpid() != _LOADED_BY:
        return 1
    if workers is None or workers == -1:
        return min(max_threads(), _CPU_QUOTA)
    try:
        count = workers.__index__()
    except AttributeError:
        raise TypeError(f"workers must be None, -1 or a positive integer, got {workers!r}") from None
    if count < 1:
        raise ValueError(f"workers must be None, -1 or a positive integer, got {workers}")
    return min(count, _MOST_WORKERS) if can_thread() else 1


def is_native(array: NDArray[Any]) -> bool:
    """Whether the kernels can read the array where it lies."""
    return (
        (array.dtype == FLOAT64 or array.dtype == FLOAT32)
        and array.dtype.isnative
        and array.flags.aligned
        and array.ndim in (1, 2)
    )


def _all_finite(array: NDArray[Any], workers: int) -> bool:
    if is_native(array):
        return magnitude(array, workers) < np.inf
    if array.ndim == 0:
        return bool(np.isfinite(array))
    return all(
        np.isfinite(array[start : start + _CHECKED_AT_ONCE]).all()
        for start in range(0, array.shape[0], _CHECKED_AT_ONCE)
    )


def not_finite(name: str) -> ValueError:
    """The error for an infinity or a NaN."""
    return ValueError(f"array must not contain infs or NaNs, but {name} does")


def as_array(
    values: ArrayLike, name: str, check_finite: bool = True, workers: int = 1, deferred: bool = False
) -> NDArray[Any]:
    """The values as a plain array of numbers, finite ones if that is to be checked.

    With `deferred`, an array that the kernels read where it lies is left for them to check.
    """
    array = np.asarray(values)
    kind = array.dtype.kind
    if kind in "fc":
        if check_finite and not (deferred and is_native(array)) and not _all_finite(array, workers):
            raise not_finite(name)
    elif kind not in "biu":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    return array


def range_of(array: NDArray[Any], name: str, check_finite: bool, workers: int) -> tuple[float, float] | None:
    """What `extents` says of an array that `as_array` has deferred; None for others and float64.

    The one pass over float32 observations that a fit needs also checks them.
    """
    if not is_native(array):
        return None
    if array.dtype == FLOAT64:
        if check_finite and not _all_finite(array, workers):
            raise not_finite(name)
        return None
    found = extents(array, workers)
    if check_finite and not found[0] < np.inf:
        raise not_finite(name)
    return found


def check_real(dtype: np.dtype[Any]) -> None:
    """Refuse what is neither a number of at most 64 bits nor real, in SciPy's words."""
    if dtype.kind == "c":
        raise ValueError(f"Unsupported dtype {dtype}")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise TypeError(f"type other than float or double not supported, got {dtype}")


def as_real(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself if the kernels can read it, otherwise a float copy of equal values.

    float16 and big-endian float32 become float32, everything else float64.
    """
    if is_native(array):
        return array
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return np.require(array, FLOAT32 if narrow else FLOAT64, ["C", "A"])


def as_rows(array: NDArray[Any], dtype: np.dtype[Any] = FLOAT64) -> NDArray[Any]:
    """The array as the kernels take a code book: in C order, 2-d, possibly the same memory."""
    flags = array.flags
    if array.dtype != dtype or not (flags.c_contiguous and flags.aligned):
        array = array.astype(dtype, order="C")
    return array if array.ndim == 2 else array.reshape(-1, 1)


def check_same_features(obs: NDArray[Any], code_book: NDArray[Any]) -> None:
    """Refuse shapes that do not go together, in SciPy's words."""
    if obs.ndim != code_book.ndim:
        raise ValueError(
            "observation and code should have same number of dimensions, "
            f"got obs of shape {obs.shape} and code_book of shape {code_book.shape}"
        )
    if obs.ndim > 2:
        raise ValueError(f"ndim different than 1 or 2 are not supported, got obs of shape {obs.shape}")
    if obs.ndim == 2 and obs.shape[1] != code_book.shape[1]:
        raise ValueError(
            "obs and code should have same number of features (columns), "
            f"got obs of shape {obs.shape} and code_book of shape {code_book.shape}"
        )
    if code_book.size == 0 and code_book.ndim and code_book.shape[0] == 0:
        raise ValueError(f"code_book must hold at least one code word, got shape {code_book.shape}")


def as_weights(sample_weight: ArrayLike | None, n_obs: int) -> NDArray[np.float64] | None:
    """One finite weight >= 0 for each observation, not all of them zero; None stays None."""
    if sample_weight is None:
        return None
    weights = as_array(sample_weight, "sample_weight")
    if weights.dtype.kind == "c":
        raise TypeError(f"sample_weight must be an array of real numbers, got dtype {weights.dtype}")
    weights = np.require(weights, FLOAT64, ["C", "A"])
    if weights.shape != (n_obs,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_obs} observations, got shape {weights.shape}"
        )
    if n_obs and not (weights.min() >= 0 and weights.max() > 0):
        raise ValueError("sample_weight must be non-negative with at least one weight above zero")
    # A common power of two changes no mean; it keeps products with the observations in range.
    return np.ldexp(weights, -int(np.frexp(weights.max())[1])) if n_obs else weights
