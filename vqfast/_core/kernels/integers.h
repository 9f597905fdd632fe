/* The contract of the integer scan: a filter in front of the float32 one (kernels.h), in products
 * of integers: 8 bits with AVX-512 VNNI, four times as many at once as floats, and 16 bits with AVX2
 * and AVX-512 elsewhere, twice as many.
 *
 * With the packed y and z of kernels.h and the score |z|^2 / 2 - <y, z>, let
 *
 *     y = s q + a      q integers, s one unit for each observation,
 *     z = t r + b      r integers, t one unit for each sixteen code words.
 *
 * Then <y, z> = s t <q, r> + <a, t r> + <y, b>, and by Cauchy and Schwarz the computed
 *
 *     score = |z|^2 / 2 - s t <q, r>
 *
 * is off by at most  |a| Q + |y| E + rounding,  Q = max |t r|, E = max |b| over the sixteen.
 * <q, r> and its partial sums are exact in int32: bytes are in -127 ... 127 and features at most
 * 2^14; of 16 bits the units keep |q| and |r| below sqrt(2^31). Rounding: <q, r> to float, s t, and
 * one multiply-add, each u = 2^-24 relative to at most |s q| |t r| <= (|y| + |a|) Q or to the
 * score itself: below 2^-22 ((|y| + |a|) Q + Z^2 / 2), which goes into Q, E and the limit.
 * |a|, |y| and E are sums of d squares in float32, (d + 8) u relative, and rounded up by as much.
 *
 * So with the own code's squared distance at most v, a code word whose score is above
 *
 *     (v - |y|^2) / 2 + band(y) + 2^-23 Z^2 + |a| Q + |y| E
 *
 * cannot win. The others are hits: their distances are computed in float32, by differences of y
 * and z, off by at most (d + 8) u relative and 2 u (|y| + Z). Where that leaves a doubt the
 * double formula decides. Integers of 16 bits stand in for y there, and so do bytes with a second
 * plane of them, s / 254 a unit, and with directions (below) a plane of 16 bits: that halves what
 * is read from memory, which bounds the rounds of a fit, and the distances may be off by what they
 * leave of y, some 1e-4 |y|. (With bytes alone, 1e-2 |y|, isotropic data took a fifth longer.)
 *
 * Directions in front
 * -------------------
 * Where few directions hold nearly all of the data, integers of what they see are enough. With
 * orthonormal columns V,  y' = (V'y, |y - VV'y|)  and z' alike have the norms of y and z, and by
 * Cauchy and Schwarz  <y, z> <= <y', z'>:  scores of y' and z' are too low at most, which is the
 * safe side of everything above, as all distances are those of y and z. Computed are B'y with
 * float columns B, off by at most e |y| from V'y for the orthonormal V nearest to B,
 *
 *     e = |B'B - I| + (VQ_INTEGERS_CHUNK + d / VQ_INTEGERS_CHUNK + 2) u sqrt(columns),
 *
 * and a last feature that is rounded up by m |y|^2 in its square, m = 3 e + 2 (d + 8) u. So |a| and
 * E grow by e |y| and e |z|, and |y'| is at most (1 + 2 m) |y|.
 *
 * Bounds across the rounds of a fit
 * ---------------------------------
 * For each (observation, group of span vectors of sixteen codes): a 16-bit entry, 12 bits for
 * a lower bound of the packed distance to every code of the group but the one that was own,
 * in units of the observation's, and 4 bits for the round in which it held (its slot, a
 * snapshot of the packed code book). ways[group][slot] is how far any code of the group has
 * come since, so a group is skipped while
 *
 *     upper < lower * unit - ways[group][slot].
 *
 * Roundings go the safe way by 2^-20 relative; the difference between packed and true
 * distances is in upper, as in kernels.h.
 */
#ifndef VQ_INTEGERS_H
#define VQ_INTEGERS_H

#include "kernels.h"

