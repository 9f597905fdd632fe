"""The distances to what has been drawn: the filter in front of the double formula changes nothing."""

import numpy as np
import pytest
import reference
from test_integers import clusters, decaying, isotropic, one_huge_feature, rows_of_unlike_size, saturating_rows

from vqfast import kmeans2
from vqfast._core.seeds import BLOCK, Seeds, place_of


def whole_numbers(n_obs, n_features, dtype, rng):
    """Full of ties, and of equal observations."""
    obs = rng.integers(0, 2, (n_obs, n_features))
    obs[::3] = obs[0]
    return obs.astype(dtype)


def equal(n_obs, n_features, dtype, rng):
    return np.full((n_obs, n_features), 0.1, dtype)


def far_from_zero(n_obs, n_features, dtype, rng):
    return (rng.normal(size=(n_obs, n_features)) + 1e5).astype(dtype)


def one_far_row(n_obs, n_features, dtype, rng):
    obs = rng.normal(size=(n_obs, n_features))
    obs[-1] = 1e12
    return obs.astype(dtype)


def tiny(n_obs, n_features, dtype, rng):
    """Squares are subnormal in double, for float64."""
    return (rng.normal(size=(n_obs, n_features)) * (1e-160 if dtype == "f8" else 1e-42)).astype(dtype)


def rows_of_subnormal_distance(n_obs, n_features, dtype, rng):
    obs = np.ones((n_obs, n_features)) * rng.integers(0, 2, (n_obs, 1))
    if dtype == "f8":
        obs[obs[:, 0] == 0] += 1e-161 * rng.integers(0, 9, (1, n_features))
    return obs.astype(dtype)


def huge(n_obs, n_features, dtype, rng):
    """Some distances overflow."""
    return (rng.normal(size=(n_obs, n_features)) * (1e154 if dtype == "f8" else 3e37)).astype(dtype)


def not_finite(n_obs, n_features, dtype, rng):
    obs = rng.normal(size=(n_obs, n_features))
    obs[3::90], obs[5::90, 0], obs[7::90, 1], obs[9::90, -1] = np.nan, np.inf, -np.inf, np.nan
    obs[11::90] = 1e35
    return obs.astype(dtype)


KINDS = [
    clusters, decaying, isotropic, one_huge_feature, rows_of_unlike_size, saturating_rows, whole_numbers, equal,
    far_from_zero, one_far_row, tiny, rows_of_subnormal_distance, huge, not_finite,
]  # fmt: skip


# All of which float32 can hold.
SUITED = (clusters, decaying, isotropic, one_huge_feature, saturating_rows, whole_numbers, far_from_zero)


def lowest_after_each(obs, drawn):
    lowest = np.full(len(obs), np.inf)
    for i in drawn:
        found = reference.sq_dists(obs, obs[i : i + 1])[:, 0]
        lowest = np.where(found < lowest, found, lowest)
        yield lowest


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8), (37, 9), (511, 17), (1025, 33), (700, 130)])
def test_distances_to_the_nearest_drawn(isa, kind, shape, dtype, filtered, rng):
    obs = kind(*shape, dtype, rng)
    drawn = np.append(np.arange(12), rng.integers(0, shape[0], 15)) % shape[0]
    seeds = Seeds(obs, filtered=filtered, isa=isa)
    if kind in SUITED and shape[0] > 1:
        assert seeds.filtered == (filtered and isa != "baseline")
    for i, expected in zip(drawn, lowest_after_each(obs, drawn), strict=True):
        seeds.lower(i)
        np.testing.assert_array_equal(seeds.sq_dists, expected)
    potentials = [expected[first : first + BLOCK].sum() for first in range(0, shape[0], BLOCK)]
    np.testing.assert_allclose(seeds.sums, potentials, rtol=1e-12)


