"""The integer scan: choices by shape, bounds, fallbacks; its answers are also in test_kernels,
test_exact and test_lloyd."""

import sys

import numpy as np
import pytest
import reference

from vqfast._core.lloyd import lloyd
from vqfast._core.means import Means
from vqfast._core.nearest import Nearest


def trajectory(obs, start, n_rounds, isa=None, *, path=None, workers=1, tells_moved=True):
    """Codes after every round, the final code book, and the search."""
    search = Nearest(obs, len(start), workers, isa, path, rounds=n_rounds)
    means, book, all_codes = Means(search), np.array(start, dtype="f8"), []
    codes, members = np.zeros(len(obs), dtype=np.int32), np.zeros(len(start), dtype=bool)
    for i in range(n_rounds):
        search.assign(book, codes, follow=i > 0, moved=means.computed() if tells_moved else None)
        means.update(codes, book, members, all_means=not tells_moved)
        all_codes.append(codes.copy())
    return np.array(all_codes), book, search


def clusters(n_obs, n_features, dtype, rng):
    centres = rng.normal(size=(40, n_features))
    return (centres[rng.integers(0, 40, n_obs)] + 0.4 * rng.normal(size=(n_obs, n_features))).astype(dtype)


def isotropic(n_obs, n_features, dtype, rng):
    return rng.normal(size=(n_obs, n_features)).astype(dtype)


def decaying(n_obs, n_features, dtype, rng):
    return (rng.normal(size=(n_obs, n_features)) / np.arange(1, n_features + 1)).astype(dtype)


def whole_numbers(n_obs, n_features, dtype, rng):
    """Full of ties."""
    return rng.integers(0, 3, (n_obs, n_features)).astype(dtype)


def one_huge_feature(n_obs, n_features, dtype, rng):
    """Bytes hold nothing but that one."""
    obs = rng.normal(size=(n_obs, n_features))
    obs[:, 7] *= 1e4
    return obs.astype(dtype)


def saturating_rows(n_obs, n_features, dtype, rng):
    obs = rng.choice([-1.0, 1.0], (n_obs, n_features)) * rng.uniform(0.999, 1, (n_obs, 1))
    return obs.astype(dtype)


def rows_of_unlike_size(n_obs, n_features, dtype, rng):
    obs = rng.normal(size=(n_obs, n_features)) * 10.0 ** rng.integers(-12, 8, (n_obs, 1))
    obs[::11] = 0
    return obs.astype(dtype)


def constant_rows(n_obs, n_features, dtype, rng):
    return np.repeat(rng.normal(size=(n_obs, 1)), n_features, axis=1).astype(dtype)


def far_away(n_obs, n_features, dtype, rng):
    return (rng.normal(size=(n_obs, n_features)) + 1e3).astype(dtype)


KINDS = [
    clusters, isotropic, decaying, whole_numbers, one_huge_feature, saturating_rows, rows_of_unlike_size,
    constant_rows, far_away,
]  # fmt: skip


