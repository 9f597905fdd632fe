/* The int8 scan (int8.h): packing, tiles, lists. What reads observations is in
 * int8_obs.inc.h. */

enum { VECTOR = VQ_INT8_VECTOR, ROWS8 = VQ_INT8_ROWS, SLOT_BITS = 4, LARGEST_ENTRY = 4095 };
enum { CERTAIN = 0, IN_DOUBT = 1, ALL_IN_DOUBT = 2 };

/* Rounding of a sum of d squares, relative. */
INLINE float sum_rounding(ptrdiff_t d) { return (float)(d + 8) * 0x1p-24f; }

/* ---- bytes --------------------------------------------------------------------- */

INLINE __mmask16 first_lanes(ptrdiff_t n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1); }

/* max |y|. */
INLINE float longest_feature(const float *y, ptrdiff_t d)
{
    __m512 longest = _mm512_setzero_ps();
    for (ptrdiff_t j = 0; j < d; j += 16)
        longest = _mm512_max_ps(longest, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(d - j), y + j)));
    return _mm512_reduce_max_ps(longest);
}

/* The unit that brings the longest feature to 127; 0 for one too small to matter. */
INLINE float unit_of(float longest) { return longest > 0x1p-100f ? longest / 127 : 0; }

/* bytes[j] = (y[j] / unit to the nearest integer) ^ flip, padded with flip to whole quads.
 * Returns |y - unit * bytes|^2; sum and sq_norm are those of the integers. */
INLINE float to_bytes(const float *y, ptrdiff_t d, ptrdiff_t n_quads, float unit, int flip, void *bytes, int32_t *sum,
                      float *sq_norm)
{
    const __m512 inverse = _mm512_set1_ps(unit > 0 ? 1 / unit : 0), back = _mm512_set1_ps(unit);
    const __m512i most = _mm512_set1_epi32(127), least = _mm512_set1_epi32(-127);
    __m512 sq_error = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    __m512i total = _mm512_setzero_si512();
    for (ptrdiff_t j = 0; j < 4 * n_quads; j += 16) {
        __m512 value = _mm512_maskz_loadu_ps(d > j ? first_lanes(d - j) : 0, y + j);
        __m512i integer = _mm512_cvtps_epi32(_mm512_mul_ps(value, inverse));
        integer = _mm512_max_epi32(_mm512_min_epi32(integer, most), least);
        __m512 whole = _mm512_cvtepi32_ps(integer), error = _mm512_fnmadd_ps(whole, back, value);
        sq_error = _mm512_fmadd_ps(error, error, sq_error);
        squares = _mm512_fmadd_ps(whole, whole, squares);
        total = _mm512_add_epi32(total, integer);
        integer = _mm512_xor_si512(integer, _mm512_set1_epi32(flip));
        _mm_mask_storeu_epi8((char *)bytes + j, first_lanes(4 * n_quads - j), _mm512_cvtepi32_epi8(integer));
    }
    *sum = _mm512_reduce_add_epi32(total);
    *sq_norm = _mm512_reduce_add_ps(squares);
    return _mm512_reduce_add_ps(sq_error);
}

/* Codes by their place on the line between two far ones. */
static int by_key(const void *a, const void *b)
{
    const float x = ((const float *)a)[0], y = ((const float *)b)[0];
    return (x > y) - (x < y);
}

static ptrdiff_t farthest(const vq_code_book *book, const int32_t *codes, ptrdiff_t n, const float *from)
{
    ptrdiff_t best = 0;
    float longest = -1;
    for (ptrdiff_t i = 0; i < n; i++) {
        float sq_dist = sq_dist_packed(book->rows + codes[i] * book->n_features, from, book->n_features);
        if (sq_dist > longest) {
            longest = sq_dist;
            best = i;
        }
    }
    return best;
}

/* Halve until a part fits a vector; all parts but the last are whole vectors. */
static void bisect(const vq_code_book *book, int32_t *codes, ptrdiff_t n, float *keys)
{
    const ptrdiff_t d = book->n_features;
    if (n <= VECTOR)
        return;
    const float *one = book->rows + codes[farthest(book, codes, n, book->rows + codes[0] * d)] * d;
    const float *other = book->rows + codes[farthest(book, codes, n, one)] * d;
    for (ptrdiff_t i = 0; i < n; i++) {
        const float *row = book->rows + codes[i] * d;
        keys[2 * i] = inner_product(row, one, d) - inner_product(row, other, d);
        memcpy(keys + 2 * i + 1, codes + i, sizeof *codes);
    }
    qsort(keys, (size_t)n, 2 * sizeof *keys, by_key);
    for (ptrdiff_t i = 0; i < n; i++)
        memcpy(codes + i, keys + 2 * i + 1, sizeof *codes);
    const ptrdiff_t left = (n / VECTOR + 1) / 2 * VECTOR;
    bisect(book, codes, left, keys);
    bisect(book, codes + left, n - left, keys);
}

