"""Codes packed for searches: code books as columns, codes in chunks, norms of sums."""
from cython.parallel cimport parallel, threadid
from libc.stdint cimport uint8_t

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, VQ_FLOAT64
from .machine cimport kernels_of
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

import numpy as np

cnp.import_array()

# Fewer codes than these are compared one by one: the guess of a threshold costs as much.
cdef Py_ssize_t FEWEST_FILTERED = 8192
# The sample has one in so many codes, and at most so many chunks (of 512): measured on 400,000
# codes, 16, 32, 64 and 128 chunks leave 563, 397, 291 and 236 codes to look at.
cdef Py_ssize_t CODES_PER_SAMPLE = 12
cdef Py_ssize_t SAMPLE_CHUNKS = 64
# Rows that a thread packs at once.
cdef Py_ssize_t PACKED_AT_ONCE = 64 * VQ_CHUNK


def aligned(Py_ssize_t n_bytes):
    """Bytes that begin at a cache line."""
    memory = np.empty(n_bytes + 64, dtype=np.uint8)
    start = -<Py_ssize_t>cnp.PyArray_DATA(memory) % 64
    return memory[start:start + n_bytes]


cdef class PackedCodes:
    """Codes with their code books, as the kernels search them; it is not changed by searches.

    words are the code books, each (n_codes, features) in C order and of one float type: of
    consecutive features, or, with is_sum, all of the same ones, their words being added (and
    the sum rounded to float32 if they are of that type). codes is (n, n_books) uint8 or uint16
    in C order. norms, for sums of up to 256 code words a book, is "byte" or "float32".
    """

    def __cinit__(self, list words, cnp.ndarray codes, bint is_sum=False, cnp.ndarray rotation=None,
                  norms="byte", int workers=1, isa=None):
        cdef vq_search_books *books = &self.job.books
        self.kernels = <const vq_search_kernels *>kernels_of(isa).search
        self.owned = []
        self.n = cnp.PyArray_DIM(codes, 0)
        self.n_books, self.n_codes = len(words), len(words[0])
        self.n_features = words[0].shape[1] if is_sum else sum(book.shape[1] for book in words)
        books.kind = VQ_SUM if is_sum else VQ_PRODUCT
        books.words_type = VQ_FLOAT64 if words[0].dtype == np.float64 else VQ_FLOAT32
        books.rounded = books.words_type == VQ_FLOAT32
        books.n_books, books.n_codes, books.n_features = self.n_books, self.n_codes, self.n_features
        books.n_entries = (self.n_codes + VQ_TABLE_MULTIPLE - 1) // VQ_TABLE_MULTIPLE * VQ_TABLE_MULTIPLE
        books.n_padded = (self.n_features + 15) // 16 * 16
        books.scale = 1
        if rotation is not None:
            books.rotation = <const double *>self.own(np.array(rotation, dtype=np.float64, order="C"))
        if is_sum:
            self.pack_sum(words)
        else:
            self.pack_product(words)
        self.pack_codes(codes, norms, workers)

    cdef void *own(self, cnp.ndarray array):
        """Keep an array; its data."""
        self.owned.append(array)
        return cnp.PyArray_DATA(array)

    cdef pack_product(self, list words):
        cdef vq_search_books *books = &self.job.books
        cdef Py_ssize_t start = 0, d
        splits = np.cumsum([0] + [book.shape[1] for book in words]).astype(np.intp)
        books.splits = <const Py_ssize_t *>self.own(splits)
        cdef double *columns = <double *>self.own(aligned(8 * self.n_features * books.n_entries).view(np.float64))
        books.columns = columns
        for book in words:
            d = book.shape[1]
            self.kernels.pack_columns(cnp.PyArray_DATA(book), books.words_type, self.n_codes, d, books.n_entries,
                                      columns + start * books.n_entries)
            start += d

    cdef pack_sum(self, list words):
        """The centred code words as columns, and the words as given in rows of whole vectors."""
        cdef vq_search_books *books = &self.job.books
        with np.errstate(all="ignore"):
            means = [book.mean(axis=0, dtype=np.float64) for book in words]
            lengths = [np.sqrt(((book - mean) ** 2).sum(axis=1).max()) for book, mean in zip(words, means)]
            mean = np.add.reduce(means)
            books.mean_length = np.sqrt((mean ** 2).sum())
        longest = sum(lengths)
        if 1e-100 < longest < 1e100:
            _, exponent = np.frexp(longest)
            books.scale = np.ldexp(1.0, 1 - exponent)
            books.longest = longest * books.scale * (1 + 1e-6)
        elif longest:  # no query is usable, and every code is compared by its sq_dist
            books.longest = np.inf
        books.mean = <const double *>self.own(np.ascontiguousarray(mean))
        k, d, entries, padded = self.n_codes, self.n_features, books.n_entries, books.n_padded
        centred = aligned(4 * self.n_books * d * entries).view(np.float32).reshape(self.n_books, d, entries)
        rows = aligned(words[0].itemsize * self.n_books * k * padded).view(words[0].dtype)
        rows = rows.reshape(self.n_books, k, padded)
        rows[:, :, d:] = 0
        for m, (book, mean_of_book) in enumerate(zip(words, means)):
            centred[m, :, :k] = ((book - mean_of_book) * books.scale).T if books.longest < np.inf else 0
            centred[m, :, k:] = centred[m, :, :1]
            rows[m, :, :d] = book
        books.centred = <const float *>self.own(centred)
        books.words = self.own(rows)

    cdef pack_codes(self, cnp.ndarray codes, norms, int workers):
        """Chunks of all codes and of a sample of them."""
        cdef vq_search *job = &self.job
        cdef Py_ssize_t stride = max(1, min(SAMPLE_CHUNKS, self.n // (VQ_CHUNK * CODES_PER_SAMPLE)))
        cdef Py_ssize_t n_chunks = (self.n + VQ_CHUNK - 1) // VQ_CHUNK, n_elements = self.n_books
        cdef const uint8_t *norm_bytes = NULL
        cdef const void *data = cnp.PyArray_DATA(codes)
        cdef int size = codes.itemsize
        cdef bint is_sum = job.books.kind == VQ_SUM
        job.element = VQ_CODE_PAIRS if self.n_codes <= 16 else VQ_CODE_BYTES if self.n_codes <= 256 else VQ_CODE_WORDS
        if job.element == VQ_CODE_PAIRS:
            n_elements = (self.n_books + 1) // 2
        cdef cnp.ndarray of_codes
        kept = None
        if is_sum:
            kept = self.norms_of(codes, workers) if job.books.longest < np.inf else np.zeros(self.n, np.float32)
            if job.element != VQ_CODE_WORDS:
                of_codes = self.norm_intervals(kept, norms == "byte")
                norm_bytes = <const uint8_t *>cnp.PyArray_DATA(of_codes)
                if norms == "byte":
                    kept = None
        job.n_rows = n_elements + (norm_bytes != NULL)
        job.chunk_bytes = job.n_rows * VQ_CHUNK * (2 if job.element == VQ_CODE_WORDS else 1)
        job.filtered = job.element != VQ_CODE_WORDS and job.n_rows <= VQ_SEARCH_ROWS and self.n >= FEWEST_FILTERED
        job.codes.n, job.sample.n = self.n, stride * VQ_CHUNK
        cdef uint8_t *chunks = <uint8_t *>self.own(aligned(n_chunks * job.chunk_bytes))
        cdef uint8_t *sample = <uint8_t *>self.own(aligned(stride * job.chunk_bytes))
        job.codes.chunks, job.sample.chunks = chunks, sample
        self.pack_parts(data, size, norm_bytes, n_chunks, chunks, workers)
        if job.filtered:
            self.kernels.pack_chunks(data, size, norm_bytes, self.n, self.n_books, job.element, stride, 0, stride,
                                     sample)
        if kept is not None:
            job.codes.norms = <const float *>self.own(kept)
            if job.filtered:
                places = np.arange(VQ_CHUNK) * stride + np.arange(stride)[:, None]
                job.sample.norms = <const float *>self.own(kept[(places * self.n // (VQ_CHUNK * stride)).ravel()])

    cdef pack_parts(self, const void *codes, int size, const uint8_t *norm_bytes, Py_ssize_t n_chunks,
                    uint8_t *chunks, int workers):
        cdef Py_ssize_t at_once = PACKED_AT_ONCE // VQ_CHUNK, n_parts = (n_chunks + at_once - 1) // at_once
        cdef vq_team team
        workers = max(1, min(workers, n_parts))
        vq_team_begin(&team, workers, 0, n_parts)
        with nogil:
            if workers == 1:
                self.pack_some(&team, 0, codes, size, norm_bytes, n_chunks, chunks)
            else:
                with parallel(num_threads=vq_team_threads(workers)):
                    vq_team_enter(&team, threadid())
                    self.pack_some(&team, threadid(), codes, size, norm_bytes, n_chunks, chunks)

    cdef void pack_some(self, vq_team *team, int worker, const void *codes, int size, const uint8_t *norm_bytes,
                        Py_ssize_t n_chunks, uint8_t *chunks) noexcept nogil:
        cdef Py_ssize_t at_once = PACKED_AT_ONCE // VQ_CHUNK, part = vq_team_next(team, worker)
        while part >= 0:
            self.kernels.pack_chunks(codes, size, norm_bytes, self.n, self.n_books, self.job.element, 0,
                                     part * at_once, min(n_chunks, (part + 1) * at_once), chunks)
            part = vq_team_next(team, worker)

    cdef norms_of(self, cnp.ndarray codes, int workers):
        """Squared norms of the centred, scaled code vectors, as float32."""
        cdef cnp.ndarray norms = np.empty(self.n, dtype=np.float64)
        cdef Py_ssize_t n_parts = (self.n + PACKED_AT_ONCE - 1) // PACKED_AT_ONCE, padded = self.job.books.n_padded
        cdef const char *data = <const char *>cnp.PyArray_DATA(codes)
        cdef double *out = <double *>cnp.PyArray_DATA(norms)
        cdef int size = codes.itemsize
        cdef vq_team team
        workers = max(1, min(workers, n_parts))
        cdef cnp.ndarray memory = aligned(8 * padded * workers)
        cdef double *rows = <double *>cnp.PyArray_DATA(memory)
        vq_team_begin(&team, workers, 0, n_parts)
        with nogil:
            if workers == 1:
                self.norms_of_some(&team, 0, data, size, rows, out)
            else:
                with parallel(num_threads=vq_team_threads(workers)):
                    vq_team_enter(&team, threadid())
                    self.norms_of_some(&team, threadid(), data, size, rows, out)
        with np.errstate(over="ignore"):
            return norms.astype(np.float32)

    cdef void norms_of_some(self, vq_team *team, int worker, const char *codes, int size, double *rows,
                            double *norms) noexcept nogil:
        cdef Py_ssize_t part = vq_team_next(team, worker), first
        while part >= 0:
            first = part * PACKED_AT_ONCE
            self.kernels.code_norms(&self.job.books, codes + first * self.n_books * size, size,
                                    min(PACKED_AT_ONCE, self.n - first), rows + worker * self.job.books.n_padded,
                                    norms + first)
            part = vq_team_next(team, worker)

    cdef norm_intervals(self, norms, bint alone):
        """The interval of 256 in which each norm lies; alone: no norm will be known better."""
        cdef vq_search *job = &self.job
        lowest, highest = float(norms.min(initial=np.inf)), float(norms.max(initial=-np.inf))
        if not self.n:
            lowest = highest = 0.0
        step = (highest - lowest) / 255.5
        norms = norms.astype(np.float64)
        places = np.floor((norms - lowest) * (1 / step if step > 0 else 0.0))
        places -= lowest + places * step > norms
        places = np.clip(places, 0, 255)
        job.norm_low, job.norm_step, job.norm_band = lowest, step, 0
        if alone:
            job.norm_low += step / 2
            job.norm_band = step / 2 + 2.0 ** -20 * highest
        return np.ascontiguousarray(places, dtype=np.uint8)
