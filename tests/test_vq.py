"""whiten, vq and py_vq beyond exactness: types, ranks, empties, messages."""

import inspect
import warnings

import contract
import numpy as np
import pytest
import reference

import vqfast


@pytest.mark.parametrize("check", contract.FOR_WHITEN + contract.FOR_VQ, ids=lambda check: check.__name__)
def test_contract(check):
    check(vqfast)


def test_signatures():
    names = {
        "whiten": ["obs", "check_finite"],
        "vq": ["obs", "code_book", "check_finite"],
        "py_vq": ["obs", "code_book", "check_finite"],
    }
    for name, expected in names.items():
        parameters = inspect.signature(getattr(vqfast, name)).parameters
        positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == expected
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values() if p.name not in expected)


# ---- whiten ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["f8", "f4", "f2", "g", "c16", "i8", "u1", "?", ">f8", ">f4"])
def test_whiten_types(given, rng):
    data = (10 * rng.random((50, 3))).astype(given)
    if given == "?":
        data[:25] = False
        data[25:] = True
    dtype = np.dtype(given)
    result = vqfast.whiten(data)
    assert result.dtype == (dtype.newbyteorder("=") if dtype.kind in "fc" else np.float64)
    expected = data / np.std(data.astype(np.promote_types(dtype, "f8")), axis=0)
    np.testing.assert_allclose(result, expected, rtol={2: 2e-3, 4: 3e-7}.get(dtype.itemsize, 1e-14))


@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 2, 3), (1, 2), (3, 0)])
def test_whiten_shapes(shape, dtype, rng):
    data = rng.normal(size=shape).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = vqfast.whiten(data)
    assert result.shape == shape
    np.testing.assert_allclose(result, reference.whiten(data), rtol=1e-6 if dtype.itemsize == 4 else 1e-14)


