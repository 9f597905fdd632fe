/* Sums along the features for learning vector quantization: a line (64 bytes) of floats or
 * doubles at a time, and the elements of several sums folded together, see lvq.h. */

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#define LVQ_SHUFFLE(indices, a, b, ...) __builtin_shuffle(a, b, (indices){__VA_ARGS__})
#else
#define LVQ_SHUFFLE(indices, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif

typedef float vf16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef float vf4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double vd4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef int32_t vi16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t vi4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int64_t vl8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t vl4 __attribute__((vector_size(32), aligned(8), may_alias));

/* fold4: four vectors of four elements give their four sums. */
INLINE vd4 fold4_f64(vd4 a, vd4 b, vd4 c, vd4 d)
{
    vd4 ab = LVQ_SHUFFLE(vl4, a, b, 0, 1, 4, 5) + LVQ_SHUFFLE(vl4, a, b, 2, 3, 6, 7);
    vd4 cd = LVQ_SHUFFLE(vl4, c, d, 0, 1, 4, 5) + LVQ_SHUFFLE(vl4, c, d, 2, 3, 6, 7);
    return LVQ_SHUFFLE(vl4, ab, cd, 0, 2, 4, 6) + LVQ_SHUFFLE(vl4, ab, cd, 1, 3, 5, 7);
}

INLINE vf4 fold4_f32(vf4 a, vf4 b, vf4 c, vf4 d)
{
    vf4 ab = LVQ_SHUFFLE(vi4, a, b, 0, 1, 4, 5) + LVQ_SHUFFLE(vi4, a, b, 2, 3, 6, 7);
    vf4 cd = LVQ_SHUFFLE(vi4, c, d, 0, 1, 4, 5) + LVQ_SHUFFLE(vi4, c, d, 2, 3, 6, 7);
    return LVQ_SHUFFLE(vi4, ab, cd, 0, 2, 4, 6) + LVQ_SHUFFLE(vi4, ab, cd, 1, 3, 5, 7);
}

#if defined(__AVX512F__)

enum { LVQ_ROWS_F64 = 8, LVQ_ROWS_F32 = 16, LVQ_TILE_ROWS = 4, LVQ_TILE_LINES = 4 };