static void int8_arrange(const vq_code_book *book, float *keys, vq_int8_book *bytes)
{
    bisect(book, bytes->order, book->n_codes, keys);
    for (ptrdiff_t p = 0; p < book->n_codes; p++)
        bytes->positions[bytes->order[p]] = (int32_t)p;
}

/* One vector of codes. */
static void int8_pack_vector(const vq_code_book *book, ptrdiff_t v, vq_int8_book *bytes)
{
    const ptrdiff_t d = book->n_features, n_quads = bytes->n_quads;
    const float rounding = 1 + sum_rounding(d);
    const int32_t *order = bytes->order + v * VECTOR;
    int32_t quads[VQ_INT8_FEATURES / 4];
    float longest = 0, sq_error = 0, sq_norm = 0;
    for (int l = 0; l < VECTOR; l++)
        if (order[l] >= 0) {
            float candidate = longest_feature(book->rows + order[l] * d, d);
            longest = candidate > longest ? candidate : longest;
        }
    const float unit = unit_of(longest);
    for (int l = 0; l < VECTOR; l++) {
        int32_t sum = 0;
        float error = 0, norm = 0;
        if (order[l] >= 0)
            error = to_bytes(book->rows + order[l] * d, d, n_quads, unit, 0, quads, &sum, &norm);
        else
            memset(quads, 0, (size_t)n_quads * 4);
        for (ptrdiff_t t = 0; t < n_quads; t++)
            memcpy(bytes->codes + ((v * n_quads + t) * VECTOR + l) * 4, quads + t, 4);
        bytes->starts[v * VECTOR + l] = -128 * sum;
        bytes->half_norms[v * VECTOR + l] = order[l] >= 0 ? book->half_norms[order[l]] : INFINITY;
        sq_error = error > sq_error ? error : sq_error;
        sq_norm = norm > sq_norm ? norm : sq_norm;
    }
    bytes->units[v] = unit;
    bytes->norms[v] = sqrtf(sq_norm) * unit * rounding * BOUND_UP * (1 + 0x1p-22f);
    bytes->errors[v] = sqrtf(sq_error) * rounding * BOUND_UP + 0x1p-22f * bytes->norms[v];
}

static void int8_pack(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, vq_int8_book *bytes)
{
    for (ptrdiff_t v = first; v < last; v++)
        int8_pack_vector(book, v, bytes);
}

/* ---- ways of the codes since the snapshots ---------------------------------------- */

/* One code: its ways, and the snapshot of this round. Returns whether it has moved. */
static int measure_code(const vq_code_book *book, ptrdiff_t code, const vq_int8_history *history)
{
    const ptrdiff_t d = book->n_features, size = book->n_codes * d;
    const float *row = book->rows + code * d;
    float *snapshots = history->snapshots + code * d, *ways = history->code_ways + code * VQ_INT8_SLOTS;
    const int moved = history->last < 0 || memcmp(row, snapshots + history->last * size, (size_t)d * sizeof *row) != 0;
    if (history->last < 0)
        memset(ways, 0, VQ_INT8_SLOTS * sizeof *ways);
    else if (!moved)
        ways[history->last] = 0;
    else
        for (int s = 0; s < history->n_slots; s++)
            ways[s] = sqrtf(sq_dist_packed(row, snapshots + s * size, d)) * (1 + sum_rounding(d)) * BOUND_UP;
    history->steps[code] = history->last < 0 ? 0 : ways[history->last];
    memcpy(snapshots + history->slot * size, row, (size_t)d * sizeof *row);
    return moved;
}

