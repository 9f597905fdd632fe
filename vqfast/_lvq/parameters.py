"""What the parameters and attributes of the models mean, said once, and the checks of their numbers."""

from __future__ import annotations

import inspect
import numbers
import operator
import re
from typing import Any, TypeVar

Model = TypeVar("Model", bound=type)

PARAMETERS = """
n_prototypes : int, dict or array_like of int, optional
    Prototypes of each class: one number for all, numbers by label, or one for each class
    in the order of `classes_`. Ignored where `init` gives prototypes.
init : {'kmeans', 'means', 'samples', 'neighbours'}, pair or estimator, optional
    Where prototypes start: at the k-means of their class; at the means of random parts of
    it; at random observations of it; or at random observations that most of their five
    nearest neighbours agree with. A pair ``(prototypes, labels)`` gives them; an LVQ
    estimator is fitted first, on the same data, and hands over its prototypes.
n_epochs : int, optional
    Passes over the observations.
learning_rate : float, optional
    Rate of the first step, in (0, 1].
schedule : {'linear', 'inverse_time', 'geometric', 'constant'}, optional
    How the rate falls over the T steps of a fit: ``rate (T - t) / T``; ``rate C / (C + t)``
    with ``C = T / 100``; by the factor `decay` after each epoch; or not.
decay : float, optional
    Factor of the geometric schedule, in (0, 1].
window : float, optional
    Relative width w of the window in (0, 1]: prototypes at distances a <= b are moved if
    ``a / b > (1 - w) / (1 + w)``.
window_on : {'distance', 'squared_distance'}, optional
    What a and b are. The literature has distances; R's package class and LVQ_PAK compare
    squared ones, whose window of 0.3 is one of 0.1535 on distances.
when_correct : {'pair', 'attract', 'keep'}, optional
    What happens when the nearest prototype is right and the next one wrong: both move if
    inside the window (LVQ2.1); the nearest one is attracted (as LVQ1 does); nothing (LVQ2).
shuffle : bool, optional
    Whether every epoch presents the observations in a new random order, instead of that
    of the rows. If so, the fit does not depend on the order of the rows.
max_drift : float, optional
    The fit stops, with a warning and the prototypes of the epoch before, if one is more
    than so many times as far from the mean of the observations as any of them.
random_state : {None, int, Generator, SeedSequence, RandomState}, optional
    Seed or source of the random numbers. The same seed gives the same bits.
workers : int, optional
    Threads for the initialisation and for predictions; None and -1 are all that this
    process may use. The result does not depend on it. The steps of a fit follow from each
    other and run on one.
beta : float, optional
    Steepness of the sigmoid ``1 / (1 + exp(-beta mu))`` of the cost; 0 is the identity.
"""

ATTRIBUTES = """
classes_ : ndarray, shape (n_classes,)
    Sorted labels.
prototypes_ : ndarray, shape (n_prototypes, n_features)
    Prototypes, grouped by class in that order; float32 for float32 observations, otherwise
    float64.
prototype_labels_ : ndarray, shape (n_prototypes,)
    Their labels.
n_features_in_ : int
    Number of features.
n_steps_ : int
    Presentations so far.
"""

RAISES = """
ValueError, TypeError
    By `fit` and `partial_fit`: if a parameter is out of its range or of the wrong type.
"""


def _entries(text: str) -> dict[str, str]:
    """The entries of a section by name."""
    return {entry.split(" : ")[0]: entry.rstrip() for entry in re.split(r"(?m)^(?=\w+ : )", text) if entry.strip()}


def completed(model: Model) -> Model:
    """The class with a docstring of all parameters and attributes.

    Its own docstring has the sections of numpydoc with what it alone has, or says differently;
    the others are put in from above, parameters in the order of the constructor.
    """
    if model.__doc__ is None:  # python -OO
        return model
    head, *rest = re.split(r"(?m)^(\w+)\n-+\n", inspect.cleandoc(model.__doc__))
    sections = {name: body.strip() for name, body in zip(rest[::2], rest[1::2], strict=True)}
    meant = _entries(PARAMETERS) | _entries(sections.pop("Parameters", ""))
    names = [name for name in inspect.signature(model).parameters]
    found = _entries(ATTRIBUTES) | _entries(sections.pop("Attributes", ""))
    complete = {
        "Parameters": "\n".join(meant[name] for name in names),
        "Attributes": "\n".join(found.values()),
        "Raises": RAISES.strip(),
        **sections,
    }
    model.__doc__ = head + "\n\n".join(f"{name}\n{'-' * len(name)}\n{body}" for name, body in complete.items())
    return model


def check_number(name: str, value: Any, low: float, high: float, low_included: bool = False) -> float:
    """A real number in (low, high], or [low, high]."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not ((low <= number if low_included else low < number) and number <= high):
        bracket = "[" if low_included else "("
        raise ValueError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value!r}")
    return number


def check_count(name: str, value: Any) -> int:
    """An integer of at least 1."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return count
