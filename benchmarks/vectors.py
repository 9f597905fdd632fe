"""Vectors to search: the field's files, or SIFT descriptors of photographs in PyPI packages."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np

# What a folder's files are called in the field: sift_learn.fvecs, bigann_base.bvecs, ...
PARTS = {"learn": ("learn", "train"), "base": ("base",), "query": ("query",), "truth": ("groundtruth", "gnd")}
TYPES = {".fvecs": ("<f4", 4), ".ivecs": ("<i4", 4), ".bvecs": ("u1", 1)}

# Package and file of each photograph; learn, base and query share none.
PHOTOGRAPHS = {
    "learn": [
        ("skimage", f"data/{name}")
        for name in ("astronaut.png", "brick.png", "coffee.png", "grass.png", "retina.jpg", "rocket.jpg")
    ],
    "base": [("skimage", f"data/{name}") for name in ("camera.png", "gravel.png", "moon.png", "motorcycle_left.png")]
    + [("sklearn", "datasets/images/china.jpg"), ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")],
    "query": [("sklearn", "datasets/images/flower.jpg"), ("skimage", "data/chelsea.png")],
}
ENLARGEMENTS = (1.0, 2.0)


@dataclass
class Vectors:
    """What is learned from, what is encoded and searched, and the queries, all float32."""

    name: str
    learn: np.ndarray
    base: np.ndarray
    query: np.ndarray

    def sample(self, n_learn: int, n_base: int, n_query: int) -> Vectors:
        """Evenly spread rows of each part, at most so many."""
        parts = [
            part[np.linspace(0, len(part) - 1, min(n, len(part))).astype(int)]
            for part, n in ((self.learn, n_learn), (self.base, n_base), (self.query, n_query))
        ]
        return Vectors(self.name, *parts)

    def repeated(self, n_copies: int, noise: float) -> Vectors:
        """The base and copies of it with normal noise, in units of its mean distance to the mean."""
        rng = np.random.default_rng(0)
        scale = noise * np.sqrt(self.base.var(axis=0).mean())
        copies = [
            self.base + np.float32(scale) * rng.standard_normal(self.base.shape, dtype=np.float32)
            for _ in range(n_copies - 1)
        ]
        return Vectors(self.name, self.learn, np.concatenate([self.base, *copies]), self.query)


def read_vecs(path: pathlib.Path, most: int | None = None) -> np.ndarray:
    """An .fvecs, .ivecs or .bvecs file: each row is its width as an int32, then its elements."""
    dtype, size = TYPES[path.suffix]
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    width = int(raw[:4].view("<i4")[0]) if raw.size >= 4 else 0
    step = 4 + size * width
    if width < 1 or raw.size % step:
        raise ValueError(f"{path} is not an {path.suffix} file: {raw.size} bytes, first width {width}")
    rows = raw.reshape(-1, step)[:most]
    if (np.ascontiguousarray(rows[:, :4]).view("<i4") != width).any():
        raise ValueError(f"{path} has rows of different widths")
    return np.ascontiguousarray(rows[:, 4:]).view(dtype)


def read_folder(folder: pathlib.Path, most: int | None = None) -> Vectors:
    """The parts in a folder of .fvecs, .ivecs or .bvecs files."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(folder.iterdir()):
        for part, words in PARTS.items():
            if path.suffix in TYPES and part != "truth" and any(word in path.stem for word in words):
                found[part] = read_vecs(path, most).astype(np.float32)
    missing = {"learn", "base", "query"} - found.keys()
    if missing:
        raise ValueError(f"{folder} has no .fvecs, .ivecs or .bvecs file for {', '.join(sorted(missing))}")
    return Vectors(folder.name, found["learn"], found["base"], found["query"])


def descriptors(package: str, file: str) -> np.ndarray:
    """SIFT descriptors of a photograph at a few sizes."""
    import cv2

    folder = pathlib.Path(__import__(package).__file__ or "").parent
    image = cv2.imread(str(folder / file), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"{package} has no photograph {file}")
    sift = cv2.SIFT_create(contrastThreshold=0.01)
    found = []
    for factor in ENLARGEMENTS:
        scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        found.append(sift.detectAndCompute(scaled, None)[1])
    return np.concatenate(found)


def photograph_descriptors() -> Vectors:
    """SIFT descriptors of the photographs that scikit-image, scikit-learn and Matplotlib ship."""
    parts: dict[str, Any] = {}
    for part, photographs in PHOTOGRAPHS.items():
        parts[part] = np.concatenate([descriptors(*photograph) for photograph in photographs])
    return Vectors("SIFT of photographs in packages", **parts)


def read(where: str | None, most: int | None = None) -> Vectors:
    """A folder of the field's files, an .npz file with learn, base and query, or the photographs."""
    if where is None:
        return photograph_descriptors()
    path = pathlib.Path(where)
    if path.suffix == ".npz":
        loaded = np.load(path)
        return Vectors(path.stem, *(loaded[part].astype(np.float32) for part in ("learn", "base", "query")))
    return read_folder(path, most)


def nearest(query: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Index of the true nearest vector of each query, in float64."""
    at_once = 1 << 13
    wide = query.astype(np.float64)
    indices, lowest = np.zeros(len(query), dtype=np.int64), np.full(len(query), np.inf)
    for first in range(0, len(base), at_once):
        block = base[first : first + at_once].astype(np.float64)
        scores = np.einsum("ij,ij->i", block, block) - 2 * (wide @ block.T)
        best = scores.argmin(axis=1)
        score = scores[np.arange(len(query)), best]
        indices = np.where(score < lowest, first + best, indices)
        lowest = np.minimum(score, lowest)
    return indices
