/* The int16 scan: a filter in front of the float32 one of the lanes path (kernels.h), with half
 * as many operations, for dot products of pairs in hardware (AVX-512 VNNI).
 *
 * With the packed y and z of kernels.h and a unit S, a power of two with S Z <= 32767, let
 * q = rint(S y) and r = rint(S z). The chain in int32
 *
 *     score16 = rint(S^2 |z|^2 / 2) - <q, r>
 *
 * is off from S^2 score by at most  A S Z + |q| E + 1/2,  A >= |S y - q| and E >= |S z - r|, by Cauchy
 * and Schwarz: <S y, S z> = <q, r> + <S y - q, S z> + <q, S z - r>. E is measured when the code words
 * are packed; A = sqrt(d) / 2, but where an element of q is cut to int16: such an observation is
 * doubtful. So is one with |q| > 1.4 * 2^15, and no chain leaves int32: with |r| <= S Z + E < 2^15 + 4,
 * <q, r> is below 0.71 * 2^31, the half norm below 2^29.
 *
 * The lowest bits of a score are replaced by the code, so the lowest score brings its code, and of
 * equal ones the lowest. This changes it by less than 2^bits. Gaps between scores are computed in
 * float, 2^8 off. So the code of the lowest score is certain if the second lowest is above it by
 * more than
 *
 *     2 (A S Z + |q| E + 1 + 2^bits) + 2^8 + S^2 band(y),    S |y| <= |q| + A
 *
 * which is rounded up. The observations where it is not are collected and, a group at a time,
 * scanned in float32.
 */

/* More doubtful ones in a group, and the rest of the block goes without the filter. */
enum { INT16_MOST_DOUBTFUL = LANE_GROUP / 4 };
/* So many are decided by the double formula at once: less work than the scan of a group. */
enum { INT16_MOST_DIRECT = 8 };
/* Most code words side by side. */
enum { INT16_WORDS = 2 };

#if defined(__AVX512VNNI__)

/* Features from which on the filter lets few observations through; codes that pay for it. */
enum { INT16_LEAST_FEATURES = 5, INT16_LEAST_CODES = 32, INT16_MOST_CODES = 16384 };

/* Unit S, or 0 where the filter is not worth its while; then the pairs, E and the half norms. */
static void int16_pack(vq_code_book *book)
{
    const ptrdiff_t d = book->n_features, n_pairs = (d + 1) / 2;
    book->int16_unit = 0;
    if (d < INT16_LEAST_FEATURES || d > VQ_LANES_FEATURES || book->n_codes < INT16_LEAST_CODES
        || book->n_codes > INT16_MOST_CODES)
        return;
    float z[VQ_LANES_FEATURES] = {0}, unit = ldexpf(1, 14 - ilogbf(book->longest)), sq_error = 0;
    unit = unit * book->longest <= 32767 ? unit : unit / 2;
    const double half_square = 0.5 * book->scale * book->scale * unit * unit;
    for (ptrdiff_t k = 0; k < book->n_codes; k++) {
        __m512 sums = _mm512_setzero_ps();
        packed_row(book, k, -1, z);
        for (ptrdiff_t j = 0; j < d; j += VL) {
            const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(z + j), _mm512_set1_ps(unit));
            const __m512i r = _mm512_cvtps_epi32(scaled);
            const __m512 error = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(r));
            const ptrdiff_t left = 2 * n_pairs - j;
            const __mmask16 kept = left < VL ? (__mmask16)((1 << left) - 1) : 0xffff;
            _mm512_mask_cvtepi32_storeu_epi16(book->pairs + 2 * k * n_pairs + j, kept, r);
            sums = _mm512_fmadd_ps(error, error, sums);
        }
        const float sum = _mm512_reduce_add_ps(sums);
        sq_error = sum > sq_error ? sum : sq_error;
        book->starts[k] = book->sq_norms[k] < INFINITY ? (int32_t)rint(half_square * book->sq_norms[k]) : INT32_MAX;
    }
    book->int16_unit = unit;
    book->int16_error = sqrtf(sq_error) * (1 + 0x1p-18f); /* for the roundings of 64 squares */
}

/* Eight pairs of features of sixteen rows y: vectors of a pair each. */
INLINE void int16_pairs(const float *y, ptrdiff_t step, __m512 unit, __m512i pairs[8])
{
    __m512i rows[16], twos[8], fours[8];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++)
        rows[r] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(y + r * step), unit));
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) /* lanes of 128 bits: pairs 2 l and 2 l + 1 of row r, then of row r + 8 */
        twos[r] = _mm512_packs_epi32(rows[r], rows[r + 8]);
    /* Lane l of fours[0 ... 3]: pair 2 l of rows 0 ... 3, 4 ... 7, 8 ... 11, 12 ... 15; of fours[4 ... 7]: pair 2 l
     * + 1. */
