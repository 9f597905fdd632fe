"""The rules of learning vector quantization: against their twins to the last bit, and against others' figures."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import reference_lvq

import vqfast
from vqfast._core import lvq
from vqfast._core.lvq import Schedule, Training

RULES = {
    "lvq1": {},
    "olvq1": {"rate": 0.3},
    "pairs": {"window": 0.5, "epsilon": 0.1},
    "pairs attract": {"window": 0.6, "epsilon": 0.3, "when_correct": "attract"},
    "pairs keep": {"window": 0.3, "when_correct": "keep"},
    "glvq": {},
    "glvq sigmoid": {"beta": 5.0},
    "gmlvq": {"matrix_rate": 0.02, "beta": 2.0},
    "gmlvq rank": {"matrix_rate": 0.3},
    "rslvq": {"variance": 0.7},
}
# Rates at which nothing runs away within the few steps of a test.
RATES = {"lvq1": 0.05, "olvq1": 0.3, "pairs": 0.05, "glvq": 0.3, "gmlvq": 0.2, "rslvq": 0.1}
SHAPES = [(1, 1, 1), (2, 1, 2), (3, 7, 2), (7, 8, 3), (9, 9, 4), (17, 16, 5), (10, 17, 10), (33, 31, 3), (20, 65, 4)]


def problem(n_prototypes, n_features, n_classes, dtype, rng, n_obs=40):
    """Observations, classes, prototypes and their labels, grouped by class; some of one class only."""
    obs = rng.normal(size=(n_obs, n_features)).astype(dtype)
    classes = rng.integers(0, n_classes, n_obs).astype(np.int32)
    labels = np.sort(rng.integers(0, n_classes, n_prototypes))
    starts = np.searchsorted(labels, np.arange(n_classes + 1)).astype(np.int32)
    return obs, classes, rng.normal(size=(n_prototypes, n_features)).astype(dtype), labels, starts


@pytest.mark.parametrize("name", RULES)
def test_steps(isa, dtype, name, rng):
    rule, options = name.split()[0], RULES[name]
    for n_prototypes, n_features, n_classes in SHAPES:
        obs, classes, prototypes, labels, starts = problem(n_prototypes, n_features, n_classes, dtype, rng)
        state = {}
        if rule == "olvq1":
            state["rates"] = np.full(n_prototypes, 0.3)
        if rule == "gmlvq":
            rank = max(1, n_features // 3) if "rank" in name else n_features
            state["omega"] = rng.normal(size=(rank, n_features))
            state["omega"] /= np.linalg.norm(state["omega"])
        order = rng.integers(0, len(obs), 60)
        training = Training(rule, obs, classes, prototypes, starts, isa=isa, **state, **options)
        training.train(order, Schedule("linear", RATES[rule], 60, 40, 1.0))
        expected = reference_lvq.Model(prototypes, labels, **state, **options)
        expected.train(rule, obs, classes, order, reference_lvq.schedule("linear", RATES[rule], 60, 40))
        np.testing.assert_array_equal(training.prototypes(), expected.w)
        if rule == "olvq1":
            np.testing.assert_array_equal(training.rates(), expected.rates)
        if rule == "gmlvq":
            np.testing.assert_array_equal(training.omega(), expected.omega())


def test_ties_go_to_the_first(isa, dtype, rng):
    """Prototypes on a lattice, many of them equal."""
    for rule, options in (("lvq1", {}), ("pairs", {"window": 0.1, "epsilon": 0.5}), ("glvq", {})):
        obs = rng.integers(-1, 2, (50, 3)).astype(dtype)
        classes = rng.integers(0, 3, 50).astype(np.int32)
        prototypes = rng.integers(-1, 2, (40, 3)).astype(dtype)
        labels = np.sort(rng.integers(0, 3, 40))
        starts = np.searchsorted(labels, np.arange(4)).astype(np.int32)
        order = np.arange(50)
        training = Training(rule, obs, classes, prototypes, starts, isa=isa, **options)
        training.train(order, Schedule("constant", 0.25, 50, 50, 1.0))
        expected = reference_lvq.Model(prototypes, labels, **options).train(
            rule, obs, classes, order, np.full(50, 0.25)
        )
        np.testing.assert_array_equal(training.prototypes(), expected.w)


def test_strided_observations(isa, dtype, rng):
    obs, classes, prototypes, _, starts = problem(12, 19, 3, dtype, rng)
    order, schedule = rng.integers(0, 40, 100), Schedule("linear", 0.05, 100, 40, 1.0)
    results = []
    for view in (obs, np.asfortranarray(obs), np.repeat(obs, 3, axis=1)[:, ::3], obs[::-1, ::-1].copy()[::-1, ::-1]):
        training = Training("lvq1", view, classes, prototypes, starts, isa=isa)
        training.train(order, schedule)
        results.append(training.prototypes())
        np.testing.assert_array_equal(lvq.hashes(view, classes, isa), lvq.hashes(obs, classes, isa))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_runs_may_be_split_anywhere(isa, rng):
    obs, classes, prototypes, _, starts = problem(12, 19, 3, "f8", rng)
    order, schedule = rng.integers(0, 40, 1000), Schedule("geometric", 0.05, 1000, 40, 0.9)
    whole, parts = (Training("lvq1", obs, classes, prototypes, starts, isa=isa) for _ in range(2))
    whole.train(order, schedule)
    for first, last in ((0, 1), (1, 300), (300, 556), (556, 1000)):
        parts.train(order[first:last].copy(), schedule, first)
    np.testing.assert_array_equal(parts.prototypes(), whole.prototypes())


def test_exp():
    t = -np.concatenate([np.linspace(0, 1, 1001), np.geomspace(1e-300, 700, 5000)])
    ratio = reference_lvq.exp(t) / np.exp(t)
    assert np.abs(ratio - 1).max() <= 2 * np.finfo(float).eps
    assert reference_lvq.exp(0.0) == 1


@pytest.mark.parametrize("kind", lvq.SCHEDULES)
def test_schedules(kind):
    rates = Schedule(kind, 0.2, 300, 30, 0.5).rates(0, 300)
    np.testing.assert_allclose(rates, reference_lvq.schedule(kind, 0.2, 300, 30), rtol=1e-14)
    np.testing.assert_array_equal(Schedule(kind, 0.2, 300, 30, 0.5).rates(123, 77), rates[123:200])
    floored = Schedule(kind, 0.2, 300, 30, 0.5, floor=0.1).rates(0, 1000)
    assert floored.min() >= 0.02


# ---- passes over the rows ------------------------------------------------------------------


def test_class_distances_and_posteriors(isa, dtype, workers, rng):
    for n_obs, m, d in ((1, 1, 1), (300, 9, 7), (700, 30, 20)):
        obs, prototypes = rng.normal(size=(n_obs, d)).astype(dtype), rng.normal(size=(m, d))
        labels = np.sort(rng.integers(0, 3, m))
        starts = np.searchsorted(labels, np.arange(4)).astype(np.int32)
        every = ((obs.astype("f8")[:, None] - prototypes) ** 2).sum(axis=2)
        lowest = np.array([every[:, labels == c].min(axis=1, initial=np.inf) for c in range(3)]).T
        found = lvq.class_sq_dists(obs, prototypes, starts, workers, isa)
        np.testing.assert_allclose(found, lowest, rtol=1e-13)
        np.testing.assert_array_equal(found, lvq.class_sq_dists(obs, prototypes, starts))
        p = np.exp(-(every - every.min(axis=1, keepdims=True)) / 3.0)
        p /= p.sum(axis=1, keepdims=True)
        posterior = np.array([p[:, labels == c].sum(axis=1) for c in range(3)]).T
        found = lvq.posteriors(obs, prototypes, starts, 1.5, workers, isa)
        np.testing.assert_allclose(found, posterior, rtol=1e-12, atol=1e-300)
        np.testing.assert_array_equal(found, lvq.posteriors(obs, prototypes, starts, 1.5))


def test_projection(isa, dtype, workers, rng):
    for n_obs, d, rank in ((1, 1, 1), (300, 7, 2), (500, 20, 20), (130, 33, 40)):
        obs, omega = rng.normal(size=(n_obs, d)).astype(dtype), rng.normal(size=(rank, d))
        found = lvq.project(obs, omega, workers, isa)
        np.testing.assert_allclose(found, obs.astype("f8") @ omega.T, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(found, lvq.project(obs, omega))


def test_hashes(isa, dtype, rng):
    obs = rng.integers(-1, 2, (2000, 5)).astype(dtype)
    classes = rng.integers(0, 2, 2000).astype(np.int32)
    hashes = lvq.hashes(obs, classes, isa)
    _, same = np.unique(np.c_[obs, classes], axis=0, return_inverse=True)
    _, same_hashes = np.unique(hashes, return_inverse=True)
    assert len(np.unique(np.c_[same.ravel(), same_hashes], axis=0)) == same.max() + 1 == same_hashes.max() + 1
    np.testing.assert_array_equal(hashes, lvq.hashes(obs.astype("f8"), classes))
    np.testing.assert_array_equal(hashes, lvq.hashes(np.where(obs == 0, -0.0, obs).astype(dtype), classes))


def test_shuffle(rng):
    """Every order of four rows is equally likely; the largest draw stays inside."""
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for _ in range(24_000):
        rows = np.arange(4)
        lvq.shuffle(rows, rng.random(4))
        counts[tuple(rows.tolist())] += 1
    assert 800 < min(counts.values()) <= max(counts.values()) < 1200
    rows = np.arange(100_000)
    lvq.shuffle(rows, np.full(len(rows), np.nextafter(1, 0)))
    np.testing.assert_array_equal(rows, np.arange(len(rows)))


# ---- gradients -------------------------------------------------------------------------------


def cost(name, w, omega, x, c, labels, variance=0.8, beta=2.0):
    """What a step descends (GLVQ, GMLVQ) or ascends (RSLVQ, hence the sign)."""
    d = (((x - w) @ omega.T) ** 2).sum(axis=1)
    if name == "rslvq":
        p = np.exp(-d / (2 * variance))
        return -np.log(p[labels == c].sum() / p.sum())
    plus, minus = d[labels == c].min(), d[labels != c].min()
    return 1 / (1 + np.exp(-beta * (plus - minus) / (plus + minus)))


@pytest.mark.parametrize("name", ["glvq", "gmlvq", "rslvq"])
def test_steps_follow_the_gradient(name, rng):
    x, c, w = rng.normal(size=(1, 4)), np.array([1], dtype=np.int32), rng.normal(size=(6, 4))
    labels, starts = np.repeat([0, 1, 2], 2), np.array([0, 2, 4, 6], dtype=np.int32)
    omega = np.eye(4)
    state = {}
    options = {"variance": 0.8} if name == "rslvq" else {"beta": 2.0}
    if name == "gmlvq":
        omega = rng.normal(size=(3, 4))
        omega /= np.linalg.norm(omega)
        state["omega"], options["matrix_rate"] = omega, 1.0
    rate, h = 1e-6, 1e-6

    def central(change):
        return (cost(name, *change(h), x[0], 1, labels) - cost(name, *change(-h), x[0], 1, labels)) / (2 * h)

    def unit(shape, index):
        e = np.zeros(shape)
        e[index] = 1
        return e

    gradient = np.array([[central(lambda t, i=i, j=j: (w + t * unit(w.shape, (i, j)), omega)) for j in range(4)]
                         for i in range(6)])  # fmt: skip
    training = Training(name, x, c, w, starts, **state, **options)
    training.train(np.zeros(1, dtype=np.int64), Schedule("constant", rate, 1, 1, 1.0))
    np.testing.assert_allclose((training.prototypes() - w) / rate, -gradient, rtol=1e-5, atol=1e-7)
    if name == "gmlvq":
        gradient = np.array([[central(lambda t, i=i, j=j: (w, omega + t * unit(omega.shape, (i, j)))) for j in range(4)]
                             for i in range(3)])  # fmt: skip
        stepped = omega - rate * gradient
        np.testing.assert_allclose(
            (training.omega() - omega) / rate, (stepped / np.linalg.norm(stepped) - omega) / rate, rtol=1e-4, atol=1e-7
        )


# ---- others' figures -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_r():
    return json.loads((Path(__file__).parent / "data" / "lvq_of_r.json").read_text())


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("olvq1", vqfast.OLVQ1()),
        ("lvq1", vqfast.LVQ1()),
        ("lvq2", vqfast.LVQ21(window=0.3, window_on="squared_distance")),
        ("lvq3", vqfast.LVQ3(window=0.3, window_on="squared_distance", epsilon=0.1)),
    ],
)
def test_parity_with_r(of_r, name, model):
    start = of_r["start"] if name == "olvq1" else of_r["olvq1"]["prototypes"]
    model.set_params(init=(start, of_r["start_classes"]))
    model.fit(of_r["observations"], of_r["classes"], order=of_r[name]["order"])
    np.testing.assert_allclose(model.prototypes_, of_r[name]["prototypes"], rtol=0, atol=1e-12)
    assert model.n_steps_ == len(of_r[name]["order"])


def test_true_distances_are_the_default(of_r):
    """With R's window on true distances more updates fire."""
    model = vqfast.LVQ21(window=0.3, init=(of_r["olvq1"]["prototypes"], of_r["start_classes"]))
    model.fit(of_r["observations"], of_r["classes"], order=of_r["lvq2"]["order"])
    assert 0.1 < np.abs(model.prototypes_ - of_r["lvq2"]["prototypes"]).max() < 0.3


