"""The nearest code word of every observation: paths, blocks, scratch and threads."""
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport INFINITY
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.string cimport memset

cimport numpy as cnp

from .integers cimport VQ_INTEGERS_COLUMNS, VQ_INTEGERS_FEATURES, VQ_INTEGERS_MAPPED, new_integers, vq_integers_kernels
from .kernels cimport (
    VQ_DIRECT, VQ_EXACT_GROUP, VQ_FLOAT32, VQ_FLOAT64, VQ_INTEGERS, VQ_LANES, VQ_LANES_FEATURES, VQ_PANELS,
    vq_bounds, vq_candidates, vq_obs, vq_scratch,
)
from .machine cimport kernels_of, view_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_nanoseconds, vq_team_begin, vq_team_lead, vq_team_run, vq_team_stop, vq_team_stopped

import numpy as np

from .directions import leading_directions, some_directions

cnp.import_array()

# Bounds of a fit take at most the memory of the observations, and at most this.
cdef Py_ssize_t BOUNDS_BYTES = 1 << 31

# Below this many observations a packed code book is not paid back: packing costs about
# three cycles an element, a direct comparison a third of one.
cdef Py_ssize_t DIRECT_OBS_LANES = 12
cdef Py_ssize_t DIRECT_OBS_PANELS = 6
# Up to here observations in the lanes beat panels (measured crossover, one ISA or other).
cdef Py_ssize_t LANES_LIMIT = 40
# y of a block of the panels path stays in the second-level cache beside a panel.
cdef Py_ssize_t BLOCK_BYTES = 1 << 18
cdef Py_ssize_t BLOCK_ROWS = 768
# The integers path: fewer codes do not pay for the integers of the observations, of 8 or of 16 bits;
# nor do fewer features, or so few that the lanes path would do and a smaller code book.
cdef Py_ssize_t INTEGERS_CODES = 96
cdef Py_ssize_t INTEGERS_CODES_16 = 160
cdef Py_ssize_t INTEGERS_FEATURES = 24
cdef Py_ssize_t INTEGERS_LANES_ELEMENTS = 1 << 15
cdef Py_ssize_t INTEGERS_LANES_ELEMENTS_16 = 20000
# With bounds they pay from fewer features on and for smaller code books.
cdef Py_ssize_t INTEGERS_FIT_FEATURES = 14
cdef Py_ssize_t INTEGERS_FIT_ELEMENTS = 6000
cdef Py_ssize_t INTEGERS_FIT_CODES = 4
# Fewer features, observations or multiply-adds of a round do not pay for a look at directions: with
# variances 1/i^2 ten rounds of n=20000 gain from k=16 on with d=768, from 128 on with 256, and of
# n=5000 from 256 on with d=768.
cdef Py_ssize_t DIRECTIONS_FEATURES = 192
cdef Py_ssize_t DIRECTIONS_OBS = 2048
cdef double DIRECTIONS_WORK = 8e8
# Fewer observations, or fewer for so many codes, do not pay for the integers of the codes.
cdef Py_ssize_t INTEGERS_OBS = 64
cdef Py_ssize_t CODES_PER_OBS = 64
# A block's integers and the lowest scores of its vectors of codes stay in the second-level cache.
cdef Py_ssize_t INTEGERS_BLOCK_ROWS = 512
cdef Py_ssize_t INTEGERS_BLOCK_ELEMENTS = 1 << 17
cdef Py_ssize_t INTEGERS_BLOCK_MINIMA = 1 << 18
cdef Py_ssize_t INTEGERS_TRIAL_ROWS = 256
# More hits than this share of the codes, and the panels path is faster, or integers of the features where
# they are those of directions; the bounds of a fit make up for more.
cdef double INTEGERS_HITS = 0.0625
cdef double INTEGERS_FIT_HITS = 0.25
# In the lanes path observations come in groups of up to 64; three passes over a block of
# 1024 stay in the first-level cache.
cdef Py_ssize_t LANES_MULTIPLE = 64
cdef Py_ssize_t LANES_BLOCK_ROWS = 1024
# Multiply-adds of work that one more thread is worth: about 100 us, the price of waking it;
# and those that an observation costs besides its comparisons.
cdef double WORK_PER_THREAD = 1e7
cdef double WORK_PER_ROW = 64
# Elements of a code book that a second thread is worth in packing.
cdef Py_ssize_t PACK_ELEMENTS = 1 << 13
# Nanoseconds between two looks at the signals.
cdef long long SIGNAL_CHECK = 50000000

