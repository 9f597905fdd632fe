/* The int16 scan: a filter in front of the float32 one of the lanes path (kernels.h), with half
 * as many operations, for dot products of pairs in hardware (AVX-512 VNNI).
 *
 * With the packed y and z of kernels.h and a unit S, a power of two with S Z <= 32767, let
 * q = rint(S y) and r = rint(S z). The chain in int32
 *
 *     score16 = rint(S^2 |z|^2 / 2) - <q, r>
 *
 * is off from S^2 score by at most  |a| S Z + |q| E + 1/2,  a = S y - q, E = sqrt(d) / 2 >= |S z - r|,
 * by Cauchy and Schwarz: <S y, S z> = <q, r> + <a, S z> + <q, S z - r>. No chain leaves int32 while
 * |q| <= 1.4 * 2^15: <q, r> is then below 0.7 * 2^31, and the half norm below 2^29. (An element of
 * q is cut to int16 where it does not fit; a holds the difference.)
 *
 * The lowest bits of a score are replaced by the code, so the lowest score brings its code, and of
 * equal ones the lowest. This changes it by less than 2^bits. Gaps between scores are computed in
 * float, 2^8 off. So the code of the lowest score is certain if the second lowest is above it by
 * more than
 *
 *     2 (|a| S Z + |q| E + 1 + 2^bits) + 2^8 + S^2 band(y)
 *
 * which is rounded up. The observations where it is not are collected and, a group at a time,
 * scanned in float32.
 */

/* More doubtful ones in a group, and the rest of the block goes without the filter. */
enum { INT16_MOST_DOUBTFUL = LANE_GROUP / 4 };
/* So many are decided by the double formula at once: less work than the scan of a group. */
enum { INT16_MOST_DIRECT = 8 };

#if defined(__AVX512VNNI__)

/* Features from which on the filter lets few observations through; codes that pay for it. */
enum { INT16_LEAST_FEATURES = 5, INT16_LEAST_CODES = 32, INT16_MOST_CODES = 16384 };
/* S, or 0 where the filter is not worth its while. */
static float int16_unit(const vq_code_book *book)
{
    if (book->n_features < INT16_LEAST_FEATURES || book->n_features > VQ_LANES_FEATURES
        || book->n_codes < INT16_LEAST_CODES || book->n_codes > INT16_MOST_CODES)
        return 0;
    const int up = ilogbf(book->longest);
    const float unit = ldexpf(1, 14 - up);
    return unit * book->longest <= 32767 ? unit : unit / 2;
}

/* Codes first ... last - 1 in pairs of features. */
static void int16_pack(vq_code_book *book, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = book->n_features, n_pairs = (d + 1) / 2;
    const float unit = book->int16_unit;
    const double half_square = 0.5 * book->scale * book->scale * unit * unit;
    float z[VQ_LANES_FEATURES];
    for (ptrdiff_t k = first; k < last; k++) {
        int16_t *pairs = book->pairs + 2 * k * n_pairs;
        packed_row(book, k, -1, z);
        pairs[2 * n_pairs - 1] = 0;
        for (ptrdiff_t j = 0; j < d; j++)
            pairs[j] = (int16_t)rintf(z[j] * unit);
        book->starts[k] = book->sq_norms[k] < INFINITY ? (int32_t)rint(half_square * book->sq_norms[k]) : INT32_MAX;
    }
}

/* q of a group from the columns y, (n_pairs, LANE_GROUP) pairs of features, |a|^2 and |q|^2. */
INLINE void int16_load(const float *y, const vq_code_book *book, int32_t *pairs, __m512 sq_errors[LANE_VECTORS],
                       __m512 sq_norms[LANE_VECTORS])
{
    const ptrdiff_t d = book->n_features;
    const __m512 unit = _mm512_set1_ps(book->int16_unit);
    const __m512 most = _mm512_set1_ps(INT16_MAX), least = _mm512_set1_ps(INT16_MIN);
    for (int v = 0; v < LANE_VECTORS; v++) {
        __m512 sq_error = _mm512_setzero_ps(), sq_norm = _mm512_setzero_ps();
        for (ptrdiff_t j = 0; j < d; j += 2) {
            __m512i halves[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
            for (ptrdiff_t h = 0; h < 2 && j + h < d; h++) {
                const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(y + (j + h) * LANE_GROUP + v * VL), unit);
                halves[h] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(x, least), most));
                const __m512 q = _mm512_cvtepi32_ps(halves[h]), a = _mm512_sub_ps(x, q);
                sq_error = _mm512_fmadd_ps(a, a, sq_error);
                sq_norm = _mm512_fmadd_ps(q, q, sq_norm);
            }
            const __m512i pair = _mm512_mask_blend_epi16(0xaaaaaaaa, halves[0], _mm512_slli_epi32(halves[1], 16));
            _mm512_storeu_si512(pairs + j / 2 * LANE_GROUP + v * VL, pair);
        }
        sq_errors[v] = sq_error;
        sq_norms[v] = sq_norm;
    }
}

/* The two lowest scores, codes in their lowest bits, of `vectors` vectors of observations.
 * Called with a constant n_pairs for few features, so that q stays in registers. */