ONE_STEP = (np.array([[0.0, 0.0], [2.0, 1.0]]), [0, 1])
OBSERVED = ([[1.0, 0.0], [9.0, 9.0]], [0, 1])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (vqfast.GLVQ(beta=0), [[0.0888889, 0], [2.0444444, 1.0444444]]),
        (vqfast.GLVQ(beta=1), [[0.02161619, 0], [2.0108081, 1.0108081]]),
        (vqfast.RSLVQ(variance=1), [[0.03775407, 0], [2.03775407, 1.03775407]]),
        (vqfast.LVQ21(window=0.3), [[0.1, 0], [2.1, 1.1]]),
        (vqfast.LVQ21(window=0.3, window_on="squared_distance"), [[0, 0], [2, 1]]),
        (vqfast.LVQ21(window=0.3, when_correct="keep"), [[0, 0], [2, 1]]),
        (vqfast.LVQ1(), [[0.1, 0], [2, 1]]),
    ],
    ids=repr,
)
def test_one_step(model, expected, dtype):
    model.set_params(learning_rate=0.1, init=ONE_STEP)
    model.fit(np.array(OBSERVED[0], dtype=dtype), OBSERVED[1], order=[0])
    np.testing.assert_allclose(model.prototypes_, expected, atol=5e-8 if dtype == "f8" else 1e-6)


