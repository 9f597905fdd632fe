"""Bad input: one clear error, before any work and any draw, in the documented order."""

import os
import warnings

import numpy as np
import pytest

import vqfast
from vqfast import _validation

DATA = np.random.default_rng(0).normal(size=(20, 2))
NAN, INF = DATA.copy(), DATA.copy()
NAN[3, 1], INF[3, 1] = np.nan, np.inf


class Untouchable(np.random.RandomState):
    """A generator that must not be drawn from."""

    def choice(self, *args, **options):
        raise AssertionError("drawn from before the arguments were checked")

    standard_normal = randint = uniform = choice


def refuses(error, message, function, *args, **options):
    if "rng" not in options and "seed" not in options and function not in (vqfast.vq, vqfast.py_vq, vqfast.whiten):
        options["seed"] = Untouchable(0)
    with pytest.raises(error, match=message) as caught:
        function(*args, **options)
    assert caught.type is error
    return caught


# ---- what an array may be ------------------------------------------------------------------

NOT_NUMBERS = [
    None,
    "text",
    ["a", "b"],
    [None, 1.0],
    [[1.0], [object()]],
    np.array([b"x"]),
    np.zeros(3, "V8"),
    object(),
]


@pytest.mark.parametrize("junk", NOT_NUMBERS, ids=repr)
def test_not_numbers(junk):
    refuses(TypeError, "^obs must be an array of real numbers, got dtype", vqfast.whiten, junk)
    refuses(TypeError, "^obs must be an array of real numbers", vqfast.vq, junk, DATA)
    refuses(TypeError, "^code_book must be an array of real numbers", vqfast.vq, DATA, junk)
    refuses(TypeError, "^obs must be an array of real numbers", vqfast.kmeans, junk, 2)
    refuses(TypeError, "^k_or_guess must be an array of real numbers", vqfast.kmeans, DATA, junk)
    refuses(TypeError, "^data must be an array of real numbers", vqfast.kmeans2, junk, 2)
    refuses(TypeError, "^k must be an array of real numbers", vqfast.kmeans2, DATA, junk)


def test_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    refuses(TypeError, "obs must be an array of real numbers", vqfast.vq, sparse.csr_array(DATA), DATA)


def test_ragged():
    refuses(ValueError, "inhomogeneous", vqfast.vq, [[1.0], [1.0, 2.0]], DATA)


@pytest.mark.parametrize(
    "bad", [NAN, INF, -INF, NAN.astype("f4"), NAN.astype("f2"), NAN.astype("g"), NAN.astype(">f8")]
)
def test_not_finite(bad):
    message = "^array must not contain infs or NaNs, but {} does$"
    refuses(ValueError, message.format("obs"), vqfast.vq, bad, DATA)
    refuses(ValueError, message.format("code_book"), vqfast.vq, DATA, bad)
    refuses(ValueError, message.format("obs"), vqfast.py_vq, bad, DATA)
    refuses(ValueError, message.format("obs"), vqfast.whiten, bad)
    refuses(ValueError, message.format("obs"), vqfast.kmeans, bad, 2)
    refuses(ValueError, message.format("k_or_guess"), vqfast.kmeans, DATA, bad)
    refuses(ValueError, message.format("data"), vqfast.kmeans2, bad, 2)
    refuses(ValueError, message.format("k"), vqfast.kmeans2, DATA, bad)


def test_not_finite_in_views(dtype):
    data = np.zeros((40, 8), dtype)
    data[5, 3] = np.nan
    for clean in (data[:, ::2], data[6:], data[::2], data[:, 4:], data[:5].T):
        vqfast.vq(clean, clean[:1])
    for bad in (data[:, 1::2], data[5:], data[1::2], data[:, :4], data.T, data[::-1], data[:, 3]):
        refuses(ValueError, "infs or NaNs", vqfast.vq, bad, bad[:1])


def test_not_finite_in_large_arrays():
    for dtype in ("f4", "f8", "f2", ">f8"):
        data = np.zeros((300_000, 2), dtype)
        for row in (0, 150_000, 299_999):
            data[row, 1] = np.inf
            refuses(ValueError, "infs or NaNs", vqfast.vq, data, np.zeros((1, 2), dtype))
            data[row, 1] = 0