enum {
    VQ_INTEGERS_VECTOR = 16,      /* codes in a vector */
    VQ_INTEGERS_ROWS = 8,         /* observations in a tile */
    VQ_INTEGERS_SLOTS = 16,       /* of an entry; the last is never used */
    VQ_INTEGERS_SPAN = 4,         /* most vectors in a group */
    VQ_INTEGERS_FEATURES = 16384, /* most features */
    VQ_INTEGERS_FACTS = 8,        /* numbers of a row that are loaded at once */
    VQ_INTEGERS_HITS = 32,        /* room for hits, for each observation of a block */
    VQ_INTEGERS_COLUMNS = 32,     /* columns of directions are a multiple */
    VQ_INTEGERS_MAPPED = 256,     /* most columns */
    VQ_INTEGERS_CHUNK = 128,      /* features that a projection adds up at a time, for the sake of rounding */
};

/* The directions that the integers are of. */
typedef struct {
    ptrdiff_t n;         /* 0: the integers are those of the features */
    ptrdiff_t n_columns; /* n + 1 up to a multiple, those from n on are 0 */
    float *columns;      /* (n_features, n_columns) B */
    float error;         /* e */
    float margin;        /* m */
} vq_integers_directions;

/* A code book in integers. Position p of the vectors holds code order[p], so that near codes
 * may share a group; positions past n_codes have half norm +inf and code -1. */
typedef struct {
    ptrdiff_t n_vectors; /* a multiple of span */
    ptrdiff_t n_quads;   /* of four bytes, a feature each or two: features past the last are 0 */
    ptrdiff_t span;      /* vectors in a group of the bounds: 1, 2 or 4 */
    int32_t *order;      /* (n_vectors * 16) */
    int32_t *positions;  /* (n_codes) */
    int8_t *codes;       /* (n_vectors, n_quads, 16) quads of r */
    int32_t *starts;     /* (n_vectors * 16) what the offset of q adds, to be taken off: -128 sum(r) of bytes */
    float *half_norms;   /* (n_vectors * 16) */
    float *units;        /* (n_vectors) t */
    float *norms;        /* (n_vectors) Q */
    float *errors;       /* (n_vectors) E */
    vq_integers_directions directions;
} vq_integers_book;

/* The observations of a block in integers; arrays have room for whole sixteens of rows. */
typedef struct {
    uint8_t *quads;  /* (n_rows, n_quads) quads of q; of bytes q + 128 */
    float *units;    /* s */
    float *errors;   /* |a| */
    float *norms;    /* |y|, rounded up; +inf where y leaves the range of float32 */
    float *sq_norms; /* |y|^2, rounded down */
    float *spares;   /* what a computed distance may be off besides the roundings of its sum */
    uint8_t *second; /* (n_rows, n_quads) second plane of bytes, or NULL; with directions (n_rows, n_features) int16 */
    float *second_units; /* of these int16, with directions only */
} vq_integers_rows;

/* The packed code books of the last rounds, and the ways since. */
typedef struct {
    float *snapshots; /* (n_slots, n_codes, n_features) */
    uint8_t *places; /* (n_codes, VQ_INTEGERS_SLOTS) where in snapshots a code of a slot is; one that rests shares it */
    int n_slots;
    int last;         /* slot of the last round, or -1: there was none */
    int slot;         /* of this round; what it holds is measured before it is overwritten */
    float *code_ways; /* (n_codes, VQ_INTEGERS_SLOTS) distance of each code from its snapshots */
    float *ways;      /* (n_groups, VQ_INTEGERS_SLOTS) the longest of a group */
    float *steps;     /* (n_codes) distance since the last round */
} vq_integers_history;

/* The bounds of a block, and what all blocks know of this round. */
typedef struct {
    uint16_t *lower;    /* (n_groups, row_step) */
    ptrdiff_t row_step; /* a multiple of 16 */
    float *units;       /* (rows) of the entries */
    float *upper;       /* (rows) distance to the own code, rounded up */
    float *dists;       /* (rows) the same as computed, or -1 where the code has moved since */
    int64_t *n_needed;  /* (observation, group) pairs scanned in the last round */
    const float *ways;  /* (n_groups, VQ_INTEGERS_SLOTS) */
    const float *steps; /* (n_codes) way of each code since the last round */
    int slot;           /* of this round */
    int reused;         /* whether the slot was in use: its entries get a new meaning */
    int first_round;    /* entries and upper hold nothing yet */
} vq_integers_bounds;

