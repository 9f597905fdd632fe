/* The int8 scan (int8.h): the code book in bytes, and how far its code words have come. */

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
