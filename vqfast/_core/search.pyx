"""The nearest codes of queries: packed codes, scratch, threads over queries and over codes."""
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy, memset

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs
from .machine cimport kernels_of, view_obs
from .memory cimport vq_take
from .packed_codes cimport (
    PackedCodes, VQ_CHUNK, VQ_CODE_PAIRS, VQ_PRODUCT, VQ_SEARCH_TILE, vq_chunk_hit, vq_lane_hit, vq_query, vq_search,
    vq_search_kernels, vq_search_scratch,
)
from .team cimport omp_get_num_procs, vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

cnp.import_array()

# Queries that pass a tile of codes one after another, and the memory of a group.
cdef Py_ssize_t GROUP = 16
cdef Py_ssize_t GROUP_BYTES = 1 << 23
# Nanoseconds that a row of a chunk's code costs: all lanes of a group, the plain formula; and
# those of work that waking a thread is worth.
cdef double NS_LANES = 0.17
cdef double NS_PLAIN = 0.2
cdef double NS_PER_THREAD = 1e5
# Nanoseconds between two looks at the signals.
cdef double NS_PER_SIGNAL_CHECK = 1e8
# Elements of candidates that are worth a thread.
cdef double ELEMENTS_PER_THREAD = 1e5
cdef Py_ssize_t MOST_ATTEMPTS = 3


