"""Measure vqfast against every peer that is installed.

    python benchmarks/compare.py                        all groups
    python benchmarks/compare.py vq tiny                some of them
    python benchmarks/compare.py lvq                    accuracy, time and a picture of the classifiers
    python benchmarks/compare.py ann                    recall of quantizers (see ann.py); --help there
    python benchmarks/compare.py toy                    correlated and uncorrelated data (see toy.py)
    python benchmarks/compare.py large                  rounds of ten million observations (see costs.py)
    python benchmarks/compare.py kmeans --data sift=sift.npz --data embeddings.npy

Each contender runs in a process of its own with the same number of threads; runs of the
contenders alternate; the figure is the median after a warm-up. Prints a table, and writes
results/<group>.json and results/<group>.png beside this file.

BLAS-based peers get the kernels of this CPU (OPENBLAS_CORETYPE=SkylakeX where it has
AVX-512), because an old OpenBLAS in a wheel may not know it; --out-of-the-box leaves that
to them.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import ann  # noqa: E402
import costs  # noqa: E402
import lvq  # noqa: E402
import toy  # noqa: E402
from contenders import CONTENDERS  # noqa: E402
from jobs import GROUPS, Task, read_data  # noqa: E402

# Commands with options of their own.
EXPERIMENTS = {"ann": ann.main, "toy": toy.main, "large": costs.large}

# Seconds that one sample of a fast job lasts at least, as calls back to back.
SAMPLE = 0.05
# A job that takes this many seconds is run once.
ONCE = 20.0
# Seconds in which the waiting threads of the contender before fall asleep: OpenBLAS's spin
# for 0.1 s after a product, and whoever is measured meanwhile has one CPU less.
PAUSE = 0.2


def environment(workers: int, out_of_the_box: bool) -> dict[str, str]:
    """Variables of the contenders' processes: equal threads, fair BLAS kernels."""
    from vqfast._core.machine import isa_supported

    env = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env[name] = str(workers)
    if not out_of_the_box and "avx512" in isa_supported():
        env["OPENBLAS_CORETYPE"] = "SkylakeX"
    return env


class Process:
    """A contender's process."""

    def __init__(self, name: str, workers: int, env: dict[str, str]) -> None:
        command = [sys.executable, str(HERE / "contenders.py"), name, str(workers)]
        self.pipe = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.name = name

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        assert self.pipe.stdin is not None
        assert self.pipe.stdout is not None
        try:
            self.pipe.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.pipe.stdin.flush()
            line = self.pipe.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "process died"}

    def close(self) -> None:
        if self.pipe.stdin is not None:
            self.pipe.stdin.close()
        self.pipe.wait()


def start_all(workers: int, env: dict[str, str]) -> tuple[dict[str, Process], dict[str, str]]:
    """Processes of the contenders that are installed, and their versions."""
    processes, versions = {}, {}
    for name in CONTENDERS:
        process = Process(name, workers, env)
        answer = process.ask("version")
        if "version" in answer:
            processes[name], versions[name] = process, answer["version"]
        else:
            print(f"{name}: not installed, left out", file=sys.stderr)
            process.close()
    return processes, versions


def measure(task: Task, processes: dict[str, Process], repeats: int, folder: pathlib.Path) -> dict[str, Any]:
    """Median seconds of every contender that does the task, and whether they agree."""
    np.save(folder / "obs.npy", task.obs)
    request: dict[str, Any] = {"method": task.method, "obs": str(folder / "obs.npy"), **task.options}
    if task.code_book is not None:
        np.save(folder / "code_book.npy", task.code_book)
        request["code_book"] = str(folder / "code_book.npy")
    seconds: dict[str, list[float]] = {}
    checks: dict[str, float] = {}
    fast: dict[str, int] = {}
    for name, process in processes.items():
        if (task.only and name not in task.only) or "error" in process.ask("prepare", **request):
            continue
        answer = process.ask("run", check=task.check)  # the warm-up
        if "seconds" in answer:
            seconds[name] = []
            checks[name] = answer.get(task.check, 0) if task.check else 0
            if answer["seconds"] > ONCE:
                seconds[name].append(answer["seconds"])
            fast[name] = max(task.repeat, min(1000, int(SAMPLE / answer["seconds"])))
    for _ in range(repeats):
        for name in seconds:
            if not seconds[name] or seconds[name][0] <= ONCE:
                seconds[name].append(processes[name].ask("run", repeat=fast[name])["seconds"])
                time.sleep(PAUSE)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    row = {"title": task.title, "seconds": medians, "flops": task.flops, "threads": task.threads}
    return {**row, task.check or "check": checks}


