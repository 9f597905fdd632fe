"""The classifiers: parameters, starts, weights, labels, partial_fit, prediction, safety, promises."""

import copy
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import reference_lvq

import vqfast
from vqfast import GLVQ, GMLVQ, LVQ1, LVQ3, LVQ21, OLVQ1, RSLVQ

MODELS = [LVQ1, OLVQ1, LVQ21, LVQ3, GLVQ, GMLVQ, RSLVQ]


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


def blobs(n_obs=150, n_features=4, n_classes=3, seed=0, dtype="f8"):
    rng = np.random.default_rng(seed)
    y = np.arange(n_obs) % n_classes
    centres = rng.normal(0, 4, (n_classes, n_features))
    return (centres[y] + rng.normal(size=(n_obs, n_features))).astype(dtype), y


# ---- what is learned -------------------------------------------------------------------------


def test_learns(model, dtype):
    X, y = blobs(dtype=dtype)
    fitted = model(random_state=0).fit(X, y)
    assert fitted.score(X, y) > 0.97
    assert fitted.prototypes_.dtype == dtype
    assert fitted.prototypes_.shape == (3, 4)
    assert fitted.n_steps_ == 10 * 150
    assert fitted.n_features_in_ == 4
    np.testing.assert_array_equal(fitted.predict(fitted.prototypes_), fitted.prototype_labels_)


def test_predicts_the_nearest_prototype(model, dtype, workers):
    X, y = blobs(3000, 5, dtype=dtype)
    fitted = model(3, random_state=0, workers=workers).fit(X, y)
    P = fitted.projection_ if model is GMLVQ else np.eye(5)
    d = (((X[:, None].astype("f8") - fitted.prototypes_) @ P.T) ** 2).sum(axis=2)
    nearest = fitted.prototype_labels_[d.argmin(axis=1)]
    predicted = fitted.predict(X)
    if model is RSLVQ:
        np.testing.assert_array_equal(predicted, fitted.predict_proba(X).argmax(axis=1))
        assert np.mean(predicted == nearest) > 0.99
    else:
        np.testing.assert_array_equal(predicted, nearest)
        margins = fitted.decision_function(X)
        np.testing.assert_array_equal(margins.argmax(axis=1), predicted)
        own = np.array([d[:, fitted.prototype_labels_ == c].min(axis=1) for c in range(3)]).T
        for c in range(3):
            other = np.delete(own, c, axis=1).min(axis=1)
            np.testing.assert_allclose(margins[:, c], (other - own[:, c]) / (other + own[:, c]), atol=1e-9)


def test_decision_for_two_classes(model):
    X, y = blobs(n_classes=2)
    fitted = model(2, random_state=0).fit(X, y)
    if model is RSLVQ:
        probability = fitted.predict_proba(X)
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-14)
        assert not hasattr(fitted, "decision_function")
    else:
        margins = fitted.decision_function(X)
        assert margins.shape == (150,)
        assert np.abs(margins).max() <= 1
        np.testing.assert_array_equal(margins > 0, fitted.predict(X) == 1)
        assert not hasattr(fitted, "predict_proba")


def test_same_steps_as_the_twin(dtype):
    """A whole fit: the epochs that are drawn, the schedule, the defaults of the rates."""
    X, y = blobs(40, 6, dtype=dtype)
    start = (X[:6].astype("f8"), y[:6])
    rates = {}
    for model, rule, options in (
        (LVQ1(), "lvq1", {}),
        (LVQ3(), "pairs", {"window": (0.9 / 1.1) ** 2, "epsilon": 0.1}),
        (GLVQ(), "glvq", {"beta": 10.0}),
        (RSLVQ(), "rslvq", None),
    ):
        model.set_params(init=start, random_state=5, n_epochs=3).fit(X, y)
        variance = np.square(X - X.mean(axis=0, dtype="f8")).sum(axis=1).mean()
        rates = {"lvq1": 0.03, "pairs": 0.03, "glvq": 0.1 * variance / 2.5, "rslvq": 0.16 * variance / 8}
        options = {"variance": model.variance_} if options is None else options
        rate = getattr(model, "learning_rate_", model.learning_rate)
        np.testing.assert_allclose(rate, rates[rule], rtol=1e-5)
        grouped = np.argsort(start[1], kind="stable")
        twin = reference_lvq.Model(start[0].astype(dtype)[grouped], start[1][grouped], **options)
        order = epochs_of(X, y, 5, 3)
        twin.train(rule, X, y, order, reference_lvq.schedule("linear", rate, 120, 40))
        np.testing.assert_array_equal(model.prototypes_, twin.w)


