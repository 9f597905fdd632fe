from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from .kernels cimport vq_kernels, vq_obs
from .team cimport vq_team

cdef extern from "tiles.h" nogil:
    enum:
        VQ_TILE
        VQ_TILE_GROUP
        VQ_TILE_FEATURES
        VQ_TILE_RADIX
    double VQ_TILE_LARGEST
    float VQ_TILE_FAR

    ctypedef struct vq_tile_codes:
        Py_ssize_t n
        Py_ssize_t step
        float *columns
        int32_t *codes

    ctypedef struct vq_tiles:
        Py_ssize_t n_features
        Py_ssize_t n_tiles
        float *points
        int32_t *weights
        int32_t *codes
        int32_t *single
        float *boxes
        float *group_boxes

    ctypedef struct vq_tile_scratch:
        float *sq_dists
        vq_tile_codes group
        vq_tile_codes tile
        int64_t *sums
        int64_t *counts
        int64_t n_moved
        int64_t n_candidates

    ctypedef struct vq_tile_kernels:
        void (*order)(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, const float *,
                      const float *, uint64_t *) noexcept nogil
        void (*count)(const uint64_t *, Py_ssize_t, Py_ssize_t, int, int64_t *) noexcept nogil
        void (*scatter)(const uint64_t *, Py_ssize_t, Py_ssize_t, int, int64_t *, uint64_t *) noexcept nogil
        Py_ssize_t (*mark)(const float *, Py_ssize_t, Py_ssize_t, const uint64_t *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                           uint8_t *) noexcept nogil
        void (*fill)(const float *, Py_ssize_t, Py_ssize_t, const uint64_t *, const uint8_t *, Py_ssize_t, Py_ssize_t,
                     Py_ssize_t, Py_ssize_t, vq_tiles *, int32_t *) noexcept nogil
        void (*enclose)(const vq_tiles *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*assign)(const vq_tiles *, Py_ssize_t, Py_ssize_t, const vq_tile_codes *, int, double, double,
                       vq_tile_scratch *) noexcept nogil


# The observations while they are sorted, in parts, and what is to be done next.
cdef struct Sorting:
    void *tiles
    int stage
    Py_ssize_t n_parts
    Py_ssize_t part_obs
    float *low            # the ranges of the features: of all, or of every worker, VQ_TILE_FEATURES apart
    float *high
    uint64_t *keys
    uint64_t *spare
    int shift
    int64_t *starts       # (n_parts, VQ_TILE_RADIX) where the next key of a part with a digit goes
    uint8_t *marks        # (n_obs) in spare
    Py_ssize_t *n_points  # (n_parts) before it


cdef class Tiles:
    cdef const vq_tile_kernels *kernels
    cdef vq_obs obs
    cdef Py_ssize_t n_obs, n_features, n_codes
    cdef int workers
    cdef vq_team *team
    cdef vq_tiles tiles
    cdef vq_tile_codes all
    cdef vq_tile_scratch *scratch
    cdef int32_t *places
    cdef char *memory
    cdef Py_ssize_t n_bytes
    cdef bint first_round

    cdef Py_ssize_t layout(self, char *base) noexcept
    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept
    cdef void measure_part(self, Sorting *sorting, Py_ssize_t part, int worker) noexcept nogil
    cdef void sort_part(self, Sorting *sorting, Py_ssize_t part) noexcept nogil
    cdef void sort_pass(self, Sorting *sorting, int stage) noexcept nogil
    cdef void sort_digit(self, Sorting *sorting) noexcept nogil
    cdef void count_points(self, Sorting *sorting) noexcept nogil
    cdef int build(self) except -1
    cdef bint take_codes(self, const double *code_book) noexcept nogil
    cdef void run_part(self, Py_ssize_t part, int worker, double factor, double low_factor) noexcept nogil
    cdef int64_t run(self, double factor, double low_factor) noexcept nogil
    cdef double candidates(self) noexcept nogil
    cdef void expand(self, int32_t *codes) noexcept nogil


cdef Tiles new_tiles(const vq_kernels *kernels, const vq_obs *obs, Py_ssize_t n_obs, Py_ssize_t n_features,
                     Py_ssize_t n_codes, int workers, vq_team *team)