static void int8_follow(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, const vq_int8_history *history,
                        vq_int8_book *bytes)
{
    const ptrdiff_t width = bytes->span * VECTOR;
    for (ptrdiff_t g = first; g < last; g++) {
        float *ways = history->ways + g * VQ_INT8_SLOTS;
        int moved = history->last < 0;
        memset(ways, 0, VQ_INT8_SLOTS * sizeof *ways);
        for (ptrdiff_t p = g * width; p < (g + 1) * width; p++) {
            const ptrdiff_t code = bytes->order[p];
            if (code < 0)
                continue;
            moved |= measure_code(book, code, history);
            for (int s = 0; s < history->n_slots; s++) {
                float way = history->code_ways[code * VQ_INT8_SLOTS + s];
                ways[s] = way > ways[s] ? way : ways[s];
            }
        }
        for (ptrdiff_t v = g * bytes->span; moved && v < (g + 1) * bytes->span; v++)
            int8_pack_vector(book, v, bytes);
    }
}

/* ---- distances -------------------------------------------------------------------- */

/* y - z of sixteen features. */
INLINE __m512 packed16_f32(const float *x, const float *shift, double scale, const float *z)
{
    __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(shift));
    return _mm512_fmsub_ps(shifted, _mm512_set1_ps((float)scale), _mm512_loadu_ps(z));
}

INLINE __m512 packed16_f64(const double *x, const double *shift, double scale, const float *z)
{
    __m512d low = _mm512_sub_pd(_mm512_loadu_pd(x), _mm512_loadu_pd(shift));
    __m512d high = _mm512_sub_pd(_mm512_loadu_pd(x + 8), _mm512_loadu_pd(shift + 8));
    low = _mm512_fmsub_pd(low, _mm512_set1_pd(scale), _mm512_cvtps_pd(_mm256_loadu_ps(z)));
    high = _mm512_fmsub_pd(high, _mm512_set1_pd(scale), _mm512_cvtps_pd(_mm256_loadu_ps(z + 8)));
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

/* ---- tiles ---------------------------------------------------------------------- */

/* sums += products of four bytes each. The intrinsic lets GCC 12 keep sums in two registers,
 * with a copy for every product and spills in the larger tiles. */
INLINE __m512i add_products(__m512i sums, __m512i unsigned_bytes, __m512i signed_bytes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
    return sums;
}

/* Products of eight observations with one to three vectors of codes. */
INLINE void int8_products(const uint8_t *const q[ROWS8], const vq_int8_book *bytes, ptrdiff_t v, int n_vectors,
                          __m512i sums[ROWS8][3])
{
    const ptrdiff_t n_quads = bytes->n_quads;
    const int8_t *codes = bytes->codes + v * n_quads * VECTOR * 4;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
#pragma GCC unroll 3
        for (int w = 0; w < n_vectors; w++)
            sums[r][w] = _mm512_loadu_si512(bytes->starts + (v + w) * VECTOR);
#pragma GCC unroll 1
    for (ptrdiff_t t = 0; t < n_quads; t++) {
        __m512i z[3];
#pragma GCC unroll 3
        for (int w = 0; w < n_vectors; w++)
            z[w] = _mm512_loadu_si512(codes + (w * n_quads + t) * VECTOR * 4);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++) {
            int32_t quad;
            memcpy(&quad, q[r] + 4 * t, sizeof quad);
            __m512i y = _mm512_set1_epi32(quad);
#pragma GCC unroll 3
            for (int w = 0; w < n_vectors; w++)
                sums[r][w] = add_products(sums[r][w], y, z[w]);
        }
    }
}

/* The lowest lane of each of eight vectors. */
INLINE __m256 row_minima(const __m512 a[ROWS8])
{
    __m512 pairs[4], fours[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        pairs[i] =
            _mm512_min_ps(_mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]), _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m512d even = _mm512_castps_pd(pairs[2 * i]), odd = _mm512_castps_pd(pairs[2 * i + 1]);
        fours[i] = _mm512_min_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(even, odd)),
                                 _mm512_castpd_ps(_mm512_unpackhi_pd(even, odd)));
    }
    __m512 eight =
        _mm512_min_ps(_mm512_shuffle_f32x4(fours[0], fours[1], 0x88), _mm512_shuffle_f32x4(fours[0], fours[1], 0xdd));
    eight = _mm512_min_ps(eight, _mm512_shuffle_f32x4(eight, eight, 0xb1));
    return _mm512_castps512_ps256(_mm512_shuffle_f32x4(eight, eight, 0x08));
}