def epochs_of(X, y, seed, n_epochs):
    """Distinct observations in the order of their hashes, shuffled anew for every epoch."""
    from vqfast._core.lvq import hashes

    rng, rows = np.random.default_rng(seed), np.argsort(hashes(X, y.astype("i4")), kind="stable")
    order = []
    for _ in range(n_epochs):
        chosen, draws = rows.copy(), rng.random(len(rows))
        for i in range(len(rows) - 1, 0, -1):
            j = int(draws[i] * (i + 1))
            chosen[[i, j]] = chosen[[j, i]]
        order.append(chosen)
    return np.concatenate(order)


def test_sigmoid_and_metric_help():
    X, y = blobs(600, 6, 6, seed=3)
    X[:, 5] = np.random.default_rng(0).normal(0, 100, 600)  # drowns the others
    X[::5, 4] += 30
    plain, steep, metric = (m.set_params(random_state=0).fit(X, y).score(X, y) for m in (GLVQ(beta=0), GLVQ(), GMLVQ()))
    assert plain < metric > 0.9
    assert steep >= plain


def test_relevance_and_transform(dtype):
    X, y = blobs(dtype=dtype)
    fitted = GMLVQ(random_state=0).fit(X, y)
    np.testing.assert_allclose(np.trace(fitted.relevance_), 1, rtol=1e-6)
    assert fitted.transform(X).dtype == dtype
    np.testing.assert_allclose(fitted.transform(X), X @ fitted.projection_.T, rtol=1e-4, atol=1e-5)
    for rank in (1, 2, 3, 9):
        limited = GMLVQ(rank=rank, random_state=0).fit(X, y)
        assert limited.projection_.shape == (min(rank, 4), 4)
        np.testing.assert_allclose(np.linalg.norm(limited.projection_), 1, rtol=1e-6)
    assert GMLVQ(rank=2, random_state=0).fit(X, y).score(X, y) > 0.95
    still = GMLVQ(matrix_learning_rate=0, random_state=0).fit(X, y)
    np.testing.assert_allclose(still.projection_, np.eye(4) / 2, rtol=1e-6)


# ---- prototypes and where they start ---------------------------------------------------------


@pytest.mark.parametrize("n_prototypes", [3, np.int64(3), [3, 3, 3], np.array([3, 3, 3]), {0: 3, 1: 3, 2: 3}], ids=repr)
def test_numbers_of_prototypes(model, n_prototypes):
    X, y = blobs()
    assert model(n_prototypes, random_state=0).fit(X, y).prototype_labels_.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_unlike_numbers_of_prototypes():
    X, y = blobs()
    labels = np.array(["one", "two", "three"])[y]
    fitted = LVQ1({"one": 1, "two": 2, "three": 3}).fit(X, labels)
    assert fitted.prototype_labels_.tolist() == ["one", "three", "three", "three", "two", "two"]
    assert LVQ1([1, 3, 2]).fit(X, labels).prototype_labels_.tolist() == ["one", "three", "three", "three", "two", "two"]


@pytest.mark.parametrize("init", ["kmeans", "means", "samples", "neighbours"])
def test_starts(init, dtype):
    X, y = blobs(dtype=dtype)
    start = LVQ1(2, init=init, learning_rate=1e-30, random_state=0).fit(X, y)
    assert start.prototypes_.shape == (6, 4)
    assert start.score(X, y) > 0.95
    if init in ("samples", "neighbours"):
        for prototype, label in zip(start.prototypes_, start.prototype_labels_, strict=True):
            assert y[(prototype == X).all(axis=1)] == label
    one = LVQ1(1, init=init, learning_rate=1e-30, random_state=0).fit(X, y).prototypes_
    if init in ("kmeans", "means"):
        means = np.array([X[y == c].mean(axis=0, dtype="f8") for c in range(3)])
        np.testing.assert_allclose(one, means, rtol=1e-5 if dtype == "f4" else 1e-12)


def test_kmeans_start_is_that_of_kmeans2():
    X, y = blobs(300, n_classes=2)
    start = LVQ1(5, learning_rate=1e-30, random_state=0).fit(X, y)
    for c in (0, 1):
        own, own_prototypes = X[y == c], start.prototypes_[start.prototype_labels_ == c]
        book, _ = vqfast.kmeans2(own, own_prototypes, 1)
        np.testing.assert_allclose(book, own_prototypes, atol=0.2)
        distortion = vqfast.vq(own, own_prototypes)[1].mean()
        assert distortion < 1.1 * vqfast.kmeans(own, 5, iter=5, rng=0)[1]