PATHS = {"direct": VQ_DIRECT, "lanes": VQ_LANES, "panels": VQ_PANELS, "integers": VQ_INTEGERS,
         "directions": VQ_INTEGERS}


def paths_of(isa=None):
    """Names of the paths that an ISA has, for tests."""
    return [name for name in PATHS if PATHS[name] != VQ_INTEGERS or kernels_of(isa).integers != NULL]


# What a worker, or the one that leads, needs to know besides the part.
cdef struct Blocks:
    void *search
    const Assignment *job
    Py_ssize_t first

cdef struct Packing:
    void *search
    int path
    float *drifts

cdef struct Call:
    void *search
    const double *code_book
    Py_ssize_t n_codes
    Assignment *job
    bint follow
    bint done


cdef class Nearest:
    """Search for the nearest code words of one set of observations.

    Owns the packed code book and the scratch of every worker, to be used again by every
    round of a fit; so one thread at a time may use it. With ``rounds`` above 2 the panels
    path also keeps bounds from round to round, if they take no more memory than the
    observations and 2 GiB. ``isa`` and ``path`` are for tests: they force a row of the ISA
    table and one of PATHS; the answers are the same.
    """

    def __cinit__(self, cnp.ndarray obs, Py_ssize_t n_codes, int workers=1, isa=None, path=None,
                  Py_ssize_t rounds=1):
        cdef bint is_double = view_obs(obs, &self.obs)
        vq_team_begin(&self.team, 1, 0, 0)
        self.array = obs
        self.obs_type = VQ_FLOAT64 if is_double else VQ_FLOAT32
        self.n_obs = cnp.PyArray_DIM(obs, 0)
        self.n_features = cnp.PyArray_DIM(obs, 1) if cnp.PyArray_NDIM(obs) == 2 else 1
        self.n_codes = n_codes
        self.kernels = kernels_of(isa)
        self.typed = &self.kernels.typed[self.obs_type]
        self.rounds = rounds
        self.most_workers = workers
        self.forced = path is not None
        self.with_directions = path is None or path == "directions"
        self.settle_on(self.best_path() if path is None else PATHS[path])

    cdef int best_path(self) noexcept:
        """The path that shapes suggest; the integers path looks at its hits later."""
        cdef bint lanes = self.n_features <= LANES_LIMIT
        if self.n_obs < (DIRECT_OBS_LANES if lanes else DIRECT_OBS_PANELS):
            return VQ_DIRECT
        return VQ_INTEGERS if self.suits_integers(self.rounds > 2) else self.float_path()

    cdef int float_path(self) noexcept:
        return VQ_LANES if self.n_features <= LANES_LIMIT else VQ_PANELS

    cdef bint suits_integers(self, bint bounds) noexcept:
        """Whether the integers path pays, with bounds between the rounds of a fit or without."""
        if self.kernels.integers == NULL or self.n_features > VQ_INTEGERS_FEATURES:
            return False
        return (self.n_features >= (INTEGERS_FIT_FEATURES if bounds else INTEGERS_FEATURES)
                and self.n_codes >= self.least_integers_codes(bounds)
                and self.n_obs >= max(INTEGERS_OBS, self.n_codes // CODES_PER_OBS))

    cdef Py_ssize_t least_integers_codes(self, bint bounds) noexcept:
        """Code words that make up for the integers of the observations."""
        cdef bint eight_bits = (<const vq_integers_kernels *>self.kernels.integers).quad == 4
        cdef bint lanes = self.n_features <= LANES_LIMIT
        if bounds:
            return INTEGERS_FIT_ELEMENTS // self.n_features if lanes else INTEGERS_FIT_CODES
        if lanes:
            return (INTEGERS_LANES_ELEMENTS if eight_bits else INTEGERS_LANES_ELEMENTS_16) // self.n_features
        return INTEGERS_CODES if eight_bits else INTEGERS_CODES_16

    cdef int settle_on(self, int path) except -1:
        """Blocks and memory for a path, forgetting what there was before."""
        cdef Py_ssize_t itemsize = 4 if self.obs_type == VQ_FLOAT32 else 8
        if path == VQ_LANES and self.n_features > VQ_LANES_FEATURES:
            raise ValueError(f"the lanes path takes {VQ_LANES_FEATURES} features, got {self.n_features}")
        if path == VQ_INTEGERS and (self.kernels.integers == NULL or self.n_features > VQ_INTEGERS_FEATURES):
            raise ValueError(f"no integers path for {self.n_features} features on ISA {self.kernels.name.decode()!r}")
        self.wanted_path = path
        self.choose_blocks()
        self.integers = None
        self.can_follow = False
        vq_release(self.memory, self.n_bytes)
        self.memory = NULL
        self.n_bytes = self.layout(NULL)
        self.memory = <char *>vq_allocate(self.n_bytes)
        if self.memory == NULL:
            raise MemoryError
        self.layout(self.memory)
        if path == VQ_PANELS and self.rounds > 2:
            self.allocate_bounds(itemsize)
        if path == VQ_INTEGERS:
            try:
                self.integers = new_integers(self.kernels, self.obs_type, self.n_obs, self.n_features, self.n_codes,
                                             self.block_rows, self.workers, self.rounds, self.forced,
                                             self.directions())
            except MemoryError:
                vq_release(self.memory, self.n_bytes)
                self.memory = NULL
                raise
            if self.rounds > 2 and not (self.forced or self.integers.keeps_bounds or self.suits_integers(False)):
                self.settle_on(self.float_path())
        return 0

    cdef directions(self):
        """Directions in front of the integers where they pay, or None."""
        if not self.with_directions:
            return None
        if self.forced:
            return some_directions(self.n_features) if self.n_features else None
        cdef double work = <double>self.n_obs * self.n_codes * self.n_features
        if (self.rounds > 2 and self.n_features >= DIRECTIONS_FEATURES and self.n_obs >= DIRECTIONS_OBS
                and work >= DIRECTIONS_WORK):
            return leading_directions(self.array, self.n_codes, self.project)
        return None

    def project(self, const float[:, ::1] rows, const float[:, ::1] columns):
        """The product of two matrices, the columns being a multiple of 32 up to 256, for `leading_directions`."""
        cdef const vq_integers_kernels *kernels = <const vq_integers_kernels *>self.kernels.integers
        cdef float[:, ::1] products = np.empty((rows.shape[0], columns.shape[1]), np.float32)
        if kernels == NULL or columns.shape[1] > VQ_INTEGERS_MAPPED or columns.shape[1] % VQ_INTEGERS_COLUMNS:
            raise ValueError(f"no projection on {columns.shape[1]} columns")
        kernels.project(&rows[0, 0], rows.shape[0], rows.shape[1], &columns[0, 0], columns.shape[1], &products[0, 0])
        return np.asarray(products)

    cdef void choose_blocks(self) noexcept:
        """Equal blocks, and as many for each worker, that suit the caches."""
        cdef Py_ssize_t most = LANES_BLOCK_ROWS, multiple = LANES_MULTIPLE, chunks, vectors = self.n_codes // 16 + 1
        cdef double work = <double>self.n_obs * (self.n_codes * (self.n_features + 4) + WORK_PER_ROW)
        cdef int workers = max(1, <int>min(<double>self.most_workers, work / WORK_PER_THREAD))
        if self.wanted_path == VQ_PANELS:
            multiple = self.kernels.tile_rows
            most = min(BLOCK_ROWS, max(3 * multiple, BLOCK_BYTES // (4 * self.n_features + 1)))
        elif self.wanted_path == VQ_INTEGERS:
            multiple = 16
            most = min(INTEGERS_BLOCK_ELEMENTS // max(1, self.n_features), INTEGERS_BLOCK_MINIMA // vectors)
            most = max(64, min(INTEGERS_BLOCK_ROWS, most))
            # The first blocks show the hits: there must be more than those.
            most = min(most, max(INTEGERS_TRIAL_ROWS, self.n_obs // (2 * workers)))
        chunks = max(1, (self.n_obs + most * workers - 1) // (most * workers)) * workers
        self.block_rows = max(1, ((self.n_obs + chunks - 1) // chunks + multiple - 1) // multiple) * multiple
        self.workers = max(1, min(workers, (self.n_obs + self.block_rows - 1) // self.block_rows))
        # Whole panels, some for each thread.
        self.pack_step = max(1, 65536 // (self.n_features * self.kernels.panel + 1)) * self.kernels.panel

    cdef allocate_bounds(self, Py_ssize_t itemsize):
        """Memory for bounds, unless it is more than their documented share."""
        cdef Py_ssize_t n_panels = self.n_panels()
        cdef Py_ssize_t n_rows = (self.n_obs + self.block_rows - 1) // self.block_rows * self.block_rows
        cdef Py_ssize_t n_bytes = 4 * n_rows * n_panels
        if n_panels > 1 and n_bytes <= min(BOUNDS_BYTES, itemsize * self.n_obs * self.n_features):
            self.drifts = <float *>PyMem_RawMalloc(4 * n_panels)
            self.lower = <float *>PyMem_RawMalloc(n_bytes)
            if self.drifts == NULL or self.lower == NULL:  # it also goes without
                PyMem_RawFree(self.drifts)
                PyMem_RawFree(self.lower)
                self.drifts = self.lower = NULL

    def __dealloc__(self):
        vq_release(self.memory, self.n_bytes)
        PyMem_RawFree(self.drifts)
        PyMem_RawFree(self.lower)

    cdef Py_ssize_t layout(self, char *base) noexcept:
        """Place every array after base; with base NULL only the size that it returns counts."""
        cdef char *cursor = base
        cdef Py_ssize_t k = self.n_codes, d = self.n_features, w
        cdef Py_ssize_t whole = (k + 2 * self.kernels.panel) * d
        cdef bint scans = self.wanted_path != VQ_DIRECT, panels = self.wanted_path == VQ_PANELS
        cdef bint integers = self.wanted_path == VQ_INTEGERS
        cdef vq_scratch *scratch
        self.book.n_features = d
        self.book.shift = <double *>vq_take(&cursor, 8 * d)
        self.book.shift_f32 = <float *>vq_take(&cursor, 4 * d)
        self.book.sq_norms = <double *>vq_take(&cursor, 8 * k)
        self.book.scores = <float *>vq_take(&cursor, 4 * whole * (scans and not integers))
        self.book.half_norms = <float *>vq_take(&cursor, 4 * (k + 2 * self.kernels.panel))
        self.book.rows = <float *>vq_take(&cursor, 4 * k * d * (panels or integers))
        self.book.exact = NULL
        if d <= LANES_LIMIT or self.wanted_path == VQ_LANES:
            self.book.exact = <double *>vq_take(&cursor, 8 * (k + VQ_EXACT_GROUP) * d)
        self.book.pairs = <int16_t *>vq_take(&cursor, 2 * k * (d + 1) * (self.wanted_path == VQ_LANES))
        self.book.starts = <int32_t *>vq_take(&cursor, 4 * k * (self.wanted_path == VQ_LANES))
        self.scratch = <vq_scratch *>vq_take(&cursor, self.workers * sizeof(vq_scratch))
        for w in range(self.workers):
            scratch = self.scratch + w if base != NULL else NULL
            self.layout_worker(scratch, &cursor)
        return cursor - base

    cdef void layout_worker(self, vq_scratch *scratch, char **cursor) noexcept:
        cdef vq_scratch placed
        cdef Py_ssize_t rows = self.block_rows, scanned = 0, listed = 0
        if self.wanted_path == VQ_PANELS:
            scanned, listed = rows, rows + self.kernels.tile_rows
        placed.rows = <float *>vq_take(cursor, 4 * scanned * self.n_features)
        placed.bands = <float *>vq_take(cursor, 4 * scanned)
        placed.limits = <float *>vq_take(cursor, 4 * scanned)
        placed.candidates = <vq_candidates *>vq_take(cursor, sizeof(vq_candidates) * scanned)
        placed.sq_norms = <float *>vq_take(cursor, 4 * scanned)
        placed.upper = <float *>vq_take(cursor, 4 * scanned)
        placed.minima = <float *>vq_take(cursor, 4 * listed)
        placed.list = <int32_t *>vq_take(cursor, 4 * listed)
        placed.row = <double *>vq_take(cursor, 8 * self.n_features)
        placed.sq_dists = <double *>vq_take(cursor, 8 * rows)
        if scratch != NULL:
            scratch[0] = placed

    cdef void run_block(self, Py_ssize_t block, int worker, const Assignment *job) noexcept nogil:
        cdef Py_ssize_t first = block * self.block_rows
        cdef Py_ssize_t n_rows = min(self.block_rows, self.n_obs - first)
        cdef vq_scratch *scratch = self.scratch + worker
        cdef vq_obs obs = self.obs
        cdef vq_bounds bounds
        cdef int32_t *codes = job.codes + first
        cdef int itemsize = 4 if self.obs_type == VQ_FLOAT32 else 8
        cdef int dist_size = 4 if job.dist_type == VQ_FLOAT32 else 8
        cdef char *dist = <char *>job.dist + first * dist_size if job.dist != NULL else NULL
        cdef Py_ssize_t done
        obs.data = <const char *>obs.data + first * obs.row_stride * itemsize
        if job.path == VQ_LANES and itemsize == 4 and (dist == NULL or dist_size == 4):
            done = self.kernels.assign_few_codes(&obs, n_rows, &self.book, scratch.row, codes, <float *>dist)
            if done < 0 and job.check_finite:
                vq_team_stop(&self.team)
                return
            if done > 0:
                obs.data = <const char *>obs.data + done * obs.row_stride * itemsize
                codes += done
                dist += done * dist_size * (dist != NULL)
                n_rows -= done
        if job.check_finite and not self.typed.magnitude(&obs, n_rows, self.n_features) < INFINITY:
            vq_team_stop(&self.team)
            return
        if self.book.n_codes == 1:
            memset(codes, 0, n_rows * sizeof(int32_t))
        elif job.path == VQ_INTEGERS:
            self.integers.run_block(&obs, block, n_rows, &self.book, scratch, worker, codes)
        elif self.can_follow:
            bounds.lower = self.lower + first * self.n_panels()
            bounds.row_step = self.block_rows
            bounds.drifts = self.drifts
            bounds.first_round = job.first_round
            self.typed.assign_bounded(&obs, n_rows, &self.book, scratch, &bounds, codes)
        else:
            self.typed.assign[job.path](&obs, n_rows, &self.book, scratch, job.warm, codes)
        if dist != NULL:
            self.typed.sq_dists(&obs, n_rows, &self.book, codes, scratch.row, scratch.sq_dists)
            self.kernels.roots(scratch.sq_dists, n_rows, job.dist_type, dist)
        if job.then != NULL:
            job.then(job.context, first, min(self.block_rows, self.n_obs - first), worker)

    cdef void run_blocks(self, Py_ssize_t first, Py_ssize_t last, const Assignment *job) noexcept nogil:
        cdef Blocks blocks
        blocks.search, blocks.job, blocks.first = <void *>self, job, first
        vq_team_run(&self.team, self.workers, run_part, &blocks, last - first)

    cdef Py_ssize_t n_panels(self) noexcept nogil:
        return (self.n_codes + self.kernels.panel - 1) // self.kernels.panel

    cdef void pack_part(self, Py_ssize_t part, int path, float *drifts) noexcept nogil:
        """Squared norms of the code words (path -1), or their layouts."""
        cdef Py_ssize_t first = part * self.pack_step, last = min(self.book.n_codes, first + self.pack_step)
        if path < 0:
            self.kernels.pack_sq_norms(&self.book, first, last)
        else:
            self.kernels.pack_codes(&self.book, path, first, last, drifts)

    cdef void pack_pass(self, int path, float *drifts) noexcept nogil:
        cdef int workers = 1 if self.n_moved() * self.n_features < 2 * PACK_ELEMENTS else self.workers
        cdef Packing packing
        packing.search, packing.path, packing.drifts = <void *>self, path, drifts
        vq_team_run(&self.team, workers, run_packing, &packing,
                    (self.book.n_codes + self.pack_step - 1) // self.pack_step)

    cdef int pack(self, const double *code_book, Py_ssize_t n_codes, Assignment *job, bint follow) noexcept nogil:
        """Pack the code book for the path that it returns; bounds begin anew if they must."""
        cdef int path = self.wanted_path if n_codes > 1 else VQ_DIRECT
        cdef bint keeps_scale
        follow = follow and self.can_follow and n_codes == self.book.n_codes
        keeps_scale = self.has_scale and (follow or path == VQ_INTEGERS and self.integers.quantized)
        self.book.code_book = code_book
        self.book.n_codes = n_codes
        self.book.moved = job.moved if follow else NULL
        if keeps_scale:
            self.pack_pass(-1, NULL)
            keeps_scale = self.kernels.pack_scale(&self.book, self.obs_type, True)
        if path != VQ_DIRECT and not keeps_scale:
            self.book.moved = NULL
            self.kernels.pack_shift(&self.book, self.obs_type)
            self.pack_pass(-1, NULL)
            self.has_scale = self.kernels.pack_scale(&self.book, self.obs_type, False)
            if not self.has_scale:
                path = VQ_DIRECT
        follow = follow and keeps_scale
        if n_codes > 1:
            self.pack_pass(path, self.drifts if follow else NULL)
        if path == VQ_INTEGERS:
            self.integers.pack(&self.team, &self.book, follow, job.warm, keeps_scale, self.n_moved())
        self.book.moved = NULL
        self.can_follow = path == VQ_PANELS and self.lower != NULL or path == VQ_INTEGERS and self.integers.keeps_bounds
        if self.can_follow:  # a code word left out has no way from where it was
            self.can_follow = not self.leaves_out()
        if path == VQ_PANELS and self.can_follow and not follow:
            memset(self.drifts, 0, 4 * self.n_panels())
        job.first_round = not follow
        return path

    cdef Py_ssize_t n_moved(self) noexcept nogil:
        """Code words that are to be packed."""
        cdef Py_ssize_t k, n = 0
        for k in range(self.book.n_codes):
            n += self.book.moved == NULL or self.book.moved[k] > 0
        return n

    cdef bint leaves_out(self) noexcept nogil:
        """Whether a code word is not finite."""
        cdef Py_ssize_t k
        for k in range(self.book.n_codes):
            if self.book.sq_norms[k] == INFINITY:
                return True
        return False

    cdef bint run(self, const double *code_book, Py_ssize_t n_codes, bint follow, Assignment *job) noexcept nogil:
        """Assign all observations, by the team that the caller has begun; KeyboardInterrupt is noticed
        within a second.

        Returns False if it came to no end: error says why, or job asks for a check and an observation
        is not finite.
        """
        cdef Py_ssize_t n_blocks = (self.n_obs + self.block_rows - 1) // self.block_rows, first = 0
        cdef double most_hits = INTEGERS_HITS
        if self.memory == NULL:  # an earlier call ran out of it
            with gil:
                self.error = MemoryError()
            return False
        if n_codes != self.book.n_codes:
            job.warm = job.warm and not follow  # the codes are those of another code book
        job.path = self.pack(code_book, n_codes, job, follow)
        if job.path == VQ_INTEGERS and self.integers.keeps_bounds and not self.integers.book.directions.n:
            most_hits = INTEGERS_FIT_HITS
        self.next_look = vq_nanoseconds() + SIGNAL_CHECK
        if job.path == VQ_INTEGERS and job.first_round and not self.forced and n_blocks >= 2 * self.workers:
            first = self.workers  # the first blocks show what the integers path is worth
            self.integers.compared(1)  # those of earlier rounds
            self.run_blocks(0, first, job)
            if (not vq_team_stopped(&self.team)
                    and self.integers.compared(first * self.block_rows) > most_hits * n_codes):
                return self.fall_back() and self.run(code_book, n_codes, False, job)
        self.run_blocks(first, n_blocks, job)
        if vq_team_stopped(&self.team):
            self.give_up()
            return False
        if job.path == VQ_INTEGERS:
            self.integers.quantized = self.integers.keeps_rows
        return True

    cdef bint fall_back(self) noexcept with gil:
        """Settle on another path: the first blocks have too many hits."""
        try:
            if self.integers.book.directions.n:
                self.with_directions = False
                self.settle_on(VQ_INTEGERS)
            else:
                self.settle_on(VQ_PANELS if self.rounds > 2 else self.float_path())
        except BaseException as error:
            self.error = error
        return self.error is None

    cdef void look_at_signals(self) noexcept nogil:
        """Now and then, by the thread that leads."""
        if vq_nanoseconds() > self.next_look:
            with gil:
                try:
                    PyErr_CheckSignals()
                except BaseException as error:
                    self.error = error
                    vq_team_stop(&self.team)
            self.next_look = vq_nanoseconds() + SIGNAL_CHECK

    cdef void give_up(self) noexcept nogil:
        """A run has ended in the middle: neither bounds nor integers nor codes are of one code book."""
        self.can_follow = False
        self.book.n_codes = 0
        if self.wanted_path == VQ_INTEGERS:
            self.integers.quantized = False

    def assign(self, cnp.ndarray code_book, cnp.ndarray codes, dist=None, bint warm=False, bint follow=False,
               bint check_finite=False, const uint8_t[::1] moved=None):
        """Write the code of every observation, and the distance to its code word.

        code_book is (n_codes or fewer, n_features) float64 in C order, codes int32 and dist
        float32, float64 or None, both contiguous. With warm, codes holds guesses on entry;
        with follow, the codes that this object wrote last, for a code book like this one but for
        the code words that moved (uint8, n_codes) tells, or all; without, moved means nothing.
        Returns False, with the outputs undefined, if check_finite is asked for and an observation
        is not finite.
        """
        cdef Assignment job
        cdef Call call
        job.codes = <int32_t *>cnp.PyArray_DATA(codes)
        job.warm = warm or follow
        job.check_finite = check_finite
        job.dist = NULL
        job.moved = NULL
        job.then = NULL
        if dist is not None:
            job.dist = cnp.PyArray_DATA(<cnp.ndarray?>dist)
            job.dist_type = VQ_FLOAT32 if cnp.PyArray_TYPE(<cnp.ndarray>dist) == cnp.NPY_FLOAT32 else VQ_FLOAT64
        call.search, call.job, call.follow = <void *>self, &job, follow
        call.code_book, call.n_codes = <const double *>cnp.PyArray_DATA(code_book), cnp.PyArray_DIM(code_book, 0)
        if moved is not None:
            if moved.shape[0] < call.n_codes:
                raise ValueError(f"moved must tell of {call.n_codes} code words, got {moved.shape[0]}")
            job.moved = &moved[0]
        with nogil:
            vq_team_lead(&self.team, self.workers, lead_call, &call)
        self.check()
        return bool(call.done)

    cdef int check(self) except -1:
        """Raise what ended a run, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return 0


cdef void run_part(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Blocks *blocks = <const Blocks *>context
    (<Nearest>blocks.search).run_block(blocks.first + part, worker, blocks.job)
    if worker == 0:
        (<Nearest>blocks.search).look_at_signals()


cdef void run_packing(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Packing *packing = <const Packing *>context
    (<Nearest>packing.search).pack_part(part, packing.path, packing.drifts)


cdef void lead_call(void *context) noexcept nogil:
    cdef Call *call = <Call *>context
    call.done = (<Nearest>call.search).run(call.code_book, call.n_codes, call.follow, call.job)