INLINE void int16_scan_of(const int32_t *q, const vq_code_book *book, ptrdiff_t n_pairs, int vectors, __m512i low_bits,
                          __m512i *best_out, __m512i *second_out)
{
    __m512i best[LANE_VECTORS], second[LANE_VECTORS];
    for (int v = 0; v < vectors; v++)
        best[v] = second[v] = _mm512_set1_epi32(INT32_MAX);
    __m512i code = _mm512_setzero_si512();
    for (ptrdiff_t k = 0; k < book->n_codes; k++) {
        const int16_t *pairs = book->pairs + 2 * k * n_pairs;
        __m512i score[LANE_VECTORS];
        for (int v = 0; v < vectors; v++)
            score[v] = _mm512_set1_epi32(book->starts[k]);
#pragma GCC unroll 8
        for (ptrdiff_t j = 0; j < n_pairs; j++) {
            int32_t pair;
            memcpy(&pair, pairs + 2 * j, sizeof pair);
            const __m512i r = _mm512_set1_epi32(pair);
            for (int v = 0; v < vectors; v++)
                score[v] = vi_dot(score[v], _mm512_loadu_si512(q + j * LANE_GROUP + v * VL), r);
        }
        for (int v = 0; v < vectors; v++) {
            score[v] = _mm512_ternarylogic_epi32(score[v], low_bits, code, 0xb8); /* low_bits ? code : score */
            second[v] = _mm512_min_epi32(second[v], _mm512_max_epi32(score[v], best[v]));
            best[v] = _mm512_min_epi32(best[v], score[v]);
        }
        code = _mm512_add_epi32(code, _mm512_set1_epi32(1));
    }
    for (int v = 0; v < vectors; v++) {
        best_out[v] = best[v];
        second_out[v] = second[v];
    }
}

INLINE void int16_scan(const int32_t *q, const vq_code_book *book, __m512i low_bits, __m512i best[LANE_VECTORS],
                       __m512i second[LANE_VECTORS])
{
    const ptrdiff_t n_pairs = (book->n_features + 1) / 2;
    switch (n_pairs) {
    case 3: int16_scan_of(q, book, 3, LANE_VECTORS, low_bits, best, second); return;
    case 4: int16_scan_of(q, book, 4, LANE_VECTORS, low_bits, best, second); return;
    case 8:
        for (int v = 0; v < LANE_VECTORS; v += 2)
            int16_scan_of(q + v * VL, book, 8, 2, low_bits, best + v, second + v);
        return;
    default: int16_scan_of(q, book, n_pairs, LANE_VECTORS, low_bits, best, second);
    }
}

/* Codes of a group of columns y; returns a bit for each whose code is not certain. */
static uint64_t int16_assign(const float *y, const float *y_sq_norms, const vq_code_book *book, int32_t *codes)
{
    int32_t q[(VQ_LANES_FEATURES + 1) / 2 * LANE_GROUP];
    __m512 sq_errors[LANE_VECTORS], sq_norms[LANE_VECTORS];
    __m512i best[LANE_VECTORS], second[LANE_VECTORS];
    int bits = 0;
    while ((ptrdiff_t)1 << bits < book->n_codes)
        bits++;
    const __m512i low_bits = _mm512_set1_epi32((1 << bits) - 1);
    int16_load(y, book, q, sq_errors, sq_norms);
    int16_scan(q, book, low_bits, best, second);

    const float unit = book->int16_unit, up = 1 + 0x1p-16f; /* for the roundings of a few dozen operations */
    const __m512 of_error = _mm512_set1_ps(2 * up * unit * book->longest);
    const __m512 of_norm = _mm512_set1_ps(up * sqrtf((float)book->n_features));
    const __m512 constant =
        _mm512_set1_ps(up * (float)(2 + (2 << bits) + 256) + up * unit * unit * book->band_constant);
    const __m512 of_y = _mm512_set1_ps(up * unit * unit * book->band_norm);
    const __m512 of_square = _mm512_set1_ps(up * unit * unit * book->band_square);
    const __m512 most = _mm512_set1_ps(1.4f * 1.4f * 0x1p30f);
    uint64_t doubtful = 0;
    for (int v = 0; v < LANE_VECTORS; v++) {
        const __m512 y_sq_norm = _mm512_loadu_ps(y_sq_norms + v * VL);
        __m512 band = _mm512_fmadd_ps(of_error, _mm512_sqrt_ps(sq_errors[v]), constant);
        band = _mm512_fmadd_ps(of_norm, _mm512_sqrt_ps(sq_norms[v]), band);
        band = _mm512_fmadd_ps(of_y, _mm512_sqrt_ps(y_sq_norm), band);
        band = _mm512_fmadd_ps(of_square, y_sq_norm, band);
        const __m512 gap = _mm512_sub_ps(_mm512_cvtepi32_ps(second[v]), _mm512_cvtepi32_ps(best[v]));
        const __mmask16 certain =
            _mm512_cmp_ps_mask(band, gap, _CMP_LT_OQ) & _mm512_cmp_ps_mask(sq_norms[v], most, _CMP_LT_OQ);
        doubtful |= (uint64_t)(uint16_t)~certain << (v * VL);
        _mm512_storeu_si512(codes + v * VL, _mm512_and_si512(best[v], low_bits));
    }
    return doubtful;
}

#else

static float int16_unit(const vq_code_book *book)
{
    (void)book;
    return 0;
}

static void int16_pack(vq_code_book *book, ptrdiff_t first, ptrdiff_t last) { (void)book, (void)first, (void)last; }

static uint64_t int16_assign(const float *y, const float *y_sq_norms, const vq_code_book *book, int32_t *codes)
{
    (void)y, (void)y_sq_norms, (void)book, (void)codes;
    return ~(uint64_t)0;
}

#endif