def test_neighbours_leave_out_strangers():
    """An observation among those of another class is no start."""
    X = np.concatenate([np.random.default_rng(0).normal(0, 1, (30, 2)), np.random.default_rng(1).normal(9, 1, (30, 2))])
    y = np.repeat([0, 1], 30)
    X[0] = 9
    for seed in range(20):
        start = LVQ1(3, init="neighbours", learning_rate=1e-30, random_state=seed).fit(X, y).prototypes_
        assert not (start[:3] == X[0]).all(axis=1).any()
    only = LVQ1(30, init="neighbours", learning_rate=1e-30, random_state=0).fit(X, y).prototypes_
    assert (only[:30] == X[0]).all(axis=1).any(), "where there are no others, strangers fill up"


def test_given_prototypes_are_grouped_by_class():
    X, y = blobs()
    fitted = LVQ1(init=(X[:5], ["b", "a", "b", "c", "a"]), learning_rate=1e-30).fit(X, np.array(list("abc"))[y])
    assert fitted.prototype_labels_.tolist() == ["a", "a", "b", "b", "c"]
    np.testing.assert_allclose(fitted.prototypes_, X[[1, 4, 0, 2, 3]])


def test_an_estimator_as_the_start():
    X, y = blobs()
    first = OLVQ1(3, random_state=1).fit(X, y)
    chained = LVQ21(init=OLVQ1(3, random_state=1), random_state=2).fit(X, y)
    by_hand = LVQ21(init=(first.prototypes_, first.prototype_labels_), random_state=2).fit(X, y)
    np.testing.assert_array_equal(chained.prototypes_, by_hand.prototypes_)
    assert not hasattr(chained.init, "prototypes_"), "the estimator itself stays as it was"
    again = LVQ21(init=OLVQ1(3), random_state=2)
    np.testing.assert_array_equal(again.fit(X, y).prototypes_, copy.deepcopy(again).fit(X, y).prototypes_)


# ---- weights, repetitions, order ---------------------------------------------------------------


def test_weights_are_repetitions(model):
    X, y = blobs(60)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, 60)
    shuffled = rng.permutation(60)
    repeated = model(random_state=0).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    weighted = model(random_state=0).fit(X[shuffled], y[shuffled], sample_weight=weights[shuffled])
    np.testing.assert_allclose(weighted.prototypes_, repeated.prototypes_, rtol=1e-9)
    scaled = model(random_state=0).fit(X, y, sample_weight=weights * 4.0)
    np.testing.assert_allclose(scaled.prototypes_, repeated.prototypes_, rtol=1e-9)


def test_equal_weights_are_none(model):
    X, y = blobs(60)
    plain = model(2, random_state=0).fit(X, y)
    weighted = model(2, random_state=0).fit(X, y, sample_weight=np.full(60, 0.3))
    np.testing.assert_array_equal(weighted.prototypes_, plain.prototypes_)


def test_weights_shift_the_border():
    X = np.random.default_rng(0).normal(size=(400, 1))
    y = (X[:, 0] + np.random.default_rng(1).normal(size=400) > 0).astype(int)
    light = RSLVQ(random_state=0).fit(X, y, sample_weight=np.where(y == 1, 0.1, 1)).predict(X).mean()
    heavy = RSLVQ(random_state=0).fit(X, y, sample_weight=np.where(y == 1, 10, 1)).predict(X).mean()
    assert light < 0.4 < 0.6 < heavy


def test_presentations_follow_the_weights():
    from vqfast._lvq.data import Presentations, TrainingData

    X, y = blobs(50)
    weights = np.random.default_rng(0).random(50)
    weights[7] = 0
    rng = np.random.default_rng(1)
    for shuffle in (True, False):
        presentations = Presentations(TrainingData(X, y.astype("i4"), 3, weights, 1), shuffle)
        assert presentations.n_steps == 49
        counts = np.zeros(50)
        for _ in range(200):
            epoch = presentations.epoch(rng)
            assert len(epoch) == 49
            assert shuffle or (np.diff(epoch) >= 0).all()
            counts += np.bincount(epoch, minlength=50)
        assert counts[7] == 0
        share = weights / weights.sum() * 49
        tolerance = 0.1 if shuffle else 1
        assert np.abs(counts / 200 - share).max() < tolerance


def test_order_of_the_rows_does_not_matter(model):
    X, y = blobs()
    shuffled = np.random.default_rng(0).permutation(len(X))
    one, other = (model(2, random_state=0).fit(X[rows], y[rows]) for rows in (slice(None), shuffled))
    np.testing.assert_allclose(one.prototypes_, other.prototypes_, rtol=1e-9)


