/* The contract of the search among codes: the k nearest code vectors of a query.
 *
 * The answer
 * ----------
 * The k codes with the smallest (sq_dist, index), sq_dist being computed in IEEE double
 * without fused multiply-add, in one order:
 *
 *   VQ_PRODUCT  T_0 + T_1 + ... + T_{M-1}, added left to right, where T_m is sq_dist (the
 *               eight partial sums of kernels.h) of the query's features of book m and the
 *               code word of book m;
 *   VQ_SUM      sq_dist of the query and the code vector c_0 + c_1 + ... + c_{M-1}, each
 *               feature added left to right and, with `rounded`, rounded to float.
 *
 * A rotated query is q_j = sum over i = 0, 1, ... of x_i R_ij, added in that order.
 *
 * How it is found
 * ---------------
 * Every code has a key: for VQ_PRODUCT its sq_dist, for VQ_SUM an estimate of it with a
 * proven band (below). A code whose key is above the threshold of its query is out. The
 * threshold is first guessed from a sample of the codes, and proven by having found k codes
 * below it; where that fails the search is repeated with a higher one (attempt 1, 2: the
 * last is infinite). It falls whenever the buffer of a query is full.
 *
 * Keys are computed for those codes alone that pass a filter on bytes. With the tables
 * T_m[j] of a query (for VQ_SUM also that of the norm), their minima b_m and b = sum b_m,
 *
 *     e_m[j] = min(255, floor(s (T_m[j] - b_m))),   s = 254 / (threshold - b + delta),
 *
 * a code is dropped if its saturated sum of e_m exceeds 254 (a lower limit after the threshold
 * has fallen: floor(s (threshold - b + delta))). With u = 2^-53, R <= VQ_SEARCH_ROWS rows and
 * G = |threshold| + sum over the tables of max |T_m|: a computed key of at most threshold
 * means a real sum of at most threshold + 2 R u G; b is off by as much; each e_m is rounded
 * down but for two roundings of a term >= 0 (three where two codes share a byte and a table
 * holds the sums of pairs); s itself is off by 3 u. So the sum of e_m is at most
 * s (1 + 7 u) (threshold - b + 4 R u G), and delta = 2^-43 G = 1024 u G covers that:
 * 4 R u G <= 512 u G, and 7 u (threshold - b) <= 14 u G. Saturation only ever reads 255,
 * above every limit.
 *
 * The estimate for VQ_SUM. Code words are centred and scaled, z_m = (c_m - mean_m) scale and
 * y = (q - sum mean_m) scale, both rounded to float; scale is a power of two. A key is
 *
 *     sum over m of (-2 <y, z_m>, computed in float)  +  |sum over m of z_m|^2, rounded to float,
 *
 * which differs from sq_dist * scale^2 - |y|^2. With v = 2^-24, C = sum over m of max |z_m|,
 * D = d features: v |y| C for the rounding of y, v |y| C for that of z_m, (D + 1) v |y| C for the
 * products and sums, each twice; v C^2 for the norm, 2 v (|y| + C) C for z_m in it; and
 * 2 v (|y| + C) (C + |mean| scale) for a code vector that is rounded to float. In double:
 * below 2^-40 (|y| + C + |mean| scale)^2. The sum of these is below
 *
 *     band = 2^-23 ((D + 16) |y| C + 4 C^2 + 2 (|y| + C) |mean| scale)
 *            + 2^-40 (|y| + C + |mean| scale)^2
 *
 * for D below 2^20. Where only the bytes of the norms are kept, a key takes the middle of the
 * byte's interval, and the band grows by half the interval (norm_band). A code may be among
 * the k nearest only if its key is at most the k-th smallest key plus two bands.
 */
#ifndef VQ_SEARCH_H
#define VQ_SEARCH_H

#include "kernels.h"

enum { VQ_PRODUCT = 0, VQ_SUM = 1 };

enum {
    VQ_CHUNK = 512,        /* codes that lie side by side */
    VQ_SEARCH_TILE = 16,   /* chunks that all queries of a group pass before the next */
    VQ_SEARCH_ROWS = 128,  /* most byte rows of a chunk that the filter takes */
    VQ_TABLE_MULTIPLE = 16 /* entries of a table are a multiple of it; those too many repeat word 0 */
};

/* Code books, packed for tables.
 *
 *  splits   product: (n_books + 1) first feature of each book
 *  columns  product: for each book (features of the book, n_entries) double
 *  centred  sum: (n_books, n_features, n_entries) float, z
 *  words    sum: (n_books, n_codes, n_padded) code words as given, float or double by
 *           words_type; n_padded is n_features up to a multiple of 16, filled with zeros
 *  mean     sum: (n_features), the sum of the means of the books; mean_length is its length
 *  rotation (n_features, n_features) double, or NULL
 */
typedef struct {
    int kind;
    int words_type;
    int rounded;
    ptrdiff_t n_books;
    ptrdiff_t n_codes;
    ptrdiff_t n_entries;
    ptrdiff_t n_features;
    ptrdiff_t n_padded;
    const ptrdiff_t *splits;
    const double *columns;
    const float *centred;
    const void *words;
    const double *mean;
    const double *rotation;
    double mean_length;
    double longest; /* sum: C */
    double scale;
} vq_search_books;

