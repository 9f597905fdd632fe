"""What a fit costs: seconds of vqfast against observations, codes, features, rounds and workers.

    python benchmarks/compare.py large

gives the rounds of one large fit, by default 10,000,000 observations of 128 features and 16,384
codes, and its memory: about two minutes and 8 GB.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BASE = {"n": 50000, "k": 512, "d": 64}
SWEEPS = {
    "n": (10000, 20000, 50000, 100000, 200000),
    "k": (16, 64, 256, 1024, 2048),
    "d": (2, 4, 8, 16, 32, 64, 128, 256, 512),
}
LARGE = {"n": 10_000_000, "k": 16_384, "d": 128}
ROUNDS = 20
REPEATS = 3


def blobs(n: int, d: int) -> np.ndarray:
    """Three hundred overlapping clusters."""
    rng = np.random.default_rng(n + 1000 * d)
    return (rng.normal(size=(300, d))[rng.integers(0, 300, n)] + 0.4 * rng.normal(size=(n, d))).astype("f4")


def large_blobs(n: int, d: int) -> np.ndarray:
    """The same with no more memory than they take, ten thousand of them."""
    rng = np.random.default_rng(n)
    centres, obs = rng.normal(size=(10_000, d)).astype("f4"), np.empty((n, d), "f4")
    for first in range(0, n, 100_000):
        part = obs[first : first + 100_000]
        rng.standard_normal(out=part, dtype="f4")
        part *= 0.7
        part += centres[rng.integers(0, len(centres), len(part))]
    return obs


def seconds_of_fit(n: int, k: int, d: int, workers: int) -> float:
    import vqfast

    obs, times = blobs(n, d), []
    start = obs[np.random.default_rng(k).choice(n, k, replace=False)]
    for _ in range(1 + REPEATS):
        before = time.perf_counter()
        vqfast.kmeans2(obs, start, ROUNDS, minit="matrix", workers=workers)
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])


def seconds_of_rounds(
    n: int, k: int, d: int, workers: int, rounds: int = 40, data: Callable[[int, int], np.ndarray] = blobs
) -> list[float]:
    """Assignment and means of each round, once."""
    from vqfast._core.means import Means
    from vqfast._core.nearest import Nearest

    obs, times = data(n, d), []
    search = Nearest(obs, k, workers, rounds=rounds)
    means, codes = Means(search), np.zeros(n, np.int32)
    book = obs[np.random.default_rng(k).choice(n, k, replace=False)].astype(float)
    for done in range(rounds):
        before = time.perf_counter()
        search.assign(book, codes, follow=done > 0, moved=means.computed())
        means.update(codes, book, np.zeros(k, bool), all_means=done == 0)
        times.append(time.perf_counter() - before)
    return times


def large(arguments: list[str], environment: Callable[[int, bool], dict[str, str]], machine: str) -> None:
    """Seconds of the rounds of one large fit, and its memory."""
    parser = argparse.ArgumentParser(prog="compare.py large", description=large.__doc__)
    for name, value in LARGE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    print(f"{machine}: n={options.n}, k={options.k}, d={options.d}, {options.workers} workers")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = seconds_of_rounds(options.n, options.k, options.d, options.workers, options.rounds, large_blobs)
    gigabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9
    of_data = 4 * options.n * options.d / 1e9
    print("seconds a round: " + ", ".join(f"{value:.1f}" for value in seconds))
    print(f"memory: {gigabytes:.1f} GB, of which the observations take {of_data:.1f}")


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
    from matplotlib import pyplot, ticker

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
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(ticker.NullFormatter())
        if name != "round":
            ax.set_xticks(values, [f"{value:g}" for value in values], rotation=45 if name == "n" else 0)
            ax.xaxis.set_minor_locator(ticker.NullLocator())
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(f"ms of {ROUNDS} rounds")
    axes[-1].set_ylabel("ms of one round")
    figure.suptitle(
        f"vqfast.kmeans2, float32, n={BASE['n']}, k={BASE['k']}, d={BASE['d']} but for the axis", fontsize=10
    )
    figure.savefig(file, dpi=110)