/* Rows of eight become columns; gathers would cost five times as much. */
INLINE void transpose8(__m256 a[8])
{
    __m256 pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        pairs[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m256 *p = pairs + 4 * i;
        fours[4 * i] = _mm256_shuffle_ps(p[0], p[2], 0x44);
        fours[4 * i + 1] = _mm256_shuffle_ps(p[0], p[2], 0xee);
        fours[4 * i + 2] = _mm256_shuffle_ps(p[1], p[3], 0x44);
        fours[4 * i + 3] = _mm256_shuffle_ps(p[1], p[3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
        a[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
    }
}

INLINE __m512 int8_score(__m512i sum, float unit, __m512 half_norms)
{
    return _mm512_fnmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(unit), half_norms);
}

/* ---- the first round: all pairs, the lowest score of each vector of codes --------- */

INLINE void first_tile(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t i, ptrdiff_t row_step,
                       ptrdiff_t v, int n_vectors, vq_int8_scratch *scratch)
{
    const ptrdiff_t step = 4 * bytes->n_quads;
    const uint8_t *q[ROWS8];
    __m512i sums[ROWS8][3];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        q[r] = rows->bytes + (i + r) * step;
    int8_products(q, bytes, v, n_vectors, sums);
    __m256 best = _mm256_loadu_ps(scratch->best + i);
    __m256i where = _mm256_loadu_si256((const __m256i *)(scratch->vectors + i));
#pragma GCC unroll 3
    for (int w = 0; w < n_vectors; w++) {
        const __m512 half_norms = _mm512_loadu_ps(bytes->half_norms + (v + w) * VECTOR);
        __m512 scores[ROWS8];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++)
            scores[r] = int8_score(sums[r][w], rows->units[i + r] * bytes->units[v + w], half_norms);
        __m256 lowest = row_minima(scores);
        _mm256_storeu_ps(scratch->minima + (v + w) * row_step + i, lowest);
        __mmask8 lower = _mm256_cmp_ps_mask(lowest, best, _CMP_LT_OQ);
        best = _mm256_min_ps(best, lowest);
        where = _mm256_mask_mov_epi32(where, lower, _mm256_set1_epi32((int32_t)(v + w)));
    }
    _mm256_storeu_ps(scratch->best + i, best);
    _mm256_storeu_si256((__m256i *)(scratch->vectors + i), where);
}

/* The loop over codes is outside, so that three vectors of them stay in the first-level
 * cache for all the rows of the block. */
static void scan_first(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t n_rows, ptrdiff_t row_step,
                       vq_int8_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < row_step; i++) {
        scratch->best[i] = INFINITY;
        scratch->vectors[i] = 0;
    }
    for (ptrdiff_t v = 0; v < bytes->n_vectors; v += 3)
        for (ptrdiff_t i = 0; i < n_rows; i += ROWS8)
            switch (bytes->n_vectors - v) { /* constants, so that the sums stay in registers */
            case 1: first_tile(bytes, rows, i, row_step, v, 1, scratch); break;
            case 2: first_tile(bytes, rows, i, row_step, v, 2, scratch); break;
            default: first_tile(bytes, rows, i, row_step, v, 3, scratch);
            }
}

/* Position of the lowest score of one observation in a vector of codes. */
static int32_t lowest_position(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t i, ptrdiff_t v)
{
    const ptrdiff_t n_quads = bytes->n_quads;
    const uint8_t *q = rows->bytes + i * 4 * n_quads;
    const int8_t *codes = bytes->codes + v * n_quads * VECTOR * 4;
    __m512i sums[4];
    for (int c = 0; c < 4; c++)
        sums[c] = c ? _mm512_setzero_si512() : _mm512_loadu_si512(bytes->starts + v * VECTOR);
    ptrdiff_t t = 0;
    for (; t + 4 <= n_quads; t += 4)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            int32_t quad;
            memcpy(&quad, q + 4 * (t + c), sizeof quad);
            sums[c] = add_products(sums[c], _mm512_set1_epi32(quad), _mm512_loadu_si512(codes + (t + c) * VECTOR * 4));
        }
    for (; t < n_quads; t++) {
        int32_t quad;
        memcpy(&quad, q + 4 * t, sizeof quad);
        sums[0] = add_products(sums[0], _mm512_set1_epi32(quad), _mm512_loadu_si512(codes + t * VECTOR * 4));
    }
    sums[0] = _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
    __m512 all = int8_score(sums[0], rows->units[i] * bytes->units[v], _mm512_loadu_ps(bytes->half_norms + v * VECTOR));
    __mmask16 lowest = _mm512_cmp_ps_mask(all, _mm512_set1_ps(_mm512_reduce_min_ps(all)), _CMP_EQ_OQ);
    return (int32_t)(v * VECTOR) + (lowest ? __builtin_ctz(lowest) : 0);
}

