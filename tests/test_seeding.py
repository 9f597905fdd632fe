"""How a fit starts: which generator, which draws, in which state it is left."""

import warnings

import contract
import numpy as np
import pytest
import reference

import vqfast
from vqfast import _seeding

MAKERS = [np.random.default_rng, np.random.RandomState]


@pytest.mark.parametrize("check", contract.FOR_SEEDING, ids=lambda check: check.__name__)
def test_contract(check):
    check(vqfast)


@pytest.fixture(params=MAKERS, ids=["Generator", "RandomState"])
def make(request):
    return request.param


# ---- draws -------------------------------------------------------------------------------


def test_points_is_one_choice(make, dtype):
    data = contract.blobs(90, 5, 3).astype(dtype)
    for k in (1, 5, 90):
        rng, twin = make(k), make(k)
        book = _seeding.points(data, k, rng, None, 1)
        np.testing.assert_array_equal(book, data[twin.choice(90, size=k, replace=False)])
        assert book.dtype == dtype
        assert rng.random() == twin.random()


def test_kmeans_chooses_once_a_restart(make):
    data = contract.blobs(90, 5, 3)
    rng, twin = make(4), make(4)
    vqfast.kmeans(data, 7, iter=5, seed=rng)
    for _ in range(5):
        twin.choice(90, size=7, replace=False)
    assert rng.random() == twin.random()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 2, 8, 9, 30])
def test_plus_plus_is_its_twin(make, dtype, d, weighted, workers):
    data = contract.blobs(300, 9, d).astype(dtype)
    weights = np.random.default_rng(d).random(300) if weighted else None
    rng, twin = make(d), make(d)
    book = _seeding.plus_plus(data, 20, rng, weights, workers)
    if weights is None:
        expected = reference.plus_plus(data, 20, twin)
    else:
        chosen = [int(twin.choice(300, p=weights / weights.sum()))]
        while len(chosen) < 20:
            lowest = weights * reference.sq_dists(data, data[chosen]).min(axis=1)
            chosen.append(int(np.searchsorted((lowest / lowest.sum()).cumsum(), twin.uniform())))
        expected = data[chosen]
    np.testing.assert_array_equal(book, expected)
    assert book.dtype == np.float64
    assert rng.random() == twin.random()


def test_plus_plus_in_one_dimension(make, dtype):
    line = contract.blobs(100, 4, 1)[:, 0].astype(dtype)
    book = _seeding.plus_plus(line, 8, make(0), None, 1)
    np.testing.assert_array_equal(book, reference.plus_plus(line, 8, make(0)))
    assert book.shape == (8,)


def test_plus_plus_on_equal_observations(make):
    """All distances are zero: SciPy divides zero by zero, warns and takes observation 0."""
    data = np.full((10, 2), 3.0)
    with pytest.warns(RuntimeWarning, match="invalid value encountered"):
        book = _seeding.plus_plus(data, 3, make(0), None, 1)
    np.testing.assert_array_equal(book, data[:3])


def test_plus_plus_stays_in_range_when_probabilities_end_below_one():
    """The sum of the probabilities may be a hair below one, and the draw above it."""

    class AlmostOne(np.random.RandomState):
        def uniform(self):
            return np.nextafter(1.0, 0.0)

    for n_obs in range(5, 60):
        data = np.random.default_rng(n_obs).random((n_obs, 1))
        assert np.isin(_seeding.plus_plus(data, 3, AlmostOne(0), None, 1), data).all()


def test_random_draws_normals(make, dtype):
    data = (contract.blobs(90, 5, 3) + [0, 5, 9]).astype(dtype)
    rng, twin = make(1), make(1)
    book = _seeding.random_normal(data, 6, rng, None, 1)
    factor = np.linalg.cholesky(np.cov(data.T))
    np.testing.assert_array_equal(book, twin.standard_normal((6, 3)) @ factor.T + np.mean(data, axis=0))
    assert rng.random() == twin.random()

    line = data[:, 0]
    book = _seeding.random_normal(line, 6, rng, None, 1)
    np.testing.assert_array_equal(book, twin.standard_normal(6) * np.sqrt(np.cov(line)) + np.mean(line))
    assert rng.random() == twin.random()

    wide = data[:2]
    book = _seeding.random_normal(wide, 6, rng, None, 1)
    centred = wide - np.mean(wide, axis=0)
    _, s, vh = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(book, twin.standard_normal((6, 2)) @ (s[:, None] * vh) + np.mean(wide, axis=0))
    assert rng.random() == twin.random()


def test_random_with_weights(make):
    data, weights = contract.blobs(50, 5, 3), np.random.default_rng(0).integers(1, 4, 50).astype(float)
    book = _seeding.random_normal(data, 4, make(1), weights, 1)
    mean = np.average(data, axis=0, weights=weights)
    factor = np.linalg.cholesky(np.cov(data.T, aweights=weights))
    np.testing.assert_allclose(book, make(1).standard_normal((4, 3)) @ factor.T + mean)


def test_random_on_flat_data_fails_as_in_scipy():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        vqfast.kmeans2(np.ones((5, 2)), 2, minit="random", rng=0)


def test_random_of_one_observation_is_not_finite():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="array must not contain infs or NaNs"):
        vqfast.kmeans2(np.ones((1, 2)), 2, minit="random", rng=0)


def test_given_books_draw_nothing(make):
    data = contract.blobs()
    rng, twin = make(0), make(0)
    vqfast.kmeans(data, data[:6], seed=rng)
    vqfast.kmeans2(data, data[:6], minit="++", seed=rng)
    vqfast.kmeans2(data, data[:6], minit="matrix", seed=rng)
    assert rng.random() == twin.random()