@pytest.mark.parametrize("path", [None, "integers", "directions"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda function: function.__name__)
def test_every_round_of_a_fit(kind, path, integer_isa, dtype, workers, rng):
    """Against the double formula for every pair, with more rounds than there are snapshots."""
    obs = kind(900, 52, dtype, rng)
    start = obs[rng.choice(900, 70, replace=False)]
    expected, expected_book, _ = trajectory(obs, start, 18, path="direct")
    found, book, _ = trajectory(obs, start, 18, integer_isa, path=path, workers=workers)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


@pytest.mark.parametrize("n_features", [41, 63, 64, 65, 127, 200])
@pytest.mark.parametrize("n_codes", [64, 65, 79, 80, 81, 150])
def test_tails(n_features, n_codes, integer_isa, dtype, rng):
    obs = clusters(333, n_features, dtype, rng)
    book = clusters(n_codes, n_features, np.dtype("f8"), rng)
    codes = np.zeros(333, dtype=np.int32)
    for path in ("integers", "directions"):
        Nearest(obs, n_codes, 1, integer_isa, path).assign(book, codes)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


def test_it_is_taken_and_saves_work(integer_isa, rng):
    obs = clusters(6000, 128, np.dtype("f4"), rng)
    _, _, search = trajectory(obs, obs[:128], 25, integer_isa)
    assert search.integers is not None
    assert search.integers.keeps_bounds
    assert search.integers.share_needed() < 0.2


@pytest.mark.parametrize(("n_codes", "span"), [(600, {1}), (1200, {1, 2}), (1800, {2, 4})])
def test_vectors_share_a_bound(n_codes, span, integer_isa, rng):
    """Many codes for few features: bounds must share, or take more memory than the data."""
    obs = clusters(54_000, 64, np.dtype("f4"), rng)
    start = obs[rng.choice(54_000, n_codes, replace=False)]
    found, book, search = trajectory(obs, start, 5, integer_isa, workers=2)
    assert search.integers.keeps_bounds
    assert search.integers.span in span
    expected, expected_book, _ = trajectory(obs, start, 5, path="panels", workers=2)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


@pytest.mark.parametrize(
    ("n_features", "n_codes", "second"), [(300, 100, True), (64, 100, True), (60, 100, False), (256, 600, False)]
)
def test_a_second_plane_where_there_is_room(n_features, n_codes, second, integer_isa, rng):
    obs = isotropic(6000, n_features, np.dtype("f4"), rng)
    start = obs[rng.choice(6000, n_codes, replace=False)]
    found, book, search = trajectory(obs, start, 5, integer_isa, workers=2)
    assert search.integers.keeps_bounds
    assert search.integers.keeps_second == (second and search.integers.quad == 4)
    expected, expected_book, _ = trajectory(obs, start, 5, path="panels", workers=2)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


@pytest.mark.parametrize(
    ("power", "n_features", "n_directions"), [(2, 203, 31), (1.5, 400, 63), (0, 203, 0), (1, 203, 0)]
)
def test_directions_where_few_hold_nearly_all(power, n_features, n_directions, integer_isa, dtype, rng):
    """Variances of 1/i^power along the axes of a rotation."""
    rotation = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    deviations = np.arange(1, n_features + 1) ** (-power / 2)
    obs = (rng.normal(size=(9000, n_features)) * deviations @ rotation + rng.normal(size=n_features)).astype(dtype)
    start = obs[rng.choice(9000, 450, replace=False)]
    found, book, search = trajectory(obs, start, 5, integer_isa, workers=2)
    assert search.integers.n_directions == n_directions
    expected, expected_book, _ = trajectory(obs, start, 5, path="panels", workers=2)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


def test_directions_that_leave_too_many_hits_are_given_up(integer_isa, rng):
    """The first observations have what the sample does not see."""
    obs = decaying(30_000, 200, np.dtype("f4"), rng)
    obs[:600] += 3 * rng.normal(size=(600, 200)) * (np.arange(600) % (30_000 // 512) > 0)[:, None]
    start = np.concatenate([obs[:90], obs[-90:]])
    found, book, search = trajectory(obs, start, 4, integer_isa)
    assert Nearest(obs, 180, 1, integer_isa, rounds=4).integers.n_directions == 31
    assert search.integers is None or search.integers.n_directions == 0
    expected, expected_book, _ = trajectory(obs, start, 4, path="panels", workers=2)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


@pytest.mark.parametrize("outside", [0.0, 1e-6, 1e-3, 1.0, 1e4])
def test_codes_that_differ_outside_the_directions(outside, integer_isa, dtype, rng):
    """Directions that see nothing of what decides: fifteen dimensions, and the codes in another one."""
    obs = np.zeros((500, 40))
    obs[:, :15] = rng.normal(size=(500, 15))
    obs[300:, 20] = outside * rng.normal(size=200)
    book = np.repeat(obs[:10], 7, axis=0)
    book[:, 20] = outside * rng.normal(size=70)
    codes = np.zeros(500, dtype=np.int32)
    search = Nearest(obs.astype(dtype), 70, 1, integer_isa, "directions", rounds=5)
    assert search.integers.n_directions == 15
    for follow in (False, True):
        search.assign(book, codes, follow=follow)
        np.testing.assert_array_equal(codes, reference.nearest(obs.astype(dtype), book)[0])
        book[::3] += outside * rng.normal(size=40)


@pytest.mark.parametrize(("scale", "offset"), [(1e-15, 0), (1e15, 0), (1, 1e6)])
def test_directions_of_any_scale_and_offset(scale, offset, integer_isa, rng):
    obs = scale * decaying(9000, 200, np.dtype("f8"), rng) + offset
    assert Nearest(obs, 500, 1, integer_isa, rounds=5).integers.n_directions == 31


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_no_directions_of_what_is_not_finite(bad, integer_isa, rng):
    obs = decaying(5000, 200, np.dtype("f4"), rng)
    obs[::3, 5] = bad
    assert Nearest(obs, 1000, 1, integer_isa, rounds=5).integers.n_directions == 0


def test_without_room_for_bounds(integer_isa, rng):
    obs = clusters(3700, 48, np.dtype("f4"), rng)
    found, _, search = trajectory(obs, obs[:900], 4, integer_isa)
    assert not search.integers.keeps_bounds
    np.testing.assert_array_equal(found, trajectory(obs, obs[:900], 4, path="direct")[0])


@pytest.mark.parametrize("path", ["integers", "directions", "panels"])
def test_code_words_at_rest_need_no_packing(path, integer_isa, rng):
    """Told which ones moved, a fit has the same bounds: some rest, come back to rest, and move again."""
    obs = clusters(2000, 60, np.dtype("f4"), rng)
    start, shares, code_books = obs[rng.choice(2000, 150, replace=False)], [], []
    for n_rounds in range(14, 50, 5):
        for tells_moved in (False, True):
            codes, book, search = trajectory(obs, start, n_rounds, integer_isa, path=path, tells_moved=tells_moved)
            shares.append(search.integers.share_needed() if search.integers else 0)
            code_books.append(book)
        np.testing.assert_array_equal(code_books[-1], code_books[-2])
    np.testing.assert_array_equal(shares[::2], shares[1::2])
    expected, _, _ = trajectory(obs, start, n_rounds, path="direct")
    np.testing.assert_array_equal(codes, expected)


def test_what_moved_is_of_all_code_words(rng):
    obs, codes = clusters(100, 50, np.dtype("f4"), rng), np.zeros(100, dtype=np.int32)
    with pytest.raises(ValueError, match="moved must tell of 20 code words, got 19"):
        Nearest(obs, 20, rounds=5).assign(obs[:20].astype("f8"), codes, moved=np.ones(19, dtype=np.uint8))
    assert not codes.any()


def test_many_hits_fall_back_to_panels(integer_isa, dtype, rng):
    obs = rng.normal(size=(6000, 64)).astype(dtype)
    obs[:, 7] = rng.choice([-1e4, 1e4], 6000)  # bytes hold nothing but that
    found, book, search = trajectory(obs, obs[:300], 4, integer_isa)
    assert search.integers is None
    expected, expected_book, _ = trajectory(obs, obs[:300], 4, path="panels")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(book, expected_book)


def test_several_runs_share_the_integers(integer_isa, dtype, rng):
    obs = clusters(700, 60, dtype, rng)
    search = Nearest(obs, 80, 1, integer_isa, "integers", rounds=10)
    for seed in range(4):
        start = obs[np.random.default_rng(seed).choice(700, 80, replace=False)].astype("f8")
        book, codes = start.copy(), np.zeros(700, dtype=np.int32)
        lloyd(search, Means(search), book, codes, 6)
        expected, expected_codes, _ = reference.kmeans2(obs, start, 6)
        np.testing.assert_array_equal(codes, expected_codes)
        np.testing.assert_array_equal(book, expected)


def test_all_codes_equal(integer_isa, dtype, rng):
    obs = clusters(100, 50, dtype, rng)
    codes = np.ones(100, dtype=np.int32)
    Nearest(obs, 64, 1, integer_isa, "integers").assign(np.repeat(obs[:1].astype("f8"), 64, axis=0), codes)
    assert not codes.any()


def test_restarts_keep_the_scan(integer_isa, rng):
    obs = clusters(8000, 64, np.dtype("f4"), rng)
    search, means = Nearest(obs, 128, 1, integer_isa, rounds=1000), None
    for seed in range(3):
        means = Means(search)
        start = obs[np.random.default_rng(seed).choice(8000, 128, replace=False)].astype("f8")
        lloyd(search, means, start, np.zeros(8000, dtype=np.int32), 15)
        assert search.integers is not None


@pytest.mark.parametrize("path", ["integers", "panels"])
def test_a_code_word_that_comes_back(path, integer_isa, dtype, rng):
    """From nowhere to the middle of the data."""
    obs, book = clusters(500, 64, dtype, rng), rng.normal(size=(80, 64))
    search, codes = Nearest(obs, 80, 1, integer_isa, path, rounds=20), np.zeros(500, dtype=np.int32)
    for i, value in enumerate((np.nan, 0.0, np.inf, 0.1, 0.2)):
        book[5] = value
        search.assign(book, codes, follow=i > 0)
        np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


@pytest.mark.parametrize("n_features", [64, 3000, 16384])
def test_sums_of_products_stay_in_range(n_features, integer_isa, dtype, rng):
    """All features as large as can be, and code words along the observations and against them."""
    signs = rng.choice([-1.0, 1.0], n_features)
    obs = (rng.uniform(0.98, 1, (90, 1)) * signs * rng.uniform(1 - 1e-3, 1, (90, n_features))).astype(dtype)
    book = np.concatenate([obs[:40], -obs[40:80]]).astype("f8")
    codes = np.zeros(90, dtype=np.int32)
    Nearest(obs, 80, 1, integer_isa, "integers").assign(book, codes)
    np.testing.assert_array_equal(codes, reference.nearest(obs, book)[0])


GUARD = """
import ctypes, mmap, sys
import numpy as np, vqfast
from vqfast._core.nearest import Nearest

page = mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

def guarded(obs):
    "A copy whose last byte is the last before memory that cannot be read."
    size = -(-obs.nbytes // page) * page
    memory = mmap.mmap(-1, size + 16 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert libc.mprotect(start + size, 16 * page, 0) == 0
    copy = np.frombuffer(memory, obs.dtype, obs.size, size - obs.nbytes).reshape(obs.shape)
    copy[:] = obs
    return copy

shares = []
for n in (65, 97, 129, 137):
    for path in ("integers", "directions", "panels", None):
        rng = np.random.default_rng(n)
        obs = guarded(rng.normal(size=(n, 100)).astype("f4"))
        book = obs[rng.integers(0, n, 160)] + 0.1 * rng.normal(size=(160, 100))
        codes = np.zeros(n, np.int32)
        for rounds in (1, 6):
            search = Nearest(obs, 160, 2, None, path, rounds=rounds)
            for i in range(rounds):
                search.assign(book + 0.01 * i, codes, follow=i > 0)
            shares.append(search.integers.share_needed() if search.integers else 0)
        vqfast.vq(obs, book.astype("f4"))
print(shares)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pages are guarded with mprotect, scratch is filled by glibc")
def test_nothing_is_made_of_what_is_not_there(run_script):
    """Rows that fill a tile: whatever lies in the scratch, nothing past the data is read, and bounds are alike."""
    found = {run_script(GUARD, MALLOC_PERTURB_=filling) for filling in ("0", "1", "85", "255")}
    assert len(found) == 1
