"""The search among codes against its twins: indices and distances to the last bit."""

import pickle
import threading

import numpy as np
import pytest
import reference
import reference_search as twins
from test_quantizers import QUANTIZERS

import vqfast
from vqfast._core.packed_codes import aligned
from vqfast._core.search import CodeSearch, rerank

# Books, codes, features of a book (more for the first of a product), number of codes searched.
SHAPES = [
    (1, 2, 1, 0),
    (1, 2, 1, 1),
    (2, 4, 3, 511),
    (3, 16, 5, 513),
    (2, 300, 3, 700),
    (8, 256, 8, 9000),
    (5, 16, 9, 20000),
    (7, 7, 3, 8192),
    (4, 100, 2, 12000),
    (16, 16, 4, 30000),
    (3, 257, 4, 9000),
    (1, 1000, 17, 300),
]


def found(search, queries, k, workers=1):
    indices, sq_dists = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    search.search(queries, k, indices, sq_dists, workers)
    return indices, sq_dists


def agree(search, queries, expected, k, workers=1):
    for one, other in zip(found(search, queries, k, workers), twins.nearest_codes(expected, k), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=["product", "byte", "float32"])
def kind(request):
    """Product codes, or sums with their norms in either form."""
    return request.param


def case(kind, shape, dtype, rng, lattice=False, n_queries=3):
    """Code books, codes, queries and all distances."""
    n_books, n_codes, width, n = shape
    widths = [width + (kind == "product" and m == 0) for m in range(n_books)]
    books = [rng.normal(size=(n_codes, w)) for w in widths]
    books = [(np.round(2 * book) if lattice else book).astype(dtype) for book in books]
    codes = rng.integers(0, n_codes, (n, n_books)).astype(np.uint8 if n_codes <= 256 else np.uint16)
    queries = rng.normal(size=(n_queries, sum(widths) if kind == "product" else width)).astype(dtype)
    if kind != "product":
        queries *= np.sqrt(n_books)
    return books, codes, np.round(queries) if lattice else queries


def distances(kind, queries, books, codes):
    return (twins.product_sq_dists if kind == "product" else twins.sum_sq_dists)(queries, books, codes)


