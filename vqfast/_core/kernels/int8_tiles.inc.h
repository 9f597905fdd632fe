/* The int8 scan (int8.h): products, the first round, hits. */

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
