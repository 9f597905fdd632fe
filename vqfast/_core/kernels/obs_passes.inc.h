/* Extents, sums and roots, for one element type (see obs.inc.h). */

/* The bits of a float's magnitude order like integers, inf and NaN above all others; those of
 * the smallest but zero less one like unsigned ones. Called with constants. */
INLINE void TYPED(run_extents)(const REAL *x, ptrdiff_t n, ptrdiff_t stride, int both, REAL_BITS *largest,
                               REAL_UBITS *smallest)
{
    const REAL_BITS mask = (REAL_BITS) ~((REAL_UBITS)1 << (8 * sizeof(REAL) - 1));
    REAL_BITS high = *largest;
    REAL_UBITS low = *smallest;
    for (ptrdiff_t j = 0; j < n; j++) {
        REAL_BITS bits;
        memcpy(&bits, x + j * stride, sizeof bits);
        bits &= mask;
        high = bits > high ? bits : high;
        if (both)
            low = (REAL_UBITS)bits - 1 < low ? (REAL_UBITS)bits - 1 : low;
    }
    *largest = high;
    *smallest = low;
}

INLINE void TYPED(extents_of)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, int both, double *largest,
                              double *smallest)
{
    REAL_BITS high = 0;
    REAL_UBITS low = (REAL_UBITS)-1;
    ptrdiff_t n_runs = n_rows, run = n_features;
    if (obs->feature_stride == 1 && obs->row_stride == n_features) {
        n_runs = 1;
        run = n_rows * n_features;
    }
    for (ptrdiff_t i = 0; i < n_runs; i++)
        if (obs->feature_stride == 1)
            TYPED(run_extents)(TYPED(row)(obs, i), run, 1, both, &high, &low);
        else
            TYPED(run_extents)(TYPED(row)(obs, i), run, obs->feature_stride, both, &high, &low);
    const REAL_UBITS lowest = low + 1; /* 0: all were */
    REAL as_largest, as_smallest;
    memcpy(&as_largest, &high, sizeof high);
    memcpy(&as_smallest, &lowest, sizeof lowest);
    *largest = (double)as_largest;
    *smallest = lowest ? (double)as_smallest : INFINITY;
}

static double TYPED(magnitude)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features)
{
    double largest, smallest;
    TYPED(extents_of)(obs, n_rows, n_features, 0, &largest, &smallest);
    return largest;
}

static void TYPED(extents)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, double *largest, double *smallest)
{
    TYPED(extents_of)(obs, n_rows, n_features, 1, largest, smallest);
}

static ptrdiff_t TYPED(nearer)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                               const double *code_word, const double *sq_dists, double *row, int32_t *found,
                               double *lowered)
{
    const ptrdiff_t ahead = TYPED(rows_ahead)(n_features);
    ptrdiff_t n = 0;
    for (ptrdiff_t l = 0; l < n_listed; l++) {
        const ptrdiff_t i = list ? list[l] : l;
        if (list && l + ahead < n_listed)
            TYPED(fetch_row)(obs, list[l + ahead], n_features);
        const double sq_dist = obs->feature_stride == 1
                                   ? TYPED(sq_dist)(TYPED(row)(obs, i), code_word, n_features)
                                   : sq_dist_f64(TYPED(widen)(obs, i, n_features, row), code_word, n_features);
        found[n] = (int32_t)i;
        lowered[n] = sq_dist;
        n += sq_dist < sq_dists[i];
    }
    return n;
}

static void TYPED(add_rows)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                            const double *weights, double *sum)
{
    const ptrdiff_t stride = obs->feature_stride, ahead = TYPED(rows_ahead)(n_features);
    for (ptrdiff_t e = 0; e < n_listed; e++) {
        const REAL *x = TYPED(row)(obs, list[e]);
        if (e + ahead < n_listed)
            TYPED(fetch_row)(obs, list[e + ahead], n_features);
        if (weights)
            for (ptrdiff_t j = 0; j < n_features; j++)
                sum[j] += (double)x[j * stride] * weights[list[e]];
        else if (stride == 1)
            for (ptrdiff_t j = 0; j < n_features; j++)
                sum[j] += (double)x[j];
        else
            for (ptrdiff_t j = 0; j < n_features; j++)
                sum[j] += (double)x[j * stride];
    }
}

