"""kmeans and kmeans2 beyond the shared contract: types, weights, options of their own."""

import inspect
import warnings

import contract
import numpy as np
import pytest
import reference

import vqfast
from vqfast._kmeans import _Fit


@pytest.mark.parametrize("check", contract.FOR_KMEANS + contract.FOR_KMEANS2, ids=lambda check: check.__name__)
def test_contract(check):
    check(vqfast)


@pytest.fixture
def data(dtype):
    return contract.blobs(200, 5, 3).astype(dtype)


def test_signatures():
    positional = {
        "kmeans": ["obs", "k_or_guess", "iter", "thresh", "check_finite"],
        "kmeans2": ["data", "k", "iter", "thresh", "minit", "missing", "check_finite"],
    }
    for name, expected in positional.items():
        parameters = inspect.signature(getattr(vqfast, name)).parameters
        assert [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == expected
        assert {"rng", "seed", "workers", "sample_weight"} <= set(parameters)
    defaults = {name: p.default for name, p in inspect.signature(vqfast.kmeans2).parameters.items()}
    expected = {"iter": 10, "thresh": 1e-5, "minit": "random", "missing": "warn", "check_finite": True}
    assert expected.items() <= defaults.items()
    assert inspect.signature(vqfast.kmeans).parameters["iter"].default == 20


# ---- types -------------------------------------------------------------------------------


def test_types_of_the_results(data):
    book, distortion = vqfast.kmeans(data, 5, rng=0)
    assert (book.dtype, type(distortion)) == (data.dtype, data.dtype.type)
    book, distortion = vqfast.kmeans(data, data[:5].astype("f8"))
    assert (book.dtype, type(distortion)) == (data.dtype, data.dtype.type)
    for minit in ("random", "points", "++"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book, codes = vqfast.kmeans2(data, 5, minit=minit, rng=0)
        assert (book.dtype, codes.dtype, book.shape) == (data.dtype, np.int32, (5, 3))
        assert type(codes) is type(book) is np.ndarray


@pytest.mark.parametrize("given", ["i1", "u1", "i4", "u8", "?", ">f8", ">i2"])
def test_integers_are_float64(given, rng):
    data = rng.integers(0, 2 if given == "?" else 100, (60, 2)).astype(given)
    wide = data.astype("f8")
    for function in (vqfast.kmeans, vqfast.kmeans2):
        for start in (wide[:4] + 0.25, data[::15]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for found, expected in zip(function(data, start), function(wide, start), strict=True):
                    np.testing.assert_array_equal(found, expected)
                    assert found.dtype == expected.dtype


@pytest.mark.parametrize("given", ["f2", ">f4"])
def test_narrow_floats_are_float32(given, rng):
    data = rng.normal(size=(60, 2)).astype(given)
    for function in (vqfast.kmeans, vqfast.kmeans2):
        for found, expected in zip(function(data, data[:4]), function(data.astype("f4"), data[:4]), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_one_dimension(data):
    line = data[:, 0]
    book, distortion = vqfast.kmeans(line, line[:4])
    flat, flat_distortion = vqfast.kmeans(line[:, None], line[:4, None])
    np.testing.assert_array_equal(book, flat[:, 0])
    assert distortion == flat_distortion
    book, codes = vqfast.kmeans2(line, line[:4])
    flat, flat_codes = vqfast.kmeans2(line[:, None], line[:4, None])
    np.testing.assert_array_equal(book, flat[:, 0])
    np.testing.assert_array_equal(codes, flat_codes)
    for minit in ("random", "points", "++"):
        assert vqfast.kmeans2(line, 2, minit=minit, rng=3)[0].shape == (2,)
    assert vqfast.kmeans(line, 3, rng=3)[0].ndim == 1


@pytest.mark.parametrize("count", [3, np.int64(3), np.uint8(3), 3.0, [3], np.array(3), np.array([3.0])])
def test_scalars_that_are_counts(count, data):
    expected = vqfast.kmeans(data, 3, iter=2, seed=1)
    for found, same in zip(vqfast.kmeans(data, count, iter=2, seed=1), expected, strict=True):
        np.testing.assert_array_equal(found, same)
    expected = vqfast.kmeans2(data, 3, minit="points", seed=1)
    for found, same in zip(vqfast.kmeans2(data, count, minit="points", seed=1), expected, strict=True):
        np.testing.assert_array_equal(found, same)


def test_true_is_one(data):
    assert vqfast.kmeans(data, True, rng=0)[0].shape == (1, 3)
    assert vqfast.kmeans2(data, True, minit="points", rng=0)[0].shape == (1, 3)


def test_two_dimensions_are_a_code_book(data):
    """SciPy reads one code word as a count, or fails."""
    word = data[:, :1]
    for guess in ([[2.0]], np.array([[0.5]])):
        book, _ = vqfast.kmeans(word, guess)
        np.testing.assert_allclose(book, [[word.mean(dtype="f8")]], rtol=1e-6)
        book, _ = vqfast.kmeans2(word, guess, minit="bogus is not looked at")
        np.testing.assert_allclose(book, [[word.mean(dtype="f8")]], rtol=1e-6)
    book, _ = vqfast.kmeans2(word[:, 0], np.array([0.5]), minit="matrix")
    assert book.shape == (1,)


# ---- the fit, against its twin -----------------------------------------------------------


def test_kmeans_is_its_twin(data, dtype):
    for k, n_runs, thresh in ((1, 1, 1e-5), (4, 3, 1e-5), (9, 6, 1e-2), (25, 4, 0)):
        book, distortion = vqfast.kmeans(data, k, iter=n_runs, thresh=thresh, rng=k)
        expected, lowest = reference.kmeans(data, k, n_runs, np.random.default_rng(k), thresh)
        np.testing.assert_array_equal(book, expected)
        assert distortion == dtype.type(lowest)


def test_kmeans_leaves_out_only_scans_without_effect(data, dtype, monkeypatch):
    """Runs that lose, and runs at rest, are scanned less often than by the twin, which gets the same."""
    scans = [0, 0]

    def counted(module, name, which):
        function = getattr(module, name)

        def count(*args, **kwargs):
            scans[which] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, count)

    counted(_Fit, "distortion_of", 0)
    counted(reference, "distances", 1)
    for k in range(1, 12):
        book, distortion = vqfast.kmeans(data, k, iter=6, rng=k)
        expected, lowest = reference.kmeans(data, k, 6, np.random.default_rng(k))
        np.testing.assert_array_equal(book, expected)
        assert distortion == dtype.type(lowest)
    assert scans[0] < 0.9 * scans[1]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_scans_are_left_out_only_where_that_is_proven(dtype):
    """No observations, so no code changes; and distances whose squares underflow."""
    with pytest.warns(RuntimeWarning, match="empty slice"):
        book, _ = vqfast.kmeans(np.zeros((0, 2), dtype), np.zeros((2, 2), dtype))
    assert book.shape == (0, 2)
    for seed in range(60 if dtype == "f8" else 0):
        obs = np.random.default_rng(seed).normal(size=(8, 2)) * 2e-162
        book, _ = vqfast.kmeans(obs, 3, iter=20, rng=seed)
        np.testing.assert_array_equal(book, reference.kmeans(obs, 3, 20, np.random.default_rng(seed))[0])


def test_kmeans2_is_its_twin(data, dtype):
    for k, n_rounds in ((1, 1), (4, 1), (4, 10), (30, 3), (30, 100)):
        start = data[np.random.default_rng(k).choice(len(data), k)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            book, codes = vqfast.kmeans2(data, start, n_rounds, minit="matrix")
        expected, expected_codes, n_with_empty = reference.kmeans2(data, start, n_rounds)
        np.testing.assert_array_equal(book, expected.astype(dtype))
        np.testing.assert_array_equal(codes, expected_codes)
        assert len(caught) == n_with_empty


def test_distortion_is_that_of_the_returned_book(data, dtype):
    for seed in range(5):
        book, distortion = vqfast.kmeans(data, 7, iter=3, thresh=0.5, seed=seed)
        np.testing.assert_allclose(distortion, np.mean(vqfast.vq(data, book)[1]), rtol=1e-5 if dtype == "f4" else 1e-14)


def test_rounds_that_change_nothing_still_warn():
    start = np.array([[0.0], [100.0], [25.0]])
    with pytest.warns(UserWarning, match="empty") as caught:
        vqfast.kmeans2(contract.LINE, start, iter=500)
    assert len(caught) == 500
    assert {warning.filename for warning in caught} == {__file__}
    assert {warning.category for warning in caught} == {UserWarning}


def test_raising_changes_nothing_if_no_cluster_is_empty(data):
    start = data[:5]
    for found, expected in zip(
        vqfast.kmeans2(data, start, missing="raise"), vqfast.kmeans2(data, start, missing="warn"), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_thresh_of_kmeans2_is_not_used(data):
    expected, _ = vqfast.kmeans2(data, data[:5], iter=10)
    for thresh in (1e10, -1, np.nan, "abc", None):
        np.testing.assert_array_equal(vqfast.kmeans2(data, data[:5], 10, thresh)[0], expected)


def test_cluster_error_is_a_plain_exception():
    assert vqfast.ClusterError.__bases__ == (Exception,)


@pytest.mark.parametrize("thresh", [np.inf, np.nan])
def test_threshold_that_no_change_exceeds(thresh, data):
    book, distortion = vqfast.kmeans(data, data[:3], thresh=thresh)
    np.testing.assert_array_equal(book, data[:3])
    assert not np.shares_memory(book, data)
    np.testing.assert_allclose(distortion, np.mean(vqfast.vq(data, data[:3])[1]), rtol=1e-5)


def test_more_codes_than_observations(data):
    few = data[:4]
    with pytest.raises(ValueError, match="larger sample than population"):
        vqfast.kmeans(few, 5)
    with pytest.raises(ValueError, match="larger sample than population"):
        vqfast.kmeans2(few, 5, minit="points")
    for minit in ("++", "random"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert vqfast.kmeans2(few, 9, minit=minit, rng=0)[0].shape == (9, 3)
    assert len(vqfast.kmeans(few, np.repeat(few, 3, axis=0))[0]) == 4


# ---- options of vqfast alone -------------------------------------------------------------


def test_max_iter(data):
    for max_iter in (1, 2, 3, 1000):
        book, distortion = vqfast.kmeans(data, data[:9], max_iter=max_iter)
        expected, lowest = reference.kmeans_run(data, data[:9], max_iter=max_iter)
        np.testing.assert_array_equal(book, expected)
        assert distortion == data.dtype.type(lowest)
    book, _ = vqfast.kmeans(data, data[:9], thresh=-1, max_iter=4)
    np.testing.assert_array_equal(book, reference.kmeans_run(data, data[:9], thresh=-1, max_iter=4)[0])


def test_return_codes(data):
    for guess in (data[:9], 9, np.concatenate([data[:5], data[:1] + 1e4])):
        book, distortion, codes = vqfast.kmeans(data, guess, iter=4, rng=2, return_codes=True)
        without = vqfast.kmeans(data, guess, iter=4, rng=2)
        np.testing.assert_array_equal(book, without[0])
        assert distortion == without[1]
        assert codes.dtype == np.int32
        np.testing.assert_array_equal(codes, vqfast.vq(data, book)[0])


def test_integer_weights_are_repeated_rows(data, rng):
    weights = rng.integers(0, 4, len(data))
    repeated = np.repeat(data, weights, axis=0)
    tolerance = {"rtol": 1e-5 if data.dtype == "f4" else 1e-12}
    book, distortion = vqfast.kmeans(data, data[:6], sample_weight=weights)
    expected, lowest = vqfast.kmeans(repeated, data[:6])
    np.testing.assert_allclose(book, expected, **tolerance)
    np.testing.assert_allclose(distortion, lowest, **tolerance)
    book, codes = vqfast.kmeans2(data, data[:6], sample_weight=weights)
    expected, expected_codes = vqfast.kmeans2(repeated, data[:6])
    np.testing.assert_allclose(book, expected, **tolerance)
    np.testing.assert_array_equal(np.repeat(codes, weights), expected_codes)


def test_equal_weights_are_none(data):
    expected, expected_codes = vqfast.kmeans2(data, data[:5])
    for weight in (1, 0.25, 3, 2**40):
        book, codes = vqfast.kmeans2(data, data[:5], sample_weight=np.full(len(data), weight))
        np.testing.assert_allclose(book, expected, rtol=1e-5 if data.dtype == "f4" else 1e-13)
        np.testing.assert_array_equal(codes, expected_codes)


def test_weighted_fits_are_their_twins(data, rng):
    weights = rng.random(len(data)) * (rng.random(len(data)) < 0.8)
    book, codes = vqfast.kmeans2(data, data[:8], 5, sample_weight=weights)
    expected, expected_codes, _ = reference.kmeans2(data, data[:8], 5, weights)
    np.testing.assert_array_equal(book, expected)
    np.testing.assert_array_equal(codes, expected_codes)
    book, distortion = vqfast.kmeans(data, data[:8], sample_weight=weights)
    expected, lowest = reference.kmeans_run(data, data[:8], weights=weights)
    np.testing.assert_array_equal(book, expected)
    assert distortion == data.dtype.type(lowest)


def test_a_cluster_without_weight_is_empty():
    weights = [1, 1, 1, 1, 1, 0]
    start = contract.LINE[[0, 3, 5]]
    assert len(vqfast.kmeans(contract.LINE, start, sample_weight=weights)[0]) == 2
    with pytest.raises(vqfast.ClusterError):
        vqfast.kmeans2(contract.LINE, start, missing="raise", sample_weight=weights)
    with pytest.warns(UserWarning, match="empty") as caught:
        book, codes = vqfast.kmeans2(contract.LINE, start, iter=4, sample_weight=weights)
    assert len(caught) == 4
    np.testing.assert_array_equal(book, [[1.0], [10.5], [30.0]])
    np.testing.assert_array_equal(codes, [0, 0, 0, 1, 1, 2])


def test_observations_without_weight_are_never_chosen(data):
    weights = np.zeros(len(data))
    weights[[3, 50, 120]] = 1
    chosen = {tuple(row) for row in data[[3, 50, 120]]}
    for minit in ("points", "++"):
        book, _ = vqfast.kmeans2(data, 3, minit=minit, iter=1, rng=1, sample_weight=weights)
        assert {tuple(row) for row in book} == chosen


def test_float32_means_of_many_observations():
    """SciPy adds float32 in float32: 0.1998 instead of 0.2 at a million."""
    data = np.tile(np.array([[0.1], [0.3]], "f4"), (500_000, 1))
    book, _ = vqfast.kmeans2(data, np.array([[0.0]], "f4"), iter=1, minit="matrix")
    np.testing.assert_allclose(book, [[0.2]], rtol=1e-7)
