"""Learning vector quantization: accuracy and time of all models and peers, and a picture.

    python benchmarks/compare.py lvq

Five parts: accuracy (stratified five-fold, standardised in each fold) with the median time of
a fit; the accuracy over five shuffles of the folds; the time of one online update beside
NumPy's; prediction beside `vq`; the tutorial's program. Every contender of the first part has a
process of its own, and they alternate. The picture results/lvq.png shows regions, errors and the
paths of the prototypes of a set in the plane.

sklvq 0.1.2 does not run with scikit-learn 1.7 or later; `revive` restores what it misses.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
DATA = ("iris", "wine", "breast_cancer", "digits")
# A fit that takes this many seconds is run once for each fold.
ONCE = 0.5
COLOURS = ["#3b6fb6", "#d9822b", "#3d9a5f"]

# Microseconds of an update of R's package class 7.3-21, 100 prototypes of 64 features, measured
# on another machine of the same kind: to be read as a size, not as a ratio.
OF_R = {"OLVQ1": 2.5, "LVQ1": 3.5, "LVQ21": 3.1, "LVQ3": 2.7}


def revive() -> Any:
    """sklvq, with what newer versions of NumPy and scikit-learn have taken away."""
    import sklvq.models._base as base
    from sklearn.utils.validation import check_array, check_X_y

    np.int = int  # type: ignore[attr-defined]

    def array(X: Any, force_all_finite: Any = True, **options: Any) -> Any:
        return check_array(X, ensure_all_finite=force_all_finite, **options)

    def both(self: Any, X: Any, y: Any, force_all_finite: Any = True) -> Any:
        self.n_features_in_ = X.shape[1]
        return check_X_y(X, y, ensure_all_finite=force_all_finite)

    base.check_array = array
    base.LVQBaseClass._validate_data = both
    import sklvq

    return sklvq


def of_vqfast() -> dict[str, Any]:
    """Models by name; 3 is three prototypes a class."""
    import vqfast as v

    seeded = {"random_state": 0}
    return {
        "LVQ1": v.LVQ1(**seeded),
        "LVQ1 3": v.LVQ1(3, **seeded),
        "OLVQ1": v.OLVQ1(**seeded),
        "OLVQ1 3": v.OLVQ1(3, **seeded),
        "OLVQ1, LVQ21": v.LVQ21(init=v.OLVQ1(), **seeded),
        "OLVQ1, LVQ21 3": v.LVQ21(init=v.OLVQ1(3), learning_rate=0.1, **seeded),
        "LVQ3 3": v.LVQ3(3, learning_rate=0.1, **seeded),
        "GLVQ": v.GLVQ(**seeded),
        "GLVQ 3": v.GLVQ(3, **seeded),
        "GLVQ beta=0": v.GLVQ(beta=0, **seeded),
        "GLVQ n_epochs=3": v.GLVQ(n_epochs=3, **seeded),
        "GMLVQ": v.GMLVQ(**seeded),
        "GMLVQ 3": v.GMLVQ(3, **seeded),
        "RSLVQ": v.RSLVQ(**seeded),
        "RSLVQ 3": v.RSLVQ(3, **seeded),
    }


def of_sklvq() -> dict[str, Any]:
    """GLVQ and GMLVQ with every solver that reaches the accuracy of the others."""
    sklvq = revive()
    solvers = {"sgd": "steepest-gradient-descent", "waypoint": "waypoint-gradient-descent"}
    solvers["lbfgs"] = "limited-memory-bfgs"
    return {
        f"{name} {short}": getattr(sklvq, name)(solver_type=solver, random_state=0)
        for name in ("GLVQ", "GMLVQ")
        for short, solver in solvers.items()
    }


def of_scikit_learn() -> dict[str, Any]:
    """What a beginner would try first."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

    return {
        "NearestCentroid": NearestCentroid(),
        "1-NN": KNeighborsClassifier(1),
        "LogisticRegression": LogisticRegression(max_iter=1000),
    }


CONTENDERS = {"vqfast": of_vqfast, "sklvq": of_sklvq, "scikit-learn": of_scikit_learn}


