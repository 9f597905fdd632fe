"""What is measured: named lists of jobs over generated or given data."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Task:
    """One row of a table: a method of the contenders on one pair of arrays."""

    title: str
    method: str
    obs: np.ndarray
    code_book: np.ndarray | None = None
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1
    check: str | None = None
    only: tuple[str, ...] = ()
    flops: float = 0.0
    threads: int = 0  # 0: those of the command


def _normal(n: int, d: int, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(n + 1000 * d).standard_normal((n, d)).astype(dtype)


def _some(obs: np.ndarray, k: int) -> np.ndarray:
    """A start: k different observations."""
    chosen = np.random.default_rng(k).choice(len(obs), k, replace=False)
    return np.ascontiguousarray(obs[chosen])


def vq_task(n: int, k: int, d: int, dtype: str = "f4", **options: Any) -> Task:
    """Assignment of normal data to some of its observations."""
    obs = _normal(n, d, dtype)
    code_book = _some(obs, k) if k <= n else _normal(k, d, dtype)
    title = f"vq {'float32' if dtype == 'f4' else 'float64'} n={n} k={k} d={d}"
    return Task(title, "vq", obs, code_book, check="codes", flops=2.0 * n * k * d, **options)


VQ_SHAPES = [
    (1000000, 8, 3),
    (262144, 16, 2),
    (131072, 16, 4),
    (262144, 256, 3),
    (65536, 256, 8),
    (65536, 1024, 16),
    (65536, 256, 128),
    (32768, 1024, 128),
    (16384, 2048, 768),
]


def kernel_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """The panel kernel on one thread, to be held against the peak."""
    tasks = [vq_task(*shape, only=("vqfast",)) for shape in ((16384, 1024, 128), (16384, 4096, 128), (8192, 2048, 768))]
    for task in tasks:
        task.method, task.title, task.threads = "kernel", task.title.replace("vq", "kernel"), 1
    return tasks


def vq_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """One-shot assignment, both precisions."""
    return [vq_task(*shape, dtype=dtype) for dtype in ("f4", "f8") for shape in VQ_SHAPES]


def photograph() -> np.ndarray:
    """The pixels of scikit-learn's china.jpg, float32."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg").reshape(-1, 3).astype(np.float32)


def patches(height: int = 8, width: int = 16) -> np.ndarray:
    """Overlapping grey patches of scikit-learn's two photographs, float32, 128 features."""
    from sklearn.datasets import load_sample_images

    found = []
    for image in load_sample_images().images:
        grey = image.mean(2).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (height, width))[::3, ::3]
        found.append(windows.reshape(-1, height * width))
    return np.concatenate(found)