/* ---- hits ------------------------------------------------------------------------- */

INLINE void add_hits(const vq_int8_book *bytes, vq_int8_scratch *scratch, int32_t row, ptrdiff_t v, uint32_t lanes)
{
    for (; lanes; lanes &= lanes - 1) {
        vq_int8_hit *hit = scratch->hits + scratch->n_hits++;
        hit->row = row;
        hit->code = bytes->order[v * VECTOR + __builtin_ctz(lanes)];
    }
}

/* How far a computed distance may be from the true one: relative, and for |y| + Z. */
INLINE float dist_rounding(ptrdiff_t d) { return 0.5f * sum_rounding(d) + 0x1p-21f; }
#define DIST_SPARE 0x1p-22f

/* Keep what may still be nearest. Rows whose hits would fill the room are in doubt among all
 * codes: their count is -1. */
static void drop_hits(const vq_code_book *book, const vq_int8_rows *rows, vq_int8_scratch *scratch)
{
    const float rounding = dist_rounding(book->n_features);
    ptrdiff_t kept = 0;
    for (ptrdiff_t h = 0; h < scratch->n_hits; h++) {
        const vq_int8_hit hit = scratch->hits[h];
        const float spare = DIST_SPARE * (rows->norms[hit.row] + book->longest);
        if (hit.dist * (1 - rounding) - spare > scratch->dists[hit.row] * (1 + rounding) + spare)
            continue;
        if (kept < scratch->hit_capacity / 2)
            scratch->hits[kept++] = hit;
        else
            scratch->in_doubt[hit.row] = ALL_IN_DOUBT;
    }
    scratch->n_hits = scratch->n_scored = kept;
}

/* ---- entries ---------------------------------------------------------------------- */

/* An entry of the bounds, rounded down. */
INLINE uint16_t entry_of(float bound, float inverse, int slot)
{
    float units = bound * inverse;
    units = units > 0 ? units : 0;
    units = units < LARGEST_ENTRY ? units : LARGEST_ENTRY;
    return (uint16_t)((uint32_t)units << SLOT_BITS | (uint32_t)slot);
}

/* The same, of sixteen distances from their squares. */
INLINE __m256i entries_of(__m512 sq_dists, __m512 inverses, int slot)
{
    __m512 bounds = _mm512_sqrt_ps(_mm512_max_ps(sq_dists, _mm512_setzero_ps()));
    __m512 units = _mm512_min_ps(_mm512_mul_ps(bounds, inverses), _mm512_set1_ps(LARGEST_ENTRY));
    __m512i entries = _mm512_slli_epi32(_mm512_cvttps_epi32(units), SLOT_BITS);
    return _mm512_cvtepi32_epi16(_mm512_or_si512(entries, _mm512_set1_epi32(slot)));
}

/* Eight listed observations and n_vectors vectors of codes from v on, each without its own
 * code: hits, and with bounds the entry of the group. Only the first n_listed are not filling. */
