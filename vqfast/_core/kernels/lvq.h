/* Learning vector quantization: the contract of its kernels.
 *
 * An online fit is a chain: every step moves the prototypes that the next one compares. So a
 * kernel runs many steps on one thread, and vectors go along the features. REAL is float or
 * double, the type of the observations and of the prototypes; a row has VQ_LVQ_LINE bytes or
 * a multiple, its last features being zero.
 *
 * Order of operations, the same on every ISA (no fused multiply-add)
 * ------------------------------------------------------------------
 *   sum(t)          = fold(p), p_r = t_r + t_(r + L) + t_(r + 2 L) + ...   with L = 64 bytes of REAL
 *   fold(p)         adds the upper half of p to the lower one until one element is left
 *   sq_dist(x, w)   = sum((x - w)^2)
 *   move(w, f)      : w += (REAL)f * (x - w)
 *   exp(t)          for t <= 0: with n = round(t log2 e) and r = t - n ln 2 (in two parts) the
 *                   Taylor polynomial of degree 13 in r, see exp8, times 2^n; t below -700
 *                   counts as -700. Within 2 units in the last place.
 * Rates and factors are computed in double. The nearest prototype is that of the lowest index.
 *
 * One step, x being an observation of class y, d the squared distances, i the nearest prototype
 * and j the next one, "right" a prototype of class y, a the rate of the step:
 *
 *   LVQ1    move(i, i right ? a : -a)
 *   OLVQ1   the same with a = rates[i]; then rates[i] = min(rate, a / (1 + a)) if i was right,
 *           min(rate, a / (1 - a)) if not
 *   PAIRS   (LVQ2, LVQ2.1, LVQ3) inside = d_i > window * d_j
 *           i wrong, j right: if inside, move(i, -a), move(j, a)
 *           i right, j wrong: VQ_LVQ_PAIR: if inside, move(i, a), move(j, -a)
 *                             VQ_LVQ_ATTRACT: move(i, a)     VQ_LVQ_KEEP: nothing
 *           both right:       if epsilon > 0, move(i, epsilon a), move(j, epsilon a)
 *   GLVQ    with + the nearest right, - the nearest wrong prototype, s = d+ + d-,
 *           r = 1 / s, g = a (4 r): move(+, min(1, g (d- r) slope)),
 *           move(-, -min(1, g (d+ r) slope)); nothing if s is 0 or near underflow (2^-120 in
 *           float, 2^-1000 in double). slope = 1; with beta > 0, for the sigmoid, a is beta
 *           times as large and slope = e / (1 + e)^2, e = exp(-beta |(d+ - d-) r|)
 *   GMLVQ   distances |z_j|^2, z_j = omega (x - w_j); see gmlvq_step
 *   RSLVQ   P_j = exp((min d - d_j) / (2 variance)) / sum, Q_j the same among the right ones:
 *           move(j, (a / variance) (Q_j - P_j)), Q_j = 0 for the wrong ones; factors below
 *           1e-12 of a / variance are left out
 */
#ifndef VQ_LVQ_H
#define VQ_LVQ_H

#include "kernels.h"

enum { VQ_LVQ_LINE = 64, VQ_LVQ_GROUP = 16 };

enum { VQ_LVQ1, VQ_OLVQ1, VQ_PAIRS, VQ_GLVQ, VQ_GMLVQ, VQ_RSLVQ, VQ_LVQ_N_RULES };

/* What happens to a nearest prototype that is right while the next one is wrong. */
enum { VQ_LVQ_PAIR, VQ_LVQ_ATTRACT, VQ_LVQ_KEEP };

typedef struct {
    double rate;        /* OLVQ1: the first and largest rate */
    double window;      /* PAIRS: lower limit of d_i / d_j */
    double epsilon;     /* PAIRS */
    int when_correct;   /* PAIRS: one of the above */
    double beta;        /* GLVQ, GMLVQ: steepness of the sigmoid, 0 for the identity */
    double matrix_rate; /* GMLVQ: the rate of the matrix in units of that of the prototypes */
    double variance;    /* RSLVQ */
} vq_lvq_rule;

/* A model in training. Arrays are the driver's and start at a line.
 *
 *  prototypes  (n_prototypes, width) REAL, grouped by class in ascending order; the rows that
 *              follow up to a multiple of VQ_LVQ_GROUP have +inf as their first feature
 *  starts      (n_classes + 1): class c has prototypes starts[c] to starts[c + 1] - 1
 *  rates       (n_prototypes) double, OLVQ1
 *  matrix      (n_features, rank_width) REAL, GMLVQ: omega' / scale, its last columns
 *              and the rows up to a multiple of VQ_LVQ_GROUP zero
 *  foreseen    (n_obs, 2): the prototypes that an observation is thought to move; any numbers
 *
 * Scratch: obs (width) and sq_dists (n_prototypes rounded up to VQ_LVQ_GROUP, +inf at first) in REAL, factors
 * (as sq_dists) in double; for GMLVQ differences (n_prototypes, width), projections
 * (n_prototypes, rank_width) and moves (2, width) in REAL.
 */
typedef struct {
    ptrdiff_t n_prototypes;
    ptrdiff_t n_features;
    ptrdiff_t n_classes;
    ptrdiff_t width;
    ptrdiff_t rank_width;
    void *prototypes;
    const int32_t *labels;
    const int32_t *starts;
    double *rates;
    void *matrix;
    double scale;
    void *obs;
    void *sq_dists;
    double *factors;
    void *differences;
    void *projections;
    void *moves;
    int32_t *foreseen;
} vq_lvq_model;

struct vq_lvq_kernels {
    /* Steps with the observations order[0], order[1], ... of classes classes[order[0]], ... */
    void (*train[VQ_LVQ_N_RULES])(vq_lvq_model *model, const vq_lvq_rule *rule, const vq_obs *obs,
                                  const int32_t *classes, const int64_t *order, const double *rates, ptrdiff_t n_steps);

    /* The largest squared distance of a prototype to centre (width, REAL); +inf if one is not a number. */
    double (*spread)(vq_lvq_model *model, const void *centre);

    /* hashes[i] of the values of observation i and its class: equal ones have equal hashes. */
    void (*hashes)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const int32_t *classes, uint64_t *hashes);

    /* For prediction, in double and in the order of kernels.h: prototypes (n_prototypes,
     * n_features), row scratch of n_features. lowest (n_rows, n_classes): squared distance to the
     * nearest prototype of each class, +inf for a class without one. posterior: the P_j of
     * RSLVQ summed over the classes; sq_dists is scratch of n_prototypes rounded up to a group. */
    void (*class_sq_dists)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const double *prototypes,
                           const int32_t *starts, ptrdiff_t n_classes, double *row, double *lowest);
    void (*posteriors)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const double *prototypes,
                       const int32_t *starts, ptrdiff_t n_classes, double variance, double *row, double *sq_dists,
                       double *posterior);

    /* projected (n_rows, rank) = x omega': matrix (n_features, rank_width) double with scale 1;
     * row scratch of n_features and rank_width. */
    void (*project)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const double *matrix, ptrdiff_t rank,
                    ptrdiff_t rank_width, double *row, double *projected);
};

#endif
