"""Promise 1: every code is the argmin of the double formula, on data made to break the filters."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vqfast
from vqfast._core.nearest import Nearest, paths_of

# Both scans and the direct path are reached by number of features and of observations.
SHAPES = [
    (n_obs, n_codes, d)
    for n_obs, n_codes in ((5, 3), (90, 2), (90, 17), (200, 70))
    for d in (1, 2, 3, 4, 5, 8, 9, 16, 33, 41, 64, 100)
]


def assert_exact(obs, code_book, **options):
    """Codes and distances are the twin's, with any rank and any pair of types."""
    obs, code_book = np.asarray(obs), np.asarray(code_book)
    codes, sq = reference.nearest(obs, code_book)
    dtype = np.float32 if np.result_type(obs, code_book) == np.float32 else np.float64
    found, dist = vqfast.vq(obs, code_book, **options)
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(dist, reference.distances(sq, dtype))
    assert dist.dtype == dtype


def smallest_step(values, rng, n_steps=2):
    """The values moved by a few units in the last place."""
    moved = values
    for _ in range(n_steps):
        moved = np.where(rng.random(values.shape) < 0.5, moved, np.nextafter(moved, np.array(np.inf, values.dtype)))
    return moved.astype(values.dtype)


def duplicates(n_obs, n_codes, d, dtype, rng):
    book = np.repeat(rng.normal(size=(n_codes // 3 + 1, d)), 3, axis=0)[:n_codes]
    return rng.normal(size=(n_obs, d)).astype(dtype), book.astype(dtype)


def near_ties(n_obs, n_codes, d, dtype, rng):
    """Code words that differ in the last bits, and observations among them."""
    word = rng.normal(size=(1, d)).astype(dtype)
    book = smallest_step(np.repeat(word, n_codes, axis=0), rng)
    return smallest_step(np.repeat(word, n_obs, axis=0), rng, 4), book


def bisected(n_obs, n_codes, d, dtype, rng):
    """Observations half-way between two code words, up to the last bit."""
    book = rng.normal(size=(n_codes, d)).astype(dtype)
    pairs = rng.integers(0, n_codes, (n_obs, 2))
    return smallest_step((book[pairs[:, 0]] + book[pairs[:, 1]]) / dtype.type(2), rng), book


def near_bisected(n_obs, n_codes, d, dtype, rng):
    """The same at every distance from the middle that float32 may or may not resolve."""
    book = rng.normal(size=(n_codes, d)).astype(dtype)
    pairs = rng.integers(0, n_codes, (n_obs, 2))
    part = 0.5 + rng.choice([-1, 1], (n_obs, 1)) * 10.0 ** rng.uniform(-16, -5, (n_obs, 1))
    return (book[pairs[:, 0]] * part + book[pairs[:, 1]] * (1 - part)).astype(dtype), book


def offset(n_obs, n_codes, d, dtype, rng):
    """Where expanded squares cancel."""
    at = 1e3 if dtype.itemsize == 4 else 1e8
    return (rng.random((n_obs, d)) + at).astype(dtype), (rng.random((n_codes, d)) + at).astype(dtype)


def far_codes(n_obs, n_codes, d, dtype, rng):
    """Code words that are nearly the same seen from the observations."""
    return rng.normal(size=(n_obs, d)).astype(dtype), (rng.normal(size=(n_codes, d)) + 1e4).astype(dtype)


def far_observations(n_obs, n_codes, d, dtype, rng):
    return (rng.normal(size=(n_obs, d)) + 1e6).astype(dtype), rng.normal(size=(n_codes, d)).astype(dtype)


def subnormal(n_obs, n_codes, d, dtype, rng):
    tiny = np.finfo(dtype).smallest_subnormal
    obs, book = (rng.integers(-9, 9, (n, d)).astype(dtype) * tiny for n in (n_obs, n_codes))
    return obs, book


def huge(n_obs, n_codes, d, dtype, rng):
    """Squares overflow in float64, and in float32 in the other type."""
    size = 1e30 if dtype.itemsize == 4 else 1e200
    return (rng.normal(size=(n_obs, d)) * size).astype(dtype), (rng.normal(size=(n_codes, d)) * size).astype(dtype)


def largest(n_obs, n_codes, d, dtype, rng):
    most = np.finfo(dtype).max
    obs, book = (rng.choice([-1, -0.5, 0, 0.5, 1], (n, d)).astype(dtype) * most for n in (n_obs, n_codes))
    return obs, book


def mixed_scales(n_obs, n_codes, d, dtype, rng):
    """Rows of a size of their own: some of them leave the range of the float32 scan."""
    power = 30 if dtype.itemsize == 4 else 140
    obs, book = (
        (rng.normal(size=(n, d)) * 10.0 ** rng.integers(-power, power, (n, 1))).astype(dtype) for n in (n_obs, n_codes)
    )
    return obs, book


def one_huge_feature(n_obs, n_codes, d, dtype, rng):
    scale = np.ones(d)
    scale[rng.integers(d)] = 1e12
    obs, book = (
        (rng.integers(-2, 3, (n, d)) * scale + 1e-3 * rng.random((n, d))).astype(dtype) for n in (n_obs, n_codes)
    )
    return obs, book


def lattice(n_obs, n_codes, d, dtype, rng):
    return rng.integers(-1, 2, (n_obs, d)).astype(dtype), rng.integers(-1, 2, (n_codes, d)).astype(dtype)


def all_equal(n_obs, n_codes, d, dtype, rng):
    return rng.normal(size=(n_obs, d)).astype(dtype), np.ones((n_codes, d), dtype) * dtype.type(0.1)


def outlier_code(n_obs, n_codes, d, dtype, rng):
    """One far code word sets the scale, so that the others are close together in the scan."""
    book = rng.normal(size=(n_codes, d)).astype(dtype)
    book[0] = 1e9
    return rng.normal(size=(n_obs, d)).astype(dtype), book


def observations_are_codes(n_obs, n_codes, d, dtype, rng):
    book = rng.normal(size=(n_codes, d)).astype(dtype)
    return book[rng.integers(0, n_codes, n_obs)], book


ADVERSARIES = [
    duplicates, near_ties, bisected, near_bisected, offset, far_codes, far_observations, subnormal, huge, largest,
    mixed_scales, one_huge_feature, lattice, all_equal, outlier_code, observations_are_codes,
]  # fmt: skip


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda function: function.__name__)
def test_adversaries(adversary, dtype, rng):
    for shape in SHAPES:
        assert_exact(*adversary(*shape, dtype, rng))


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda function: function.__name__)
def test_adversaries_on_every_path(adversary, isa, dtype, rng):
    """Every path is also right where another one would have been taken, with guesses too."""
    for n_features in (2, 7, 24, 64):
        obs, book = adversary(60, 33, n_features, dtype, rng)
        expected, _ = reference.nearest(obs, book)
        for path in paths_of(isa):
            codes = rng.integers(0, 33, 60).astype(np.int32)
            for warm in (False, True):
                Nearest(obs, 33, 1, isa, path).assign(book.astype("f8"), codes, None, warm)
                np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 9, 20])