INLINE void listed_tile(const vq_int8_book *bytes, const vq_int8_rows *rows, const int32_t *list, ptrdiff_t n_listed,
                        ptrdiff_t v, int n_vectors, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t step = 4 * bytes->n_quads;
    const uint8_t *q[ROWS8];
    __m512i sums[ROWS8][3];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        q[r] = rows->bytes + list[r] * step;
    int8_products(q, bytes, v, n_vectors, sums);
    __m256 facts[VQ_INT8_FACTS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        facts[r] = _mm256_loadu_ps(scratch->facts + list[r] * VQ_INT8_FACTS);
    transpose8(facts);
    const __m256 limits = facts[0], row_units = facts[1], row_errors = facts[2], row_norms = facts[3];
    const __mmask8 listed = (__mmask8)first_lanes(n_listed);
    __m256 nearest = _mm256_set1_ps(INFINITY);
#pragma GCC unroll 2
    for (int w = 0; w < n_vectors; w++) {
        const __m512 half_norms = _mm512_loadu_ps(bytes->half_norms + (v + w) * VECTOR);
        const __m512i positions =
            _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                             _mm512_set1_epi32((int32_t)(v + w) * VECTOR));
        float units[ROWS8], highest[ROWS8];
        __m512 scores[ROWS8];
        _mm256_storeu_ps(units, _mm256_mul_ps(row_units, _mm256_set1_ps(bytes->units[v + w])));
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++) {
            __mmask16 own = _mm512_cmpeq_epi32_mask(positions, _mm512_set1_epi32(scratch->own[list[r]]));
            scores[r] = _mm512_mask_mov_ps(int8_score(sums[r][w], units[r], half_norms), own, _mm512_set1_ps(INFINITY));
        }
        __m256 lowest = row_minima(scores);
        __m256 error = _mm256_fmadd_ps(row_errors, _mm256_set1_ps(bytes->norms[v + w]),
                                       _mm256_mul_ps(row_norms, _mm256_set1_ps(bytes->errors[v + w])));
        error = _mm256_mul_ps(error, _mm256_set1_ps(BOUND_UP));
        __m256 most = _mm256_add_ps(limits, error);
        uint32_t hit = _mm256_cmp_ps_mask(lowest, most, _CMP_LE_OQ) & listed;
        if (hit) { /* the bound is that of the others; the hits will lower it to their distances */
            float others[ROWS8];
            _mm256_storeu_ps(highest, most);
            _mm256_storeu_ps(others, lowest);
            for (; hit; hit &= hit - 1) {
                const int r = __builtin_ctz(hit);
                const __mmask16 lanes = _mm512_cmp_ps_mask(scores[r], _mm512_set1_ps(highest[r]), _CMP_LE_OQ);
                add_hits(bytes, scratch, list[r], v + w, lanes);
                others[r] = _mm512_reduce_min_ps(_mm512_mask_mov_ps(scores[r], lanes, _mm512_set1_ps(INFINITY)));
            }
            lowest = _mm256_loadu_ps(others);
        }
        nearest = _mm256_min_ps(nearest, _mm256_sub_ps(lowest, error));
    }
    if (!bounds)
        return;
    const __m256 heights = facts[4], inverses = facts[5];
    __m512 sq_dists = _mm512_castps256_ps512(_mm256_fmadd_ps(nearest, _mm256_set1_ps(2), heights));
    uint16_t entries[16];
    _mm256_storeu_si256((__m256i *)entries, entries_of(sq_dists, _mm512_castps256_ps512(inverses), bounds->slot));
    uint16_t *lower = bounds->lower + v / n_vectors * bounds->row_step;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        lower[list[r]] = entries[r];
}

/* |a| Q + |y| E of sixteen rows and a vector of codes. */
INLINE __m512 score_error(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t v, ptrdiff_t i)
{
    return _mm512_fmadd_ps(_mm512_loadu_ps(rows->errors + i), _mm512_set1_ps(bytes->norms[v]),
                           _mm512_mul_ps(_mm512_loadu_ps(rows->norms + i), _mm512_set1_ps(bytes->errors[v])));
}

/* Fill up a list to a whole tile. */
INLINE void fill_list(int32_t *list, ptrdiff_t n)
{
    for (ptrdiff_t i = n; n && i < n + ROWS8 - 1; i++)
        list[i] = list[n - 1];
}

INLINE ptrdiff_t append_rows(int32_t *list, ptrdiff_t n, ptrdiff_t i, __mmask16 needed)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(list + n,
                        _mm512_maskz_compress_epi32(needed, _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)i))));
    return n + __builtin_popcount(needed);
}

/* After scan_first and the own codes: the rows of a group that the error of the lowest scores
 * leaves in doubt. */
static ptrdiff_t list_second(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t row_step, ptrdiff_t g,
                             vq_int8_scratch *scratch)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        __mmask16 needed = 0;
        for (ptrdiff_t v = g * bytes->span; v < (g + 1) * bytes->span; v++) {
            __m512 most = _mm512_fmadd_ps(score_error(bytes, rows, v, i), _mm512_set1_ps(BOUND_UP),
                                          _mm512_loadu_ps(scratch->limits + i));
            needed |= _mm512_cmp_ps_mask(_mm512_loadu_ps(scratch->minima + v * row_step + i), most, _CMP_LE_OQ);
        }
        n = append_rows(scratch->list, n, i, needed);
    }
    fill_list(scratch->list, n);
    return n;
}

/* ---- bounds ----------------------------------------------------------------------- */

/* A computed distance rounded up, and by what packed and true distances may differ. */
INLINE float upper_of(const vq_code_book *book, float norm, float dist)
{
    return dist * (1 + dist_rounding(book->n_features)) + DIST_SPARE * (norm + book->longest);
}