def test_posterior_of_one_observation():
    model = vqfast.RSLVQ(variance=1, init=ONE_STEP, learning_rate=1e-300).fit(*OBSERVED, order=[0])
    np.testing.assert_allclose(model.predict_proba([[1.0, 0.0]]), [[0.62245933, 0.37754067]], atol=5e-9)


def test_rates_of_olvq1():
    """From 0.3 with right, right, wrong, right."""
    wanted, found = [0.3 / 1.3, 0.1875, 0.3 / 1.3, 0.1875], []
    obs, order = [[0.1], [0.2], [9.0]], [0, 0, 1, 0]
    for n in range(1, 5):
        model = vqfast.OLVQ1(init=([[0.0], [9.0]], ["a", "b"]))
        found.append(model.fit(obs, ["a", "b", "b"], order=order[:n]).learning_rates_[0])
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


@pytest.mark.parametrize(
    ("start", "labels", "obs", "classes", "expected"),
    [
        (
            [[0, 0, 1, 1], [1, 0, 0, 0]],
            [1, 2],
            [[0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]],
            [2, 1, 1],
            [[0, 0.1, 1.09, 0.9], [1, 0, 0, -0.1]],
        ),
        (
            [[0, 0, 1, 1], [1, 1, 1, 1]],
            [1, 2],
            [[0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]],
            [2, 1, 1],
            [[0, 0.1, 1.09, 0.9], [1, 1.1, 1.1, 1]],
        ),
        (
            [[1, 1, 0, 0], [0, 0, 0, 1]],
            [1, 2],
            [[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0]],
            [2, 1, 2],
            [[1.1, 0.89, -0.1, 0], [0, 0, 0.1, 1]],
        ),
    ],
    ids=["tutorial, text", "tutorial, table", "Fausett"],
)
def test_worked_examples(start, labels, obs, classes, expected):
    model = vqfast.LVQ1(init=(start, labels), learning_rate=0.1, schedule="constant")
    model.fit(obs, classes, order=[0, 1, 2])
    np.testing.assert_allclose(model.prototypes_, expected, atol=1e-15)
