"""Slow NumPy twins of learning vector quantization, written from lvq.h: equal to the last bit.

Every array of a model is in the type of the observations; rates and factors are Python floats
(double) and are rounded once, where they meet an array.
"""

import math

import numpy as np


def fold(p):
    """The elements of a line added up: the upper half to the lower one, until one is left."""
    while len(p) > 1:
        half = len(p) // 2
        p = p[:half] + p[half:]
    return p[0]


def line_sum(terms):
    """sum() of lvq.h over the last axis, for a 2-d array of terms."""
    size = 64 // terms.dtype.itemsize
    padded = np.zeros((len(terms), -(-terms.shape[1] // size) * size), terms.dtype)
    padded[:, : terms.shape[1]] = terms
    p = np.zeros((len(terms), size), terms.dtype)
    for first in range(0, padded.shape[1], size):
        p = p + padded[:, first : first + size]
    return np.array([fold(row) for row in p], terms.dtype)


def exp(t):
    """exp(t) for t <= 0 in double."""
    t = np.maximum(np.asarray(t, dtype=np.float64), -700.0)
    n = (t * float.fromhex("0x1.71547652b82fep0") + float.fromhex("0x1.8p52")) - float.fromhex("0x1.8p52")
    r = (t - n * float.fromhex("0x1.62e42fee00000p-1")) - n * float.fromhex("0x1.a39ef35793c76p-33")
    c = [1.0 / math.factorial(i) for i in range(14)]
    r2 = r * r
    r4 = r2 * r2
    pairs = [c[2 * i] + c[2 * i + 1] * r for i in range(7)]
    quads = [pairs[2 * i] + pairs[2 * i + 1] * r2 for i in range(3)]
    value = (quads[0] + quads[1] * r4) + (quads[2] + pairs[6] * r4) * (r4 * r4)
    return value * np.ldexp(1.0, n.astype(int))


class Model:
    """A model and the steps of every rule."""

    def __init__(self, prototypes, labels, rates=None, omega=None, **options):
        self.w = np.array(prototypes)
        self.real = self.w.dtype.type
        self.labels = np.asarray(labels)
        self.rates = None if rates is None else np.array(rates, dtype=np.float64)
        self.scale = 1.0
        if omega is not None:
            self.matrix = np.array(omega.T, dtype=self.w.dtype)  # (n_features, rank)
        defaults = dict(rate=0.0, window=0.0, epsilon=0.0, when_correct="pair", beta=0.0, matrix_rate=0.0, variance=1.0)
        self.o = {**defaults, **options}

    def omega(self):
        return np.ascontiguousarray(self.matrix.T, dtype=np.float64) * self.scale

    def move(self, i, x, factor):
        self.w[i] = self.w[i] + self.real(factor) * (x - self.w[i])

    def sq_dists(self, x):
        t = x - self.w
        return line_sum(t * t)

    def lvq1(self, x, c, rate):
        i = self.sq_dists(x).argmin()
        self.move(i, x, rate if self.labels[i] == c else -rate)

    def olvq1(self, x, c, rate):
        i = self.sq_dists(x).argmin()
        moved = self.rates[i] if self.labels[i] == c else -self.rates[i]
        self.move(i, x, moved)
        self.rates[i] = min(self.rates[i] / (1 + moved), self.o["rate"])

    def pairs(self, x, c, rate):
        if len(self.w) < 2:
            return
        d = self.sq_dists(x)
        i = d.argmin()
        j = np.where(np.arange(len(d)) == i, np.inf, d).argmin()
        right, next_right = self.labels[i] == c, self.labels[j] == c
        inside = float(d[i]) > self.o["window"] * float(d[j])
        if right and next_right:
            if self.o["epsilon"] > 0:
                self.move(i, x, self.o["epsilon"] * rate)
                self.move(j, x, self.o["epsilon"] * rate)
        elif right:
            if self.o["when_correct"] == "attract":
                self.move(i, x, rate)
            elif self.o["when_correct"] == "pair" and inside:
                self.move(i, x, rate)
                self.move(j, x, -rate)
        elif next_right and inside:
            self.move(i, x, -rate)
            self.move(j, x, rate)

    def both(self, d, c, rate):
        """Nearest right and wrong prototype, and the factors 4 a f' d- / s^2 and 4 a f' d+ / s^2."""
        own = self.labels == c
        if own.all() or not own.any():
            return None
        right = np.where(own, d, np.inf).argmin()
        wrong = np.where(own, np.inf, d).argmin()
        plus, minus = float(d[right]), float(d[wrong])
        s = plus + minus
        if not s > (2.0**-120 if d.dtype == np.float32 else 2.0**-1000):
            return None
        slope, beta, each = 1.0, self.o["beta"], 1 / s
        if beta > 0:
            e = float(exp(-beta * abs((plus - minus) * each)))
            slope = e / ((1 + e) * (1 + e))
        scale = (beta * rate if beta > 0 else rate) * (4 * each)
        return right, wrong, scale * (minus * each) * slope, scale * (plus * each) * slope

    def glvq(self, x, c, rate):
        found = self.both(self.sq_dists(x), c, rate)
        if found:
            right, wrong, plus, minus = found
            self.move(right, x, min(1.0, plus))
            self.move(wrong, x, -min(1.0, minus))

    def gmlvq(self, x, c, rate):
        u = x - self.w
        z = np.zeros((len(u), self.matrix.shape[1]), u.dtype)
        for k in range(u.shape[1]):
            z = z + u[:, k, None] * self.matrix[k]
        found = self.both(line_sum(z * z) * self.real(self.scale * self.scale), c, rate)
        if not found:
            return
        steps = []
        for sign, i, factor in ((-1, found[0], found[2]), (1, found[1], found[3])):
            back = line_sum(self.matrix * z[i])
            step = -sign * min(1.0, factor) * (self.scale * self.scale)
            self.w[i] = self.w[i] + self.real(step) * back
            sizes = [float(line_sum((v * v)[None])[0]) for v in (u[i], z[i])]
            norm = math.sqrt(sizes[0]) * math.sqrt(sizes[1]) * self.scale
            wanted = self.o["matrix_rate"] * factor
            steps.append(self.real(sign * (0.5 / norm if wanted * norm > 0.5 else wanted)))
        (i, j), (fp, fm) = found[:2], steps
        self.matrix = self.matrix + ((fp * u[i])[:, None] * z[i] + (fm * u[j])[:, None] * z[j])
        size = 64 // self.matrix.itemsize
        padded = np.zeros((len(self.matrix), -(-self.matrix.shape[1] // size) * size), self.matrix.dtype)
        padded[:, : self.matrix.shape[1]] = self.matrix
        p = np.zeros(size, self.matrix.dtype)
        for some in padded.reshape(-1, size):
            p = p + some * some
        length = math.sqrt(float(fold(p)))
        self.scale = 1 / length
        if not 2**-10 <= length <= 2**10:
            self.matrix, self.scale = self.real(self.scale) * self.matrix, 1.0

    def rslvq(self, x, c, rate):
        d = self.sq_dists(x).astype(np.float64)
        per_distance, step = 1 / (2 * self.o["variance"]), rate / self.o["variance"]
        p = exp((d.min() - d) * per_distance)
        padded = np.zeros(-(-len(p) // 8) * 8)
        padded[: len(p)] = p
        partial = np.zeros(8)
        for first in range(0, len(padded), 8):
            partial = partial + padded[first : first + 8]
        each = step / fold(partial)
        own = np.flatnonzero(self.labels == c)
        q = exp((d[own].min() - d[own]) * per_distance) if own.size else np.zeros(0)
        own_total = 0.0
        for value in q:
            own_total += value
        factors = -each * p
        factors[own] += step * (q / own_total)
        for i in np.flatnonzero(np.abs(factors) > 1e-12 * step):
            self.move(i, x, factors[i])

    def train(self, rule, obs, classes, order, rates):
        for i, rate in zip(order, rates, strict=True):
            getattr(self, rule)(np.asarray(obs[i], dtype=self.w.dtype), classes[i], float(rate))
        return self


def schedule(kind, rate, n_steps, epoch, decay=0.5):
    """The rates of a fit."""
    t = np.arange(n_steps)
    c = n_steps / 100
    return {
        "constant": np.full(n_steps, rate),
        "linear": rate * (n_steps - t) / n_steps,
        "inverse_time": rate * c / (c + t),
        "geometric": rate * decay ** (t // epoch),
    }[kind]


def tutorial(train, labels, first, window=0.3, epsilon=0.3, rate=0.2, decay=0.5, last_rate=0.001):
    """A program of the tutorials, repaired: a mixture of LVQ1, LVQ2 and LVQ3.

    One prototype for each class, the first observation; these are not trained on. Returns
    the prototypes and how often each branch was taken.
    """
    prototypes, prototype_labels = train[first].copy(), labels[first]
    rest = [i for i in range(len(train)) if i not in set(first.tolist())]
    counts = {"attract": 0, "window": 0, "both": 0, "none": 0}
    while rate > last_rate:
        for i in rest:
            x = train[i]
            d = np.sqrt(((prototypes - x) ** 2).sum(axis=1))
            nearest, following = np.argsort(d, kind="stable")[:2]
            right, next_right = prototype_labels[nearest] == labels[i], prototype_labels[following] == labels[i]
            inside = min(d[nearest] / d[following], d[following] / d[nearest]) > (1 - window) / (1 + window)
            if right and not next_right:
                prototypes[nearest] += rate * (x - prototypes[nearest])
                counts["attract"] += 1
            elif not right and next_right and inside:
                prototypes[nearest] -= rate * (x - prototypes[nearest])
                prototypes[following] += rate * (x - prototypes[following])
                counts["window"] += 1
            elif right and next_right:
                for k in (nearest, following):
                    prototypes[k] += epsilon * rate * (x - prototypes[k])
                counts["both"] += 1
            else:
                counts["none"] += 1
        rate *= decay
    return prototypes, counts
