/* The kernels of one instruction set. The build compiles this file once for each, with
 * VQ_ISA set to its name and the compiler's flags for it. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "additive.h"
#include "integers.h"
#include "lvq.h"
#include "kernels.h"
#include "seeds.h"
#include "simd.h"
#include "tiles.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

INLINE double sq_dist_f32(const float *x, const double *code_word, ptrdiff_t d);
INLINE double sq_dist_f64(const double *x, const double *code_word, ptrdiff_t d);
#include "code_book.inc.h"
#include "direct.inc.h"
#include "scan.inc.h"
#include "int16.inc.h"
#include "few.inc.h"
#include "few_codes.inc.h"
#include "tiles.inc.h"
#if defined(__AVX2__)
#define HAVE_INTEGERS 1
#include "wide.h"
#include "integers_convert.inc.h"
#include "integers_pack.inc.h"
#include "integers_tiles.inc.h"
#include "integers_bounds.inc.h"
#include "seeds.inc.h"
#else
#define HAVE_INTEGERS 0
#endif
#include "lvq_lanes.inc.h"

#define REAL float
#define REAL_BITS int32_t
#define REAL_UBITS uint32_t
#define TYPED(name) JOIN(name, f32)
#define TYPED_SHIFT(book) ((book)->shift_f32)
#define LOAD8 load8_f32
#define LOAD_VD vd_load_f32
#include "obs.inc.h"
#include "obs_passes.inc.h"
#if HAVE_INTEGERS
#include "integers_obs.inc.h"
#endif
#undef REAL
#undef REAL_BITS
#undef REAL_UBITS
#undef TYPED
#undef TYPED_SHIFT
#undef LOAD8
#undef LOAD_VD

#define REAL double
#define REAL_BITS int64_t
#define REAL_UBITS uint64_t
#define TYPED(name) JOIN(name, f64)
#define TYPED_SHIFT(book) ((book)->shift)
#define LOAD8 load8_f64
#define LOAD_VD vd_load
#include "obs.inc.h"
#include "obs_passes.inc.h"
#if HAVE_INTEGERS
#include "integers_obs.inc.h"
#endif

#undef REAL
#undef REAL_BITS
#undef REAL_UBITS
#undef TYPED
#undef TYPED_SHIFT
#undef LOAD8
#undef LOAD_VD

/* f64 first: projections are computed in double whatever the observations are. */
#define REAL double
#define REAL_BITS int64_t
#define TYPED(name) JOIN(name, f64)
#define LINE vd8
#define LINE_INTS vl8
#define LINE_ROWS LVQ_ROWS_F64
#define PART vd
#define PART_LOAD vd_load
#define PART_STORE vd_store
#include "lvq.inc.h"
#undef REAL
#undef REAL_BITS
#undef TYPED
#undef LINE
#undef LINE_INTS
#undef LINE_ROWS
#undef PART
#undef PART_LOAD
#undef PART_STORE

#define REAL float
#define REAL_BITS int32_t
#define TYPED(name) JOIN(name, f32)
#define LINE vf16
#define LINE_INTS vi16
#define LINE_ROWS LVQ_ROWS_F32
#define PART vf
#define PART_LOAD vf_load
#define PART_STORE vf_store
#include "lvq.inc.h"

