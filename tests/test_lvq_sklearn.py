"""scikit-learn's tools take the classifiers, which need scikit-learn for nothing else."""

import warnings

import numpy as np
import pytest

import vqfast
from vqfast import GLVQ, GMLVQ, LVQ1, LVQ21, OLVQ1, RSLVQ

NAMES = ["LVQ1", "OLVQ1", "LVQ21", "LVQ3", "GLVQ", "GMLVQ", "RSLVQ"]

sklearn = pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402


@pytest.fixture(params=NAMES)
def model(request):
    return getattr(vqfast, request.param)


@pytest.mark.parametrize("parameters", [{}, {"n_prototypes": 2}], ids=repr)
def test_check_estimator(model, parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of skipped checks, and of classes with too few observations
        check_estimator(model(**parameters) if parameters else model())


def test_tools(model):
    X, y = load_iris(return_X_y=True)
    assert is_classifier(model())
    pipeline = make_pipeline(StandardScaler(), model(random_state=0))
    scores = cross_val_score(pipeline, X, y, cv=5)  # rows are sorted by class: fails unless stratified
    assert scores.min() > 0.7
    step = model.__name__.lower()
    search = GridSearchCV(pipeline, {f"{step}__n_prototypes": [1, 3], f"{step}__init": ["kmeans", OLVQ1(2)]}, cv=3)
    assert search.fit(X, y).best_score_ > 0.85
    assert search.predict(X).shape == (150,)
    with pytest.raises(NotFittedError):
        model().predict(X)


def test_clone_of_given_prototypes():
    X, y = load_iris(return_X_y=True)
    original = LVQ21(init=(X[[0, 50, 100]], y[[0, 50, 100]]), random_state=0)
    copied = clone(original)
    np.testing.assert_array_equal(copied.fit(X, y).prototypes_, original.fit(X, y).prototypes_)
    nested = clone(LVQ21(init=OLVQ1(3)))
    assert nested.init.n_prototypes == 3


def test_transform_in_a_pipeline():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), GMLVQ(rank=2, random_state=0), LVQ1(random_state=0))
    assert pipeline.fit(X, y).score(X, y) > 0.95
    assert pipeline[:-1].transform(X).shape == (178, 2)


def accuracy(load, model):
    """Stratified five-fold, standardised in each fold."""
    X, y = load(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), model)
    return cross_val_score(pipeline, X, y, cv=StratifiedKFold(5, shuffle=True, random_state=0)).mean()


@pytest.mark.parametrize(
    ("load", "model", "least"),
    [
        (load_digits, GLVQ(random_state=0), 0.907),
        (load_digits, GMLVQ(random_state=0), 0.9477),
        (load_digits, LVQ21(init=OLVQ1(3), learning_rate=0.1, random_state=0), 0.9605),
        (load_digits, RSLVQ(random_state=0), 0.9655),
        (load_digits, RSLVQ(3, random_state=0), 0.97),
        (load_breast_cancer, RSLVQ(random_state=0), 0.975),
        (load_breast_cancer, GLVQ(random_state=0), 0.96),
        (load_iris, GMLVQ(random_state=0), 0.95),
        (load_iris, RSLVQ(random_state=0), 0.95),
        (load_wine, GMLVQ(random_state=0), 0.98),
        (load_wine, RSLVQ(random_state=0), 0.975),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_quality(load, model, least):
    """At least what the best other implementations reach on the same folds."""
    assert accuracy(load, model) >= least


WITHOUT = """
import sys
sys.modules["sklearn"] = None  # any import of it fails
import numpy as np, vqfast, pickle
rng = np.random.default_rng(0)
X, y = rng.normal(size=(60, 3)), np.arange(60) % 3
X[:, 0] += 9 * y
for name in "LVQ1 OLVQ1 LVQ21 LVQ3 GLVQ GMLVQ RSLVQ".split():
    model = getattr(vqfast, name)(2, random_state=0)
    try:
        model.predict(X)
    except (ValueError, AttributeError) as error:
        assert "not fitted" in str(error)
    assert model.fit(X, y).score(X, y) > 0.95
    model.partial_fit(X, y)
    assert (pickle.loads(pickle.dumps(model)).predict(X) == model.predict(X)).all()
    model.set_params(**model.get_params())
print("scipy" in sys.modules, repr(vqfast.LVQ21(init=vqfast.OLVQ1(3))))
"""


def test_without_scikit_learn(run_script):
    assert run_script(WITHOUT) == "False LVQ21(init=OLVQ1(n_prototypes=3))\n"
