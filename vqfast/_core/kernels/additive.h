/* The contract of the kernels for code books whose words are added.
 *
 * A tuple takes one code word from each code book; it stands for their sum, added in double
 * in the order of the books and rounded to the type of the code books. Which tuple an
 * observation x gets is decided by its energy, the squared error up to a constant of x,
 *
 *     E(t) = sum_m U[m][t_m] + sum_{l < m} G[l][t_l][m][t_m],
 *     U[m][k] = |c_mk|^2 - 2 <x, c_mk>,   G[l][i][m][k] = 2 <c_li, c_mk>,
 *
 * which needs no residual. Observations and words are taken less shifts, which changes no
 * difference of complete tuples, but centres incomplete ones. There are two forms of it.
 *
 * Integers (cross is not NULL). Observations and code words are rounded to 16 bits, scaled to
 * a length of VQ_SUM_LENGTH, an observation by itself, the words by their longest one, so that
 * no inner product leaves int32. U is rounded to int32 and G to int16, in units of `unit`. From
 * the 16-bit numbers on everything but the product of an inner product with its unit (one
 * float multiplication) is done in integers: the energy of a tuple does not depend on the
 * order in which its words were found, on the instruction set, or on the other observations.
 * An observation longer than `longest` is shortened to it, which keeps energies within 2^29;
 * a missing code word has the energy VQ_SUM_MISSING.
 *
 * Direct (cross is NULL). A row of energies is |c|^2 - 2 <r, c> in double, r being x less
 * the other words of the tuple in the order of the books, inner products in the order of the
 * features; for books too large for a table, or too fine for 16 bits.
 */
#ifndef VQ_ADDITIVE_H
#define VQ_ADDITIVE_H

#include "kernels.h"

enum {
    VQ_SUM_WIDTH = 32,       /* rows of energies are padded to a multiple of this */
    VQ_SUM_GROUP = 16,       /* code words side by side in the 16-bit layout */
    VQ_SUM_LENGTH = 32000,   /* of a vector rounded to 16 bits */
    VQ_SUM_MISSING = 1 << 30 /* energy of a code word that pads a row */
};

/* How a search for tuples begins: at the codes on entry, with a beam that takes the books one
 * after another, or with a beam that takes them in any order. */
enum { VQ_START_GIVEN = 0, VQ_START_IN_ORDER = 1, VQ_START_ANY_ORDER = 2 };

/*  code_books  (n_books, n_codes, n_features) double
 *  centred     the same less a shift of each book
 *  shift       (n_features) double, the sum of the shifts, taken from observations
 *  words       (n_books * width / VQ_SUM_GROUP, n_pairs, VQ_SUM_GROUP, 2) int16: pairs of
 *              features of words side by side
 *  norms       (n_books, width) int32, |c|^2 in units
 *  cross       (n_books * n_codes, n_books, width) int16, G in units; zero within a book
 *  columns     direct: (n_books, n_features, width) double, words side by side
 *  sq_norms    direct: (n_books, width) double, +inf for a missing word
 */
typedef struct {
    ptrdiff_t n_books;
    ptrdiff_t n_codes;
    ptrdiff_t n_features;
    ptrdiff_t width;   /* n_codes in whole VQ_SUM_WIDTH */
    ptrdiff_t n_pairs; /* of features, the last one padded with a zero */
    int decoded_type;  /* VQ_FLOAT32 or VQ_FLOAT64: what a sum is rounded to */
    const double *code_books;
    const double *centred;
    const double *shift;
    double longest;
    double word_scale;
    double unit;
    int16_t *words;
    int32_t *norms;
    int16_t *cross;
    double *columns;
    double *sq_norms;
} vq_sum_books;

typedef struct {
    int start;
    ptrdiff_t beam;
    ptrdiff_t n_rounds;  /* of local search: some words are changed at random, then every
                          * word is improved in turn until nothing changes */
    ptrdiff_t n_sweeps;  /* most passes over the books in a round */
    ptrdiff_t n_changes; /* words changed at the beginning of a round */
    ptrdiff_t n_kept;    /* tuples of different energy kept for each observation; 0 for none */
    uint64_t seed;       /* the random numbers depend on it and on the codes a search begins
                          * with alone */
} vq_sum_search;

/* A tuple of the beam and a word more. */
typedef struct {
    int32_t tuple;
    int32_t book;
    int32_t word;
} vq_sum_candidate;

