"""Every kernel, on every instruction set and path, against its twin: to the last bit."""

import functools
import itertools

import numpy as np
import pytest
import reference

from vqfast._core.few import assign_few
from vqfast._core.machine import isa_in_use, isa_supported
from vqfast._core.nearest import Nearest
from vqfast._core.parts import MOST_FEATURES, assign_parts
from vqfast._core.passes import magnitude

LANES_FEATURES = 64
# Around whole vectors, tiles and panels of every instruction set.
N_CODES = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 63, 65, 97)
N_FEATURES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 41, 64, 65, 130)
N_OBS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 129, 257)


@functools.cache
def problem(n_obs, n_codes, n_features, dtype_name, lattice=False):
    """obs, code book, codes, squared distances; a lattice is full of ties and duplicates."""
    rng = np.random.default_rng([n_obs, n_codes, n_features, lattice])
    if lattice:
        obs = rng.integers(-2, 3, (n_obs, n_features)).astype(dtype_name)
        code_book = rng.integers(-2, 3, (n_codes, n_features)).astype(np.float64)
    else:
        obs = rng.normal(3, 1, (n_obs, n_features)).astype(dtype_name)
        code_book = rng.normal(3, 1, (n_codes, n_features))
    return obs, code_book, *reference.nearest(obs, code_book)


def assign(obs, code_book, isa, path, *, workers=1, guess=None, dist_dtype=np.float64):
    n_obs = obs.shape[0]
    codes = np.full(n_obs, -7, dtype=np.int32) if guess is None else np.array(guess, dtype=np.int32)
    dist = np.full(n_obs, np.nan, dtype=dist_dtype)
    search = Nearest(obs, len(code_book), workers, isa, path)
    search.assign(np.ascontiguousarray(code_book), codes, dist, guess is not None)
    return codes, dist


def check(obs, code_book, codes, sq, isa, path, **options):
    found, dist = assign(obs, code_book, isa, path, **options)
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(dist, reference.distances(sq, options.get("dist_dtype", np.float64)))


def fits(path, n_features):
    return path != "lanes" or n_features <= LANES_FEATURES


@pytest.mark.parametrize("lattice", [False, True], ids=["normal", "lattice"])
def test_every_number_of_codes_and_features(isa, path, dtype, lattice):
    for n_features in N_FEATURES:
        if fits(path, n_features):
            for n_codes in N_CODES:
                obs, *rest = problem(37, n_codes, n_features, dtype.name, lattice)
                check(obs, *rest, isa, path)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 6, 8, 20, 50])
def test_every_number_of_observations(isa, path, dtype, n_features):
    for n_obs in N_OBS:
        obs, *rest = problem(n_obs, 50, n_features, dtype.name)
        check(obs, *rest, isa, path, dist_dtype=np.float32)


@pytest.mark.parametrize("n_obs", [767, 769, 4095, 4097, 9001])
def test_several_blocks_and_workers(isa, path, workers, n_obs):
    n_features = 4 if n_obs > 4000 else 40
    obs, *rest = problem(n_obs, 30, n_features, "float32")
    check(obs, *rest, isa, path, workers=workers)


def test_guesses_change_nothing(isa, path, dtype, rng):
    for n_features in (1, 8, 33, 64, 130):
        for lattice in (False, True):
            if not fits(path, n_features):
                continue
            obs, code_book, codes, sq = problem(70, 65, n_features, dtype.name, lattice)
            for guess in (codes, 0 * codes, 0 * codes + 64, rng.integers(0, 65, 70)):
                check(obs, code_book, codes, sq, isa, path, guess=guess)


