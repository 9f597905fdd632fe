/* The kernels that read observations, for one element type.
 *
 * The including file defines REAL, TYPED(name), LOAD8(pointer) and LOAD_VD(pointer): the element type,
 * the name with the type's suffix, and loads of eight elements, and of VDL, as doubles.
 */

INLINE const REAL *TYPED(row)(const vq_obs *obs, ptrdiff_t i) { return (const REAL *)obs->data + i * obs->row_stride; }

/* ---- the double formula ----------------------------------------------------------- */

/* The sum of the contract, p_0 ... p_7 being the elements of sums. */
INLINE double TYPED(sq_dist)(const REAL *x, const double *code_word, ptrdiff_t d)
{
    double sum = 0;
    if (d <= 8) {
        for (ptrdiff_t j = 0; j < d; j++) {
            double t = (double)x[j] - code_word[j];
            sum += t * t;
        }
        return sum;
    }
    vd sums[VDS] = {{0}};
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8)
#pragma GCC unroll 4
        for (int v = 0; v < VDS; v++) {
            const vd t = LOAD_VD(x + j + v * VDL) - vd_load(code_word + j + v * VDL);
            sums[v] += t * t;
        }
    double partial[8];
    vd_store8(partial, sums);
    for (int r = 0; j < d; j++, r++) {
        double t = (double)x[j] - code_word[j];
        partial[r] += t * t;
    }
    for (int r = 0; r < 8; r++)
        sum += partial[r];
    return sum;
}

/* The observation as doubles in row. */
INLINE const double *TYPED(widen)(const vq_obs *obs, ptrdiff_t i, ptrdiff_t d, double *row)
{
    const REAL *x = TYPED(row)(obs, i);
    for (ptrdiff_t j = 0; j < d; j++)
        row[j] = (double)x[j * obs->feature_stride];
    return row;
}

static void TYPED(assign_direct)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                                 int warm, int32_t *codes)
{
    (void)warm;
    for (ptrdiff_t i = 0; i < n_rows; i++)
        codes[i] = nearest_direct(TYPED(widen)(obs, i, book->n_features, scratch->row), book);
}

/* The same for a few code words of a few features: eight observations at once, their
 * code words taken from registers. Called with a constant d. */
INLINE void TYPED(sq_dists_lookup)(const REAL *x, ptrdiff_t n_rows, const vq_code_book *book, ptrdiff_t d,
                                   const int32_t *codes, double *sq_dists)
{
    double table[4][16] = {{0}};
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        for (ptrdiff_t j = 0; j < d; j++)
            table[j][k] = book->code_book[k * d + j];
    for (ptrdiff_t i = 0; i < n_rows; i += 32) {
        REAL columns[4][32];
        for (ptrdiff_t j = 0; j < d; j++)
            for (ptrdiff_t p = 0; p < 32; p++)
                columns[j][p] = x[(i + p) * d + j];
        for (ptrdiff_t p = 0; p < 32; p += 8) {
            vd8 sum = {0};
            for (ptrdiff_t j = 0; j < d; j++) {
                vd8 t = LOAD8(&columns[j][p]) - lookup8(table[j], codes + i + p);
                sum += t * t;
            }
            memcpy(sq_dists + i + p, &sum, sizeof sum);
        }
    }
}

static void TYPED(sq_dists)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, const int32_t *codes,
                            double *row, double *sq_dists)
{
    const ptrdiff_t d = book->n_features;
    const REAL *x = TYPED(row)(obs, 0);
    ptrdiff_t i = 0;
    if (book->n_codes <= LOOKUP && obs->feature_stride == 1 && obs->row_stride == d) {
        i = n_rows / 32 * 32;
        switch (d) {
        case 1: TYPED(sq_dists_lookup)(x, i, book, 1, codes, sq_dists); break;
        case 2: TYPED(sq_dists_lookup)(x, i, book, 2, codes, sq_dists); break;
        case 3: TYPED(sq_dists_lookup)(x, i, book, 3, codes, sq_dists); break;
        case 4: TYPED(sq_dists_lookup)(x, i, book, 4, codes, sq_dists); break;
        default: i = 0;
        }
    }
    if (obs->feature_stride == 1)
        for (; i < n_rows; i++)
            sq_dists[i] = TYPED(sq_dist)(TYPED(row)(obs, i), book->code_book + codes[i] * d, d);
    else
        for (; i < n_rows; i++)
            sq_dists[i] = sq_dist_f64(TYPED(widen)(obs, i, d, row), book->code_book + codes[i] * d, d);
}

/* Ask for a row that will be needed soon; what lies far apart, or is read by columns, the
 * machine does not foresee. */
