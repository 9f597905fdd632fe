"""A program of the tutorials on learning vector quantization, and the same in one call.

    python benchmarks/lvq_tutorial.py

The program goes through scikit-learn's digits, one prototype for each class, with a mixture
of three rules: LVQ1's attraction where the nearest prototype is right, LVQ2's pair of steps
where it is wrong and the next one right, LVQ3's where both are right. `vqfast.LVQ3` has the
mixture as ``when_correct="attract"`` and gives the same prototypes. What the other models make
of the same split follows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import vqfast

N_TRAIN = 1257


def program(X: np.ndarray, y: np.ndarray, prototypes: np.ndarray, labels: np.ndarray, add: Any = sum) -> np.ndarray:
    """The tutorial's loop: epochs until the rate is small, distances one at a time, by Python's sum."""
    prototypes, rate, window, epsilon = prototypes.copy(), 0.2, 0.3, 0.3
    while rate > 0.001:
        for x, label in zip(X, y, strict=True):
            d = [math.sqrt(add((x - w) ** 2)) for w in prototypes]
            first, second = sorted(range(len(d)), key=d.__getitem__)[:2]
            right, next_right = labels[first] == label, labels[second] == label
            inside = min(d[first] / d[second], d[second] / d[first]) > (1 - window) / (1 + window)
            if right and not next_right:
                prototypes[first] += rate * (x - prototypes[first])
            elif not right and next_right and inside:
                prototypes[first] -= rate * (x - prototypes[first])
                prototypes[second] += rate * (x - prototypes[second])
            elif right and next_right:
                prototypes[first] += epsilon * rate * (x - prototypes[first])
                prototypes[second] += epsilon * rate * (x - prototypes[second])
        rate *= 0.5
    return prototypes


def model(prototypes: np.ndarray, labels: np.ndarray) -> vqfast.LVQ3:
    """The same as an estimator."""
    return vqfast.LVQ3(
        init=(prototypes, labels),
        when_correct="attract",
        window=0.3,
        epsilon=0.3,
        learning_rate=0.2,
        schedule="geometric",
        decay=0.5,
        n_epochs=8,
        shuffle=False,
        max_drift=10,
    )


def problem(scale: bool) -> tuple[Any, ...]:
    """Digits without shuffling: (X, y) to train on, the first of each class apart, (X, y) to test on."""
    from sklearn.datasets import load_digits
    from sklearn.preprocessing import minmax_scale

    X, y = load_digits(return_X_y=True)
    X = minmax_scale(X) if scale else X
    train, labels = X[:N_TRAIN], y[:N_TRAIN]
    first = np.unique(labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(N_TRAIN), first)
    return train[rest], labels[rest], train[first], labels[first], X[N_TRAIN:], y[N_TRAIN:]


def seconds(job: Callable[[], Any], repeats: int) -> float:
    """The median of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def better() -> dict[str, Any]:
    """Models to use instead, on standardised features."""
    return {
        "LVQ21 after OLVQ1, 3 per class": vqfast.LVQ21(init=vqfast.OLVQ1(3), learning_rate=0.1, random_state=0),
        "GLVQ": vqfast.GLVQ(random_state=0),
        "GMLVQ": vqfast.GMLVQ(random_state=0),
        "RSLVQ": vqfast.RSLVQ(random_state=0),
        "RSLVQ, 3 per class": vqfast.RSLVQ(3, random_state=0),
    }


def main() -> None:
    from sklearn.metrics import accuracy_score, f1_score, precision_score
    from sklearn.preprocessing import StandardScaler

    for name, scale in (("raw", False), ("min-max", True)):
        X, y, prototypes, labels, test, test_labels = problem(scale)
        expected, fitted = program(X, y, prototypes, labels), model(prototypes, labels).fit(X, y)
        slow = seconds(lambda: program(X, y, prototypes, labels), 3)  # noqa: B023
        numpy_sum = seconds(lambda: program(X, y, prototypes, labels, np.sum), 3)  # noqa: B023
        fast = seconds(lambda: model(prototypes, labels).fit(X, y), 50)  # noqa: B023
        found = fitted.predict(test)
        right = round(accuracy_score(test_labels, found) * len(test))
        print(f"{name:>8}: accuracy {right}/{len(test)} = {right / len(test):.10f}", end=", ")
        print(f"precision {precision_score(test_labels, found, average='weighted'):.10f}", end=", ")
        print(f"F1 {f1_score(test_labels, found, average='weighted'):.10f}")
        print(
            f"{'':>10}prototypes differ by {np.abs(fitted.prototypes_ - expected).max():.1e} from the program's;",
            end="",
        )
        print(f" program {slow:.3f} s, LVQ3 {fast * 1e3:.2f} ms: {slow / fast:.0f} times faster", end="")
        print(f" ({numpy_sum / fast:.0f} if the program uses NumPy's sum)")
    X, y, prototypes, labels, test, test_labels = problem(False)
    X, y = np.concatenate([prototypes, X]), np.concatenate([labels, y])
    scaler = StandardScaler().fit(X)
    X, test = scaler.transform(X), scaler.transform(test)
    print("The same split, standardised:")
    for name, estimator in better().items():
        fast = seconds(lambda: estimator.fit(X, y), 5)  # noqa: B023
        print(f"{'':>10}{name:<32} accuracy {estimator.score(test, test_labels):.4f} in {fast * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
