/* Few codes of few float32 features: codes and distances in one pass over the rows, all of
 * a group of rows in registers. Only where a permutation can look up LOOKUP doubles. */

#if defined(__AVX512F__)

enum { FEW_FEATURES = 4, FEW_VECTORS = 2, FEW_GROUP = FEW_VECTORS * VL };

/* VL rows of d features, one after another, as columns. Called with a constant d. */
INLINE void load_columns(const float *x, ptrdiff_t d, vf *columns)
{
    const __m512i p = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    if (d == 1)
        columns[0] = vf_load(x);
    else if (d == 2)
        for (int j = 0; j < 2; j++) {
            const __m512i from = _mm512_add_epi32(_mm512_add_epi32(p, p), vi_set(j));
            columns[j] = _mm512_permutex2var_ps(vf_load(x), from, vf_load(x + VL));
        }
    else if (d == 3)
        for (int j = 0; j < 3; j++) { /* element 3 p + j; those of the third vector in a second step */
            const __m512i from = _mm512_add_epi32(_mm512_add_epi32(_mm512_add_epi32(p, p), p), vi_set(j));
            const __mmask16 third = _mm512_cmpge_epi32_mask(from, vi_set(2 * VL));
            const __m512i then = _mm512_mask_sub_epi32(p, third, from, vi_set(VL));
            vf first = _mm512_permutex2var_ps(vf_load(x), from, vf_load(x + VL));
            columns[j] = _mm512_permutex2var_ps(first, then, vf_load(x + 2 * VL));
        }
    else
        for (int j = 0; j < 4; j += 2) { /* columns j and j + 1 of eight rows in one vector */
            const __m512i row = _mm512_slli_epi32(_mm512_and_si512(p, vi_set(7)), 2);
            const __m512i from = _mm512_add_epi32(row, _mm512_add_epi32(_mm512_srli_epi32(p, 3), vi_set(j)));
            vf low = _mm512_permutex2var_ps(vf_load(x), from, vf_load(x + VL));
            vf high = _mm512_permutex2var_ps(vf_load(x + 2 * VL), from, vf_load(x + 3 * VL));
            columns[j] = _mm512_shuffle_f32x4(low, high, 0x44);
            columns[j + 1] = _mm512_shuffle_f32x4(low, high, 0xee);
        }
}

/* The code with the lowest score for every row; a lane of doubtful is set where another may
 * be the nearest. The band has sqrt(|y|^2) <= (1 + |y|^2) / 2. */
INLINE void scan_columns(vf y[FEW_VECTORS][FEW_FEATURES], const vq_code_book *book, ptrdiff_t d, vi *code, vm *doubtful)
{
    vf best[FEW_VECTORS], second[FEW_VECTORS];
    for (int v = 0; v < FEW_VECTORS; v++) {
        best[v] = second[v] = vf_set(INFINITY);
        code[v] = vi_set(0);
    }
    for (ptrdiff_t k = 0; k < book->n_codes; k++) {
        vf z[FEW_FEATURES], half_norm = vf_set(book->half_norms[k]);
        for (ptrdiff_t j = 0; j < d; j++)
            z[j] = vf_set(book->scores[k * d + j]);
        for (int v = 0; v < FEW_VECTORS; v++) {
            vf score = half_norm;
            for (ptrdiff_t j = 0; j < d; j++)
                score = vf_fma(y[v][j], z[j], score);
            code[v] = vi_select(vf_less(score, best[v]), vi_set((int32_t)k), code[v]);
            second[v] = vf_min(second[v], vf_max(score, best[v]));
            best[v] = vf_min(score, best[v]);
        }
    }
    const float half = book->band_norm / 2;
    for (int v = 0; v < FEW_VECTORS; v++) {
        vf sq_norm = vf_set(0);
        for (ptrdiff_t j = 0; j < d; j++)
            sq_norm = vf_fma(y[v][j], y[v][j], sq_norm);
        vf band = vf_fma(sq_norm, vf_set(half + book->band_square), vf_set(half + book->band_constant));
        doubtful[v] = (vm)~vf_less(band, second[v] - best[v]);
    }
}