def test_the_bands_are_wide_enough(isa, path, n_features, dtype, rng):
    """Two code words, far from or near to each other, and many observations around their middle.

    Their errors are as large as they can be where a third one is as long in the other direction.
    """
    for spread in (1.0, 1e-2, 1e-4):
        obs, book = near_bisected(3000, 3, n_features, np.dtype("f8"), rng)
        at = rng.normal(size=n_features)
        obs, book = ((a * spread + at).astype(dtype) for a in (obs, book))
        book[2] = -at
        codes = np.zeros(3000, dtype=np.int32)
        Nearest(obs, 3, 1, isa, path).assign(book.astype("f8"), codes)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


def test_distance_to_itself_is_zero(dtype, rng):
    for n_features in (1, 4, 5, 64, 128):
        obs = (rng.normal(size=(100, n_features)) + 1e3).astype(dtype)
        codes, dist = vqfast.vq(obs, obs)
        np.testing.assert_array_equal(codes, np.arange(100))
        assert not dist.any()


def test_a_row_alone_gives_what_it_gives_in_a_batch(dtype, rng):
    obs, book = rng.normal(size=(200, 64)).astype(dtype), rng.normal(size=(50, 64)).astype(dtype)
    codes, dist = vqfast.vq(obs, book)
    for i in range(0, 200, 17):
        code, alone = vqfast.vq(obs[i : i + 1], book)
        assert (code[0], alone[0]) == (codes[i], dist[i])


@pytest.mark.parametrize(
    "types", ["f4 f8", "f8 f4", "f4 f2", "f4 i2", "f4 i4", "i8 f8", "u8 i8", "u1 u1", "? f4", "? ?"]
)
def test_mixed_types(types, rng):
    for shape in SHAPES[::5]:
        obs, book = ((50 * rng.random((n, shape[2]))).astype(t) for n, t in zip(shape, types.split(), strict=False))
        assert_exact(obs, book)