/* What one worker needs; sizes for n rows in a block.
 *
 *  rows      (n in whole VQ_SUM_ROWS, 2 n_pairs) int16, observations rounded
 *  factors   (n) float, from an inner product of row and word to 2 <x, c> in units
 *  sq_norms  (n) double, |x - shift|^2
 *  unaries   (n in whole VQ_SUM_ROWS, n_books, width) int32; direct: NULL
 *  vector    (3 n_features) double
 *  sums      (width) double, also used as int32
 *  tuples    (2 beam + 2, n_books) int32
 *  energies  (2 beam) double
 *  found     (beam, 3) int32
 *  order     (2 n_books) int32
 *  kept      (n_kept, n_books) int32 and kept_energies (n_kept) double
 */
typedef struct {
    int16_t *rows;
    float *factors;
    double *sq_norms;
    int32_t *unaries;
    double *vector;
    double *sums;
    int32_t *tuples;
    double *energies;
    vq_sum_candidate *found;
    int32_t *order;
    double *own;
    const int16_t **chosen;
    int32_t *kept;
    double *kept_energies;
} vq_sum_scratch;

enum { VQ_SUM_ROWS = 8 }; /* rows of a tile of inner products, on every instruction set */

struct vq_additive_kernels {
    /* Round code words first <= w < last (counted through the books) to 16 bits, into words
     * and norms (in units of 1 / word_scale^2, as double). */
    void (*pack_words)(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, double *sq_norms);

    /* For words first <= w < last: the largest |<c, c'>| over words of other books, and for
     * each word the squared distance to the nearest other word of its book, both in units of
     * 1 / word_scale^2. dots is scratch of VQ_SUM_ROWS rows of unaries, rows of 16 bits. */
    double (*measure_words)(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, const double *sq_norms,
                            int16_t *rows, int32_t *dots, double *nearest);

    /* Rows first <= w < last of cross. */
    void (*pack_cross)(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, int16_t *rows, int32_t *dots);

    /* Words of the books first <= m < last for the direct form. */
    void (*pack_columns)(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last);

    /* Search the tuples of n_rows observations. codes is (n_rows, n_books); kept (n_rows,
     * n_kept, n_books), by energy, and kept_energies (n_rows, n_kept), squared errors with
     * +inf where there are fewer, may be NULL. */
    void (*search)(const vq_sum_books *books, const vq_sum_search *how, const vq_obs *obs, int obs_type,
                   ptrdiff_t n_rows, vq_sum_scratch *scratch, uint16_t *codes, uint16_t *kept, double *kept_energies);

    /* The vectors of n_rows tuples into obs, (n_rows, n_features) of the books' decoded_type. */
    void (*decode)(const vq_sum_books *books, const uint16_t *codes, ptrdiff_t n_rows, double *vector, void *obs);

    /* Squared distances of observations to the vectors of their tuples, by the double formula. */
    void (*sq_errors)(const vq_sum_books *books, const vq_obs *obs, int obs_type, const uint16_t *codes,
                      ptrdiff_t n_rows, double *vector, double *sq_errors);

    /* The part of the normal equations that belongs to the books l <= m, in the order of the
     * rows: counts[l n_codes + i][m n_codes + k] += weight, for every kept tuple with words i
     * and k; counts is (n_books n_codes, n_books n_codes). A weight of zero ends the tuples of
     * a row; weights may be NULL (one). */
    void (*add_counts)(const uint16_t *codes, const double *weights, ptrdiff_t n_rows, ptrdiff_t n_kept,
                       ptrdiff_t n_books, ptrdiff_t n_codes, ptrdiff_t l, ptrdiff_t m, double *counts);

    /* sums[m n_codes + k][j] += weight (x_j - shift_j) over the features first <= j < last. */
    void (*add_sums)(const vq_obs *obs, int obs_type, const uint16_t *codes, const double *weights, ptrdiff_t n_rows,
                     ptrdiff_t n_kept, ptrdiff_t n_books, ptrdiff_t n_codes, ptrdiff_t n_features, const double *shift,
                     ptrdiff_t m, double *vector, double *sums);

    /* products[i][o] = sum over j, in order, of x_ij matrix[j][o], rounded to obs_type; matrix is
     * (n_features, n_outputs) double, vector scratch of 4 (n_features + n_outputs). */
    void (*rotate)(const vq_obs *obs, int obs_type, ptrdiff_t n_rows, ptrdiff_t n_features, const double *matrix,
                   ptrdiff_t n_outputs, double *vector, void *products);
};

static inline const vq_additive_kernels *vq_additive_of(const vq_kernels *kernels) { return kernels->additive; }

#endif
