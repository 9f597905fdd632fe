"""Code books whose words are added: tables, the search for tuples, their vectors."""
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, threadid
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int16_t, int32_t, uint16_t
from libc.string cimport memset

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs
from .machine cimport kernels_of, view_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

import numpy as np

cnp.import_array()

# Tables take 2 n_words^2 bytes: 128 MiB at the most.
cdef Py_ssize_t MOST_WORDS = 8192
# The unit must be so much smaller than the squared distance of a word to the next one of its
# book, and the error of an observation rounded to 16 bits, squared, as well: then the rounding
# of seven table entries is a twentieth of what a change of word changes.
cdef double RESOLUTION = 64
cdef double ROUNDING = 256
# Observations are shortened to so many times the longest sum of words.
cdef double REACH = 4
# Elements of unaries in a block: they stay in the second-level cache.
cdef Py_ssize_t BLOCK_ELEMENTS = 1 << 16
cdef Py_ssize_t MOST_BLOCK_ROWS = 64
# Rows in a part of the simple passes, and words in a part of the tables.
cdef Py_ssize_t PART_ROWS = 512
cdef Py_ssize_t PART_WORDS = 64
# Additions between two looks at the signals: a tenth of a second of the slowest kernel.
cdef double WORK_PER_SIGNAL_CHECK = 1e9

STARTS = {"given": VQ_START_GIVEN, "in order": VQ_START_IN_ORDER, "any order": VQ_START_ANY_ORDER}

cdef enum:
    PACK_WORDS
    MEASURE_WORDS
    PACK_CROSS
    PACK_COLUMNS


