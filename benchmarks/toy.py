"""Correlated against uncorrelated data over bitrates, for code books that share the bits evenly.

    python benchmarks/compare.py toy

Normal vectors of 64 features: mixtures of 8 factors, or independent features. Product code books see
some of the features each, residual and additive ones all of them: what the parts of a product
have in common is lost to it, and where they have nothing in common there is nothing to lose.
Prints the mean squared errors of vectors that were not learned from, and writes
results/toy.json and results/toy.png.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent

N_BOOKS = 4
N_FACTORS = 8
VARIANCE = 2.2
METHODS = {"product": "ProductQuantizer", "residual": "ResidualQuantizer", "additive": "AdditiveQuantizer"}


def normal_vectors(n: int, n_features: int, n_factors: int, seed: int) -> np.ndarray:
    """Normal vectors that mix some factors, the same ones for every seed; 0: independent features."""
    rng = np.random.default_rng(seed)
    if not n_factors:
        return (np.sqrt(VARIANCE) * rng.standard_normal((n, n_features))).astype(np.float32)
    mixing = np.random.default_rng(9).standard_normal((n_factors, n_features)) * np.sqrt(VARIANCE / n_factors)
    return (rng.standard_normal((n, n_factors)) @ mixing).astype(np.float32)


def errors(bits: int, learn: np.ndarray, test: np.ndarray, workers: int) -> dict[str, float]:
    """Mean squared errors of the quantizers."""
    import vqfast

    found = {}
    for name, kind in METHODS.items():
        options = {"effort": "high"} if name == "additive" else {}
        quantizer = getattr(vqfast, kind)(N_BOOKS, 2 ** (bits // N_BOOKS), rng=0, workers=workers, **options)
        found[name] = quantizer.fit(learn).distortion(test)
    return found


def plot(results: dict[str, list[dict[str, float]]], file: pathlib.Path) -> None:
    """One panel for each kind of data."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(10, 4), layout="constrained")
    for ax, (name, rows) in zip(axes, results.items(), strict=True):
        for method in METHODS:
            ax.plot([row["bits"] for row in rows], [row[method] for row in rows], "o-", label=method)
        ax.set(title=name, xlabel="bits", ylabel="mean squared error", yscale="log")
        ax.grid(alpha=0.3, which="both")
        ax.legend()
    figure.savefig(file, dpi=130)


def main(arguments: list[str], environment: Callable[[int, bool], dict[str, str]], machine: str) -> None:
    """The study."""
    parser = argparse.ArgumentParser(
        prog="compare.py toy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bits", type=int, nargs="+", default=[12, 16, 20, 24, 28, 32], help="multiples of four")
    parser.add_argument("--n-learn", type=int, default=40_000)
    parser.add_argument("--n-test", type=int, default=10_000)
    parser.add_argument("--n-features", type=int, default=64)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the JSON file and plot")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, float]]] = {}
    for name, n_factors in (("correlated", N_FACTORS), ("uncorrelated", 0)):
        learn = normal_vectors(options.n_learn, options.n_features, n_factors, 0)
        test = normal_vectors(options.n_test, options.n_features, n_factors, 1)
        print(f"\n| {name}, bits | {' | '.join(METHODS)} |\n|{'---|' * (1 + len(METHODS))}")
        results[name] = []
        for bits in options.bits:
            row = errors(bits, learn, test, options.workers)
            results[name].append({"bits": bits, **row})
            print(f"| {bits} | {' | '.join(f'{row[method]:.4g}' for method in METHODS)} |", flush=True)
    (options.out / "toy.json").write_text(json.dumps({"machine": machine, **results}, indent=1))
    plot(results, options.out / "toy.png")
