"""Observations of few features in tiles: for the rounds of a fit."""
from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

from .kernels cimport vq_kernels, vq_obs
from .memory cimport vq_allocate, vq_release, vq_take
from .team cimport vq_team, vq_team_run

# Groups of tiles that a thread takes at a time: some thousand observations.
cdef Py_ssize_t GROUPS_PER_PART = 4
# Parts of the observations for each thread while they are sorted.
cdef Py_ssize_t PARTS_PER_THREAD = 4

# Of a key's upper half: so many digits of VQ_TILE_RADIX values.
cdef int DIGITS = 3
cdef int DIGIT_BITS = 10

cdef enum:  # stages of sorting
    MEASURE
    ORDER
    COUNT
    SCATTER
    MARK
    FILL
    ENCLOSE


# What a worker needs to know besides the part.
cdef struct Scan:
    void *tiles
    double factor, low_factor


cdef void run_sorting(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef Sorting *sorting = <Sorting *>context
    if sorting.stage == MEASURE:
        (<Tiles>sorting.tiles).measure_part(sorting, part, worker)
    else:
        (<Tiles>sorting.tiles).sort_part(sorting, part)


cdef void run_scan(void *context, Py_ssize_t part, int worker) noexcept nogil:
    cdef const Scan *scan = <const Scan *>context
    (<Tiles>scan.tiles).run_part(part, worker, scan.factor, scan.low_factor)


cdef class Tiles:
    """float32 observations of at most VQ_TILE_FEATURES features, sorted and merged.

    Takes (4 n_features + 32) bytes an observation, sixteen of them only while it is made.
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

    cdef void measure_part(self, Sorting *sorting, Py_ssize_t part, int worker) noexcept nogil:
        """Widen the worker's ranges of the features by a part."""
        cdef const float *obs = <const float *>self.obs.data
        cdef Py_ssize_t first = part * sorting.part_obs, last = min(self.n_obs, first + sorting.part_obs), i, j
        cdef Py_ssize_t rows = self.obs.row_stride, columns = self.obs.feature_stride
        cdef float *low = sorting.low + VQ_TILE_FEATURES * worker
        cdef float *high = sorting.high + VQ_TILE_FEATURES * worker
        cdef float x, least, most
        for j in range(self.n_features):
            least, most = low[j], high[j]
            for i in range(first, last):
                x = obs[i * rows + j * columns]
                least = min(least, x)
                most = max(most, x)
            low[j], high[j] = least, most

    cdef void sort_part(self, Sorting *sorting, Py_ssize_t part) noexcept nogil:
        cdef const float *obs = <const float *>self.obs.data
        cdef Py_ssize_t rows = self.obs.row_stride, columns = self.obs.feature_stride, d = self.n_features
        cdef Py_ssize_t first = part * sorting.part_obs, last = min(self.n_obs, first + sorting.part_obs)
        cdef Py_ssize_t width = GROUPS_PER_PART * VQ_TILE_GROUP
        cdef int64_t *starts = sorting.starts + part * VQ_TILE_RADIX
        if sorting.stage == ORDER:
            self.kernels.order(obs, rows, columns, first, last, d, sorting.low, sorting.high, sorting.keys + first)
        elif sorting.stage == COUNT:
            self.kernels.count(sorting.keys, first, last, sorting.shift, starts)
        elif sorting.stage == SCATTER:
            self.kernels.scatter(sorting.keys, first, last, sorting.shift, starts, sorting.spare)
        elif sorting.stage == MARK:
            sorting.n_points[part] = self.kernels.mark(obs, rows, columns, sorting.keys, first, last, d, sorting.marks)
        elif sorting.stage == FILL:
            self.kernels.fill(obs, rows, columns, sorting.keys, sorting.marks, first, last, self.n_obs,
                              sorting.n_points[part], &self.tiles, self.places)
        else:
            self.kernels.enclose(&self.tiles, part * width, min(self.tiles.n_tiles, (part + 1) * width))

    cdef void sort_pass(self, Sorting *sorting, int stage) noexcept nogil:
        cdef Py_ssize_t width = GROUPS_PER_PART * VQ_TILE_GROUP, n = sorting.n_parts
        if stage == ENCLOSE:
            n = (self.tiles.n_tiles + width - 1) // width
        sorting.stage = stage
        vq_team_run(self.team, self.workers, run_sorting, sorting, n)

    cdef void sort_digit(self, Sorting *sorting) noexcept nogil:
        """A stable sort of the keys by one digit."""
        cdef int64_t total = 0, count
        cdef Py_ssize_t part, r
        self.sort_pass(sorting, COUNT)
        for r in range(VQ_TILE_RADIX):
            for part in range(sorting.n_parts):
                count = sorting.starts[part * VQ_TILE_RADIX + r]
                sorting.starts[part * VQ_TILE_RADIX + r] = total
                total += count
        self.sort_pass(sorting, SCATTER)
        sorting.keys, sorting.spare = sorting.spare, sorting.keys
        sorting.shift += DIGIT_BITS

    cdef void count_points(self, Sorting *sorting) noexcept nogil:
        """Those in front of every part, and the tiles that all of them fill."""
        cdef Py_ssize_t total = 0, part, count
        for part in range(sorting.n_parts):
            count = sorting.n_points[part]
            sorting.n_points[part] = total
            total += count
        self.tiles.n_tiles = (total + VQ_TILE - 1) // VQ_TILE

    cdef int build(self) except -1:
        """Sort the observations into tiles."""
        cdef Py_ssize_t n = self.n_obs, most = self.workers * VQ_TILE_FEATURES, j, w, n_bytes
        cdef char *memory
        cdef char *cursor
        cdef Sorting sorting
        sorting.tiles, sorting.shift = <void *>self, 32
        sorting.part_obs = (n + PARTS_PER_THREAD * self.workers - 1) // (PARTS_PER_THREAD * self.workers)
        sorting.n_parts = (n + sorting.part_obs - 1) // sorting.part_obs
        n_bytes = 16 * n + 8 * most + 8 * sorting.n_parts * (VQ_TILE_RADIX + 1) + 5 * 64
        memory = cursor = <char *>vq_allocate(n_bytes)
        if memory == NULL:
            raise MemoryError
        sorting.keys = <uint64_t *>vq_take(&cursor, 8 * n)
        sorting.spare = <uint64_t *>vq_take(&cursor, 8 * n)
        sorting.starts = <int64_t *>vq_take(&cursor, 8 * sorting.n_parts * VQ_TILE_RADIX)
        sorting.n_points = <Py_ssize_t *>vq_take(&cursor, 8 * sorting.n_parts)
        sorting.low = <float *>vq_take(&cursor, 8 * most)
        sorting.high = sorting.low + most
        with nogil:
            for j in range(most):
                sorting.low[j] = INFINITY
                sorting.high[j] = -INFINITY
            self.sort_pass(&sorting, MEASURE)
            for w in range(1, self.workers):
                for j in range(self.n_features):
                    sorting.low[j] = min(sorting.low[j], sorting.low[w * VQ_TILE_FEATURES + j])
                    sorting.high[j] = max(sorting.high[j], sorting.high[w * VQ_TILE_FEATURES + j])
            self.sort_pass(&sorting, ORDER)
            while sorting.shift < 32 + DIGITS * DIGIT_BITS:
                self.sort_digit(&sorting)
            sorting.marks = <uint8_t *>sorting.spare
            self.sort_pass(&sorting, MARK)
            self.count_points(&sorting)
            self.sort_pass(&sorting, FILL)
            vq_release(memory, n_bytes)
            self.sort_pass(&sorting, ENCLOSE)
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

    cdef void run_part(self, Py_ssize_t part, int worker, double factor, double low_factor) noexcept nogil:
        cdef Py_ssize_t width = GROUPS_PER_PART * VQ_TILE_GROUP
        self.kernels.assign(&self.tiles, part * width, min(self.tiles.n_tiles, (part + 1) * width), &self.all,
                            self.first_round, factor, low_factor, self.scratch + worker)

    cdef int64_t run(self, double factor, double low_factor) noexcept nogil:
        """Codes for the code book taken, and the sums that moved in the scratch of every worker.

        Returns the number of observations that changed their code.
        """
        cdef Py_ssize_t width = GROUPS_PER_PART * VQ_TILE_GROUP
        cdef int64_t n_moved = 0
        cdef Scan scan
        cdef int w
        for w in range(self.workers):
            memset(self.scratch[w].sums, 0, 16 * self.n_features * self.n_codes)
            memset(self.scratch[w].counts, 0, 8 * self.n_codes)
            self.scratch[w].n_moved = 0
            self.scratch[w].n_candidates = 0
        scan.tiles, scan.factor, scan.low_factor = <void *>self, factor, low_factor
        vq_team_run(self.team, self.workers, run_scan, &scan, (self.tiles.n_tiles + width - 1) // width)
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
                     Py_ssize_t n_codes, int workers, vq_team *team):
    """Tiles of finite float32 observations up to VQ_TILE_LARGEST, for a team of that many workers or more."""
    cdef Tiles self = Tiles.__new__(Tiles)
    self.kernels = <const vq_tile_kernels *>kernels.tiles
    self.obs = obs[0]
    self.n_obs, self.n_features, self.n_codes = n_obs, n_features, n_codes
    self.workers, self.team = workers, team
    self.first_round = True
    self.n_bytes = self.layout(NULL)
    self.memory = <char *>vq_allocate(self.n_bytes)
    if self.memory == NULL:
        raise MemoryError
    self.layout(self.memory)
    self.build()
    return self