def test_order_and_no_shuffle_agree(model):
    X, y = blobs(30)
    init = (X[:3], y[:3])
    replayed = model(init=init, n_epochs=99).fit(X, y, order=np.tile(np.arange(30), 4))
    in_order = model(init=init, n_epochs=4, shuffle=False).fit(X, y)
    np.testing.assert_array_equal(replayed.prototypes_, in_order.prototypes_)


# ---- partial_fit -------------------------------------------------------------------------------


def test_partial_fit_learns(model):
    X, y = blobs(600)
    streamed = model(random_state=0)
    for part in np.array_split(np.random.default_rng(0).permutation(600), 10):
        streamed.partial_fit(X[part], y[part], classes=[0, 1, 2])
    assert streamed.score(X, y) > 0.97
    assert streamed.n_steps_ == 600


def test_partial_fit_goes_on_with_the_schedule():
    X, y = blobs(30)
    init = (X[:3], y[:3])
    whole = LVQ1(init=init, n_epochs=3, shuffle=False).fit(X, y)
    parts = LVQ1(init=init, n_epochs=3, shuffle=False)
    for _ in range(3):
        parts.partial_fit(X, y)
    np.testing.assert_allclose(parts.prototypes_, whole.prototypes_, rtol=1e-3, atol=1e-3)
    before = parts.prototypes_
    parts.partial_fit(X, y)
    assert (parts.prototypes_ != before).any(), "rates do not fall to zero"


def test_partial_fit_adds_classes_with_their_first_observations(model):
    X, y = blobs(90)
    streamed = model(2, random_state=0).partial_fit(X[y == 1], y[y == 1], classes=[0, 1, 2])
    assert streamed.prototype_labels_.tolist() == [1, 1]
    assert set(streamed.predict(X)) == {1}
    if hasattr(streamed, "decision_function"):
        assert (streamed.decision_function(X)[:, [0, 2]] == -1).all()
    else:
        np.testing.assert_array_equal(streamed.predict_proba(X), np.tile([0.0, 1.0, 0.0], (90, 1)))
    streamed.partial_fit(X, y)
    assert streamed.prototype_labels_.tolist() == [0, 0, 1, 1, 2, 2]
    for _ in range(10):
        streamed.partial_fit(X, y)
    assert streamed.score(X, y) > 0.95


def test_partial_fit_after_fit(model):
    X, y = blobs()
    fitted = model(random_state=0).fit(X, y)
    before, steps = fitted.prototypes_.copy(), fitted.n_steps_
    fitted.partial_fit(X.astype("f4"), y)
    assert fitted.n_steps_ == steps + len(X)
    assert fitted.prototypes_.dtype == before.dtype
    assert np.abs(fitted.prototypes_ - before).max() < 1
    with pytest.raises(ValueError, match="label 9, which is not one of the classes"):
        fitted.partial_fit(X, np.full(len(X), 9))
    with pytest.raises(ValueError, match="expecting 4 features"):
        fitted.partial_fit(X[:, :2], y)


# ---- labels and arrays -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["no", "yes", "perhaps"],
        [-5, 0, 7],
        [1.0, 2.0, 4.0],
        np.array(["a", "bb", "ccc"], dtype=object),
        [b"x", b"y", b"z"],
    ],
    ids=repr,
)
def test_labels_of_any_type(model, names):
    X, y = blobs()
    labels = np.array(names)[y] if not isinstance(names, np.ndarray) else names[y]
    fitted = model(random_state=0).fit(X, labels)
    assert fitted.score(X, labels) > 0.97
    assert fitted.predict(X).dtype == fitted.classes_.dtype
    np.testing.assert_array_equal(fitted.classes_, np.unique(labels))
    assert fitted.score(X, labels.tolist()) > 0.97


def test_booleans():
    X, y = blobs(n_classes=2)
    assert LVQ1(random_state=0).fit(X, y == 1).predict(X).dtype == bool


def test_any_readable_array(model, dtype):
    X, y = blobs(60, dtype=dtype)
    expected = model(2, random_state=0).fit(X, y)
    read_only = X.copy()
    read_only.setflags(write=False)
    views = [read_only, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X.astype(X.dtype.newbyteorder(">"))]
    views += [X[::-1].copy()[::-1], X.astype("g") if dtype == "f8" else X, X.tolist() if dtype == "f8" else X]
    for view in views:
        fitted = model(2, random_state=0).fit(view, y.tolist())
        np.testing.assert_array_equal(fitted.prototypes_, expected.prototypes_)
        np.testing.assert_array_equal(fitted.predict(view), expected.predict(X))


