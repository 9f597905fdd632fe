"""What a fit costs: seconds of vqfast against observations, codes, features, rounds and workers."""

from __future__ import annotations

import os
import pathlib
import statistics
import time
from typing import Any

import numpy as np

BASE = {"n": 50000, "k": 512, "d": 64}
SWEEPS = {
    "n": (10000, 20000, 50000, 100000, 200000),
    "k": (16, 64, 256, 1024, 2048),
    "d": (2, 4, 8, 16, 32, 64, 128, 256, 512),
}
ROUNDS = 20
REPEATS = 3


def blobs(n: int, d: int) -> np.ndarray:
    """Three hundred overlapping clusters."""
    rng = np.random.default_rng(n + 1000 * d)
    return (rng.normal(size=(300, d))[rng.integers(0, 300, n)] + 0.4 * rng.normal(size=(n, d))).astype("f4")


def seconds_of_fit(n: int, k: int, d: int, workers: int) -> float:
    import vqfast

    obs, times = blobs(n, d), []
    start = obs[np.random.default_rng(k).choice(n, k, replace=False)]
    for _ in range(1 + REPEATS):
        before = time.perf_counter()
        vqfast.kmeans2(obs, start, ROUNDS, minit="matrix", workers=workers)
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])


def seconds_of_rounds(n: int, k: int, d: int, workers: int, rounds: int = 40) -> list[float]:
    """Assignment and means of each round, once."""
    from vqfast._core.lloyd import Means
    from vqfast._core.nearest import Nearest

    obs, times = blobs(n, d), []
    search = Nearest(obs, k, workers, rounds=rounds)
    means, codes = Means(search), np.zeros(n, np.int32)
    book = obs[np.random.default_rng(k).choice(n, k, replace=False)].astype(float)
    for done in range(rounds):
        before = time.perf_counter()
        search.assign(book, codes, follow=done > 0)
        means.update(codes, book, np.zeros(k, bool))
        times.append(time.perf_counter() - before)
    return times


def measure(workers: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in SWEEPS.items():
        found[name] = [(value, seconds_of_fit(**{**BASE, name: value}, workers=workers)) for value in values]
    counts = [w for w in (1, 2, 4, 8, 16) if w <= (os.cpu_count() or 1)]
    found["workers"] = [(w, seconds_of_fit(**BASE, workers=w)) for w in counts]
    found["round"] = list(enumerate(seconds_of_rounds(**BASE, workers=workers), 1))
    return found


def draw(found: dict[str, Any], file: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {
        "n": "observations",
        "k": "code words",
        "d": "features",
        "workers": "workers",
        "round": "round of the fit",
    }
    figure, axes = pyplot.subplots(1, len(titles), figsize=(17, 3.4), layout="constrained")
    for (name, title), ax in zip(titles.items(), axes, strict=True):
        values, seconds = zip(*found[name], strict=True)
        ax.plot(values, [1e3 * s for s in seconds], "o-", markersize=4)
        ax.set(xlabel=title, yscale="log", xscale="linear" if name == "round" else "log")
        ax.grid(which="both", alpha=0.3)
    axes[0].set_ylabel(f"ms of {ROUNDS} rounds")
    axes[-1].set_ylabel("ms of one round")
    figure.suptitle(
        f"vqfast.kmeans2, float32, n={BASE['n']}, k={BASE['k']}, d={BASE['d']} but for the axis", fontsize=10
    )
    figure.savefig(file, dpi=110)