def searcher(kind, books, codes, **options):
    return CodeSearch(books, codes, kind != "product", norms="byte" if kind == "byte" else "float32", **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(isa, dtype, kind, shape, rng):
    books, codes, queries = case(kind, shape, dtype, rng)
    expected = distances(kind, queries, books, codes)
    search = searcher(kind, books, codes, isa=isa)
    for k in {1, 10, 100, shape[3] // 3 + 1, shape[3] + 2}:
        for n_queries in (1, 3):
            agree(search, queries[:n_queries], expected[:n_queries], k)


@pytest.mark.parametrize("shape", [(4, 256, 3, 9000), (4, 16, 3, 9001), (3, 300, 2, 5000)], ids=str)
def test_workers_and_groups(isa, kind, workers, shape, rng):
    books, codes, queries = case(kind, shape, "f4", rng, n_queries=70)
    expected = distances(kind, queries, books, codes)
    search = searcher(kind, books, codes, isa=isa, workers=workers)
    for n_queries in (1, 2, 8, 9, 17, 70):
        agree(search, queries[:n_queries], expected[:n_queries], 20, workers)


@pytest.mark.parametrize("n_codes", [4, 16, 200])
def test_ties(isa, kind, n_codes, rng):
    """Integers, so that many distances are equal, and every code several times."""
    books, codes, queries = case(kind, (4, n_codes, 2, 2000), "f4", rng, lattice=True)
    codes = np.concatenate([codes] * 5)
    expected = distances(kind, queries, books, codes)
    search = searcher(kind, books, codes, isa=isa)
    for k in (1, 7, 150, 9999):
        agree(search, queries, expected, k)
        agree(search, queries[:1], expected[:1], k, 3)


@pytest.mark.parametrize("n_codes", [16, 256])
def test_all_codes_equal(isa, kind, n_codes, rng):
    books, codes, queries = case(kind, (4, n_codes, 2, 1), "f4", rng)
    codes = np.repeat(codes, 10_000, axis=0)
    expected = distances(kind, queries, books, codes)
    search = searcher(kind, books, codes, isa=isa)
    agree(search, queries, expected, 50)
    words = [book[code] for book, code in zip(books, codes[0], strict=True)]
    on_it = np.tile(np.concatenate(words) if kind == "product" else sum(words), (3, 1)).astype("f4")
    agree(search, on_it, distances(kind, on_it, books, codes), 50)


@pytest.mark.parametrize("order", ["nearest first", "nearest last", "clustered"])
def test_codes_in_order(isa, kind, order, rng):
    books, codes, queries = case(kind, (4, 64, 2, 20_000), "f4", rng)
    near = distances(kind, queries[:1], books, codes)[0]
    places = np.argsort(near) if order != "clustered" else np.lexsort(codes.T)
    codes = np.ascontiguousarray(codes[places[::-1] if order == "nearest last" else places])
    expected = distances(kind, queries, books, codes)
    search = searcher(kind, books, codes, isa=isa)
    agree(search, queries, expected, 100)
    agree(search, queries[:1], expected[:1], 100, 2)


def test_a_sample_that_misleads(isa, kind, rng):
    """The near codes lie where the sample looks, and are fewer than are asked for."""
    books, codes, queries = case(kind, (4, 256, 2, 40_000), "f4", rng)
    queries[:] = queries[0]
    order = np.argsort(distances(kind, queries[:1], books, codes)[0])
    stride = len(codes) // (512 * 12)
    sampled = np.sort((np.arange(512)[:, None] * stride + np.arange(stride)).ravel() * len(codes) // (512 * stride))
    places = np.empty(len(codes), dtype=int)
    for n_near in (20, 60):
        chosen = rng.permutation(sampled)[:n_near]
        others = np.setdiff1d(np.arange(len(codes)), chosen)
        places[chosen], places[rng.permutation(others)] = order[:n_near], np.r_[order[-20_000:], order[n_near:-20_000]]
        mixed = np.ascontiguousarray(codes[places])
        expected = distances(kind, queries, books, mixed)
        search = searcher(kind, books, mixed, isa=isa)
        agree(search, queries, expected, 100)
        agree(search, queries[:1], expected[:1], 100, 3)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e15])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sizes(isa, kind, scale, offset, rng):
    for dtype in ("f4", "f8"):
        books, codes, queries = case(kind, (4, 32, 3, 9000), dtype, rng)
        books = [((book + offset) * scale).astype(dtype) for book in books]
        queries = ((queries + offset * (1 if kind == "product" else 4)) * scale).astype(dtype)
        expected = distances(kind, queries, books, codes)
        agree(searcher(kind, books, codes, isa=isa), queries, expected, 30)


@pytest.mark.parametrize("scale", [1e-170, 1e150, 1e160, 1e300])
def test_sizes_of_float64(isa, kind, scale, rng):
    """Squares that vanish or are infinite: the lowest indices of what is equal then."""
    books, codes, queries = case(kind, (3, 16, 2, 9000), "f8", rng)
    books, queries = [book * scale for book in books], queries * scale
    expected = distances(kind, queries, books, codes)
    agree(searcher(kind, books, codes, isa=isa), queries, expected, 30)


def test_sizes_that_are_unlike(isa, kind, rng):
    """A query so far away, or code words so equal, that a float tells nothing."""
    books, codes, queries = case(kind, (3, 20, 4, 8500), "f8", rng)
    far = queries * 1e20
    agree(searcher(kind, books, codes, isa=isa), far, distances(kind, far, books, codes), 9)
    equal = [np.zeros_like(book) + book[0] for book in books]
    agree(searcher(kind, equal, codes, isa=isa), queries, distances(kind, queries, equal, codes), 9)
    outlier = [np.where(np.arange(len(book))[:, None] == 3, book * 1e12, book) for book in books]
    agree(searcher(kind, outlier, codes, isa=isa), queries, distances(kind, queries, outlier, codes), 9)


def test_many_books(isa, kind, rng):
    """More rows than the filter takes, and an odd number of pairs."""
    for shape in ((130, 20, 1, 8300), (300, 4, 1, 8300), (65, 16, 1, 8300)):
        books, codes, queries = case(kind, shape, "f4", rng, n_queries=2)
        agree(searcher(kind, books, codes, isa=isa), queries, distances(kind, queries, books, codes), 20)


def test_65536_codes(isa, kind, rng):
    books, codes, queries = case(kind, (2, 65536, 2, 500), "f4", rng)
    agree(searcher(kind, books, codes, isa=isa), queries, distances(kind, queries, books, codes), 20)


def test_rotation(isa, dtype, rng):
    books, codes, queries = case("product", (3, 30, 4, 9000), dtype, rng)
    rotation = np.linalg.qr(rng.normal(size=(13, 13)))[0]
    search = CodeSearch(books, codes, rotation=rotation, isa=isa)
    agree(search, queries, twins.product_sq_dists(twins.rotated(queries, rotation), books, codes), 30)


def test_strided_queries(kind, rng):
    books, codes, queries = case(kind, (3, 20, 4, 9000), "f4", rng)
    search = searcher(kind, books, codes)
    expected = found(search, queries, 10)
    for view in (np.asfortranarray(queries), np.repeat(queries, 2, axis=1)[:, ::2], queries[::-1].copy()[::-1]):
        for one, other in zip(found(search, view, 10), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_rerank_of_candidates(isa, dtype, workers, rng):
    obs, queries = rng.integers(-2, 3, (300, 11)).astype(dtype), rng.integers(-2, 3, (50, 11)).astype("f8")
    candidates = np.sort(np.array([rng.permutation(300)[:40] for _ in queries]), axis=1)
    candidates[0, 5:] = -1
    indices, sq_dists = np.empty((50, 7), np.int64), np.empty((50, 7))
    rerank(queries, np.repeat(obs, 2, axis=1)[:, ::2], candidates, indices, sq_dists, workers, isa)
    for q, row in enumerate(candidates):
        some = row[row >= 0]
        every = reference.sq_dists(queries[q : q + 1], obs[some])[0]
        order = np.lexsort((some, every))[:7]
        np.testing.assert_array_equal(indices[q, : len(order)], some[order])
        np.testing.assert_array_equal(sq_dists[q, : len(order)], every[order])
        assert (indices[q, len(order) :] == -1).all()
        assert (sq_dists[q, len(order) :] == np.inf).all()


def test_aligned():
    for n in (1, 64, 1000):
        memory = aligned(n)
        assert memory.size == n
        assert memory.ctypes.data % 64 == 0


def unfitted(quantizer):
    return type(quantizer)(**{name: getattr(quantizer, name) for name in quantizer._parameters})


# ---- the verb --------------------------------------------------------------------------------------


@pytest.fixture(params=QUANTIZERS)
def quantizer(request, obs):
    return QUANTIZERS[request.param](rng=1).fit(obs)


@pytest.fixture
def obs(dtype):
    rng = np.random.default_rng(5)
    return (rng.normal(size=(600, 4)) @ rng.normal(size=(4, 10)) + 0.3 * rng.normal(size=(600, 10)) + 5).astype(dtype)


def test_search_is_brute_force_on_decoded_codes(quantizer, obs):
    codes = quantizer.encode(obs)
    decoded, queries = quantizer.decode(codes), obs[::50] + 0.1
    for given in (codes, codes.tolist(), codes.astype(">i4"), quantizer.prepare(codes, norms="float32")):
        indices, sq_dists = quantizer.search(queries, given, 20)
        assert indices.dtype == np.int64
        assert sq_dists.dtype == np.float64
        near = np.sort(reference.sq_dists(queries, decoded), axis=1)[:, :20]
        np.testing.assert_allclose(sq_dists, near, rtol=1e-5 if obs.itemsize == 4 else 1e-9)
        if isinstance(quantizer, vqfast.ResidualQuantizer | vqfast.AdditiveQuantizer):
            expected = twins.nearest_codes(reference.sq_dists(queries, decoded), 20)
            np.testing.assert_array_equal(indices, expected[0])
            np.testing.assert_array_equal(sq_dists, expected[1])


def test_search_does_not_depend_on_workers_or_chunks(quantizer, obs):
    codes, queries = np.repeat(quantizer.encode(obs), 20, axis=0), obs[:40]
    indices, sq_dists = quantizer.search(queries, codes, 30)
    for workers in (1, 2, 5):
        quantizer.workers = workers
        prepared = quantizer.prepare(codes)
        for size in (1, 7, 40):
            parts = [quantizer.search(queries[i : i + size], prepared, 30) for i in range(0, 40, size)]
            np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), indices)
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), sq_dists)


