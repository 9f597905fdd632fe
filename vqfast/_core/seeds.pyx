"""How far every observation is from the nearest of those drawn as code words, one draw after another."""
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

cimport numpy as cnp

from .integers cimport VQ_INTEGERS_FEATURES, vq_integers_kernels
from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs
from .machine cimport kernels_of, view_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_nanoseconds, vq_team_lead, vq_team_run

import numpy as np

cnp.import_array()

# Observations whose potential is added up at once.
BLOCK = VQ_SEEDS_ROWS
# Elements that are worth a thread, and that it takes at a time.
cdef Py_ssize_t ELEMENTS_PER_WORKER = 1 << 17
cdef Py_ssize_t ELEMENTS_PER_PART = 1 << 16
# Integers of the observations are not paid back by fewer draws (measured: 16 to 35), features or
# observations, and take at most the memory of the observations, or a few bytes each, and this.
cdef Py_ssize_t FILTER_DRAWS = 32
cdef Py_ssize_t FILTER_FEATURES = 3
cdef Py_ssize_t FILTER_OBS = 1000
cdef Py_ssize_t FEW_BYTES = 32
cdef Py_ssize_t FILTER_BYTES = 1 << 31
# Observations that say where all of them are, roughly.
cdef Py_ssize_t SAMPLE = 256
# Nanoseconds of draws between two looks at the signals.
cdef long long SIGNAL_CHECK = 50000000


cdef Py_ssize_t find_place(double share, Py_ssize_t n, const double *sq_dists, const double *weights,
                           const double *sums) noexcept nogil:
    """What `place_of` returns, or -1 where it is too near to another one."""
    cdef Py_ssize_t n_blocks = (n + VQ_SEEDS_ROWS - 1) // VQ_SEEDS_ROWS, block, i
    cdef double total = 0, before = 0, end = 0, goal, margin
    for block in range(n_blocks):
        total += sums[block]
    if not 1e-250 < total < 1e250:
        return -1
    goal, margin = share * total, 2.0 ** -50 * (n + 8) * total
    for block in range(n_blocks):
        end = before + sums[block]
        if end >= goal or block == n_blocks - 1:
            break
        before = end
    end = before
    for i in range(block * VQ_SEEDS_ROWS, min(n, (block + 1) * VQ_SEEDS_ROWS)):
        before = end
        end += sq_dists[i] * (1.0 if weights == NULL else weights[i])
        if end >= goal:
            return i if before + margin < goal < end - margin else -1
    return -1


def place_of(double share, const double[::1] sq_dists, const double[::1] weights, const double[::1] sums):
    """Where the running sum of the potential reaches a share of the total: SciPy's draw, to the last bit.

    The potential is sq_dists times weights (or None), sums add up blocks of it. SciPy searches
    ``(potential / potential.sum()).cumsum()``. Each of the n roundings moves that by 2^-53 at most,
    and the sums of blocks are as good: where the share is farther from a step than what both may be
    off, the running sum of one block will do (1 us; for 1e5 observations all of them take 0.45 ms).
    """
    cdef Py_ssize_t n = sq_dists.shape[0]
    cdef Py_ssize_t place = find_place(share, n, &sq_dists[0], NULL if weights is None else &weights[0], &sums[0])
    if place < 0:
        potential = np.array(sq_dists) if weights is None else np.multiply(sq_dists, weights)
        potential /= potential.sum()
        place = np.searchsorted(np.cumsum(potential, out=potential), share)
    return place


# What the thread that leads needs to know.
cdef struct Draws:
    void *seeds
    const double *shares
    Py_ssize_t n
    int64_t *chosen


cdef void run_part(void *context, Py_ssize_t part, int worker) noexcept nogil:
    (<Seeds>context).run_part(part, worker)


cdef void lead_draws(void *context) noexcept nogil:
    cdef const Draws *draws = <const Draws *>context
    (<Seeds>draws.seeds).run_rounds(draws.shares, draws.n, draws.chosen)