/* A code that may be nearer than the own one. */
typedef struct {
    int32_t row;
    int32_t code;
    int32_t group;
    int32_t next; /* the one before of the row, or -1 */
    float dist;   /* packed, as computed */
} vq_integers_hit;

/* Scratch of one worker, in cache lines of its own as it holds counters; arrays have room for whole
 * sixteens of rows. */
typedef struct {
    _Alignas(64) float *row; /* (n_features) y of one observation; with directions, of eight */
    float *minima;           /* (n_vectors, row_step) lowest scores; in later rounds (rows) steps of the own codes */
    float *best;             /* (rows) the lowest minimum, or the nearest bound */
    int32_t *vectors;        /* (rows) where it is */
    int32_t *own;            /* (rows) position of the own code */
    float *own_dists;        /* (rows) packed distance to the own code as computed; -1: not needed */
    float *dists;            /* (rows) the same of the best code so far */
    int32_t *codes;          /* (rows) the best code so far */
    uint8_t *in_doubt;       /* (rows) whether another one is within the roundings */
    float *limits;           /* (rows) a score above it plus the error cannot win */
    float *facts;            /* (rows, VQ_INTEGERS_FACTS) what a tile needs of a row, see finish_own */
    float *upper;            /* (rows) distance to the own code, rounded up; -inf where nothing is needed */
    float *inverses;         /* (rows) 1 / unit of the bounds, rounded down */
    float *heights;          /* (rows) |y|^2 less the roundings of a score */
    int32_t *parts;          /* (rows / 16) the first row of each sixteen that a later round looks at */
    int32_t *list;           /* (rows + 16) */
    int32_t *first_hits;     /* (rows) the last hit of each row, or -1 */
    vq_integers_hit *hits;   /* (hit_capacity) */
    ptrdiff_t hit_capacity;
    ptrdiff_t n_hits;
    ptrdiff_t n_scored;
    int64_t n_compared; /* hits, added up over the blocks */
} vq_integers_scratch;

typedef struct {
    /* Integers of the observations. y is scratch: the row of a vq_integers_scratch. */
    void (*quantize)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, const vq_integers_book *integers,
                     float *y, vq_integers_rows *rows);

    /* Codes of a block. bounds may be NULL; with warm (or in a later round of bounds), codes
     * holds guesses on entry. */
    void (*assign)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, const vq_integers_book *integers,
                   const vq_integers_rows *rows, const vq_integers_bounds *bounds, vq_scratch *exact,
                   vq_integers_scratch *scratch, int warm, int32_t *codes);
} vq_integers_typed;

struct vq_integers_kernels {
    int quad; /* integers in four bytes: 4 or 2 */

    /* Halves a part of the order, so that near codes come together: at level l there are 2^l parts, all
     * but the last of which are whole vectors; one that fits a vector is left as it is. keys is scratch
     * of 2 n_codes floats, of which each part has its own. */
    void (*arrange)(const vq_code_book *book, int level, ptrdiff_t part, float *keys, vq_integers_book *integers);

    /* Vectors first ... last - 1 from the packed rows of the code book. */
    void (*pack)(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, vq_integers_book *integers);

    /* The same for groups first ... last - 1 in a round of a fit, by what has changed since the
     * last one. */
    void (*follow)(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, const vq_integers_history *history,
                   vq_integers_book *integers);

    /* products (n, n_columns) of rows (n, d) and columns (d, n_columns); n_columns is a multiple
     * of VQ_INTEGERS_COLUMNS up to VQ_INTEGERS_MAPPED. For a few directions, where a BLAS would
     * wake its own threads, which spin on beside ours for a while. */
    void (*project)(const float *rows, ptrdiff_t n, ptrdiff_t d, const float *columns, ptrdiff_t n_columns,
                    float *products);

    vq_integers_typed typed[2];
};

#endif