def folds(name: str, shuffle: int = 0) -> list[tuple[np.ndarray, ...]]:
    """The five folds of a data set of scikit-learn, standardised."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    found = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=shuffle).split(X, y):
        scaler = StandardScaler().fit(X[train])
        found.append((scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test]))
    return found


def serve(name: str) -> None:
    """Answer requests for (data, model) with the seconds of the fits and the accuracies."""
    answers, sys.stdout = sys.stdout, sys.stderr
    models, sets = CONTENDERS[name](), {data: folds(data) for data in DATA}
    answers.write(json.dumps(list(models)) + "\n")
    answers.flush()
    for line in sys.stdin:
        data, model = json.loads(line)
        seconds, scores = [], []
        for X, y, test, labels in sets[data]:
            start = time.perf_counter()
            models[model].fit(X, y)
            seconds.append(time.perf_counter() - start)
            scores.append(float(np.mean(models[model].predict(test) == labels)))
        answers.write(json.dumps([statistics.median(seconds), statistics.mean(scores)]) + "\n")
        answers.flush()


def start(name: str, env: dict[str, str]) -> tuple[Any, list[str]]:
    """The process of a contender and the names of its models; none if it is not installed."""
    pipe = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(HERE / "lvq.py"), name],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert pipe.stdout is not None
    return pipe, json.loads(pipe.stdout.readline() or "[]")


def accuracies(env: dict[str, str], repeats: int) -> list[dict[str, Any]]:
    """Accuracy and milliseconds of a fit, for every model and data set."""
    started = {name: start(name, env) for name in CONTENDERS}
    for name, (_, models) in started.items():
        if not models:
            print(f"{name}: not installed, left out", file=sys.stderr)
    rows = [{"contender": name, "model": model} for name, (_, models) in started.items() for model in models]
    for data in DATA:
        for repeat in range(repeats + 1):  # the first is the warm-up
            for row in rows:
                if repeat > 1 and row[data]["seconds"][0] > ONCE:
                    continue
                pipe = started[row["contender"]][0]
                pipe.stdin.write(json.dumps([data, row["model"]]) + "\n")
                pipe.stdin.flush()
                seconds, score = json.loads(pipe.stdout.readline())
                if repeat == 0:
                    row[data] = {"accuracy": score, "seconds": [seconds] if seconds > ONCE else []}
                elif not row[data]["seconds"] or row[data]["seconds"][0] <= ONCE:
                    row[data]["seconds"].append(seconds)
    for row in rows:
        for data in DATA:
            row[data]["ms"] = 1e3 * statistics.median(row[data].pop("seconds"))
    for pipe, _ in started.values():
        pipe.stdin.close()
        pipe.wait()
    return rows


def steadiness(n_shuffles: int = 5) -> dict[str, dict[str, list[float]]]:
    """Accuracies of vqfast's models by name and data set, with other folds and another seed each time."""
    models = of_vqfast()
    found: dict[str, dict[str, list[float]]] = {name: {data: [] for data in DATA} for name in models}
    for data in DATA:
        for shuffle in range(n_shuffles):
            parts = folds(data, shuffle)
            for name, model in models.items():
                model.set_params(random_state=shuffle)
                right = [model.fit(X, y).score(test, labels) for X, y, test, labels in parts]
                found[name][data].append(statistics.mean(right))
    return found


def numpy_update(X: np.ndarray, y: np.ndarray, prototypes: np.ndarray, labels: np.ndarray, rate: float) -> None:
    """LVQ1 as one writes it with NumPy."""
    for x, label in zip(X, y, strict=True):
        i = ((prototypes - x) ** 2).sum(axis=1).argmin()
        prototypes[i] += (rate if labels[i] == label else -rate) * (x - prototypes[i])