def test_integers_are_float64():
    X = np.random.default_rng(0).integers(0, 9, (60, 3))
    y = X[:, 0] > 4
    fitted = LVQ1(random_state=0).fit(X, y)
    np.testing.assert_array_equal(fitted.prototypes_, LVQ1(random_state=0).fit(X.astype(float), y).prototypes_)


def test_nothing_is_changed_or_aliased(model):
    X, y = blobs(60)
    weights, start, labels = np.arange(60.0), X[:3].copy(), y[:3].copy()
    before = copy.deepcopy((X, y, weights, start, labels))
    fitted = model(init=(start, labels), random_state=0).fit(X, y, weights)
    fitted.partial_fit(X, y)
    fitted.predict(X)
    for array, same in zip((X, y, weights, start, labels), before, strict=True):
        np.testing.assert_array_equal(array, same)
        assert not np.shares_memory(fitted.prototypes_, array)
        assert not np.shares_memory(fitted.prototype_labels_, array)


# ---- reproducible ------------------------------------------------------------------------------


def test_same_seed_same_bits(model, workers, dtype):
    X, y = blobs(3000, 20, dtype=dtype)
    fits = [model(3, random_state=7, n_epochs=2, workers=w).fit(X, y) for w in (1, workers, None)]
    for fitted in fits[1:]:
        np.testing.assert_array_equal(fitted.prototypes_, fits[0].prototypes_)
        np.testing.assert_array_equal(fitted.predict(X), fits[0].predict(X))
    other = model(3, random_state=8, n_epochs=2).fit(X, y)
    assert (other.prototypes_ != fits[0].prototypes_).any()


