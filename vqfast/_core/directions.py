"""The few directions that hold nearly all of some observations, for the integer scan (integers.h).

Whatever is returned, the codes are right: directions only decide how much the scan can leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]
Project = Callable[[Matrix, Matrix], Matrix]

# Observations that are looked at, half of them to find directions and half to see what is left.
SAMPLE = 512
# Directions to choose from; with the feature for the rest they fill whole vectors.
CHOICES = (31, 63)
# Shifts of the inner products (see orthonormal): what the next step refines need only be nearly orthonormal.
ROUGH = (1e-4,)
EXACT = (1e-4, 1e-5, 0)
# Without so much of the squared lengths in the first of them nothing comes of it.
LEAST_SHARE = 0.6
# What is left may blur a squared distance by this share of the smallest ones: with variances 1/i^1.5
# (0.10) a fit takes 0.75 of the time, with 1/i^1.25 (0.2) 1.2 times the time.
MOST_BLUR = 0.13


def leading_directions(obs: Matrix, n_codes: int, project: Project) -> Matrix | None:
    """Orthonormal columns (n_features, 31 or 63) for a fit of so many codes, or None where they do not pay.

    project(rows, columns) is their matrix product in float32, the number of columns being a
    multiple of 32. Takes SAMPLE * n_features * 32 multiply-adds twice where the first look says
    no, six times where 31 directions will do, and 21 times else.
    """
    with np.errstate(all="ignore"):
        sample = np.array(obs[:: max(1, len(obs) // SAMPLE)][:SAMPLE], order="C")
        sample -= sample.mean(0)
        sample /= max(np.max(sample, initial=0), -np.min(sample, initial=0))
        sample = sample.astype("f4", copy=False)
        seen, held = np.ascontiguousarray(sample[::2]), np.ascontiguousarray(sample[1::2])
        seen_columns = np.ascontiguousarray(seen.T)
        for n_directions in CHOICES:
            try:
                start = orthonormal(np.ascontiguousarray(seen_columns[:, : n_directions + 1]), project, ROUGH)
                directions = refined(seen, seen_columns, start, project)
                if not left_out(held, directions, project) < (1 - LEAST_SHARE) * mean_sq_norm(held):
                    return None
                for shifts in (ROUGH, EXACT):
                    directions = refined(seen, seen_columns, directions, project, shifts)
            except np.linalg.LinAlgError:  # the sample does not span so many
                return None
            # 2 |rest of x| |rest of c|: a code word is a mean of n_obs / n_codes observations.
            blur = 2 * left_out(held, directions, project) * np.sqrt(n_codes / len(obs))
            variances, axes = principal_axes(seen, directions, project)
            if blur < MOST_BLUR * least_distortion(variances, mean_sq_norm(seen), np.log2(n_codes)):
                turns = np.zeros(axes.shape, "f4")
                turns[:, :n_directions] = evened(axes[:, :n_directions])
                return project(directions, turns)[:, :n_directions]
    return None


def some_directions(n_features: int) -> Matrix:
    """Up to 15 directions, whatever the observations are, for tests."""
    return evened(np.eye(n_features, min(n_features, 15)))


def refined(
    rows: Matrix, columns: Matrix, directions: Matrix, project: Project, shifts: tuple[float, ...] = EXACT
) -> Matrix:
    """Directions nearer to the leading ones of the rows, whose transpose is columns: a step of subspace iteration."""
    return orthonormal(project(columns, project(rows, directions)), project, shifts)


def orthonormal(columns: Matrix, project: Project, shifts: tuple[float, ...] = EXACT) -> Matrix:
    """Orthonormal columns of the same span; LinAlgError where they are not independent.

    By Cholesky factors of their inner products, first of shifted ones: float32 products of
    columns that are nearly dependent are not positive definite.
    """
    for shift in shifts:
        columns = columns / np.sqrt(np.square(columns).sum(0))
        products = project(np.ascontiguousarray(columns.T), columns).astype(float)
        factor = np.linalg.cholesky(products + shift * np.eye(len(products)))
        columns = project(columns, np.ascontiguousarray(np.linalg.inv(factor).T, "f4"))
    return columns


def mean_sq_norm(rows: Matrix) -> float:
    return float(np.mean(np.square(rows).sum(1)))


def left_out(rows: Matrix, directions: Matrix, project: Project) -> float:
    """Mean of the squared lengths outside the directions."""
    return mean_sq_norm(rows) - mean_sq_norm(project(rows, directions))


def principal_axes(rows: Matrix, directions: Matrix, project: Project) -> tuple[Matrix, Matrix]:
    """Variances of the rows along their principal axes within the directions, largest first, and these axes.

    By orthogonal iteration, nearly: LAPACK's eigenvalues wake the threads of a BLAS, which spin on
    for 0.1 s beside those of the fit.
    """
    seen = project(rows, directions)
    products = project(np.ascontiguousarray(seen.T), seen).astype(float) / len(rows)
    axes = np.eye(len(products))
    for _ in range(8):
        axes, lengths = np.linalg.qr(products @ axes)
    return np.maximum(np.abs(np.diagonal(lengths)), 1e-30), axes


def least_distortion(leading: Matrix, total: float, bits: float) -> float:
    """Mean squared error of so many bits for a normal vector of these leading variances (water-filling)."""
    counts = np.arange(1, len(leading) + 1)
    levels = np.exp2((np.cumsum(np.log2(leading)) - 2 * bits) / counts)
    count = max(1, int(np.sum(levels < leading)))
    return float(count * levels[count - 1] + max(0.0, total - np.sum(leading[:count])))


def evened(directions: Matrix) -> Matrix:
    """Other axes of the same space, along which variances are alike: integers of one unit lose less of them."""
    n_directions = directions.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(n_directions, n_directions)))[0]
    turned: Matrix = directions @ rotation.astype(directions.dtype)
    return turned