def test_unchecked():
    """Nothing crashes, codes stay in range."""
    for bad in (NAN, INF, NAN.astype("f4"), np.full((20, 2), np.nan), np.full((20, 2), np.nan, "f4")):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for codes in (
                vqfast.vq(bad, DATA[:3], check_finite=False)[0],
                vqfast.vq(DATA, bad[:5], check_finite=False)[0],
                vqfast.kmeans2(bad, DATA[:3], check_finite=False)[1],
                vqfast.kmeans2(bad, 3, minit="points", check_finite=False, rng=0)[1],
                vqfast.kmeans2(bad, 3, minit="++", check_finite=False, rng=0)[1],
                vqfast.kmeans(bad, DATA[:3], check_finite=False, return_codes=True, max_iter=5)[2],
            ):
                assert ((codes >= 0) & (codes < 5)).all()
            vqfast.kmeans(bad, 3, iter=3, check_finite=False, rng=0)


def test_finite_data_of_any_size_do_not_crash():
    """SciPy's kmeans and kmeans2 die of SIGSEGV here (gh-24216)."""
    data = np.random.default_rng(0).choice([-1e200, 1e200], (50, 6))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        vqfast.kmeans(data, 5, rng=0)
        for minit in ("points", "++"):
            assert vqfast.kmeans2(data, 5, minit=minit, rng=0)[1].max() < 5


@pytest.mark.parametrize("given", ["c8", "c16"])
def test_complex(given):
    for args in ((vqfast.kmeans, DATA.astype(given), 2), (vqfast.kmeans2, DATA.astype(given), 2)):
        refuses(ValueError, f"^Unsupported dtype {np.dtype(given)}", *args)
    refuses(ValueError, "^Unsupported dtype", vqfast.kmeans, DATA, DATA[:2].astype(given))
    refuses(ValueError, "^Unsupported dtype", vqfast.kmeans2, DATA, DATA[:2].astype(given))


def test_long_double():
    if np.dtype("g").itemsize == 8:
        pytest.skip("long double is float64 here")
    refuses(TypeError, "^type other than float or double not supported", vqfast.kmeans, DATA.astype("g"), 2)
    refuses(TypeError, "^type other than float or double not supported", vqfast.kmeans2, DATA.astype("g"), 2)


# ---- kmeans --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((DATA, 2, 0), {}, ValueError, "^iter must be at least 1, got 0$"),
        ((DATA, DATA[:2], 0), {}, ValueError, "^iter must be at least 1, got 0$"),
        ((DATA, 2, -3), {}, ValueError, "^iter must be at least 1, got -3$"),
        ((DATA, 2, 1.5), {}, TypeError, "'float' object cannot be interpreted as an integer"),
        ((DATA, 0), {}, ValueError, r"^Asked for 0 clusters\.$"),
        ((DATA, -1), {}, ValueError, r"^Asked for -1 clusters\.$"),
        ((DATA, 2.5), {}, ValueError, "^If k_or_guess is a scalar, it must be an integer.$"),
        ((DATA, []), {}, ValueError, r"^Asked for 0 clusters\. Initial book was \[\]$"),
        ((DATA, np.empty((0, 2))), {}, ValueError, r"^Asked for 0 clusters\. Initial book was \[\]$"),
        ((DATA, DATA[:2, :1]), {}, ValueError, r"^obs and code should have same number of features \(columns\)"),
        ((DATA, DATA[:2, 0]), {}, ValueError, "^observation and code should have same number of dimensions"),
        ((DATA[:, :, None], 2), {}, ValueError, "^ndim different than 1 or 2 are not supported"),
        ((3.0, 1), {}, ValueError, "^ndim different than 1 or 2 are not supported"),
        ((DATA, 2), {"thresh": -1e-5}, ValueError, "^thresh must not be negative without max_iter, .* got -1e-05$"),
        ((DATA, 2), {"max_iter": 0}, ValueError, "^max_iter must be None or at least 1, got 0$"),
        ((DATA, 2), {"max_iter": 1.5}, TypeError, "'float' object cannot be interpreted as an integer"),
    ],
)
def test_kmeans(args, options, error, message):
    refuses(error, message, vqfast.kmeans, *args, **options)


def test_kmeans_without_observations():
    with pytest.raises(ValueError, match=r"a must be greater than 0|larger sample than population"):
        vqfast.kmeans(np.empty((0, 2)), 2)