/* Eight distances: tables[j] holds feature j of the code words. */
INLINE __m256 dists_of_eight(const __m256 *x, const double (*tables)[LOOKUP], __m256i code, ptrdiff_t d)
{
    const __m512i from = _mm512_cvtepi32_epi64(code);
    __m512d sum = _mm512_setzero_pd();
    for (ptrdiff_t j = 0; j < d; j++) {
        __m512d word = _mm512_permutex2var_pd(_mm512_loadu_pd(tables[j]), from, _mm512_loadu_pd(tables[j] + 8));
        __m512d t = _mm512_sub_pd(_mm512_cvtps_pd(x[j]), word);
        sum = j ? _mm512_add_pd(sum, _mm512_mul_pd(t, t)) : _mm512_mul_pd(t, t);
    }
    sum = _mm512_min_pd(sum, _mm512_set1_pd(INFINITY)); /* also of a NaN */
    return _mm512_cvtpd_ps(_mm512_sqrt_pd(sum));
}

INLINE void dists_of_columns(const vf *columns, const double (*tables)[LOOKUP], vi code, ptrdiff_t d, float *dist)
{
    __m256 low[FEW_FEATURES], high[FEW_FEATURES];
    for (ptrdiff_t j = 0; j < d; j++) {
        low[j] = _mm512_castps512_ps256(columns[j]);
        high[j] = _mm512_extractf32x8_ps(columns[j], 1);
    }
    _mm256_storeu_ps(dist, dists_of_eight(low, tables, _mm512_castsi512_si256(code), d));
    _mm256_storeu_ps(dist + 8, dists_of_eight(high, tables, _mm512_extracti64x4_epi64(code, 1), d));
}

/* By the double formula; 0 if a row is not finite. */
static __attribute__((noinline)) int decide_doubtful(const float *x, const vq_code_book *book, ptrdiff_t d, vm doubtful,
                                                     double *row, int32_t *codes)
{
    for (uint32_t rest = vm_bits(doubtful); rest; rest &= rest - 1) {
        const int p = __builtin_ctz(rest);
        for (ptrdiff_t j = 0; j < d; j++) {
            if (!(fabsf(x[p * d + j]) < INFINITY))
                return 0;
            row[j] = (double)x[p * d + j];
        }
        codes[p] = nearest_direct(row, book);
    }
    return 1;
}

/* Called with a constant d. */
INLINE ptrdiff_t assign_columns(const float *x, ptrdiff_t n_rows, const vq_code_book *book, ptrdiff_t d, double *row,
                                int32_t *codes, float *dist)
{
    double tables[FEW_FEATURES][LOOKUP] = {{0}};
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        for (ptrdiff_t j = 0; j < d; j++)
            tables[j][k] = book->code_book[k * d + j];
    const vf scale = vf_set((float)book->scale);
    for (ptrdiff_t i = 0; i < n_rows; i += FEW_GROUP, x += FEW_GROUP * d) {
        vf columns[FEW_VECTORS][FEW_FEATURES], y[FEW_VECTORS][FEW_FEATURES];
        vi code[FEW_VECTORS];
        vm doubtful[FEW_VECTORS];
        for (int v = 0; v < FEW_VECTORS; v++) {
            load_columns(x + v * VL * d, d, columns[v]);
            for (ptrdiff_t j = 0; j < d; j++)
                y[v][j] = (columns[v][j] - vf_set(book->shift_f32[j])) * scale;
        }
        scan_columns(y, book, d, code, doubtful);
        for (int v = 0; v < FEW_VECTORS; v++) {
            vi_store(codes + i + v * VL, code[v]);
            if (__builtin_expect(vm_any(doubtful[v]), 0)) {
                if (!decide_doubtful(x + v * VL * d, book, d, doubtful[v], row, codes + i + v * VL))
                    return -1;
                code[v] = _mm512_loadu_si512(codes + i + v * VL);
            }
        }
        for (int v = 0; dist && v < FEW_VECTORS; v++)
            dists_of_columns(columns[v], (const double (*)[LOOKUP])tables, code[v], d, dist + i + v * VL);
    }
    return n_rows;
}

static ptrdiff_t assign_few_codes(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, double *row,
                                  int32_t *codes, float *dist)
{
    const float *x = (const float *)obs->data;
    n_rows -= n_rows % FEW_GROUP;
    if (book->n_codes > LOOKUP || obs->feature_stride != 1 || obs->row_stride != book->n_features)
        return 0;
    switch (book->n_features) {
    case 1: return assign_columns(x, n_rows, book, 1, row, codes, dist);
    case 2: return assign_columns(x, n_rows, book, 2, row, codes, dist);
    case 3: return assign_columns(x, n_rows, book, 3, row, codes, dist);
    case 4: return assign_columns(x, n_rows, book, 4, row, codes, dist);
    default: return 0;
    }
}

#else

static ptrdiff_t assign_few_codes(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, double *row,
                                  int32_t *codes, float *dist)
{
    (void)obs, (void)n_rows, (void)book, (void)row, (void)codes, (void)dist;
    return 0;
}

#endif
