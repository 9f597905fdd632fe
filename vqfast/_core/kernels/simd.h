/* The vector operations the scans are written in, for the ISA this file is compiled
 * for. One branch per instruction set; everything above is the same source.
 *
 *  vf_load_first       n <= VL floats, the rest zero
 *  vf, vi, vm          VL floats, VL int32, a mask of VL lanes
 *  TILE_ROWS, TILE_VECTORS   register tile of the panels path
 *  LANE_VECTORS        vectors of observations in a group of the lanes path
 */
#ifndef VQ_SIMD_H
#define VQ_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) && !defined(__clang__)
#error "vqfast needs GCC or Clang (on Windows: clang-cl)"
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

#include <immintrin.h>
enum { VL = 16, TILE_ROWS = 8, TILE_VECTORS = 3, LANE_VECTORS = 4 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vf vf_load_first(const float *p, ptrdiff_t n)
{
    if (n <= 8) /* a load of half the bytes crosses half as many lines */
        return _mm512_zextps256_ps512(_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p));
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE vf vf_set(float a) { return _mm512_set1_ps(a); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vm vf_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE vm vf_less_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
INLINE vi vi_set(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vi vi_select(vm m, vi a, vi b) { return _mm512_mask_mov_epi32(b, m, a); }
INLINE vi vi_widen(const int16_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void vi_store(int32_t *p, vi a) { _mm512_storeu_si512(p, a); }
INLINE vm vm_or(vm a, vm b) { return a | b; }
INLINE int vm_any(vm m) { return m != 0; }
INLINE int vm_all(vm m) { return m == 0xffff; }
INLINE uint32_t vm_bits(vm m) { return m; }
INLINE float vf_lowest(vf a) { return _mm512_reduce_min_ps(a); }
INLINE float vf_sum(vf a) { return _mm512_reduce_add_ps(a); }

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>
enum { VL = 8, TILE_ROWS = 6, TILE_VECTORS = 2, LANE_VECTORS = 2 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;
INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE vf vf_load_first(const float *p, ptrdiff_t n)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes));
}
INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
INLINE vf vf_set(float a) { return _mm256_set1_ps(a); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vm vf_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
INLINE vm vf_less_equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
INLINE vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
INLINE vi vi_select(vm m, vi a, vi b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m)); }
INLINE vi vi_widen(const int16_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE void vi_store(int32_t *p, vi a) { _mm256_storeu_si256((__m256i *)p, a); }
INLINE vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
INLINE int vm_any(vm m) { return _mm256_movemask_ps(m) != 0; }
INLINE int vm_all(vm m) { return _mm256_movemask_ps(m) == 0xff; }
INLINE uint32_t vm_bits(vm m) { return (uint32_t)_mm256_movemask_ps(m); }
INLINE float vf_lowest(vf a)
{
    __m128 b = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_min_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_min_ss(b, _mm_movehdup_ps(b)));
}
INLINE float vf_sum(vf a)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#else /* 128-bit vectors of the compiler: SSE2, NEON and whatever else there is */

#if defined(__aarch64__)
#include <arm_neon.h>
enum { VL = 4, TILE_ROWS = 8, TILE_VECTORS = 2, LANE_VECTORS = 4 };
#else
enum { VL = 4, TILE_ROWS = 4, TILE_VECTORS = 2, LANE_VECTORS = 2 };
#endif
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef vi vm;
INLINE vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
INLINE vf vf_load_first(const float *p, ptrdiff_t n)
{
    vf a = {0};
    memcpy(&a, p, (size_t)n * sizeof *p);
    return a;
}
INLINE void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
INLINE vf vf_set(float a) { return (vf){a, a, a, a}; }
#if defined(__aarch64__)
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
#endif
INLINE vm vf_less(vf a, vf b) { return (vm)(a < b); }
INLINE vm vf_less_equal(vf a, vf b) { return (vm)(a <= b); }
INLINE vi vi_select(vm m, vi a, vi b) { return (m & a) | (~m & b); }
INLINE vf vf_min(vf a, vf b) { return (vf)vi_select(vf_less(a, b), (vi)a, (vi)b); }
INLINE vf vf_max(vf a, vf b) { return (vf)vi_select(vf_less(b, a), (vi)a, (vi)b); }
INLINE vi vi_set(int32_t a) { return (vi){a, a, a, a}; }
INLINE vi vi_widen(const int16_t *p) { return (vi){p[0], p[1], p[2], p[3]}; }
INLINE void vi_store(int32_t *p, vi a) { memcpy(p, &a, sizeof a); }
INLINE vm vm_or(vm a, vm b) { return a | b; }
INLINE int vm_any(vm m)
{
    uint64_t halves[2];
    memcpy(halves, &m, sizeof m);
    return (halves[0] | halves[1]) != 0;
}
INLINE int vm_all(vm m) { return !vm_any(~m); }
INLINE uint32_t vm_bits(vm m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }
INLINE float vf_lowest(vf a)
{
    float low = a[0] < a[1] ? a[0] : a[1], high = a[2] < a[3] ? a[2] : a[3];
    return low < high ? low : high;
}
INLINE float vf_sum(vf a) { return (a[0] + a[1]) + (a[2] + a[3]); }

#endif

/* sum[v] + a[2v] b[2v] + a[2v+1] b[2v+1] for the VL pairs of 16-bit numbers in a and b. */
#if defined(__AVX512VNNI__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm512_dpwssd_epi32(sum, a, b); }
#elif defined(__AVX512BW__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
#elif defined(__AVX2__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
#else
INLINE vi vi_dot(vi sum, vi a, vi b) { return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
#endif

/* Safe directions for bounds: more than the roundings of any few float operations. */
#define BOUND_UP 1.000001f
#define BOUND_DOWN 0.999999f

enum { PANEL = TILE_VECTORS * VL, LANE_GROUP = LANE_VECTORS * VL };

/* Eight doubles, whatever the width of the machine's registers: the partial sums
 * p_0 ... p_7 of the contract, or a group of code words side by side. */
typedef double vd8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef float vf8 __attribute__((vector_size(32), aligned(4), may_alias));
#if defined(__AVX512F__) /* which GCC makes of halves */
INLINE vd8 load8_f32(const float *p) { return (vd8)_mm512_cvtps_pd(_mm256_loadu_ps(p)); }
#else
INLINE vd8 load8_f32(const float *p) { return __builtin_convertvector(*(const vf8 *)p, vd8); }
#endif
INLINE vd8 load8_f64(const double *p) { return *(const vd8 *)p; }

/* VDL doubles, as many as a register holds: for loops that keep some of them in registers, where
 * GCC moves the halves and quarters of a vd8 through memory (with AVX2 a sum took 5 to 15 times as
 * long). VDS of them are eight. */
#if defined(__AVX512F__)
enum { VDL = 8 };
typedef __m512d vd;
INLINE vd vd_load_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
INLINE vd vd_load(const double *p) { return _mm512_loadu_pd(p); }
INLINE vd vd_round_f32(vd a) { return _mm512_cvtps_pd(_mm512_cvtpd_ps(a)); }
INLINE vd vd_set(double a) { return _mm512_set1_pd(a); }
/* x where a < b, else y. */
INLINE vd vd_where_less(vd a, vd b, vd x, vd y)
{
    return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), x);
}
#elif defined(__AVX2__)
enum { VDL = 4 };
typedef __m256d vd;
INLINE vd vd_load_f32(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
INLINE vd vd_load(const double *p) { return _mm256_loadu_pd(p); }
INLINE vd vd_round_f32(vd a) { return _mm256_cvtps_pd(_mm256_cvtpd_ps(a)); }
INLINE vd vd_set(double a) { return _mm256_set1_pd(a); }
INLINE vd vd_where_less(vd a, vd b, vd x, vd y) { return _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_LT_OQ)); }
#else
enum { VDL = 2 };
typedef double vd __attribute__((vector_size(16)));
typedef float vf2 __attribute__((vector_size(8), aligned(4), may_alias));
INLINE vd vd_load_f32(const float *p) { return __builtin_convertvector(*(const vf2 *)p, vd); }
INLINE vd vd_load(const double *p)
{
    vd a;
    memcpy(&a, p, sizeof a);
    return a;
}
/* GCC 12 forgets the rounding of (vd){(float)a[0], (float)a[1]}. */
INLINE vd vd_round_f32(vd a) { return __builtin_convertvector(__builtin_convertvector(a, vf2), vd); }
INLINE vd vd_set(double a) { return (vd){a, a}; }
INLINE vd vd_where_less(vd a, vd b, vd x, vd y)
{
    typedef int64_t bits __attribute__((vector_size(16)));
    const bits less = (bits)(a < b);
    return (vd)(((bits)x & less) | ((bits)y & ~less));
}
#endif