# ---- numbers that are not finite -------------------------------------------------------


@pytest.mark.parametrize("n_features", [1, 3, 8, 9, 40, 41, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_codes_not_finite_never_win(value, n_features, dtype, rng):
    obs, book = rng.normal(size=(70, n_features)).astype(dtype), rng.normal(size=(40, n_features)).astype(dtype)
    bad = rng.choice(40, 15, replace=False)
    book[bad, rng.integers(n_features, size=15)] = value
    assert_exact(obs, book, check_finite=False)
    assert not np.isin(vqfast.vq(obs, book, check_finite=False)[0], bad).any()


@pytest.mark.parametrize("n_features", [1, 3, 8, 9, 40, 41, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_observations_not_finite_get_code_zero(value, n_features, dtype, rng):
    obs, book = rng.normal(size=(70, n_features)).astype(dtype), rng.normal(size=(40, n_features)).astype(dtype)
    bad = rng.choice(70, 15, replace=False)
    obs[bad, rng.integers(n_features, size=15)] = value
    assert_exact(obs, book, check_finite=False)
    codes, dist = vqfast.vq(obs, book, check_finite=False)
    assert not codes[bad].any()
    assert (dist[bad] == np.inf).all()


def test_nothing_finite(dtype):
    for n_codes in (1, 9):
        obs, book = np.full((20, 5), np.nan, dtype), np.full((n_codes, 5), np.nan, dtype)
        for pair in ((obs, book), (obs, np.ones_like(book)), (np.ones_like(obs), book)):
            codes, dist = vqfast.vq(*pair, check_finite=False)
            assert not codes.any()
            assert (dist == np.inf).all()


def test_overflow_of_finite_numbers():
    """SciPy leaves such codes uninitialised, and crashes in a fit."""
    obs, book = np.array([[1e200], [-1e200], [1.0]]), np.array([[-1e200], [1e200], [2.0]])
    codes, dist = vqfast.vq(np.repeat(obs, 9, axis=0), book)
    np.testing.assert_array_equal(codes, np.repeat([1, 0, 2], 9))
    np.testing.assert_array_equal(dist, np.repeat([0.0, 0.0, 1.0], 9))
    far = np.full((30, 6), 1e200)
    codes, dist = vqfast.vq(far, -far[:4])
    assert not codes.any()
    assert (dist == np.inf).all()
    assert vqfast.kmeans(far, -far[:4], max_iter=3)[0].shape == (1, 6)
    with pytest.warns(UserWarning, match="empty"):
        assert vqfast.kmeans2(far, -far[:4], iter=1)[0].shape == (4, 6)


# ---- anything ---------------------------------------------------------------------------


@st.composite
def pairs(draw):
    """obs and code book of one type; few distinct values, so that ties are common."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = np.dtype(dtype).itemsize * 8
    anything = st.floats(width=width)
    few = st.lists(anything, min_size=1, max_size=5).flatmap(st.sampled_from)
    elements = draw(st.sampled_from([anything, few, st.integers(-2, 2).map(float), st.floats(-10, 10, width=width)]))
    n_features = draw(st.sampled_from([1, 2, 3, 4, 7, 8, 9, 17, 41]))
    obs, book = (
        draw(hnp.arrays(dtype, (draw(st.integers(1, most)), n_features), elements=elements)) for most in (30, 20)
    )
    return obs, book


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pairs())
def test_anything(pair):
    obs, book = pair
    assert_exact(obs, book, check_finite=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(pairs(), st.sampled_from(paths_of()))
def test_anything_on_any_path(pair, path):
    obs, book = pair
    codes = np.zeros(len(obs), dtype=np.int32)
    Nearest(obs, len(book), 1, None, path).assign(book.astype("f8"), codes)
    np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32), st.sampled_from(["f4", "f8"]), st.integers(13, 60), st.integers(2, 60), st.integers(1, 70),
    st.floats(0, 8), st.floats(-20, 20),
)  # fmt: skip
def test_close_codes_far_away(seed, dtype, n_obs, n_codes, n_features, offset_power, scale_power):
    """A cluster of any size at any distance from the origin."""
    rng = np.random.default_rng(seed)
    obs, book = (
        ((rng.normal(size=(n, n_features)) + 10**offset_power) * 10**scale_power).astype(dtype)
        for n in (n_obs, n_codes)
    )
    assert_exact(obs, book)
