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

/* The float32 distances of all code words; those that may be the lowest are kept. */
static void scan_few(const float *x, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d, vq_candidates *candidates)
{
    const float rounding = 1 + (float)(d + 8) * 0x1p-22f; /* twice the error of both, and as much again */
    float limit = INFINITY;
    candidates->best = INFINITY;
    candidates->count = 0;
    for (ptrdiff_t k = 0; k < n_codes; k++) {
        float sq_dist = sq_dist_plain(x, code_book + k * d, d);
        if (sq_dist <= limit) {
            candidates->best = sq_dist < candidates->best ? sq_dist : candidates->best;
            limit = candidates->best * rounding;
            keep(candidates, (int32_t)k, sq_dist, limit);
        }
    }
    if (candidates->count <= VQ_CANDIDATES)
        prune(candidates, limit);
    /* Near the ends of float32's range squares lose their relative precision. */
    if (!(candidates->best > 1e-24f && candidates->best < 1e36f && d < 1 << 20))
        candidates->count = VQ_CANDIDATES + 1;
}

static void assign_few(const float *obs, ptrdiff_t n_rows, const float *code_book, ptrdiff_t n_codes, ptrdiff_t d,
                       double *row, int32_t *codes, double *sq_dists)
{
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const float *x = obs + i * d;
        vq_candidates candidates;
        scan_few(x, code_book, n_codes, d, &candidates);
        const int all = candidates.count > VQ_CANDIDATES;
        double best = INFINITY;
        codes[i] = 0;
        for (ptrdiff_t c = 0; c < (all ? n_codes : candidates.count); c++) {
            ptrdiff_t k = all ? c : candidates.codes[c];
            double sq_dist = sq_dist_few(x, code_book + k * d, d, row);
            if (sq_dist < best) {
                best = sq_dist;
                codes[i] = (int32_t)k;
            }
        }
        sq_dists[i] = best;
    }
}