def test_fewer_codes_than_asked_for(quantizer, obs):
    codes = quantizer.encode(obs)
    for n in (0, 1, 3):
        indices, sq_dists = quantizer.search(obs[:2], codes[:n], 4)
        assert (np.sort(indices[:, :n], axis=1) == np.arange(n)).all()
        assert (indices[:, n:] == -1).all()
        assert (sq_dists[:, n:] == np.inf).all()
        reranked = quantizer.search(obs[:2], codes[:n], 4, rerank=obs[:n])
        assert (np.sort(reranked[0][:, :n], axis=1) == np.arange(n)).all()
        assert (reranked[0][:, n:] == -1).all()
    assert quantizer.search(obs[:0], codes, 4)[0].shape == (0, 4)


def test_rerank(quantizer, obs):
    codes, queries = quantizer.encode(obs), obs[::60] + 0.1
    all_of_them = quantizer.search(queries, codes, 5, rerank=obs, n_candidates=600)
    for one, other in zip(all_of_them, twins.nearest_codes(reference.sq_dists(queries, obs), 5), strict=True):
        np.testing.assert_array_equal(one, other)
    some, _ = quantizer.search(queries, codes, 30)
    few, _ = quantizer.search(queries, codes, 3, rerank=obs)
    for q in range(len(queries)):
        best = sorted(some[q], key=lambda i: (reference.sq_dists(queries[q : q + 1], obs[i : i + 1])[0, 0], i))
        np.testing.assert_array_equal(few[q], best[:3])


