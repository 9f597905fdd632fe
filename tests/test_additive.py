"""Code books whose words are added: kernels and drivers against their twins."""

import numpy as np
import pytest
import reference_quantizers as twins

from vqfast._core.additive import SumBooks
from vqfast._core.least_squares import add_normal_equations, rotate

# n_books, n_codes, n_features: one and several books, rows that are cut, 8 and more table rows
SHAPES = [(1, 5, 3), (2, 2, 1), (3, 40, 7), (4, 16, 9), (8, 33, 4), (10, 8, 20), (16, 4, 17), (18, 3, 5)]
FORMS = {"integers": twins.Integers, "direct": twins.Direct}


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def books(request, rng):
    return rng.normal(1, 1, request.param)


def observations(books, dtype, rng, n_obs=11):
    words = [book[rng.integers(len(book), size=n_obs)] for book in books]
    return (np.sum(words, axis=0) + rng.normal(size=(n_obs, books.shape[2]))).astype(dtype)


def searched(books, form, obs, isa=None, workers=1, codes=None, ordered=False, **options):
    codes = np.zeros((len(obs), len(books)), np.uint16) if codes is None else codes.copy()
    search = SumBooks(books, False, workers, isa, form, ordered)
    search.search(obs, codes, **options)
    assert search.form == form
    return codes


@pytest.mark.parametrize("width", [1, 3, 20])
@pytest.mark.parametrize("start", ["in order", "any order"])
def test_beam(isa, form, books, start, width, dtype, rng):
    ordered = start == "in order"
    obs, twin = observations(books, dtype, rng, 4), FORMS[form](books, ordered)
    expected = []
    for row in obs:
        twin.begin(row)
        expected.append(twins.beam(twin, width, not ordered))
    found = searched(books, form, obs, isa, ordered=ordered, start=start, beam=width)
    if form == "integers":
        np.testing.assert_array_equal(found, expected)
    else:  # sums of one set in another order differ in the last bit, and so may ties of duplicates
        energies = []
        for codes in (found, expected):
            twin_energies = []
            for row, words in zip(obs, codes, strict=True):
                twin.begin(row)
                twin_energies.append(twin.energy(words))
            energies.append(twin_energies)
        np.testing.assert_allclose(*energies, rtol=1e-9)