def test_random_states(model):
    X, y = blobs(60)
    for make in (lambda: 3, lambda: np.random.default_rng(3), lambda: np.random.RandomState(3), lambda: [1, 2]):
        first, second = (model(2, init="samples", random_state=make()).fit(X, y).prototypes_ for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_isa_does_not_matter(run_script):
    code = """
import hashlib, numpy as np, vqfast
rng = np.random.default_rng(0)
for dtype in ("f4", "f8"):
    X = rng.normal(size=(300, 13)).astype(dtype)
    y = rng.integers(0, 3, 300)
    for name in ("LVQ1", "OLVQ1", "LVQ21", "LVQ3", "GLVQ", "GMLVQ", "RSLVQ"):
        model = getattr(vqfast, name)(3, random_state=0).fit(X, y)
        print(hashlib.sha1(model.prototypes_.tobytes()).hexdigest())
"""
    from vqfast._core.machine import isa_supported

    assert len({run_script(code, VQFAST_ISA=isa) for isa in isa_supported()}) == 1


# ---- safety ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_prototypes", [1, 3])
def test_defaults_do_not_diverge(model, n_prototypes):
    """On the data sets on which the classic rules are known to: raw and standardised."""
    datasets = pytest.importorskip("sklearn.datasets")
    for load in (datasets.load_breast_cancer, datasets.load_digits, datasets.load_wine, datasets.load_iris):
        X, y = load(return_X_y=True)
        for data in (X, (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)):
            majority = np.bincount(y).max() / len(y)
            for seed in range(2):
                assert model(n_prototypes, random_state=seed).fit(data, y).score(data, y) > max(0.66, majority)


@pytest.mark.filterwarnings("error")
def test_rslvq_learns_a_clean_border():
    """Its prototypes leave the observations, and are right to do so."""
    X = np.random.default_rng(0).random((20_000, 20))
    y = X[:, 0] > 0.5
    model = RSLVQ(random_state=0).fit(X[:10_000], y[:10_000])
    assert np.abs(model.prototypes_ - 0.5).max() > 2
    assert model.score(X[10_000:], y[10_000:]) > 0.99


@pytest.mark.parametrize(
    "diverging",
    [
        LVQ21(learning_rate=0.5, schedule="constant", window=0.9, n_epochs=50),
        LVQ3(learning_rate=0.5, schedule="constant", window=0.9, n_epochs=50),
        OLVQ1(learning_rate=0.5, init="samples", n_epochs=50),
        LVQ1(learning_rate=0.9, init="samples", n_epochs=50, schedule="constant"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_blown_up_prototypes_are_not_kept(diverging, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 5)).astype(dtype), rng.integers(0, 20, 500)  # nothing to learn
    with pytest.warns(RuntimeWarning, match="blew up in the epoch after step"):
        fitted = diverging.set_params(random_state=0).fit(X, y)
    assert np.isfinite(fitted.prototypes_).all()
    assert np.abs(fitted.prototypes_).max() < 3 * np.abs(X).max()
    assert fitted.n_steps_ < 50 * 500
    assert fitted.predict(X).shape == (500,)


@pytest.mark.filterwarnings("error")
def test_all_equal_observations(model, dtype):
    X = np.full((30, 3), 0.1, dtype=dtype)
    fitted = model(random_state=0).fit(X, np.arange(30) % 3)
    np.testing.assert_allclose(fitted.prototypes_, X[:3], rtol=1e-6)
    assert set(fitted.predict(X)) == {0}
    if hasattr(fitted, "decision_function"):
        assert np.isfinite(fitted.decision_function(X)).all()
    else:
        np.testing.assert_allclose(fitted.predict_proba(X), 1 / 3)


@pytest.mark.filterwarnings("error")
def test_one_class(model):
    X, _ = blobs(30)
    fitted = model(2, random_state=0).fit(X, np.full(30, "only"))
    assert set(fitted.predict(X)) == {"only"}
    confidence = fitted.predict_proba(X) if model is RSLVQ else fitted.decision_function(X)
    np.testing.assert_array_equal(confidence.ravel(), np.ones(30))


@pytest.mark.filterwarnings("error")
def test_one_observation_per_class(model):
    X, y = blobs(3)
    fitted = model(random_state=0).fit(X, y)
    np.testing.assert_array_equal(fitted.predict(X), y)


def test_more_prototypes_than_observations(model):
    X, y = blobs(12)
    for init in ("kmeans", "means", "samples", "neighbours"):
        with pytest.warns(RuntimeWarning, match="3 of the classes have fewer different observations than prototypes"):
            fitted = model(9, init=init, random_state=0).fit(X, y)
        assert len(fitted.prototypes_) == 12
        np.testing.assert_array_equal(fitted.predict(X), y)


def test_observations_without_weight_do_not_count(model):
    X, y = blobs(60)
    X[0], weights = 1e6, np.ones(60)
    weights[0] = 0
    expected = model(2, random_state=0).fit(X[1:], y[1:])
    np.testing.assert_allclose(model(2, random_state=0).fit(X, y, weights).prototypes_, expected.prototypes_, rtol=1e-9)
    no_class = model(random_state=0).fit(X, y, sample_weight=(y != 1))
    assert no_class.classes_.tolist() == [0, 1, 2]
    assert no_class.prototype_labels_.tolist() == [0, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-110, 1e-20, 1e15, 1e100])
def test_extreme_scales(model, scale, dtype):
    if dtype == "f4":
        scale = scale ** (1 / 8)
    X, y = blobs(60)
    fitted = model(random_state=0).fit((X * scale).astype(dtype), y)
    assert fitted.score((X * scale).astype(dtype), y) > 0.95


def test_numbers_out_of_range(model):
    X, y = blobs(60)
    for scale, dtype, message in (
        (1e200, "f8", "too large: squared distances overflow float64"),
        (1e20, "f4", "too large: squared distances overflow float32"),
        (1e-160, "f8", "too small: squared distances underflow float64"),
        (1e-300, "f8", "too small"),
        (1e-25, "f4", "too small: squared distances underflow float32"),
    ):
        with pytest.raises(ValueError, match=message):
            model().fit((X * scale).astype(dtype), y)


def test_few_steps_on_the_spot():
    """An observation on two prototypes of unlike classes: no division by zero."""
    for model in (GLVQ(), GLVQ(beta=0), GMLVQ(), RSLVQ()):
        model.set_params(init=([[1.0, 1.0], [1.0, 1.0]], [0, 1])).fit([[1.0, 1.0], [2.0, 2.0]], [0, 1], order=[0, 0])
        np.testing.assert_array_equal(model.prototypes_, np.ones((2, 2)))


# ---- errors ------------------------------------------------------------------------------------

X3, Y3 = blobs(30)


def bad(array, value):
    changed = array.astype(float)
    changed[3, 1] = value
    return changed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((bad(X3, np.nan), Y3), ValueError, "must not contain infs or NaNs, but X does"),
        ((bad(X3, np.inf), Y3), ValueError, "must not contain infs or NaNs, but X does"),
        ((X3[0], Y3), ValueError, "Expected 2D array, got 1D array"),
        ((X3[:, :0], Y3), ValueError, r"Found array with 0 feature\(s\)"),
        ((X3[:0], Y3[:0]), ValueError, r"Found array with 0 sample\(s\)"),
        ((X3 + 1j, Y3), ValueError, "Complex data not supported"),
        ((X3, Y3[:-1]), ValueError, "equally many rows, got 30 and 29"),
        ((X3, None), ValueError, "requires y to be passed, but the target y is None"),
        ((X3, Y3 + 0.5), ValueError, "Unknown label type: continuous"),
        ((X3, np.where(Y3 == 0, np.nan, 1)), ValueError, "Input y contains NaN"),
        ((X3, np.c_[Y3, Y3]), ValueError, "should be a 1d array of labels"),
        ((X3, Y3, -np.ones(30)), ValueError, "sample_weight must be non-negative"),
        ((X3, Y3, np.ones(29)), ValueError, "one weight for each of the 30"),
        ((X3, Y3, np.zeros(30)), ValueError, "at least one weight above zero"),
        (([["a", "b"]], [0]), ValueError, "could not convert"),
    ],
)
def test_bad_data(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model().fit(*arguments)


BAD_PARAMETERS = [
    ({"n_prototypes": 0}, ValueError, "n_prototypes must be at least 1"),
    ({"n_prototypes": 1.5}, TypeError, "n_prototypes must be an int, a dict or an array of ints"),
    ({"n_prototypes": [1, 2]}, ValueError, "one entry for each of the 3 classes, got 2"),
    ({"n_prototypes": {0: 1, 1: 1}}, ValueError, r"missing \[2\]"),
    ({"n_prototypes": {0: 1, 1: 1, 2: 1, 3: 1}}, ValueError, r"not a class \[3\]"),
    ({"init": "best"}, ValueError, "init must be one of"),
    ({"init": 3}, TypeError, "init must be a name"),
    ({"init": vqfast.VectorQuantizer(2)}, TypeError, "or an LVQ estimator"),
    ({"init": (X3[:2], [0])}, ValueError, "one label for each prototype"),
    ({"init": (X3[:2], [0, 9])}, ValueError, "label 9, which is not one of the classes"),
    ({"init": (X3[:2, :2], [0, 1])}, ValueError, "expecting 4 features"),
    ({"init": (bad(X3, np.nan), Y3)}, ValueError, "infs or NaNs"),
    ({"n_epochs": 0}, ValueError, "n_epochs must be at least 1"),
    ({"n_epochs": 2.5}, TypeError, "n_epochs must be an integer"),
    ({"learning_rate": 0}, ValueError, "learning_rate must be in"),
    ({"learning_rate": np.nan}, ValueError, "learning_rate must be in"),
    ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
    ({"schedule": "cosine"}, ValueError, "schedule must be one of"),
    ({"decay": 2.0}, ValueError, "decay must be in"),
    ({"max_drift": 0.5}, ValueError, "max_drift must be in"),
    ({"window": 0}, ValueError, "window must be in"),
    ({"window_on": "time"}, ValueError, "window_on must be one of"),
    ({"when_correct": "cheer"}, ValueError, "when_correct must be one of"),
    ({"epsilon": 0.0}, ValueError, "epsilon must be in"),
    ({"beta": -1}, ValueError, "beta must be in"),
    ({"variance": 0}, ValueError, "variance must be in"),
    ({"rank": 0}, ValueError, "rank must be at least 1"),
    ({"matrix_learning_rate": 2}, ValueError, "matrix_learning_rate must be in"),
    ({"workers": 0}, ValueError, "workers must be"),
]


@pytest.mark.parametrize(
    ("model", "parameters", "error", "message"),
    [(m, *rest) for m in MODELS for rest in BAD_PARAMETERS if next(iter(rest[0])) in m().get_params()],
    ids=repr,
)
def test_bad_parameters(model, parameters, error, message):
    made = model(**parameters)  # only fit looks at them
    with pytest.raises(error, match=message):
        made.fit(X3, Y3)
    assert not hasattr(made, "prototypes_")


@pytest.mark.parametrize(
    ("order", "message"),
    [([30], "indices from 0 to 29, got 30 to 30"), ([-1], "indices from 0"), ([], "sequence of indices"),
     ([0.0], "sequence of indices"), ([[0]], "sequence of indices")],
)  # fmt: skip
def test_bad_order(model, order, message):
    with pytest.raises(ValueError, match=message):
        model().fit(X3, Y3, order=np.array(order, dtype=int if not order else None))
    with pytest.raises(ValueError, match="exclude each other"):
        model().fit(X3, Y3, np.ones(30), order=[0])
    with pytest.raises(ValueError, match="Expected 2D array"):
        model().fit(3.0, Y3, order=[0])


def test_not_fitted(model):
    for name in ("predict", "decision_function", "predict_proba", "transform"):
        if hasattr(model, name):
            with pytest.raises(ValueError, match="is not fitted yet"):
                getattr(model(), name)(X3)


def test_predicting_what_is_not_finite(model):
    for n_prototypes in (1, 3):
        fitted = model(n_prototypes, random_state=0).fit(X3, Y3)
        for name in ("predict", "decision_function", "predict_proba", "transform"):
            for value in (np.nan, -np.inf):
                if hasattr(fitted, name):
                    with pytest.raises(ValueError, match="must not contain infs or NaNs, but X does"):
                        getattr(fitted, name)(bad(X3, value))
                    with pytest.raises(ValueError, match="must not contain infs or NaNs, but X does"):
                        getattr(fitted, name)(bad(X3, value).astype("f2"))


def test_errors_change_nothing(model):
    fitted = model(random_state=0).fit(X3, Y3)
    before = pickle.dumps(fitted)
    with pytest.raises(ValueError, match="infs or NaNs"):
        fitted.fit(bad(X3, np.nan), Y3)
    with pytest.raises(ValueError, match="infs or NaNs"):
        fitted.partial_fit(bad(X3, np.nan), Y3)
    fitted.predict(X3)
    assert pickle.dumps(fitted) == before


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState], ids=lambda make: make.__name__)
def test_errors_come_before_any_draw(model, make):
    source, same = make(0), make(0)
    with pytest.raises(ValueError, match="infs or NaNs"):
        model(random_state=source).fit(bad(X3, np.nan), Y3)
    with pytest.raises(ValueError, match="n_epochs"):
        model(random_state=source, n_epochs=0).fit(X3, Y3)
    with pytest.raises(ValueError, match="indices from 0 to 29"):
        model(random_state=source).fit(X3, Y3, order=[30])
    assert source.bytes(8) == same.bytes(8)


