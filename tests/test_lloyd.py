"""Means and rounds of Lloyd's algorithm against their twins: to the last bit."""

import functools
import signal

import numpy as np
import pytest
import reference

import vqfast
from vqfast._core.lloyd import lloyd
from vqfast._core.means import Means
from vqfast._core.nearest import Nearest
from vqfast._core.passes import extents


@pytest.fixture(params=[False, True], ids=["plain", "weights"])
def weights_for(request, rng):
    """A function of n that makes weights, some of them zero; or None."""
    return lambda n: rng.integers(0, 4, n) * rng.uniform(0.5, 2, n) if request.param else None


def test_means(isa, dtype, workers, weights_for, rng):
    for n_obs, n_codes, n_features in ((1, 1, 1), (40, 5, 3), (300, 20, 9), (8001, 7, 32)):
        obs = rng.normal(2, 1, (n_obs, n_features)).astype(dtype)
        weights, book = weights_for(n_obs), rng.normal(size=(n_codes, n_features))
        update = Means(Nearest(obs, n_codes, workers, isa), weights)
        if weights is not None and not weights.max() > 0:
            continue
        for _ in range(3):  # later updates only look at what moved
            codes = rng.integers(0, max(1, n_codes - 1), n_obs).astype(np.int32)
            expected, members = reference.means(obs, codes, book, weights)
            flags = np.zeros(n_codes, dtype=bool)
            n_empty = update.update(codes, book, flags)
            np.testing.assert_array_equal(book, expected)
            np.testing.assert_array_equal(flags, members)
            assert n_empty == n_codes - members.sum()


def test_means_for_another_code_book(dtype, rng):
    """A caller may have moved the words since the last update, as long steps do."""
    obs, codes = rng.normal(size=(200, 9)).astype(dtype), rng.integers(0, 6, 200).astype(np.int32)
    update, flags = Means(Nearest(obs, 6)), np.zeros(6, dtype=bool)
    for _ in range(3):  # nobody moves
        book = rng.normal(size=(6, 9))
        expected, _ = reference.means(obs, codes, book)
        update.update(codes, book, flags)
        np.testing.assert_array_equal(book, expected)


def test_means_of_strided_observations(dtype, weights_for, rng):
    obs = rng.normal(size=(50, 6)).astype(dtype)
    codes, weights = rng.integers(0, 4, 50).astype(np.int32), weights_for(50)
    expected, _ = reference.means(obs, codes, np.zeros((4, 6)), weights)
    for view in (
        np.asfortranarray(obs),
        np.repeat(obs, 3, axis=1)[:, ::3],
        obs[::-1].copy()[::-1],
        obs[:, ::-1].copy()[:, ::-1],
    ):
        book = np.zeros((4, 6))
        Means(Nearest(view, 4), weights).update(codes, book, np.zeros(4, dtype=bool))
        np.testing.assert_array_equal(book, expected)


def test_lloyd(isa, dtype, workers, weights_for, rng):
    for n_obs, n_codes, n_features, n_rounds in ((60, 5, 2, 1), (60, 5, 2, 30), (500, 40, 3, 5), (3000, 17, 24, 4)):
        obs = rng.normal(size=(n_obs, n_features)).astype(dtype)
        weights, start = weights_for(n_obs), rng.normal(size=(n_codes, n_features))
        start[-1] += 1e3  # never wins
        expected, expected_codes, n_with_empty = reference.kmeans2(obs, start, n_rounds, weights)
        search, codes = Nearest(obs, n_codes, workers, isa), np.zeros(n_obs, dtype=np.int32)
        assert lloyd(search, Means(search, weights), start, codes, n_rounds) == n_with_empty == n_rounds
        np.testing.assert_array_equal(start, expected)
        np.testing.assert_array_equal(codes, expected_codes)


def test_sums_where_the_path_changes_in_the_first_round(integer_isa, workers, rng):
    """Integers cannot tell these codes apart: blocks are run again by another path, and move no sum twice."""
    obs = (rng.choice([-100, 100], (20000, 1)) + 0.1 * rng.normal(size=(20000, 24))).astype("f4")
    start = obs[:256].astype("f8")
    expected, expected_codes, _ = reference.kmeans2(obs, start, 3)
    search, codes = Nearest(obs, 256, workers, integer_isa, rounds=3), np.zeros(20000, dtype=np.int32)
    assert search.integers is not None
    lloyd(search, Means(search), start, codes, 3)
    assert search.integers is None
    np.testing.assert_array_equal(start, expected)
    np.testing.assert_array_equal(codes, expected_codes)