def test_whiten_without_observations(dtype):
    with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        assert vqfast.whiten(np.empty((0, 2), dtype)).shape == (0, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vqfast.whiten(np.empty((3, 0), dtype)).shape == (3, 0)
    with pytest.raises(np.exceptions.AxisError):
        vqfast.whiten(np.float64(3))


def test_whiten_one_row_or_constant(dtype):
    for data in (np.ones((1, 2), dtype), np.ones(5, dtype), np.full((9, 1), 0.1, np.float32)):
        with pytest.warns(RuntimeWarning, match="standard deviation zero") as caught:
            np.testing.assert_array_equal(vqfast.whiten(data), data)
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_whiten_not_finite(dtype, rng):
    for value in (np.nan, np.inf, -np.inf):
        data = rng.normal(size=(30, 3)).astype(dtype)
        data[7, 1] = value
        for obs in (data, data[:, 1], data.tolist(), np.asmatrix(data), data.astype("c16")):
            with pytest.raises(ValueError, match="array must not contain infs or NaNs"):
                vqfast.whiten(obs)
        with np.errstate(invalid="ignore"):
            result = vqfast.whiten(data, check_finite=False)
        np.testing.assert_array_equal(np.isnan(result).all(axis=0), [False, True, False])


def test_whiten_float32_does_not_lose_the_deviation():
    """np.std adds float32 in float32: 3 times too large here."""
    data = np.random.default_rng(0).uniform(99.5, 100.5, (10**6, 1)).astype("f4")
    np.testing.assert_allclose(vqfast.whiten(data).std(dtype="f8"), 1, rtol=1e-5)


def test_whiten_does_not_overflow_float16():
    data = np.array([[60000.0], [-60000.0]], "f2")
    np.testing.assert_array_equal(vqfast.whiten(data), [[1], [-1]])


# ---- vq ----------------------------------------------------------------------------------

# obs, code book: codes, distances
TYPES = [
    ("f8", "f8", "i4", "f8"), ("f8", "f4", "i4", "f8"), ("f4", "f8", "i4", "f8"), ("f4", "i8", "i4", "f8"),
    ("f4", "i4", "i4", "f8"), ("i8", "f8", "i4", "f8"), ("u8", "i8", "i4", "f8"), ("f4", "f4", "i4", "f4"),
    ("f4", "f2", "i4", "f4"), ("f4", "i2", "i4", "f4"), ("f4", "u1", "i4", "f4"), ("f4", "?", "i4", "f4"),
    ("i8", "i8", "i8", "f8"), ("i4", "u1", "i8", "f8"), ("?", "?", "i8", "f8"), ("u8", "u8", "i8", "f8"),
    (">f8", ">f8", "i4", "f8"), (">f4", ">f4", "i4", "f4"), (">f4", "<f4", "i4", "f4"), (">i4", "i4", "i8", "f8"),
]  # fmt: skip


@pytest.mark.parametrize(("obs_type", "book_type", "code_type", "dist_type"), TYPES)
@pytest.mark.parametrize("shape", [(0, 2), (9, 2), (70, 3), (9,), (0,)])
def test_types(obs_type, book_type, code_type, dist_type, shape, rng):
    obs = rng.integers(0, 2, shape).astype(obs_type)
    book = rng.integers(0, 2, (3, *shape[1:])).astype(book_type)
    codes, dist = vqfast.vq(obs, book)
    assert (codes.dtype, dist.dtype) == (code_type, dist_type)
    assert codes.shape == dist.shape == shape[:1]
    np.testing.assert_array_equal(codes, reference.nearest(obs.astype("f8"), book.astype("f8"))[0])


def test_lists():
    codes, dist = vqfast.vq([[1, 2], [3, 4]], [[1, 2], [3, 5]])
    assert (codes.dtype, dist.tolist()) == (np.int64, [0, 1])
    codes, dist = vqfast.vq([1.0, 3.0], [1, 2])
    assert (codes.dtype, dist.tolist()) == (np.int32, [0, 1])


def test_ranks():
    codes, dist = vqfast.vq(3.0, 2.5)
    assert (codes.tolist(), dist.tolist()) == ([0], [0.5])
    codes, dist = vqfast.vq(np.zeros((5, 0)), np.zeros((2, 0)))
    assert (codes.tolist(), dist.tolist()) == ([0] * 5, [0] * 5)
    obs, book = np.arange(30.0), np.array([3.0, 20.0, 11.0])
    for found, expected in zip(vqfast.vq(obs, book), vqfast.vq(obs[:, None], book[:, None]), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("function", [vqfast.vq, vqfast.py_vq])
@pytest.mark.parametrize(
    ("obs_shape", "book_shape", "message"),
    [
        ((4, 2), (2,), r"observation and code should have same number of dimensions, got obs of shape \(4, 2\)"),
        ((4,), (2, 1), "observation and code should have same number of dimensions"),
        ((), (2,), "observation and code should have same number of dimensions"),
        (
            (4, 2),
            (3, 1),
            r"obs and code should have same number of features \(columns\), got .*code_book of shape \(3, 1",
        ),
        ((4, 2, 1), (3, 2, 1), "ndim different than 1 or 2 are not supported"),
        ((4, 2), (0, 2), r"code_book must hold at least one code word, got shape \(0, 2\)"),
        ((4,), (0,), "code_book must hold at least one code word"),
        ((4, 0), (0, 0), "code_book must hold at least one code word"),
        ((0, 2), (0, 2), "code_book must hold at least one code word"),
    ],
)
def test_shapes_that_do_not_fit(function, obs_shape, book_shape, message):
    for dtype in ("f8", "f4", "i8"):
        with pytest.raises(ValueError, match=message):
            function(np.zeros(obs_shape, dtype), np.zeros(book_shape, dtype))


@pytest.mark.parametrize(("obs_type", "book_type"), [("f2", "f2"), ("f2", "i1"), ("g", "g"), ("f4", "g"), ("i8", "g")])
def test_types_of_no_kernel(obs_type, book_type):
    with pytest.raises(TypeError, match=r"^type other than float or double not supported"):
        vqfast.vq(np.zeros((4, 2), obs_type), np.zeros((2, 2), book_type))


@pytest.mark.parametrize("function", [vqfast.vq, vqfast.py_vq])
def test_complex(function):
    for pair in ((np.zeros((4, 2), "c16"), np.zeros((2, 2))), (np.zeros((4, 2)), np.zeros((2, 2), "c8"))):
        with pytest.raises(ValueError, match=r"^Unsupported dtype complex"):
            function(*pair)


def test_py_vq(rng):
    for types in (("f8", "f8"), ("f4", "f4"), ("f2", "f2"), ("i4", "u1"), ("?", "?"), ("g", "g"), ("f4", "f2")):
        obs, book = (rng.integers(0, 2, (n, 3)).astype(t) for n, t in zip((20, 4), types, strict=True))
        codes, dist = vqfast.py_vq(obs, book)
        assert (codes.dtype, dist.dtype) == (np.int64, np.float64)
        expected, sq = reference.nearest(obs.astype("f8"), book.astype("f8"))
        np.testing.assert_array_equal(codes, expected)
        np.testing.assert_array_equal(dist, np.sqrt(sq))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vqfast.py_vq([1.0, 2.0], [1.5])[1].tolist() == [0.5, 0.5]


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning", "ignore:One of the clusters")
def test_results_are_fresh_contiguous_arrays(rng):
    obs = rng.normal(size=(40, 6))
    for view in (obs, np.asfortranarray(obs), obs[::2, ::-1], np.asmatrix(obs)):
        for result in (
            *vqfast.vq(view, obs[:3]),
            *vqfast.kmeans2(view, obs[:3], iter=2),
            vqfast.kmeans(view, obs[:3])[0],
        ):
            assert type(result) is np.ndarray
            assert result.flags.c_contiguous
            assert result.flags.writeable
            assert not np.shares_memory(result, obs)
