from libc.stdint cimport int32_t, uint8_t

cimport numpy as cnp

from .integers cimport Integers
from .kernels cimport vq_code_book, vq_kernels, vq_obs, vq_scratch, vq_typed_kernels
from .team cimport vq_team

# Explained where they are set.
cdef Py_ssize_t DIRECT_OBS_LANES
cdef Py_ssize_t LANES_LIMIT
cdef double WORK_PER_THREAD

# What may be done with the codes of the observations from first on, while these are in the cache.
ctypedef void (*Follow)(void *context, Py_ssize_t first, Py_ssize_t n_rows, int worker) noexcept nogil

# What a call wants, and the path that it takes.
cdef struct Assignment:
    int32_t *codes
    void *dist
    int dist_type
    const uint8_t *moved  # by code: 0 if its code word is that of the last run; NULL: none is for sure
    int path
    bint warm
    bint first_round
    bint check_finite
    Follow then  # or NULL
    void *context


cdef class Nearest:
    cdef readonly cnp.ndarray array
    cdef vq_obs obs
    cdef readonly Py_ssize_t n_obs, n_features, n_codes
    cdef readonly int workers
    cdef int obs_type
    cdef int wanted_path
    cdef Py_ssize_t block_rows
    cdef vq_team team  # of the call that is under way
    cdef object error  # what ended it
    cdef long long next_look
    cdef const vq_kernels *kernels
    cdef const vq_typed_kernels *typed
    cdef vq_code_book book
    cdef vq_scratch *scratch
    cdef char *memory
    cdef float *lower
    cdef float *drifts
    cdef bint can_follow
    cdef bint has_scale
    cdef Py_ssize_t pack_step
    cdef Py_ssize_t rounds
    cdef int most_workers
    cdef bint forced, with_directions
    cdef Py_ssize_t n_bytes
    cdef readonly Integers integers

    cdef allocate_bounds(self, Py_ssize_t itemsize)
    cdef Py_ssize_t n_panels(self) noexcept nogil
    cdef void look_at_signals(self) noexcept nogil
    cdef bint fall_back(self) noexcept with gil
    cdef int check(self) except -1
    cdef void give_up(self) noexcept nogil
    cdef bint leaves_out(self) noexcept nogil
    cdef Py_ssize_t n_moved(self) noexcept nogil
    cdef int best_path(self) noexcept
    cdef int float_path(self) noexcept
    cdef bint suits_integers(self, bint bounds) noexcept
    cdef Py_ssize_t least_integers_codes(self, bint bounds) noexcept
    cdef int settle_on(self, int path) except -1
    cdef directions(self)
    cdef void choose_blocks(self) noexcept
    cdef Py_ssize_t layout(self, char *base) noexcept
    cdef void layout_worker(self, vq_scratch *scratch, char **cursor) noexcept
    cdef void pack_part(self, Py_ssize_t part, int path, float *drifts) noexcept nogil
    cdef void pack_pass(self, int path, float *drifts) noexcept nogil
    cdef int pack(self, const double *code_book, Py_ssize_t n_codes, Assignment *job, bint follow) noexcept nogil
    cdef bint run(self, const double *code_book, Py_ssize_t n_codes, bint follow, Assignment *job) noexcept nogil
    cdef void run_blocks(self, Py_ssize_t first, Py_ssize_t last, const Assignment *job) noexcept nogil
    cdef void run_block(self, Py_ssize_t block, int worker, const Assignment *job) noexcept nogil