/* The first entries, from the lowest scores of all vectors. */
static void first_bounds(const vq_code_book *book, const vq_int8_book *bytes, const vq_int8_rows *rows,
                         ptrdiff_t n_rows, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, span = bytes->span;
    for (ptrdiff_t i = 0; i < row_step; i++) {
        /* Bounds beyond four times the distance to the own code are hardly ever of use. */
        float upper = i < n_rows ? upper_of(book, rows->norms[i], scratch->own_dists[i]) : 0;
        float largest = 4 * upper > rows->norms[i] ? 4 * upper : rows->norms[i];
        int known = i < n_rows && largest > 0x1p-60f && largest < INFINITY;
        bounds->units[i] = known ? largest / LARGEST_ENTRY : 0;
        bounds->upper[i] = upper;
        scratch->inverses[i] = known ? BOUND_DOWN / bounds->units[i] : 0;
    }
    for (ptrdiff_t g = 0; g < bytes->n_vectors / span; g++)
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            __m512 nearest = _mm512_set1_ps(INFINITY);
            for (ptrdiff_t v = g * span; v < (g + 1) * span; v++) {
                nearest =
                    _mm512_min_ps(nearest, _mm512_fnmadd_ps(score_error(bytes, rows, v, i), _mm512_set1_ps(BOUND_UP),
                                                            _mm512_loadu_ps(scratch->minima + v * row_step + i)));
            }
            __m512 sq_dists = _mm512_fmadd_ps(nearest, _mm512_set1_ps(2), _mm512_loadu_ps(scratch->heights + i));
            _mm256_storeu_si256((__m256i *)(bounds->lower + g * row_step + i),
                                entries_of(sq_dists, _mm512_loadu_ps(scratch->inverses + i), bounds->slot));
        }
}

/* Sixteen bounds as they hold now. Entries of a slot that gets a new meaning are rewritten. */
INLINE __m512 bounds_now(uint16_t *lower, __m512 units, __m512 inverses, __m512 ways, int slot, int reused)
{
    __m512i entries = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)lower));
    __m512 now = _mm512_fmsub_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(entries, SLOT_BITS)), units,
                                 _mm512_permutexvar_ps(entries, ways));
    if (reused) {
        __mmask16 old = _mm512_cmpeq_epi32_mask(_mm512_and_si512(entries, _mm512_set1_epi32(VQ_INT8_SLOTS - 1)),
                                                _mm512_set1_epi32(slot));
        if (old) {
            __m512 kept = _mm512_mul_ps(_mm512_max_ps(now, _mm512_setzero_ps()), inverses);
            __m512i fresh =
                _mm512_or_si512(_mm512_slli_epi32(_mm512_cvttps_epi32(kept), SLOT_BITS), _mm512_set1_epi32(slot));
            _mm256_mask_storeu_epi16(lower, old, _mm512_cvtepi32_epi16(fresh));
        }
    }
    return now;
}

/* scratch->best = the nearest bound of each row. */
static void nearest_bounds(const vq_int8_book *bytes, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, n_groups = bytes->n_vectors / bytes->span;
    for (ptrdiff_t i = 0; i < row_step; i++)
        scratch->best[i] = INFINITY;
    for (ptrdiff_t g = 0; g < n_groups; g++) {
        const __m512 ways = _mm512_loadu_ps(bounds->ways + g * VQ_INT8_SLOTS);
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            __m512 now = bounds_now(bounds->lower + g * row_step + i, _mm512_loadu_ps(bounds->units + i),
                                    _mm512_loadu_ps(scratch->inverses + i), ways, bounds->slot, bounds->reused);
            _mm512_storeu_ps(scratch->best + i, _mm512_min_ps(_mm512_loadu_ps(scratch->best + i), now));
        }
    }
}

/* The rows that the bounds do not exclude from a group. With renewed, the entries of a slot
 * that was in use hold for this round already. */
static ptrdiff_t list_bounded(const vq_int8_bounds *bounds, ptrdiff_t g, int renewed, vq_int8_scratch *scratch)
{
    const __mmask16 this_slot = (__mmask16)(renewed << bounds->slot);
    const __m512 ways =
        _mm512_mask_mov_ps(_mm512_loadu_ps(bounds->ways + g * VQ_INT8_SLOTS), this_slot, _mm512_setzero_ps());
    const int reused = bounds->reused && !renewed;
    uint16_t *lower = bounds->lower + g * bounds->row_step;
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < bounds->row_step; i += 16) {
        __m512 now = bounds_now(lower + i, _mm512_loadu_ps(bounds->units + i), _mm512_loadu_ps(scratch->inverses + i),
                                ways, bounds->slot, reused);
        __mmask16 needed = ~_mm512_cmp_ps_mask(_mm512_loadu_ps(scratch->upper + i), now, _CMP_LT_OQ);
        n = append_rows(scratch->list, n, i, needed);
    }
    fill_list(scratch->list, n);
    return n;
}