cdef char *align(char *memory) noexcept nogil:
    return <char *>((<uintptr_t>memory + 63) // 64 * 64)


# How one call shares its work.
cdef struct Plan:
    vq_search job
    vq_obs obs
    int obs_type
    Py_ssize_t itemsize
    Py_ssize_t n_queries
    Py_ssize_t group
    Py_ssize_t n_groups
    Py_ssize_t n_ranges
    Py_ssize_t range_chunks
    Py_ssize_t n_chunks
    Py_ssize_t worker_bytes
    double ns_part
    int workers
    char *scratch
    # Results, or with several ranges those of each range of each query.
    int64_t *indices
    double *sq_dists
    double *part_keys
    int64_t *part_ids
    Py_ssize_t *part_counts
    double *part_bounds


cdef class CodeSearch(PackedCodes):
    """Searches among packed codes; many threads may use it at once."""

    def search(self, cnp.ndarray queries, Py_ssize_t k, cnp.ndarray indices, cnp.ndarray sq_dists, int workers=1):
        """Write the indices (int64) and squared distances (float64) of the k nearest codes of each query.

        queries is (n, n_features) float32 or float64, of any strides; the results are (n, k) in
        C order. Where there are fewer codes than k, the rest are -1 and inf.
        """
        cdef Plan plan
        cdef Py_ssize_t size = 0, n_parts
        memset(&plan, 0, sizeof(plan))
        plan.indices, plan.sq_dists = <int64_t *>cnp.PyArray_DATA(indices), <double *>cnp.PyArray_DATA(sq_dists)
        plan.obs_type = VQ_FLOAT64 if view_obs(queries, &plan.obs) else VQ_FLOAT32
        plan.itemsize = cnp.PyArray_ITEMSIZE(queries)
        plan.n_queries = cnp.PyArray_DIM(queries, 0)
        self.empty(plan.indices, plan.sq_dists, plan.n_queries * k)
        if not self.n or not plan.n_queries:
            return
        self.share(&plan, k, workers)
        n_parts = plan.n_queries * plan.n_ranges
        size = plan.workers * plan.worker_bytes
        if plan.n_ranges > 1:
            size += n_parts * (16 * plan.job.k + 16) + 256
        cdef char *memory = <char *>PyMem_RawMalloc(size + 64)
        if memory == NULL:
            raise MemoryError
        cdef char *cursor = align(memory)
        plan.scratch = cursor
        cursor += plan.workers * plan.worker_bytes
        if plan.n_ranges > 1:
            plan.part_keys = <double *>vq_take(&cursor, 8 * n_parts * plan.job.k)
            plan.part_ids = <int64_t *>vq_take(&cursor, 8 * n_parts * plan.job.k)
            plan.part_counts = <Py_ssize_t *>vq_take(&cursor, sizeof(Py_ssize_t) * n_parts)
            plan.part_bounds = <double *>vq_take(&cursor, 8 * n_parts)
        plan.job.k = min(k, self.n)
        try:
            with nogil:
                self.run(&plan, k)
        finally:
            PyMem_RawFree(memory)

    cdef void empty(self, int64_t *indices, double *sq_dists, Py_ssize_t n) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(n):
            indices[i] = -1
            sq_dists[i] = INFINITY

    cdef void share(self, Plan *plan, Py_ssize_t k, int workers) noexcept:
        """Groups of queries and ranges of codes: parts of equal work, some for each worker."""
        cdef vq_search *job = &plan.job
        cdef Py_ssize_t most = GROUP, n_queries = plan.n_queries, per_query
        cdef double ns_row = NS_PLAIN * self.n_books, ns
        cdef int form = 0 if self.job.element == VQ_CODE_PAIRS and self.job.books.kind == VQ_PRODUCT else 1
        job[0] = self.job
        job.k = min(k, self.n)
        job.capacity = job.k + max(<Py_ssize_t>924, job.k)
        plan.n_chunks = (self.n + VQ_CHUNK - 1) // VQ_CHUNK
        if not job.filtered:
            most = 4
        elif self.kernels.most_each[form] >= n_queries:
            ns_row = self.kernels.ns_each[form] * job.n_rows
        elif n_queries > 1:
            most = self.kernels.lanes
            ns_row = NS_LANES * job.n_rows / min(most, n_queries)
        per_query = self.query_bytes(job)
        most = max(1, min(most, GROUP_BYTES // per_query))
        plan.n_groups = (n_queries + most - 1) // most
        if most == GROUP or not job.filtered:  # as many for each worker
            plan.n_groups = min(n_queries, (plan.n_groups + workers - 1) // workers * workers)
        plan.group = (n_queries + plan.n_groups - 1) // plan.n_groups
        plan.n_groups = (n_queries + plan.group - 1) // plan.group
        ns = ns_row * self.n * plan.group
        plan.n_ranges = 1
        if plan.n_groups < workers:
            plan.n_ranges = max(1, min((workers + plan.n_groups - 1) // plan.n_groups,
                                       <Py_ssize_t>(ns / NS_PER_THREAD), plan.n_chunks))
        plan.range_chunks = (plan.n_chunks + plan.n_ranges - 1) // plan.n_ranges
        plan.n_ranges = (plan.n_chunks + plan.range_chunks - 1) // plan.range_chunks
        plan.ns_part = ns / plan.n_ranges + 1
        plan.workers = max(1, min(workers, plan.n_groups * plan.n_ranges,
                                  <Py_ssize_t>min(1e6, 1 + ns * plan.n_groups / NS_PER_THREAD)))
        plan.worker_bytes = 4096 + plan.group * (per_query + sizeof(vq_query)) + 8 * job.books.n_padded
        plan.worker_bytes += sizeof(vq_chunk_hit) * (VQ_SEARCH_TILE + 1) + sizeof(vq_lane_hit) * (VQ_CHUNK + 4)
        if job.filtered:
            plan.worker_bytes += job.n_rows * 256 * self.kernels.lanes
        plan.worker_bytes = (plan.worker_bytes + 63) // 64 * 64

    cdef Py_ssize_t query_bytes(self, const vq_search *job) noexcept nogil:
        cdef Py_ssize_t tables = 8 * job.books.n_books * job.books.n_entries + job.n_rows * (256 + 8)
        return 8 * 64 + 12 * job.books.n_padded + tables + 24 * job.books.n_books + 32 * job.capacity

    cdef void layout(self, const Plan *plan, int worker, vq_search_scratch *scratch) noexcept nogil:
        """The scratch of a worker."""
        cdef const vq_search *job = &plan.job
        cdef char *cursor = plan.scratch + worker * plan.worker_bytes
        cdef Py_ssize_t q
        cdef vq_query *query
        scratch.queries = <vq_query *>vq_take(&cursor, plan.group * sizeof(vq_query))
        scratch.chunk_hits = <vq_chunk_hit *>vq_take(&cursor, sizeof(vq_chunk_hit) * (VQ_SEARCH_TILE + 1))
        scratch.lane_hits = <vq_lane_hit *>vq_take(&cursor, sizeof(vq_lane_hit) * (VQ_CHUNK + 4))
        scratch.row = <double *>vq_take(&cursor, 8 * job.books.n_padded)
        scratch.lanes = <uint8_t *>cursor
        if job.filtered:
            scratch.lanes = <uint8_t *>vq_take(&cursor, job.n_rows * 256 * self.kernels.lanes)
        for q in range(plan.group):
            query = &scratch.queries[q]
            query.row = <double *>vq_take(&cursor, 8 * job.books.n_padded)
            query.centred = <float *>vq_take(&cursor, 4 * job.books.n_padded)
            query.table = <double *>vq_take(&cursor, 8 * job.books.n_books * job.books.n_entries)
            query.lowest = <double *>vq_take(&cursor, 8 * (job.n_rows + job.books.n_books))
            query.bytes = <uint8_t *>vq_take(&cursor, job.n_rows * 256)
            query.starts = <Py_ssize_t *>vq_take(&cursor, 2 * sizeof(Py_ssize_t) * job.books.n_books)
            query.keys = <double *>vq_take(&cursor, 16 * job.capacity)
            query.ids = <int64_t *>vq_take(&cursor, 16 * job.capacity)

    cdef int run(self, Plan *plan, Py_ssize_t k) except -1 nogil:
        """All parts; KeyboardInterrupt is noticed within a second."""
        cdef Py_ssize_t n_parts = plan.n_groups * plan.n_ranges, first = 0, last, q
        cdef Py_ssize_t each = max(1, <Py_ssize_t>(NS_PER_SIGNAL_CHECK / plan.ns_part))
        cdef Py_ssize_t at_once = min(plan.workers, omp_get_num_procs()) * each
        cdef vq_team team
        while first < n_parts:
            last = min(n_parts, first + at_once)
            vq_team_begin(&team, plan.workers, first, last)
            if plan.workers == 1:  # no OpenMP: safe in a forked child
                self.run_parts(&team, 0, plan, k)
            else:
                with parallel(num_threads=vq_team_threads(plan.workers)):
                    vq_team_enter(&team, threadid())
                    self.run_parts(&team, threadid(), plan, k)
            first = last
            if first < n_parts:
                with gil:
                    PyErr_CheckSignals()
        if plan.n_ranges > 1:
            for q in range(plan.n_queries):
                self.merge(plan, q, k)
        return 0

    cdef void run_parts(self, vq_team *team, int worker, const Plan *plan, Py_ssize_t k) noexcept nogil:
        cdef Py_ssize_t part = vq_team_next(team, worker), first, n, q, c
        cdef vq_search_scratch scratch
        cdef vq_obs obs
        if part >= 0:
            self.layout(plan, worker, &scratch)
        while part >= 0:
            first = part // plan.n_ranges * plan.group
            n = min(plan.group, plan.n_queries - first)
            c = part % plan.n_ranges * plan.range_chunks
            obs = self.rows_from(plan, first)
            self.kernels.search(&plan.job, &obs, plan.obs_type, n, c, min(plan.n_chunks, c + plan.range_chunks), 0,
                                &scratch)
            for q in range(n):
                if plan.n_ranges > 1:
                    self.keep_part(plan, (first + q) * plan.n_ranges + part % plan.n_ranges, &scratch.queries[q])
                elif self.is_found(plan, &scratch.queries[q]):
                    self.write(plan, first + q, &scratch.queries[q], k)
            if plan.n_ranges == 1:
                for q in range(n):
                    if plan.indices[(first + q) * k] < 0:
                        self.search_again(plan, first + q, k, &scratch)
            part = vq_team_next(team, worker)

    cdef vq_obs rows_from(self, const Plan *plan, Py_ssize_t first) noexcept nogil:
        cdef vq_obs obs = plan.obs
        obs.data = <const char *>obs.data + first * obs.row_stride * plan.itemsize
        return obs

    cdef bint is_found(self, const Plan *plan, const vq_query *query) noexcept nogil:
        """Whether the query has k codes, all of them below what has been looked at."""
        return query.n_kept >= plan.job.k and query.keys[plan.job.k - 1] <= query.bound

    cdef void write(self, const Plan *plan, Py_ssize_t q, const vq_query *query, Py_ssize_t k) noexcept nogil:
        memcpy(plan.indices + q * k, query.ids, 8 * plan.job.k)
        memcpy(plan.sq_dists + q * k, query.keys, 8 * plan.job.k)

    cdef void search_again(self, const Plan *plan, Py_ssize_t q, Py_ssize_t k,
                           vq_search_scratch *scratch) noexcept nogil:
        """One query whose threshold was too low: with a higher one, and then with none."""
        cdef vq_obs obs = self.rows_from(plan, q)
        cdef int attempt
        for attempt in range(1, MOST_ATTEMPTS):
            self.kernels.search(&plan.job, &obs, plan.obs_type, 1, 0, plan.n_chunks, attempt, scratch)
            if self.is_found(plan, &scratch.queries[0]):
                break
        self.write(plan, q, &scratch.queries[0], k)

    cdef void keep_part(self, const Plan *plan, Py_ssize_t place, const vq_query *query) noexcept nogil:
        plan.part_counts[place] = query.n_kept
        plan.part_bounds[place] = query.bound
        memcpy(plan.part_keys + place * plan.job.k, query.keys, 8 * query.n_kept)
        memcpy(plan.part_ids + place * plan.job.k, query.ids, 8 * query.n_kept)

    cdef void merge(self, const Plan *plan, Py_ssize_t q, Py_ssize_t k) noexcept nogil:
        """The k nearest of a query from those of the ranges, one after another."""
        cdef vq_search_scratch scratch
        cdef vq_query *query
        cdef Py_ssize_t part, place, n
        self.layout(plan, 0, &scratch)
        query = &scratch.queries[0]
        query.n_kept = 0
        for part in range(plan.n_ranges):
            place = q * plan.n_ranges + part
            n = plan.part_counts[place]
            query.bound = plan.part_bounds[place]  # of the sample: the same for all
            memcpy(query.keys + query.n_kept, plan.part_keys + place * plan.job.k, 8 * n)
            memcpy(query.ids + query.n_kept, plan.part_ids + place * plan.job.k, 8 * n)
            query.n_kept += n
            self.kernels.select(query, plan.job.k, plan.job.capacity)
        if self.is_found(plan, query):
            self.write(plan, q, query, k)
        else:
            self.search_again(plan, q, k, &scratch)


# What the threads of a new ordering need to know.
cdef struct Reranking:
    const vq_search_kernels *kernels
    vq_obs obs
    int obs_type
    Py_ssize_t n_features
    Py_ssize_t n_candidates
    Py_ssize_t k
    const double *queries
    const int64_t *candidates
    int64_t *indices
    double *sq_dists
    char *scratch
    Py_ssize_t worker_bytes


def rerank(cnp.ndarray queries, cnp.ndarray obs, cnp.ndarray candidates, cnp.ndarray indices, cnp.ndarray sq_dists,
           int workers=1, isa=None):
    """Write the k candidates of each query whose observations are nearest, in order.

    queries (n, n_features) is float64 in C order, obs float32 or float64 of any strides,
    candidates (n, n_candidates) int64, ascending, but for those below 0 at the end where there is
    none; indices (n, k) int64 and sq_dists (n, k) float64.
    """
    cdef Reranking job
    cdef Py_ssize_t n = cnp.PyArray_DIM(queries, 0)
    cdef vq_team team
    job.kernels = <const vq_search_kernels *>kernels_of(isa).search
    job.obs_type = VQ_FLOAT64 if view_obs(obs, &job.obs) else VQ_FLOAT32
    job.n_features, job.k = cnp.PyArray_DIM(queries, 1), cnp.PyArray_DIM(indices, 1)
    job.n_candidates = cnp.PyArray_DIM(candidates, 1)
    job.queries = <const double *>cnp.PyArray_DATA(queries)
    job.candidates = <const int64_t *>cnp.PyArray_DATA(candidates)
    job.indices, job.sq_dists = <int64_t *>cnp.PyArray_DATA(indices), <double *>cnp.PyArray_DATA(sq_dists)
    job.worker_bytes = 8 * job.n_features + 32 * job.n_candidates + 256
    workers = max(1, <int>min(<double>workers, n * job.n_candidates * (job.n_features + 32.0) / ELEMENTS_PER_THREAD))
    workers = max(1, min(workers, n))
    cdef char *memory = <char *>PyMem_RawMalloc(job.worker_bytes * workers)
    if memory == NULL:
        raise MemoryError
    job.scratch = memory
    vq_team_begin(&team, workers, 0, n)
    with nogil:
        if workers == 1:
            rerank_some(&team, 0, &job)
        else:
            with parallel(num_threads=vq_team_threads(workers)):
                vq_team_enter(&team, threadid())
                rerank_some(&team, threadid(), &job)
    PyMem_RawFree(memory)


cdef void rerank_some(vq_team *team, int worker, const Reranking *job) noexcept nogil:
    cdef Py_ssize_t q = vq_team_next(team, worker), n = job.n_candidates, i, found
    cdef const int64_t *candidates
    cdef vq_query query
    cdef double *row
    cdef char *cursor
    if q >= 0:
        cursor = align(job.scratch + worker * job.worker_bytes)
        row = <double *>vq_take(&cursor, 8 * job.n_features)
        query.keys = <double *>vq_take(&cursor, 16 * n)
        query.ids = <int64_t *>vq_take(&cursor, 16 * n)
    while q >= 0:
        candidates = job.candidates + q * n
        found = 0
        while found < n and candidates[found] >= 0:
            found += 1
        job.kernels.rerank(job.queries + q * job.n_features, &job.obs, job.obs_type, job.n_features, candidates, found,
                           row, query.keys)
        memcpy(query.ids, candidates, 8 * found)
        query.n_kept = found
        job.kernels.select(&query, job.k, n)
        for i in range(job.k):
            job.indices[q * job.k + i] = query.ids[i] if i < query.n_kept else -1
            job.sq_dists[q * job.k + i] = query.keys[i] if i < query.n_kept else INFINITY
        q = vq_team_next(team, worker)
