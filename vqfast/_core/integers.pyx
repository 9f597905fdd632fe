"""The integer scan of a set of observations: integers, bounds and what they cost in memory."""
from libc.math cimport sqrt
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy, memset

from .kernels cimport VQ_FLOAT64, vq_code_book, vq_kernels, vq_obs, vq_scratch
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_team, vq_team_run

import numpy as np

# Integers, bounds and snapshots of a fit take at most the memory of the observations, and at
# most this.
cdef Py_ssize_t KEPT_BYTES = 1 << 31
# Snapshots: more than these change little, and below three the bounds age too fast.
cdef Py_ssize_t MOST_SLOTS = 14
cdef Py_ssize_t LEAST_SLOTS = 3
# As many must be left for a second plane. Observations of fewer features are read from
# memory as fast as two planes are put together (fits of 64 to 384 features take 5 to 25 % less
# with them, of 16 to 48 as long).
cdef Py_ssize_t SECOND_SLOTS = 7
cdef Py_ssize_t SECOND_FEATURES = 64
# Directions are orthonormal but for the roundings of float32; the proof needs less than 1.
cdef double MOST_SKEW = 1e-3
cdef double UNIT_ROUNDING = 2.0 ** -24
# Groups of code words that one thread packs at a time.
cdef Py_ssize_t PACK_STEP = 8
# Elements of the code book that a second thread is worth.
cdef Py_ssize_t PACK_ELEMENTS = 1 << 12


cdef Py_ssize_t positions_of(Py_ssize_t n_codes) noexcept:
    """Places for code words: whole groups of the widest span."""
    cdef Py_ssize_t width = VQ_INTEGERS_SPAN * VQ_INTEGERS_VECTOR
    return (n_codes + width - 1) // width * width


def skew_of(directions):
    """|B'B - I| of the columns B, rounded to float32, without the threads of a BLAS."""
    wide = directions.T.astype(np.float32, order="C").astype(float)
    return np.linalg.norm(np.einsum("ij,kj->ik", wide, wide) - np.eye(len(wide)))


# What a worker needs to know besides the part.
cdef struct Arranging:
    void *integers
    const vq_code_book *book
    int level

cdef struct Packing:
    void *integers
    const vq_code_book *book


