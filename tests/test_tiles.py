"""Fits of few features in tiles: the same to the last bit as without them, and as the twin."""

import numpy as np
import pytest
import reference

from vqfast._core.lloyd import lloyd
from vqfast._core.means import Means
from vqfast._core.nearest import Nearest


def fit(obs, start, n_rounds, *, path=None, workers=1, isa=None, tiles=False):
    search = Nearest(obs, len(start), workers, isa, path, rounds=n_rounds)
    book, codes = np.array(start, dtype="f8"), np.zeros(len(obs), dtype=np.int32)
    return book, codes, lloyd(search, Means(search), book, codes, n_rounds, False, tiles)


def colours(n_obs, n_features, rng):
    """Whole numbers, many of them equal, as of a picture."""
    return np.clip(rng.normal(100, 40, (n_obs, n_features)).round(), 0, 255)


def spread(n_obs, n_features, rng):
    return rng.normal(3, 1, (n_obs, n_features))


def lattice(n_obs, n_features, rng):
    return rng.integers(-2, 3, (n_obs, n_features))


def far_clusters(n_obs, n_features, rng):
    return rng.integers(0, 4, (n_obs, n_features)) * 1e6 + rng.normal(size=(n_obs, n_features))


def one_point(n_obs, n_features, rng):
    return np.ones((n_obs, n_features))


def flat(n_obs, n_features, rng):
    obs = rng.normal(size=(n_obs, n_features))
    obs[:, 1:] = -7.5
    return obs


KINDS = [colours, spread, lattice, far_clusters, one_point, flat]


@pytest.mark.parametrize("kind", KINDS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8])
def test_fits(isa, kind, n_features, rng):
    for n_obs, n_codes in ((1, 1), (63, 5), (64, 9), (65, 64), (1500, 40), (3000, 17)):
        obs = kind(n_obs, n_features, rng).astype("f4")
        start = obs[rng.choice(n_obs, n_codes, replace=False)]
        expected, expected_codes, n_with_empty = reference.kmeans2(obs, start, 7)
        book, codes, found = fit(obs, start, 7, isa=isa, tiles=True)
        np.testing.assert_array_equal(codes, expected_codes)
        np.testing.assert_array_equal(book, expected)
        assert found == n_with_empty


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 8])
def test_larger_fits(n_features, workers, rng):
    """Chosen by shape where it pays; against the double formula for every pair."""
    obs = (rng.normal(size=(9, n_features))[rng.integers(0, 9, 20_000)] + colours(20_000, n_features, rng)).astype("f4")
    start = np.unique(obs, axis=0)[::70][:200]
    expected = fit(obs, start, 6, path="direct")
    for found in (fit(obs, start, 6, workers=workers), fit(obs, start, 6, path="lanes", tiles=True, workers=workers)):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_a_start_that_float32_does_not_hold(isa, rng):
    obs, start = spread(600, 3, rng).astype("f4"), rng.normal(3, 1, (20, 3))
    for n_rounds in (1, 2, 3, 8):
        expected = reference.kmeans2(obs, start, n_rounds)
        found = fit(obs, start, n_rounds, isa=isa, tiles=True)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-6, 1e9, 1e18])
def test_sizes(scale, rng):
    """Squares that leave float32 are not left to it."""
    obs = (spread(5000, 2, rng) * scale).astype("f4")
    start = obs[:50]
    expected = reference.kmeans2(obs, start, 5)
    for found in (fit(obs, start, 5), fit(obs, start, 5, tiles=True)):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_near_ties(isa, rng):
    """Points on the bisector of two code words, but for the last bit."""
    left, right = np.float32([0.1, 0.7, -0.3]), np.float32([0.9, 0.2, 0.4])
    middle = (left + right) / 2
    across = np.cross(right - left, [0.3, 0.5, 0.1])
    obs = (middle + rng.uniform(-1, 1, (4000, 1)) * across).astype("f4")
    obs = np.concatenate([obs, np.nextafter(obs, np.float32(2)), obs])
    expected = reference.kmeans2(obs, [left, right, left], 1)
    found = fit(obs, [left, right, left], 1, isa=isa, tiles=True)
    np.testing.assert_array_equal(found[1], expected[1])


def test_strides(rng):
    obs = spread(700, 3, rng).astype("f4")
    expected = fit(obs, obs[:30], 6, path="direct")
    for view in (np.asfortranarray(obs), np.repeat(obs, 2, axis=1)[:, ::2], obs[:, ::-1].copy()[:, ::-1]):
        found = fit(view, obs[:30], 6, tiles=True)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_ties_by_rounding_far_from_the_centre(isa, rng):
    """Nearer by less than a double can say, where the box is wide in another feature."""
    x = np.tile(np.arange(-500, 501), 5).astype("f4")
    obs, start = np.stack([x, 0 * x], 1), np.float32([[0, 1e-10], [0, 0]])
    expected = reference.kmeans2(obs, start, 3)
    found = fit(obs, start, 3, isa=isa, tiles=True)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_grids_with_a_thin_feature(rng):
    for _ in range(300):
        n_features = rng.integers(2, 4)
        obs = rng.integers(-300, 301, (200, n_features)).astype("f4")
        obs[:, -1] = rng.integers(0, 2, 200) * 10.0 ** -rng.integers(6, 12)
        start = obs[rng.choice(200, 6, replace=False)]
        start[:3, :-1] = start[3:, :-1]
        expected, found = fit(obs, start, 4, path="direct"), fit(obs, start, 4, tiles=True)
        np.testing.assert_array_equal(found[1], expected[1])
