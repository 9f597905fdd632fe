"""Learning vector quantization: runs of online steps, and the passes over all observations."""
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.string cimport memcpy

cimport numpy as cnp

from .kernels cimport VQ_FLOAT32, VQ_FLOAT64, vq_obs
from .machine cimport kernels_of, view_obs
from .memory cimport vq_take
from .team cimport vq_team, vq_team_begin, vq_team_enter, vq_team_next, vq_team_threads

import numpy as np

cnp.import_array()

RULES = {
    "lvq1": VQ_LVQ1, "olvq1": VQ_OLVQ1, "pairs": VQ_PAIRS, "glvq": VQ_GLVQ, "gmlvq": VQ_GMLVQ, "rslvq": VQ_RSLVQ,
}
WHEN_CORRECT = {"pair": VQ_LVQ_PAIR, "attract": VQ_LVQ_ATTRACT, "keep": VQ_LVQ_KEEP}

cdef enum:
    CONSTANT
    LINEAR
    INVERSE_TIME
    GEOMETRIC
    RUN = 256  # steps of one call of a kernel

SCHEDULES = {"constant": CONSTANT, "linear": LINEAR, "inverse_time": INVERSE_TIME, "geometric": GEOMETRIC}

# Elements of work between two looks at the signals: some hundredths of a second.
cdef double WORK_PER_SIGNAL_CHECK = 1e8
# Elements of work that one more thread is worth, and rows of a part.
cdef double WORK_PER_THREAD = 1e6
cdef Py_ssize_t PART_ROWS = 128


cdef class Schedule:
    """The rate of step t = 0, 1, ...: ``rate`` times

    - 1 (constant),
    - (horizon - t) / horizon, 0 past the horizon (linear),
    - c / (c + t), c = horizon / 100 (inverse_time),
    - decay to the power t // epoch (geometric),

    but never less than ``rate * floor``.
    """

    cdef int kind
    cdef readonly double rate, horizon, epoch, decay, floor

    def __cinit__(self, kind, double rate, double horizon, double epoch, double decay, double floor=0.0):
        self.kind = SCHEDULES[kind]
        self.rate, self.horizon, self.epoch, self.decay, self.floor = rate, horizon, epoch, decay, floor

    cdef void fill(self, Py_ssize_t first, Py_ssize_t n, double *rates) noexcept nogil:
        cdef Py_ssize_t i, power, at = -1
        cdef double t, value = self.rate
        for i in range(n):
            t = <double>(first + i)
            if self.kind == LINEAR:
                value = self.rate * (self.horizon - t) / self.horizon
            elif self.kind == INVERSE_TIME:
                value = self.rate * (self.horizon / 100) / (self.horizon / 100 + t)
            elif self.kind == GEOMETRIC:
                power = <Py_ssize_t>(t / self.epoch)
                if power != at:
                    at, value = power, self.rate
                    while power > 0 and value > 0:
                        value *= self.decay
                        power -= 1
            rates[i] = max(value, self.rate * self.floor)

    def rates(self, Py_ssize_t first, Py_ssize_t n):
        """The rates of n steps."""
        cdef cnp.ndarray out = np.empty(n)
        self.fill(first, n, <double *>cnp.PyArray_DATA(out))
        return out


cdef const vq_lvq_kernels *lvq_kernels_of(isa, bint is_double) except NULL:
    return <const vq_lvq_kernels *>kernels_of(isa).lvq + (VQ_FLOAT64 if is_double else VQ_FLOAT32)