def median_seconds(job: Any, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def updates(repeats: int) -> list[dict[str, Any]]:
    """Microseconds of an update: 100 prototypes of 64 features, the steps alone."""
    from vqfast._core.lvq import Schedule, Training

    options: dict[str, tuple[str, dict[str, Any]]] = {
        "LVQ1": ("lvq1", {}),
        "OLVQ1": ("olvq1", {"rate": 0.3, "rates": np.full(100, 0.3)}),
        "LVQ21": ("pairs", {"window": 0.67}),
        "LVQ3": ("pairs", {"window": 0.67, "epsilon": 0.1}),
        "GLVQ": ("glvq", {"beta": 10.0}),
        "RSLVQ": ("rslvq", {"variance": 8.0}),
    }
    rng, rows = np.random.default_rng(0), []
    for dtype in ("float64", "float32"):
        y = np.arange(2000, dtype=np.int32) % 10
        X = (rng.normal(size=(10, 64))[y] + rng.normal(size=(2000, 64))).astype(dtype)
        prototypes, labels = X[np.argsort(y[:100], kind="stable")], np.sort(y[:100])
        order, starts = rng.permutation(np.tile(np.arange(2000), 10)), np.arange(0, 101, 10, dtype=np.int32)
        with_numpy = median_seconds(lambda: numpy_update(X, y, prototypes.copy(), labels, 0.01), 3) / 2000  # noqa: B023
        for name, (rule, others) in options.items():
            schedule = Schedule("linear", 0.03, len(order), 2000, 1.0)
            seconds = median_seconds(
                lambda: Training(rule, X, y, prototypes, starts, **others).train(order, schedule),  # noqa: B023
                repeats,
            )
            rows.append({"model": name, "dtype": dtype, "us": 1e6 * seconds / len(order), "numpy_us": 1e6 * with_numpy})
    return rows


def prediction(repeats: int) -> dict[str, float]:
    """Milliseconds of a million predictions, 20 prototypes of 16 features, and of `vq`."""
    import vqfast

    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000_000, 16)).astype("f4")
    labels = np.arange(20) % 10
    model = vqfast.LVQ1(init=(X[:20], labels), n_epochs=1).fit(X[:20], labels)
    book = model.prototypes_
    jobs = {"predict": lambda: model.predict(X), "vq": lambda: vqfast.vq(X, book)}
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, job in jobs.items():
            times[name].append(median_seconds(job, 1))
    return {name: 1e3 * statistics.median(found[1:]) for name, found in times.items()}


