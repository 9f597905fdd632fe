/* Few observations: nothing is packed, float32 differences are the filter. */

/* |x - c|^2 in float32, in no particular order; off by at most (d + 8) u relative. */
INLINE float sq_dist_plain(const float *x, const float *c, ptrdiff_t d)
{
    const vf minus_one = vf_set(-1);
    vf sum = vf_set(0);
    ptrdiff_t j = 0;
    for (; j + VL <= d; j += VL) {
        vf t = vf_fma(vf_load(c + j), minus_one, vf_load(x + j));
        sum = vf_fma(t, t, sum);
    }
    if (j < d) {
        vf t = vf_fma(vf_load_first(c + j, d - j), minus_one, vf_load_first(x + j, d - j));
        sum = vf_fma(t, t, sum);
    }
    return vf_sum(sum);
}

/* The double formula for two float rows. */
static double sq_dist_few(const float *x, const float *code_word, ptrdiff_t d, double *row)
{
    for (ptrdiff_t j = 0; j < d; j++)
        row[j] = (double)code_word[j];
    return sq_dist_f32(x, row, d);
}

enum { FEW_COLUMNS = 16, FEW_ROWS = 16 };

/* Twice the error of a distance and of the lowest, and as much again. */
INLINE float limit_of(float best, ptrdiff_t d) { return best * (1 + (float)(d + 8) * 0x1p-22f); }

INLINE void offer_few(vq_candidates *candidates, int32_t code, float sq_dist, float *limit, ptrdiff_t d)
{
    if (sq_dist <= *limit) {
        candidates->best = sq_dist < candidates->best ? sq_dist : candidates->best;
        *limit = limit_of(candidates->best, d);
        keep(candidates, code, sq_dist, *limit);
    }
}

/* VL code words as columns, those past n anything finite. */
INLINE void code_columns(const float *code_book, ptrdiff_t n, ptrdiff_t d, float *z)
{
    if (TRANSPOSES && d <= VL) {
        vf rows[VL];
#pragma GCC unroll 16
        for (int r = 0; r < VL; r++)
            rows[r] = r < n ? vf_load_first(code_book + r * d, d) : vf_set(0);
        vf_transpose(rows);
        for (ptrdiff_t j = 0; j < d; j++)
            vf_store(z + j * VL, rows[j]);
    } else
        for (ptrdiff_t j = 0; j < d; j++)
            for (ptrdiff_t r = 0; r < VL; r++)
                z[j * VL + r] = r < n ? code_book[r * d + j] : 0;
}

/* The float32 distances of all code words; those that may be the lowest are kept. Up to
 * FEW_COLUMNS features a row's horizontal sum would cost more than the code words as columns. */
static void scan_few_columns(const float *obs, ptrdiff_t n_rows, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d,
                             vq_candidates *candidates, float *limits)
{
    const vf minus_one = vf_set(-1);
    float z[FEW_COLUMNS * VL], sq_dists[VL];
    for (ptrdiff_t first = 0; first < n_codes; first += VL) {
        const ptrdiff_t n = n_codes - first < VL ? n_codes - first : VL;
        code_columns(code_book + first * d, n, d, z);
        for (ptrdiff_t i = 0; i < n_rows; i++) {
            vf sum = vf_set(0);
            for (ptrdiff_t j = 0; j < d; j++) {
                vf t = vf_fma(vf_load(z + j * VL), minus_one, vf_set(obs[i * d + j]));
                sum = vf_fma(t, t, sum);
            }
            vm hits = vf_less_equal(sum, vf_set(limits[i]));
            if (!vm_any(hits))
                continue;
            vf_store(sq_dists, sum);
            for (uint32_t rest = vm_bits(hits) & (uint32_t)((1ull << n) - 1); rest; rest &= rest - 1) {
                const int lane = __builtin_ctz(rest);
                offer_few(candidates + i, (int32_t)(first + lane), sq_dists[lane], limits + i, d);
            }
        }
    }
}

static void scan_few_rows(const float *obs, ptrdiff_t n_rows, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d,
                          vq_candidates *candidates, float *limits)
{
    for (ptrdiff_t i = 0; i < n_rows; i++)
        for (ptrdiff_t k = 0; k < n_codes; k++) {
            float sq_dist = sq_dist_plain(obs + i * d, code_book + k * d, d);
            offer_few(candidates + i, (int32_t)k, sq_dist, limits + i, d);
        }
}

/* The double formula among the candidates. */
static int32_t decide_few(const float *x, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d, double *row,
                          const vq_candidates *candidates, double *sq_dist_out)
{
    const int all = candidates->count > VQ_CANDIDATES;
    double best = INFINITY;
    int32_t code = 0;
    for (ptrdiff_t c = 0; c < (all ? n_codes : candidates->count); c++) {
        ptrdiff_t k = all ? c : candidates->codes[c];
        double sq_dist = sq_dist_few(x, code_book + k * d, d, row);
        if (sq_dist < best) {
            best = sq_dist;
            code = (int32_t)k;
        }
    }
    *sq_dist_out = best;
    return code;
}

static void assign_few(const float *obs, ptrdiff_t n_rows, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d,
                       double *row, int32_t *codes, double *sq_dists)
{
    vq_candidates candidates[FEW_ROWS];
    float limits[FEW_ROWS];
    for (ptrdiff_t begin = 0; begin < n_rows; begin += FEW_ROWS) {
        const ptrdiff_t n = n_rows - begin < FEW_ROWS ? n_rows - begin : FEW_ROWS;
        const float *x = obs + begin * d;
        for (ptrdiff_t i = 0; i < n; i++) {
            candidates[i].best = limits[i] = INFINITY;
            candidates[i].count = 0;
        }
        if (d <= FEW_COLUMNS)
            scan_few_columns(x, n, code_book, n_codes, d, candidates, limits);
        else
            scan_few_rows(x, n, code_book, n_codes, d, candidates, limits);
        for (ptrdiff_t i = 0; i < n; i++) {
            if (candidates[i].count <= VQ_CANDIDATES)
                prune(&candidates[i], limits[i]);
            /* Near the ends of float32's range squares lose their relative precision. */
            if (!(candidates[i].best > 1e-24f && candidates[i].best < 1e36f && d < 1 << 20))
                candidates[i].count = VQ_CANDIDATES + 1;
            codes[begin + i] = decide_few(x + i * d, code_book, n_codes, d, row, &candidates[i], sq_dists + begin + i);
        }
    }
}
