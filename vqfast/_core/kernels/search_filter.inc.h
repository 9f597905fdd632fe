/* The filter of the search: saturated sums of bytes against a limit. */

/* ---- one query, a table for it in registers or in the nearest cache ---------------------
 *
 * Where a chunk has a code that passes, its masks are kept. They are always stored and the
 * count goes on by a condition: no branch to mispredict. */

#if defined(__AVX512VBMI__) && defined(__AVX512BW__)

#define FILTER_BYTES 1

/* Elements x of a table of 256 bytes: vpermi2b looks at the low seven bits of an index, the
 * top bit chooses between the halves. */
INLINE __m512i lookup_bytes(const __m512i table[4], __m512i x)
{
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), _mm512_permutex2var_epi8(table[0], x, table[1]),
                                  _mm512_permutex2var_epi8(table[2], x, table[3]));
}

static ptrdiff_t filter_bytes(const uint8_t *bytes, ptrdiff_t n_rows, int limit, const uint8_t *chunks, ptrdiff_t first,
                              ptrdiff_t last, vq_chunk_hit *hits)
{
    const __m512i most = _mm512_set1_epi8((char)limit);
    ptrdiff_t n = 0;
    for (ptrdiff_t c = first; c < last; c++) {
        const uint8_t *row = chunks + c * n_rows * VQ_CHUNK;
        __m512i sums[8], table[4];
#pragma GCC unroll 8
        for (int b = 0; b < 8; b++)
            sums[b] = _mm512_setzero_si512();
        for (ptrdiff_t r = 0; r < n_rows; r++, row += VQ_CHUNK) {
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++)
                table[t] = _mm512_loadu_si512(bytes + r * 256 + t * 64);
#pragma GCC unroll 8
            for (int b = 0; b < 8; b++)
                sums[b] = _mm512_adds_epu8(sums[b], lookup_bytes(table, _mm512_loadu_si512(row + b * 64)));
        }
        uint64_t any = 0;
#pragma GCC unroll 8
        for (int b = 0; b < 8; b++) {
            hits[n].masks[b] = _mm512_cmple_epu8_mask(sums[b], most);
            any |= hits[n].masks[b];
        }
        hits[n].chunk = c;
        n += any != 0;
    }
    return n;
}

#elif defined(__AVX2__)

#define FILTER_BYTES 1
#define FILTER_PAIRS 1

/* Elements x of a table of 256 bytes, sixteen slices of sixteen: bit 4 of x chooses between two
 * neighbours as the top bit of an index, for which vpshufb reads 0, bits 5 to 7 by blends. */
INLINE __m256i lookup_bytes(const uint8_t *table, __m256i x)
{
    const __m256i bit_5 = _mm256_slli_epi16(x, 2), bit_6 = _mm256_slli_epi16(x, 1), top = _mm256_set1_epi8(-128);
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(15));
    const __m256i even = _mm256_or_si256(low, _mm256_and_si256(_mm256_slli_epi16(x, 3), top));
    const __m256i odd = _mm256_xor_si256(even, top);
    __m256i eighths[8];
#pragma GCC unroll 8
    for (int e = 0; e < 8; e++) {
        const __m128i *slices = (const __m128i *)(table + 32 * e);
        eighths[e] =
            _mm256_or_si256(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(slices)), even),
                            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(slices + 1)), odd));
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++)
        eighths[q] = _mm256_blendv_epi8(eighths[2 * q], eighths[2 * q + 1], bit_5);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++)
        eighths[h] = _mm256_blendv_epi8(eighths[2 * h], eighths[2 * h + 1], bit_6);
    return _mm256_blendv_epi8(eighths[0], eighths[1], x);
}

/* The masks of a chunk; returns whether a code passes. */
INLINE int keep_hit(const __m256i sums[VQ_CHUNK / 32], __m256i most, ptrdiff_t c, vq_chunk_hit *hit)
{
    uint32_t masks[VQ_CHUNK / 32], any = 0;
    for (int b = 0; b < VQ_CHUNK / 32; b++) {
        masks[b] = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(sums[b], most), sums[b]));
        any |= masks[b];
    }
    memcpy(hit->masks, masks, sizeof masks);
    hit->chunk = c;
    return any != 0;
}

static ptrdiff_t filter_bytes(const uint8_t *bytes, ptrdiff_t n_rows, int limit, const uint8_t *chunks, ptrdiff_t first,
                              ptrdiff_t last, vq_chunk_hit *hits)
{
    const __m256i most = _mm256_set1_epi8((char)limit);
    ptrdiff_t n = 0;
    for (ptrdiff_t c = first; c < last; c++) {
        const uint8_t *chunk = chunks + c * n_rows * VQ_CHUNK;
        __m256i sums[VQ_CHUNK / 32];
        for (int b = 0; b < VQ_CHUNK / 32; b++) {
            __m256i sum = _mm256_setzero_si256();
            for (ptrdiff_t r = 0; r < n_rows; r++) {
                const __m256i x = _mm256_loadu_si256((const __m256i *)(chunk + r * VQ_CHUNK + b * 32));
                sum = _mm256_adds_epu8(sum, lookup_bytes(bytes + r * 256, x));
            }
            sums[b] = sum;
        }
        n += keep_hit(sums, most, c, hits + n);
    }
    return n;
}

/* The rows are pairs of codes of four bits; bytes + r * 256 begins with the sixteen entries
 * of the low code and, 128 later, with those of the high one. */