cdef class Seeds:
    """Squared distances of obs (n_obs, n_features) to the nearest of the observations drawn so far.

    `sq_dists` are inf at first; `sums` (of blocks of BLOCK) add them up, times the weights
    (float64, or None). For n_draws of enough work it keeps the observations in integers, in front of the
    double formula, in no more memory than they take or 32 bytes each. ``isa`` and ``filtered`` are for tests: they
    force a row of the ISA table, and that there is such a filter or none.
    """

    def __cinit__(self, cnp.ndarray obs, Py_ssize_t n_draws=1, weights=None, int workers=1, isa=None, filtered=None):
        cdef bint is_double = view_obs(obs, &self.obs)
        self.array = obs
        self.obs_type, self.itemsize = (VQ_FLOAT64, 8) if is_double else (VQ_FLOAT32, 4)
        self.n_obs, self.n_features = cnp.PyArray_DIM(obs, 0), cnp.PyArray_DIM(obs, 1)
        self.n_blocks = (self.n_obs + VQ_SEEDS_ROWS - 1) // VQ_SEEDS_ROWS
        self.kernels = kernels_of(isa)
        self.typed = &self.kernels.typed[self.obs_type]
        self.integers = <const vq_integers_kernels *>self.kernels.integers
        self.filter = <const vq_seeds_kernels *>self.kernels.seeds
        self.workers = max(1, min(workers, self.n_blocks, self.n_obs * self.n_features // ELEMENTS_PER_WORKER))
        self.part_blocks = max(1, ELEMENTS_PER_PART // (VQ_SEEDS_ROWS * self.n_features + 1))
        self.sq_dists, self.sums = np.full(self.n_obs, np.inf), np.full(self.n_blocks, np.inf)
        self.lowest = <double *>cnp.PyArray_DATA(self.sq_dists)
        self.potentials = <double *>cnp.PyArray_DATA(self.sums)
        if weights is not None:
            self.weights = np.ascontiguousarray(weights, dtype=np.float64)
            self.weight = <const double *>cnp.PyArray_DATA(self.weights)
        if self.filter != NULL and self.n_features <= VQ_INTEGERS_FEATURES and self.n_obs:
            self.rows.n_quads = self.quads.n_quads = (self.n_features + self.integers.quad - 1) // self.integers.quad
            self.filtered = self.suits_filter(n_draws) if filtered is None else filtered
        self.allocate()
        if self.filtered:
            self.filtered = self.choose_space()
        if self.filtered:
            self.draw.drawn = -1
            with nogil:
                self.run()
            self.longest = self.longest_of_rows()

    def __dealloc__(self):
        vq_release(self.memory, self.n_bytes)

    cdef bint suits_filter(self, Py_ssize_t n_draws) noexcept:
        cdef Py_ssize_t n_bytes = self.n_obs * (4 * self.rows.n_quads + 20)
        return (n_draws >= FILTER_DRAWS and self.n_features >= FILTER_FEATURES and self.n_obs >= FILTER_OBS
                and n_bytes <= min(FILTER_BYTES, self.n_obs * max(FEW_BYTES, self.itemsize * self.n_features)))

    cdef int allocate(self) except -1:
        self.n_bytes = self.layout(NULL)
        self.memory = <char *>vq_allocate(self.n_bytes)
        if self.memory == NULL and self.filtered:  # it also goes without
            self.filtered = False
            self.n_bytes = self.layout(NULL)
            self.memory = <char *>vq_allocate(self.n_bytes)
        if self.memory == NULL:
            raise MemoryError
        self.layout(self.memory)
        return 0

    cdef Py_ssize_t layout(self, char *base) noexcept:
        """Place every array after base; with base NULL only the size that it returns counts."""
        cdef char *cursor = base
        cdef Py_ssize_t n = self.n_blocks * VQ_SEEDS_ROWS if self.filtered else 0
        cdef int w
        self.scratch = <SeedsScratch **>vq_take(&cursor, self.workers * sizeof(SeedsScratch *))
        self.draw.code_word = <double *>vq_take(&cursor, 8 * self.n_features)
        self.space.shift = <double *>vq_take(&cursor, 8 * self.n_features)
        self.space.shift_f32 = <float *>vq_take(&cursor, 4 * self.n_features)
        for w in range(self.workers):
            self.layout_worker(&cursor, base != NULL, w)
        self.rows.quads = <int32_t *>vq_take(&cursor, 4 * n * self.rows.n_quads)
        self.rows.units = <float *>vq_take(&cursor, 4 * n)
        self.rows.errors = <float *>vq_take(&cursor, 4 * n)
        self.rows.norms = <float *>vq_take(&cursor, 4 * n)
        self.rows.sq_norms = <float *>vq_take(&cursor, 4 * n)
        self.rows.limits = <float *>vq_take(&cursor, 4 * n)
        return cursor - base

    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept:
        cdef SeedsScratch *own = <SeedsScratch *>vq_take(cursor, sizeof(SeedsScratch))  # no line is shared
        cdef SeedsScratch scratch
        cdef Py_ssize_t n = VQ_SEEDS_ROWS if self.filtered else 0
        memset(&scratch, 0, sizeof(scratch))
        scratch.found = <int32_t *>vq_take(cursor, 4 * (VQ_SEEDS_ROWS + 16))
        scratch.lowered = <double *>vq_take(cursor, 8 * (VQ_SEEDS_ROWS + 1))
        scratch.row = <double *>vq_take(cursor, 8 * self.n_features)
        scratch.packed = <float *>vq_take(cursor, 4 * self.n_features * (n > 0))
        scratch.quantized.quads = <uint8_t *>vq_take(cursor, 4 * n * self.rows.n_quads)
        scratch.quantized.units = <float *>vq_take(cursor, 4 * n)
        scratch.quantized.errors = <float *>vq_take(cursor, 4 * n)
        scratch.quantized.norms = <float *>vq_take(cursor, 4 * n)
        scratch.quantized.sq_norms = <float *>vq_take(cursor, 4 * n)
        scratch.quantized.spares = <float *>vq_take(cursor, 4 * n)
        if placed:
            own[0] = scratch
            self.scratch[worker] = own

    cdef bint choose_space(self):
        """The shift and the scale of the integers, from a sample; False where float32 cannot hold it."""
        cdef double[::1] shift = <double[:self.n_features]>self.space.shift
        cdef float[::1] shift_f32 = <float[:self.n_features]>self.space.shift_f32
        with np.errstate(all="ignore"):
            places = np.arange(SAMPLE) * 0.6180339887498949 % 1  # evenly, but in no step that data may have
            sample = self.array[(places * self.n_obs).astype(np.int64)].astype(np.float64)
            sample = sample[np.isfinite(sample).all(axis=1)]
            centre = sample.sum(axis=0) / max(1, len(sample))
            np.asarray(shift_f32)[:] = centre
            np.asarray(shift)[:] = shift_f32
            longest = np.sqrt(np.square(sample - shift).sum(axis=1).max(initial=0))
        if not 1e-30 < longest < 1e30:
            return False
        self.space.n_features = self.n_features
        self.space.scale = 2.0 ** -np.frexp(longest)[1]
        return True

    cdef double longest_of_rows(self):
        cdef float[::1] norms = <float[:self.n_blocks * VQ_SEEDS_ROWS]>self.rows.norms
        return np.max(norms)

    cdef void view_block(self, Py_ssize_t block, vq_obs *obs, Py_ssize_t *n_rows) noexcept nogil:
        cdef Py_ssize_t first = block * VQ_SEEDS_ROWS
        obs[0] = self.obs
        obs.data = <const char *>obs.data + first * obs.row_stride * self.itemsize
        n_rows[0] = min(<Py_ssize_t>VQ_SEEDS_ROWS, self.n_obs - first)

    cdef void place_block(self, Py_ssize_t block, SeedsScratch *scratch) noexcept nogil:
        """Integers of a block of observations."""
        cdef vq_obs obs
        cdef Py_ssize_t n_rows
        self.view_block(block, &obs, &n_rows)
        self.integers.typed[self.obs_type].quantize(&obs, n_rows, &self.space, &self.quads, scratch.packed,
                                                    &scratch.quantized)
        self.filter.place(&scratch.quantized, n_rows, block * VQ_SEEDS_ROWS, &self.rows)

    cdef void draw_block(self, Py_ssize_t block, SeedsScratch *scratch) noexcept nogil:
        """What the draw changes in a block, or with gains would."""
        cdef Py_ssize_t first = block * VQ_SEEDS_ROWS, n_rows, n, e
        cdef double *sq_dists = self.lowest + first
        cdef const double *weights = self.weight + first if self.weight != NULL else NULL
        cdef int32_t *found = scratch.found
        cdef double gain = 0
        cdef vq_obs obs
        self.view_block(block, &obs, &n_rows)
        n = self.filter.list(&self.rows, self.draw.drawn, first, found) if self.draw.filtered else n_rows
        scratch.n_listed += n
        n = self.typed.nearer(&obs, found if self.draw.filtered else NULL, n, self.n_features, self.draw.code_word,
                              sq_dists, scratch.row, found, scratch.lowered)
        if self.draw.gains != NULL:
            for e in range(n):
                gain += (sq_dists[found[e]] - scratch.lowered[e]) * (1.0 if weights == NULL else weights[found[e]])
            self.draw.gains[block] = gain
        elif n:
            for e in range(n):
                sq_dists[found[e]] = scratch.lowered[e]
            if self.filtered:
                self.filter.limit(found, n, first, self.lowest, self.space.scale, self.longest, &self.rows)
            self.potentials[block] = self.kernels.potential(sq_dists, weights, n_rows)

    cdef void run_part(self, Py_ssize_t part, int worker) noexcept nogil:
        cdef SeedsScratch *scratch = self.scratch[worker]
        cdef Py_ssize_t block
        for block in range(part * self.part_blocks, min(self.n_blocks, (part + 1) * self.part_blocks)):
            if self.draw.drawn < 0:
                self.place_block(block, scratch)
            else:
                self.draw_block(block, scratch)

    cdef void take(self, Py_ssize_t drawn) noexcept nogil:
        """The observation that the next round is about."""
        cdef Py_ssize_t first = drawn * self.obs.row_stride, step = self.obs.feature_stride, j
        for j in range(self.n_features):
            if self.obs_type == VQ_FLOAT64:
                self.draw.code_word[j] = (<const double *>self.obs.data)[first + j * step]
            else:
                self.draw.code_word[j] = (<const float *>self.obs.data)[first + j * step]
        self.draw.drawn = drawn
        self.draw.filtered = self.filtered and self.rows.sq_norms[drawn] > -INFINITY

    cdef void run_parts(self) noexcept nogil:
        """A round of all threads, and whether the filter pays."""
        cdef Py_ssize_t n_listed = 0
        cdef int w
        vq_team_run(&self.team, self.workers, run_part, <void *>self,
                    (self.n_blocks + self.part_blocks - 1) // self.part_blocks)
        for w in range(self.workers):
            n_listed += self.scratch[w].n_listed
            self.scratch[w].n_listed = 0
        if self.draw.filtered and self.draw.gains == NULL:
            self.n_rounds += 1
            self.n_listed += n_listed
            if self.n_rounds % FILTER_DRAWS == 0:
                self.filtered = 2 * self.n_listed < FILTER_DRAWS * self.n_obs
                self.n_listed = 0

    cdef void run_rounds(self, const double *shares, Py_ssize_t n, int64_t *chosen) noexcept nogil:
        """A round with what was taken, and up to n more with what they draw."""
        cdef long long end = vq_nanoseconds() + SIGNAL_CHECK
        cdef Py_ssize_t place
        self.n_chosen = 0
        self.run_parts()
        while self.n_chosen < n:
            place = find_place(shares[self.n_chosen], self.n_obs, self.lowest, self.weight, self.potentials)
            if place < 0:
                break
            chosen[self.n_chosen] = place
            self.n_chosen += 1
            if self.n_chosen == n or vq_nanoseconds() > end:
                break
            self.take(place)
            self.run_parts()

    cdef void run(self, const double *shares=NULL, Py_ssize_t n=0, int64_t *chosen=NULL) noexcept nogil:
        """Rounds by all threads; n_chosen observations are drawn, of which the last is not yet taken."""
        cdef Draws draws
        draws.seeds, draws.shares, draws.n, draws.chosen = <void *>self, shares, n, chosen
        vq_team_lead(&self.team, self.workers, lead_draws, &draws)

    cdef int check(self, Py_ssize_t drawn) except -1:
        if not 0 <= drawn < self.n_obs:
            raise ValueError(f"drawn must be below {self.n_obs}, got {drawn}")
        return 0

    def lower(self, Py_ssize_t drawn):
        """Take in an observation, by its number: sq_dists and sums become those with it."""
        self.check(drawn)
        self.draw.gains = NULL
        with nogil:
            self.take(drawn)
            self.run()

    def gain(self, Py_ssize_t drawn):
        """By how much that would lower the sum of all; the same for any number of workers and ISA."""
        cdef cnp.ndarray gains = np.empty(self.n_blocks)
        self.check(drawn)
        self.draw.gains = <double *>cnp.PyArray_DATA(gains)
        with nogil:
            self.take(drawn)
            self.run()
        return float(gains.sum())

    def choose(self, Py_ssize_t first, const double[::1] shares):
        """Numbers of first and of an observation for every share, drawn as `place_of` does.

        All are taken in but the last.
        """
        cdef Py_ssize_t n = shares.shape[0] + 1, done = 1
        cdef int64_t[::1] chosen = np.empty(n, dtype=np.int64)
        self.check(first)
        chosen[0] = first
        self.draw.gains = NULL
        while done < n:
            with nogil:
                self.take(chosen[done - 1])
                self.run(&shares[done - 1], n - done, &chosen[done])
            if not self.n_chosen:
                chosen[done] = min(self.n_obs - 1, place_of(shares[done - 1], self.sq_dists, self.weights, self.sums))
                self.n_chosen = 1
            done += self.n_chosen
            PyErr_CheckSignals()
        return np.asarray(chosen)
