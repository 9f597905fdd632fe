"""SciPy's own tests on vqfast, and both side by side on anything hypothesis thinks of."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import reference
import scipy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster import vq as theirs

import vqfast

NEW_DISTORTION = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18)


# ---- SciPy's own tests ---------------------------------------------------------------------


def installed(*names):
    for name in names:
        try:
            if importlib.util.find_spec(name):
                return name
        except ModuleNotFoundError:
            continue
    pytest.skip(f"SciPy's own tests are not installed: none of {', '.join(names)}")


def run_swapped(tmp_path, module, *options):
    """Numbers of tests that passed and that did not, and the calls of vqfast's functions."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    command = ["-m", "pytest", "-q", "-p", "scipy_swap", "-p", "no:cacheprovider", "--pyargs", module, *options]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning", "-W", "ignore::pytest.PytestConfigWarning"]
    process = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    output = process.stdout + process.stderr
    outcomes = {outcome: int(count) for count, outcome in re.findall(r"(\d+) (passed|failed|errors?)\b", output)}
    calls = {name: int(count) for name, count in re.findall(r" ([\w.]+)=(\d+)", output)}
    return outcomes, calls, output


def test_tests_of_vq(tmp_path):
    module = installed("scipy.cluster.vq.tests.test_vq", "scipy.cluster.tests.test_vq")
    outcomes, calls, output = run_swapped(tmp_path, module)
    assert outcomes.keys() == {"passed"}, output
    assert outcomes["passed"] > 30, output
    assert all(count > 0 for count in calls.values()), calls
    assert len(calls) == 7


@pytest.mark.skipif(tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 15), reason="SciPy has rng= since 1.15")
def test_tests_of_the_random_sources(tmp_path):
    """Of rng= and seed=; SciPy's case named kmeans calls kmeans2 as well."""
    module = installed("scipy._lib.tests.test__util")
    outcomes, calls, output = run_swapped(tmp_path, module, "-k", "TestTransitionToRNG and kmeans")
    assert outcomes == {"passed": 2}, output
    assert calls["kmeans2"] > 0


# ---- side by side --------------------------------------------------------------------------


def settle(function):
    """Examples are bounded and the same in every run; no clock decides."""
    return settings(max_examples=150, deadline=None, derandomize=True)(function)


@st.composite
def problems(draw, dtypes=("f8",), most_features=12):
    """Data of a random layout, and k; continuous, so that ties and near ties do not occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_obs, d = draw(st.integers(2, 60)), draw(st.integers(1, most_features))
    k = draw(st.integers(1, min(n_obs, 12)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    unit = draw(st.sampled_from([1.0, 1e-6, 1e6])) if dtype.kind == "f" and dtype.itemsize > 2 else 10
    data = np.abs(rng.normal(draw(st.sampled_from([0.0, 3.0])), 1, (n_obs, d)) * unit).astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed", "1-d"]))
    if layout == "F":
        data = np.asfortranarray(data)
    elif layout == "strided":
        data = np.repeat(data, 2, axis=1)[:, ::2]
    elif layout == "reversed":
        data = data[::-1]
    elif layout == "1-d":
        data = data[:, 0].copy()
    return data, k


@st.composite
def lattices(draw):
    """Small integers, full of exact ties, with few features: SciPy is exact there."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_obs, d = draw(st.integers(2, 60)), draw(st.integers(1, 4))
    return rng.integers(-2, 3, (n_obs, d)).astype("f8"), draw(st.integers(1, min(n_obs, 12)))


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def outcome(function, *args, **options):
    try:
        return quietly(function, *args, **options)
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        return type(error)


def scale(array):
    return np.abs(array).max(initial=1e-300)


def assert_same_codes(found, expected, data, book):
    """Equal, but where SciPy's expanded squares (five features and up) lost a near tie."""
    for i in np.flatnonzero(found != expected):
        sq = reference.sq_dists(data[i : i + 1], book)[0]
        assert sq[expected[i]] - sq[found[i]] < 1e-5 * (
            np.sum(data[i].astype("f8") ** 2) + np.max(book.astype("f8") ** 2)
        )


@settle
@given(problems(dtypes=("f8", "f4"), most_features=40))
def test_vq(problem):
    data, k = problem
    book = np.concatenate([data[:k], data[k : 2 * k] + data.dtype.type(0.01)])
    codes, dist = vqfast.vq(data, book)
    expected, expected_dist = theirs.vq(data, book)
    assert (codes.dtype, dist.dtype) == (expected.dtype, expected_dist.dtype)
    assert_same_codes(codes, expected, data, book)
    # SciPy's distances near zero carry the error of the expanded squares.
    error = 0.02 if data.dtype == "f4" else 1e-6
    np.testing.assert_allclose(dist, expected_dist, rtol=error, atol=error * scale(data))