INLINE vd8 halves_f64(vd8 a, vd8 b)
{
    return LVQ_SHUFFLE(vl8, a, b, 0, 1, 2, 3, 8, 9, 10, 11) + LVQ_SHUFFLE(vl8, a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

INLINE vd8 quarters_f64(vd8 a, vd8 b)
{
    return LVQ_SHUFFLE(vl8, a, b, 0, 1, 4, 5, 8, 9, 12, 13) + LVQ_SHUFFLE(vl8, a, b, 2, 3, 6, 7, 10, 11, 14, 15);
}

INLINE void fold_f64(const vd8 *p, double *sums)
{
    vd8 a = quarters_f64(halves_f64(p[0], p[1]), halves_f64(p[2], p[3]));
    vd8 b = quarters_f64(halves_f64(p[4], p[5]), halves_f64(p[6], p[7]));
    *(vd8 *)sums =
        LVQ_SHUFFLE(vl8, a, b, 0, 2, 4, 6, 8, 10, 12, 14) + LVQ_SHUFFLE(vl8, a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}

INLINE vf16 halves_f32(vf16 a, vf16 b)
{
    return LVQ_SHUFFLE(vi16, a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
           + LVQ_SHUFFLE(vi16, a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

INLINE vf16 quarters_f32(vf16 a, vf16 b)
{
    return LVQ_SHUFFLE(vi16, a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
           + LVQ_SHUFFLE(vi16, a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

INLINE vf16 eighths_f32(vf16 a, vf16 b)
{
    return LVQ_SHUFFLE(vi16, a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29)
           + LVQ_SHUFFLE(vi16, a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
}

INLINE void fold_f32(const vf16 *p, float *sums)
{
    vf16 q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        q[i] = quarters_f32(halves_f32(p[4 * i], p[4 * i + 1]), halves_f32(p[4 * i + 2], p[4 * i + 3]));
    vf16 a = eighths_f32(q[0], q[1]), b = eighths_f32(q[2], q[3]);
    *(vf16 *)sums = LVQ_SHUFFLE(vi16, a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
                    + LVQ_SHUFFLE(vi16, a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/* Masks of lanes: less, both, but (a and not b); pick takes a where the mask is set, else b. */
typedef __mmask8 mask_f64;
typedef __mmask16 mask_f32;
INLINE mask_f64 less_f64(vd8 a, vd8 b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ); }
INLINE mask_f32 less_f32(vf16 a, vf16 b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
INLINE mask_f64 below_f64(vl8 a, int64_t b) { return _mm512_cmplt_epi64_mask((__m512i)a, _mm512_set1_epi64(b)); }
INLINE mask_f32 below_f32(vi16 a, int32_t b) { return _mm512_cmplt_epi32_mask((__m512i)a, _mm512_set1_epi32(b)); }
INLINE mask_f64 but_f64(mask_f64 a, mask_f64 b) { return (mask_f64)(a & ~b); }
INLINE mask_f32 but_f32(mask_f32 a, mask_f32 b) { return (mask_f32)(a & ~b); }
INLINE vd8 pick_f64(mask_f64 m, vd8 a, vd8 b) { return (vd8)_mm512_mask_mov_pd((__m512d)b, m, (__m512d)a); }
INLINE vf16 pick_f32(mask_f32 m, vf16 a, vf16 b) { return (vf16)_mm512_mask_mov_ps((__m512)b, m, (__m512)a); }
INLINE vl8 picki_f64(mask_f64 m, vl8 a, vl8 b) { return (vl8)_mm512_mask_mov_epi64((__m512i)b, m, (__m512i)a); }
INLINE vi16 picki_f32(mask_f32 m, vi16 a, vi16 b) { return (vi16)_mm512_mask_mov_epi32((__m512i)b, m, (__m512i)a); }

/* The element of at in the lane of the lowest of best; the lowest such element of equals. */
INLINE ptrdiff_t lowest_f64(vd8 best, vl8 at)
{
    const __m512d low = _mm512_set1_pd(_mm512_reduce_min_pd((__m512d)best));
    const mask_f64 lanes = _mm512_cmp_pd_mask((__m512d)best, low, _CMP_EQ_OQ);
    if (__builtin_expect((lanes & (lanes - 1)) != 0, 0))
        return (ptrdiff_t)_mm512_mask_reduce_min_epi64(lanes, (__m512i)at);
    return (ptrdiff_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_maskz_compress_epi64(lanes, (__m512i)at)));
}

INLINE ptrdiff_t lowest_f32(vf16 best, vi16 at)
{
    const __m512 low = _mm512_set1_ps(_mm512_reduce_min_ps((__m512)best));
    const mask_f32 lanes = _mm512_cmp_ps_mask((__m512)best, low, _CMP_EQ_OQ);
    if (__builtin_expect((lanes & (lanes - 1)) != 0, 0))
        return (ptrdiff_t)_mm512_mask_reduce_min_epi32(lanes, (__m512i)at);
    return (ptrdiff_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(_mm512_maskz_compress_epi32(lanes, (__m512i)at)));
}

#else

enum { LVQ_ROWS_F64 = 4, LVQ_ROWS_F32 = 4, LVQ_TILE_ROWS = 2, LVQ_TILE_LINES = 2 };

typedef vl8 mask_f64;
typedef vi16 mask_f32;
INLINE mask_f64 less_f64(vd8 a, vd8 b) { return (mask_f64)(a < b); }
INLINE mask_f32 less_f32(vf16 a, vf16 b) { return (mask_f32)(a < b); }
INLINE mask_f64 below_f64(vl8 a, int64_t b) { return (mask_f64)(a < b); }
INLINE mask_f32 below_f32(vi16 a, int32_t b) { return (mask_f32)(a < b); }
INLINE mask_f64 but_f64(mask_f64 a, mask_f64 b) { return a & ~b; }
INLINE mask_f32 but_f32(mask_f32 a, mask_f32 b) { return a & ~b; }
INLINE vd8 pick_f64(mask_f64 m, vd8 a, vd8 b) { return (vd8)(((vl8)a & m) | ((vl8)b & ~m)); }
INLINE vf16 pick_f32(mask_f32 m, vf16 a, vf16 b) { return (vf16)(((vi16)a & m) | ((vi16)b & ~m)); }
INLINE vl8 picki_f64(mask_f64 m, vl8 a, vl8 b) { return (a & m) | (b & ~m); }
INLINE vi16 picki_f32(mask_f32 m, vi16 a, vi16 b) { return (a & m) | (b & ~m); }

INLINE ptrdiff_t lowest_f64(vd8 best, vl8 at)
{
    int64_t found = at[0];
    double low = best[0];
    for (int l = 1; l < 8; l++) {
        const int better = best[l] < low || (best[l] == low && at[l] < found);
        found = better ? at[l] : found;
        low = better ? best[l] : low;
    }
    return (ptrdiff_t)found;
}

INLINE ptrdiff_t lowest_f32(vf16 best, vi16 at)
{
    int32_t found = at[0];
    float low = best[0];
    for (int l = 1; l < 16; l++) {
        const int better = best[l] < low || (best[l] == low && at[l] < found);
        found = better ? at[l] : found;
        low = better ? best[l] : low;
    }
    return (ptrdiff_t)found;
}

INLINE void fold_f64(const vd8 *p, double *sums)
{
    vd4 q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const double *half = (const double *)&p[i];
        q[i] = *(const vd4 *)half + *(const vd4 *)(half + 4);
    }
    *(vd4 *)sums = fold4_f64(q[0], q[1], q[2], q[3]);
}

INLINE void fold_f32(const vf16 *p, float *sums)
{
    vf4 q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float *part = (const float *)&p[i];
        q[i] = (*(const vf4 *)part + *(const vf4 *)(part + 8)) + (*(const vf4 *)(part + 4) + *(const vf4 *)(part + 12));
    }
    *(vf4 *)sums = fold4_f32(q[0], q[1], q[2], q[3]);
}

#endif

/* exp(t) of eight t from -700 to 0; the polynomial in pairs, pairs of pairs and so on (Estrin). */
INLINE vd8 exp8_within(vd8 t)
{
    static const double taylor[14] = {
        1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
        1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    const double round = 0x1.8p52; /* adding it leaves an integer in the low bits */
    vd8 n = t * 0x1.71547652b82fep0 + round;
    const vl8 exponent = ((vl8)n + 1023) << 52;
    n -= round;
    const vd8 r = (t - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    const vd8 r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
    vd8 pairs[7];
#pragma GCC unroll 7
    for (int i = 0; i < 7; i++)
        pairs[i] = taylor[2 * i] + taylor[2 * i + 1] * r;
    const vd8 low4 = pairs[0] + pairs[1] * r2, mid4 = pairs[2] + pairs[3] * r2, high4 = pairs[4] + pairs[5] * r2;
    const vd8 sum = (low4 + mid4 * r4) + (high4 + pairs[6] * r4) * r8;
    return sum * (vd8)exponent;
}

/* exp(t) of eight t <= 0. */
INLINE vd8 exp8(vd8 t)
{
    const vl8 low = t < -700.0;
    return exp8_within((vd8)(((vl8)t & ~low) | ((vl8)((vd8){0} - 700.0) & low)));
}

/* exp(t) of one t <= 0. */
INLINE double exp1(double t)
{
    vd8 all = exp8_within((vd8){0} + (t > -700 ? t : -700));
    return *(double *)&all;
}

/* The sum of one line. */
INLINE double fold1_f64(vd8 p)
{
    const double *e = (const double *)&p;
    return ((e[0] + e[4]) + (e[2] + e[6])) + ((e[1] + e[5]) + (e[3] + e[7]));
}

INLINE float fold1_f32(vf16 p)
{
    const float *e = (const float *)&p;
    float q[4];
    for (int r = 0; r < 4; r++)
        q[r] = (e[r] + e[r + 8]) + (e[r + 4] + e[r + 12]);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* The number of each element of a line. */
static const vl8 lvq_lanes_f64 = {0, 1, 2, 3, 4, 5, 6, 7};
static const vi16 lvq_lanes_f32 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

INLINE double at_most_one(double a) { return a < 1 ? a : 1; }

/* found, but if that was foreseen, not made of it: what follows need not wait for the search, only
 * the branch does. Otherwise it is foreseen for the next time. */
INLINE ptrdiff_t foresee(ptrdiff_t found, int32_t *foreseen)
{
    int32_t same = *foreseen;
    if (__builtin_expect(found != same, 0)) {
        *foreseen = (int32_t)found;
        return found;
    }
    __asm__("" : "+r"(same)); /* for the compiler unlike found */
    return same;
}
