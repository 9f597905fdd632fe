"""The rounds of Lloyd's algorithm."""
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t

cimport cython
cimport numpy as cnp

from .kernels cimport vq_obs
from .means cimport Means, Update, move_obs
from .nearest cimport Assignment, Nearest
from .team cimport vq_team_lead
from .tiles cimport VQ_TILE_FEATURES, VQ_TILE_LARGEST, Tiles, new_tiles

cnp.import_array()

# Tiles: enough observations to sort, of a size whose squares suit float32. With more than
# three features boxes may be too wide: tiles of one observation in SAMPLE_STEP, which are wider
# still, must leave out most code words.
cdef Py_ssize_t TILE_OBS = 4096
cdef Py_ssize_t OBS_PER_CODE = 20
cdef double TILE_SMALLEST = 1e-12
cdef Py_ssize_t SAMPLE_STEP = 16
cdef double MOST_CANDIDATES = 0.75


cdef Tiles tiles_for(Nearest search, Means means, Py_ssize_t n_codes, Py_ssize_t n_rounds, const double *code_book,
                     bint forced):
    """Tiles for a fit that they suit, or None."""
    cdef Py_ssize_t n = search.n_obs, d = search.n_features
    cdef vq_obs sample = search.obs
    cdef Tiles trial
    if not means.fixed or means.weights is not None or not 1 <= d <= VQ_TILE_FEATURES or not n:
        return None
    if not TILE_SMALLEST < means.largest < VQ_TILE_LARGEST:
        return None
    if not forced:
        if search.forced or n_rounds <= 2 or n < max(TILE_OBS, OBS_PER_CODE * n_codes):
            return None
        if d > 3:
            sample.row_stride *= SAMPLE_STEP
            trial = new_tiles(search.kernels, &sample, n // SAMPLE_STEP, d, n_codes, 1, &search.team)
            if not trial.take_codes(code_book):
                return None
            trial.run(0, 0)
            if trial.candidates() > MOST_CANDIDATES * n_codes:
                return None
    return new_tiles(search.kernels, &search.obs, n, d, n_codes, means.workers, &search.team)


@cython.internal
cdef class Rounds:
    """Those of one call of `lloyd`."""

    cdef Nearest search
    cdef Means means
    cdef double *code_book
    cdef int32_t *codes
    cdef Py_ssize_t n_codes, n_rounds, n_with_empty
    cdef bint stop_on_empty, force_tiles
    cdef object error

    cdef int run(self) except -1:
        cdef Tiles tiles = tiles_for(self.search, self.means, self.n_codes, self.n_rounds, self.code_book,
                                     self.force_tiles)
        cdef bint has_tiles = tiles is not None, in_tiles = False
        cdef Py_ssize_t done
        cdef double work = 0
        cdef Assignment job
        cdef Update update
        cdef bint direct = self.means.memory != NULL
        job.codes, job.dist, job.dist_type, job.check_finite = self.codes, NULL, 0, False
        job.moved = self.means.touched
        update.means, update.codes = <void *>self.means, self.codes
        job.then, job.context = NULL, &update
        if direct:
            job.then = move_obs
        self.means.forget()
        with nogil:
            for done in range(self.n_rounds):
                if has_tiles and (in_tiles or done == 0 or done == 1) and tiles.take_codes(self.code_book):
                    in_tiles = True
                    self.means.run_tiles(tiles, self.n_codes, self.code_book)
                else:
                    job.warm = done > 0
                    if direct:
                        self.means.begin_direct()
                    if not self.search.run(self.code_book, self.n_codes, done > 0, &job):
                        break
                    if direct:
                        self.means.end_direct(self.codes, self.n_codes, False, self.code_book)
                    else:
                        self.means.run(self.codes, self.n_codes, False, self.code_book)
                if self.means.n_empty:
                    if self.stop_on_empty:
                        self.n_with_empty = 1
                        break
                    self.n_with_empty += self.n_rounds - done if self.means.n_moved == 0 else 1
                if self.means.n_moved == 0:
                    break
                work += <double>self.search.n_obs * self.n_codes * self.search.n_features
                if work > 1e8:
                    work = 0
                    with gil:
                        PyErr_CheckSignals()
            if in_tiles:
                tiles.expand(self.codes)
        return self.search.check()


cdef void lead_rounds(void *context) noexcept with gil:
    cdef Rounds rounds = <Rounds>context
    try:
        rounds.run()
    except BaseException as error:
        rounds.error = error
        rounds.means.forget()  # a round may have ended in the middle


def lloyd(Nearest search, Means means, cnp.ndarray code_book, cnp.ndarray codes, Py_ssize_t n_rounds,
          bint stop_on_empty=False, bint tiles=False):
    """Rounds of assignment and means; codes belong to the code book before the last means.

    code_book (n_codes, n_features) float64 in C order and codes (n_obs,) int32 are changed
    in place. Rounds after the codes have stopped changing are not run, as they would change
    nothing. Returns the number of rounds, run or not, that left a cluster empty; with
    stop_on_empty the first of them is the last run. tiles is for tests: it forces them where
    they are possible.
    """
    cdef Rounds rounds = Rounds.__new__(Rounds)
    rounds.search, rounds.means = search, means
    rounds.code_book = <double *>cnp.PyArray_DATA(code_book)
    rounds.codes = <int32_t *>cnp.PyArray_DATA(codes)
    rounds.n_codes, rounds.n_rounds, rounds.n_with_empty = cnp.PyArray_DIM(code_book, 0), n_rounds, 0
    rounds.stop_on_empty, rounds.force_tiles = stop_on_empty, tiles
    with nogil:
        vq_team_lead(&search.team, means.workers, lead_rounds, <void *>rounds)
    if rounds.error is not None:
        raise rounds.error
    return rounds.n_with_empty
