/* The integer scan (integers.h): the code book in integers, and how far its code words have come. */

enum { VECTOR = VQ_INTEGERS_VECTOR, ROWS8 = VQ_INTEGERS_ROWS, SLOT_BITS = 4, LARGEST_ENTRY = 4095 };
enum { CERTAIN = 0, IN_DOUBT = 1, ALL_IN_DOUBT = 2 };
/* Integers in a quad of four bytes. Those of observations are stored with an offset, for products
 * of unsigned with signed bytes. */
#if defined(__AVX512VNNI__)
enum { QUAD = 4, LARGEST_INTEGER = 127, OFFSET = 128 };
#else
enum { QUAD = 2, LARGEST_INTEGER = 32767, OFFSET = 0 };
/* Two vectors of integers no longer than this, and by as much as roundings add (64 + 0.05 %), have
 * a product below 2^31. */
#define LONGEST_INTEGERS 46200.0f
#endif

/* Rounding of a sum of d squares, relative. */
INLINE float sum_rounding(ptrdiff_t d) { return (float)(d + 8) * 0x1p-24f; }

/* ---- integers ------------------------------------------------------------------ */

/* max |y|. */
INLINE float longest_feature(const float *y, ptrdiff_t d)
{
    w16 longest = w_set(0);
    for (ptrdiff_t j = 0; j < d; j += 16)
        longest = w_max(longest, w_abs(w_load_first(y + j, d - j < VECTOR ? d - j : VECTOR)));
    return w_highest(longest);
}

/* The unit in which integers hold a vector of this longest feature and norm; 0 for one too small
 * to matter. */
INLINE float unit_of(float longest, float norm)
{
#if defined(LONGEST_INTEGERS)
    const float by_norm = norm / LONGEST_INTEGERS, by_feature = longest / LARGEST_INTEGER;
    return longest > 0x1p-100f ? by_norm > by_feature ? by_norm : by_feature : 0;
#else
    (void)norm;
    return longest > 0x1p-100f ? longest / LARGEST_INTEGER : 0;
#endif
}

/* Of the second plane, of bytes: what is left of a feature is at most half a unit. */
#define SECOND_PARTS 254.0f
INLINE float second_unit(float unit) { return unit * (1 / SECOND_PARTS); }

/* Some of sixteen integers. */
INLINE void store_integers(void *p, ptrdiff_t n, w16i integers)
{
#if defined(__AVX512VNNI__)
    _mm_mask_storeu_epi8(p, (__mmask16)(n < VECTOR ? (1u << n) - 1 : 0xffff), _mm512_cvtepi32_epi8(integers));
#else
    int16_t all[VECTOR];
    wi_store_i16(n < VECTOR ? all : p, integers);
    if (n < VECTOR)
        memcpy(p, all, (size_t)n * sizeof *all);
#endif
}

/* Sixteen integers of an observation, or of its second plane, which has no offset. */
INLINE w16 load_integers(const void *p, int offset)
{
#if defined(__AVX512VNNI__)
    return w_from_int(_mm512_cvtepi8_epi32(_mm_xor_si128(_mm_loadu_si128(p), _mm_set1_epi8((char)offset))));
#else
    (void)offset;
    return w_from_int(wi_load_i16(p));
#endif
}

/* What a vector in integers has lost. */
typedef struct {
    float sq_error; /* |y - unit * integers|^2 */
    float sq_rest;  /* the same with the second plane */
    float sq_norm;  /* of the integers */
    int32_t sum;    /* of the integers */
} integers_facts;

/* y / unit to the nearest integers, plus an offset, padded with it to whole quads; and unless second
 * is NULL what is left of y to the nearest SECOND_PARTS of a unit. */