def ratios(row: dict[str, Any]) -> tuple[str, float, float]:
    """Best peer, how many times slower it is, and SciPy's ratio (0 if not measured)."""
    own = row["seconds"]["vqfast"]
    peers = {name: value for name, value in row["seconds"].items() if name != "vqfast"}
    best = min(peers, key=lambda name: peers[name]) if peers else ""
    return best, peers[best] / own if best else 0.0, peers.get("SciPy", 0.0) / own


def print_row(row: dict[str, Any], peak: float, workers: int) -> None:
    best, ratio, scipy_ratio = ratios(row)
    workers = row["threads"] or workers
    times = "  ".join(f"{name} {value * 1e3:.4g}" for name, value in row["seconds"].items())
    line = f"{row['title']:<48} "
    line += f"{ratio:7.2f}x {best:<24} {scipy_ratio:7.2f}x SciPy   " if best else ""
    line += f"[ms: {times}]"
    if row["flops"] > 1e8 and peak:
        own = row["seconds"]["vqfast"]
        line += f"  {100 * row['flops'] / own / peak / workers:.0f} % of FMA peak"
    if "mean_sq_error" in row:
        line += "  mse: " + ", ".join(f"{value:.6g}" for value in row["mean_sq_error"].values())
    elif len(row.get("codes", ())) > 1:  # sums of the codes: near ties fall as the rounding goes
        same = [name for name, value in row["codes"].items() if value == row["codes"]["vqfast"] and name != "vqfast"]
        line += f"  same codes: {', '.join(same) or 'nobody'}"
    print(line, flush=True)


def plot(rows: list[dict[str, Any]], file: pathlib.Path) -> None:
    """How many times slower each peer is, one line of dots a job."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.28 * len(rows)), layout="constrained")
    for name in CONTENDERS:
        times = [row["seconds"] for row in rows]
        found = [(time[name] / time["vqfast"], i) for i, time in enumerate(times) if name in time]
        if found:
            axes.plot(*zip(*found, strict=True), "o" if name != "vqfast" else "|", label=name, markersize=7)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("time in units of vqfast's (left of 1: faster than vqfast)")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=130)


def machine() -> str:
    """Name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    system = f"{platform.system()} {platform.machine()}"
    return f"{model}, {os.cpu_count()} CPUs, {system}, Python {platform.python_version()}"


def main() -> None:
    if sys.argv[1:] and sys.argv[1] in EXPERIMENTS:
        EXPERIMENTS[sys.argv[1]](sys.argv[2:], environment, machine())
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, "lvq", []], help="which groups (default: all)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--match", default="", help="only jobs whose title this regular expression finds")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each contender")
    parser.add_argument("--data", action="append", default=[], metavar="[NAME=]FILE", help="more data for kmeans")
    parser.add_argument("--out-of-the-box", action="store_true", help="leave the choice of BLAS kernels to the peers")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder of the JSON files and plots")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = dict(read_data(argument) for argument in options.data)
    env = environment(options.workers, options.out_of_the_box)
    processes, versions = start_all(options.workers, env)
    peak = processes["vqfast"].ask("peak")["flops"]
    head = {"machine": machine(), "workers": options.workers, "versions": versions, "peak_flops_of_one_thread": peak}
    head["OPENBLAS_CORETYPE"] = env.get("OPENBLAS_CORETYPE", "not set")
    print(json.dumps(head))
    with tempfile.TemporaryDirectory() as folder:
        for group in options.groups or [*GROUPS, "lvq"]:
            if group == "lvq":
                lvq.report(env, options.repeats, options.out, head)
                continue
            rows = []
            for task in GROUPS[group](data):
                if not re.search(options.match, task.title):
                    continue
                rows.append(measure(task, processes, options.repeats, pathlib.Path(folder)))
                print_row(rows[-1], peak, options.workers)
            (options.out / f"{group}.json").write_text(json.dumps({**head, "rows": rows}, indent=1))
            plot(rows, options.out / f"{group}.png")
            if group == "kmeans" and not options.match:
                costs.draw(costs.measure(options.workers), options.out / "kmeans-costs.png")
    for process in processes.values():
        process.close()


if __name__ == "__main__":
    main()
