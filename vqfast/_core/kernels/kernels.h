/* The contract between the Cython drivers and the C microkernels.
 *
 * Every kernel runs on one thread, allocates nothing, checks nothing and cannot
 * fail. The driver has validated shapes, owns all memory and hands out disjoint
 * outputs. Outputs come last.
 *
 * The answer every kernel must give
 * ---------------------------------
 * The code of an observation x is the index of the code word c with the smallest
 *
 *     sq_dist(x, c) = p_0 + p_1 + ... + p_7          (added left to right)
 *     p_r           = sum over j = r, r + 8, r + 16, ...  of (x_j - c_j)^2
 *
 * computed in IEEE double without fused multiply-add, the lowest index on ties.
 * A comparison with NaN is false, so a code word with a NaN never wins and an
 * observation without any finite distance gets code 0 and distance +inf.
 * Up to eight features this order is the plain sum from left to right.
 *
 * How the fast kernels give it
 * ----------------------------
 * They scan in float32 with y = (x - shift) * scale and z = (c - shift) * scale,
 *
 *     score(y, z) = |z|^2 / 2 - <y, z> = (sq_dist(x, c) * scale^2 - |y|^2) / 2,
 *
 * scale being the power of two that brings the longest z into [1, 2), in the first round
 * of a fit; later rounds keep it while the longest z stays within 2^-10 and 2^10. With
 * u = 2^-24, g = (d + 8) u / (1 - (d + 8) u), Z = max |z| and d features, a computed
 * score is off by at most g (Z^2 / 2 + Z |y|): d roundings in the chain, one for
 * each operand, one for |z|^2 / 2, the rest spare. The double formula itself is
 * off by at most g64 (|y| + Z)^2 with g64 = (d / 8 + 16) 2^-52. So a code whose
 * score lies more than
 *
 *     band(y) = 2 (g (Z^2 / 2 + Z |y|) + 2 g64 (|y|^2 + Z^2)) * 1.02
 *
 * above the lowest one cannot win (1.02 covers the roundings of the band). All
 * others are compared by the double formula. Underflow of a product is below
 * 2^-149 and drowns in g Z^2 / 2 >= 2^-42. Where y overflows float32 the band is
 * inf or NaN, and the observation is decided by the double formula alone.
 *
 * Across the rounds of a fit, panels of code words are skipped by lower bounds of their
 * distance (vq_bounds). Bounds are distances in packed units; each rounding is at least
 * 2^-22 relative in the safe direction (BOUND_UP, BOUND_DOWN), and the difference between
 * packed and true distances, u (|y| + Z) for either end, is added to the upper bound twice.
 */
#ifndef VQ_KERNELS_H
#define VQ_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* The element type of the observations indexes the typed kernels. */
enum { VQ_FLOAT32 = 0, VQ_FLOAT64 = 1 };

/* How a block of observations is compared with the code book. */
enum { VQ_DIRECT = 0, VQ_LANES = 1, VQ_PANELS = 2, VQ_N_PATHS = 3, VQ_INTEGERS = 3 };

enum {
    VQ_CANDIDATES = 15,     /* fills two cache lines, see vq_candidates */
    VQ_LANES_FEATURES = 64, /* most features of the lanes path: its buffers live on the stack */
    VQ_EXACT_GROUP = 8      /* code words in one group of the double layout */
};

/* Observations: element (i, j) is data[i * row_stride + j * feature_stride]. */
typedef struct {
    const void *data;
    ptrdiff_t row_stride;
    ptrdiff_t feature_stride;
} vq_obs;

/* A code book, as given and packed for the scan. The driver owns all arrays.
 *
 *  code_book   (n_codes, n_features) double, C order
 *  shift       (n_features) double; shift_f32 the same as float
 *  sq_norms    (n_codes) double, |c - shift|^2
 *  scores      lanes:  (n_codes, n_features) float, -z
 *              panels: (n_panels, n_features, width) float, -z; all panels have the
 *                      width of the ISA's tile but the last, which is cut to whole
 *                      vectors; a missing code word is zero
 *  half_norms  (n_codes rounded up to whole vectors) float, |z|^2 / 2; +inf for a
 *              missing or non-finite code word
 *  rows        panels and integers: (n_codes, n_features) float, z
 *  exact       few features: (n_groups, n_features, VQ_EXACT_GROUP) double, the
 *              code book with code words side by side; may be NULL for direct
 *  pairs       lanes: (n_codes, n_features / 2 rounded up, 2) int16, see int16.inc.h;
 *              int16_unit is 0 where that filter is not used
 *  starts      lanes: (n_codes) int32
 *  moved       (n_codes) 0 for a code word that is packed as it is; NULL: none is
 */