static ptrdiff_t filter_pairs(const uint8_t *bytes, ptrdiff_t n_rows, int limit, const uint8_t *chunks, ptrdiff_t first,
                              ptrdiff_t last, vq_chunk_hit *hits)
{
    enum { AT_ONCE = 4 };
    const __m256i most = _mm256_set1_epi8((char)limit), low_bits = _mm256_set1_epi8(15);
    ptrdiff_t n = 0;
    for (ptrdiff_t c = first; c < last; c++) {
        const uint8_t *chunk = chunks + c * n_rows * VQ_CHUNK;
        __m256i sums[VQ_CHUNK / 32];
        for (int part = 0; part < VQ_CHUNK / 32; part += AT_ONCE) {
            const uint8_t *row = chunk + part * 32;
#pragma GCC unroll 4
            for (int b = 0; b < AT_ONCE; b++)
                sums[part + b] = _mm256_setzero_si256();
            for (ptrdiff_t r = 0; r < n_rows; r++, row += VQ_CHUNK) {
                const __m128i *table = (const __m128i *)(bytes + r * 256);
                const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
                const __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128(table + 8));
#pragma GCC unroll 4
                for (int b = 0; b < AT_ONCE; b++) {
                    __m256i x = _mm256_loadu_si256((const __m256i *)(row + b * 32));
                    __m256i y = _mm256_and_si256(_mm256_srli_epi16(x, 4), low_bits), *sum = &sums[part + b];
                    *sum = _mm256_adds_epu8(*sum, _mm256_shuffle_epi8(low, _mm256_and_si256(x, low_bits)));
                    *sum = _mm256_adds_epu8(*sum, _mm256_shuffle_epi8(high, y));
                }
            }
        }
        n += keep_hit(sums, most, c, hits + n);
    }
    return n;
}

#endif

/* ---- a group of queries, one a lane ----------------------------------------------------- */

#if defined(__AVX512BW__)
enum { LANES = 64 };
typedef __m512i vlane;
INLINE vlane lanes_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE vlane lanes_add(vlane a, vlane b) { return _mm512_adds_epu8(a, b); }
INLINE uint64_t lanes_within(vlane a, vlane limits) { return _mm512_cmple_epu8_mask(a, limits); }
#elif defined(__AVX2__)
enum { LANES = 32 };
typedef __m256i vlane;
INLINE vlane lanes_load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE vlane lanes_add(vlane a, vlane b) { return _mm256_adds_epu8(a, b); }
INLINE uint64_t lanes_within(vlane a, vlane limits)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(a, limits), a));
}
#elif defined(__SSE2__)
#include <immintrin.h>
enum { LANES = 16 };
typedef __m128i vlane;
INLINE vlane lanes_load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
INLINE vlane lanes_add(vlane a, vlane b) { return _mm_adds_epu8(a, b); }
INLINE uint64_t lanes_within(vlane a, vlane limits)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(a, limits), a));
}
#else /* the compiler's vectors: NEON and whatever else there is */
enum { LANES = 16 };
typedef uint8_t vlane __attribute__((vector_size(16)));
INLINE vlane lanes_load(const uint8_t *p)
{
    vlane a;
    memcpy(&a, p, sizeof a);
    return a;
}
INLINE vlane lanes_add(vlane a, vlane b)
{
    vlane sum = a + b;
    return sum | (vlane)(sum < a);
}
INLINE uint64_t lanes_within(vlane a, vlane limits)
{
    vlane within = (vlane)(a <= limits);
    uint64_t halves[2], mask = 0;
    memcpy(halves, &within, sizeof within);
    if (halves[0] | halves[1])
        for (int l = 0; l < LANES; l++)
            mask |= (uint64_t)(within[l] & 1) << l;
    return mask;
}
#endif

/* One chunk; lanes (n_rows, 256, LANES) holds the bytes of the queries side by side. */
static ptrdiff_t filter_lanes(const uint8_t *lanes, ptrdiff_t n_rows, const uint8_t *limits, const uint8_t *chunk,
                              vq_lane_hit *hits)
{
    enum { AT_ONCE = 4 };
    const vlane most = lanes_load(limits);
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < VQ_CHUNK; i += AT_ONCE) {
        vlane sums[AT_ONCE];
#pragma GCC unroll 4
        for (int b = 0; b < AT_ONCE; b++)
            sums[b] = lanes_load(lanes + (ptrdiff_t)chunk[i + b] * LANES);
        for (ptrdiff_t r = 1; r < n_rows; r++) {
            const uint8_t *row = chunk + r * VQ_CHUNK + i, *table = lanes + r * 256 * LANES;
#pragma GCC unroll 4
            for (int b = 0; b < AT_ONCE; b++)
                sums[b] = lanes_add(sums[b], lanes_load(table + (ptrdiff_t)row[b] * LANES));
        }
#pragma GCC unroll 4
        for (int b = 0; b < AT_ONCE; b++) {
            hits[n].queries = lanes_within(sums[b], most);
            hits[n].index = i + b;
            n += hits[n].queries != 0;
        }
    }
    return n;
}

/* ---- one by one or in lanes ----------------------------------------------------------------
 *
 * Up to how many queries the filter is faster one by one (EACH_), and the nanoseconds that a byte
 * of a code takes so (NS_). Lanes cost the same whether or not they are filled: on AVX2 two
 * queries of bytes take 203 us each one by one and 324 in lanes, three 260 and 219; 24 of pairs
 * 40 and 42. */
#if defined(FILTER_PAIRS)
enum { EACH_PAIRS = LANES * 3 / 4, EACH_BYTES = LANES / 16 };
static const double NS_PAIRS = 0.02, NS_BYTES = 0.1;
#elif defined(FILTER_BYTES)
enum { EACH_PAIRS = 1 << 30, EACH_BYTES = 1 << 30 };
static const double NS_PAIRS = 0.012, NS_BYTES = 0.012;
#else
enum { EACH_PAIRS = 0, EACH_BYTES = 0 };
static const double NS_PAIRS = 0, NS_BYTES = 0;
#endif