/* Codes in chunks: n_rows rows of VQ_CHUNK elements, the last chunk filled with zeros.
 * An element is two codes of four bits (book 2 r in the low half, 2 r + 1 in the high
 * one), one byte, or a uint16_t. For VQ_SUM of pairs or bytes a row of bytes comes last: the
 * interval of the norm. The filter takes the norm for norm_low + byte * norm_step: no more
 * than norms[i] where those are kept, the middle of the interval where they are not. */
typedef struct {
    ptrdiff_t n;
    const uint8_t *chunks;
    const float *norms; /* sum: |z|^2, or NULL */
} vq_search_codes;

enum { VQ_CODE_PAIRS = 0, VQ_CODE_BYTES = 1, VQ_CODE_WORDS = 2 };

/* One search among codes. sample holds every (n / sample.n)-th of them or so. */
typedef struct {
    vq_search_books books;
    int element;  /* VQ_CODE_PAIRS, VQ_CODE_BYTES, VQ_CODE_WORDS */
    int filtered; /* whether the byte filter can be used */
    ptrdiff_t n_rows;
    ptrdiff_t chunk_bytes;
    vq_search_codes codes;
    vq_search_codes sample;
    double norm_low;
    double norm_step;
    double norm_band;
    ptrdiff_t k;
    ptrdiff_t capacity; /* of a query's buffer, at least k + 1 */
} vq_search;

/* What is known of one query of a group. */
typedef struct {
    double *row;       /* (n_padded) */
    float *centred;    /* (n_padded) y, sum only */
    double *table;     /* (n_books, n_entries) */
    double *lowest;    /* (n_rows) minima of the tables of the rows */
    uint8_t *bytes;    /* (n_rows, 256) e_m */
    ptrdiff_t *starts; /* (2 * n_books) scratch: the code words of a code, and of the next */
    double *keys;      /* (2 * capacity), the second half being scratch of the sort */
    int64_t *ids;      /* (2 * capacity) */
    ptrdiff_t n_kept;
    ptrdiff_t n_exact; /* sum: the first of the kept, whose keys are sq_dists */
    double threshold;
    double bound; /* all codes with a sq_dist of at most this have been looked at */
    double base;  /* b */
    double size;  /* sum over the tables of max |T_m| */
    double delta;
    double factor;  /* s */
    double sq_norm; /* sum: |y|^2 */
    double band;
    int limit;
    int usable; /* tables are finite and of a sane size */
} vq_query;

/* Where the filter was passed: 512 bits of a chunk, or the queries that a code passed. */
typedef struct {
    uint64_t masks[VQ_CHUNK / 64];
    ptrdiff_t chunk;
} vq_chunk_hit;

typedef struct {
    uint64_t queries;
    ptrdiff_t index;
} vq_lane_hit;

/* Scratch of one worker. */
typedef struct {
    vq_query *queries;        /* (group) */
    uint8_t *lanes;           /* (n_rows, 256, lanes): the bytes of the group side by side */
    vq_chunk_hit *chunk_hits; /* (VQ_SEARCH_TILE + 1) */
    vq_lane_hit *lane_hits;   /* (VQ_CHUNK + 4) */
    double *row;              /* (n_padded) */
} vq_search_scratch;

/* The table of one instruction set. */
struct vq_search_kernels {
    ptrdiff_t lanes; /* queries that the filter takes at once where it takes a group */
    /* Of VQ_PRODUCT of VQ_CODE_PAIRS, and of all else: groups up to this many are filtered one by
     * one, and the nanoseconds that this takes for a byte of a code. */
    ptrdiff_t most_each[2];
    double ns_each[2];

    /* columns (as in vq_search_books) of one book of d features. */
    void (*pack_columns)(const void *words, int words_type, ptrdiff_t n_codes, ptrdiff_t d, ptrdiff_t n_entries,
                         double *columns);

    /* sq_norms[i] = |sum of z_m|^2 of some codes, (n, n_books) of element_size bytes each. */
    void (*code_norms)(const vq_search_books *books, const void *codes, int element_size, ptrdiff_t n, double *row,
                       double *sq_norms);

    /* Chunks first to last of the codes (n, n_books), norm_bytes may be NULL. With stride
     * above 0 the codes are picked: place i of chunk c is code (i * stride + c) * n / (VQ_CHUNK * stride). */
    void (*pack_chunks)(const void *codes, int element_size, const uint8_t *norm_bytes, ptrdiff_t n, ptrdiff_t n_books,
                        int element, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t last, uint8_t *chunks);

    /* Some queries in the chunks first to last: query i ends with n_kept <= k codes in order,
     * all keys being sq_dists. Those of at most its bound are right; it may lack others. */
    void (*search)(const vq_search *job, const vq_obs *obs, int obs_type, ptrdiff_t n_queries, ptrdiff_t first,
                   ptrdiff_t last, int attempt, vq_search_scratch *scratch);

    /* Cut the kept of a query to the k smallest, in order. */
    void (*select)(vq_query *query, ptrdiff_t k, ptrdiff_t capacity);

    /* Squared distances of a query to rows of obs. */
    void (*rerank)(const double *query, const vq_obs *obs, int obs_type, ptrdiff_t n_features, const int64_t *indices,
                   ptrdiff_t n, double *row, double *sq_dists);
};

#endif
