"""scikit-learn's estimator conventions without scikit-learn.

The only module of the package that imports scikit-learn, when it is there and asks: for its
tags, and for two of its types of errors and warnings.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import Any, Self


class NotFittedError(ValueError, AttributeError):
    """An estimator is used before it is fitted, where scikit-learn is not installed."""


class DataConversionWarning(UserWarning):
    """Labels come in an unexpected shape, where scikit-learn is not installed."""


def not_fitted(message: str) -> Exception:
    """scikit-learn's NotFittedError if it is installed, otherwise one of our own."""
    try:
        from sklearn.exceptions import NotFittedError as Error
    except ImportError:
        Error = NotFittedError
    return Error(message)  # type: ignore[no-any-return]


def data_conversion_warning() -> type[Warning]:
    """scikit-learn's DataConversionWarning if it is installed, otherwise one of our own."""
    try:
        from sklearn.exceptions import DataConversionWarning as Category
    except ImportError:
        Category = DataConversionWarning
    return Category  # type: ignore[no-any-return]


def warn(message: str, category: type[Warning]) -> None:
    """A warning that points at the first caller outside of the package."""
    package, level, frame = __name__.partition(".")[0] + ".", 2, sys._getframe(1)
    while frame.f_back is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


class Classifier:
    """Parameters, representation and tags of a classifier, as scikit-learn's tools expect them."""

    _estimator_type = "classifier"

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        signature = inspect.signature(cls.__init__)
        return {name: parameter for name, parameter in signature.parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the constructor and their values.

        Parameters
        ----------
        deep : bool, optional
            Whether to include, as ``init__name``, the parameters of an estimator in `init`.

        Returns
        -------
        dict
            Values by name.
        """
        values = {name: getattr(self, name) for name in self._parameters()}
        if deep:
            for name, value in list(values.items()):
                if hasattr(value, "get_params") and not isinstance(value, type):
                    values.update({f"{name}__{key}": inner for key, inner in value.get_params().items()})
        return values

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the constructor.

        Parameters
        ----------
        **params
            Values by name; ``init__name`` reaches into an estimator in `init`.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        names = self._parameters()
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            name, delimiter, rest = key.partition("__")
            if name not in names:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {sorted(names)}."
                )
            if delimiter:
                nested.setdefault(name, {})[rest] = value
            else:
                setattr(self, name, value)
        for name, values in nested.items():
            getattr(self, name).set_params(**values)
        return self

    def __repr__(self) -> str:
        changed = []
        for name, parameter in self._parameters().items():
            value = getattr(self, name)
            same = type(value) is type(parameter.default) and repr(value) == repr(parameter.default)
            if not same:
                changed.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "prototypes_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags, TransformerTags

        transforms = TransformerTags(preserves_dtype=["float64", "float32"]) if hasattr(self, "transform") else None
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=transforms,
            classifier_tags=ClassifierTags(),
        )