@settle
@given(problems(), st.integers(1, 12), st.sampled_from(["points", "++", "random", "matrix"]), st.booleans())
def test_kmeans2(problem, n_rounds, minit, legacy):
    data, k = problem
    # With as many observations as features the covariance is singular up to its last digit,
    # and whether its Cholesky factor exists is the library's word.
    assume(minit != "random" or data.ndim == 1 or data.shape[0] != data.shape[1])
    make = np.random.RandomState if legacy else np.random.default_rng
    ours, twin = make(k), make(k)
    start = data[:k] if minit == "matrix" else k
    found = outcome(vqfast.kmeans2, data, start, n_rounds, minit=minit, seed=ours)
    expected = outcome(theirs.kmeans2, data, start, n_rounds, minit=minit, seed=twin)
    if isinstance(expected, type):
        assert found is expected
        return
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-12 * scale(data))
    assert found[1].dtype == expected[1].dtype
    assert ours.random() == twin.random()


@settle
@given(lattices(), st.integers(1, 12), st.sampled_from(["points", "++", "matrix"]))
def test_kmeans2_with_ties(problem, n_rounds, minit):
    data, k = problem
    start = data[:k] if minit == "matrix" else k
    ours, twin = np.random.default_rng(k), np.random.default_rng(k)
    book, codes = quietly(vqfast.kmeans2, data, start, n_rounds, minit=minit, seed=ours)
    expected, expected_codes = quietly(theirs.kmeans2, data, start, n_rounds, minit=minit, seed=twin)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(book, expected, rtol=1e-13, atol=1e-15)
    assert ours.random() == twin.random()


@settle
@given(problems(dtypes=("f4",), most_features=4), st.sampled_from(["points", "++", "matrix"]))
def test_one_round_of_float32(problem, minit):
    """With few features SciPy subtracts in float32; its sums are of float32 too."""
    data, k = problem
    start = data[:k] if minit == "matrix" else k
    ours, twin = np.random.default_rng(k), np.random.default_rng(k)
    book, codes = quietly(vqfast.kmeans2, data, start, 1, minit=minit, seed=ours)
    expected, expected_codes = quietly(theirs.kmeans2, data, start, 1, minit=minit, seed=twin)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(book, expected, rtol=1e-5, atol=1e-5 * scale(data))
    assert (book.dtype, codes.dtype) == (expected.dtype, expected_codes.dtype)
    assert ours.random() == twin.random()


def scipys_run(data, guess, thresh):
    """SciPy 1.18's run, made of the functions that are the same in all versions."""
    book, previous, change = guess, np.inf, np.inf
    while change > thresh:
        codes, dist = theirs.vq(data, book)
        counts = np.bincount(codes, minlength=len(book))
        sums = np.zeros_like(book)
        np.add.at(sums, codes, data)
        shape = (-1,) + (1,) * (data.ndim - 1)
        book = sums[counts > 0] / counts[counts > 0].reshape(shape)
        change, previous = abs(previous - dist.mean()), dist.mean()
    return book, theirs.vq(data, book)[1].mean()


@settle
@given(problems(most_features=4), st.integers(1, 5), st.sampled_from([1e-5, 0.05]), st.booleans())
def test_kmeans(problem, n_runs, thresh, from_guess):
    """With up to four features SciPy's distances are those of the formula, so restarts compare alike."""
    data, k = problem
    ours, twin = np.random.default_rng(k), np.random.default_rng(k)
    if from_guess and k > 1:
        book, distortion = vqfast.kmeans(data, data[:k], thresh=thresh)
        expected, lowest = scipys_run(data, data[:k], thresh)
    else:
        book, distortion = vqfast.kmeans(data, k, n_runs, thresh, seed=ours)
        runs = [scipys_run(data, data[twin.choice(len(data), size=k, replace=False)], thresh) for _ in range(n_runs)]
        expected, lowest = min(runs, key=lambda run: run[1])
        assert ours.random() == twin.random()
        if NEW_DISTORTION:
            np.testing.assert_allclose(book, theirs.kmeans(data, k, n_runs, thresh, seed=np.random.default_rng(k))[0])
    np.testing.assert_allclose(book, expected, rtol=1e-12, atol=1e-12 * scale(data))
    np.testing.assert_allclose(distortion, lowest, rtol=1e-12, atol=1e-12 * scale(data))


@settle
@given(problems(dtypes=("f8", "f4", "f2", "i4"), most_features=5))
def test_whiten(problem):
    data, _ = problem
    with np.errstate(all="ignore"):
        found, expected = quietly(vqfast.whiten, data, False), quietly(theirs.whiten, data, False)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol={"f2": 0.02, "f4": 1e-3}.get(data.dtype.str[1:], 1e-11))


@settle
@given(problems(dtypes=("i4", "i8", "u1", "?"), most_features=8))
def test_integers(problem):
    data, k = problem
    with np.errstate(all="ignore"):
        codes, dist = vqfast.vq(data, data[:k])
        expected, expected_dist = theirs.vq(data, data[:k])
    assert (codes.dtype, dist.dtype) == (expected.dtype, expected_dist.dtype)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_allclose(dist, expected_dist, rtol=1e-14)