/* limits, units, errors, norms, heights and inverses of a row side by side. */
static void gather_facts(const vq_int8_rows *rows, ptrdiff_t row_step, vq_int8_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < row_step; i += ROWS8) {
        __m256 facts[VQ_INT8_FACTS] = {
            _mm256_loadu_ps(scratch->limits + i),  _mm256_loadu_ps(rows->units + i),
            _mm256_loadu_ps(rows->errors + i),     _mm256_loadu_ps(rows->norms + i),
            _mm256_loadu_ps(scratch->heights + i), _mm256_loadu_ps(scratch->inverses + i),
        };
        transpose8(facts);
        for (int r = 0; r < ROWS8; r++)
            _mm256_storeu_ps(scratch->facts + (i + r) * VQ_INT8_FACTS, facts[r]);
    }
}

/* From the distances to the own codes: what the filters compare with. Rows past n_rows and
 * those that need nothing are left out; with nearest, so are those below their nearest bound. */
static void finish_own(const vq_code_book *book, const vq_int8_rows *rows, ptrdiff_t row_step, const float *nearest,
                       vq_int8_scratch *scratch)
{
    const __m512 rounding = _mm512_set1_ps(1 + dist_rounding(book->n_features)), half = _mm512_set1_ps(0.5f);
    const __m512 longest = _mm512_set1_ps(book->longest), none = _mm512_set1_ps(-INFINITY);
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        const __m512 dist = _mm512_loadu_ps(scratch->own_dists + i), norm = _mm512_loadu_ps(rows->norms + i);
        const __m512 sq_norm = _mm512_loadu_ps(rows->sq_norms + i), sq_longest = _mm512_mul_ps(longest, longest);
        __m512 upper = _mm512_mul_ps(_mm512_add_ps(norm, longest), _mm512_set1_ps(DIST_SPARE));
        upper = _mm512_fmadd_ps(dist, rounding, upper);
        __m512 sq_upper = _mm512_mul_ps(upper, upper);
        __m512 spare = _mm512_fmadd_ps(norm, norm, _mm512_add_ps(sq_upper, sq_longest));
        spare = _mm512_mul_ps(spare, _mm512_set1_ps(0x1p-21f));
        __m512 band =
            _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_set1_ps(book->band_square), norm, _mm512_set1_ps(book->band_norm)),
                            norm, _mm512_set1_ps(book->band_constant));
        band = _mm512_add_ps(band, spare);
        __mmask16 needed = _mm512_cmp_ps_mask(dist, _mm512_setzero_ps(), _CMP_GE_OQ)
                           & _mm512_cmp_ps_mask(norm, _mm512_set1_ps(INFINITY), _CMP_LT_OQ);
        __m512 limit = _mm512_fmadd_ps(_mm512_sub_ps(sq_upper, sq_norm), half, band);
        _mm512_storeu_ps(scratch->heights + i, _mm512_sub_ps(sq_norm, band));
        _mm512_storeu_ps(scratch->limits + i, _mm512_mask_mov_ps(none, needed, limit));
        _mm512_storeu_ps(scratch->dists + i, dist);
        if (nearest)
            needed &= ~_mm512_cmp_ps_mask(upper, _mm512_loadu_ps(nearest + i), _CMP_LT_OQ);
        _mm512_storeu_ps(scratch->upper + i, _mm512_mask_mov_ps(none, needed, upper));
    }
}

/* The bound of a group holds for one more code, at least so far from the observation. */
INLINE void lower_entry(const vq_int8_book *bytes, const vq_int8_bounds *bounds, ptrdiff_t i, ptrdiff_t code,
                        float dist, const vq_int8_scratch *scratch)
{
    const ptrdiff_t g = bytes->positions[code] / (bytes->span * VECTOR);
    uint16_t *lower = bounds->lower + g * bounds->row_step + i;
    const int slot = *lower & (VQ_INT8_SLOTS - 1);
    const float way = slot == bounds->slot ? 0 : bounds->ways[g * VQ_INT8_SLOTS + slot];
    const float now = (float)(*lower >> SLOT_BITS) * bounds->units[i] - way;
    if (dist < now || slot != bounds->slot)
        *lower = entry_of(dist < now ? dist : now, scratch->inverses[i], bounds->slot);
}