# ---- objects -----------------------------------------------------------------------------------


def test_parameters(model):
    made = model(3, n_epochs=5)
    assert made.get_params()["n_epochs"] == 5
    assert model(**made.get_params()).get_params() == made.get_params()
    assert repr(made) == f"{model.__name__}(n_prototypes=3, n_epochs=5)"
    assert made.set_params(n_epochs=6) is made
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        made.set_params(colour="red")
    nested = LVQ21(init=OLVQ1(3))
    assert nested.get_params()["init__n_prototypes"] == 3
    assert nested.set_params(init__n_prototypes=4).init.n_prototypes == 4
    assert repr(nested) == "LVQ21(init=OLVQ1(n_prototypes=4))"


def test_pickle_and_copy(model):
    fitted = model(2, random_state=0).fit(X3, Y3)
    for other in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(other.predict(X3), fitted.predict(X3))
        np.testing.assert_array_equal(
            other.partial_fit(X3, Y3).prototypes_, copy.deepcopy(fitted).partial_fit(X3, Y3).prototypes_
        )


def test_many_python_threads_at_once(model):
    X, y = blobs(2000, 20)
    expected, found = model(3, random_state=0).fit(X, y).prototypes_, [None] * 6

    def fit(i):
        found[i] = model(3, random_state=0).fit(X, y).prototypes_

    threads = [threading.Thread(target=fit, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process")
@pytest.mark.parametrize("name", ["LVQ1", "GMLVQ"])
def test_ctrl_c(name, tmp_path):
    code = f"""
import signal, time, numpy as np, vqfast
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(100_000, 60)), rng.integers(0, 10, 100_000)
model = vqfast.{name}(20, n_epochs=10**6, init="samples")
try:
    print("ready", flush=True)
    model.fit(X, y, order=np.zeros(10**8, dtype=np.int64))
except KeyboardInterrupt:
    print(time.time(), hasattr(model, "prototypes_"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        sent = time.time()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    noticed, fitted = output.split()
    assert fitted == "False"
    assert float(noticed) - sent < 10, "promised is a second; this is for a machine that does other things"


def test_memory_of_a_fit(run_script):
    """Some tens of bytes an observation, no copy of the observations."""
    code = """
import numpy as np, vqfast

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

X = np.random.default_rng(0).random((400_000, 64), dtype=np.float32)
y = (X[:, 0] > 0.5).astype(np.int64)
for Model in (vqfast.LVQ1, vqfast.RSLVQ, vqfast.GMLVQ):
    Model(n_epochs=1).fit(X[:1000], y[:1000]).predict(X[:1000])
    before = peak()
    Model(n_epochs=2).fit(X, y).predict(X)
    print((peak() - before) / len(X))
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak of the memory is read from /proc/self/status")
    assert max(float(line) for line in run_script(code).split()) < 120


def test_warnings_point_at_the_caller(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model(99, random_state=0).fit(X3, Y3)
    assert [w.filename for w in caught] == [__file__]
