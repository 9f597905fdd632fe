/* Sixteen lanes, in one register of AVX-512 or two of AVX2: what the integer scan (integers.h) is
 * written in, where vectors of sixteen codes and of sixteen observations are part of the layout.
 *
 *  w16, w16i, w16m   sixteen floats, int32, and booleans
 *  w16d              sixteen doubles
 *  f8                eight floats
 */
#ifndef VQ_WIDE_H
#define VQ_WIDE_H

#include <immintrin.h>

#include "simd.h"

typedef __m256 f8;

#if defined(__AVX512F__)

typedef __m512 w16;
typedef __m512i w16i;
typedef __mmask16 w16m;
typedef struct {
    __m512d low, high;
} w16d;

INLINE w16 w_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE w16 w_load_first(const float *p, ptrdiff_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)(n < 16 ? (1u << n) - 1 : 0xffff), p);
}
INLINE void w_store(float *p, w16 a) { _mm512_storeu_ps(p, a); }
INLINE w16 w_set(float a) { return _mm512_set1_ps(a); }
INLINE w16 w_add(w16 a, w16 b) { return _mm512_add_ps(a, b); }
INLINE w16 w_sub(w16 a, w16 b) { return _mm512_sub_ps(a, b); }
INLINE w16 w_mul(w16 a, w16 b) { return _mm512_mul_ps(a, b); }
INLINE w16 w_fma(w16 a, w16 b, w16 c) { return _mm512_fmadd_ps(a, b, c); }   /* a b + c */
INLINE w16 w_fms(w16 a, w16 b, w16 c) { return _mm512_fmsub_ps(a, b, c); }   /* a b - c */
INLINE w16 w_fnma(w16 a, w16 b, w16 c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
INLINE w16 w_min(w16 a, w16 b) { return _mm512_min_ps(a, b); }
INLINE w16 w_max(w16 a, w16 b) { return _mm512_max_ps(a, b); }
INLINE w16 w_abs(w16 a) { return _mm512_abs_ps(a); }
INLINE w16 w_sqrt(w16 a) { return _mm512_sqrt_ps(a); }
INLINE w16m w_less(w16 a, w16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE w16m w_less_equal(w16 a, w16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
INLINE w16 w_select(w16m m, w16 a, w16 b) { return _mm512_mask_mov_ps(b, m, a); }
INLINE float w_lowest(w16 a) { return _mm512_reduce_min_ps(a); }
INLINE float w_highest(w16 a) { return _mm512_reduce_max_ps(a); }
INLINE float w_sum(w16 a) { return _mm512_reduce_add_ps(a); }
INLINE w16 w_from_low(f8 a) { return _mm512_castps256_ps512(a); } /* the upper eight are anything */
INLINE w16 w_lookup(w16 table, w16i indices)
{
    return _mm512_permutexvar_ps(indices, table);
} /* by their low four bits */

INLINE w16m wm_and(w16m a, w16m b) { return a & b; }
INLINE w16m wm_and_not(w16m a, w16m b) { return (w16m)(a & ~b); }
INLINE uint32_t wm_bits(w16m a) { return a; }
INLINE w16m wm_from_bits(uint32_t a) { return (w16m)a; }

INLINE w16i wi_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE w16i wi_set(int32_t a) { return _mm512_set1_epi32(a); }
INLINE w16i wi_lanes(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE w16i wi_add(w16i a, w16i b) { return _mm512_add_epi32(a, b); }
INLINE w16i wi_min(w16i a, w16i b) { return _mm512_min_epi32(a, b); }
INLINE w16i wi_max(w16i a, w16i b) { return _mm512_max_epi32(a, b); }
INLINE w16i wi_or(w16i a, w16i b) { return _mm512_or_si512(a, b); }
INLINE w16i wi_left(w16i a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
INLINE w16i wi_right(w16i a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
INLINE w16m wi_equal(w16i a, w16i b) { return _mm512_cmpeq_epi32_mask(a, b); }
INLINE w16m wi_equal_bits(w16i a, w16i bits, w16i b) { return _mm512_cmpeq_epi32_mask(_mm512_and_si512(a, bits), b); }
INLINE int32_t wi_sum(w16i a) { return _mm512_reduce_add_epi32(a); }
INLINE w16i wi_round(w16 a) { return _mm512_cvtps_epi32(a); }
INLINE w16i wi_truncate(w16 a) { return _mm512_cvttps_epi32(a); }
INLINE w16 w_from_int(w16i a) { return _mm512_cvtepi32_ps(a); }

/* Sixteen uint16 or int16. */
INLINE w16i wi_load_u16(const uint16_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE w16i wi_load_i16(const int16_t *p) { return vi_widen(p); }
INLINE void wi_store_u16(uint16_t *p, w16i a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(a)); }
INLINE void wi_store_i16(int16_t *p, w16i a) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(a)); }
INLINE void wi_store_u16_where(uint16_t *p, w16m m, w16i a)
{
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(a));
}

/* first + the lanes that are set, appended to a list with room for sixteen more. */
INLINE ptrdiff_t w_append(int32_t *list, ptrdiff_t n, ptrdiff_t first, uint32_t lanes)
{
    _mm512_storeu_si512(list + n,
                        _mm512_maskz_compress_epi32((__mmask16)lanes, wi_add(wi_lanes(), wi_set((int32_t)first))));
    return n + __builtin_popcount(lanes);
}

INLINE w16d wd_load(const double *p) { return (w16d){_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
/* (x - shift) scale - z, rounded to float once. */
INLINE w16 wd_packed(w16d x, w16d shift, double scale, w16 z)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(z)), factor = _mm512_set1_pd(scale);
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(z, 1));
    const __m256 a = _mm512_cvtpd_ps(_mm512_fmsub_pd(_mm512_sub_pd(x.low, shift.low), factor, low));
    const __m256 b = _mm512_cvtpd_ps(_mm512_fmsub_pd(_mm512_sub_pd(x.high, shift.high), factor, high));
    return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

/* The lowest lane of each of eight vectors. */
INLINE f8 w_lowest8(const w16 a[8])
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

#else

typedef struct {
    __m256 a, b;
} w16;
typedef struct {
    __m256i a, b;
} w16i;
typedef struct {
    __m256 a, b;
} w16m;
typedef struct {
    __m256d quarters[4];
} w16d;

#define TWICE1(type, f, x) ((type){f((x).a), f((x).b)})
#define TWICE2(type, f, x, y) ((type){f((x).a, (y).a), f((x).b, (y).b)})
#define TWICE3(type, f, x, y, z) ((type){f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b)})

INLINE w16 w_load(const float *p) { return (w16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE w16 w_load_first(const float *p, ptrdiff_t n)
{
    return (w16){vf_load_first(p, n < 8 ? n : 8), vf_load_first(p + 8, n < 8 ? 0 : n - 8)};
}
INLINE void w_store(float *p, w16 a)
{
    _mm256_storeu_ps(p, a.a);
    _mm256_storeu_ps(p + 8, a.b);
}
INLINE w16 w_set(float a) { return (w16){_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
INLINE w16 w_add(w16 x, w16 y) { return TWICE2(w16, _mm256_add_ps, x, y); }
INLINE w16 w_sub(w16 x, w16 y) { return TWICE2(w16, _mm256_sub_ps, x, y); }
INLINE w16 w_mul(w16 x, w16 y) { return TWICE2(w16, _mm256_mul_ps, x, y); }
INLINE w16 w_fma(w16 x, w16 y, w16 z) { return TWICE3(w16, _mm256_fmadd_ps, x, y, z); }
INLINE w16 w_fms(w16 x, w16 y, w16 z) { return TWICE3(w16, _mm256_fmsub_ps, x, y, z); }
INLINE w16 w_fnma(w16 x, w16 y, w16 z) { return TWICE3(w16, _mm256_fnmadd_ps, x, y, z); }
INLINE w16 w_min(w16 x, w16 y) { return TWICE2(w16, _mm256_min_ps, x, y); }
INLINE w16 w_max(w16 x, w16 y) { return TWICE2(w16, _mm256_max_ps, x, y); }
INLINE w16 w_abs(w16 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (w16){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE w16 w_sqrt(w16 x) { return TWICE1(w16, _mm256_sqrt_ps, x); }
INLINE w16m w_less(w16 x, w16 y)
{
    return (w16m){_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}
INLINE w16m w_less_equal(w16 x, w16 y)
{
    return (w16m){_mm256_cmp_ps(x.a, y.a, _CMP_LE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LE_OQ)};
}
INLINE w16 w_select(w16m m, w16 x, w16 y) { return TWICE3(w16, _mm256_blendv_ps, y, x, m); }
INLINE float w_lowest(w16 x) { return vf_lowest(_mm256_min_ps(x.a, x.b)); }
INLINE float w_highest(w16 x) { return -vf_lowest(_mm256_sub_ps(_mm256_setzero_ps(), _mm256_max_ps(x.a, x.b))); }
INLINE float w_sum(w16 x) { return vf_sum(_mm256_add_ps(x.a, x.b)); }
INLINE w16 w_from_low(f8 x) { return (w16){x, x}; }
INLINE __m256 lookup_half(w16 table, __m256i indices)
{
    const __m256 low = _mm256_permutevar8x32_ps(table.a, indices), high = _mm256_permutevar8x32_ps(table.b, indices);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(indices, 28)));
}
INLINE w16 w_lookup(w16 table, w16i indices)
{
    return (w16){lookup_half(table, indices.a), lookup_half(table, indices.b)};
}

INLINE w16m wm_and(w16m x, w16m y) { return TWICE2(w16m, _mm256_and_ps, x, y); }
INLINE w16m wm_and_not(w16m x, w16m y) { return TWICE2(w16m, _mm256_andnot_ps, y, x); }
INLINE uint32_t wm_bits(w16m x) { return (uint32_t)(_mm256_movemask_ps(x.a) | _mm256_movemask_ps(x.b) << 8); }
INLINE w16m wm_from_bits(uint32_t bits)
{
    const __m256i lanes = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i low = _mm256_and_si256(_mm256_set1_epi32((int)bits), lanes);
    const __m256i high = _mm256_and_si256(_mm256_set1_epi32((int)(bits >> 8)), lanes);
    return (w16m){_mm256_castsi256_ps(_mm256_cmpeq_epi32(low, lanes)),
                  _mm256_castsi256_ps(_mm256_cmpeq_epi32(high, lanes))};
}

INLINE w16i wi_load(const void *p)
{
    return (w16i){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE w16i wi_set(int32_t a) { return (w16i){_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
INLINE w16i wi_lanes(void)
{
    return (w16i){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
INLINE w16i wi_add(w16i x, w16i y) { return TWICE2(w16i, _mm256_add_epi32, x, y); }
INLINE w16i wi_min(w16i x, w16i y) { return TWICE2(w16i, _mm256_min_epi32, x, y); }
INLINE w16i wi_max(w16i x, w16i y) { return TWICE2(w16i, _mm256_max_epi32, x, y); }
INLINE w16i wi_or(w16i x, w16i y) { return TWICE2(w16i, _mm256_or_si256, x, y); }
INLINE w16i wi_left(w16i x, int n) { return (w16i){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
INLINE w16i wi_right(w16i x, int n) { return (w16i){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)}; }
INLINE w16m wi_equal(w16i x, w16i y)
{
    return (w16m){_mm256_castsi256_ps(_mm256_cmpeq_epi32(x.a, y.a)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(x.b, y.b))};
}
INLINE w16m wi_equal_bits(w16i x, w16i bits, w16i y) { return wi_equal(TWICE2(w16i, _mm256_and_si256, x, bits), y); }
INLINE int32_t wi_sum(w16i x)
{
    const __m256i halves = _mm256_add_epi32(x.a, x.b);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}
INLINE w16i wi_round(w16 x) { return TWICE1(w16i, _mm256_cvtps_epi32, x); }
INLINE w16i wi_truncate(w16 x) { return TWICE1(w16i, _mm256_cvttps_epi32, x); }
INLINE w16 w_from_int(w16i x) { return TWICE1(w16, _mm256_cvtepi32_ps, x); }

INLINE w16i wi_load_u16(const uint16_t *p)
{
    return (w16i){_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE w16i wi_load_i16(const int16_t *p) { return (w16i){vi_widen(p), vi_widen(p + 8)}; }
INLINE __m256i narrow_u16(w16i x) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xd8); }
INLINE void wi_store_u16(uint16_t *p, w16i x) { _mm256_storeu_si256((__m256i *)p, narrow_u16(x)); }
INLINE void wi_store_i16(int16_t *p, w16i x)
{
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8));
}
INLINE void wi_store_u16_where(uint16_t *p, w16m m, w16i x)
{
    const __m256i halves = _mm256_packs_epi32(_mm256_castps_si256(m.a), _mm256_castps_si256(m.b));
    const __m256i old = _mm256_loadu_si256((const __m256i *)p), mask = _mm256_permute4x64_epi64(halves, 0xd8);
    _mm256_storeu_si256((__m256i *)p, _mm256_blendv_epi8(old, narrow_u16(x), mask));
}

INLINE ptrdiff_t w_append(int32_t *list, ptrdiff_t n, ptrdiff_t first, uint32_t lanes)
{
    for (; lanes; lanes &= lanes - 1)
        list[n++] = (int32_t)first + __builtin_ctz(lanes);
    return n;
}

INLINE w16d wd_load(const double *p)
{
    return (w16d){{_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8), _mm256_loadu_pd(p + 12)}};
}
INLINE w16 wd_packed(w16d x, w16d shift, double scale, w16 z)
{
    const __m128 codes[4] = {_mm256_castps256_ps128(z.a), _mm256_extractf128_ps(z.a, 1), _mm256_castps256_ps128(z.b),
                             _mm256_extractf128_ps(z.b, 1)};
    __m128 found[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        found[i] = _mm256_cvtpd_ps(_mm256_fmsub_pd(_mm256_sub_pd(x.quarters[i], shift.quarters[i]),
                                                   _mm256_set1_pd(scale), _mm256_cvtps_pd(codes[i])));
    return (w16){_mm256_set_m128(found[1], found[0]), _mm256_set_m128(found[3], found[2])};
}

INLINE f8 w_lowest8(const w16 a[8])
{
    __m256 pairs[4], fours[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m256 even = _mm256_min_ps(a[2 * i].a, a[2 * i].b), odd = _mm256_min_ps(a[2 * i + 1].a, a[2 * i + 1].b);
        pairs[i] = _mm256_min_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        fours[i] = _mm256_min_ps(_mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                                 _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
    return _mm256_min_ps(_mm256_permute2f128_ps(fours[0], fours[1], 0x20),
                         _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

#endif

INLINE uint32_t f8_less_equal(f8 a, f8 b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ)); }

#endif
