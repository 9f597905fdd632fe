"""Slow NumPy twins of the quantizers' kernels, from the rules in additive.h alone."""

import math

import numpy as np
import reference

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def decode_product(code_books, codes):
    return np.concatenate([book[codes[:, m]] for m, book in enumerate(code_books)], axis=1)


def encode_product(code_books, obs):
    ends = np.cumsum([book.shape[1] for book in code_books])
    parts = np.split(obs, ends[:-1], axis=1)
    return np.stack([reference.nearest(part, book)[0] for part, book in zip(parts, code_books, strict=True)], axis=1)


def decode_sum(code_books, codes, dtype):
    """The words added in the order of the books, from zero, in double."""
    total = np.zeros((len(codes), code_books[0].shape[1]))
    for m, book in enumerate(code_books):
        total = total + book[codes[:, m]].astype(np.float64)
    return total.astype(dtype)


def sq_sum(rows):
    """Sums of squares in the eight partial sums of the double formula."""
    return reference.sq_dists(rows, np.zeros((1, rows.shape[1])))[:, 0]


def sq_errors(obs, decoded):
    return sq_sum(obs.astype(np.float64) - decoded.astype(np.float64))


def rotate(obs, matrix):
    total = np.zeros((len(obs), matrix.shape[1]))
    for j in range(obs.shape[1]):
        total = total + obs[:, j, None].astype(np.float64) * matrix[j]
    return total.astype(obs.dtype)


def normal_equations(obs, codes, weights, shift, n_codes):
    """sums and the upper blocks of counts."""
    n_obs, n_kept, n_books = codes.shape
    weights = np.ones((n_obs, n_kept)) if weights is None else weights
    sums = np.zeros((n_books, n_codes, obs.shape[1]))
    counts = np.zeros((n_books * n_codes,) * 2)
    for i in range(n_obs):
        row = obs[i].astype(np.float64) - shift
        for a in range(n_kept):
            for m in range(n_books):
                sums[m, codes[i, a, m]] += weights[i, a] * row
                for other in range(m, n_books):
                    own, its = m * n_codes + codes[i, a, m], other * n_codes + codes[i, a, other]
                    counts[own, its] += weights[i, a]
    return sums, counts


# ---- the two forms of the energy ---------------------------------------------------------------


class Direct:
    """Energies in double: rows[m](tuple) is |c|^2 - 2 <r, c>."""

    most = math.inf

    def __init__(self, code_books, ordered=False):
        books = np.asarray(code_books, dtype=np.float64)
        shifts = books.mean(axis=1)
        if ordered:
            shifts[1:] = 0
        self.books, self.shift = books - shifts[:, None], shifts.sum(axis=0)
        self.n_books, self.n_codes, self.n_features = books.shape

    def begin(self, row):
        self.row = row.astype(np.float64) - self.shift
        self.sq_norm = 0.0

    def rest(self, words, without):
        rest = self.row.copy()
        for m, word in enumerate(words):
            if m != without and word >= 0:
                rest = rest - self.books[m, word]
        return rest

    def sums(self, m, words):
        rest, total = self.rest(words, m), sq_sum(self.books[m])
        for j in range(self.n_features):
            total = total - 2 * rest[j] * self.books[m, :, j]
        return total

    def energy(self, words):
        return sq_sum(self.rest(words, None)[None])[0]

    def sq_error(self, energy):
        return energy


def nearest_integers(dots, factor):
    values = dots.astype(np.float32) * np.float32(factor)
    return np.trunc(values + np.where(values < 0, np.float32(-0.5), np.float32(0.5))).astype(np.int64)