def test_means_take_a_range_that_is_known(rng):
    obs = (rng.normal(size=(500, 3)) * [1, 1e-3, 1e5]).astype("f4")
    books = [np.zeros((4, 3)), np.zeros((4, 3))]
    for book, known in zip(books, (None, extents(obs)), strict=True):
        Means(Nearest(obs, 4), known=known).update(np.arange(500, dtype=np.int32) % 4, book, np.zeros(4, dtype=bool))
    np.testing.assert_array_equal(*books)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_again_after_an_interruption(workers, rng):
    def interrupt(*_):
        raise KeyboardInterrupt

    def run_for(seconds):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        lloyd(search, means, start.copy(), codes, 100000)

    obs = rng.normal(size=(60000, 40)).astype("f4")
    start, codes = obs[:300].astype("f8"), np.zeros(60000, dtype=np.int32)
    search = Nearest(obs, 300, workers, rounds=100)
    means, before = Means(search), signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_for(0.05)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    books = [start.copy(), start.copy()]
    lloyd(search, means, books[0], codes, 2)
    fresh = Nearest(obs, 300)
    lloyd(fresh, Means(fresh), books[1], np.zeros(60000, dtype=np.int32), 2)
    np.testing.assert_array_equal(*books)


def test_lloyd_stops_on_empty(dtype, rng):
    obs, book = rng.normal(size=(60, 2)).astype(dtype), np.array([[0.0, 0.0], [1.0, 1.0], [1e3, 0.0]])
    once, _, _ = reference.kmeans2(obs, book, 1)
    search, codes = Nearest(obs, 3), np.zeros(60, dtype=np.int32)
    assert lloyd(search, Means(search), book, codes, 50, True) == 1
    np.testing.assert_array_equal(book, once)


def test_means_of_features_of_unlike_size(rng):
    obs = (rng.uniform(1, 2, (1000, 2)) * [1e12, 1e-6]).astype("f4")
    book = np.zeros((1, 2))
    Means(Nearest(obs, 1)).update(np.zeros(1000, dtype=np.int32), book, np.zeros(1, dtype=bool))
    np.testing.assert_allclose(book[0], obs.mean(axis=0, dtype="f8"), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e6, 1e12, 1e17])
def test_means_of_clusters_of_unlike_size(scale, rng):
    obs = np.concatenate([rng.uniform(1, 2, (50, 2)) * scale, rng.uniform(1, 2, (50, 2)) / scale]).astype("f4")
    codes, book = np.repeat([0, 1], 50).astype(np.int32), np.zeros((2, 2))
    Means(Nearest(obs, 2)).update(codes, book, np.zeros(2, dtype=bool))
    np.testing.assert_allclose(book, [obs[codes == c].mean(axis=0, dtype="f8") for c in (0, 1)], rtol=1e-6)


def test_means_of_a_light_cluster():
    data = np.array([[1.0], [1.2], [10.0], [10.4]], dtype="f4")
    book, _ = vqfast.kmeans2(data, data[[0, 2]], 2, minit="matrix", sample_weight=[1, 1, 1e-40, 1e-40])
    np.testing.assert_allclose(book.ravel(), [1.1, 10.2], rtol=1e-6)


def test_following_fewer_codes_ignores_old_codes(isa, rng):
    """Codes of dropped code words must not be taken as guesses: their packed rows are stale."""
    obs = rng.normal(size=(4000, 64)).astype("f4")
    book, codes = obs[:40].astype("f8") + rng.normal(size=(40, 64)) * 1e-3, np.zeros(4000, dtype=np.int32)
    search = Nearest(obs, 40, 1, isa, "panels")
    search.assign(book, codes)
    fewer = np.repeat(obs[:10].astype("f8"), 2, axis=0) + np.tile([[0.0], [1e-9]], (10, 64))
    search.assign(fewer, codes, follow=True)
    expected, _ = reference.nearest(obs, fewer)
    np.testing.assert_array_equal(codes, expected)


def test_means_with_weights_of_unlike_size(rng):
    obs, codes = rng.normal(5, 1, (200, 2)).astype("f4"), np.repeat([0, 1], 100).astype(np.int32)
    weights = np.where(codes == 0, 1e18, 1.0)
    book = np.zeros((2, 2))
    Means(Nearest(obs, 2), weights).update(codes, book, np.zeros(2, dtype=bool))
    np.testing.assert_allclose(book, [obs[codes == c].mean(axis=0, dtype="f8") for c in (0, 1)], rtol=1e-6)


@pytest.mark.parametrize("weight", [1e-300, 1e-320])
def test_means_with_tiny_weights(weight, rng):
    obs = rng.normal(5, 1, (200, 2)).astype("f4")
    book, _ = vqfast.kmeans2(obs, np.zeros((1, 2)), 1, minit="matrix", sample_weight=np.full(200, weight))
    np.testing.assert_allclose(book[0], obs.mean(axis=0, dtype="f8"), rtol=1e-6)


# ---- bounds from round to round ----------------------------------------------------------