@pytest.mark.parametrize("filtered", [False, True])
def test_views_and_threads(dtype, workers, filtered, rng):
    obs = clusters(9000, 48, dtype, rng)
    wide, drawn = np.zeros((18000, 96), dtype), rng.integers(0, 9000, 9)
    wide[::2, 1::2] = obs
    expected = list(lowest_after_each(obs, drawn))[-1]
    for view in (obs, np.asfortranarray(obs), wide[::2, 1::2], obs[::-1][::-1]):
        seeds = Seeds(view, workers=workers, filtered=filtered)
        for i in drawn:
            seeds.lower(i)
        np.testing.assert_array_equal(seeds.sq_dists, expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_gain_is_what_lowering_gains(isa, dtype, workers, weighted, rng):
    obs = clusters(5000, 40, dtype, rng)
    weights = rng.random(5000) if weighted else None
    seeds = Seeds(obs, 1, weights, workers, isa, filtered=True)
    plain = Seeds(obs, 1, weights, filtered=False)
    for i in (5, 99, 4000):
        before, gain = seeds.sums.sum(), seeds.gain(i)
        assert gain == plain.gain(i)
        for each in (seeds, plain):
            each.lower(i)
        np.testing.assert_array_equal(seeds.sq_dists, plain.sq_dists)
        assert gain == np.inf if i == 5 else gain == pytest.approx(before - seeds.sums.sum())
        assert seeds.gain(i) == 0


def test_a_filter_that_keeps_nothing_out_is_given_up(integer_isa, rng):
    """Observations that bytes cannot tell apart."""
    obs = rng.normal(size=(2000, 32))
    obs[0] = 1e9
    seeds = Seeds(obs, filtered=True, isa=integer_isa)
    assert seeds.filtered
    for i in range(40):
        seeds.lower(i)
    assert not seeds.filtered  # after 32 draws
    np.testing.assert_array_equal(seeds.sq_dists, reference.sq_dists(obs, obs[:40]).min(axis=1))


def test_one_draw_that_float32_cannot_hold_is_no_reason(integer_isa, rng):
    obs = rng.normal(size=(2000, 32)).astype("f4")
    obs[1] = 1e30
    seeds = Seeds(obs, filtered=True, isa=integer_isa)
    for i in [*range(2, 33), 1, *range(33, 100)]:
        seeds.lower(i)
    assert seeds.filtered


def test_greedy_draws_where_distances_overflow(rng):
    """Infinite distances times weights of zero are no gain."""
    obs = rng.normal(size=(300, 3)) * 1e154
    weights = np.ones(300)
    weights[::2] = 0
    book = kmeans2(obs, 5, 1, minit="greedy++", rng=0, sample_weight=weights)[0]
    assert np.isfinite(book).all()


def test_data_that_float32_cannot_hold_has_no_filter(rng):
    for scale in (1e-200, 1e200, np.nan, 0):
        assert not Seeds(rng.normal(size=(5000, 32)) * scale, 100, filtered=True).filtered


def test_the_filter_pays_for_many_draws_only(rng):
    obs = rng.normal(size=(5000, 32)).astype("f4")
    assert Seeds(obs, 100, isa="baseline").filtered is False
    assert not Seeds(obs, 2).filtered
    assert not Seeds(obs[:500], 100).filtered
    assert not Seeds(obs[:, :2], 100).filtered


def test_it_is_used_where_it_pays(integer_isa, rng):
    obs = rng.normal(size=(5000, 64)).astype("f4")
    assert Seeds(obs, 100, isa=integer_isa).filtered


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("filtered", [False, True])
def test_choose(isa, dtype, workers, filtered, weighted, rng):
    """As SciPy searches for each, but never past the last: in one go, and where sums of blocks cannot tell."""
    obs = clusters(9000, 40, dtype, rng)
    weights = rng.random(9000) if weighted else None
    shares = rng.random(60)
    shares[[7, 20, 21]] = 0.0, np.nextafter(1, 0), 0.0
    chosen = Seeds(obs, 1, weights, workers, isa, filtered).choose(17, shares)
    assert chosen[0] == 17
    for place, share, lowest in zip(chosen[1:], shares, lowest_after_each(obs, chosen), strict=False):
        potential = lowest if weights is None else lowest * weights
        assert place == min(8999, np.searchsorted((potential / potential.sum()).cumsum(), share))


def test_choose_what_does_not_exist():
    seeds = Seeds(np.zeros((5, 2)))
    for number in (-1, 5):
        for call in (seeds.lower, seeds.gain, lambda i: seeds.choose(i, np.zeros(2))):
            with pytest.raises(ValueError, match=f"drawn must be below 5, got {number}"):
                call(number)
    assert np.isinf(seeds.sq_dists).all()


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1024, 5000])
@pytest.mark.parametrize("scale", [1.0, 1e-290, 1e290, 5e-324, 0.0, np.inf, np.nan])
@pytest.mark.parametrize("weighted", [False, True])
def test_place_of_a_share(n, scale, weighted, rng):
    """As searched for in the whole running sum: also at its steps, between equal ones, and past the last."""
    weights = rng.random(n) if weighted else None
    with np.errstate(all="ignore"):
        for sq_dists in (rng.random(n), rng.random(n) ** 20, (rng.random(n) < 0.01) * 1.0, np.ones(n)):
            sq_dists = sq_dists * scale
            potential = sq_dists if weights is None else sq_dists * weights
            sums = np.add.reduceat(potential, np.arange(0, n, BLOCK))
            steps = (potential / potential.sum()).cumsum()
            near = np.concatenate([steps, np.nextafter(steps, 0), np.nextafter(steps, 1)])[:: 1 + n // 100]
            for share in (0.0, np.nextafter(1, 0), *rng.random(100), *near):
                assert place_of(float(share), sq_dists, weights, sums) == np.searchsorted(steps, share)