# ---- where the generator comes from -------------------------------------------------------


@pytest.mark.parametrize("minit", ["points", "++", "random"])
def test_every_form_of_rng(minit):
    data = contract.blobs()

    def book(**source):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return vqfast.kmeans2(data, 4, minit=minit, iter=1, **source)[0]

    expected = book(seed=np.random.default_rng(9))
    for form in (9, np.int64(9), np.random.SeedSequence(9), np.random.PCG64(9), np.random.default_rng(9)):
        np.testing.assert_array_equal(book(rng=form), expected)
    np.testing.assert_array_equal(book(rng=[9, 1]), book(seed=np.random.default_rng([9, 1])))
    np.testing.assert_array_equal(book(seed=np.int32(9)), book(seed=np.random.RandomState(9)))


def test_rng_none_is_fresh_entropy():
    data = contract.blobs(500)
    for call in (
        lambda: vqfast.kmeans(data, 9, iter=1, rng=None),
        lambda: vqfast.kmeans2(data, 9, minit="points", rng=None),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len({call()[0].tobytes() for _ in range(4)}) > 1


def test_a_generator_advances(make):
    data, rng = contract.blobs(500), make(0)
    first, second = (vqfast.kmeans2(data, 9, minit="points", seed=rng, iter=1)[0] for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("function", [vqfast.kmeans, vqfast.kmeans2])
def test_junk(function):
    data = contract.blobs()
    with pytest.raises(ValueError, match=r"^'junk' cannot be used to seed a numpy.random.RandomState instance$"):
        function(data, 3, seed="junk")
    with pytest.raises(ValueError, match="cannot be used to seed"):
        function(data, 3, seed=1.5)
    with pytest.raises(TypeError):
        function(data, 3, rng="junk")
    with pytest.raises(TypeError):  # looked at even if nothing is drawn
        function(data, data[:3], rng="junk")
    function(data, data[:6], seed="junk")


def test_global_state_is_left_alone_if_a_source_is_given():
    data, before = contract.blobs(), np.random.get_state()[1].copy()
    position = np.random.get_state()[2]
    for source in ({"rng": 0}, {"seed": 0}, {"rng": None}, {"seed": np.random.RandomState(0)}):
        for minit in ("points", "++", "random"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                vqfast.kmeans2(data, 4, minit=minit, **source)
        vqfast.kmeans(data, 4, iter=2, **source)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert np.random.get_state()[2] == position


# ---- more starts than SciPy has ----------------------------------------------------------


@pytest.mark.parametrize("minit", ["greedy++", "||"])
class TestMoreStarts:
    """Greedy k-means++ and k-means||."""

    def test_starts_at_observations(self, minit, make, dtype):
        data = contract.blobs(500, 7, 4).astype(dtype)
        book = _seeding.start(minit, data, 12, make(3), None, 1)
        assert book.shape == (12, 4)
        assert {tuple(row) for row in book} <= {tuple(row) for row in data.astype("f8")}
        assert len(np.unique(book, axis=0)) == 12

    def test_the_same_for_any_workers(self, minit, make, workers):
        data, weights = contract.blobs(3000, 9, 50), np.random.default_rng(0).random(3000)
        for w in (None, weights):
            expected = _seeding.start(minit, data, 20, make(1), w, 1)
            np.testing.assert_array_equal(_seeding.start(minit, data, 20, make(1), w, workers), expected)

    def test_finds_every_blob(self, minit):
        rng = np.random.default_rng(5)
        centres = np.arange(30)[:, None] * 100.0 + np.zeros(3)
        data = np.repeat(centres, 40, axis=0) + rng.normal(size=(1200, 3))
        book, _ = vqfast.kmeans2(data, 30, iter=3, minit=minit, rng=1)
        np.testing.assert_allclose(np.sort(book[:, 0]), centres[:, 0], atol=1)

    def test_zero_weights_are_never_chosen(self, minit):
        data = np.arange(60.0).reshape(-1, 1)
        weights = np.repeat([0.0, 1.0], 30)
        book = _seeding.start(minit, data, 10, np.random.default_rng(2), weights, 1)
        assert book.min() >= 30

    def test_equal_observations(self, minit):
        data = np.ones((50, 2))
        np.testing.assert_array_equal(
            _seeding.start(minit, data, 5, np.random.default_rng(0), None, 1), np.ones((5, 2))
        )

    def test_one_feature(self, minit):
        book, codes = vqfast.kmeans2(np.r_[np.zeros(20), np.ones(20)], 2, minit=minit, rng=0)
        np.testing.assert_array_equal(np.sort(book), [0, 1])
        assert codes.shape == (40,)

    def test_many_observations_are_sampled(self, minit):
        data = np.random.default_rng(0).normal(size=(40_000, 2)).astype("f4")
        book, _ = vqfast.kmeans2(data, 50, iter=5, minit=minit, rng=3)
        assert np.isfinite(book).all()
        assert len(np.unique(book, axis=0)) == 50

    def test_few_observations_with_weight(self, minit):
        data = np.random.default_rng(0).normal(size=(60_000, 2))
        weights = np.zeros(60_000)
        weights[::1500] = 1.0
        book = _seeding.start(minit, data, 8, np.random.default_rng(1), weights, 1)
        assert len(np.unique(book, axis=0)) == 8
        assert {tuple(row) for row in book} <= {tuple(row) for row in data[::1500]}

    def test_distances_that_overflow(self, minit):
        data = np.random.default_rng(0).normal(size=(50, 2)) * 1e200
        book = _seeding.start(minit, data, 5, np.random.default_rng(1), None, 1)
        assert len(np.unique(book, axis=0)) == 5
