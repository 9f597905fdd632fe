"""Approximate nearest neighbours: recall, distortion, bytes and times of every quantizer.

    python benchmarks/compare.py ann                            SIFT of photographs in packages
    python benchmarks/compare.py ann --data sift1M              a folder of .fvecs, .bvecs, .ivecs files
    python benchmarks/compare.py ann --bits 64 --match "vqfast|PQ"
    python benchmarks/compare.py ann --copies 7 --match "vqfast product|faiss PQ"

Each method runs in a process of its own with the same number of threads. All of them take half an
hour with two threads, most of it faiss LSQ: without it (--match "^(?!faiss LSQ)") six minutes; --add
measures some methods again, or later. Prints a table, and
writes results/ann.json, results/ann-recall.png and results/ann-distortion.png beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import vectors
from ann_methods import METHODS, RECALLS

HERE = pathlib.Path(__file__).resolve().parent

COLUMNS = (
    ("bits", "{:d}"),
    ("bytes", "{:g}"),
    ("distortion", "{:.5g}"),
    *((f"recall@{r}", "{:.3f}") for r in RECALLS),
    ("train_seconds", "{:.2f}"),
    ("encode_microseconds", "{:.2f}"),
    ("search_milliseconds", "{:.3f}"),
    ("single_milliseconds", "{:.3f}"),
)
HEAD = ("method", "bits", "bytes", "distortion", "R@1", "R@10", "R@100", "train, s", "encode, µs")
HEAD += ("search, ms", "one query, ms")


def run_method(name: str, bits: int, workers: int, file: str, env: dict[str, str]) -> dict[str, Any]:
    """The figures of a method from its process."""
    command = [sys.executable, str(HERE / "ann_methods.py"), name, str(bits), str(workers), file]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    lines = process.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"method": name, "bits": bits, "error": "process died"}


def as_row(row: dict[str, Any]) -> str:
    """A line of the table."""
    if "error" in row:
        return f"| {row['method']} | {row['bits']} | skipped: {row['error']} |"
    cells = [form.format(row[key]) if key in row else "" for key, form in COLUMNS]
    return f"| {row['method']} | {' | '.join(cells)} |"


def plot(rows: list[dict[str, Any]], folder: pathlib.Path, name: str) -> None:
    """Recall against bits, and distortion against the time of training and of encoding."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    good = [row for row in rows if "error" not in row]
    methods = [method for method in METHODS if any(row["method"] == method for row in good)]
    colours = dict(zip(methods, pyplot.cm.tab20(np.linspace(0, 1, len(methods) or 1)), strict=True))
    style: Callable[[str], str] = lambda method: "o-" if method.startswith("vqfast") else "s--"  # noqa: E731

    figure, axes = pyplot.subplots(1, len(RECALLS), figsize=(13, 4.5), layout="constrained")
    for ax, recall in zip(axes, RECALLS, strict=True):
        for method in methods:
            mine = [row for row in good if row["method"] == method and f"recall@{recall}" in row]
            if mine:
                values = [row[f"recall@{recall}"] for row in mine]
                ax.plot([row["bits"] for row in mine], values, style(method), color=colours[method], label=method)
        ax.set(xlabel="bits", title=f"recall@{recall}, {name}", xticks=sorted({row["bits"] for row in good}))
        ax.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(folder / "ann-recall.png", dpi=130)

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    for ax, key, label in zip(
        axes, ("train_seconds", "encode_microseconds"), ("training, s", "encoding, µs a vector"), strict=True
    ):
        for method in methods:
            mine = [row for row in good if row["method"] == method]
            times = [row[key] for row in mine]
            ax.plot(times, [row["distortion"] for row in mine], style(method), color=colours[method], label=method)
        ax.set(xlabel=label, ylabel="mean squared error", xscale="log", yscale="log")
        ax.grid(alpha=0.3, which="both")
    figure.suptitle(f"distortion against time, {name}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(folder / "ann-distortion.png", dpi=130)


def main(arguments: list[str], environment: Callable[[int, bool], dict[str, str]], machine: str) -> None:
    """The experiment."""
    parser = argparse.ArgumentParser(
        prog="compare.py ann", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a folder of .fvecs, .bvecs or .ivecs files, or an .npz file")
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--match", default="", help="only methods whose name this regular expression finds")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--n-learn", type=int, default=100_000, help="vectors to learn from, at most")
    parser.add_argument("--n-base", type=int, default=1_000_000, help="vectors to search, at most")
    parser.add_argument("--n-query", type=int, default=1_000, help="queries, at most")
    parser.add_argument("--copies", type=int, default=1, help="search so many noisy copies of the base, for times")
    parser.add_argument("--out-of-the-box", action="store_true", help="leave the choice of BLAS kernels to the peers")
    parser.add_argument("--add", action="store_true", help="keep the rows of the JSON file that are not measured now")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the JSON file and plots")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    env = environment(options.workers, options.out_of_the_box)
    data = vectors.read(options.data, options.n_base).sample(options.n_learn, options.n_base, options.n_query)
    if options.copies > 1:
        data = data.repeated(options.copies, 0.1)
    sizes = {part: list(getattr(data, part).shape) for part in ("learn", "base", "query")}
    head = {"data": data.name, **sizes, "machine": machine, "workers": options.workers}
    head["OPENBLAS_CORETYPE"] = env.get("OPENBLAS_CORETYPE", "not set")
    print(json.dumps(head))
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    file = options.out / "ann.json"
    rows = json.loads(file.read_text())["rows"] if options.add and file.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        arrays = {part: np.ascontiguousarray(getattr(data, part)) for part in ("learn", "base", "query")}
        np.savez(f"{folder}/vectors.npz", **arrays, truth=vectors.nearest(data.query, data.base))
        for bits in options.bits:
            for name in METHODS:
                if re.search(options.match, name):
                    row = run_method(name, bits, options.workers, f"{folder}/vectors.npz", env)
                    rows = [other for other in rows if (other["method"], other["bits"]) != (name, bits)] + [row]
                    print(as_row(row), flush=True)
    order = list(METHODS)
    rows.sort(key=lambda row: (row["bits"], order.index(row["method"])))
    file.write_text(json.dumps({**head, "rows": rows}, indent=1))
    plot(rows, options.out, data.name)