cdef class SumBooks:
    """Code books (n_books, n_codes, n_features), float64 in C order, whose words are added.

    With narrow, sums are rounded to float32. Words and observations are centred by the means
    of the books; with ordered, by that of the first one alone, so that the energy of the first
    words of a tuple is what they leave of the observation. The integer form of the energies is used where
    its tables fit and are fine enough, otherwise the direct form; ``form`` and ``isa``, for
    tests, force "integers" or "direct" and a row of the ISA table.
    """

    def __cinit__(self, cnp.ndarray code_books, bint narrow, int workers=1, isa=None, form=None,
                  bint ordered=False):
        cdef vq_sum_books *books = &self.books
        self.kernels = vq_additive_of(kernels_of(isa))
        self.workers = workers
        books.n_books, books.n_codes = cnp.PyArray_DIM(code_books, 0), cnp.PyArray_DIM(code_books, 1)
        books.n_features = cnp.PyArray_DIM(code_books, 2)
        books.width = (books.n_codes + VQ_SUM_WIDTH - 1) // VQ_SUM_WIDTH * VQ_SUM_WIDTH
        books.n_pairs = (books.n_features + 1) // 2
        books.decoded_type = VQ_FLOAT32 if narrow else VQ_FLOAT64
        books.code_books = <const double *>cnp.PyArray_DATA(code_books)
        self.arrays = [code_books]
        self.ordered = ordered
        self.wanted_form = form

    cdef prepare(self):
        """What a search needs; vectors of codes do without."""
        cdef vq_sum_books *books = &self.books
        cdef cnp.ndarray centred, shift
        if books.cross == NULL and books.columns == NULL:
            with np.errstate(all="ignore"):
                shifts = self.arrays[0].mean(axis=1)
                if self.ordered:
                    shifts[1:] = 0
                centred, shift = self.arrays[0] - shifts[:, None], shifts.sum(axis=0)
            self.arrays = [self.arrays[0], centred, shift]
            self.release()  # what an earlier call took before it ran out of memory
            books.centred = <const double *>cnp.PyArray_DATA(centred)
            books.shift = <const double *>cnp.PyArray_DATA(shift)
            small = self.wanted_form != "direct" and books.n_books * books.n_codes <= MOST_WORDS
            if not (small and self.build_tables(centred, self.wanted_form == "integers")):
                self.build_columns()

    def __dealloc__(self):
        self.release()

    cdef void *take(self, Py_ssize_t n_bytes) except NULL:
        """Memory that the object keeps."""
        cdef void *memory = vq_allocate(n_bytes)
        if memory == NULL:
            raise MemoryError
        self.kept[self.n_kept], self.kept_bytes[self.n_kept] = memory, n_bytes
        self.n_kept += 1
        return memory

    cdef void release(self) noexcept:
        """Give all of it back."""
        while self.n_kept:
            self.n_kept -= 1
            vq_release(self.kept[self.n_kept], self.kept_bytes[self.n_kept])

    cdef build_columns(self):
        """The direct form."""
        cdef vq_sum_books *books = &self.books
        cdef Py_ssize_t n_words = books.n_books * books.width
        books.sq_norms = <double *>self.take(8 * n_words)
        books.columns = <double *>self.take(8 * n_words * books.n_features + 64)
        self.build_pass(PACK_COLUMNS, NULL, NULL, NULL)

    cdef bint build_tables(self, cnp.ndarray centred, bint forced) except -1:
        """The integer form; False if it cannot hold these code books, or is too coarse."""
        cdef vq_sum_books *books = &self.books
        cdef Py_ssize_t n_words = books.n_books * books.width, n = books.n_books * books.n_codes, w, m
        with np.errstate(all="ignore"):
            lengths = np.sqrt(np.square(centred).sum(axis=2)).max(axis=1)
        cdef double longest = lengths.max(), reach = lengths.sum(), largest = 0, in_units
        if not (isfinite(reach) and longest > 1e-150 and reach < 1e150):
            return False
        books.word_scale = (VQ_SUM_LENGTH - 0.5 * sqrt(books.n_features)) / longest
        books.longest = REACH * reach
        if books.word_scale <= 0:
            return False
        cdef cnp.ndarray word_norms = np.empty(n), nearest = np.empty(n)
        cdef cnp.ndarray most = np.zeros(n // PART_WORDS + 1)
        cdef double *norms = <double *>cnp.PyArray_DATA(word_norms)
        books.words = <int16_t *>self.take(4 * n_words * books.n_pairs)
        memset(books.words, 0, 4 * n_words * books.n_pairs)  # missing words and features
        books.norms = <int32_t *>self.take(4 * n_words)
        self.build_pass(PACK_WORDS, norms, NULL, NULL)
        self.build_pass(MEASURE_WORDS, norms, <double *>cnp.PyArray_DATA(nearest), <double *>cnp.PyArray_DATA(most))
        largest = most.max()
        in_units = 1 / (books.word_scale * books.word_scale)
        books.unit = max(2 * largest * in_units / 32767, (1 + REACH) ** 2 * reach * reach / (1 << 29))
        finest = float(nearest.reshape(books.n_books, books.n_codes).mean(axis=1).min()) * in_units
        rounding = ROUNDING * books.n_features / 12 * (reach / VQ_SUM_LENGTH) ** 2
        if not forced and not (finest >= RESOLUTION * books.unit and finest >= rounding):
            self.release()
            books.words, books.norms = NULL, NULL
            return False
        for m in range(books.n_books):
            for w in range(books.width):
                books.norms[m * books.width + w] = VQ_SUM_MISSING
                if w < books.n_codes:
                    books.norms[m * books.width + w] = <int32_t>(
                        norms[m * books.n_codes + w] * in_units / books.unit + 0.5)
        books.cross = <int16_t *>self.take(2 * n * n_words + 64)
        self.build_pass(PACK_CROSS, NULL, NULL, NULL)
        return True

    cdef void build_parts(self, vq_team *team, int worker, int step, char *memory, double *norms, double *nearest,
                          double *most) noexcept nogil:
        cdef vq_sum_books *books = &self.books
        cdef int16_t *rows = <int16_t *>memory
        cdef int32_t *dots = <int32_t *>(memory + (VQ_SUM_ROWS * 4 * books.n_pairs + 63) // 64 * 64)
        cdef Py_ssize_t part = vq_team_next(team, worker), first, last
        while part >= 0:
            first, last = part * PART_WORDS, min(books.n_books * books.n_codes, (part + 1) * PART_WORDS)
            if step == PACK_WORDS:
                self.kernels.pack_words(books, first, last, norms)
            elif step == MEASURE_WORDS:
                most[part] = self.kernels.measure_words(books, first, last, norms, rows, dots, nearest)
            elif step == PACK_CROSS:
                self.kernels.pack_cross(books, first, last, rows, dots)
            else:
                self.kernels.pack_columns(books, part, part + 1)
            part = vq_team_next(team, worker)

    cdef build_pass(self, int step, double *norms, double *nearest, double *most):
        """One step of the tables, its words shared between the workers."""
        cdef vq_sum_books *books = &self.books
        cdef Py_ssize_t each = VQ_SUM_ROWS * (4 * books.n_pairs + 4 * books.n_books * books.width) + 128
        cdef Py_ssize_t n_parts = (books.n_books * books.n_codes + PART_WORDS - 1) // PART_WORDS
        cdef char *memory = <char *>vq_allocate(each * self.workers)
        cdef vq_team team
        if memory == NULL:
            raise MemoryError
        if step == PACK_COLUMNS:
            n_parts = books.n_books
        with nogil:
            vq_team_begin(&team, self.workers, 0, n_parts)
            if self.workers == 1:
                self.build_parts(&team, 0, step, memory, norms, nearest, most)
            else:
                with parallel(num_threads=vq_team_threads(self.workers)):
                    vq_team_enter(&team, threadid())
                    if threadid() < self.workers:
                        self.build_parts(&team, threadid(), step, memory + each * threadid(), norms, nearest, most)
        vq_release(memory, each * self.workers)

    @property
    def form(self):
        """Which form of the energies is used."""
        self.prepare()
        return "integers" if self.books.cross != NULL else "direct"

    @property
    def unit(self):
        """The unit of the integer energies."""
        self.prepare()
        return self.books.unit

    # ---- searching ---------------------------------------------------------------------------

    cdef char *layout(self, const SearchJob *job, char *base, vq_sum_scratch *scratch) noexcept nogil:
        """Place the scratch of one worker after base; returns its end."""
        cdef vq_sum_books *books = &self.books
        cdef char *cursor = base
        cdef Py_ssize_t m = books.n_books, n = 0, beam = max(1, job.how.beam), kept = max(1, job.how.n_kept)
        if books.cross != NULL:
            n = job.block_rows
        scratch.rows = <int16_t *>vq_take(&cursor, 4 * n * books.n_pairs)
        scratch.factors = <float *>vq_take(&cursor, 4 * n)
        scratch.sq_norms = <double *>vq_take(&cursor, 8 * n)
        scratch.unaries = <int32_t *>vq_take(&cursor, 4 * n * m * books.width)
        scratch.vector = <double *>vq_take(&cursor, 24 * books.n_features)
        scratch.sums = <double *>vq_take(&cursor, 8 * m * books.width)
        scratch.tuples = <int32_t *>vq_take(&cursor, 4 * (2 * beam + 2) * m)
        scratch.energies = <double *>vq_take(&cursor, 16 * beam)
        scratch.found = <vq_sum_candidate *>vq_take(&cursor, sizeof(vq_sum_candidate) * beam)
        scratch.order = <int32_t *>vq_take(&cursor, 8 * m)
        scratch.own = <double *>vq_take(&cursor, 8 * m)
        scratch.chosen = <const int16_t **>vq_take(&cursor, sizeof(void *) * m)
        scratch.kept = <int32_t *>vq_take(&cursor, 4 * kept * m)
        scratch.kept_energies = <double *>vq_take(&cursor, 8 * kept)
        return cursor

    cdef void search_blocks(self, vq_team *team, int worker, const SearchJob *job) noexcept nogil:
        cdef Py_ssize_t block = vq_team_next(team, worker), first, n, m = self.books.n_books
        cdef vq_obs obs
        while block >= 0:
            first = block * job.block_rows
            n = min(job.block_rows, job.n_obs - first)
            obs = job.obs
            obs.data = <const char *>obs.data + first * obs.row_stride * (4 if job.obs_type == VQ_FLOAT32 else 8)
            self.kernels.search(
                &self.books, &job.how, &obs, job.obs_type, n, job.scratch + worker, job.codes + first * m,
                job.kept + first * job.how.n_kept * m if job.kept != NULL else NULL,
                job.kept_errors + first * job.how.n_kept if job.kept != NULL else NULL)
            block = vq_team_next(team, worker)

    cdef int run(self, SearchJob *job) except -1 nogil:
        """Search all tuples; KeyboardInterrupt is noticed within a second."""
        cdef Py_ssize_t m = self.books.n_books, width = self.books.width, first = 0
        cdef Py_ssize_t n_blocks = (job.n_obs + job.block_rows - 1) // job.block_rows
        cdef double n_rows = 3 * m * job.how.n_rounds, work
        if job.how.start == VQ_START_IN_ORDER:
            n_rows += m * job.how.beam
        elif job.how.start == VQ_START_ANY_ORDER:
            n_rows += m * m * job.how.beam / 2
        work = job.block_rows * width * (m * self.books.n_features +
                                         n_rows * (m if self.books.cross != NULL else 2 * self.books.n_features))
        cdef Py_ssize_t at_once = self.workers * max(1, <Py_ssize_t>(WORK_PER_SIGNAL_CHECK / work))
        cdef vq_team team
        while first < n_blocks:
            vq_team_begin(&team, self.workers, first, min(n_blocks, first + at_once))
            if self.workers == 1:  # no OpenMP: safe in a forked child
                self.search_blocks(&team, 0, job)
            else:
                with parallel(num_threads=vq_team_threads(self.workers)):
                    vq_team_enter(&team, threadid())
                    self.search_blocks(&team, threadid(), job)
            first += at_once
            if first < n_blocks:
                with gil:
                    PyErr_CheckSignals()
        return 0

    def search(self, cnp.ndarray obs, cnp.ndarray codes, start="given", Py_ssize_t beam=1, Py_ssize_t n_rounds=0,
               Py_ssize_t n_sweeps=4, Py_ssize_t n_changes=0, seed=0, kept=None, kept_errors=None):
        """Write the tuple found for every observation into codes (n_obs, n_books) uint16.

        start says how a search begins: with the codes on "entry", or with a beam that takes the
        books "in order" or in "any order". kept (n_obs, n_kept, n_books) uint16 and kept_errors
        (n_obs, n_kept) float64 get the best tuples of different energy that were met, and their
        squared errors; +inf where there are fewer.
        """
        cdef SearchJob job
        cdef int w
        cdef Py_ssize_t each, of_workers = self.workers * sizeof(vq_sum_scratch)
        cdef char *memory
        self.prepare()
        job.obs_type = VQ_FLOAT64 if view_obs(obs, &job.obs) else VQ_FLOAT32
        job.n_obs = cnp.PyArray_DIM(obs, 0)
        job.how.start, job.how.beam = STARTS[start], beam
        job.how.n_rounds, job.how.n_sweeps, job.how.n_changes, job.how.seed = n_rounds, n_sweeps, n_changes, seed
        job.how.n_kept = 0
        job.codes = <uint16_t *>cnp.PyArray_DATA(codes)
        job.kept, job.kept_errors = NULL, NULL
        if kept is not None:
            job.kept = <uint16_t *>cnp.PyArray_DATA(<cnp.ndarray?>kept)
            job.kept_errors = <double *>cnp.PyArray_DATA(<cnp.ndarray?>kept_errors)
            job.how.n_kept = cnp.PyArray_DIM(<cnp.ndarray>kept, 1)
        job.block_rows = min(MOST_BLOCK_ROWS, BLOCK_ELEMENTS // (self.books.n_books * self.books.width))
        job.block_rows = max(VQ_SUM_ROWS, job.block_rows // VQ_SUM_ROWS * VQ_SUM_ROWS)
        cdef vq_sum_scratch scratch
        each = self.layout(&job, NULL, &scratch) - <char *>NULL
        memory = <char *>vq_allocate(each * self.workers + of_workers)
        if memory == NULL:
            raise MemoryError
        job.scratch = <vq_sum_scratch *>(memory + each * self.workers)
        try:
            for w in range(self.workers):
                self.layout(&job, memory + w * each, job.scratch + w)
            with nogil:
                self.run(&job)
        finally:
            vq_release(memory, each * self.workers + of_workers)

    # ---- vectors of tuples --------------------------------------------------------------------

    def decode(self, cnp.ndarray codes, cnp.ndarray obs):
        """Write the vectors of the codes (n_obs, n_books) uint16 into obs, of the books' type."""
        cdef RowsJob job
        job.codes, job.n_obs = <const uint16_t *>cnp.PyArray_DATA(codes), cnp.PyArray_DIM(codes, 0)
        job.out, job.errors = <char *>cnp.PyArray_DATA(obs), NULL
        self.pass_over(&job)

    def sq_errors(self, cnp.ndarray obs, cnp.ndarray codes, cnp.ndarray sq_errors):
        """Write the squared distances of observations to the vectors of their codes."""
        cdef RowsJob job
        job.obs_type = VQ_FLOAT64 if view_obs(obs, &job.obs) else VQ_FLOAT32
        job.codes, job.n_obs = <const uint16_t *>cnp.PyArray_DATA(codes), cnp.PyArray_DIM(codes, 0)
        job.out, job.errors = NULL, <double *>cnp.PyArray_DATA(sq_errors)
        self.pass_over(&job)

    cdef void pass_parts(self, vq_team *team, int worker, const RowsJob *job) noexcept nogil:
        cdef Py_ssize_t part = vq_team_next(team, worker), first, n, m = self.books.n_books
        cdef Py_ssize_t d = self.books.n_features
        cdef double *vector = job.vectors + worker * (2 * d + 8)
        cdef vq_obs obs
        while part >= 0:
            first = part * PART_ROWS
            n = min(PART_ROWS, job.n_obs - first)
            if job.errors == NULL:
                self.kernels.decode(&self.books, job.codes + first * m, n, vector,
                                    job.out + first * d * (4 if self.books.decoded_type == VQ_FLOAT32 else 8))
            else:
                obs = job.obs
                obs.data = <const char *>obs.data + first * obs.row_stride * (4 if job.obs_type == VQ_FLOAT32 else 8)
                self.kernels.sq_errors(&self.books, &obs, job.obs_type, job.codes + first * m, n, vector,
                                       job.errors + first)
            part = vq_team_next(team, worker)

    cdef pass_over(self, RowsJob *job):
        cdef vq_team team
        cdef Py_ssize_t n_bytes = 8 * (2 * self.books.n_features + 8) * self.workers
        job.vectors = <double *>vq_allocate(n_bytes)
        if job.vectors == NULL:
            raise MemoryError
        with nogil:
            vq_team_begin(&team, self.workers, 0, (job.n_obs + PART_ROWS - 1) // PART_ROWS)
            if self.workers == 1 or job.n_obs <= PART_ROWS:
                self.pass_parts(&team, 0, job)
            else:
                with parallel(num_threads=vq_team_threads(self.workers)):
                    vq_team_enter(&team, threadid())
                    self.pass_parts(&team, threadid(), job)
        vq_release(job.vectors, n_bytes)