def test_kmeans_without_observations_from_a_guess():
    """SciPy returns no code words and the distortion NaN; an error that names obs is as good."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            book, distortion = vqfast.kmeans(np.empty((0, 2)), DATA[:2])
        except ValueError as error:
            assert "obs" in str(error)  # noqa: PT017
        else:
            assert book.shape == (0, 2)
            assert np.isnan(distortion)


def test_order_of_the_checks_of_kmeans():
    """Each of these has all the faults of those after it."""
    for obs, guess, options, message in (
        (NAN, NAN, {"iter": 0, "rng": 1, "seed": 1}, "multiple values for argument"),
        (NAN, NAN, {"iter": 0}, "but obs does"),
        (DATA, NAN, {"iter": 0}, "but k_or_guess does"),
        (DATA, [], {"iter": 0}, "iter must be at least 1"),
    ):
        refuses(TypeError if "rng" in options else ValueError, message, vqfast.kmeans, obs, guess, **options)


# ---- kmeans2 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((DATA, 2, 0), {}, ValueError, r"^Invalid iter \(0\), must be a positive integer\.$"),
        ((DATA, 2, -1), {}, ValueError, r"^Invalid iter \(-1\), must be a positive integer\.$"),
        ((DATA, 2, 0.5), {}, ValueError, r"^Invalid iter \(0.5\), must be a positive integer\.$"),
        ((DATA, 2, 2.0), {}, TypeError, "'float' object cannot be interpreted as an integer"),
        ((DATA, 2), {"missing": "nothing"}, ValueError, "^Unknown missing method 'nothing'$"),
        ((DATA, 2), {"missing": None}, ValueError, "^Unknown missing method None$"),
        ((DATA[:, :, None], 2), {}, ValueError, "^Input of rank > 2 is not supported.$"),
        ((3.0, 2), {}, ValueError, "^Input of rank > 2 is not supported.$"),
        ((np.empty((0, 2)), 2), {}, ValueError, "^Empty input is not supported.$"),
        ((np.empty((2, 0)), 2), {}, ValueError, "^Empty input is not supported.$"),
        (([], 2), {}, ValueError, "^Empty input is not supported.$"),
        ((DATA, []), {}, ValueError, "^Empty input is not supported.$"),
        ((DATA, DATA[:2, 0]), {}, ValueError, "^k array doesn't match data rank"),
        ((DATA[:, 0], DATA[:2]), {}, ValueError, "^k array doesn't match data rank"),
        ((DATA, 2), {"minit": "matrix"}, ValueError, "^k array doesn't match data rank"),
        ((DATA, DATA[:2, :1]), {}, ValueError, "^k array doesn't match data dimension"),
        ((DATA, 0), {}, ValueError, r"^Cannot ask kmeans2 for 0 clusters \(k was 0\)$"),
        ((DATA, -2), {"minit": "points"}, ValueError, r"^Cannot ask kmeans2 for -2 clusters \(k was -2\)$"),
        ((DATA, 0.5), {"minit": "points"}, ValueError, r"^Cannot ask kmeans2 for 0 clusters \(k was 0.5\)$"),
        ((DATA, 2), {"minit": "bogus"}, ValueError, "^Unknown init method 'bogus'$"),
    ],
)
def test_kmeans2(args, options, error, message):
    refuses(error, message, vqfast.kmeans2, *args, **options)


def test_order_of_the_checks_of_kmeans2():
    for data, k, options, message in (
        (NAN, NAN, {"iter": 0, "missing": "?", "minit": "?"}, "Invalid iter"),
        (NAN, NAN, {"missing": "?", "minit": "?"}, "Unknown missing method"),
        (NAN[:, :, None], [], {"minit": "?"}, "but data does"),
        (DATA[:0, :, None], [], {"minit": "?"}, "Input of rank > 2"),
        (DATA[:0], 0, {"minit": "?"}, "Empty input"),
        (DATA, 0, {"minit": "matrix"}, "doesn't match data rank"),
        (DATA, 0, {"minit": "?"}, "Cannot ask kmeans2"),
    ):
        refuses(ValueError, message, vqfast.kmeans2, data, k, **options)


def test_both_sources_are_refused_first():
    refuses(TypeError, "multiple values for argument", vqfast.kmeans2, NAN, [], iter=0, rng=1, seed=1)


def test_k_that_is_no_integer():
    with pytest.warns(UserWarning, match="^k was not an integer, was converted.$") as caught:
        book, _ = vqfast.kmeans2(DATA, 2.5, minit="points", rng=0)
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal(book, vqfast.kmeans2(DATA, 2, minit="points", rng=0)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vqfast.kmeans2(DATA, 2.0, minit="points", rng=0)


def test_an_array_of_codes_ignores_minit():
    expected, _ = vqfast.kmeans2(DATA, DATA[:3], minit="matrix")
    np.testing.assert_array_equal(vqfast.kmeans2(DATA, DATA[:3], minit="bogus")[0], expected)


# ---- options of vqfast alone ---------------------------------------------------------------

CALLS = {
    "vq": lambda **options: vqfast.vq(DATA, DATA[:2], **options),
    "py_vq": lambda **options: vqfast.py_vq(DATA, DATA[:2], **options),
    "kmeans": lambda **options: vqfast.kmeans(DATA, 2, rng=0, **options),
    "kmeans2": lambda **options: vqfast.kmeans2(DATA, DATA[:2], **options),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_workers(call):
    for workers in (None, -1, 1, 2, np.int64(3), True):
        call(workers=workers)
    for workers in (0, -2, -100, np.int64(0), False):
        with pytest.raises(ValueError, match=f"^workers must be None, -1 or a positive integer, got {workers}$"):
            call(workers=workers)
    for workers in (1.0, 2.5, "2", "all", [1], (2,), np.float64(2)):
        with pytest.raises(TypeError, match=r"^workers must be None, -1 or a positive integer, got "):
            call(workers=workers)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_any_number_of_workers(call):
    call(workers=2**40)


@pytest.mark.parametrize("function", [vqfast.kmeans, vqfast.kmeans2])
def test_weights(function):
    def refuses_weights(error, message, weights):
        refuses(error, message, function, DATA, 2, sample_weight=weights)

    for shape in ((19,), (21,), (20, 1), (), (0,)):
        refuses_weights(
            ValueError, "^sample_weight must have one weight for each of the 20 observations", np.ones(shape)
        )
    refuses_weights(ValueError, "^sample_weight must be non-negative", np.linspace(-1e-9, 1, 20))
    refuses_weights(ValueError, "^sample_weight must be .* at least one weight above zero$", np.zeros(20))
    refuses_weights(ValueError, "^array must not contain infs or NaNs, but sample_weight does$", np.full(20, np.nan))
    refuses_weights(ValueError, "^array must not contain infs or NaNs", np.r_[np.ones(19), np.inf])
    refuses_weights(TypeError, "^sample_weight must be an array of real numbers", ["a"] * 20)
    refuses_weights(TypeError, "^sample_weight must be an array of real numbers", np.ones(20, "c16"))


@pytest.mark.parametrize("given", ["f4", "f2", "i4", "u1", "?", ">f8", "g"])
def test_weights_of_any_type(given):
    weights = (np.arange(20) % 2).astype(given)
    expected, _ = vqfast.kmeans2(DATA, DATA[1:3], sample_weight=np.arange(20.0) % 2)
    np.testing.assert_array_equal(vqfast.kmeans2(DATA, DATA[1:3], sample_weight=weights)[0], expected)
    np.testing.assert_array_equal(vqfast.kmeans2(DATA, DATA[1:3], sample_weight=weights.tolist())[0], expected)


# ---- the door itself -----------------------------------------------------------------------


def test_workers_by_default():
    assert 1 <= _validation.resolve_workers(None) <= (os.cpu_count() or 1)
    assert _validation.resolve_workers(-1) == _validation.resolve_workers(None)


def test_native_arrays_are_not_copied(dtype):
    data = np.zeros((6, 8), dtype)
    for view in (data, data.T, data[::-1, ::2], data[0], np.broadcast_to(data[:1], (6, 8)), data[:0]):
        assert _validation.as_real(view) is view
    for other in (data.astype("i4"), data.astype(data.dtype.newbyteorder()), data.astype("f2")):
        assert _validation.is_native(_validation.as_real(other))


def test_what_the_kernels_get_is_aligned(dtype):
    raw = np.zeros(12 * dtype.itemsize + 1, np.uint8)
    unaligned = raw[1:].view(dtype).reshape(6, 2)
    assert _validation.as_real(unaligned).flags.aligned
    assert _validation.as_rows(unaligned).flags.aligned
    unaligned[:] = 1
    assert _validation.as_weights(unaligned.reshape(-1), 12).flags.aligned
