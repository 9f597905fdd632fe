/* The parts of the integer scan that read observations, for one element type (see obs.inc.h). */

static void TYPED(integers_quantize)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                     const vq_integers_book *integers, float *y, vq_integers_rows *rows)
{
    const ptrdiff_t d = book->n_features, at_once = integers->directions.n ? ROWS8 : 1;
    float mapped[ROWS8][VQ_INTEGERS_MAPPED];
    for (ptrdiff_t i = 0; i < n_rows; i += at_once) {
        const float *loaded[ROWS8];
        for (ptrdiff_t r = 0; r < at_once; r++) {
            loaded[r] = y + r * d;
            TYPED(load_row)(TYPED(row)(obs, i + r < n_rows ? i + r : i), obs->feature_stride, book, y + r * d);
        }
        if (at_once > 1)
            project(integers->directions.columns, integers->directions.n_columns, loaded, d, mapped);
        for (ptrdiff_t r = 0; r < at_once && i + r < n_rows; r++)
            quantize_row(loaded[r], d, integers, mapped[r], i + r, rows);
    }
}

/* Packed distance of an observation to a packed code. */
INLINE float TYPED(obs_dist)(const vq_obs *obs, ptrdiff_t i, const vq_code_book *book, ptrdiff_t code, float *y)
{
    const ptrdiff_t d = book->n_features;
    const REAL *x = TYPED(row)(obs, i), *shift = TYPED_SHIFT(book);
    const float *z = book->rows + code * d;
    if (obs->feature_stride != 1) {
        TYPED(load_row)(x, obs->feature_stride, book, y);
        return sqrtf(sq_dist_packed(y, z, d));
    }
    w16 sums[4] = {w_set(0), w_set(0), w_set(0), w_set(0)};
    ptrdiff_t j = 0;
    for (; j + 64 <= d; j += 64)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            w16 t = TYPED(packed16)(x + j + 16 * c, shift + j + 16 * c, book->scale, z + j + 16 * c);
            sums[c] = w_fma(t, t, sums[c]);
        }
    for (; j + 16 <= d; j += 16) {
        w16 t = TYPED(packed16)(x + j, shift + j, book->scale, z + j);
        sums[0] = w_fma(t, t, sums[0]);
    }
    float rest = 0;
    for (; j < d; j++) {
        float t = (float)((x[j] - shift[j]) * (REAL)book->scale) - z[j];
        rest += t * t;
    }
    sums[0] = w_add(w_add(sums[0], sums[1]), w_add(sums[2], sums[3]));
    return sqrtf(w_sum(sums[0]) + rest);
}

/* The same from its integers, if they hold it well enough. */
INLINE float TYPED(dist_to)(const vq_obs *obs, ptrdiff_t i, const vq_code_book *book, const vq_integers_book *integers,
                            const vq_integers_rows *rows, ptrdiff_t code, float *y)
{
    if (holds_features(integers, rows))
        return integers_dist(integers, rows, i, book, code);
    return TYPED(obs_dist)(obs, i, book, code, y);
}

/* Lines of the rows that the next observations will need. */
INLINE void TYPED(integers_prefetch)(const vq_obs *obs, const vq_code_book *book, const vq_integers_book *integers,
                                     const vq_integers_rows *rows, ptrdiff_t i, ptrdiff_t code)
{
    const ptrdiff_t d = book->n_features, n_bytes = 4 * integers->n_quads;
    const ptrdiff_t second_bytes = bytes_of_second(integers, d);
    const char *x = (const char *)TYPED(row)(obs, i);
    if (holds_features(integers, rows)) {
        for (ptrdiff_t j = 0; j < n_bytes; j += 64)
            _mm_prefetch((const char *)(rows->quads + i * n_bytes + j), _MM_HINT_T0);
        for (ptrdiff_t j = 0; j < second_bytes && rows->second; j += 64)
            _mm_prefetch((const char *)(rows->second + i * second_bytes + j), _MM_HINT_T0);
    } else {
        for (ptrdiff_t j = 0; j < d * (ptrdiff_t)sizeof(REAL); j += 64)
            _mm_prefetch(x + j, _MM_HINT_T0);
        for (ptrdiff_t j = 0; j < n_bytes; j += 64)
            _mm_prefetch((const char *)(rows->quads + i * n_bytes + j), _MM_HINT_T1);
    }
    for (ptrdiff_t j = 0; j < d; j += 16)
        _mm_prefetch((const char *)(book->rows + code * d + j), _MM_HINT_T0);
}