cdef void run_arranging(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Arranging *arranging = <const Arranging *>context
    (<Integers>arranging.integers).arrange_part(arranging.level, part, arranging.book)


cdef void run_packing(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Packing *packing = <const Packing *>context
    (<Integers>packing.integers).pack_part(part, packing.book)


cdef class Integers:
    """One set of observations for the integer scan.

    For a fit (rounds above 2) it keeps the integers of the observations, and the bounds if they
    and the snapshots of the code book take no more memory than the observations all together;
    otherwise integers are made anew in the scratch of the workers. A second plane, for
    distances in place of the observations, is kept if it fits, too.
    """

    def __dealloc__(self):
        vq_release(self.memory, self.n_bytes)

    cdef int set_directions(self, directions, double error) except -1:
        """Columns, and how far what they see may be off (integers.h)."""
        cdef vq_integers_directions *known = &self.book.directions
        cdef float[:, ::1] columns = np.zeros((self.n_features, known.n_columns), np.float32)
        np.asarray(columns)[:, :known.n] = directions
        memcpy(known.columns, &columns[0, 0], 4 * self.n_features * known.n_columns)
        error += (VQ_INTEGERS_CHUNK + self.n_features / VQ_INTEGERS_CHUNK + 2) * UNIT_ROUNDING * sqrt(known.n_columns)
        known.error = error * 1.01
        known.margin = (3 * error + 2 * (self.n_features + 8) * UNIT_ROUNDING) * 1.01
        return 0

    cdef void plan_bounds(self, Py_ssize_t left, bint forced) noexcept:
        """The narrowest span whose bounds fit so many bytes, and a second plane if that fits, too."""
        cdef Py_ssize_t groups, slots, span, n = self.n_obs, second = n * self.second_bytes()
        cdef Py_ssize_t snapshot = max(1, 4 * self.n_codes * self.n_features)
        for span in (VQ_INTEGERS_SPAN, 2, 1):
            groups = positions_of(self.n_codes) // VQ_INTEGERS_VECTOR // span
            slots = (left - n * (2 * groups + 12) - 5 * VQ_INTEGERS_SLOTS * self.n_codes) // snapshot
            if slots >= LEAST_SLOTS:
                self.keeps_bounds = True
                self.book.span = span
                self.keeps_second = ((self.kernels.quad == 4 or self.book.directions.n > 0)
                                     and slots - second // snapshot > SECOND_SLOTS
                                     and (forced or self.n_features >= SECOND_FEATURES))
                self.history.n_slots = min(MOST_SLOTS, slots - second // snapshot - 1 if self.keeps_second else slots)

    cdef Py_ssize_t second_bytes(self) noexcept nogil:
        """Of an observation, in the second plane."""
        return 2 * self.n_features if self.book.directions.n else 4 * self.book.n_quads

    cdef Py_ssize_t layout(self, char *base) noexcept:
        """Place every array after base; with base NULL only the size that it returns counts."""
        cdef char *cursor = base
        cdef Py_ssize_t positions = positions_of(self.n_codes), vectors = positions // VQ_INTEGERS_VECTOR
        cdef Py_ssize_t n_blocks = (self.n_obs + self.block_rows - 1) // self.block_rows
        cdef Py_ssize_t rows = n_blocks * self.block_rows, size = self.n_codes * self.n_features
        cdef Py_ssize_t groups = vectors // self.book.span
        cdef int w
        self.book.directions.columns = <float *>vq_take(&cursor, 4 * self.n_features * self.book.directions.n_columns)
        self.book.order = <int32_t *>vq_take(&cursor, 4 * positions)
        self.book.positions = <int32_t *>vq_take(&cursor, 4 * self.n_codes)
        self.book.codes = <int8_t *>vq_take(&cursor, 4 * self.book.n_quads * positions)
        self.book.starts = <int32_t *>vq_take(&cursor, 4 * positions)
        self.book.half_norms = <float *>vq_take(&cursor, 4 * positions)
        self.book.units = <float *>vq_take(&cursor, 4 * vectors)
        self.book.norms = <float *>vq_take(&cursor, 4 * vectors)
        self.book.errors = <float *>vq_take(&cursor, 4 * vectors)
        self.scratch = <vq_integers_scratch *>vq_take(&cursor, self.workers * sizeof(vq_integers_scratch))
        self.rows = <vq_integers_rows *>vq_take(&cursor, self.workers * sizeof(vq_integers_rows))
        for w in range(self.workers):
            self.layout_worker(&cursor, base != NULL, w)
        if self.keeps_rows:
            self.kept = self.layout_rows(&cursor, rows)
        if self.keeps_bounds:
            self.lower = <uint16_t *>vq_take(&cursor, 2 * rows * groups)
            self.bound_units = <float *>vq_take(&cursor, 4 * rows)
            self.upper = <float *>vq_take(&cursor, 4 * rows)
            self.dists = <float *>vq_take(&cursor, 4 * rows)
            self.n_needed = <int64_t *>vq_take(&cursor, 8 * n_blocks)
            self.history.snapshots = <float *>vq_take(&cursor, 4 * self.history.n_slots * size)
            self.history.places = <uint8_t *>vq_take(&cursor, VQ_INTEGERS_SLOTS * self.n_codes)
            self.history.code_ways = <float *>vq_take(&cursor, 4 * VQ_INTEGERS_SLOTS * self.n_codes)
            self.history.ways = <float *>vq_take(&cursor, 4 * VQ_INTEGERS_SLOTS * groups)
            self.history.steps = <float *>vq_take(&cursor, 4 * self.n_codes)
        return cursor - base

    cdef vq_integers_rows layout_rows(self, char **cursor, Py_ssize_t n) noexcept:
        """Integers of so many observations."""
        cdef vq_integers_rows rows
        rows.quads = <uint8_t *>vq_take(cursor, n * 4 * self.book.n_quads)
        rows.units = <float *>vq_take(cursor, 4 * n)
        rows.errors = <float *>vq_take(cursor, 4 * n)
        rows.norms = <float *>vq_take(cursor, 4 * n)
        rows.sq_norms = <float *>vq_take(cursor, 4 * n)
        rows.spares = <float *>vq_take(cursor, 4 * n)
        rows.second_units = <float *>vq_take(cursor, 4 * n * (self.book.directions.n > 0))
        rows.second = <uint8_t *>vq_take(cursor, n * self.second_bytes()) if self.keeps_second else NULL
        return rows

    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept:
        cdef vq_integers_scratch scratch
        cdef vq_integers_rows rows
        cdef Py_ssize_t n = self.block_rows, vectors = positions_of(self.n_codes) // VQ_INTEGERS_VECTOR
        memset(&scratch, 0, sizeof(scratch))
        memset(&rows, 0, sizeof(rows))
        scratch.row = <float *>vq_take(cursor, 4 * self.n_features * (8 if self.book.directions.n else 1))
        scratch.minima = <float *>vq_take(cursor, 4 * n * vectors)
        scratch.best = <float *>vq_take(cursor, 4 * n)
        scratch.vectors = <int32_t *>vq_take(cursor, 4 * n)
        scratch.own = <int32_t *>vq_take(cursor, 4 * n)
        scratch.own_dists = <float *>vq_take(cursor, 4 * n)
        scratch.dists = <float *>vq_take(cursor, 4 * n)
        scratch.codes = <int32_t *>vq_take(cursor, 4 * n)
        scratch.in_doubt = <uint8_t *>vq_take(cursor, n)
        scratch.limits = <float *>vq_take(cursor, 4 * n)
        scratch.facts = <float *>vq_take(cursor, 4 * n * VQ_INTEGERS_FACTS)
        scratch.upper = <float *>vq_take(cursor, 4 * n)
        scratch.inverses = <float *>vq_take(cursor, 4 * n)
        scratch.heights = <float *>vq_take(cursor, 4 * n)
        scratch.parts = <int32_t *>vq_take(cursor, n // 4)
        scratch.list = <int32_t *>vq_take(cursor, 4 * (n + 16))
        scratch.first_hits = <int32_t *>vq_take(cursor, 4 * n)
        scratch.hit_capacity = (n + 16) * VQ_INTEGERS_HITS
        scratch.hits = <vq_integers_hit *>vq_take(cursor, sizeof(vq_integers_hit) * scratch.hit_capacity)
        if not self.keeps_rows:
            rows = self.layout_rows(cursor, n)
        if placed:
            self.scratch[worker] = scratch
            self.rows[worker] = rows

    cdef void set_codes(self, vq_team *team, const vq_code_book *book) noexcept nogil:
        """The order of the code words in the vectors."""
        cdef Py_ssize_t p, width = VQ_INTEGERS_VECTOR * self.book.span, n_codes = book.n_codes
        cdef Arranging arranging
        self.book.n_vectors = (n_codes + width - 1) // width * self.book.span
        for p in range(self.book.n_vectors * VQ_INTEGERS_VECTOR):
            self.book.order[p] = p if p < n_codes else -1
        if self.keeps_bounds:
            arranging.integers, arranging.book, arranging.level = <void *>self, book, 0
            while VQ_INTEGERS_VECTOR << arranging.level < n_codes:
                vq_team_run(team, self.workers_for(n_codes), run_arranging, &arranging,
                            <Py_ssize_t>1 << arranging.level)
                arranging.level += 1
        for p in range(n_codes):
            self.book.positions[self.book.order[p]] = p

    cdef void arrange_part(self, int level, Py_ssize_t part, const vq_code_book *book) noexcept nogil:
        self.kernels.arrange(book, level, part, self.history.snapshots, &self.book)  # these are not yet in use

    cdef int workers_for(self, Py_ssize_t n_codes) noexcept nogil:
        """How many a pass over so many code words is worth."""
        return 1 if n_codes * self.n_features < PACK_ELEMENTS else self.workers

    cdef void pack_part(self, Py_ssize_t part, const vq_code_book *book) noexcept nogil:
        cdef Py_ssize_t first = part * PACK_STEP, span = self.book.span
        cdef Py_ssize_t last = min(self.book.n_vectors // span, first + PACK_STEP)
        if self.keeps_bounds:
            self.kernels.follow(book, first, last, &self.history, &self.book)
        else:
            self.kernels.pack(book, first * span, last * span, &self.book)

    cdef void pack(self, vq_team *team, const vq_code_book *book, bint follow, bint warm, bint keeps_scale,
                   Py_ssize_t n_moved) noexcept nogil:
        """Integers of a code book whose rows are packed, n_moved of them new. Without follow bounds
        begin anew; without keeps_scale the integers of the observations do, too."""
        cdef Packing packing
        packing.integers, packing.book = <void *>self, book
        self.round.warm = warm
        self.round.first = not follow
        self.round.quantize = not self.keeps_rows or not keeps_scale or not self.quantized
        if not follow:
            self.n_rounds = 0
            self.set_codes(team, book)
        if self.keeps_bounds:
            self.history.last = (self.n_rounds - 1) % self.history.n_slots if follow else -1
            self.history.slot = self.n_rounds % self.history.n_slots
        vq_team_run(team, self.workers_for(n_moved), run_packing, &packing,
                    (self.book.n_vectors // self.book.span + PACK_STEP - 1) // PACK_STEP)
        self.n_rounds += 1

    @property
    def n_directions(self):
        """Directions that the integers are of, 0 where they are those of the features."""
        return self.book.directions.n

    @property
    def quad(self):
        """Integers in four bytes."""
        return self.kernels.quad

    @property
    def span(self):
        """Vectors of sixteen code words that share a bound."""
        return self.book.span

    def share_needed(self):
        """Share of the (observation, group) pairs that the last round of a fit looked at."""
        cdef Py_ssize_t n_blocks = (self.n_obs + self.block_rows - 1) // self.block_rows, i
        cdef double n = 0
        if not self.keeps_bounds:
            return 1.0
        for i in range(n_blocks):
            n += self.n_needed[i]
        return n / max(1.0, <double>self.n_obs * (self.book.n_vectors // self.book.span))

    cdef double compared(self, Py_ssize_t n_rows) noexcept nogil:
        """Codes compared in float32 for each of the n_rows observations since the last call."""
        cdef int64_t n = 0
        cdef int w
        for w in range(self.workers):
            n += self.scratch[w].n_compared
            self.scratch[w].n_compared = 0
        return <double>n / max(1, n_rows)

    cdef void run_block(self, const vq_obs *obs, Py_ssize_t block, Py_ssize_t n_rows, const vq_code_book *book,
                        vq_scratch *exact, int worker, int32_t *codes) noexcept nogil:
        cdef Py_ssize_t first = block * self.block_rows
        cdef vq_integers_rows rows = self.rows[worker]
        cdef vq_integers_bounds bounds
        if self.keeps_rows:
            rows.quads = self.kept.quads + first * 4 * self.book.n_quads
            rows.units = self.kept.units + first
            rows.errors = self.kept.errors + first
            rows.norms = self.kept.norms + first
            rows.sq_norms = self.kept.sq_norms + first
            rows.spares = self.kept.spares + first
            rows.second_units = self.kept.second_units + first
            rows.second = self.kept.second + first * self.second_bytes() if self.keeps_second else NULL
        if self.round.quantize:
            self.typed.quantize(obs, n_rows, book, &self.book, self.scratch[worker].row, &rows)
        if self.keeps_bounds:
            bounds.lower = self.lower + first * (self.book.n_vectors // self.book.span)
            bounds.row_step = (n_rows + 15) // 16 * 16
            bounds.units = self.bound_units + first
            bounds.upper = self.upper + first
            bounds.dists = self.dists + first
            bounds.n_needed = self.n_needed + block
            bounds.ways = self.history.ways
            bounds.steps = self.history.steps
            bounds.slot = self.history.slot
            bounds.reused = self.n_rounds > self.history.n_slots
            bounds.first_round = self.round.first
            if self.round.first:
                bounds.n_needed[0] = n_rows * (self.book.n_vectors // self.book.span)
        self.typed.assign(obs, n_rows, book, &self.book, &rows, &bounds if self.keeps_bounds else NULL, exact,
                          self.scratch + worker, self.round.warm, codes)


cdef Integers new_integers(const vq_kernels *kernels, int obs_type, Py_ssize_t n_obs, Py_ssize_t n_features,
                           Py_ssize_t n_codes, Py_ssize_t block_rows, int workers, Py_ssize_t rounds, bint forced,
                           directions):
    """An Integers for up to n_codes code words; block_rows is a multiple of 16.

    With directions, orthonormal columns (n_features, fewer than VQ_INTEGERS_MAPPED) or None, the
    integers are of what they see; columns that are not are left out. forced is for tests: bounds are
    kept whatever they cost.
    """
    cdef Integers self = Integers.__new__(Integers)
    cdef Py_ssize_t itemsize = 8 if obs_type == VQ_FLOAT64 else 4, left, seen
    cdef Py_ssize_t budget = KEPT_BYTES if forced else min(KEPT_BYTES, itemsize * n_obs * n_features)
    self.kernels = <const vq_integers_kernels *>kernels.integers
    self.typed = &self.kernels.typed[obs_type]
    self.n_obs, self.n_features, self.n_codes = n_obs, n_features, n_codes
    self.block_rows, self.workers = block_rows, workers
    seen = n_features
    skew = 0.0 if directions is None else skew_of(directions)
    if directions is None or not skew < MOST_SKEW:  # nor where it is NaN
        directions = None
    else:
        seen = directions.shape[1] + 1
        columns = (seen + VQ_INTEGERS_COLUMNS - 1) // VQ_INTEGERS_COLUMNS * VQ_INTEGERS_COLUMNS
        self.book.directions.n, self.book.directions.n_columns = seen - 1, columns
    self.book.n_quads = (seen + self.kernels.quad - 1) // self.kernels.quad
    self.book.span = 1
    left = budget - n_obs * (4 * self.book.n_quads + 20 + 4 * (directions is not None))
    self.keeps_rows = rounds > 2 and left >= 0
    if self.keeps_rows:
        self.plan_bounds(left, forced)
    self.n_bytes = self.layout(NULL)
    self.memory = <char *>vq_allocate(self.n_bytes)
    if self.memory == NULL:
        raise MemoryError
    self.layout(self.memory)
    if directions is not None:
        self.set_directions(directions, skew)
    return self