class Integers(Direct):
    """Energies in units, from vectors rounded to 16 bits."""

    LENGTH, REACH = 32000, 4.0

    def __init__(self, code_books, ordered=False):
        super().__init__(code_books, ordered)
        lengths = np.sqrt(np.square(self.books).sum(axis=2)).max(axis=1)
        self.scale = (self.LENGTH - 0.5 * math.sqrt(self.n_features)) / lengths.max()
        self.longest = self.REACH * lengths.sum()
        self.words = np.rint(self.books * self.scale).astype(np.int64)
        flat = self.words.reshape(-1, self.n_features)
        dots = (flat @ flat.T).reshape(self.n_books, self.n_codes, self.n_books, self.n_codes)
        for m in range(self.n_books):
            dots[m, :, m] = 0
        in_units = 1 / (self.scale * self.scale)
        reach = lengths.sum()
        self.unit = max(2 * float(np.abs(dots).max()) * in_units / 32767, (1 + self.REACH) ** 2 * reach * reach / 2**29)
        norms = np.square(self.words).sum(axis=2)
        self.norms = (norms * in_units / self.unit + 0.5).astype(np.int64)
        self.cross = nearest_integers(dots, 2 / (self.scale * self.scale * self.unit)).clip(-32767, 32767)

    def begin(self, row):
        row = row.astype(np.float64) - self.shift
        self.sq_norm = sq_sum(row[None])[0]
        norm = math.sqrt(self.sq_norm)
        length = min(norm, self.longest)
        rounded = np.rint(row * (self.LENGTH / norm if norm > 0 else 0)).astype(np.int64)
        factor = 2 * (length / self.LENGTH) / (self.scale * self.unit)
        self.unaries = self.norms - nearest_integers(self.words @ rounded, factor)

    def sums(self, m, words):
        return self.unaries[m] + sum(
            self.cross[other, word, m] for other, word in enumerate(words) if other != m and word >= 0
        )

    def energy(self, words):
        singles = sum(self.unaries[m, word] for m, word in enumerate(words))
        pairs = sum(self.cross[m, words[m], other, words[other]] for other in range(self.n_books) for m in range(other))
        return singles + pairs

    def sq_error(self, energy):
        return self.sq_norm + float(energy) * self.unit


# ---- the search ------------------------------------------------------------------------------------


def beam(form, width, any_order):
    """The best tuple of a beam; equal energies by the order of tuple, book and word."""
    tuples, energies = [(-1,) * form.n_books], [0]
    for step in range(form.n_books):
        found = []
        for words, energy in zip(tuples, energies, strict=True):
            for m in range(form.n_books) if any_order else [step]:
                if words[m] < 0:
                    sums = form.sums(m, words)
                    found += [(energy + sums[k], (*words[:m], k, *words[m + 1 :])) for k in range(form.n_codes)]
        found.sort(key=lambda pair: pair[0])  # stable
        best = []
        for pair in found:
            if all(pair[1] != other[1] for other in best):
                best.append(pair)
            if len(best) == width:
                break
        energies, tuples = [pair[0] for pair in best], [pair[1] for pair in best]
    return list(tuples[0])


def descend(form, words, n_sweeps):
    stale = [True] * form.n_books
    for _ in range(n_sweeps):
        for m in range(form.n_books):
            if not stale[m]:
                continue
            sums = form.sums(m, words)
            if sums.min() < sums[words[m]]:
                words[m] = int(sums.argmin())
                stale = [True] * form.n_books
            stale[m] = False
    return words


def mixed(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Random:
    """SplitMix64, seeded by a number and the words that a search starts with."""

    def __init__(self, seed, words):
        self.state = mixed((seed + GOLDEN) & MASK)
        for word in words:
            self.state = (mixed(self.state ^ word) + GOLDEN) & MASK

    def below(self, n):
        self.state = (self.state + GOLDEN) & MASK
        return ((mixed(self.state) >> 32) * n) >> 32


def local_search(form, words, n_rounds, n_sweeps, n_changes, seed, n_kept=0):
    """The best words, and the n_kept best pairs (energy, words) of different energy."""
    random = Random(seed, words)
    best = descend(form, list(words), n_sweeps)
    best_energy = form.energy(best)
    kept = {best_energy: list(best)}
    for _ in range(1, n_rounds):
        trial, order = list(best), list(range(form.n_books))
        for c in range(n_changes):
            at = c + random.below(form.n_books - c)
            order[c], order[at] = order[at], order[c]
            trial[order[c]] = random.below(form.n_codes)
        descend(form, trial, n_sweeps)
        energy = form.energy(trial)
        kept.setdefault(energy, list(trial))
        if energy < best_energy:
            best, best_energy = trial, energy
    return best, sorted(kept.items())[:n_kept]
