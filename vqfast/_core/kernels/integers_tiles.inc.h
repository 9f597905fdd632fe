/* The integer scan (integers.h): products, the first round, hits. */

/* ---- distances -------------------------------------------------------------------- */

/* y - z of sixteen features. */
INLINE w16 packed16_f32(const float *x, const float *shift, double scale, const float *z)
{
    w16 shifted = w_sub(w_load(x), w_load(shift));
    return w_fms(shifted, w_set((float)scale), w_load(z));
}

INLINE w16 packed16_f64(const double *x, const double *shift, double scale, const float *z)
{
    return wd_packed(wd_load(x), wd_load(shift), scale, w_load(z));
}

/* How an observation is at hand for distances, besides its features: in one plane of 16 bits, or
 * in two planes of bytes. */
typedef struct {
    const void *first;
    const uint8_t *second; /* NULL: 16 bits */
    ptrdiff_t row_step;    /* integers from row to row */
    const float *units;
} integers_planes;

INLINE integers_planes planes_of(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t d)
{
    if (integers->directions.n)
        return (integers_planes){rows->second, NULL, d, rows->second_units};
    return (integers_planes){rows->quads, QUAD == 2 ? NULL : rows->second, QUAD * integers->n_quads, rows->units};
}

/* Whether there is such a form. */
INLINE int holds_features(const vq_integers_book *integers, const vq_integers_rows *rows)
{
    return rows->second || (QUAD == 2 && !integers->directions.n);
}

/* y - z of sixteen features. */
INLINE w16 integers_16(const integers_planes *planes, ptrdiff_t at, int wide, w16 unit, w16 second_unit, w16 z)
{
    if (wide)
        return w_fms(w_from_int(wi_load_i16((const int16_t *)planes->first + at)), unit, z);
    w16 t = w_fms(load_integers((const uint8_t *)planes->first + at, OFFSET), unit, z);
    return w_fma(load_integers(planes->second + at, 0), second_unit, t);
}

/* Packed distance of an observation to a code. */
INLINE float planes_dist(const integers_planes *planes, ptrdiff_t i, int wide, const vq_code_book *book, ptrdiff_t code)
{
    const ptrdiff_t d = book->n_features, first = i * planes->row_step;
    const float *z = book->rows + code * d;
    const w16 unit = w_set(planes->units[i]), part = w_set(second_unit(planes->units[i]));
    w16 sums[4] = {w_set(0), w_set(0), w_set(0), w_set(0)};
    ptrdiff_t j = 0;
    for (; j + 64 <= d; j += 64)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            w16 t = integers_16(planes, first + j + 16 * c, wide, unit, part, w_load(z + j + 16 * c));
            sums[c] = w_fma(t, t, sums[c]);
        }
    for (; j + 16 <= d; j += 16) {
        w16 t = integers_16(planes, first + j, wide, unit, part, w_load(z + j));
        sums[0] = w_fma(t, t, sums[0]);
    }
    if (j < d) { /* past the last feature there may be another row */
        w16 t = integers_16(planes, first + j, wide, unit, part, w_load_first(z + j, d - j));
        t = w_select(wm_from_bits((1u << (d - j)) - 1), t, w_set(0));
        sums[0] = w_fma(t, t, sums[0]);
    }
    return sqrtf(w_sum(w_add(w_add(sums[0], sums[1]), w_add(sums[2], sums[3]))));
}

static float integers_dist(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t i,
                           const vq_code_book *book, ptrdiff_t code)
{
    const integers_planes planes = planes_of(integers, rows, book->n_features);
    return planes.second ? planes_dist(&planes, i, 0, book, code) : planes_dist(&planes, i, 1, book, code);
}

/* ---- tiles ---------------------------------------------------------------------- */

/* sums += the products of a quad of an observation and of sixteen codes. */
#if defined(__AVX512VNNI__)
/* The intrinsic lets GCC 12 keep sums in two registers, with a copy for every product and spills
 * in the larger tiles. */
INLINE w16i add_products(w16i sums, w16i unsigned_bytes, w16i signed_bytes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(unsigned_bytes), "v"(signed_bytes));
    return sums;
}
#elif defined(__AVX512F__)
INLINE w16i add_products(w16i sums, w16i a, w16i b) { return vi_dot(sums, a, b); }
#else
INLINE w16i add_products(w16i sums, w16i a, w16i b) { return TWICE3(w16i, vi_dot, sums, a, b); }
#endif