INLINE void vd_store(double *p, vd a) { memcpy(p, &a, sizeof a); }
enum { VDS = 8 / VDL };
INLINE void vd_store8(double *p, const vd a[VDS])
{
#pragma GCC unroll 4
    for (int v = 0; v < VDS; v++)
        vd_store(p + v * VDL, a[v]);
}

/* Rows of VL floats become columns; 0 where a loop over the elements is as good. */
#if defined(__AVX512F__)
enum { TRANSPOSES = 1 };
INLINE void vf_transpose(vf a[VL])
{
    vf b[16];
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) { /* a[4 i + c] holds feature c of every four, of rows 4 i ... 4 i + 3 */
        __m512d low = _mm512_castps_pd(b[4 * i]), high = _mm512_castps_pd(b[4 * i + 1]);
        __m512d next_low = _mm512_castps_pd(b[4 * i + 2]), next_high = _mm512_castps_pd(b[4 * i + 3]);
        a[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, next_low));
        a[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, next_low));
        a[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, next_high));
        a[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, next_high));
    }
    for (int c = 0; c < 4; c++) {
        b[c] = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88);
        b[4 + c] = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
        b[8 + c] = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
        b[12 + c] = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    }
    for (int c = 0; c < 4; c++) {
        a[c] = _mm512_shuffle_f32x4(b[c], b[8 + c], 0x88);
        a[8 + c] = _mm512_shuffle_f32x4(b[c], b[8 + c], 0xdd);
        a[4 + c] = _mm512_shuffle_f32x4(b[4 + c], b[12 + c], 0x88);
        a[12 + c] = _mm512_shuffle_f32x4(b[4 + c], b[12 + c], 0xdd);
    }
}
#else
enum { TRANSPOSES = 0 };
INLINE void vf_transpose(vf *a) { (void)a; }
#endif

/* Elements of a table of up to LOOKUP doubles, eight indices at once; 0 where the
 * machine has no such permutation and a loop over the rows is as good. */
#if defined(__AVX512F__)
enum { LOOKUP = 16 };
INLINE vd8 lookup8(const double *table, const int32_t *indices)
{
    __m512i i = _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)indices));
    return (vd8)_mm512_permutex2var_pd(_mm512_loadu_pd(table), i, _mm512_loadu_pd(table + 8));
}
#else
enum { LOOKUP = 0 };
INLINE vd8 lookup8(const double *table, const int32_t *indices) { return load8_f64(table + indices[0]); }
#endif

#endif