typedef struct {
    ptrdiff_t n_codes;
    ptrdiff_t n_features;
    const double *code_book;
    double *shift;
    float *shift_f32;
    double scale;
    double *sq_norms;
    float *scores;
    float *half_norms;
    float *rows;
    double *exact;
    int16_t *pairs;
    int32_t *starts;
    const uint8_t *moved;
    float int16_unit;
    float int16_error;   /* of a code word in pairs, in that unit */
    float band_constant; /* band(y) = constant + norm * |y| + square * |y|^2 */
    float band_norm;
    float band_square;
    float longest;        /* Z, rounded up */
    float longest_before; /* that of the round before */
} vq_code_book;

/* Bounds across the rounds of a fit, in the packed units. lower[p * row_step + i] - drifts[p]
 * is at most the distance of observation i to any code of panel p but the code that i had
 * when the entry was written; drifts[p] is the sum over the rounds of the longest step of a
 * code of the panel. A panel is skipped if the distance to the own code is below that.
 */
typedef struct {
    float *lower;
    ptrdiff_t row_step;
    const float *drifts;
    int first_round; /* codes and lower hold nothing yet */
} vq_bounds;

/* The code words that may still win for one observation of a block. */
typedef struct {
    float best;                   /* lowest score seen */
    int32_t count;                /* candidates held; VQ_CANDIDATES + 1: too many, decide directly */
    int32_t codes[VQ_CANDIDATES]; /* ascending, but for a first guess */
    float scores[VQ_CANDIDATES];
} vq_candidates;

/* Scratch of one worker for a block of up to block_rows observations. */
typedef struct {
    float *rows;               /* (block_rows, n_features) y of the block */
    float *bands;              /* (block_rows) */
    float *limits;             /* (block_rows) a score above it cannot win */
    vq_candidates *candidates; /* (block_rows) */
    double *row;               /* (n_features) one observation in double */
    double *sq_dists;          /* (block_rows) */
    float *sq_norms;           /* (block_rows) |y|^2, rounded down */
    float *upper;              /* (block_rows) distance to the own code, rounded up */
    float *minima;             /* (block_rows + tile_rows) lowest scores of the listed */
    int32_t *list;             /* (block_rows + tile_rows) observations that a panel needs */
} vq_scratch;

/* Kernels of one element type. */
typedef struct {
    /* max |x|; +inf or NaN if any element is. */
    double (*magnitude)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features);

    /* The same and min |x| over the elements that are not zero; +inf if all are. */
    void (*extents)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, double *largest, double *smallest);

    /* codes[i] = code of observation i, one function for each path. With warm, codes
     * holds a guess below n_codes on entry, which speeds up the panels path and changes nothing. */
    void (*assign[VQ_N_PATHS])(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                               int warm, int32_t *codes);

    /* The panels path with bounds: codes holds those of the round before. */
    void (*assign_bounded)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                           const vq_bounds *bounds, int32_t *codes);

    /* sq_dists[i] = sq_dist(observation i, code word codes[i]). */
    void (*sq_dists)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, const int32_t *codes, double *row,
                     double *sq_dists);

    /* Which of the listed observations (of the first n_listed, if list is NULL) are nearer to the code
     * word than by sq_dists: found[l], which may be list, and lowered[l], that squared distance.
     * Returns how many. */
    ptrdiff_t (*nearer)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                        const double *code_word, const double *sq_dists, double *row, int32_t *found, double *lowered);

    /* sum[j] += weight_i * x_ij over the listed observations i, in their order. weights may be
     * NULL. */
    void (*add_rows)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                     const double *weights, double *sum);

    /* The same in fixed point; a listed ~i takes observation i out. sum is (2, n_features): an
     * element is added as the integer part h of t = x * weight * factor and that of
     * (t - h) * low_factor, so the result does not depend on the order. */
    void (*move_rows)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                      const double *weights, double factor, double low_factor, int64_t *sum);

    /* The same for all the rows whose code is not the old one, in their order, with sums
     * (n_codes, 2, n_features) and counts that stay in the cache: into that of the code, out of
     * that of the old one if it is not negative. Then old is the code. Sets touched of the codes
     * that changed; returns the number of rows. */
    ptrdiff_t (*move_changed)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const int32_t *codes,
                              int32_t *old, double factor, double low_factor, int64_t *sums, int64_t *counts,
                              uint8_t *touched);
} vq_typed_kernels;

