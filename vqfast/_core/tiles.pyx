"""Observations of few features in tiles: for the rounds of a fit."""
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from .kernels cimport vq_kernels, vq_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

# Groups of tiles that a thread takes at a time: some thousand observations.
cdef Py_ssize_t GROUPS_PER_PART = 4
# Observations of which a thread computes the place at a time.
cdef Py_ssize_t ORDER_STEP = 16384


cdef class Tiles:
    """float32 observations of at most VQ_TILE_FEATURES features, sorted and merged.

    Takes (4 n_features + 32) bytes an observation, twenty of them only while it is made.
    """

    def __dealloc__(self):
        vq_release(self.memory, self.n_bytes)

    cdef Py_ssize_t layout(self, char *base) noexcept:
        """Place every array after base; with base NULL only the size that it returns counts."""
        cdef char *cursor = base
        cdef Py_ssize_t n_tiles = (self.n_obs + VQ_TILE - 1) // VQ_TILE, d = self.n_features
        cdef Py_ssize_t n_groups = (n_tiles + VQ_TILE_GROUP - 1) // VQ_TILE_GROUP
        cdef int w
        self.all.step = (self.n_codes + 15) // 16 * 16
        self.all.columns = <float *>vq_take(&cursor, 4 * d * self.all.step)
        self.all.codes = <int32_t *>vq_take(&cursor, 4 * self.all.step)
        self.scratch = <vq_tile_scratch *>vq_take(&cursor, self.workers * sizeof(vq_tile_scratch))
        for w in range(self.workers):
            self.layout_worker(&cursor, base != NULL, w)
        self.tiles.n_features = d
        self.tiles.points = <float *>vq_take(&cursor, 4 * d * VQ_TILE * n_tiles)
        self.tiles.weights = <int32_t *>vq_take(&cursor, 4 * VQ_TILE * n_tiles)
        self.tiles.codes = <int32_t *>vq_take(&cursor, 4 * VQ_TILE * n_tiles)
        self.tiles.single = <int32_t *>vq_take(&cursor, 4 * n_tiles)
        self.tiles.boxes = <float *>vq_take(&cursor, 8 * d * n_tiles)
        self.tiles.group_boxes = <float *>vq_take(&cursor, 8 * d * n_groups)
        self.places = <int32_t *>vq_take(&cursor, 4 * self.n_obs)
        return cursor - base

    cdef void layout_worker(self, char **cursor, bint placed, int worker) noexcept:
        cdef vq_tile_scratch scratch
        cdef Py_ssize_t d = self.n_features, step = self.all.step
        memset(&scratch, 0, sizeof(scratch))
        scratch.sq_dists = <float *>vq_take(cursor, 4 * step)
        scratch.group.step = scratch.tile.step = step
        scratch.group.columns = <float *>vq_take(cursor, 4 * d * step)
        scratch.group.codes = <int32_t *>vq_take(cursor, 4 * step)
        scratch.tile.columns = <float *>vq_take(cursor, 4 * d * step)
        scratch.tile.codes = <int32_t *>vq_take(cursor, 4 * step)
        scratch.sums = <int64_t *>vq_take(cursor, 16 * d * self.n_codes)
        scratch.counts = <int64_t *>vq_take(cursor, 8 * self.n_codes)
        if placed:
            self.scratch[worker] = scratch

    cdef void order_parts(self, vq_team *team, int worker, float *low, float *high, uint64_t *keys) noexcept nogil:
        """Ranges of the features of a worker's parts (keys NULL), or the keys of the parts."""
        cdef const float *obs = <const float *>self.obs.data
        cdef Py_ssize_t part = vq_team_next(team, worker), d = self.n_features, first, last, i, j
        cdef Py_ssize_t rows = self.obs.row_stride, columns = self.obs.feature_stride
        cdef float x, least, most
        while part >= 0:
            first, last = part * ORDER_STEP, min(self.n_obs, (part + 1) * ORDER_STEP)
            if keys != NULL:
                self.kernels.order(obs, rows, columns, first, last, d, low, high, keys + first)
            else:
                for j in range(d):
                    least, most = low[j], high[j]
                    for i in range(first, last):
                        x = obs[i * rows + j * columns]
                        least = min(least, x)
                        most = max(most, x)
                    low[j], high[j] = least, most
            part = vq_team_next(team, worker)

    cdef void order_pass(self, float *low, float *high, uint64_t *keys) noexcept nogil:
        """With keys NULL every worker has its own ranges, VQ_TILE_FEATURES apart."""
        cdef vq_team team
        cdef Py_ssize_t step = VQ_TILE_FEATURES if keys == NULL else 0
        vq_team_begin(&team, self.workers, 0, (self.n_obs + ORDER_STEP - 1) // ORDER_STEP)
        if self.workers == 1:
            self.order_parts(&team, 0, low, high, keys)
        else:
            with parallel(num_threads=vq_team_threads(self.workers)):
                vq_team_enter(&team, threadid())
                self.order_parts(&team, threadid(), low + threadid() * step, high + threadid() * step, keys)

    cdef int build(self) except -1:
        """Sort the observations into tiles."""
        cdef Py_ssize_t n = self.n_obs, j, w
        cdef Py_ssize_t most = (self.workers + 1) * VQ_TILE_FEATURES  # a team may have one thread more
        cdef uint64_t *keys = <uint64_t *>vq_allocate(16 * n + 8 * most)
        cdef float *low = <float *>(keys + 2 * n)
        cdef float *high = low + most
        if keys == NULL:
            raise MemoryError
        with nogil:
            for j in range(most):
                low[j] = INFINITY
                high[j] = -INFINITY
            self.order_pass(low, high, NULL)
            for w in range(1, self.workers):
                for j in range(self.n_features):
                    low[j] = min(low[j], low[w * VQ_TILE_FEATURES + j])
                    high[j] = max(high[j], high[w * VQ_TILE_FEATURES + j])
            self.order_pass(low, high, keys)
            self.kernels.sort(keys, keys + n, n)
            self.kernels.fill(<const float *>self.obs.data, self.obs.row_stride, self.obs.feature_stride, keys, n,
                              &self.tiles, self.places)
            vq_release(keys, 16 * n + 8 * most)
            self.kernels.enclose(&self.tiles, 0, self.tiles.n_tiles)
        return 0

    cdef bint take_codes(self, const double *code_book) noexcept nogil:
        """Whether all numbers of the code book suit float32; to be called before run."""
        cdef Py_ssize_t k, j, d = self.n_features, step = self.all.step
        cdef double value
        for j in range(d):
            for k in range(self.n_codes):
                value = code_book[k * d + j]
                if not (fabs(value) < VQ_TILE_LARGEST and <double><float>value == value):
                    return False
                self.all.columns[j * step + k] = <float>value
            for k in range(self.n_codes, step):
                self.all.columns[j * step + k] = VQ_TILE_FAR
        for k in range(self.n_codes):
            self.all.codes[k] = k
        self.all.n = self.n_codes
        return True

    cdef void run_parts(self, vq_team *team, int worker, double factor, double low_factor) noexcept nogil:
        cdef Py_ssize_t part = vq_team_next(team, worker), width = GROUPS_PER_PART * VQ_TILE_GROUP
        while part >= 0:
            self.kernels.assign(&self.tiles, part * width, min(self.tiles.n_tiles, (part + 1) * width), &self.all,
                                self.first_round, factor, low_factor, self.scratch + worker)
            part = vq_team_next(team, worker)

    cdef int64_t run(self, double factor, double low_factor) noexcept nogil:
        """Codes for the code book taken, and the sums that moved in the scratch of every worker.

        Returns the number of observations that changed their code.
        """
        cdef Py_ssize_t width = GROUPS_PER_PART * VQ_TILE_GROUP
        cdef int64_t n_moved = 0
        cdef vq_team team
        cdef int w
        for w in range(self.workers):
            memset(self.scratch[w].sums, 0, 16 * self.n_features * self.n_codes)
            memset(self.scratch[w].counts, 0, 8 * self.n_codes)
            self.scratch[w].n_moved = 0
            self.scratch[w].n_candidates = 0
        vq_team_begin(&team, self.workers, 0, (self.tiles.n_tiles + width - 1) // width)
        if self.workers == 1:
            self.run_parts(&team, 0, factor, low_factor)
        else:
            with parallel(num_threads=vq_team_threads(self.workers)):
                vq_team_enter(&team, threadid())
                self.run_parts(&team, threadid(), factor, low_factor)
        for w in range(self.workers):
            n_moved += self.scratch[w].n_moved
        self.first_round = False
        return n_moved

    cdef double candidates(self) noexcept nogil:
        """Code words compared for each tile of the last round."""
        cdef int64_t n = 0
        cdef int w
        for w in range(self.workers):
            n += self.scratch[w].n_candidates
        return <double>n / self.tiles.n_tiles

    cdef void expand(self, int32_t *codes) noexcept nogil:
        """The code of every observation in its given place."""
        cdef Py_ssize_t i
        for i in range(self.n_obs):
            codes[i] = self.tiles.codes[self.places[i]]


cdef Tiles new_tiles(const vq_kernels *kernels, const vq_obs *obs, Py_ssize_t n_obs, Py_ssize_t n_features,
                     Py_ssize_t n_codes, int workers):
    """Tiles of finite float32 observations up to VQ_TILE_LARGEST."""
    cdef Tiles self = Tiles.__new__(Tiles)
    self.kernels = <const vq_tile_kernels *>kernels.tiles
    self.obs = obs[0]
    self.n_obs, self.n_features, self.n_codes = n_obs, n_features, n_codes
    self.workers = workers
    self.first_round = True
    self.n_bytes = self.layout(NULL)
    self.memory = <char *>vq_allocate(self.n_bytes)
    if self.memory == NULL:
        raise MemoryError
    self.layout(self.memory)
    self.build()
    return self