/* Distances of the hits that have none yet; they lower the bounds of their groups. */
static void TYPED(integers_score)(const vq_obs *obs, const vq_code_book *book, const vq_integers_book *integers,
                                  const vq_integers_rows *rows, const vq_integers_bounds *bounds,
                                  vq_integers_scratch *scratch)
{
    const float rounding = dist_rounding(book->n_features);
    for (ptrdiff_t h = scratch->n_scored; h < scratch->n_hits; h++) {
        vq_integers_hit *hit = scratch->hits + h;
        const ptrdiff_t i = hit->row;
        const float spare = dist_spare(book, rows, i);
        const float dist = TYPED(dist_to)(obs, i, book, integers, rows, hit->code, scratch->row),
                    best = scratch->dists[i];
        const float nearer = dist < best ? dist : best, farther = dist < best ? best : dist;
        const int apart = farther * (1 - rounding) - spare > nearer * (1 + rounding) + spare;
        hit->dist = dist;
        if (bounds)
            lower_entry(bounds, i, hit->group, dist * (1 - rounding) - spare, scratch);
        if (dist < best) {
            scratch->dists[i] = dist;
            scratch->codes[i] = hit->code;
            if (apart && scratch->in_doubt[i] == IN_DOUBT)
                scratch->in_doubt[i] = CERTAIN;
        }
        if (!apart && scratch->in_doubt[i] == CERTAIN)
            scratch->in_doubt[i] = IN_DOUBT;
    }
    scratch->n_compared += scratch->n_hits - scratch->n_scored;
    scratch->n_scored = scratch->n_hits;
    if (scratch->n_hits > scratch->hit_capacity / 2)
        drop_hits(book, rows, scratch);
}

/* A list of rows and a group of n_vectors vectors of codes from v on. */
static void TYPED(integers_scan)(const vq_obs *obs, const vq_code_book *book, const vq_integers_book *integers,
                                 const vq_integers_rows *rows, const vq_integers_bounds *bounds, ptrdiff_t n,
                                 ptrdiff_t v, int n_vectors, vq_integers_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < n; i += ROWS8) {
        switch (n_vectors) { /* constants, so that the sums stay in registers */
        case 1: listed_tile(integers, rows, scratch->list + i, n - i, v, 1, bounds, scratch); break;
        case 2: listed_tile(integers, rows, scratch->list + i, n - i, v, 2, bounds, scratch); break;
        default: listed_tile(integers, rows, scratch->list + i, n - i, v, 4, bounds, scratch);
        }
        if (scratch->n_hits > scratch->hit_capacity - ROWS8 * VQ_INTEGERS_SPAN * VECTOR)
            TYPED(integers_score)(obs, book, integers, rows, bounds, scratch);
    }
    TYPED(integers_score)(obs, book, integers, rows, bounds, scratch);
}

/* The first round: all pairs. */
static void TYPED(integers_first)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                  const vq_integers_book *integers, const vq_integers_rows *rows,
                                  const vq_integers_bounds *bounds, ptrdiff_t row_step, int warm, const int32_t *codes,
                                  vq_integers_scratch *scratch)
{
    scan_first(integers, rows, n_rows, row_step, scratch);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        scratch->own[i] =
            warm ? integers->positions[codes[i]] : lowest_position(integers, rows, i, scratch->vectors[i]);
        scratch->codes[i] = integers->order[scratch->own[i]];
        if (!(book->half_norms[scratch->codes[i]] < INFINITY)) /* no code word at all, or a bad guess */
            scratch->in_doubt[i] = ALL_IN_DOUBT;
        scratch->own_dists[i] = TYPED(dist_to)(obs, i, book, integers, rows, scratch->codes[i], scratch->row);
    }
    finish_own(book, rows, row_step, NULL, NULL, scratch);
    if (bounds)
        first_bounds(book, integers, rows, n_rows, bounds, scratch);
    gather_facts(rows, row_step, scratch);
    for (ptrdiff_t g = 0; g < integers->n_vectors / integers->span; g++) {
        ptrdiff_t n = list_second(integers, rows, n_rows, row_step, g, scratch);
        TYPED(integers_scan)(obs, book, integers, rows, bounds, n, g * integers->span, (int)integers->span, scratch);
    }
}

/* The distances to the own codes in a later round. Where the last round needed little, a row is
 * passed over while its old distance and its code's step stay below all bounds; where the code
 * has not moved since its distance was computed, that holds. */
static void TYPED(integers_own)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                const vq_integers_book *integers, const vq_integers_rows *rows,
                                const vq_integers_bounds *bounds, int lazy, const int32_t *codes,
                                vq_integers_scratch *scratch)
{
    const ptrdiff_t few = TYPED(rows_ahead)(book->n_features), ahead = few > 8 ? few : 8;
    const float *steps = bounds->steps;
    const int32_t *positions = integers->positions;
    float *way = scratch->minima; /* those are of first rounds */
    int32_t *own = scratch->own, *list = scratch->list;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        own[i] = positions[codes[i]];
        way[i] = steps[codes[i]];
    }
    for (ptrdiff_t i = n_rows; i < bounds->row_step; i++)
        way[i] = 0;
    memcpy(scratch->codes, codes, (size_t)n_rows * sizeof *codes);
    const ptrdiff_t n = list_own(bounds, n_rows, lazy, scratch);
    for (ptrdiff_t l = 0; l < n; l++) {
        const ptrdiff_t i = list[l];
        if (l + ahead < n)
            TYPED(integers_prefetch)(obs, book, integers, rows, list[l + ahead], codes[list[l + ahead]]);
        scratch->own_dists[i] = TYPED(dist_to)(obs, i, book, integers, rows, codes[i], scratch->row);
        bounds->dists[i] = scratch->own_dists[i];
    }
}