typedef struct vq_integers_kernels vq_integers_kernels; /* integers.h */
typedef struct vq_seeds_kernels vq_seeds_kernels;       /* seeds.h */
typedef struct vq_tile_kernels vq_tile_kernels;         /* tiles.h */
typedef struct vq_lvq_kernels vq_lvq_kernels;           /* lvq.h */
typedef struct vq_additive_kernels vq_additive_kernels; /* additive.h */
typedef struct vq_search_kernels vq_search_kernels;     /* search.h */

/* One row of the table of instruction sets. */
typedef struct {
    const char *name;
    ptrdiff_t panel;     /* code words in a full panel */
    ptrdiff_t tile_rows; /* observations in a tile of the panels path */

    /* Packing, in this order; the passes with first and last (both multiples of the panel,
     * or n_codes) may be shared between threads. Of the lanes path, who packs the first codes
     * packs the pairs of all.
     *
     * pack_scale returns 0 where the float32 scan cannot be trusted: code words equal, or of
     * a size whose square leaves the range of double. With keep it keeps the scale (and the
     * caller the shift) of the round before of a fit, and returns 0 if new ones are due.
     * pack_codes fills half_norms and the layouts of the path; with drifts (panels only), it
     * adds to drifts[p] the longest step of a code word of panel p since the round before. */
    void (*pack_shift)(vq_code_book *book, int obs_type);
    void (*pack_sq_norms)(vq_code_book *book, ptrdiff_t first, ptrdiff_t last);
    int (*pack_scale)(vq_code_book *book, int obs_type, int keep);
    void (*pack_codes)(vq_code_book *book, int path, ptrdiff_t first, ptrdiff_t last, float *drifts);

    /* Codes and squared distances of few float32 observations in C order, for a float32 code
     * book as given: nothing is packed. row is scratch of n_features. */
    void (*assign_few)(const float *obs, ptrdiff_t n_rows, const float *code_book, ptrdiff_t n_codes,
                       ptrdiff_t n_features, double *row, int32_t *codes, double *sq_dists);

    /* The lanes path for few codes of few features: codes and distances of the first rows of
     * float32 observations in C order. Returns how many, 0 where another way is as good, -1
     * where a row is not finite. row is scratch of n_features. */
    ptrdiff_t (*assign_few_codes)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, double *row,
                                  int32_t *codes, float *dist);

    /* dist[i] = sqrt(sq_dists[i]), NaN becoming +inf, in the element type dist_type. */
    void (*roots)(const double *sq_dists, ptrdiff_t n_rows, int dist_type, void *dist);

    /* The mean from sums in fixed point (see move_rows), rounded to float32. */
    void (*fixed_mean)(const int64_t *sum, ptrdiff_t n_features, double total, double factor, double low_factor,
                       double *code_word);

    /* The sum of the first n sq_dists, each times its weight unless weights is NULL. */
    double (*potential)(const double *sq_dists, const double *weights, ptrdiff_t n);

    /* n repetitions of independent multiply-adds in registers: the measured roof of
     * the benchmark. Returns the number of floating-point operations of one. */
    double (*peak)(ptrdiff_t n_repetitions, float *sink);

    const vq_integers_kernels *integers; /* NULL in the baseline */
    const vq_seeds_kernels *seeds;       /* the same */
    const vq_tile_kernels *tiles;
    const vq_lvq_kernels *lvq; /* [2], by element type */
    const vq_additive_kernels *additive;
    const vq_search_kernels *search;

    vq_typed_kernels typed[2];
} vq_kernels;

/* Rows of the table, dispatch.c. */
const vq_kernels *vq_kernels_named(const char *name); /* NULL: not built or not supported here */
const vq_kernels *vq_kernels_best(void);
const char *vq_isa_built(int i); /* NULL past the last */

#endif
