"""Cluster means, exact and the same for any number of workers."""
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport INFINITY, ceil, frexp, isfinite, ldexp, log2
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, vq_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .nearest cimport Nearest
from .team cimport vq_team_lead, vq_team_run
from .tiles cimport Tiles

import numpy as np

from .passes import extents

cnp.import_array()

# Codes are shared between threads in so many parts a thread, to even them out.
cdef Py_ssize_t PARTS_PER_THREAD = 8
# Elements of work that a second thread is worth.
cdef double WORK_PER_THREAD = 2e4
# Sums that stay in the second-level cache are moved by the threads side by side, each a copy of
# its own, in parts of so many observations.
cdef Py_ssize_t DIRECT_BYTES = 1 << 20
cdef Py_ssize_t DIRECT_OBS = 1 << 14


cdef void run_codes(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Update *update = <const Update *>context
    cdef Py_ssize_t first = part * update.width, k
    for k in range(first, min(update.n_codes, first + update.width)):
        (<Means>update.means).move_code(k, update.all_means, update.code_book)


cdef void run_obs(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Update *update = <const Update *>context
    cdef Py_ssize_t first = part * DIRECT_OBS
    move_obs(context, first, min(DIRECT_OBS, (<Means>update.means).search.n_obs - first), worker)


cdef void move_obs(void *context, Py_ssize_t first, Py_ssize_t n_rows, int worker) noexcept nogil:
    cdef const Update *update = <const Update *>context
    (<Means>update.means).move_obs(first, n_rows, worker, update.codes)


cdef void lead_update(void *context) noexcept nogil:
    cdef const Update *update = <const Update *>context
    (<Means>update.means).run(update.codes, update.n_codes, update.all_means, update.code_book)


cdef class Means:
    """Means of clusters, the same to the last bit for any number of workers.

    float32 observations are added up in fixed point, two int64 an element: the order does
    not matter, and an update only touches the observations that changed their code. float64
    observations are added in double in the order of their index, as SciPy's loop does; so are
    float32 ones that are not finite, or of sizes so unlike (2^54 for a million observations)
    that the unit would be too coarse. Sums in fixed point that stay in the cache are moved in the
    order of the observations, by each thread in a copy of its own; otherwise the observations
    are listed by code first, so that one sum stays there and each thread owns some codes.
    """

    def __cinit__(self, Nearest search, weights=None, known=None):
        cdef double largest = 0, smallest
        cdef int exponent = 0, bits
        cdef Py_ssize_t n = search.n_obs, size = search.n_codes * search.n_features
        self.search = search
        self.workers = search.workers
        self.n_codes = search.n_codes
        self.weights = weights
        if weights is not None:
            self.weights_data = <const double *>cnp.PyArray_DATA(<cnp.ndarray?>weights)
        if search.obs_type == VQ_FLOAT32:
            # n values below 2^exponent times 2^(62 - ceil(log2 n) - exponent) stay below 2^62,
            # and so do n fractions times 2^(62 - ceil(log2 n)): 2 * bits from the largest value
            # to the unit. The smallest one keeps the 24 bits of a float, and some to spare.
            bits = 62 - <int>ceil(log2(<double>max(n, 1)))
            largest, smallest = extents(search.array, search.workers) if known is None else known
            if weights is not None and n:
                largest *= float(weights.max())
                smallest *= float(weights.min(initial=INFINITY, where=weights > 0))
            self.largest = largest
            frexp(largest, &exponent)
            self.fixed = isfinite(largest) and smallest > ldexp(largest, 30 - 2 * bits)
            self.factor, self.low_factor = ldexp(1.0, bits - exponent), ldexp(1.0, bits)
        self.old = <int32_t *>PyMem_RawMalloc(max(1, n) * sizeof(int32_t))
        self.counts = <int64_t *>PyMem_RawMalloc(self.n_codes * sizeof(int64_t))
        self.totals = <double *>PyMem_RawCalloc(self.n_codes, sizeof(double))
        self.touched = <uint8_t *>PyMem_RawMalloc(self.n_codes)
        self.sum_bytes = size * (2 * sizeof(int64_t) if self.fixed else sizeof(double))
        self.sums = <double *>vq_allocate(self.sum_bytes)
        self.fixed_sums = <int64_t *>self.sums
        if not (self.old and self.counts and self.totals and self.touched and self.sums):
            raise MemoryError
        if self.fixed and weights is None and 16 * size <= DIRECT_BYTES:
            self.n_bytes = self.layout_shares(NULL)
            self.memory = <char *>vq_allocate(self.n_bytes)
            if self.memory == NULL:
                raise MemoryError
            self.layout_shares(self.memory)
        else:
            self.events = <int32_t *>PyMem_RawMalloc(max(1, n) * sizeof(int32_t))
            self.ends = <int64_t *>PyMem_RawMalloc((self.n_codes + 1) * sizeof(int64_t))
            if not (self.events and self.ends):
                raise MemoryError
        memset(self.touched, True, self.n_codes)
        self.forget()

    cdef Py_ssize_t layout_shares(self, char *base) noexcept:
        """Place the shares after base, each in cache lines of its own; with NULL only the size counts."""
        cdef char *cursor = base
        cdef Py_ssize_t size = self.n_codes * self.search.n_features
        cdef Share share
        cdef int w
        self.shares = <Share *>vq_take(&cursor, self.workers * sizeof(Share))
        for w in range(self.workers):
            share.sums = <int64_t *>vq_take(&cursor, 16 * size)
            share.counts = <int64_t *>vq_take(&cursor, 8 * self.n_codes)
            share.touched = <uint8_t *>vq_take(&cursor, self.n_codes)
            share.n_moved = 0
            if base != NULL:
                self.shares[w] = share
        return cursor - base

    def __dealloc__(self):
        PyMem_RawFree(self.old)
        PyMem_RawFree(self.counts)
        PyMem_RawFree(self.totals)
        PyMem_RawFree(self.events)
        PyMem_RawFree(self.ends)
        vq_release(self.sums, self.sum_bytes)
        PyMem_RawFree(self.touched)
        vq_release(self.memory, self.n_bytes)

    def forget(self):
        """The next update starts from no observation; to be called when codes change meaning."""
        self.all_new = True

    cdef void begin(self, const int32_t *codes, Py_ssize_t n_codes) noexcept nogil:
        """How many observations moved; if more than half did, or must, sums begin anew."""
        cdef Py_ssize_t i, n = self.search.n_obs, n_moved = 0, width = 2 * self.search.n_features
        for i in range(n):
            n_moved += codes[i] != self.old[i]
        self.n_moved = n if self.all_new else n_moved
        self.all_new = self.all_new or not self.fixed or 2 * n_moved > n
        if self.all_new:
            memset(self.counts, 0, self.n_codes * sizeof(int64_t))
            if self.fixed:  # those of the others wait for the thread that moves them
                memset(self.fixed_sums + n_codes * width, 0, (self.n_codes - n_codes) * width * sizeof(int64_t))

    cdef void list_events(self, const int32_t *codes) noexcept nogil:
        """Observations that each code gains (i) and loses (~i), in their order; counts.

        Those of code k end at ends[k].
        """
        cdef Py_ssize_t i, k, n = self.search.n_obs
        cdef int64_t n_events = 0, n_of_code
        memset(self.ends, 0, (self.n_codes + 1) * sizeof(int64_t))
        for i in range(n):
            if self.all_new or codes[i] != self.old[i]:
                self.ends[codes[i]] += 1
                self.counts[codes[i]] += 1
                if not self.all_new:
                    self.ends[self.old[i]] += 1
                    self.counts[self.old[i]] -= 1
        for k in range(self.n_codes):
            n_of_code = self.ends[k]
            self.ends[k] = n_events
            n_events += n_of_code
        for i in range(n):
            if self.all_new or codes[i] != self.old[i]:
                self.events[self.ends[codes[i]]] = i
                self.ends[codes[i]] += 1
                if not self.all_new:
                    self.events[self.ends[self.old[i]]] = ~i
                    self.ends[self.old[i]] += 1

    cdef void weigh(self, const int32_t *codes, Py_ssize_t n_codes) noexcept nogil:
        """Totals by the counts or the weights, and how many are empty."""
        cdef Py_ssize_t i, k
        for k in range(n_codes):
            self.totals[k] = <double>self.counts[k] if self.weights_data == NULL else 0
        if self.weights_data != NULL:
            for i in range(self.search.n_obs):
                self.totals[codes[i]] += self.weights_data[i]
        self.n_empty = 0
        for k in range(n_codes):
            self.n_empty += not self.totals[k] > 0

    cdef void move_code(self, Py_ssize_t k, bint all_means, double *code_book) noexcept nogil:
        """Replace a code word that has members by their mean, in the type of the observations."""
        cdef double *code_word = code_book + k * self.search.n_features
        cdef Py_ssize_t first = self.ends[k - 1] if k else 0, d = self.search.n_features
        cdef Py_ssize_t n_events = self.ends[k] - first
        cdef const int32_t *events = self.events + first
        cdef const vq_obs *obs = &self.search.obs
        self.touched[k] = n_events > 0 or self.all_new or all_means
        if not self.touched[k]:
            return  # it is where it was
        if self.fixed:
            if self.all_new:
                memset(self.fixed_sums + 2 * k * d, 0, 2 * d * sizeof(int64_t))
            self.search.typed.move_rows(obs, events, n_events, d, self.weights_data, self.factor, self.low_factor,
                                        self.fixed_sums + 2 * k * d)
        else:
            memset(self.sums + k * d, 0, d * sizeof(double))
            self.search.typed.add_rows(obs, events, n_events, d, self.weights_data, self.sums + k * d)
        self.set_mean(k, code_word)

    cdef void set_mean(self, Py_ssize_t k, double *code_word) noexcept nogil:
        """From the sum, if there are members."""
        cdef Py_ssize_t d = self.search.n_features, j
        cdef bint narrow = self.search.obs_type == VQ_FLOAT32
        cdef double total = self.totals[k], mean
        if not total > 0:
            for j in range(d):
                code_word[j] = <float>code_word[j] if narrow else code_word[j]
        elif self.fixed:
            self.search.kernels.fixed_mean(self.fixed_sums + 2 * k * d, d, total, self.factor, self.low_factor,
                                           code_word)
        else:
            for j in range(d):
                mean = self.sums[k * d + j] / total
                code_word[j] = <float>mean if narrow else mean

    cdef void run(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means, double *code_book) noexcept nogil:
        """Replace the code words that have members by their means, in the type of the observations.

        Without all_means the code book is the one that the last run left.
        """
        cdef Py_ssize_t n = self.search.n_obs
        cdef Update update
        cdef int workers
        if self.memory != NULL:
            self.run_direct(codes, n_codes, all_means, code_book)
            return
        self.begin(codes, n_codes)
        self.list_events(codes)
        self.weigh(codes, n_codes)
        workers = self.workers_for(n_codes if all_means else 0)
        update.means, update.n_codes, update.all_means, update.code_book = <void *>self, n_codes, all_means, code_book
        update.width = (n_codes + PARTS_PER_THREAD * workers - 1) // (PARTS_PER_THREAD * workers)
        vq_team_run(&self.search.team, workers, run_codes, &update, (n_codes + update.width - 1) // update.width)
        memcpy(self.old, codes, n * sizeof(int32_t))
        self.all_new = False

    cdef int workers_for(self, Py_ssize_t n_means) noexcept nogil:
        """How many an update is worth, by the number of observations that moved (in the last one, before that is
        known) and the means to compute besides."""
        cdef double work = self.search.n_obs + (2.0 * self.n_moved + n_means) * self.search.n_features
        return self.workers if self.all_new or work > WORK_PER_THREAD else 1

    cdef void begin_direct(self) noexcept nogil:
        cdef Py_ssize_t n = self.search.n_obs
        cdef int w
        if self.all_new:
            memset(self.old, 0xff, n * sizeof(int32_t))  # no code
            memset(self.counts, 0, self.n_codes * sizeof(int64_t))
            memset(self.fixed_sums, 0, 2 * self.n_codes * self.search.n_features * sizeof(int64_t))
        for w in range(self.workers):
            self.shares[w].n_moved, self.shares[w].begun = 0, False
            memset(self.shares[w].touched, 0, self.n_codes)

    cdef void move_obs(self, Py_ssize_t first, Py_ssize_t n_rows, int worker, const int32_t *codes) noexcept nogil:
        """Move the sums of some of the observations in the worker's copy, by the codes of all."""
        cdef Py_ssize_t d = self.search.n_features
        cdef Py_ssize_t itemsize = 4  # fixed point is for float32
        cdef Share *share = self.shares + worker
        cdef vq_obs obs = self.search.obs
        if not share.begun:
            if memcmp(codes + first, self.old + first, n_rows * sizeof(int32_t)) == 0:
                return
            memset(share.sums, 0, 2 * self.n_codes * d * sizeof(int64_t))
            memset(share.counts, 0, self.n_codes * sizeof(int64_t))
            share.begun = True
        obs.data = <const char *>obs.data + first * obs.row_stride * itemsize
        share.n_moved += self.search.typed.move_changed(&obs, n_rows, d, codes + first, self.old + first, self.factor,
                                                        self.low_factor, share.sums, share.counts, share.touched)

    cdef void end_direct(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means,
                         double *code_book) noexcept nogil:
        cdef Py_ssize_t d = self.search.n_features, j, k
        cdef Share *share
        cdef int w
        self.n_moved = 0
        memset(self.touched, 0, self.n_codes)
        for w in range(self.workers):
            share = self.shares + w
            self.n_moved += share.n_moved
            for k in range(n_codes):
                if share.touched[k]:
                    self.touched[k] = True
                    self.counts[k] += share.counts[k]
                    for j in range(2 * d * k, 2 * d * (k + 1)):
                        self.fixed_sums[j] += share.sums[j]
        self.weigh(codes, n_codes)
        for k in range(n_codes):
            self.touched[k] = self.touched[k] > 0 or self.all_new or all_means
            if self.touched[k]:
                self.set_mean(k, code_book + k * d)
        self.all_new = False

    cdef void run_direct(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means,
                         double *code_book) noexcept nogil:
        """As run, for sums that stay in the cache."""
        cdef Py_ssize_t n = self.search.n_obs
        cdef Update update
        self.begin_direct()
        update.means, update.codes = <void *>self, codes
        vq_team_run(&self.search.team, self.workers_for(0), run_obs, &update, (n + DIRECT_OBS - 1) // DIRECT_OBS)
        self.end_direct(codes, n_codes, all_means, code_book)

    cdef void run_tiles(self, Tiles tiles, Py_ssize_t n_codes, double *code_book) noexcept nogil:
        """The same for the code book that the tiles have taken."""
        cdef Py_ssize_t d = self.search.n_features, i, k
        cdef int w
        if tiles.first_round:
            memset(self.counts, 0, self.n_codes * sizeof(int64_t))
            memset(self.fixed_sums, 0, 2 * self.n_codes * d * sizeof(int64_t))
        self.n_moved = tiles.run(self.factor, self.low_factor)
        for w in range(tiles.workers):
            for i in range(2 * n_codes * d):
                self.fixed_sums[i] += tiles.scratch[w].sums[i]
            for k in range(n_codes):
                self.counts[k] += tiles.scratch[w].counts[k]
        self.weigh(NULL, n_codes)  # tiles have no weights
        memset(self.touched, True, n_codes)
        for k in range(n_codes):
            self.set_mean(k, code_book + k * d)

    def update(self, cnp.ndarray codes, cnp.ndarray code_book, cnp.ndarray members, bint all_means=True):
        """Move the rows of code_book (float64, C order, in place) to the means of their members.

        Rows without members stay (as float32 where the observations are); members (bool, n_codes)
        says which have some. Without all_means code_book is what the last update left, and only
        the means that change are computed. Returns the number of those without.
        """
        cdef Py_ssize_t k, n_codes = cnp.PyArray_DIM(code_book, 0)
        cdef cnp.npy_bool *flags = <cnp.npy_bool *>cnp.PyArray_DATA(members)
        cdef Update update
        update.means, update.n_codes, update.all_means = <void *>self, n_codes, all_means
        update.codes = <const int32_t *>cnp.PyArray_DATA(codes)
        update.code_book = <double *>cnp.PyArray_DATA(code_book)
        with nogil:
            vq_team_lead(&self.search.team, self.workers_for(n_codes if all_means else 0), lead_update, &update)
        for k in range(n_codes):
            flags[k] = self.totals[k] > 0
        return self.n_empty

    def computed(self):
        """Which means the last update computed, uint8; all others are where they were. At first: all."""
        cdef cnp.ndarray flags = np.empty(self.n_codes, np.uint8)
        memcpy(cnp.PyArray_DATA(flags), self.touched, self.n_codes)
        return flags