INLINE void TYPED(fetch_row)(const vq_obs *obs, ptrdiff_t i, ptrdiff_t n_features)
{
    const char *x = (const char *)TYPED(row)(obs, i);
    const ptrdiff_t size = n_features * obs->feature_stride * (ptrdiff_t)sizeof(REAL), most = size < 4096 ? size : 4096;
    if (size > 64 * n_features) /* each feature in a line of its own: too many */
        return;
    for (ptrdiff_t j = 0; j < most; j += 64)
        __builtin_prefetch(x + j);
    __builtin_prefetch(x + most - 1); /* rows need not begin with a line */
}

/* Rows to ask for ahead of the one at work: about 4 KiB. */
INLINE ptrdiff_t TYPED(rows_ahead)(ptrdiff_t n_features)
{
    const ptrdiff_t ahead = 4096 / (n_features * (ptrdiff_t)sizeof(REAL) + 1);
    return ahead < 4 ? 4 : ahead < 32 ? ahead : 32;
}

/* y of one observation. */
INLINE void TYPED(load_row)(const REAL *x, ptrdiff_t feature_stride, const vq_code_book *book, float *y)
{
    const ptrdiff_t d = book->n_features;
    const REAL *shift = TYPED_SHIFT(book), scale = (REAL)book->scale;
    if (feature_stride == 1)
        for (ptrdiff_t j = 0; j < d; j++)
            y[j] = (float)((x[j] - shift[j]) * scale);
    else
        for (ptrdiff_t j = 0; j < d; j++)
            y[j] = (float)((x[j * feature_stride] - shift[j]) * scale);
}

/* ---- the lanes path ---------------------------------------------------------------- */

/* Columns of y from n <= LANE_GROUP observations; columns past n are zero. The strides
 * are arguments so that calls with constants become plain shuffles. */
INLINE void TYPED(load_lanes)(const REAL *x, ptrdiff_t row_stride, ptrdiff_t feature_stride, ptrdiff_t n, ptrdiff_t d,
                              const vq_code_book *book, float *y, float *sq_norms)
{
    for (ptrdiff_t p = 0; p < LANE_GROUP; p++)
        sq_norms[p] = 0;
    for (ptrdiff_t j = 0; j < d; j++) {
        float *column = y + j * LANE_GROUP;
        const REAL shift = (REAL)book->shift[j], scale = (REAL)book->scale;
        for (ptrdiff_t p = 0; p < n; p++)
            column[p] = (float)((x[p * row_stride + j * feature_stride] - shift) * scale);
        for (ptrdiff_t p = n; p < LANE_GROUP; p++)
            column[p] = 0;
        for (ptrdiff_t p = 0; p < LANE_GROUP; p++)
            sq_norms[p] += column[p] * column[p];
    }
}

static void TYPED(load_group)(const vq_obs *obs, ptrdiff_t i, ptrdiff_t n, const vq_code_book *book, float *y,
                              float *sq_norms)
{
    const REAL *x = TYPED(row)(obs, i);
    const ptrdiff_t d = book->n_features;
    if (n == LANE_GROUP && obs->feature_stride == 1 && obs->row_stride == d)
        switch (d) {
        case 1: TYPED(load_lanes)(x, 1, 1, LANE_GROUP, 1, book, y, sq_norms); return;
        case 2: TYPED(load_lanes)(x, 2, 1, LANE_GROUP, 2, book, y, sq_norms); return;
        case 3: TYPED(load_lanes)(x, 3, 1, LANE_GROUP, 3, book, y, sq_norms); return;
        case 4: TYPED(load_lanes)(x, 4, 1, LANE_GROUP, 4, book, y, sq_norms); return;
        }
    if (TRANSPOSES && sizeof(REAL) == sizeof(float) && n == LANE_GROUP && obs->feature_stride == 1)
        transpose_lanes((const float *)x, obs->row_stride, d, book, y, sq_norms);
    else
        TYPED(load_lanes)(x, obs->row_stride, obs->feature_stride, n, d, book, y, sq_norms);
}

/* The n_rows - first rows from `first` on, at most a group; by lines where they lie side by side. */
INLINE vq_ahead TYPED(next_group)(const vq_obs *obs, ptrdiff_t first, ptrdiff_t n_rows, ptrdiff_t d)
{
    const ptrdiff_t left = n_rows - first < LANE_GROUP ? n_rows - first : LANE_GROUP, step = obs->row_stride;
    const ptrdiff_t row = (d - 1) * obs->feature_stride + 1, size = (ptrdiff_t)sizeof(REAL);
    if (left <= 0 || obs->feature_stride * size > 64) /* each feature in a line of its own: too many */
        return (vq_ahead){0};
    if (step == row)
        return (vq_ahead){(const char *)TYPED(row)(obs, first), 64, 64, left * row * size / 64 + 1};
    return (vq_ahead){(const char *)TYPED(row)(obs, first), step * size, row * size < 512 ? row * size : 512, left};
}