INLINE integers_facts to_integers(const float *y, ptrdiff_t d, ptrdiff_t n_quads, float unit, int offset,
                                  uint8_t *quads, uint8_t *second)
{
    const w16 inverse = w_set(unit > 0 ? 1 / unit : 0), back = w_set(unit);
    const w16 second_inverse = w_set(unit > 0 ? SECOND_PARTS / unit : 0), second_back = w_set(second_unit(unit));
    const w16i most = wi_set(LARGEST_INTEGER), least = wi_set(-LARGEST_INTEGER);
    const ptrdiff_t n = QUAD * n_quads;
    w16 sq_error = w_set(0), squares = w_set(0), rest = w_set(0);
    w16i total = wi_set(0);
    for (ptrdiff_t j = 0; j < n; j += VECTOR) {
        const ptrdiff_t left = d - j < VECTOR ? d - j : VECTOR;
        w16 value = w_load_first(y + j, left > 0 ? left : 0);
        w16i integer = wi_round(w_mul(value, inverse));
        integer = wi_max(wi_min(integer, most), least);
        w16 whole = w_from_int(integer), error = w_fnma(whole, back, value);
        sq_error = w_fma(error, error, sq_error);
        squares = w_fma(whole, whole, squares);
        total = wi_add(total, integer);
        store_integers(quads + j * 4 / QUAD, n - j, wi_add(integer, wi_set(offset)));
        if (second) {
            integer = wi_max(wi_min(wi_round(w_mul(error, second_inverse)), most), least);
            error = w_fnma(w_from_int(integer), second_back, error);
            rest = w_fma(error, error, rest);
            store_integers(second + j * 4 / QUAD, n - j, integer);
        }
    }
    return (integers_facts){w_sum(sq_error), w_sum(rest), w_sum(squares), wi_sum(total)};
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

static void integers_arrange(const vq_code_book *book, float *keys, vq_integers_book *integers)
{
    bisect(book, integers->order, book->n_codes, keys);
    for (ptrdiff_t p = 0; p < book->n_codes; p++)
        integers->positions[integers->order[p]] = (int32_t)p;
}

/* One vector of codes. */
static void integers_pack_vector(const vq_code_book *book, ptrdiff_t v, vq_integers_book *integers)
{
    const ptrdiff_t d = book->n_features, n_quads = integers->n_quads;
    const float rounding = 1 + sum_rounding(d);
    const int32_t *order = integers->order + v * VECTOR;
    int32_t quads[VQ_INTEGERS_FEATURES / QUAD];
    float longest = 0, half_norm = 0, sq_error = 0, sq_norm = 0;
    for (int l = 0; l < VECTOR; l++)
        if (order[l] >= 0) {
            float candidate = longest_feature(book->rows + order[l] * d, d), half = book->half_norms[order[l]];
            longest = candidate > longest ? candidate : longest;
            half_norm = half > half_norm && half < INFINITY ? half : half_norm;
        }
    const float unit = unit_of(longest, sqrtf(2 * half_norm));
    for (int l = 0; l < VECTOR; l++) {
        integers_facts facts = {0, 0, 0, 0};
        if (order[l] >= 0)
            facts = to_integers(book->rows + order[l] * d, d, n_quads, unit, 0, (uint8_t *)quads, NULL);
        else
            memset(quads, 0, (size_t)n_quads * 4);
        for (ptrdiff_t t = 0; t < n_quads; t++)
            memcpy(integers->codes + ((v * n_quads + t) * VECTOR + l) * 4, quads + t, 4);
        integers->starts[v * VECTOR + l] = -OFFSET * facts.sum;
        integers->half_norms[v * VECTOR + l] = order[l] >= 0 ? book->half_norms[order[l]] : INFINITY;
        sq_error = facts.sq_error > sq_error ? facts.sq_error : sq_error;
        sq_norm = facts.sq_norm > sq_norm ? facts.sq_norm : sq_norm;
    }
    integers->units[v] = unit;
    integers->norms[v] = sqrtf(sq_norm) * unit * rounding * BOUND_UP * (1 + 0x1p-22f);
    integers->errors[v] = sqrtf(sq_error) * rounding * BOUND_UP + 0x1p-22f * integers->norms[v];
}

static void integers_pack(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, vq_integers_book *integers)
{
    for (ptrdiff_t v = first; v < last; v++)
        integers_pack_vector(book, v, integers);
}

/* ---- ways of the codes since the snapshots ---------------------------------------- */

/* One code: its ways, and the snapshot of this round. Returns whether it has moved. */
static int measure_code(const vq_code_book *book, ptrdiff_t code, const vq_integers_history *history)
{
    const ptrdiff_t d = book->n_features, size = book->n_codes * d;
    const float *row = book->rows + code * d;
    float *snapshots = history->snapshots + code * d, *ways = history->code_ways + code * VQ_INTEGERS_SLOTS;
    const int moved = history->last < 0 || memcmp(row, snapshots + history->last * size, (size_t)d * sizeof *row) != 0;
    if (history->last < 0)
        memset(ways, 0, VQ_INTEGERS_SLOTS * sizeof *ways);
    else if (!moved)
        ways[history->last] = 0;
    else
        for (int s = 0; s < history->n_slots; s++)
            ways[s] = sqrtf(sq_dist_packed(row, snapshots + s * size, d)) * (1 + sum_rounding(d)) * BOUND_UP;
    history->steps[code] = history->last < 0 ? 0 : ways[history->last];
    memcpy(snapshots + history->slot * size, row, (size_t)d * sizeof *row);
    return moved;
}

static void integers_follow(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last,
                            const vq_integers_history *history, vq_integers_book *integers)
{
    const ptrdiff_t width = integers->span * VECTOR;
    for (ptrdiff_t g = first; g < last; g++) {
        float *ways = history->ways + g * VQ_INTEGERS_SLOTS;
        int moved = history->last < 0;
        memset(ways, 0, VQ_INTEGERS_SLOTS * sizeof *ways);
        for (ptrdiff_t p = g * width; p < (g + 1) * width; p++) {
            const ptrdiff_t code = integers->order[p];
            if (code < 0)
                continue;
            moved |= measure_code(book, code, history);
            for (int s = 0; s < history->n_slots; s++) {
                float way = history->code_ways[code * VQ_INTEGERS_SLOTS + s];
                ways[s] = way > ways[s] ? way : ways[s];
            }
        }
        for (ptrdiff_t v = g * integers->span; moved && v < (g + 1) * integers->span; v++)
            integers_pack_vector(book, v, integers);
    }
}