def _uniform(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(n + 1000 * d).random((n, d), dtype=np.float32)


def _blobs(n: int, d: int, n_blobs: int = 300) -> np.ndarray:
    rng = np.random.default_rng(n + 1000 * d)
    return (rng.normal(size=(n_blobs, d))[rng.integers(0, n_blobs, n)] + 0.1 * rng.normal(size=(n, d))).astype("f4")


def _decaying(n: int, d: int, power: float) -> np.ndarray:
    """Normal, the variance along axis i being 1 / i^power, in a random rotation."""
    rotation, _ = np.linalg.qr(_normal(d, d))
    deviations = np.arange(1, d + 1, dtype="f4") ** (-power / 2)
    return np.ascontiguousarray((_normal(n, d) * deviations) @ rotation.astype("f4"))


def _fit_task(name: str, obs: np.ndarray, k: int, rounds: int = 20) -> Task:
    title = f"kmeans2 {rounds} rounds, {name} n={len(obs)} k={k} d={obs.shape[1]}"
    return Task(title, "fit", obs, _some(obs, k), {"rounds": rounds}, check="mean_sq_error")


def _rounds_to_the_end(obs: np.ndarray, k: int) -> int:
    """Rounds until no code changes."""
    from vqfast._core.means import Means
    from vqfast._core.nearest import Nearest

    search = Nearest(obs, k, 2, rounds=1000)
    means, book, codes = Means(search), _some(obs, k).astype(float), np.zeros(len(obs), np.int32)
    for done in range(10000):
        search.assign(book, codes, follow=done > 0)
        means.update(codes, book, np.zeros(k, bool))
        if means.n_moved == 0:
            return done + 1
    return 10000


def _whole_fit(name: str, obs: np.ndarray, k: int) -> Task:
    """All contenders do the rounds that the exact algorithm needs."""
    task = _fit_task(name, obs, k, _rounds_to_the_end(obs, k))
    task.title = f"to the end: {task.title}"
    return task


def kmeans_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """Twenty rounds from a given start: a photograph, its patches, what is given, made data."""
    tasks = [_fit_task("china.jpg", photograph(), k) for k in (64, 256)]
    tasks += [_fit_task("photo patches", patches(), k) for k in (256, 1024)]
    for name, obs in data.items():
        sizes = (256, 1024, 4096) if obs.shape[1] <= 128 else (1000,)
        tasks += [_fit_task(name, obs, k) for k in sizes if 20 * k < len(obs)]
    for d in (768, 1536):
        spectra = {"1/i": 1, "1/i^2": 2}
        tasks += [_fit_task(f"variances {name}", _decaying(20000, d, power), 1000) for name, power in spectra.items()]
        tasks += [_fit_task("isotropic", _normal(20000, d), 1000)]
    for d in (4, 8, 16, 32):
        tasks += [_fit_task("blobs", _blobs(200000, d), 256), _fit_task("uniform", _uniform(200000, d), 256)]
    tasks += [_fit_task("blobs", _blobs(1000000, d), 10) for d in (32, 256)]
    tasks += [_whole_fit("china.jpg", photograph(), 64)]
    tasks += [_whole_fit(name, obs, 256) for name, obs in data.items() if obs.shape[1] <= 128]
    return tasks


def seeding_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """The k-means++ start, with one round and alone."""
    obs = _normal(100000, 16)
    task = Task("kmeans2 minit='++' n=100000 k=256 d=16", "plus_plus", obs, None, {"n_codes": 256, "rounds": 1})
    task.check, task.only = "mean_sq_error", ("vqfast", "SciPy")
    tasks = [task]
    for name, obs in {"photo patches": patches(), **data}.items():
        title = f"k-means++ alone, {name} n={len(obs)} k=1024 d={obs.shape[1]}"
        tasks.append(Task(title, "start", obs, None, {"n_codes": 1024}, check="mean_sq_error"))
    return tasks


def tiny_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """Calls in which the overhead is everything."""
    only = ("vqfast", "SciPy")
    tasks = []
    for dtype in ("f8", "f4"):
        obs = _normal(20, 2, dtype)
        kind = "float64" if dtype == "f8" else "float32"
        tasks += [
            Task(f"tiny vq {kind} 11x2, k=3", "vq", obs[:11], obs[:3], {}, 2000, "codes", only),
            Task(f"tiny kmeans2 {kind} 20x2, k=2, 10 rounds", "fit", obs, obs[:2], {"rounds": 10}, 500, None, only),
        ]
    return tasks


def grid_tasks(data: dict[str, np.ndarray]) -> list[Task]:
    """Every kind of shape, against SciPy alone."""
    return [
        vq_task(n, k, d, only=("vqfast", "SciPy"), repeat=max(1, int(2e6 / (n * k * d + 1e5))))
        for n in (1, 10, 1000, 100000)
        for k in (1, 2, 16, 256, 4096)
        for d in (1, 2, 3, 5, 8, 16, 33, 64, 128, 513)
    ]


GROUPS = {
    "kernel": kernel_tasks,
    "vq": vq_tasks,
    "kmeans": kmeans_tasks,
    "seeding": seeding_tasks,
    "tiny": tiny_tasks,
    "grid": grid_tasks,
}


def read_data(argument: str) -> tuple[str, np.ndarray]:
    """NAME=FILE: an .npy array or all 2-d arrays of equal width named base or learn in an .npz."""
    name, _, file = argument.partition("=")
    if not file:
        name, file = pathlib.Path(argument).stem, argument
    loaded = np.load(file)
    if isinstance(loaded, np.ndarray):
        obs = loaded
    else:
        obs = np.concatenate([loaded[part] for part in ("learn", "base") if part in loaded])
    return name, np.ascontiguousarray(obs, dtype=np.float32)
