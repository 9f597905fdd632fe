/* The contract of tiles: k-means of few features by boxes of near observations.
 *
 * Observations in Morton order, equal ones merged, come in tiles of VQ_TILE. A code word c can
 * only beat another one, b, somewhere in the box of a tile (centre m, half widths h) if
 *
 *     |m - c|^2 - |m - b|^2 <= 2 sum_j h_j |c_j - b_j|,
 *
 * because the difference of two squared distances is linear in x. The double formula, which may
 * see a tie there, is off by less than 2^-48 |x - c|^2 <= 2^-47 (|m - c|^2 + |h|^2). With b the
 * nearest to m the others are left out; a few candidates are compared for all observations of the tile at once.
 *
 * Everything is float32 by direct differences of numbers that float32 holds exactly: each
 * squared distance is off by at most (d + 3) 2^-23 relative, plus what underflows, less than
 * d 2^-126. TILE_ROUNDING d covers both sides of a comparison; what is nearer to a tie than that
 * is decided by the double formula of kernels.h. The driver makes sure that no coordinate is
 * above VQ_TILE_LARGEST, so nothing overflows.
 */
#ifndef VQ_TILES_H
#define VQ_TILES_H

#include "kernels.h"

enum {
    VQ_TILE = 64,         /* observations in a tile */
    VQ_TILE_GROUP = 16,   /* tiles that share a first choice of code words */
    VQ_TILE_FEATURES = 8, /* most features */
    VQ_TILE_RADIX = 1024, /* values of a digit of a place in Morton order, which has three */
};
#define VQ_TILE_LARGEST 1e15

/* Code words side by side: (n_features, step) float, and their numbers. step is n rounded up to
 * whole sixteens, filled up with VQ_TILE_FAR. */
typedef struct {
    ptrdiff_t n;
    ptrdiff_t step;
    float *columns;
    int32_t *codes;
} vq_tile_codes;
#define VQ_TILE_FAR 1e18f

typedef struct {
    ptrdiff_t n_features;
    ptrdiff_t n_tiles;
    float *points;      /* (n_tiles, n_features, VQ_TILE) */
    int32_t *weights;   /* (n_tiles, VQ_TILE) how many observations are merged; 0 in what fills the last tile */
    int32_t *codes;     /* (n_tiles, VQ_TILE) */
    int32_t *single;    /* (n_tiles) the code of all, or -1 */
    float *boxes;       /* (n_tiles, 2, n_features) centre, half widths */
    float *group_boxes; /* (n_groups, 2, n_features) of VQ_TILE_GROUP tiles */
} vq_tiles;

/* Scratch and sums of one worker, in cache lines of its own as it holds counters. A row of sums is
 * (2, n_features) as in move_rows. */
typedef struct {
    _Alignas(64) float *sq_dists; /* (step) */
    vq_tile_codes group;          /* room for all code words */
    vq_tile_codes tile;
    int64_t *sums;        /* (n_codes, 2, n_features) what the codes gained in this round */
    int64_t *counts;      /* (n_codes) */
    int64_t n_moved;      /* observations with a new code */
    int64_t n_candidates; /* added up over the tiles */
} vq_tile_scratch;

struct vq_tile_kernels {
    /* keys[i] = place of observation first + i in Morton order (30 bits), and its number below
     * it. low and high are the ranges of the features. */
    void (*order)(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, ptrdiff_t first, ptrdiff_t last,
                  ptrdiff_t n_features, const float *low, const float *high, uint64_t *keys);

    /* A stable sort of the keys by the VQ_TILE_RADIX digit at shift, in parts: how many keys of a part have
     * which digit, and where its next one of each goes. */
    void (*count)(const uint64_t *keys, ptrdiff_t first, ptrdiff_t last, int shift, int64_t *counts);
    void (*scatter)(const uint64_t *keys, ptrdiff_t first, ptrdiff_t last, int shift, int64_t *starts,
                    uint64_t *sorted);

    /* Which of the observations at keys first ... last - 1 are not equal to the one before; returns how many. */
    ptrdiff_t (*mark)(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, const uint64_t *keys,
                      ptrdiff_t first, ptrdiff_t last, ptrdiff_t n_features, uint8_t *marks);

    /* Points and weights of those marked, of n sorted keys, n_before marks being in front of first; with
     * the last of them what fills the last tile. places[i] is where observation i went. */
    void (*fill)(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, const uint64_t *keys,
                 const uint8_t *marks, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, ptrdiff_t n_before,
                 vq_tiles *tiles, int32_t *places);

    /* Boxes of tiles first ... last - 1, multiples of VQ_TILE_GROUP but for the end. */
    void (*enclose)(const vq_tiles *tiles, ptrdiff_t first, ptrdiff_t last);

    /* Codes of the same tiles; with first_round, they had none. factor and low_factor as in
     * move_rows. */
    void (*assign)(const vq_tiles *tiles, ptrdiff_t first, ptrdiff_t last, const vq_tile_codes *all, int first_round,
                   double factor, double low_factor, vq_tile_scratch *scratch);
};

#endif