def layouts(obs):
    """The same observations in other layouts, by name."""
    n_obs, n_features = obs.shape
    wide = np.zeros((3 * n_obs + 2, 2 * n_features + 3), dtype=obs.dtype)
    wide[1 : 3 * n_obs + 1 : 3, 2 : 2 * n_features + 2 : 2] = obs
    reversed_rows, reversed_columns = obs[::-1].copy(), obs[:, ::-1].copy()
    padded = np.zeros((n_obs, n_features + 5), dtype=obs.dtype)
    padded[:, 3:-2] = obs
    return {
        "strided": wide[1 : 3 * n_obs + 1 : 3, 2 : 2 * n_features + 2 : 2],
        "columns": padded[:, 3:-2],
        "fortran": np.asfortranarray(obs),
        "reversed rows": reversed_rows[::-1],
        "reversed columns": reversed_columns[:, ::-1],
        "reversed both": obs[::-1, ::-1].copy()[::-1, ::-1],
    }


def test_strides(isa, path, dtype):
    for n_features in (1, 2, 3, 5, 9, 33, 64):
        obs, *rest = problem(37, 19, n_features, dtype.name)
        for name, view in layouts(obs).items():
            np.testing.assert_array_equal(view, obs, err_msg=name)
            check(view, *rest, isa, path)


def test_zero_strides(isa, path, dtype):
    for n_features in (2, 9, 33):
        obs, code_book, _, _ = problem(37, 19, n_features, dtype.name)
        for view in (np.broadcast_to(obs[:1], obs.shape), np.broadcast_to(obs[:, :1], obs.shape)):
            check(view, code_book, *reference.nearest(view, code_book), isa, path)


def test_one_dimension(isa, path, dtype):
    obs, *rest = problem(37, 19, 1, dtype.name)
    check(obs[:, 0], *rest, isa, path)
    check(np.repeat(obs[:, 0], 2)[::-2][::-1], *rest, isa, path)


def test_fewer_codes_than_announced(isa, path, dtype):
    """A fit that drops code words keeps its search."""
    obs, code_book, _, _ = problem(70, 65, 9, dtype.name)
    search = Nearest(obs, 65, 1, isa, path)
    for n_codes in (65, 33, 1, 16, 65):
        codes = np.zeros(70, dtype=np.int32)
        search.assign(code_book[:n_codes].copy(), codes)
        np.testing.assert_array_equal(codes, reference.nearest(obs, code_book[:n_codes])[0])


def test_lanes_refuse_more_features():
    with pytest.raises(ValueError, match="lanes path takes 64 features, got 65"):
        Nearest(np.zeros((20, 65)), 4, 1, None, "lanes")


def test_isa_by_name(monkeypatch):
    assert isa_in_use() in isa_supported()
    with pytest.raises(ValueError, match="unknown or unsupported ISA 'vax'"):
        Nearest(np.zeros((20, 2)), 4, 1, "vax")


# ---- what reads observations only ------------------------------------------------------


@pytest.mark.parametrize("n_features", [0, 1, 2, 7, 8, 9, 33])
def test_magnitude(isa, dtype, n_features, rng):
    for n_obs in (0, 1, 2, 37):
        obs = rng.normal(size=(n_obs, n_features)).astype(dtype)
        expected = float(np.abs(obs).max(initial=0))
        for view in (obs, *layouts(obs).values(), obs[:, 0] if n_features else obs):
            assert magnitude(view, 1, isa) == (float(np.abs(view).max(initial=0)) if view.ndim == 1 else expected)


def test_magnitude_in_parallel(isa, dtype, workers, rng):
    obs = rng.normal(size=(1 << 17, 3)).astype(dtype)
    for row in (0, 1000, (1 << 17) - 1):
        for value in (-50.0, np.inf, -np.inf, np.nan):
            obs[row, 1], kept = value, obs[row, 1]
            found = magnitude(obs, workers, isa)
            assert found == 50 if np.isfinite(value) else not np.isfinite(found)
            obs[row, 1] = kept