def plane(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Three interlaced arms in the plane."""
    rng = np.random.default_rng(3)
    y = np.arange(n) % 3
    t = rng.random(n)
    angle = 2.1 * y + 2.6 * t
    X = (0.5 + 2.5 * t)[:, None] * np.c_[np.cos(angle), np.sin(angle)] + rng.normal(0, 0.4, (n, 2))
    return X, y


def path(model: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n_epochs, n_prototypes, 2): the prototypes after every epoch of a training."""
    rng, found = np.random.default_rng(0), []
    for _ in range(model.n_epochs):
        found.append(model.partial_fit(X, y, order=rng.permutation(len(X))).prototypes_.copy())
    return np.array(found)


def draw_panel(axes: Any, name: str, model: Any, X: np.ndarray, y: np.ndarray, steps: np.ndarray) -> None:
    """Regions of a model, observations, and steps (n, n_prototypes, 2) of its prototypes; the last ones are learned."""
    from matplotlib import patheffects
    from matplotlib.colors import ListedColormap

    low, high = X.min(axis=0) - 0.2, X.max(axis=0) + 0.2
    grid = np.stack(np.meshgrid(np.linspace(low[0], high[0], 500), np.linspace(low[1], high[1], 500)), axis=-1)
    regions = model.predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    extent = (low[0], high[0], low[1], high[1])
    axes.imshow(regions, extent=extent, origin="lower", cmap=ListedColormap(COLOURS), alpha=0.22, aspect="equal")
    for label in range(3):
        axes.contour(grid[..., 0], grid[..., 1], regions == label, [0.5], colors="#333333", linewidths=1.2)
    wrong = model.predict(X) != y
    colours = np.array(COLOURS)[y]
    axes.scatter(*X[~wrong].T, c=colours[~wrong], s=5, linewidths=0)
    axes.scatter(*X[wrong].T, c=colours[wrong], s=22, marker="X", edgecolors="black", linewidths=0.6, zorder=4)
    outline = [patheffects.withStroke(linewidth=4, foreground="white")]
    for i, label in enumerate(model.prototype_labels_):
        axes.plot(*steps[:, i].T, color="black", linewidth=1.6, path_effects=outline, zorder=5)
        axes.plot(*steps[0, i], "o", color="white", markeredgecolor="black", markersize=6, zorder=6)
        if len(steps) > 1:
            axes.plot(*steps[-1, i], "D", color=COLOURS[label], markeredgecolor="black", markersize=8, zorder=7)
    axes.set_title(f"{name}: {wrong.sum()} of {len(X)} wrong", fontsize=12)
    axes.set(xticks=[], yticks=[])


def draw(file: pathlib.Path) -> None:
    """Regions before and after four models have learned, all from the same random observations, and paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    import vqfast as v

    X, y = plane()
    start = v.LVQ1(3, init="samples", learning_rate=1e-12, n_epochs=1, random_state=4).fit(X, y)
    init = (start.prototypes_, start.prototype_labels_)
    common: dict[str, Any] = {"init": init, "n_epochs": 20, "random_state": 0}
    models = {
        "At the start": start,
        "LVQ1": v.LVQ1(**common),
        "LVQ3": v.LVQ3(learning_rate=0.1, window=0.3, **common),
        "GLVQ": v.GLVQ(**common),
        "RSLVQ": v.RSLVQ(variance=0.1, learning_rate=0.02, **common),
    }
    figure, panels = pyplot.subplots(1, 5, figsize=(16, 4.1), layout="constrained")
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        starts = init[0][None]
        steps = starts if model is start else np.concatenate([starts, path(model, X, y)])
        draw_panel(axes, name, model, X, y, steps)
    figure.suptitle("Three classes with three prototypes each, before and after learning", fontsize=13)
    edge: dict[str, Any] = {"color": "none", "markeredgecolor": "black"}
    figure.legend(
        handles=[
            Line2D([], [], marker="o", markerfacecolor="white", markersize=7, **edge),
            Line2D([], [], color="black", linewidth=1.6),
            Line2D([], [], marker="D", markerfacecolor="#888888", markersize=8, **edge),
            Line2D([], [], marker="X", markerfacecolor="#888888", markersize=7, **edge),
        ],
        labels=["start, a random observation", "its way through 20 epochs", "learned prototype", "wrong observation"],
        loc="outside lower center", ncols=4, frameon=False, fontsize=11,
    )  # fmt: skip
    figure.savefig(file, dpi=100)


def report(env: dict[str, str], repeats: int, out: pathlib.Path, head: dict[str, Any]) -> None:
    """Print all parts, write results/lvq.json and draw results/lvq.png."""
    import lvq_tutorial

    rows = accuracies(env, repeats)
    print(f"{'five-fold accuracy and ms of a fit':<36}" + "".join(f"{data:>20}" for data in DATA))
    for row in rows:
        cells = "".join(f"{row[data]['accuracy']:>11.4f}{row[data]['ms']:>9.3g}" for data in DATA)
        print(f"{row['contender'] + ' ' + row['model']:<36}{cells}", flush=True)
    steady = steadiness()
    print(f"{'mean (lowest) of five shuffles':<36}" + "".join(f"{data:>20}" for data in DATA))
    for name, found in steady.items():
        cells = "".join(f"{statistics.mean(found[data]):>11.4f} ({min(found[data]):.3f})" for data in DATA)
        print(f"{'vqfast ' + name:<36}{cells}")
    speed = updates(repeats)
    print("one online update, 100 prototypes, 64 features")
    for row in speed:
        quoted = OF_R.get(row["model"], 0.0) if row["dtype"] == "float64" else 0.0
        text = (
            f"  {row['model']:<8}{row['dtype']}  {row['us']:.3f} us, {row['numpy_us'] / row['us']:.0f} x NumPy's LVQ1"
        )
        print(text + (f"; R class, elsewhere: {quoted} us" if quoted else ""))
    predicted = prediction(repeats)
    print("a million predictions, 20 prototypes, 16 features, ms: " + json.dumps(predicted))
    lvq_tutorial.main()
    result = {**head, "accuracy": rows, "steadiness": steady, "updates": speed, "prediction": predicted}
    (out / "lvq.json").write_text(json.dumps(result, indent=1))
    draw(out / "lvq.png")
    print(f"picture: {out / 'lvq.png'}")


if __name__ == "__main__":
    serve(sys.argv[1])