@pytest.mark.parametrize("n_rounds", [1, 2, 6])
def test_local_search(isa, form, books, n_rounds, dtype, rng):
    obs, twin, n_kept = observations(books, dtype, rng), FORMS[form](books), 3
    start = rng.integers(books.shape[1], size=(len(obs), len(books))).astype(np.uint16)
    kept, errors = np.empty((len(obs), n_kept, len(books)), np.uint16), np.empty((len(obs), n_kept))
    options = {"n_rounds": n_rounds, "n_sweeps": 3, "n_changes": (len(books) + 1) // 2, "seed": 5}
    codes = searched(books, form, obs, isa, codes=start, kept=kept, kept_errors=errors, **options)
    for i, row in enumerate(obs):
        twin.begin(row)
        best, found = twins.local_search(twin, start[i].tolist(), n_kept=n_kept, **options)
        np.testing.assert_array_equal(codes[i], best)
        np.testing.assert_array_equal(errors[i], [*(twin.sq_error(e) for e, _ in found), *[np.inf] * 3][:n_kept])
        np.testing.assert_array_equal(kept[i, : len(found)], [words for _, words in found])


def test_workers_and_batches_change_no_code(form, dtype, workers, rng):
    books = rng.normal(size=(6, 20, 10))
    obs = observations(books, dtype, rng, 700)
    options = {"start": "any order", "beam": 2, "n_rounds": 4, "n_changes": 3}
    expected = searched(books, form, obs, **options)
    np.testing.assert_array_equal(searched(books, form, obs, workers=workers, **options), expected)
    order = rng.permutation(700)
    np.testing.assert_array_equal(searched(books, form, obs[order], workers=workers, **options), expected[order])
    for rows in (slice(3, 4), slice(17, 90), slice(700, 700)):
        np.testing.assert_array_equal(searched(books, form, obs[rows], **options), expected[rows])


def test_strides(form, dtype, rng):
    books = rng.normal(size=(3, 20, 10))
    obs = observations(books, dtype, rng, 30)
    expected = searched(books, form, obs, start="in order", beam=3)
    for view in (np.asfortranarray(obs), np.repeat(obs, 2, axis=1)[:, ::2], obs[::-1].copy()[::-1]):
        np.testing.assert_array_equal(searched(books, form, view, start="in order", beam=3), expected)
        errors, others = np.empty(30), np.empty(30)
        SumBooks(books, False).sq_errors(view, expected, errors)
        SumBooks(books, False).sq_errors(obs, expected, others)
        np.testing.assert_array_equal(errors, others)


def test_form_is_chosen(rng):
    def form_of(books):
        return SumBooks(np.ascontiguousarray(books, dtype="f8"), False).form

    coarse = rng.normal(size=(4, 16, 8))
    assert form_of(coarse) == "integers"
    assert form_of(coarse + 100) == "integers"  # the shifts are taken off
    assert form_of(np.zeros((2, 4, 3))) == "direct"
    assert form_of(coarse * 1e200) == "direct"
    assert form_of(coarse * 1e-200) == "direct"
    assert form_of(coarse * np.logspace(0, -4, 4)[:, None, None]) == "direct"  # too fine for 16 bits
    assert form_of(rng.normal(size=(2, 4097, 2))) == "direct"


@pytest.mark.parametrize("value", [0, 1e-300, 1e30, 3e38])
def test_observations_of_any_size(isa, value, form, rng):
    books = rng.normal(size=(3, 20, 10))
    obs = np.full((3, 10), float(value))
    obs[1] *= -1
    codes = searched(books, form, obs, isa, start="any order", beam=2, n_rounds=3, n_changes=2)
    assert codes.max() < 20


def test_unlike_any_number(form):
    """Sums that leave the range of double: some code, without end or crash."""
    books = np.full((3, 4, 5), 1e200)
    codes = np.zeros((2, 3), np.uint16)
    SumBooks(books, False).search(np.full((2, 5), -1e200), codes, "any order", 2, 3, 4, 2)
    assert codes.max() < 4


def test_far_observations_are_shortened(rng):
    books = rng.normal(size=(3, 20, 10))
    centre, directions = books.mean(axis=1).sum(axis=0), rng.normal(size=(50, 10))
    near, far = (
        searched(books, "integers", centre + scale * directions, start="any order", beam=2) for scale in (1e3, 1e9)
    )
    np.testing.assert_array_equal(near, far)


# ---- vectors and sums --------------------------------------------------------------------------


@pytest.mark.parametrize("narrow", [False, True])
def test_vectors(isa, books, narrow, dtype, workers, rng):
    if narrow:
        books = books.astype("f4").astype("f8")
    obs = observations(books, dtype, rng, 1100)
    codes = rng.integers(books.shape[1], size=(len(obs), len(books))).astype(np.uint16)
    decoded, errors = np.empty(obs.shape, "f4" if narrow else "f8"), np.empty(len(obs))
    sums = SumBooks(books, narrow, workers, isa)
    sums.decode(codes, decoded)
    sums.sq_errors(obs, codes, errors)
    expected = twins.decode_sum(books, codes, decoded.dtype)
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(errors, twins.sq_errors(obs, expected))


@pytest.mark.parametrize("n_kept", [1, 3])
def test_normal_equations(isa, n_kept, dtype, workers, rng):
    n_obs, n_books, n_codes, n_features = 40, 4, 5, 9
    obs, shift = rng.normal(size=(n_obs, n_features)).astype(dtype), rng.normal(size=n_features)
    codes = rng.integers(n_codes, size=(n_obs, n_kept, n_books)).astype(np.uint16)
    weights = rng.integers(1, 5, (n_obs, n_kept)) / 4
    weights[::3, 1:] = 0
    for given in (weights, None):
        sums, counts = np.zeros((n_books, n_codes, n_features)), np.zeros((n_books * n_codes,) * 2)
        for rows in (slice(0, 17), slice(17, None)):
            own = None if given is None else np.ascontiguousarray(given[rows])
            add_normal_equations(obs[rows], codes[rows], own, shift, sums, counts, workers, isa)
        expected_sums, expected_counts = twins.normal_equations(obs, codes, given, shift, n_codes)
        np.testing.assert_allclose(sums, expected_sums, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(counts, expected_counts)


def test_normal_equations_for_any_workers(dtype, workers, rng):
    obs = rng.normal(size=(300, 9)).astype(dtype)
    codes, weights = rng.integers(6, size=(300, 2, 3)).astype(np.uint16), rng.random((300, 2))
    results = []
    for count in (1, workers):
        sums, counts = np.zeros((3, 6, 9)), np.zeros((18, 18))
        add_normal_equations(obs, codes, weights, np.zeros(9), sums, counts, count)
        results.append(sums.tobytes() + counts.tobytes())
    assert results[0] == results[1]


def test_rotate(isa, dtype, workers, rng):
    for n_obs, n_features, n_outputs in ((0, 3, 3), (1, 1, 1), (5, 9, 9), (700, 20, 13)):
        obs, matrix = rng.normal(size=(n_obs, n_features)).astype(dtype), rng.normal(size=(n_features, n_outputs))
        products = np.empty((n_obs, n_outputs), dtype)
        rotate(obs, matrix, products, workers, isa)
        np.testing.assert_array_equal(products, twins.rotate(obs, matrix))
        rotate(np.asfortranarray(obs), matrix, products, workers, isa)
        np.testing.assert_array_equal(products, twins.rotate(obs, matrix))


def test_solution_by_blocks(monkeypatch, rng):
    import vqfast._quantizers._least_squares as least_squares

    rows, sums = rng.normal(size=(80, 60)), rng.normal(size=(3, 20, 4))
    counts, ridge = rows.T @ rows, rng.random(60)
    expected = np.linalg.solve(counts + np.diag(ridge), sums.reshape(60, 4)).reshape(3, 20, 4)
    for block in (7, 20, 59, 60, 1000):
        monkeypatch.setattr(least_squares, "_BLOCK", block)
        solution = least_squares._solve(np.triu(counts), sums, ridge)
        np.testing.assert_allclose(solution, expected, rtol=1e-9)