# ---- few observations ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "lattice", "offset", "equal", "tiny", "huge"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 130])
@pytest.mark.parametrize("n_codes", [1, 3, 16, 60])
def test_assign_few(isa, kind, n_features, n_codes, rng):
    obs, book = rng.normal(size=(19, n_features)), rng.normal(size=(n_codes, n_features))
    if kind == "lattice":
        obs, book = np.round(obs), np.round(book)
    scale = {"tiny": 1e-30, "huge": 1e25}.get(kind, 1.0)
    offset = {"offset": 1e4}.get(kind, 0.0)
    obs, book = (obs * scale + offset).astype("f4"), (book * scale + offset).astype("f4")
    if kind == "equal":
        book[:] = book[0]
    sq_dists = reference.sq_dists(obs, book)
    codes, dist = np.empty(19, dtype=np.int32), np.empty(19, dtype="f4")
    assign_few(obs, book, codes, dist, isa=isa)
    np.testing.assert_array_equal(codes, sq_dists.argmin(axis=1))
    np.testing.assert_array_equal(dist, np.sqrt(sq_dists.min(axis=1)).astype("f4"))


def test_assign_few_not_finite(isa):
    obs = np.array([[0.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]], dtype="f4")
    book = np.array([[np.nan, 0.0], [np.inf, 1.0], [3.0, 4.0]], dtype="f4")
    codes, dist = np.empty(3, dtype=np.int32), np.empty(3, dtype="f4")
    assign_few(obs, book, codes, dist, isa=isa)
    np.testing.assert_array_equal(codes, [2, 0, 0])
    np.testing.assert_array_equal(dist, [5.0, np.inf, np.inf])


