"""What scipy.cluster.vq promises, as functions that take the module to be checked.

The test files run them on vqfast; test_mutants.py runs them on variants with one defect each,
to see that they notice it.
"""

import warnings

import numpy as np
import pytest
import reference

EMPTY = "One of the clusters is empty. Re-run kmeans with a different initialization."

# Three groups on a line; the mean of the first two lies on a datum of its own.
LINE = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [30.0]])


def blobs(n_obs=120, n_blobs=6, d=3, seed=0):
    """Well separated groups, so that all implementations agree on every code."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-50, 50, (n_blobs, d))
    return centres[rng.integers(0, n_blobs, n_obs)] + rng.normal(size=(n_obs, d))


# ---- whiten ------------------------------------------------------------------------------


def whiten_divides_by_population_deviation(vq):
    data = np.array([[1.9, 2.3, 1.7], [1.5, 2.5, 2.2], [0.8, 0.6, 1.7]])
    np.testing.assert_array_equal(vq.whiten(data), data / np.std(data, axis=0))


def whiten_warns_of_constant_columns(vq):
    data = np.array([[1.0, 7.0], [3.0, 7.0]])
    for check_finite in (None, True):
        with pytest.warns(RuntimeWarning, match="^Some columns have standard deviation zero. The values of these "):
            np.testing.assert_array_equal(vq.whiten(data, check_finite), [[1, 7], [3, 7]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(vq.whiten(data, check_finite=False), [[1, 7], [3, 7]])


# ---- vq ----------------------------------------------------------------------------------


def vq_codes_are_int32(vq):
    for dtype in ("f4", "f8"):
        assert vq.vq(LINE.astype(dtype), LINE[:2].astype(dtype))[0].dtype == np.int32


def vq_takes_the_lowest_index_on_ties(vq):
    for d in (1, 4, 5, 64):
        obs, book = np.zeros((20, d)), np.array([[3.0], [1.0], [-1.0], [1.0]]) * np.ones(d)
        assert (vq.vq(obs, book)[0] == 1).all()


def vq_distance_is_euclidean(vq):
    np.testing.assert_array_equal(vq.vq([[0.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [9.0, 7.0]])[1], [5, 13**0.5])


# ---- kmeans ------------------------------------------------------------------------------


def kmeans_drops_empty_clusters(vq):
    book, distortion = vq.kmeans(LINE, np.array([[1.0], [100.0], [20.0], [200.0]]))
    np.testing.assert_array_equal(book, [[4.8], [30.0]])
    np.testing.assert_allclose(distortion, np.mean(vq.vq(LINE, book)[1]), rtol=1e-15)


def kmeans_returns_the_best_restart(vq):
    """The book of the restart with the smallest distortion, the first of equals."""
    data = blobs()
    for seed in range(12):
        book, distortion = vq.kmeans(data, 6, iter=5, seed=seed)
        expected, lowest = reference.kmeans(data, 6, 5, np.random.RandomState(seed))
        np.testing.assert_array_equal(book, expected)
        assert distortion == lowest


def kmeans_stops_by_absolute_change(vq):
    """A mean distance may rise: the run goes on. At least two assignments are made."""
    obs = np.array([2, 3, 4, 8, 9, 10, 40.0, 41, 50])
    for thresh in (0.0, 1e-5, 0.3, 1.0, 1e16):
        book, distortion = vq.kmeans(obs, obs[[0, 1, 4]], thresh=thresh)
        expected, lowest = reference.kmeans_run(obs, obs[[0, 1, 4]], thresh)
        np.testing.assert_array_equal(book, expected[:, 0])
        assert distortion == lowest
    book, distortion = vq.kmeans(np.array([1, 2, 3, 4, 10.0]), 1, thresh=1e16)
    np.testing.assert_array_equal(book, [4.0])
    np.testing.assert_allclose(distortion, 2.4)


# ---- kmeans2 -----------------------------------------------------------------------------


def kmeans2_codes_are_int32(vq):
    assert vq.kmeans2(LINE, LINE[[0, 3]], iter=1)[1].dtype == np.int32


def kmeans2_keeps_empty_clusters(vq):
    with pytest.warns(UserWarning, match="One of the clusters is empty"):
        book, codes = vq.kmeans2(LINE, np.array([[0.0], [100.0], [25.0]]), iter=2)
    np.testing.assert_array_equal(book, [[4.8], [100.0], [30.0]])
    np.testing.assert_array_equal(codes, [0, 0, 0, 0, 0, 2])


def kmeans2_warns_every_round(vq):
    for n_rounds in (1, 2, 7):
        with pytest.warns(UserWarning, match="empty") as caught:
            vq.kmeans2(LINE, np.array([[0.0], [100.0]]), iter=n_rounds, missing="warn")
        assert [str(warning.message) for warning in caught] == [EMPTY] * n_rounds


def kmeans2_raises_on_request(vq):
    with pytest.raises(vq.ClusterError, match=r"^One of the clusters is empty. Re-run kmeans with a different "):
        vq.kmeans2(LINE, np.array([[0.0], [100.0]]), iter=3, missing="raise")


def kmeans2_codes_belong_to_the_book_before_the_last_means(vq):
    start = np.array([[0.0], [1.0], [2.0]])
    _, codes = vq.kmeans2(LINE, start, iter=1)
    np.testing.assert_array_equal(codes, [0, 1, 2, 2, 2, 2])
    book, codes = vq.kmeans2(LINE, start, iter=2)
    np.testing.assert_array_equal(codes, [0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(book, [[0.0], [1.5], [17.0]])


# ---- where the random numbers come from ---------------------------------------------------


def draws_are_those_of_scipy(vq):
    """'++' with every source of numbers: the same code words, and the same state afterwards."""
    data = blobs(seed=3)
    for make in (np.random.default_rng, np.random.RandomState):
        for k in (1, 2, 6):
            rng, twin = make(5), make(5)
            start = reference.plus_plus(data, k, twin)
            expected, codes, _ = reference.kmeans2(data, start, 2)
            found, found_codes = vq.kmeans2(data, k, iter=2, minit="++", seed=rng)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(found_codes, codes)
            assert rng.random() == twin.random()


def _books(vq, **source):
    data = blobs(seed=4)
    for minit in ("points", "++", "random"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield vq.kmeans2(data, 6, iter=1, minit=minit, **source)[0]
    yield vq.kmeans(data, 6, iter=2, **source)[0]


def _assert_same_books(some, others):
    for book, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(book, other)


def without_a_source_the_global_generator_is_used(vq):
    state = np.random.get_state()
    try:
        for source in ({}, {"seed": None}, {"seed": np.random}):
            np.random.seed(11)
            twin = np.random.RandomState(11)
            _assert_same_books(_books(vq, **source), _books(vq, seed=twin))
            assert np.random.random() == twin.random()
    finally:
        np.random.set_state(state)


def an_integer_seed_makes_a_random_state(vq):
    for expected, found in zip(_books(vq, seed=7), _each_afresh(vq, lambda: np.random.RandomState(7)), strict=True):
        np.testing.assert_array_equal(expected, found)


def an_integer_rng_makes_a_generator(vq):
    for expected, found in zip(_books(vq, rng=7), _each_afresh(vq, lambda: np.random.default_rng(7)), strict=True):
        np.testing.assert_array_equal(expected, found)


def _each_afresh(vq, make):
    data = blobs(seed=4)
    for minit in ("points", "++", "random"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield vq.kmeans2(data, 6, iter=1, minit=minit, seed=make())[0]
    yield vq.kmeans(data, 6, iter=2, seed=make())[0]


def rng_and_seed_exclude_each_other(vq):
    for name in ("kmeans", "kmeans2"):
        message = rf"^{name}\(\) got multiple values for argument now known as `rng`. Specify one of `rng` or `seed`.$"
        for rng, seed in ((1, 1), (None, None), (None, 1)):
            with pytest.raises(TypeError, match=message):
                getattr(vq, name)(LINE, 2, rng=rng, seed=seed)


FOR_WHITEN = (whiten_divides_by_population_deviation, whiten_warns_of_constant_columns)
FOR_VQ = (vq_codes_are_int32, vq_takes_the_lowest_index_on_ties, vq_distance_is_euclidean)
FOR_KMEANS = (kmeans_drops_empty_clusters, kmeans_returns_the_best_restart, kmeans_stops_by_absolute_change)
FOR_KMEANS2 = (
    kmeans2_codes_are_int32,
    kmeans2_keeps_empty_clusters,
    kmeans2_warns_every_round,
    kmeans2_raises_on_request,
    kmeans2_codes_belong_to_the_book_before_the_last_means,
)
FOR_SEEDING = (
    draws_are_those_of_scipy,
    without_a_source_the_global_generator_is_used,
    an_integer_seed_makes_a_random_state,
    an_integer_rng_makes_a_generator,
    rng_and_seed_exclude_each_other,
)
EVERYTHING = FOR_WHITEN + FOR_VQ + FOR_KMEANS + FOR_KMEANS2 + FOR_SEEDING
