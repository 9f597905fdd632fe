"""Slow NumPy twins of the compiled core: the oracle of the suite.

Written from the documented rules alone (kernels.h, the docstrings), so that agreement to the
last bit means something. NumPy's elementwise operations never fuse a multiply with an add.
"""

import numpy as np

N_PARTIAL_SUMS = 8


def columns(array):
    """A 1-d array as one feature, as float64."""
    array = np.asarray(array, dtype=np.float64)
    return array if array.ndim == 2 else array.reshape(-1, 1)


def sq_dists(obs, code_book):
    """All squared distances: eight interleaved partial sums, added from left to right."""
    obs, code_book = columns(obs), columns(code_book)
    n_features = obs.shape[1]
    total = np.zeros((len(obs), len(code_book)))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for first in range(min(n_features, N_PARTIAL_SUMS)):
            partial = np.zeros_like(total)
            for j in range(first, n_features, N_PARTIAL_SUMS):
                difference = obs[:, j, None] - code_book[None, :, j]
                partial += difference * difference
            total += partial
    return total


def nearest(obs, code_book):
    """Codes, and squared distances to their code words: the lowest index on ties, NaN never."""
    every = sq_dists(obs, code_book)
    every[np.isnan(every)] = np.inf
    codes = every.argmin(axis=1) if every.size else np.zeros(len(every), dtype=int)
    return codes.astype(np.int32), every[np.arange(len(every)), codes]


def distances(sq, dtype=np.float64):
    with np.errstate(over="ignore", under="ignore"):
        return np.sqrt(sq).astype(dtype)


def fixed_point_unit(obs, weights):
    """The two factors of the fixed-point sums of float32: n of the largest terms stay below 2^62."""
    largest = float(np.abs(obs).max(initial=0))
    if weights is not None:
        largest *= float(weights.max())
    _, exponent = np.frexp(largest)
    bits = 62 - int(np.ceil(np.log2(max(len(obs), 1))))
    return np.ldexp(1.0, bits - int(exponent)), np.ldexp(1.0, bits)


def fits_fixed_point(obs, weights):
    """Whether the smallest term still has 30 bits above the unit."""
    sizes = np.abs(obs[obs != 0])
    largest, smallest = float(sizes.max(initial=0)), float(sizes.min(initial=np.inf))
    if weights is not None:
        largest, smallest = (
            largest * float(weights.max()),
            smallest * float(weights.min(initial=np.inf, where=weights > 0)),
        )
    bits = 62 - int(np.ceil(np.log2(max(len(obs), 1))))
    return smallest > np.ldexp(largest, 30 - 2 * bits)


def means(obs, codes, code_book, weights=None):
    """The code book with the means of the clusters that have weight, and which those are.

    float64 (and float32 that is not finite) is added in the order of the rows, finite
    float32 in int64 fixed point; the means of float32 are float32 values.
    """
    book, codes = np.array(code_book, dtype=np.float64), np.asarray(codes)
    rows = columns(obs)
    narrow = np.asarray(obs).dtype == np.float32
    weight = np.ones(len(rows)) if weights is None else weights
    totals = np.zeros(len(book))
    np.add.at(totals, codes, weight)
    if narrow and np.isfinite(rows).all() and fits_fixed_point(rows, weights):
        unit, low_unit = fixed_point_unit(rows, weights)
        high, low = np.zeros((2, *book.shape), dtype=np.int64)
        terms = rows * (unit * weight)[:, None]
        np.add.at(high, codes, np.trunc(terms).astype(np.int64))
        np.add.at(low, codes, np.trunc((terms - np.trunc(terms)) * low_unit).astype(np.int64))
        sums, divisors = high.astype(np.float64) + low.astype(np.float64) / low_unit, unit
    else:
        sums, divisors = np.zeros(book.shape), 1.0
        np.add.at(sums, codes, rows * weight[:, None])
    members = totals > 0
    new = sums[members] / totals[members, None] / divisors
    book[members] = new
    return (book.astype(np.float32).astype(np.float64) if narrow else book), members


def kmeans2(obs, code_book, n_rounds, weights=None):
    """All rounds, none skipped: code book, codes before the last means, rounds with an empty cluster."""
    book = columns(code_book).copy()
    n_with_empty = 0
    for _ in range(n_rounds):
        codes, _ = nearest(obs, book)
        book, members = means(obs, codes, book, weights)
        n_with_empty += not members.all()
    return book, codes, n_with_empty


def kmeans_run(obs, guess, thresh=1e-5, weights=None, max_iter=None):
    """One run: empty clusters are dropped, the distortion is that of the returned code book."""
    book = columns(guess).copy()
    previous, change, n_done = np.inf, np.inf, 0

    def distortion():
        return np.average(distances(nearest(obs, book)[1]), weights=weights)

    while change > thresh and (max_iter is None or n_done < max_iter):
        mean_dist = distortion()
        book, members = means(obs, nearest(obs, book)[0], book, weights)
        book = book[members]
        change, previous, n_done = abs(previous - mean_dist), mean_dist, n_done + 1
    return book, distortion()


def kmeans(obs, k, n_runs, rng, thresh=1e-5):
    """The best of several runs, the first of equals."""
    best = None
    for _ in range(n_runs):
        run = kmeans_run(obs, obs[rng.choice(len(obs), size=k, replace=False)], thresh)
        if best is None or run[1] < best[1]:
            best = run
    return best


def plus_plus(obs, k, rng):
    """k-means++ that computes every distance again for every code word, as SciPy does."""
    obs = np.asarray(obs)
    n_obs = len(obs)
    if isinstance(rng, np.random.Generator):
        chosen = [int(rng.integers(n_obs))]
    else:
        chosen = [int(rng.randint(n_obs, dtype="int64"))]
    while len(chosen) < k:
        lowest = sq_dists(obs, obs[chosen]).min(axis=1)
        cumulative = (lowest / lowest.sum()).cumsum()
        chosen.append(min(int(np.searchsorted(cumulative, rng.uniform())), n_obs - 1))
    return obs[chosen].astype(np.float64)


def whiten(obs):
    """Every column over its standard deviation, computed in float64."""
    wide = np.asarray(obs, dtype=np.float64)
    std = np.sqrt(np.mean((wide - wide.mean(axis=0)) ** 2, axis=0))
    return wide / np.where(std == 0, 1, std)