#define LVQ_TABLE(type)                                                                                                \
    {                                                                                                                  \
        .train = {[VQ_LVQ1] = lvq1_step_train_##type,                                                                  \
                  [VQ_OLVQ1] = olvq1_step_train_##type,                                                                \
                  [VQ_PAIRS] = pairs_step_train_##type,                                                                \
                  [VQ_GLVQ] = glvq_step_train_##type,                                                                  \
                  [VQ_GMLVQ] = gmlvq_step_train_##type,                                                                \
                  [VQ_RSLVQ] = rslvq_step_train_##type},                                                               \
        .spread = lvq_spread_##type,                                                                                   \
        .hashes = lvq_hashes_##type,                                                                                   \
        .class_sq_dists = lvq_class_sq_dists_##type,                                                                   \
        .posteriors = lvq_posteriors_##type,                                                                           \
        .project = lvq_project_##type,                                                                                 \
    }

static const vq_lvq_kernels lvq_kernels[2] = {[VQ_FLOAT32] = LVQ_TABLE(f32), [VQ_FLOAT64] = LVQ_TABLE(f64)};
#include "additive.inc.h"
#include "search.inc.h"

static void roots(const double *sq_dists, ptrdiff_t n_rows, int dist_type, void *dist)
{
    if (dist_type == VQ_FLOAT32)
        roots_f32(sq_dists, n_rows, dist);
    else
        roots_f64(sq_dists, n_rows, dist);
}

/* The factors are powers of two, so that their inverses are exact. */
static void fixed_mean(const int64_t *sum, ptrdiff_t n_features, double total, double factor, double low_factor,
                       double *code_word)
{
    const int64_t *low_sum = sum + n_features;
    const double inverse = 1 / factor, low_inverse = 1 / low_factor;
    for (ptrdiff_t j = 0; j < n_features; j++)
        code_word[j] = (double)(float)(((double)sum[j] + (double)low_sum[j] * low_inverse) / total * inverse);
}

static double potential(const double *sq_dists, const double *weights, ptrdiff_t n)
{
    vd sums[VDS] = {{0}};
    double partial[8], total = 0;
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
#pragma GCC unroll 4
        for (int v = 0; v < VDS; v++) {
            vd terms = vd_load(sq_dists + i + v * VDL);
            if (weights)
                terms *= vd_load(weights + i + v * VDL);
            sums[v] += terms;
        }
    vd_store8(partial, sums);
    for (int r = 0; r < 8; r++)
        total += partial[r];
    for (; i < n; i++)
        total += weights ? sq_dists[i] * weights[i] : sq_dists[i];
    return total;
}

/* As many independent chains as the panel tile has, without its loads. */
static double peak(ptrdiff_t n_repetitions, float *sink)
{
    vf acc[TILE_ROWS][TILE_VECTORS], factor = vf_set(0.999f), term = vf_set(sink[0]);
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < TILE_VECTORS; v++)
            acc[r][v] = vf_set((float)(r * TILE_VECTORS + v)); /* different, or they would be merged */
    for (ptrdiff_t i = 0; i < n_repetitions; i++)
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 3
            for (int v = 0; v < TILE_VECTORS; v++)
                acc[r][v] = vf_fma(acc[r][v], factor, term);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECTORS; v++)
            term = vf_max(term, acc[r][v]);
    sink[0] = term[0];
    return 2.0 * TILE_ROWS * TILE_VECTORS * VL;
}

#define TYPED_TABLE(type)                                                                                              \
    {                                                                                                                  \
        .magnitude = magnitude_##type,                                                                                 \
        .extents = extents_##type,                                                                                     \
        .assign = {assign_direct_##type, assign_lanes_##type, assign_panels_##type},                                   \
        .assign_bounded = assign_bounded_##type,                                                                       \
        .sq_dists = sq_dists_##type,                                                                                   \
        .nearer = nearer_##type,                                                                                       \
        .add_rows = add_rows_##type,                                                                                   \
        .move_rows = move_rows_##type,                                                                                 \
        .move_changed = move_changed_##type,                                                                           \
    }

#if HAVE_INTEGERS
static const vq_integers_kernels integers_kernels = {
    .quad = QUAD,
    .arrange = integers_arrange,
    .pack = integers_pack,
    .follow = integers_follow,
    .project = integers_project,
    .typed =
        {
            [VQ_FLOAT32] = {integers_quantize_f32, integers_assign_f32},
            [VQ_FLOAT64] = {integers_quantize_f64, integers_assign_f64},
        },
};
static const vq_seeds_kernels seeds_kernels = {.place = seeds_place, .list = seeds_list, .limit = seeds_limit};
#define INTEGERS_KERNELS &integers_kernels
#define SEEDS_KERNELS &seeds_kernels
#else
#define INTEGERS_KERNELS NULL
#define SEEDS_KERNELS NULL
#endif

static const vq_tile_kernels tile_kernels = {
    .order = tiles_order,
    .count = tiles_count,
    .scatter = tiles_scatter,
    .mark = tiles_mark,
    .fill = tiles_fill,
    .enclose = tiles_enclose,
    .assign = tiles_assign,
};

const vq_kernels JOIN(vq_kernels, VQ_ISA) = {
    .name = TEXT(VQ_ISA),
    .panel = PANEL,
    .tile_rows = TILE_ROWS,
    .pack_shift = pack_shift,
    .pack_sq_norms = pack_sq_norms,
    .pack_scale = pack_scale,
    .pack_codes = pack_codes,
    .assign_few = assign_few,
    .assign_few_codes = assign_few_codes,
    .roots = roots,
    .fixed_mean = fixed_mean,
    .potential = potential,
    .peak = peak,
    .integers = INTEGERS_KERNELS,
    .seeds = SEEDS_KERNELS,
    .tiles = &tile_kernels,
    .lvq = lvq_kernels,
    .typed =
        {
            [VQ_FLOAT32] = TYPED_TABLE(f32),
            [VQ_FLOAT64] = TYPED_TABLE(f64),
        },
    .additive = &additive_kernels,
    .search = &search_kernels,
};
