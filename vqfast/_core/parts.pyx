"""The nearest code words of the parts of observations: one code book for some of the features each."""
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint8_t, uint16_t

cimport numpy as cnp

from .kernels cimport vq_code_book, vq_obs, vq_scratch, vq_typed_kernels
from .machine cimport view_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .nearest cimport DIRECT_OBS_LANES, LANES_LIMIT, WORK_PER_THREAD, Assignment, Nearest
from .team cimport omp_get_num_procs, vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_stop, \
    vq_team_stopped, vq_team_threads

cnp.import_array()

# A part of more features is better searched by itself.
MOST_FEATURES = LANES_LIMIT

# Observations of a block are read once for each part: they stay in the second-level cache, or nearly.
# Half as many end in more groups of doubtful ones that are not full (5 to 10 % more time with 8 parts of 16).
cdef Py_ssize_t BLOCK_BYTES = 1 << 20
cdef Py_ssize_t BLOCK_MULTIPLE = 64
cdef Py_ssize_t BLOCK_ROWS = 2048
# With more than one code in so many zero, one pass over the part of a block costs less than calls for rows.
cdef Py_ssize_t MOST_UNSURE = 8
# Multiply-adds between two looks at the signals: a tenth of a second of the slowest path.
cdef double WORK_PER_SIGNAL_CHECK = 5e8

cdef struct Part:
    const vq_code_book *book
    Py_ssize_t first_feature
    int path

cdef struct Job:
    vq_obs obs
    const vq_typed_kernels *typed
    Py_ssize_t n_obs, n_features, n_parts, block_rows
    int itemsize, code_size
    Part *parts
    vq_scratch *scratch  # for each worker, a row alone
    int32_t **found      # for each worker, the codes of a block
    char *codes


cdef Py_ssize_t layout(Job *job, Py_ssize_t widest, int workers, char *base) noexcept:
    """Place every array after base; with base NULL only the size that it returns counts."""
    cdef char *cursor = base
    cdef int w
    cdef double *row
    cdef int32_t *found
    job.parts = <Part *>vq_take(&cursor, job.n_parts * sizeof(Part))
    job.scratch = <vq_scratch *>vq_take(&cursor, workers * sizeof(vq_scratch))
    job.found = <int32_t **>vq_take(&cursor, workers * sizeof(int32_t *))
    for w in range(workers):
        row = <double *>vq_take(&cursor, 8 * widest)
        found = <int32_t *>vq_take(&cursor, 4 * job.block_rows)
        if base != NULL:
            job.scratch[w].row = row
            job.found[w] = found
    return cursor - base


cdef bint finite_row(const Job *job, const vq_obs *part, Py_ssize_t i, Py_ssize_t n_features) noexcept nogil:
    cdef vq_obs row = part[0]
    row.data = <const char *>part.data + i * part.row_stride * job.itemsize
    return job.typed.magnitude(&row, 1, n_features) < INFINITY


cdef bint write_codes(const Job *job, const vq_obs *part, Py_ssize_t first, Py_ssize_t n, Py_ssize_t m,
                      const int32_t *found) noexcept nogil:
    """Write the codes of a part; whether its features are finite.

    An observation without a finite distance has code 0, so only those with that code are read again
    (reading all of them took 5 % of the time with 8 parts of 16 features).
    """
    cdef Py_ssize_t i, n_features = job.parts[m].book.n_features, n_unsure = n // MOST_UNSURE
    cdef uint8_t *narrow = <uint8_t *>job.codes + first * job.n_parts + m
    cdef uint16_t *wide = <uint16_t *>job.codes + first * job.n_parts + m
    for i in range(n):
        if job.code_size == 1:
            narrow[i * job.n_parts] = <uint8_t>found[i]
        else:
            wide[i * job.n_parts] = <uint16_t>found[i]
        if found[i] == 0 and n_unsure >= 0:
            if not finite_row(job, part, i, n_features):
                return False
            n_unsure -= 1
    return n_unsure >= 0 or job.typed.magnitude(part, n, n_features) < INFINITY