cdef class Training:
    """A model that is being trained by one of RULES, and the last state known to be good.

    obs is (n_obs, n_features) float32 or float64, classes int32 (n_obs,); prototypes is
    (n_prototypes, n_features) in C order and the type of obs, grouped by class, with starts
    int32 (n_classes + 1). rates (n_prototypes,) float64 is for OLVQ1, omega (rank, n_features)
    float64 for GMLVQ; options are the fields of vq_lvq_rule.
    """

    cdef readonly cnp.ndarray obs, classes, starts, labels
    cdef vq_obs view
    cdef const vq_lvq_kernels *kernels
    cdef vq_lvq_model model
    cdef vq_lvq_rule rule
    cdef int kind
    cdef Py_ssize_t n_obs, itemsize, rank, state_bytes
    cdef char *memory
    cdef char *state
    cdef char *good
    cdef double good_scale, limit
    cdef void *centre

    def __cinit__(self, rule, cnp.ndarray obs, cnp.ndarray classes, cnp.ndarray prototypes, cnp.ndarray starts,
                  rates=None, omega=None, isa=None, **options):
        cdef Py_ssize_t size = 0, groups
        cdef bint is_double = view_obs(obs, &self.view)
        self.obs, self.classes, self.starts = obs, classes, starts
        self.labels = np.repeat(np.arange(starts.shape[0] - 1, dtype=np.int32), np.diff(starts))
        self.kernels = lvq_kernels_of(isa, is_double)
        self.itemsize = 8 if is_double else 4
        self.kind = RULES[rule]
        self.n_obs = cnp.PyArray_DIM(obs, 0)
        self.rank = omega.shape[0] if omega is not None else 0
        self.model.n_prototypes = cnp.PyArray_DIM(prototypes, 0)
        self.model.n_features = cnp.PyArray_DIM(prototypes, 1)
        self.model.n_classes = cnp.PyArray_DIM(starts, 0) - 1
        self.model.width = self.whole(self.model.n_features)
        self.model.rank_width = self.whole(self.rank)
        self.model.labels = <const int32_t *>cnp.PyArray_DATA(self.labels)
        self.model.starts = <const int32_t *>cnp.PyArray_DATA(starts)
        self.model.scale = 1
        self.rule.rate = options.pop("rate", 0.0)
        self.rule.window = options.pop("window", 0.0)
        self.rule.epsilon = options.pop("epsilon", 0.0)
        self.rule.when_correct = WHEN_CORRECT[options.pop("when_correct", "pair")]
        self.rule.beta = options.pop("beta", 0.0)
        self.rule.matrix_rate = options.pop("matrix_rate", 0.0)
        self.rule.variance = options.pop("variance", 1.0)
        if options:
            raise TypeError(f"unknown options {sorted(options)}")
        self.layout(NULL, &size)
        self.memory = <char *>PyMem_RawCalloc(size + VQ_LVQ_LINE, 1)
        if self.memory == NULL:
            raise MemoryError
        self.layout(<char *>((<uintptr_t>self.memory + VQ_LVQ_LINE - 1) // VQ_LVQ_LINE * VQ_LVQ_LINE), &size)
        self.rows(self.model.prototypes, self.model.n_prototypes, self.model.width)[:, :self.model.n_features] = \
            prototypes
        # What pads the prototypes is never the nearest.
        groups = self.groups()
        self.rows(self.model.prototypes, groups, self.model.width)[self.model.n_prototypes:, 0] = INFINITY
        self.rows(self.model.sq_dists, 1, groups)[:] = INFINITY
        if rates is not None:
            memcpy(self.model.rates, cnp.PyArray_DATA(<cnp.ndarray?>rates), 8 * self.model.n_prototypes)
        if omega is not None:
            self.rows(self.model.matrix, self.model.n_features, self.model.rank_width)[:, :self.rank] = omega.T
        self.foresee()
        self.keep()

    def __dealloc__(self):
        PyMem_RawFree(self.memory)

    cdef Py_ssize_t whole(self, Py_ssize_t n) noexcept:
        """Elements of whole lines that hold n."""
        cdef Py_ssize_t size = VQ_LVQ_LINE // self.itemsize
        return (n + size - 1) // size * size

    cdef Py_ssize_t groups(self) noexcept:
        """Rows of whole groups that hold the prototypes."""
        return (self.model.n_prototypes + VQ_LVQ_GROUP - 1) // VQ_LVQ_GROUP * VQ_LVQ_GROUP

    cdef void layout(self, char *base, Py_ssize_t *size) noexcept:
        """Place every array after base; with base NULL only the size counts. The state comes first."""
        cdef char *cursor = base
        cdef Py_ssize_t m = self.model.n_prototypes, d = self.model.n_features, w = self.model.width
        cdef Py_ssize_t r = self.model.rank_width, groups = self.groups()
        cdef Py_ssize_t rows = (d + VQ_LVQ_GROUP - 1) // VQ_LVQ_GROUP * VQ_LVQ_GROUP
        cdef bint matrix = self.kind == VQ_GMLVQ
        self.state = cursor
        self.model.prototypes = vq_take(&cursor, groups * w * self.itemsize)
        self.model.rates = <double *>vq_take(&cursor, 8 * m)
        self.model.matrix = vq_take(&cursor, rows * r * self.itemsize)
        self.state_bytes = cursor - base
        self.good = <char *>vq_take(&cursor, self.state_bytes)
        self.model.obs = vq_take(&cursor, w * self.itemsize)
        self.centre = vq_take(&cursor, w * self.itemsize)
        self.model.sq_dists = vq_take(&cursor, groups * self.itemsize)
        self.model.factors = <double *>vq_take(&cursor, 8 * groups)
        self.model.differences = vq_take(&cursor, matrix * m * w * self.itemsize)
        self.model.projections = vq_take(&cursor, m * r * self.itemsize)
        self.model.moves = vq_take(&cursor, 2 * (w + VQ_LVQ_GROUP) * self.itemsize)
        self.model.foreseen = <int32_t *>vq_take(&cursor, 8 * self.n_obs)
        size[0] = cursor - base

    cdef rows(self, void *data, Py_ssize_t n_rows, Py_ssize_t width):
        """An array over the memory of this object, which must not leave it."""
        cdef cnp.npy_intp shape[2]
        shape[0], shape[1] = n_rows, width
        return cnp.PyArray_SimpleNewFromData(2, shape, cnp.NPY_FLOAT64 if self.itemsize == 8 else cnp.NPY_FLOAT32, data)

    cdef void foresee(self) noexcept:
        """At first the first prototype of its class is foreseen to be the nearest of an observation."""
        cdef const int32_t *classes = <const int32_t *>cnp.PyArray_DATA(self.classes)
        cdef Py_ssize_t i
        for i in range(self.n_obs):
            self.model.foreseen[2 * i] = self.model.starts[classes[i]]

    cdef void keep(self) noexcept:
        memcpy(self.good, self.state, self.state_bytes)
        self.good_scale = self.model.scale

    cdef int steps(self, const int64_t *order, Py_ssize_t n, Schedule schedule, Py_ssize_t first) except -1 nogil:
        cdef const int32_t *classes = <const int32_t *>cnp.PyArray_DATA(self.classes)
        cdef double[256] rates  # RUN
        cdef double work = 0
        cdef double each = <double>self.model.n_prototypes * self.model.width * max(1, self.model.rank_width) + 100
        cdef Py_ssize_t done = 0, some
        while done < n:
            some = min(<Py_ssize_t>RUN, n - done)
            schedule.fill(first + done, some, rates)
            self.kernels.train[self.kind](&self.model, &self.rule, &self.view, classes, order + done, rates, some)
            done += some
            work += some * each
            if work > WORK_PER_SIGNAL_CHECK:
                work = 0
                with gil:
                    PyErr_CheckSignals()
        return 0

    def train(self, cnp.ndarray order, Schedule schedule, Py_ssize_t first=0):
        """Steps number first, first + 1, ... with the observations order (int64, contiguous)."""
        cdef const int64_t *indices = <const int64_t *>cnp.PyArray_DATA(order)
        cdef Py_ssize_t n = cnp.PyArray_DIM(order, 0)
        with nogil:
            self.steps(indices, n, schedule, first)

    def watch(self, cnp.ndarray centre, double limit):
        """Say what is a good state: all prototypes within a squared distance of centre (n_features,)."""
        self.rows(self.centre, 1, self.model.width)[0, :self.model.n_features] = centre
        self.limit = limit

    def settle(self):
        """Whether the state is good. Then it is kept; otherwise the last good one is restored."""
        cdef double spread = self.kernels.spread(&self.model, self.centre)
        if spread <= self.limit and spread < INFINITY and self.model.scale > 0:
            self.keep()
            return True
        memcpy(self.state, self.good, self.state_bytes)
        self.model.scale = self.good_scale
        return False

    def prototypes(self):
        """A copy, (n_prototypes, n_features) in the type of obs."""
        return self.rows(self.model.prototypes, self.model.n_prototypes,
                         self.model.width)[:, :self.model.n_features].copy()

    def rates(self):
        """A copy of the rates of OLVQ1, (n_prototypes,)."""
        cdef cnp.ndarray out = np.empty(self.model.n_prototypes)
        memcpy(cnp.PyArray_DATA(out), self.model.rates, 8 * self.model.n_prototypes)
        return out

    def omega(self):
        """The matrix of GMLVQ, (rank, n_features) float64 of norm 1."""
        stored = self.rows(self.model.matrix, self.model.n_features, self.model.rank_width)[:, :self.rank]
        return np.ascontiguousarray(stored.T, dtype=np.float64) * self.model.scale


def hashes(cnp.ndarray obs, cnp.ndarray classes, isa=None):
    """A uint64 for each observation (n_obs, n_features) and its class (int32): equal for equal ones."""
    cdef vq_obs view
    cdef bint is_double = view_obs(obs, &view)
    cdef const vq_lvq_kernels *kernels = lvq_kernels_of(isa, is_double)
    cdef Py_ssize_t n = cnp.PyArray_DIM(obs, 0), d = cnp.PyArray_DIM(obs, 1)
    cdef cnp.ndarray out = np.empty(n, dtype=np.uint64)
    cdef const int32_t *labels = <const int32_t *>cnp.PyArray_DATA(classes)
    cdef uint64_t *data = <uint64_t *>cnp.PyArray_DATA(out)
    with nogil:
        kernels.hashes(&view, n, d, labels, data)
    return out


def shuffle(cnp.ndarray rows, cnp.ndarray draws):
    """Put rows (int64, contiguous) into a random order, one of draws (as many, from [0, 1)) for each.

    Fisher and Yates: row i changes places with one of the rows 0 to i. A bounded integer from
    the generator for each row takes twice as long.
    """
    cdef int64_t *row = <int64_t *>cnp.PyArray_DATA(rows)
    cdef const double *draw = <const double *>cnp.PyArray_DATA(draws)
    cdef Py_ssize_t i, j
    cdef int64_t kept
    with nogil:
        for i in range(cnp.PyArray_DIM(rows, 0) - 1, 0, -1):
            j = <Py_ssize_t>(draw[i] * <double>(i + 1))  # at most i: a draw is at most 1 - 2**-53
            kept = row[i]
            row[i] = row[j]
            row[j] = kept


cdef enum:
    CLASS_SQ_DISTS
    POSTERIORS
    PROJECT


cdef class _RowPass:
    """A pass over the rows of obs: each part of them writes its own rows of the result."""

    cdef const vq_lvq_kernels *kernels
    cdef vq_obs view
    cdef int kind, workers
    cdef Py_ssize_t n_rows, n_features, itemsize, n_columns, n_classes, scratch_size, rank_width
    cdef const double *table
    cdef const int32_t *starts
    cdef double variance
    cdef double *scratch
    cdef double *result

    def __cinit__(self, int kind, cnp.ndarray obs, int workers, isa):
        cdef bint is_double = view_obs(obs, &self.view)
        self.kind, self.workers = kind, workers
        self.kernels = lvq_kernels_of(isa, is_double)
        self.itemsize = 8 if is_double else 4
        self.n_rows, self.n_features = cnp.PyArray_DIM(obs, 0), cnp.PyArray_DIM(obs, 1)

    def __dealloc__(self):
        PyMem_RawFree(self.scratch)

    cdef void run_part(self, Py_ssize_t part, int worker) noexcept nogil:
        cdef Py_ssize_t first = part * PART_ROWS
        cdef Py_ssize_t n = min(PART_ROWS, self.n_rows - first)
        cdef double *row = self.scratch + worker * self.scratch_size
        cdef double *rest = row + self.n_features
        cdef double *result = self.result + first * self.n_columns
        cdef vq_obs obs = self.view
        obs.data = <const char *>obs.data + first * obs.row_stride * self.itemsize
        if self.kind == CLASS_SQ_DISTS:
            self.kernels.class_sq_dists(&obs, n, self.n_features, self.table, self.starts, self.n_classes, row, result)
        elif self.kind == POSTERIORS:
            self.kernels.posteriors(&obs, n, self.n_features, self.table, self.starts, self.n_classes, self.variance,
                                    row, rest, result)
        else:
            self.kernels.project(&obs, n, self.n_features, self.table, self.n_columns, self.rank_width, row, result)

    cdef void run_parts(self, vq_team *team, int worker) noexcept nogil:
        cdef Py_ssize_t part = vq_team_next(team, worker)
        while part >= 0:
            self.run_part(part, worker)
            part = vq_team_next(team, worker)

    cdef run(self, Py_ssize_t n_columns, Py_ssize_t scratch_size, double work_per_row):
        """The result, (n_rows, n_columns) float64; Ctrl-C is noticed between some of its parts."""
        cdef Py_ssize_t n_parts = (self.n_rows + PART_ROWS - 1) // PART_ROWS, first = 0, some
        cdef vq_team team
        cdef cnp.ndarray out = np.empty((self.n_rows, n_columns))
        cdef int workers = max(1, <int>min(<double>min(self.workers, n_parts),
                                           self.n_rows * work_per_row / WORK_PER_THREAD))
        self.n_columns = n_columns
        self.scratch_size = self.n_features + scratch_size + VQ_LVQ_LINE // 8
        self.scratch = <double *>PyMem_RawCalloc(workers * self.scratch_size, 8)
        if self.scratch == NULL:
            raise MemoryError
        self.result = <double *>cnp.PyArray_DATA(out)
        some = max(workers, <Py_ssize_t>(WORK_PER_SIGNAL_CHECK / (PART_ROWS * work_per_row)))
        while first < n_parts:
            with nogil:
                vq_team_begin(&team, workers, first, min(n_parts, first + some))
                if workers == 1:
                    self.run_parts(&team, 0)
                else:
                    with parallel(num_threads=vq_team_threads(workers)):
                        vq_team_enter(&team, threadid())
                        self.run_parts(&team, threadid())
            first += some
            PyErr_CheckSignals()
        return out


def class_sq_dists(cnp.ndarray obs, cnp.ndarray prototypes, cnp.ndarray starts, int workers=1, isa=None):
    """(n_obs, n_classes) squared distances to the nearest prototype of each class, inf without one.

    prototypes (n_prototypes, n_features) is float64 in C order, starts int32 (n_classes + 1).
    """
    cdef _RowPass rows = _RowPass(CLASS_SQ_DISTS, obs, workers, isa)
    rows.table = <const double *>cnp.PyArray_DATA(prototypes)
    rows.starts = <const int32_t *>cnp.PyArray_DATA(starts)
    rows.n_classes = cnp.PyArray_DIM(starts, 0) - 1
    return rows.run(rows.n_classes, 0, <double>cnp.PyArray_SIZE(prototypes) + rows.n_classes)


def posteriors(cnp.ndarray obs, cnp.ndarray prototypes, cnp.ndarray starts, double variance, int workers=1, isa=None):
    """(n_obs, n_classes) posterior probabilities under equal normal densities around the prototypes."""
    cdef _RowPass rows = _RowPass(POSTERIORS, obs, workers, isa)
    cdef Py_ssize_t m = cnp.PyArray_DIM(prototypes, 0)
    rows.table = <const double *>cnp.PyArray_DATA(prototypes)
    rows.starts = <const int32_t *>cnp.PyArray_DATA(starts)
    rows.n_classes = cnp.PyArray_DIM(starts, 0) - 1
    rows.variance = variance
    return rows.run(rows.n_classes, m + VQ_LVQ_GROUP, <double>cnp.PyArray_SIZE(prototypes) + 16 * m)


def project(cnp.ndarray obs, cnp.ndarray omega, int workers=1, isa=None):
    """(n_obs, rank) float64: every observation times the transpose of omega (rank, n_features)."""
    cdef _RowPass rows = _RowPass(PROJECT, obs, workers, isa)
    cdef Py_ssize_t rank = omega.shape[0]
    cdef cnp.ndarray table
    rows.rank_width = (rank + 7) // 8 * 8
    table = np.zeros((rows.n_features, rows.rank_width))
    table[:, :rank] = omega.T
    rows.table = <const double *>cnp.PyArray_DATA(table)
    return rows.run(rank, rows.rank_width, <double>rows.n_features * rows.rank_width)
