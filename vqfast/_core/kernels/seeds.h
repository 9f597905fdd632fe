/* The contract of the filter for draws of k-means++, which lower the squared distance of every
 * observation to the nearest of those drawn so far, one more at a time.
 *
 * Everything is in the terms of integers.h: y = s q + a for the observation and z = t r + b for the
 * one drawn, which is an observation too, so z's integers are at hand. With D the distance that an
 * observation has by now, times the scale of y, and U = D + 2^-20 D + 2^-22 (|y| + Z) that of the
 * packed ones, rounded up (Z being the longest of all), z is not nearer where
 *
 *     |z|^2 / 2 - s t <q, r> > (U^2 - |y|^2) / 2 + 2^-21 (U^2 + |y|^2 + Z^2) + |a| Q + |y| E,
 *
 * and Q = |t r| <= |z| + |b|, E = |b| + 2^-21 Q, which covers the roundings of the left side. The first
 * two terms on the right are the limit of an observation and change only when its distance does.
 * All others are listed, and decided by the double formula. What is too small for squares in double
 * (an unscaled D^2 below 1e-290, but not zero) is always listed; a distance of zero, never.
 */
#ifndef VQ_SEEDS_H
#define VQ_SEEDS_H

#include "integers.h"

enum { VQ_SEEDS_ROWS = 512 }; /* observations of a block: arrays hold whole blocks */
#define VQ_SEEDS_SMALLEST 1e-290

/* Observations in integers, sixteen side by side. */
typedef struct {
    ptrdiff_t n_quads;
    int32_t *quads;  /* (n_rows / 16, n_quads, 16) quads of q; of bytes q + 128 */
    float *units;    /* s */
    float *errors;   /* |a|, rounded up */
    float *norms;    /* |y|, rounded up */
    float *sq_norms; /* |y|^2, rounded down; -inf where y leaves the range of float32 */
    float *limits;   /* -inf past the last observation */
} vq_seeds_rows;

typedef struct vq_seeds_kernels {
    /* The block of observations from first on: n_rows of them are what quantize (integers.h) has made
     * of them, the others are nothing. */
    void (*place)(const vq_integers_rows *quantized, ptrdiff_t n_rows, ptrdiff_t first, vq_seeds_rows *rows);

    /* Writes to list (VQ_SEEDS_ROWS + 16) which of the block of observations from first on may be
     * nearer to the one drawn, counted from first; returns how many. */
    ptrdiff_t (*list)(const vq_seeds_rows *rows, ptrdiff_t drawn, ptrdiff_t first, int32_t *list);

    /* The limits of the listed observations, by their squared distances; scale is that of y. */
    void (*limit)(const int32_t *list, ptrdiff_t n_listed, ptrdiff_t first, const double *sq_dists, double scale,
                  double longest, vq_seeds_rows *rows);
} vq_seeds_kernels;

#endif