/* Codes of the first n columns of y: observations `first` and following, or those of a list. */
INLINE void TYPED(decide_lanes)(const float *y, const float *sq_norms, const vq_obs *obs, ptrdiff_t first, ptrdiff_t n,
                                const int32_t *list, const vq_code_book *book, vq_scratch *scratch, int32_t *codes)
{
    float best[LANE_GROUP], second[LANE_GROUP];
    int32_t nearest[LANE_GROUP];
    scan_lanes(y, book, best, second, nearest);
    for (ptrdiff_t p = 0; p < n; p++)
        codes[list ? list[p] : first + p] = nearest[p];
    if (all_certain(book, sq_norms, best, second))
        return;
    for (ptrdiff_t p = 0; p < n; p++) {
        const ptrdiff_t i = list ? list[p] : first + p;
        float band = book->band_constant + book->band_norm * sqrtf(sq_norms[p]) + book->band_square * sq_norms[p];
        if (!(second[p] - best[p] > band))
            codes[i] = nearest_direct(TYPED(widen)(obs, i, book->n_features, scratch->row), book);
    }
}

/* y of n observations as rows of `step` elements; what is past d, zero, stays as it is. */
INLINE void TYPED(load_rows)(const vq_obs *obs, ptrdiff_t first, ptrdiff_t n, const vq_code_book *book, float *y,
                             ptrdiff_t step)
{
    const ptrdiff_t d = book->n_features;
    if (sizeof(REAL) == sizeof(float) && obs->feature_stride == 1)
        load_vectors((const float *)TYPED(row)(obs, first), obs->row_stride, n, d, book, y, step);
    else
        for (ptrdiff_t p = 0; p < n; p++)
            TYPED(load_row)(TYPED(row)(obs, first + p), obs->feature_stride, book, y + p * step);
}

/* With the int16 filter, up to the first observation that it is not worth its while for. */
static ptrdiff_t TYPED(assign_filtered)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                        vq_scratch *scratch, int32_t *codes)
{
    const ptrdiff_t d = book->n_features, step = (d + 15) / 16 * 16;
    float y[VQ_LANES_FEATURES * LANE_GROUP];
    float late_y[VQ_LANES_FEATURES * LANE_GROUP], late_sq_norms[LANE_GROUP] = {0};
    int32_t nearest[LANE_GROUP], late[LANE_GROUP];
    ptrdiff_t n_late = 0, i = 0, n_doubtful = 0;
    memset(y, 0, (size_t)(step * LANE_GROUP) * sizeof *y);
    memset(late_y, 0, (size_t)d * LANE_GROUP * sizeof *late_y);
    for (; i < n_rows && n_doubtful <= INT16_MOST_DOUBTFUL; i += LANE_GROUP) {
        const ptrdiff_t n = n_rows - i < LANE_GROUP ? n_rows - i : LANE_GROUP;
        TYPED(load_rows)(obs, i, n, book, y, step);
        uint64_t doubtful = int16_assign(y, book, TYPED(next_group)(obs, i + LANE_GROUP, n_rows, d), nearest);
        memcpy(codes + i, nearest, (size_t)n * sizeof *codes);
        if (n < LANE_GROUP)
            doubtful &= ((uint64_t)1 << n) - 1;
        for (n_doubtful = 0; doubtful; doubtful &= doubtful - 1, n_doubtful++) {
            const int p = __builtin_ctzll(doubtful);
            late_sq_norms[n_late] = 0;
            for (ptrdiff_t j = 0; j < d; j++) {
                late_y[j * LANE_GROUP + n_late] = y[p * step + j];
                late_sq_norms[n_late] += y[p * step + j] * y[p * step + j];
            }
            late[n_late++] = (int32_t)(i + p);
            if (n_late == LANE_GROUP) {
                TYPED(decide_lanes)(late_y, late_sq_norms, obs, 0, n_late, late, book, scratch, codes);
                n_late = 0;
            }
        }
    }
    if (n_late > INT16_MOST_DIRECT)
        TYPED(decide_lanes)(late_y, late_sq_norms, obs, 0, n_late, late, book, scratch, codes);
    else
        for (ptrdiff_t l = 0; l < n_late; l++)
            codes[late[l]] = nearest_direct(TYPED(widen)(obs, late[l], d, scratch->row), book);
    return i < n_rows ? i : n_rows;
}

static void TYPED(assign_lanes)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                                int warm, int32_t *codes)
{
    float y[VQ_LANES_FEATURES * LANE_GROUP], sq_norms[LANE_GROUP];
    (void)warm;
    ptrdiff_t i = book->int16_unit > 0 ? TYPED(assign_filtered)(obs, n_rows, book, scratch, codes) : 0;
    for (; i < n_rows; i += LANE_GROUP) {
        const ptrdiff_t n = n_rows - i < LANE_GROUP ? n_rows - i : LANE_GROUP;
        vq_ahead ahead = TYPED(next_group)(obs, i + LANE_GROUP, n_rows, book->n_features);
        fetch_ahead(&ahead, ahead.n);
        TYPED(load_group)(obs, i, n, book, y, sq_norms);
        TYPED(decide_lanes)(y, sq_norms, obs, i, n, NULL, book, scratch, codes);
    }
}