# ---- few codes of few features ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "lattice", "offset", "equal", "tiny", "huge"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5])
def test_few_codes(isa, kind, n_features, rng):
    for n_codes in (2, 3, 7, 8, 9, 15, 16, 17):
        for n_obs in (31, 32, 33, 64, 65, 1100):
            obs, book = rng.normal(size=(n_obs, n_features)), rng.normal(size=(n_codes, n_features))
            if kind == "lattice":
                obs, book = np.round(obs), np.round(book)
            scale = {"tiny": 1e-30, "huge": 1e25}.get(kind, 1.0)
            offset = {"offset": 1e4}.get(kind, 0.0)
            obs, book = (obs * scale + offset).astype("f4"), (book * scale + offset).astype("f4").astype(float)
            if kind == "equal":
                book[:] = book[0]
            codes, sq_dists = reference.nearest(obs, book)
            check(obs, book, codes, sq_dists, isa, "lanes", dist_dtype=np.float32)
            only = np.empty(n_obs, dtype=np.int32)
            Nearest(obs, n_codes, 1, isa, "lanes").assign(book, only)
            np.testing.assert_array_equal(only, codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_few_codes_not_finite(isa, bad, rng):
    book = rng.normal(size=(5, 3))
    for at in (0, 31, 40, 63, 69):
        obs = rng.normal(size=(70, 3)).astype("f4")
        search, codes, dist = Nearest(obs, 5, 1, isa, "lanes"), np.empty(70, dtype=np.int32), np.empty(70, dtype="f4")
        assert search.assign(book, codes, dist, check_finite=True)
        obs[at, 1] = bad
        assert not search.assign(book, codes, dist, check_finite=True)
        assert search.assign(book, codes, dist)
        np.testing.assert_array_equal(np.flatnonzero(np.isinf(dist)), [at])
        assert codes[at] == 0
    book[2, 0] = bad  # never wins
    codes, sq_dists = reference.nearest(obs[:64], book)
    check(obs[:64], book, codes, sq_dists, isa, "lanes", dist_dtype=np.float32)


def mostly_easy(n_obs, n_codes, n_features, dtype, rng):
    """Some observations that no filter decides among many that it does, and some far away."""
    code_book = rng.normal(3, 1, (n_codes, n_features))
    obs = code_book[rng.integers(0, n_codes, n_obs)] + rng.normal(0, 0.01, (n_obs, n_features))
    hard = rng.random(n_obs) < 0.1
    pairs = rng.integers(0, n_codes, (2, n_obs))
    part = 0.5 + rng.choice([-1, 0, 1], (n_obs, 1)) * 10.0 ** rng.uniform(-9, -2, (n_obs, 1))
    middle = code_book[pairs[0]] * part + code_book[pairs[1]] * (1 - part)
    obs = np.where(hard[:, None], middle, obs)
    far = rng.random(n_obs) < 0.02
    obs[far] *= 10.0 ** rng.integers(0, 30, (n_obs, 1))[far]
    return obs.astype(dtype), code_book


@pytest.mark.parametrize("n_features", [5, 6, 8, 13, 16, 40, 64])
def test_lanes_with_few_doubtful_observations(isa, dtype, n_features, rng):
    for n_codes in (32, 100, 256, 257):
        obs, code_book = mostly_easy(1500, n_codes, n_features, dtype, rng)
        code_book[7] = code_book[31]
        check(obs, code_book, *reference.nearest(obs, code_book), isa, "lanes")


@pytest.mark.parametrize("n_codes", [4097, 16384, 16385])
def test_lanes_with_many_codes(isa, dtype, n_codes, rng):
    obs, code_book = mostly_easy(200, n_codes, 8, dtype, rng)
    check(obs, code_book, *reference.nearest(obs, code_book), isa, "lanes")


def test_lanes_leave_out_what_is_not_finite(isa, dtype, rng):
    obs, code_book = mostly_easy(300, 64, 8, dtype, rng)
    code_book[3, 2], code_book[40, 1] = np.nan, np.inf
    obs[5, 0], obs[6, 1], obs[7, 2] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        expected = reference.nearest(obs, code_book)
    check(obs, code_book, *expected, isa, "lanes")


# ---- parts of the features --------------------------------------------------------------------


@pytest.mark.parametrize("code_dtype", ["u1", "u2"])
def test_assign_parts(isa, dtype, workers, code_dtype, rng):
    widths = (1, 3, 8, 16, MOST_FEATURES)
    for n_obs, n_codes in ((0, 40), (1, 40), (11, 40), (700, 200), (4000, 40)):
        obs = rng.normal(3, 1, (n_obs, sum(widths))).astype(dtype)
        books = [rng.normal(3, 1, (n_codes, width)) for width in widths]
        starts = np.cumsum((0, *widths))
        expected = [reference.nearest(obs[:, a : a + len(b[0])], b)[0] for a, b in zip(starts, books, strict=False)]
        for view in (obs, layouts(obs)["strided"]) if n_obs else (obs,):
            codes = np.full((n_obs, len(widths)), 77, dtype=code_dtype)
            assert assign_parts(view, books, codes, workers, isa)
            np.testing.assert_array_equal(codes, np.transpose(expected))


@pytest.mark.parametrize("n_codes", [2, 40, 256])
@pytest.mark.parametrize("n_features", [1, 4, 8, 16])
def test_assign_parts_refuses_what_is_not_finite(isa, dtype, n_codes, n_features, workers, rng):
    books = [rng.normal(size=(n_codes, n_features)), rng.normal(size=(n_codes, n_features))]
    for n_obs, at in ((1, 0), (9, 8), (3000, 2345)):
        good = rng.normal(size=(n_obs, 2 * n_features)).astype(dtype)
        alike = np.repeat(np.concatenate([book[:1] for book in books], axis=1).astype(dtype), n_obs, axis=0)
        for obs, value in itertools.product((good, alike), (np.nan, np.inf, -np.inf)):
            obs = obs.copy()
            obs[at, -1] = value
            assert not assign_parts(obs, books, np.empty((n_obs, 2), dtype=np.uint8), workers, isa)


def test_assign_parts_takes_what_is_finite_and_far(isa, dtype, rng):
    books = [rng.normal(size=(40, 8)), rng.normal(size=(40, 8))]
    obs = rng.normal(size=(300, 16)).astype(dtype)
    obs[7] *= np.finfo(dtype).max / 10  # squares leave double for float64: no finite distance, code 0
    codes = np.empty((300, 2), dtype=np.uint8)
    assert assign_parts(obs, books, codes, 1, isa)
    with np.errstate(over="ignore"):
        expected = [reference.nearest(obs[:, 8 * m : 8 * m + 8], books[m])[0] for m in range(2)]
    np.testing.assert_array_equal(codes, np.transpose(expected))
