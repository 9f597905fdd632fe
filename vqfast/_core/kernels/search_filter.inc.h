/* The filter of the search: saturated sums of bytes against a limit. */

/* ---- one query, its tables in registers ------------------------------------------------
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

#define FILTER_PAIRS 1

/* The rows are pairs of codes of four bits; bytes + r * 256 begins with the sixteen entries
 * of the low code and, 128 later, with those of the high one. */
static ptrdiff_t filter_pairs(const uint8_t *bytes, ptrdiff_t n_rows, int limit, const uint8_t *chunks, ptrdiff_t first,
                              ptrdiff_t last, vq_chunk_hit *hits)
{
    enum { REGISTERS = 4, PARTS = VQ_CHUNK / 32 / REGISTERS };
    const __m256i most = _mm256_set1_epi8((char)limit), low_bits = _mm256_set1_epi8(15);
    ptrdiff_t n = 0;
    for (ptrdiff_t c = first; c < last; c++) {
        const uint8_t *chunk = chunks + c * n_rows * VQ_CHUNK;
        uint32_t masks[VQ_CHUNK / 32], any = 0;
        for (int part = 0; part < PARTS; part++) {
            const uint8_t *row = chunk + part * 32 * REGISTERS;
            __m256i sums[REGISTERS];
#pragma GCC unroll 4
            for (int b = 0; b < REGISTERS; b++)
                sums[b] = _mm256_setzero_si256();
            for (ptrdiff_t r = 0; r < n_rows; r++, row += VQ_CHUNK) {
                const __m128i *table = (const __m128i *)(bytes + r * 256);
                const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
                const __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128(table + 8));
#pragma GCC unroll 4
                for (int b = 0; b < REGISTERS; b++) {
                    __m256i x = _mm256_loadu_si256((const __m256i *)(row + b * 32));
                    __m256i y = _mm256_and_si256(_mm256_srli_epi16(x, 4), low_bits);
                    sums[b] = _mm256_adds_epu8(sums[b], _mm256_shuffle_epi8(low, _mm256_and_si256(x, low_bits)));
                    sums[b] = _mm256_adds_epu8(sums[b], _mm256_shuffle_epi8(high, y));
                }
            }
#pragma GCC unroll 4
            for (int b = 0; b < REGISTERS; b++) {
                __m256i passes = _mm256_cmpeq_epi8(_mm256_min_epu8(sums[b], most), sums[b]);
                masks[part * REGISTERS + b] = (uint32_t)_mm256_movemask_epi8(passes);
                any |= masks[part * REGISTERS + b];
            }
        }
        for (int b = 0; b < VQ_CHUNK / 64; b++)
            hits[n].masks[b] = masks[2 * b] | (uint64_t)masks[2 * b + 1] << 32;
        hits[n].chunk = c;
        n += any != 0;
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