/* A later round: the own codes of the rows that need it, then the pairs that the bounds do not
 * exclude. */
static void TYPED(integers_later)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                  const vq_integers_book *integers, const vq_integers_rows *rows,
                                  const vq_integers_bounds *bounds, const int32_t *codes, vq_integers_scratch *scratch)
{
    const ptrdiff_t n_groups = integers->n_vectors / integers->span;
    const int lazy = *bounds->n_needed < 4 * n_rows;
    int64_t n_needed = 0;
    if (lazy)
        nearest_bounds(integers, bounds, scratch);
    TYPED(integers_own)(obs, n_rows, book, integers, rows, bounds, lazy, codes, scratch);
    finish_own(book, rows, bounds->row_step, lazy ? scratch->best : NULL, bounds, scratch);
    gather_facts(rows, bounds->row_step, scratch);
    const ptrdiff_t n_parts = list_parts(bounds->row_step, !lazy, scratch);
    for (ptrdiff_t g = 0; n_parts && g < n_groups; g++) {
        ptrdiff_t n = list_bounded(bounds, g, lazy, n_parts, scratch);
        n_needed += n;
        TYPED(integers_scan)(obs, book, integers, rows, bounds, n, g * integers->span, (int)integers->span, scratch);
    }
    *bounds->n_needed = n_needed;
}

/* The code of an observation that is in doubt. */
static int32_t TYPED(integers_decide)(const vq_obs *obs, ptrdiff_t i, const vq_code_book *book,
                                      const vq_integers_book *integers, const vq_integers_rows *rows, double *row,
                                      const vq_integers_scratch *scratch)
{
    const float rounding = dist_rounding(book->n_features), spare = dist_spare(book, rows, i);
    const float most = scratch->dists[i] * (1 + rounding) + spare;
    vq_candidates candidates = {.count = 0};
    if (scratch->in_doubt[i] == ALL_IN_DOUBT)
        return nearest_candidate(TYPED(widen)(obs, i, book->n_features, row), book, &candidates);
    if (scratch->own_dists[i] * (1 - rounding) - spare <= most)
        candidates.codes[candidates.count++] = integers->order[scratch->own[i]];
    for (int32_t h = scratch->first_hits[i]; h >= 0 && candidates.count <= VQ_CANDIDATES; h = scratch->hits[h].next)
        if (scratch->hits[h].dist * (1 - rounding) - spare <= most) {
            if (candidates.count < VQ_CANDIDATES)
                candidates.codes[candidates.count] = scratch->hits[h].code;
            candidates.count++;
        }
    return nearest_candidate(TYPED(widen)(obs, i, book->n_features, row), book, &candidates);
}

static void TYPED(integers_assign)(const vq_obs *obs, ptrdiff_t n_rows, const vq_code_book *book,
                                   const vq_integers_book *integers, const vq_integers_rows *rows,
                                   const vq_integers_bounds *bounds, vq_scratch *exact, vq_integers_scratch *scratch,
                                   int warm, int32_t *codes)
{
    const ptrdiff_t row_step = (n_rows + 15) / 16 * 16, d = book->n_features;
    const int follow = bounds && !bounds->first_round;
    scratch->n_hits = scratch->n_scored = 0;
    memset(scratch->first_hits, 0xff, (size_t)n_rows * sizeof *scratch->first_hits);
    for (ptrdiff_t i = 0; i < n_rows; i++)
        scratch->in_doubt[i] = rows->norms[i] < INFINITY ? CERTAIN : ALL_IN_DOUBT;
    for (ptrdiff_t i = n_rows; i < row_step; i++)
        scratch->own_dists[i] = -1;
    if (follow)
        invert_units(bounds, scratch);
    if (follow)
        TYPED(integers_later)(obs, n_rows, book, integers, rows, bounds, codes, scratch);
    else
        TYPED(integers_first)(obs, n_rows, book, integers, rows, bounds, row_step, warm, codes, scratch);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        if (follow && i % 16 == 0)
            i = next_changed(scratch, codes, i, n_rows);
        if (i >= n_rows)
            break;
        const int32_t old = integers->order[scratch->own[i]];
        codes[i] = scratch->in_doubt[i] ? TYPED(integers_decide)(obs, i, book, integers, rows, exact->row, scratch)
                                        : scratch->codes[i];
        if (bounds && codes[i] != old) { /* the bound of its group has left the old code out */
            const float spare = dist_spare(book, rows, i);
            const ptrdiff_t group = scratch->own[i] / (integers->span * VECTOR);
            lower_entry(bounds, i, group, scratch->own_dists[i] * (1 - dist_rounding(d)) - spare, scratch);
            bounds->dists[i] = scratch->in_doubt[i] ? -1 : scratch->dists[i];
            bounds->upper[i] = scratch->in_doubt[i] ? INFINITY : upper_of(book, rows, i, scratch->dists[i]);
        }
    }
}
