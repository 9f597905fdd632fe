from libc.stdint cimport int32_t, int64_t, uint8_t

cimport numpy as cnp

from .nearest cimport Nearest
from .tiles cimport Tiles

# What one worker adds to the sums (n_codes, 2, n_features) and the counts of the codes that it touched.
cdef struct Share:
    int64_t *sums
    int64_t *counts
    uint8_t *touched
    int64_t n_moved
    bint begun  # in this update

# What a worker, or the one that leads, needs to know besides the part.
cdef struct Update:
    void *means
    const int32_t *codes
    Py_ssize_t n_codes
    Py_ssize_t width  # codes in a part
    bint all_means
    double *code_book


cdef void move_obs(void *context, Py_ssize_t first, Py_ssize_t n_rows, int worker) noexcept nogil


cdef class Means:
    cdef Nearest search  # whose team makes the updates
    cdef int workers
    cdef readonly cnp.ndarray weights
    cdef const double *weights_data
    cdef Py_ssize_t n_codes
    cdef readonly Py_ssize_t n_moved, n_empty
    cdef bint fixed
    cdef double factor, low_factor, largest
    cdef int32_t *old
    cdef int64_t *counts
    cdef double *totals
    cdef double *sums  # anything before the first update
    cdef Py_ssize_t sum_bytes
    cdef int32_t *events
    cdef int64_t *ends
    cdef bint all_new
    cdef int64_t *fixed_sums  # the same memory
    cdef uint8_t *touched  # (n_codes) which means the last update computed
    cdef Share *shares  # (workers), or NULL
    cdef char *memory  # of the shares
    cdef Py_ssize_t n_bytes

    cdef Py_ssize_t layout_shares(self, char *base) noexcept
    cdef void begin(self, const int32_t *codes, Py_ssize_t n_codes) noexcept nogil
    cdef void list_events(self, const int32_t *codes) noexcept nogil
    cdef void weigh(self, const int32_t *codes, Py_ssize_t n_codes) noexcept nogil
    cdef void move_code(self, Py_ssize_t k, bint all_means, double *code_book) noexcept nogil
    cdef void set_mean(self, Py_ssize_t k, double *code_word) noexcept nogil
    cdef int workers_for(self, Py_ssize_t n_means) noexcept nogil
    cdef void run(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means, double *code_book) noexcept nogil
    cdef void begin_direct(self) noexcept nogil
    cdef void move_obs(self, Py_ssize_t first, Py_ssize_t n_rows, int worker, const int32_t *codes) noexcept nogil
    cdef void end_direct(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means,
                         double *code_book) noexcept nogil
    cdef void run_direct(self, const int32_t *codes, Py_ssize_t n_codes, bint all_means,
                         double *code_book) noexcept nogil
    cdef void run_tiles(self, Tiles tiles, Py_ssize_t n_codes, double *code_book) noexcept nogil