#if defined(__AVX512F__)
enum { PRODUCT_ROWS = ROWS8, PRODUCT_VECTORS = 3 };
#else
enum { PRODUCT_ROWS = 4, PRODUCT_VECTORS = 1 };
#endif

/* Products of eight observations with one to four vectors of codes, as many at a time as there
 * are registers for. */
INLINE void integers_products(const uint8_t *const q[ROWS8], const vq_integers_book *integers, ptrdiff_t v,
                              int n_vectors, w16i sums[ROWS8][VQ_INTEGERS_SPAN])
{
    const ptrdiff_t n_quads = integers->n_quads;
    const int width = PRODUCT_VECTORS == 1 ? 1 : n_vectors == 4 ? 2 : n_vectors;
#pragma GCC unroll 8
    for (int part = 0; part < ROWS8 / PRODUCT_ROWS * (n_vectors / width); part++) {
        const int first = part % (ROWS8 / PRODUCT_ROWS) * PRODUCT_ROWS, u = part / (ROWS8 / PRODUCT_ROWS) * width;
        const int8_t *codes = integers->codes + (v + u) * n_quads * VECTOR * 4;
        w16i found[PRODUCT_ROWS][PRODUCT_VECTORS];
#pragma GCC unroll 8
        for (int r = 0; r < PRODUCT_ROWS; r++)
#pragma GCC unroll 3
            for (int w = 0; w < width; w++)
                found[r][w] = wi_load(integers->starts + (v + u + w) * VECTOR);
#pragma GCC unroll 1
        for (ptrdiff_t t = 0; t < n_quads; t++) {
            w16i z[PRODUCT_VECTORS];
#pragma GCC unroll 3
            for (int w = 0; w < width; w++)
                z[w] = wi_load(codes + (w * n_quads + t) * VECTOR * 4);
#pragma GCC unroll 8
            for (int r = 0; r < PRODUCT_ROWS; r++) {
                int32_t quad;
                memcpy(&quad, q[first + r] + 4 * t, sizeof quad);
                const w16i y = wi_set(quad);
#pragma GCC unroll 3
                for (int w = 0; w < width; w++)
                    found[r][w] = add_products(found[r][w], y, z[w]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < PRODUCT_ROWS; r++)
#pragma GCC unroll 3
            for (int w = 0; w < width; w++)
                sums[first + r][u + w] = found[r][w];
    }
}

/* Rows of eight become columns; gathers would cost five times as much. */
INLINE void transpose8(f8 a[8])
{
    f8 pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        pairs[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const f8 *p = pairs + 4 * i;
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

INLINE w16 integers_score(w16i sum, float unit, w16 half_norms)
{
    return w_fnma(w_from_int(sum), w_set(unit), half_norms);
}

/* ---- the first round: all pairs, the lowest score of each vector of codes --------- */

INLINE void first_tile(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t i, ptrdiff_t row_step,
                       ptrdiff_t v, int n_vectors, vq_integers_scratch *scratch)
{
    const ptrdiff_t step = 4 * integers->n_quads;
    const uint8_t *q[ROWS8];
    w16i sums[ROWS8][VQ_INTEGERS_SPAN];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        q[r] = rows->quads + (i + r) * step;
    integers_products(q, integers, v, n_vectors, sums);
    f8 best = _mm256_loadu_ps(scratch->best + i);
    f8 where = _mm256_loadu_ps((const float *)(scratch->vectors + i)); /* only moved */
#pragma GCC unroll 3
    for (int w = 0; w < n_vectors; w++) {
        const w16 half_norms = w_load(integers->half_norms + (v + w) * VECTOR);
        w16 scores[ROWS8];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++)
            scores[r] = integers_score(sums[r][w], rows->units[i + r] * integers->units[v + w], half_norms);
        f8 lowest = w_lowest8(scores);
        _mm256_storeu_ps(scratch->minima + (v + w) * row_step + i, lowest);
        const __m256 lower = _mm256_cmp_ps(lowest, best, _CMP_LT_OQ);
        best = _mm256_min_ps(best, lowest);
        where = _mm256_blendv_ps(where, _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)(v + w))), lower);
    }
    _mm256_storeu_ps(scratch->best + i, best);
    _mm256_storeu_ps((float *)(scratch->vectors + i), where);
}