/* Into one sum and, unless it is NULL, out of another. Called with a constant stride where it is 1. */
INLINE void TYPED(carry_row)(const REAL *x, ptrdiff_t stride, ptrdiff_t n_features, double factor, double low_factor,
                             int64_t *into, int64_t *out_of)
{
    for (ptrdiff_t j = 0; j < n_features; j++) {
        double t = (double)x[j * stride] * factor;
        int64_t high = (int64_t)t, low = (int64_t)((t - (double)high) * low_factor);
        into[j] += high;
        into[n_features + j] += low;
        if (out_of) {
            out_of[j] -= high;
            out_of[n_features + j] -= low;
        }
    }
}

static void TYPED(move_rows)(const vq_obs *obs, const int32_t *list, ptrdiff_t n_listed, ptrdiff_t n_features,
                             const double *weights, double factor, double low_factor, int64_t *sum)
{
    const ptrdiff_t ahead = TYPED(rows_ahead)(n_features);
    for (ptrdiff_t e = 0; e < n_listed; e++) {
        const ptrdiff_t i = list[e] < 0 ? ~list[e] : list[e];
        const double unit = (list[e] < 0 ? -factor : factor) * (weights ? weights[i] : 1);
        if (e + ahead < n_listed)
            TYPED(fetch_row)(obs, list[e + ahead] < 0 ? ~list[e + ahead] : list[e + ahead], n_features);
        if (obs->feature_stride == 1)
            TYPED(carry_row)(TYPED(row)(obs, i), 1, n_features, unit, low_factor, sum, NULL);
        else
            TYPED(carry_row)(TYPED(row)(obs, i), obs->feature_stride, n_features, unit, low_factor, sum, NULL);
    }
}

static ptrdiff_t TYPED(move_changed)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const int32_t *codes,
                                     int32_t *old, double factor, double low_factor, int64_t *sums, int64_t *counts,
                                     uint8_t *touched)
{
    enum { BLOCK = 512 };
    const ptrdiff_t ahead = TYPED(rows_ahead)(n_features), stride = obs->feature_stride;
    int32_t list[BLOCK];
    ptrdiff_t n_moved = 0;
    for (ptrdiff_t begin = 0; begin < n_rows; begin += BLOCK) {
        const ptrdiff_t end = begin + BLOCK < n_rows ? begin + BLOCK : n_rows;
        ptrdiff_t n = 0;
        for (ptrdiff_t i = begin; i < end; i++) {
            list[n] = (int32_t)(i - begin);
            n += codes[i] != old[i];
        }
        for (ptrdiff_t e = 0; e < n && e < ahead; e++)
            TYPED(fetch_row)(obs, begin + list[e], n_features);
        for (ptrdiff_t e = 0; e < n; e++) {
            const ptrdiff_t i = begin + list[e];
            const REAL *x = TYPED(row)(obs, i);
            int64_t *into = sums + 2 * codes[i] * n_features;
            if (e + ahead < n)
                TYPED(fetch_row)(obs, begin + list[e + ahead], n_features);
            counts[codes[i]]++;
            touched[codes[i]] = 1;
            if (old[i] < 0 && stride == 1)
                TYPED(carry_row)(x, 1, n_features, factor, low_factor, into, NULL);
            else if (old[i] < 0)
                TYPED(carry_row)(x, stride, n_features, factor, low_factor, into, NULL);
            else {
                int64_t *out_of = sums + 2 * old[i] * n_features;
                counts[old[i]]--;
                touched[old[i]] = 1;
                if (stride == 1)
                    TYPED(carry_row)(x, 1, n_features, factor, low_factor, into, out_of);
                else
                    TYPED(carry_row)(x, stride, n_features, factor, low_factor, into, out_of);
            }
            old[i] = codes[i];
        }
        n_moved += n;
    }
    return n_moved;
}

static void TYPED(roots)(const double *sq_dists, ptrdiff_t n_rows, REAL *dist)
{
    for (ptrdiff_t i = 0; i < n_rows; i++)
        dist[i] = (REAL)sqrt(sq_dists[i] < INFINITY ? sq_dists[i] : INFINITY);
}