def test_prepared_codes(quantizer, obs):
    codes = quantizer.encode(obs)
    prepared = quantizer.prepare(codes)
    expected = quantizer.search(obs[:5], codes, 10)
    codes[:] = 0  # it holds a copy
    assert len(prepared) == prepared.n == 600
    assert "600 prepared codes" in repr(prepared)
    copy = pickle.loads(pickle.dumps(quantizer))
    for one, other in zip(copy.search(obs[:5], prepared, 10), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError, match="prepared codes do not pickle"):
        pickle.dumps(prepared)
    quantizer.rng = 2
    quantizer.fit(obs[:300])
    with pytest.raises(ValueError, match="prepared for other code books"):
        quantizer.search(obs[:5], prepared, 10)


def test_many_threads_share_prepared_codes(quantizer, obs):
    prepared = quantizer.prepare(np.repeat(quantizer.encode(obs), 15, axis=0))
    expected, _ = quantizer.search(obs[:30], prepared, 10)
    results = [None] * 6

    def work(i):
        results[i] = [quantizer.search(obs[q : q + 1], prepared, 10)[0][0] for q in range(30)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_inputs_stay_as_they_are(quantizer, obs):
    codes = quantizer.encode(obs)
    arrays = [obs[:7].copy(), codes.copy(), obs.copy()]
    for array in arrays:
        array.flags.writeable = False
    indices, _ = quantizer.search(*arrays[:2], 5, rerank=arrays[2])
    swapped = quantizer.search(obs[:7].astype(obs.dtype.newbyteorder()), codes, 5, rerank=obs)
    np.testing.assert_array_equal(swapped[0], indices)
    np.testing.assert_array_equal(quantizer.search(obs[:7].tolist(), codes, 5, rerank=obs.tolist())[0], indices)
    assert not any(np.shares_memory(indices, array) for array in arrays)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda q, x, c: q.search(x[0], c, 1), ValueError, r"queries must be 2-d"),
        (lambda q, x, c: q.search(x[:, :3], c, 1), ValueError, r"queries must have 10 features"),
        (lambda q, x, c: q.search(x * np.nan, c, 1), ValueError, "queries"),
        (lambda q, x, c: q.search(x.astype(str), c, 1), TypeError, "queries"),
        (lambda q, x, c: q.search(x, c, 0), ValueError, "k must be at least 1, got 0"),
        (lambda q, x, c: q.search(x, c, 1.5), TypeError, "k must be an integer"),
        (lambda q, x, c: q.search(x, c[:, :0], 1), ValueError, "codes must have shape"),
        (lambda q, x, c: q.search(x, c + 8, 1), ValueError, r"codes must lie in \[0, 8\)"),
        (lambda q, x, c: q.search(x, c * 1.0, 1), TypeError, "codes must be integers"),
        (lambda q, x, c: q.search(x, c, 1, rerank=x[:5]), ValueError, "rerank must hold the 600 vectors"),
        (lambda q, x, c: q.search(x, c, 1, rerank=x[:, :5]), ValueError, "rerank must have 10 features"),
        (lambda q, x, c: q.search(x, c, 1, n_candidates=5), ValueError, "n_candidates goes with rerank"),
        (lambda q, x, c: q.search(x, c, 1, rerank=x, n_candidates=0), ValueError, "n_candidates must be at least 1"),
        (lambda q, x, c: q.prepare(c, norms="none"), ValueError, "norms must be 'byte' or 'float32', got 'none'"),
        (lambda q, x, c: unfitted(q).search(x, c, 1), ValueError, "no code books"),
    ],
)
def test_errors(quantizer, obs, call, error, text):
    with pytest.raises(error, match=text):
        call(quantizer, obs, quantizer.encode(obs))