/* The loop over codes is outside, so that three vectors of them stay in the first-level
 * cache for all the rows of the block. */
static void scan_first(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t n_rows,
                       ptrdiff_t row_step, vq_integers_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < row_step; i++) {
        scratch->best[i] = INFINITY;
        scratch->vectors[i] = 0;
    }
    for (ptrdiff_t v = 0; v < integers->n_vectors; v += 3)
        for (ptrdiff_t i = 0; i < n_rows; i += ROWS8)
            switch (integers->n_vectors - v) { /* constants, so that the sums stay in registers */
            case 1: first_tile(integers, rows, i, row_step, v, 1, scratch); break;
            case 2: first_tile(integers, rows, i, row_step, v, 2, scratch); break;
            default: first_tile(integers, rows, i, row_step, v, 3, scratch);
            }
}

/* Position of the lowest score of one observation in a vector of codes. */
static int32_t lowest_position(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t i, ptrdiff_t v)
{
    const ptrdiff_t n_quads = integers->n_quads;
    const uint8_t *q = rows->quads + i * 4 * n_quads;
    const int8_t *codes = integers->codes + v * n_quads * VECTOR * 4;
    w16i sums[4];
    for (int c = 0; c < 4; c++)
        sums[c] = c ? wi_set(0) : wi_load(integers->starts + v * VECTOR);
    ptrdiff_t t = 0;
    for (; t + 4 <= n_quads; t += 4)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            int32_t quad;
            memcpy(&quad, q + 4 * (t + c), sizeof quad);
            sums[c] = add_products(sums[c], wi_set(quad), wi_load(codes + (t + c) * VECTOR * 4));
        }
    for (; t < n_quads; t++) {
        int32_t quad;
        memcpy(&quad, q + 4 * t, sizeof quad);
        sums[0] = add_products(sums[0], wi_set(quad), wi_load(codes + t * VECTOR * 4));
    }
    sums[0] = wi_add(wi_add(sums[0], sums[1]), wi_add(sums[2], sums[3]));
    w16 all = integers_score(sums[0], rows->units[i] * integers->units[v], w_load(integers->half_norms + v * VECTOR));
    uint32_t lowest = wm_bits(w_less_equal(all, w_set(w_lowest(all))));
    return (int32_t)(v * VECTOR) + (lowest ? __builtin_ctz(lowest) : 0);
}

/* ---- hits ------------------------------------------------------------------------- */

INLINE void add_hits(const vq_integers_book *integers, vq_integers_scratch *scratch, int32_t row, ptrdiff_t v,
                     int32_t group, uint32_t lanes)
{
    for (; lanes; lanes &= lanes - 1) {
        vq_integers_hit *hit = scratch->hits + scratch->n_hits;
        hit->next = scratch->first_hits[row];
        scratch->first_hits[row] = (int32_t)scratch->n_hits++;
        hit->row = row;
        hit->group = group;
        hit->code = integers->order[v * VECTOR + __builtin_ctz(lanes)];
    }
}

/* How far a computed distance to any code may be from the true one. */
INLINE float dist_spare(const vq_code_book *book, const vq_integers_rows *rows, ptrdiff_t i)
{
    return rows->spares[i] + DIST_SPARE * book->longest;
}

/* Keep what may still be nearest. Rows whose hits would fill the room are in doubt among all
 * codes: their count is -1. */
static void drop_hits(const vq_code_book *book, const vq_integers_rows *rows, vq_integers_scratch *scratch)
{
    const float rounding = dist_rounding(book->n_features);
    ptrdiff_t kept = 0;
    for (ptrdiff_t h = 0; h < scratch->n_hits; h++)
        scratch->first_hits[scratch->hits[h].row] = -1;
    for (ptrdiff_t h = 0; h < scratch->n_hits; h++) {
        vq_integers_hit hit = scratch->hits[h];
        const float spare = dist_spare(book, rows, hit.row);
        if (hit.dist * (1 - rounding) - spare > scratch->dists[hit.row] * (1 + rounding) + spare)
            continue;
        if (kept < scratch->hit_capacity / 2) {
            hit.next = scratch->first_hits[hit.row];
            scratch->first_hits[hit.row] = (int32_t)kept;
            scratch->hits[kept++] = hit;
        } else
            scratch->in_doubt[hit.row] = ALL_IN_DOUBT;
    }
    scratch->n_hits = scratch->n_scored = kept;
}
