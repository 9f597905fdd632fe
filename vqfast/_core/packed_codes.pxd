from libc.stdint cimport int64_t, uint8_t

cimport numpy as cnp

from .kernels cimport vq_obs
from .team cimport vq_team


cdef extern from "search.h" nogil:
    enum:
        VQ_PRODUCT
        VQ_SUM
        VQ_CODE_PAIRS
        VQ_CODE_BYTES
        VQ_CODE_WORDS
        VQ_CHUNK
        VQ_SEARCH_TILE
        VQ_SEARCH_ROWS
        VQ_TABLE_MULTIPLE

    ctypedef struct vq_search_books:
        int kind
        int words_type
        int rounded
        Py_ssize_t n_books
        Py_ssize_t n_codes
        Py_ssize_t n_entries
        Py_ssize_t n_features
        Py_ssize_t n_padded
        const Py_ssize_t *splits
        const double *columns
        const float *centred
        const void *words
        const double *mean
        const double *rotation
        double mean_length
        double longest
        double scale

    ctypedef struct vq_search_codes:
        Py_ssize_t n
        const uint8_t *chunks
        const float *norms

    ctypedef struct vq_search:
        vq_search_books books
        int element
        int filtered
        Py_ssize_t n_rows
        Py_ssize_t chunk_bytes
        vq_search_codes codes
        vq_search_codes sample
        double norm_low
        double norm_step
        double norm_band
        Py_ssize_t k
        Py_ssize_t capacity

    ctypedef struct vq_query:
        double *row
        float *centred
        double *table
        double *lowest
        uint8_t *bytes
        Py_ssize_t *starts
        double *keys
        int64_t *ids
        Py_ssize_t n_kept
        double bound

    ctypedef struct vq_chunk_hit:
        pass

    ctypedef struct vq_lane_hit:
        pass

    ctypedef struct vq_search_scratch:
        vq_query *queries
        uint8_t *lanes
        vq_chunk_hit *chunk_hits
        vq_lane_hit *lane_hits
        double *row

    ctypedef struct vq_search_kernels:
        Py_ssize_t lanes
        Py_ssize_t most_each[2]
        double ns_each[2]
        void (*pack_columns)(const void *, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, double *) noexcept nogil
        void (*code_norms)(const vq_search_books *, const void *, int, Py_ssize_t, double *, double *) noexcept nogil
        void (*pack_chunks)(const void *, int, const uint8_t *, Py_ssize_t, Py_ssize_t, int, Py_ssize_t, Py_ssize_t,
                            Py_ssize_t, uint8_t *) noexcept nogil
        void (*search)(const vq_search *, const vq_obs *, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, int,
                       vq_search_scratch *) noexcept nogil
        void (*select)(vq_query *, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*rerank)(const double *, const vq_obs *, int, Py_ssize_t, const int64_t *, Py_ssize_t, double *,
                       double *) noexcept nogil


cdef class PackedCodes:
    cdef vq_search job
    cdef const vq_search_kernels *kernels
    cdef readonly Py_ssize_t n, n_books, n_codes, n_features
    cdef list owned

    cdef void *own(self, cnp.ndarray array)
    cdef pack_product(self, list words)
    cdef pack_sum(self, list words)
    cdef pack_codes(self, cnp.ndarray codes, norms, int workers)
    cdef pack_parts(self, const void *codes, int size, const uint8_t *norm_bytes, Py_ssize_t n_chunks,
                    uint8_t *chunks, int workers)
    cdef void pack_some(self, vq_team *team, int worker, const void *codes, int size, const uint8_t *norm_bytes,
                        Py_ssize_t n_chunks, uint8_t *chunks) noexcept nogil
    cdef norms_of(self, cnp.ndarray codes, int workers)
    cdef void norms_of_some(self, vq_team *team, int worker, const char *codes, int size, double *rows,
                            double *norms) noexcept nogil
    cdef norm_intervals(self, norms, bint alone)