cdef void run_blocks(vq_team *team, int worker, const Job *job) noexcept nogil:
    cdef Py_ssize_t block = vq_team_next(team, worker), first, n, m
    cdef vq_obs rows, part
    while block >= 0:
        first = block * job.block_rows
        n = min(job.block_rows, job.n_obs - first)
        rows = part = job.obs
        rows.data = <const char *>rows.data + first * rows.row_stride * job.itemsize
        for m in range(job.n_parts):
            part.data = <const char *>rows.data + job.parts[m].first_feature * rows.feature_stride * job.itemsize
            job.typed.assign[job.parts[m].path](&part, n, job.parts[m].book, job.scratch + worker, 0,
                                                job.found[worker])
            if not write_codes(job, &part, first, n, m, job.found[worker]):
                vq_team_stop(team)
                return
        block = vq_team_next(team, worker)


cdef bint run(const Job *job, int workers, Py_ssize_t at_once) except -1 nogil:
    """All blocks; whether the observations are finite."""
    cdef Py_ssize_t n_blocks = (job.n_obs + job.block_rows - 1) // job.block_rows, first = 0
    cdef vq_team team
    while first < n_blocks:
        vq_team_begin(&team, workers, first, min(n_blocks, first + at_once))
        if workers == 1:  # no OpenMP: safe in a forked child
            run_blocks(&team, 0, job)
        else:
            with parallel(num_threads=vq_team_threads(workers)):
                vq_team_enter(&team, threadid())
                run_blocks(&team, threadid(), job)
        if vq_team_stopped(&team):
            return False
        first = team.last
        with gil:
            PyErr_CheckSignals()
    return True


def assign_parts(cnp.ndarray obs, list code_books, cnp.ndarray codes, int workers=1, isa=None):
    """Write the code of every part of every observation: those that ``Nearest`` finds part by part.

    obs is (n_obs, n_features) float32 or float64; the code books, (2 or more codes, at most MOST_FEATURES)
    float64 in C order, are for its features one after another; codes is (n_obs, n_parts) uint8
    or uint16 in C order. Returns False, with codes undefined, if an observation is not finite
    in the features of the code books.
    """
    cdef Job job
    cdef Assignment packing
    cdef Nearest search
    cdef cnp.ndarray book
    cdef Py_ssize_t n_bytes, n_codes = len(code_books[0]), feature = 0, m, multiple
    cdef double work
    cdef char *memory
    path = "lanes" if len(obs) >= DIRECT_OBS_LANES else "direct"
    job.itemsize = 8 if view_obs(obs, &job.obs) else 4
    job.n_obs, job.n_features, job.n_parts = obs.shape[0], obs.shape[1], len(code_books)
    job.code_size = codes.dtype.itemsize
    job.codes = <char *>cnp.PyArray_DATA(codes)
    multiple = max(1, BLOCK_BYTES // (job.itemsize * job.n_features * BLOCK_MULTIPLE))
    job.block_rows = min(BLOCK_ROWS, multiple * BLOCK_MULTIPLE)
    work = <double>n_codes * (job.n_features + 4 * job.n_parts)
    workers = max(1, <int>min(<double>workers, job.n_obs * work / WORK_PER_THREAD))
    workers = max(1, min(workers, <int>((job.n_obs + job.block_rows - 1) // job.block_rows)))
    cdef Py_ssize_t at_once = min(workers, omp_get_num_procs()) * \
        max(1, <Py_ssize_t>(WORK_PER_SIGNAL_CHECK / (work * job.block_rows)))
    n_bytes = layout(&job, MOST_FEATURES, workers, NULL)
    memory = <char *>vq_allocate(n_bytes)
    if memory == NULL:
        raise MemoryError
    try:
        layout(&job, MOST_FEATURES, workers, memory)
        packing.warm = False
        packing.moved = NULL
        searches = []
        for m, book in enumerate(code_books):
            search = Nearest(obs[:, feature:feature + book.shape[1]], n_codes, 1, isa, path)
            job.typed = search.typed
            job.parts[m].path = search.pack(<const double *>cnp.PyArray_DATA(book), n_codes, &packing, False)
            job.parts[m].book = &search.book
            job.parts[m].first_feature = feature
            feature += book.shape[1]
            searches.append(search)  # it owns what was packed
        with nogil:
            finite = run(&job, workers, at_once)
    finally:
        vq_release(memory, n_bytes)
    return finite