def drifting_books(kind, n_codes, n_features, rng):
    """Code books of successive rounds: each a step from the one before, of any size."""
    book = rng.normal(3, 1, (n_codes, n_features))
    for i in range(8):
        yield book.copy()
        if kind == "small steps":
            book += rng.normal(size=book.shape) * 0.05 / (i + 1)
        elif kind == "one moves":
            book[rng.integers(n_codes)] = rng.normal(3, 1, n_features)
        elif kind == "jumps":
            book = rng.normal(3, 1, (n_codes, n_features)) * 10.0 ** rng.integers(-3, 4)
        elif kind == "nothing moves":
            pass
        elif kind == "last bits":
            book = np.nextafter(book, rng.choice([-np.inf, np.inf], book.shape))
        elif kind == "exchange":
            book = book[rng.permutation(n_codes)]
        elif kind == "meet":
            book[: n_codes // 2] = book[n_codes - n_codes // 2 :]
        elif kind == "away and back":
            book[0] = 1e6 if i % 2 else 3.0


KINDS = ("small steps", "one moves", "jumps", "nothing moves", "last bits", "exchange", "meet", "away and back")


@pytest.mark.parametrize("kind", KINDS)
def test_following_a_code_book(isa, bounded_path, dtype, kind, rng):
    for n_obs, n_codes, n_features in ((70, 97, 48), (300, 130, 65), (30, 60, 130)):
        obs = rng.normal(3, 1, (n_obs, n_features)).astype(dtype)
        search = Nearest(obs, n_codes, 1, isa, bounded_path, rounds=20)
        codes, dist = np.zeros(n_obs, dtype=np.int32), np.zeros(n_obs)
        for i, book in enumerate(drifting_books(kind, n_codes, n_features, rng)):
            expected, sq = reference.nearest(obs, book)
            search.assign(book, codes, dist, follow=i > 0)
            np.testing.assert_array_equal(codes, expected)
            np.testing.assert_array_equal(dist, reference.distances(sq))


def test_following_fewer_codes(isa, bounded_path, dtype, rng):
    obs = rng.normal(size=(90, 70)).astype(dtype)
    search, codes = Nearest(obs, 150, 1, isa, bounded_path, rounds=20), np.zeros(90, dtype=np.int32)
    book = rng.normal(size=(150, 70))
    for i, n_codes in enumerate((150, 150, 101, 101, 60, 60, 1, 1, 150, 150)):
        book += 0.01 * rng.normal(size=book.shape)
        search.assign(book[:n_codes].copy(), codes, follow=i > 0)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book[:n_codes])[0])


@functools.cache
def fitted(n_obs, n_codes, n_features, dtype_name, lattice):
    """obs, first code book, fitted code book and codes; some observations are of a huge size."""
    rng = np.random.default_rng(n_obs)
    obs = rng.integers(-2, 3, (n_obs, n_features)) if lattice else rng.normal(3, 1, (n_obs, n_features))
    obs = obs.astype(dtype_name)
    obs[::97] *= obs.dtype.type(1e4)
    start = obs[rng.choice(n_obs, n_codes, replace=False)].astype("f8")
    return obs, start, *reference.kmeans2(obs, start, 12)[:2]


@pytest.mark.parametrize("lattice", [False, True], ids=["normal", "lattice"])
def test_fits_with_bounds(isa, bounded_path, dtype, workers, lattice):
    for n_obs, n_codes, n_features in ((700, 60, 48), (300, 130, 70), (1600, 100, 41)):
        obs, start, expected, expected_codes = fitted(n_obs, n_codes, n_features, dtype.name, lattice)
        book, codes = start.copy(), np.zeros(n_obs, dtype=np.int32)
        search = Nearest(obs, n_codes, workers, isa, bounded_path, rounds=12)
        lloyd(search, Means(search), book, codes, 12)
        np.testing.assert_array_equal(codes, expected_codes)
        np.testing.assert_array_equal(book, expected)


def test_bounds_and_numbers_not_finite(isa, bounded_path, dtype, rng):
    obs, book = rng.normal(size=(120, 60)).astype(dtype), rng.normal(size=(110, 60))
    obs[::7, 3] = np.nan
    obs[3::7, 5] = np.finfo(dtype).max
    search, codes = Nearest(obs, 110, 1, isa, bounded_path, rounds=20), np.zeros(120, dtype=np.int32)
    for i in range(6):
        book[rng.integers(110, size=3), rng.integers(60, size=3)] = [np.nan, np.inf, 1.0]
        book += 0.01 * rng.normal(size=book.shape)
        search.assign(book, codes, follow=i > 0)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


def test_following_duplicates_of_few_features(isa, bounded_path, dtype, rng):
    obs = rng.integers(-1, 2, (70, 20)).astype(dtype)
    search, codes = Nearest(obs, 97, 1, isa, bounded_path, rounds=20), np.zeros(70, dtype=np.int32)
    for i in range(3):
        book = rng.integers(-1, 2, (5, 20)).astype("f8")[rng.integers(0, 5, 97)]
        search.assign(book, codes, follow=i > 0)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])