#pragma GCC unroll 2
    for (int h = 0; h < 8; h += 4) {
        const __m512i low01 = _mm512_unpacklo_epi32(twos[h], twos[h + 1]);
        const __m512i low23 = _mm512_unpacklo_epi32(twos[h + 2], twos[h + 3]);
        const __m512i high01 = _mm512_unpackhi_epi32(twos[h], twos[h + 1]);
        const __m512i high23 = _mm512_unpackhi_epi32(twos[h + 2], twos[h + 3]);
        fours[h / 4] = _mm512_unpacklo_epi64(low01, low23);
        fours[h / 4 + 2] = _mm512_unpacklo_epi64(high01, high23);
        fours[h / 4 + 4] = _mm512_unpackhi_epi64(low01, low23);
        fours[h / 4 + 6] = _mm512_unpackhi_epi64(high01, high23);
    }
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; odd++) { /* a transposition of 4 x 4 lanes */
        const __m512i *from = fours + 4 * odd;
        const __m512i low01 = _mm512_shuffle_i32x4(from[0], from[1], 0x44);
        const __m512i low23 = _mm512_shuffle_i32x4(from[2], from[3], 0x44);
        const __m512i high01 = _mm512_shuffle_i32x4(from[0], from[1], 0xee);
        const __m512i high23 = _mm512_shuffle_i32x4(from[2], from[3], 0xee);
        pairs[odd] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        pairs[2 + odd] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
        pairs[4 + odd] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        pairs[6 + odd] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    }
}

/* q of a group of rows y (of whole vectors), (n_pairs, LANE_GROUP) pairs of features, and |q|^2; where an element of q
 * is cut to int16, or y is not a number, the most that there is. */
INLINE void int16_load(const float *y, const vq_code_book *book, int32_t *q, __m512i sq_norms[LANE_VECTORS])
{
    const __m512 unit = _mm512_set1_ps(book->int16_unit);
    const ptrdiff_t d = book->n_features, step = (d + 15) / 16 * 16;
    for (int v = 0; v < LANE_VECTORS; v++) {
        __m512i sq_norm = _mm512_setzero_si512(), lowest = sq_norm, highest = sq_norm;
        for (ptrdiff_t begin = 0; begin < d; begin += 16) {
            __m512i pairs[8];
            int16_pairs(y + v * VL * step + begin, step, unit, pairs);
#pragma GCC unroll 8
            for (ptrdiff_t p = 0; p < 8; p++)
                if (begin + 2 * p < d) {
                    _mm512_storeu_si512(q + (begin / 2 + p) * LANE_GROUP + v * VL, pairs[p]);
                    sq_norm = _mm512_dpwssds_epi32(sq_norm, pairs[p], pairs[p]);
                    lowest = _mm512_min_epi16(lowest, pairs[p]);
                    highest = _mm512_max_epi16(highest, pairs[p]);
                }
        }
        const __m512i least = _mm512_set1_epi16(INT16_MIN), most = _mm512_set1_epi16(INT16_MAX);
        const __m512i cut = _mm512_or_si512(_mm512_movm_epi16(_mm512_cmpeq_epi16_mask(lowest, least)),
                                            _mm512_movm_epi16(_mm512_cmpeq_epi16_mask(highest, most)));
        sq_norms[v] = _mm512_mask_mov_epi32(sq_norm, _mm512_test_epi32_mask(cut, cut), _mm512_set1_epi32(INT32_MAX));
    }
}

/* Code words k ... k + n_words - 1 against a group: its two lowest scores so far, codes in the lowest bits. */
INLINE void int16_compare(const int32_t *q, const vq_code_book *book, ptrdiff_t k, int n_words, ptrdiff_t n_pairs,
                          __m512i low_bits, __m512i best[LANE_VECTORS], __m512i second[LANE_VECTORS])
{
    __m512i score[INT16_WORDS][LANE_VECTORS];
    for (int w = 0; w < n_words; w++)
        for (int v = 0; v < LANE_VECTORS; v++)
            score[w][v] = _mm512_set1_epi32(book->starts[k + w]);
#pragma GCC unroll 8
    for (ptrdiff_t j = 0; j < n_pairs; j++)
        for (int w = 0; w < n_words; w++) {
            int32_t pair;
            memcpy(&pair, book->pairs + 2 * ((k + w) * n_pairs + j), sizeof pair);
            const __m512i r = _mm512_set1_epi32(pair);
            for (int v = 0; v < LANE_VECTORS; v++)
                score[w][v] = vi_dot(score[w][v], _mm512_loadu_si512(q + j * LANE_GROUP + v * VL), r);
        }
    const __m512i first = _mm512_set1_epi32((int)k);
    for (int w = 0; w < n_words; w++) {
        const __m512i code = _mm512_add_epi32(first, _mm512_set1_epi32(w));
        for (int v = 0; v < LANE_VECTORS; v++) {
            score[w][v] = _mm512_ternarylogic_epi32(score[w][v], low_bits, code, 0xb8); /* low_bits ? code : score */
            second[v] = _mm512_min_epi32(second[v], _mm512_max_epi32(score[w][v], best[v]));
            best[v] = _mm512_min_epi32(best[v], score[w][v]);
        }
    }
}

