/* The integer scan (integers.h): vectors in integers. */

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

/* How far a computed distance may be from the true one: relative, and for |y| + Z. */
INLINE float dist_rounding(ptrdiff_t d) { return 0.5f * sum_rounding(d) + 0x1p-21f; }
#define DIST_SPARE 0x1p-22f

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

/* Some of sixteen integers of 16 bits. */
INLINE void store_wide(int16_t *p, ptrdiff_t n, w16i integers)
{
    int16_t all[VECTOR];
    wi_store_i16(n < VECTOR ? all : p, integers);
    if (n < VECTOR)
        memcpy(p, all, (size_t)n * sizeof *all);
}

/* Some of sixteen integers of a quad's size. */
INLINE void store_integers(void *p, ptrdiff_t n, w16i integers)
{
#if defined(__AVX512VNNI__)
    _mm_mask_storeu_epi8(p, (__mmask16)(n < VECTOR ? (1u << n) - 1 : 0xffff), _mm512_cvtepi32_epi8(integers));
#else
    store_wide(p, n, integers);
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

/* ---- directions ------------------------------------------------------------------ */

#if defined(__AVX512F__)
enum { PROJECT_ROWS = ROWS8, PROJECT_VECTORS = 2 };
#else
enum { PROJECT_ROWS = 4, PROJECT_VECTORS = 1 };
#endif

/* Features that the integers are of. */
INLINE ptrdiff_t n_seen(const vq_integers_directions *directions, ptrdiff_t n_features)
{
    return directions->n ? directions->n + 1 : n_features;
}

/* Of an observation, in the second plane. */
INLINE ptrdiff_t bytes_of_second(const vq_integers_book *integers, ptrdiff_t d)
{
    return integers->directions.n ? d * (ptrdiff_t)sizeof(int16_t) : 4 * integers->n_quads;
}

/* mapped[r] = B'y[r] of eight vectors, B being (d, n_columns). */
static void project(const float *all_columns, ptrdiff_t n_columns, const float *const y[ROWS8], ptrdiff_t d,
                    float mapped[ROWS8][VQ_INTEGERS_MAPPED])
{
    for (int r = 0; r < ROWS8; r++)
        memset(mapped[r], 0, (size_t)n_columns * sizeof **mapped);
    for (ptrdiff_t first = 0; first < d; first += VQ_INTEGERS_CHUNK) {
        const ptrdiff_t end = first + VQ_INTEGERS_CHUNK < d ? first + VQ_INTEGERS_CHUNK : d;
        for (ptrdiff_t c = 0; c < n_columns; c += PROJECT_VECTORS * VECTOR)
            for (int base = 0; base < ROWS8; base += PROJECT_ROWS) {
                w16 sums[PROJECT_ROWS][PROJECT_VECTORS];
#pragma GCC unroll 8
                for (int r = 0; r < PROJECT_ROWS; r++)
#pragma GCC unroll 2
                    for (int v = 0; v < PROJECT_VECTORS; v++)
                        sums[r][v] = w_set(0);
                for (ptrdiff_t j = first; j < end; j++) {
                    const float *columns = all_columns + j * n_columns + c;
                    w16 b[PROJECT_VECTORS];
#pragma GCC unroll 2
                    for (int v = 0; v < PROJECT_VECTORS; v++)
                        b[v] = w_load(columns + v * VECTOR);
#pragma GCC unroll 8
                    for (int r = 0; r < PROJECT_ROWS; r++) {
                        const w16 x = w_set(y[base + r][j]);
#pragma GCC unroll 2
                        for (int v = 0; v < PROJECT_VECTORS; v++)
                            sums[r][v] = w_fma(x, b[v], sums[r][v]);
                    }
                }
#pragma GCC unroll 8
                for (int r = 0; r < PROJECT_ROWS; r++)
#pragma GCC unroll 2
                    for (int v = 0; v < PROJECT_VECTORS; v++) {
                        float *total = mapped[base + r] + c + v * VECTOR;
                        w_store(total, w_add(w_load(total), sums[r][v]));
                    }
            }
    }
}

/* products (n, n_columns) of rows (n, d) and columns (d, n_columns). */
static void integers_project(const float *rows, ptrdiff_t n, ptrdiff_t d, const float *columns, ptrdiff_t n_columns,
                             float *products)
{
    for (ptrdiff_t i = 0; i < n; i += ROWS8) {
        float mapped[ROWS8][VQ_INTEGERS_MAPPED];
        const float *y[ROWS8];
        for (ptrdiff_t r = 0; r < ROWS8; r++)
            y[r] = rows + (i + r < n ? i + r : i) * d;
        project(columns, n_columns, y, d, mapped);
        for (ptrdiff_t r = 0; r < ROWS8 && i + r < n; r++)
            memcpy(products + (i + r) * n_columns, mapped[r], (size_t)n_columns * sizeof *products);
    }
}

/* The last feature of a projected vector: what it has outside the directions, rounded up. */
INLINE void see_rest(const vq_integers_directions *directions, float sq_norm, float *mapped)
{
    const float rest = sq_norm - inner_product(mapped, mapped, directions->n);
    mapped[directions->n] = sqrtf((rest > 0 ? rest : 0) + directions->margin * sq_norm);
}

/* ---- observations ---------------------------------------------------------------- */

/* y in integers of 16 bits, n of them; returns |y - unit * integers|^2. */
static float to_wide_integers(const float *y, ptrdiff_t n, float unit, int16_t *wide)
{
    const w16 inverse = w_set(unit > 0 ? 1 / unit : 0), back = w_set(unit);
    w16 sq_error = w_set(0);
    for (ptrdiff_t j = 0; j < n; j += VECTOR) {
        const ptrdiff_t left = n - j < VECTOR ? n - j : VECTOR;
        const w16 value = w_load_first(y + j, left);
        w16i integer = wi_max(wi_min(wi_round(w_mul(value, inverse)), wi_set(INT16_MAX)), wi_set(-INT16_MAX));
        const w16 error = w_fnma(w_from_int(integer), back, value);
        sq_error = w_fma(error, error, sq_error);
        store_wide(wide + j, left, integer);
    }
    return w_sum(sq_error);
}

/* Where integers are at hand for distances, what a computed one may be off by their roundings. */
INLINE float rounding_of_planes(float sq_error, float unit, ptrdiff_t d)
{ /* the rest of a feature is rounded twice, 2^-24 of half a unit each */
    return (sqrtf(sq_error) + unit * 0x1p-24f * sqrtf((float)d)) * (1 + sum_rounding(d)) * BOUND_UP;
}

/* Observation i, of which nothing is known but that it is to be decided in double. */
static void quantize_none(ptrdiff_t d, const vq_integers_book *integers, ptrdiff_t i, vq_integers_rows *rows)
{
    const ptrdiff_t n_bytes = 4 * integers->n_quads, second_bytes = bytes_of_second(integers, d);
    memset(rows->quads + i * n_bytes, OFFSET, (size_t)n_bytes);
    if (rows->second)
        memset(rows->second + i * second_bytes, 0, (size_t)second_bytes);
    if (integers->directions.n)
        rows->second_units[i] = 0;
    rows->units[i] = rows->errors[i] = rows->sq_norms[i] = 0;
    rows->norms[i] = rows->spares[i] = INFINITY;
}

/* Observation i in integers: those of y, or where there are directions of what they see of it. */
static void quantize_row(const float *y, ptrdiff_t d, const vq_integers_book *integers, float *mapped, ptrdiff_t i,
                         vq_integers_rows *rows)
{
    const vq_integers_directions *directions = &integers->directions;
    const ptrdiff_t n_bytes = 4 * integers->n_quads, n = n_seen(directions, d);
    const float rounding = sum_rounding(d), sq_norm = inner_product(y, y, d), norm = sqrtf(sq_norm);
    if (!(sq_norm < 0x1p100f)) {
        quantize_none(d, integers, i, rows);
        return;
    }
    if (directions->n)
        see_rest(directions, sq_norm, mapped);
    const float *features = directions->n ? mapped : y;
    const float unit = unit_of(longest_feature(features, n), norm * (1 + 2 * directions->margin));
    uint8_t *second = rows->second && !directions->n ? rows->second + i * n_bytes : NULL;
    const integers_facts facts =
        to_integers(features, n, integers->n_quads, unit, OFFSET, rows->quads + i * n_bytes, second);
    rows->units[i] = unit;
    rows->errors[i] = (sqrtf(facts.sq_error) * (1 + rounding) + directions->error * norm) * BOUND_UP;
    rows->norms[i] = norm * (1 + rounding) * BOUND_UP;
    rows->sq_norms[i] = sq_norm * (1 - rounding);
    rows->spares[i] = DIST_SPARE * rows->norms[i];
    if (directions->n && rows->second) {
        const float longest = longest_feature(y, d), wide_unit = longest > 0x1p-100f ? longest / INT16_MAX : 0;
        const float sq_error = to_wide_integers(y, d, wide_unit, (int16_t *)rows->second + i * d);
        rows->second_units[i] = wide_unit;
        rows->spares[i] += rounding_of_planes(sq_error, wide_unit, d);
    } else if (second)
        rows->spares[i] += rounding_of_planes(facts.sq_rest, unit, d);
    else if (QUAD == 2 && !directions->n)
        rows->spares[i] += rows->errors[i];
}
