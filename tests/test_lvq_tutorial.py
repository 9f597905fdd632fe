"""The tutorial's program on digits: its figures, and its prototypes from one call."""

import importlib.util

import numpy as np
import pytest
import reference_lvq

pytest.importorskip("sklearn")

from sklearn.metrics import accuracy_score, f1_score, precision_score


@pytest.fixture
def example(root):
    spec = importlib.util.spec_from_file_location("lvq_tutorial", root / "benchmarks" / "lvq_tutorial.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("scale", "precision", "f1", "norm", "element", "counts"),
    [
        (False, 0.8793215182, 0.8719772818, 179.088060, 11.7508703691, (9140, 454, 0, 382)),
        (True, 0.8784920785, 0.8717888270, 11.214327, 0.7337882171, (9141, 456, 0, 379)),
    ],
    ids=["raw", "min-max"],
)
def test_figures(example, scale, precision, f1, norm, element, counts):
    X, y, start, labels, test, test_labels = example.problem(scale)
    model = example.model(start, labels).fit(X, y)
    predicted = model.predict(test)
    assert round(accuracy_score(test_labels, predicted) * 540) == 470
    assert precision_score(test_labels, predicted, average="weighted") == pytest.approx(precision, abs=5e-11)
    assert f1_score(test_labels, predicted, average="weighted") == pytest.approx(f1, abs=5e-11)
    assert np.linalg.norm(model.prototypes_) == pytest.approx(norm, abs=1e-6)
    assert model.prototypes_[3, 20] == pytest.approx(element, abs=5e-11)
    train, train_labels = np.concatenate([start, X]), np.concatenate([labels, y])
    expected, taken = reference_lvq.tutorial(train, train_labels, np.arange(len(start)))
    np.testing.assert_allclose(model.prototypes_, expected, rtol=0, atol=1e-12)
    assert tuple(taken[name] for name in ("attract", "window", "both", "none")) == counts


def test_better_models_are_better(example):
    X, y, start, labels, test, test_labels = example.problem(False)
    X, y = np.concatenate([start, X]), np.concatenate([labels, y])
    mean, deviation = X.mean(axis=0), np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    for name, model in example.better().items():
        assert model.fit((X - mean) / deviation, y).score((test - mean) / deviation, test_labels) > 0.9, name