/* All code words, n_words at once: half as many loads of q, but where a constant n_pairs keeps it in registers.
 * The next rows are asked for a few at a time: all at once, they would wait for each other and the scan for them. */
INLINE void int16_scan_of(const int32_t *q, const vq_code_book *book, ptrdiff_t n_pairs, int n_words, __m512i low_bits,
                          vq_ahead ahead, __m512i best_out[LANE_VECTORS], __m512i second_out[LANE_VECTORS])
{
    __m512i best[LANE_VECTORS], second[LANE_VECTORS];
    for (int v = 0; v < LANE_VECTORS; v++)
        best[v] = second[v] = _mm512_set1_epi32(INT32_MAX);
    const ptrdiff_t rows_each = (n_words * ahead.n + book->n_codes - 1) / book->n_codes;
    ptrdiff_t k = 0;
    for (; k + n_words <= book->n_codes; k += n_words) {
        fetch_ahead(&ahead, rows_each);
        int16_compare(q, book, k, n_words, n_pairs, low_bits, best, second);
    }
    for (; k < book->n_codes; k++)
        int16_compare(q, book, k, 1, n_pairs, low_bits, best, second);
    for (int v = 0; v < LANE_VECTORS; v++) {
        best_out[v] = best[v];
        second_out[v] = second[v];
    }
}

INLINE void int16_scan(const int32_t *q, const vq_code_book *book, __m512i low_bits, vq_ahead ahead,
                       __m512i best[LANE_VECTORS], __m512i second[LANE_VECTORS])
{
    const ptrdiff_t n_pairs = (book->n_features + 1) / 2;
    switch (n_pairs) {
    case 3: int16_scan_of(q, book, 3, 1, low_bits, ahead, best, second); return;
    case 4: int16_scan_of(q, book, 4, 1, low_bits, ahead, best, second); return;
    default: int16_scan_of(q, book, n_pairs, INT16_WORDS, low_bits, ahead, best, second);
    }
}

/* Codes of a group of rows y; returns a bit for each whose code is not certain. */
static uint64_t int16_assign(const float *y, const vq_code_book *book, vq_ahead ahead, int32_t *codes)
{
    int32_t q[(VQ_LANES_FEATURES + 1) / 2 * LANE_GROUP];
    __m512i best[LANE_VECTORS], second[LANE_VECTORS], sq_norms[LANE_VECTORS];
    int bits = 0;
    while ((ptrdiff_t)1 << bits < book->n_codes)
        bits++;
    const __m512i low_bits = _mm512_set1_epi32((1 << bits) - 1);
    int16_load(y, book, q, sq_norms);
    int16_scan(q, book, low_bits, ahead, best, second);

    const float unit = book->int16_unit, up = 1 + 0x1p-16f; /* for the roundings of a few dozen operations */
    const float error = up * sqrtf((float)book->n_features) / 2;
    const __m512 constant = _mm512_set1_ps(up * (float)(2 + (2 << bits) + 256) + 2 * error * unit * book->longest
                                           + up * unit * unit * book->band_constant);
    const __m512 of_norm = _mm512_set1_ps(2 * up * book->int16_error);
    const __m512 of_y = _mm512_set1_ps(up * unit * book->band_norm);
    const __m512 of_square = _mm512_set1_ps(up * book->band_square);
    const __m512 most = _mm512_set1_ps(1.4f * 1.4f * 0x1p30f);
    uint64_t doubtful = 0;
    for (int v = 0; v < LANE_VECTORS; v++) {
        const __m512 sq_norm = _mm512_cvtepi32_ps(sq_norms[v]), norm = _mm512_sqrt_ps(sq_norm);
        const __m512 y_norm = _mm512_add_ps(norm, _mm512_set1_ps(error));
        __m512 band = _mm512_fmadd_ps(of_norm, norm, constant);
        band = _mm512_fmadd_ps(of_y, y_norm, band);
        band = _mm512_fmadd_ps(of_square, _mm512_mul_ps(y_norm, y_norm), band);
        const __m512 gap = _mm512_sub_ps(_mm512_cvtepi32_ps(second[v]), _mm512_cvtepi32_ps(best[v]));
        const __mmask16 certain =
            _mm512_cmp_ps_mask(band, gap, _CMP_LT_OQ) & _mm512_cmp_ps_mask(sq_norm, most, _CMP_LT_OQ);
        doubtful |= (uint64_t)(uint16_t)~certain << (v * VL);
        _mm512_storeu_si512(codes + v * VL, _mm512_and_si512(best[v], low_bits));
    }
    return doubtful;
}

#else

static void int16_pack(vq_code_book *book) { book->int16_unit = 0; }

static uint64_t int16_assign(const float *y, const vq_code_book *book, vq_ahead ahead, int32_t *codes)
{
    (void)y, (void)book, (void)ahead, (void)codes;
    return ~(uint64_t)0;
}

#endif