/* ---- the panels path --------------------------------------------------------------- */

/* Everything of a block that does not depend on the code words. */
static void TYPED(load_block)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        float *y = scratch->rows + i * d;
        TYPED(load_row)(TYPED(row)(obs, i), obs->feature_stride, book, y);
        float sq_norm = inner_product(y, y, d);
        float band = book->band_constant + book->band_norm * sqrtf(sq_norm) + book->band_square * sq_norm;
        int in_range = band < INFINITY; /* otherwise y left the range of float32 */
        scratch->sq_norms[i] = sq_norm;
        scratch->bands[i] = band;
        scratch->limits[i] = in_range ? INFINITY : -INFINITY;
        scratch->candidates[i].best = INFINITY;
        scratch->candidates[i].count = in_range ? 0 : VQ_CANDIDATES + 1;
    }
}

/* The code of observation i from its candidates. */
INLINE int32_t TYPED(decide)(const vq_obs *obs, ptrdiff_t i, const vq_code_book *book, vq_scratch *scratch)
{
    vq_candidates *candidates = &scratch->candidates[i];
    if (candidates->count <= VQ_CANDIDATES)
        prune(candidates, scratch->limits[i]);
    if (candidates->count == 1)
        return candidates->codes[0];
    return nearest_candidate(TYPED(widen)(obs, i, book->n_features, scratch->row), book, candidates);
}

static void TYPED(assign_panels)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                                 int warm, int32_t *codes)
{
    const ptrdiff_t d = book->n_features, padded = (n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    TYPED(load_block)(obs, n_rows, book, scratch);
    for (ptrdiff_t i = 0; warm && i < n_rows; i++) {
        const float *y = scratch->rows + i * d;
        if (scratch->limits[i] > 0)
            scratch->limits[i] =
                book->half_norms[codes[i]] - inner_product(y, book->rows + codes[i] * d, d) + scratch->bands[i];
    }
    for (ptrdiff_t i = n_rows; i < padded; i++) { /* a limit that no score meets */
        memset(scratch->rows + i * d, 0, (size_t)d * sizeof *scratch->rows);
        scratch->limits[i] = -INFINITY;
    }
    scan_panels(scratch->rows, padded, book, scratch->bands, scratch->limits, scratch->candidates);
    for (ptrdiff_t i = 0; i < n_rows; i++)
        codes[i] = TYPED(decide)(obs, i, book, scratch);
}

static void TYPED(assign_bounded)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book, vq_scratch *scratch,
                                  const vq_bounds *bounds, int32_t *codes)
{
    const ptrdiff_t d = book->n_features;
    const float rounding = (float)(d + 8) * 0x1p-24f; /* of a sum of d squares, relative */
    TYPED(load_block)(obs, n_rows, book, scratch);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        scratch->upper[i] = INFINITY;
        if (bounds->first_round)
            codes[i] = -1;
        else if (scratch->limits[i] > 0) { /* in range: the own code is the candidate to beat */
            const float *y = scratch->rows + i * d, *z = book->rows + codes[i] * d;
            vq_candidates *candidates = &scratch->candidates[i];
            float own = book->half_norms[codes[i]] - inner_product(y, z, d);
            candidates->best = candidates->scores[0] = own;
            candidates->codes[0] = codes[i];
            candidates->count = 1;
            scratch->limits[i] = own + scratch->bands[i];
            scratch->upper[i] = sqrtf(sq_dist_packed(y, z, d)) * (1 + rounding)
                                + 0x1p-22f * (sqrtf(scratch->sq_norms[i]) + book->longest);
        }
        scratch->sq_norms[i] *= 1 - rounding;
    }
    scan_needed(scratch, n_rows, bounds->row_step, book, bounds->drifts, codes, bounds->lower);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        int32_t old = codes[i];
        codes[i] = TYPED(decide)(obs, i, book, scratch);
        if (old >= 0 && old != codes[i]) { /* the bound of its panel has left the old code out */
            ptrdiff_t p = old / PANEL;
            float *lower = bounds->lower + p * bounds->row_step + i;
            float error = 0x1p-20f * (sqrtf(scratch->sq_norms[i]) + book->longest);
            float dist = scratch->upper[i] * (1 - 4 * rounding) - error;
            float bound = ((dist > 0 ? dist : 0) + bounds->drifts[p]) * BOUND_DOWN;
            *lower = bound < *lower ? bound : *lower;
        }
    }
}
