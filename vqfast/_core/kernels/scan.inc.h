/* The two float32 scans: one source, written in the operations of simd.h. */

/* Rows that are read next, or lines where they lie side by side. (Not every machine foresees even those.) */
typedef struct {
    const char *row;
    ptrdiff_t step, size, n; /* in bytes; rows */
} vq_ahead;

INLINE void fetch_ahead(vq_ahead *ahead, ptrdiff_t n)
{
    for (n = n < ahead->n ? n : ahead->n, ahead->n -= n; n > 0; n--, ahead->row += ahead->step) {
        for (ptrdiff_t j = 0; j < ahead->size; j += 64)
            __builtin_prefetch(ahead->row + j);
        if (ahead->size < ahead->step) /* rows that lie apart need not begin with a line */
            __builtin_prefetch(ahead->row + ahead->size - 1);
    }
}

/* ---- lanes: observations in the vector lanes, code words broadcast ------------- */

/* Columns of y from n <= VL features of VL float32 observations, transposed in registers; their squares are
 * added to four sums, so that few wait for each other. Called with a constant n where that is VL: the loops
 * then unroll. */
INLINE void transpose_vectors(const float *x, ptrdiff_t row_stride, ptrdiff_t n, const float *shift, vf scale,
                              vf sums[4], float *y)
{
    const vf shifts = n == VL ? vf_load(shift) : vf_load_first(shift, n);
    vf rows[VL];
#pragma GCC unroll 16
    for (int r = 0; r < VL; r++)
        rows[r] = ((n == VL ? vf_load(x + r * row_stride) : vf_load_first(x + r * row_stride, n)) - shifts) * scale;
    vf_transpose(rows);
#pragma GCC unroll 16
    for (ptrdiff_t j = 0; j < VL; j++)
        if (j < n) {
            vf_store(y + j * LANE_GROUP, rows[j]);
            sums[j % 4] = vf_fma(rows[j], rows[j], sums[j % 4]);
        }
}

/* The same of a whole group of float32 observations. */
INLINE void transpose_lanes(const float *x, ptrdiff_t row_stride, ptrdiff_t d, const vq_code_book *book, float *y,
                            float *sq_norms)
{
    const vf scale = vf_set((float)book->scale);
    for (int v = 0; v < LANE_VECTORS; v++) {
        const float *rows = x + v * VL * row_stride, *shift = book->shift_f32;
        float *columns = y + v * VL;
        vf sums[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
        ptrdiff_t j = 0;
        for (; j + VL <= d; j += VL)
            transpose_vectors(rows + j, row_stride, VL, shift + j, scale, sums, columns + j * LANE_GROUP);
        if (j < d)
            transpose_vectors(rows + j, row_stride, d - j, shift + j, scale, sums, columns + j * LANE_GROUP);
        vf_store(sq_norms + v * VL, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
}

/* y of n float32 observations as rows of `step` elements, a multiple of VL; zero past d. */
INLINE void load_vectors(const float *x, ptrdiff_t row_stride, ptrdiff_t n, ptrdiff_t d, const vq_code_book *book,
                         float *y, ptrdiff_t step)
{
    const vf scale = vf_set((float)book->scale);
    for (ptrdiff_t j = 0; j < d; j += VL) {
        const ptrdiff_t kept = d - j < VL ? d - j : VL;
        const vf shift = vf_load_first(book->shift_f32 + j, kept);
        for (ptrdiff_t p = 0; p < n; p++)
            vf_store(y + p * step + j, (vf_load_first(x + p * row_stride + j, kept) - shift) * scale);
    }
}

/* Observations p = 0 ... LANE_GROUP - 1 are the columns of y (n_features, LANE_GROUP).
 * best and second are the two lowest scores, codes the first code that has best.
 * Called with a constant d for few features, so that y stays in registers. */
INLINE void scan_lanes_of(const float *y, const vq_code_book *book, ptrdiff_t d, float *best_out, float *second_out,
                          int32_t *codes)
{
    vf best[LANE_VECTORS], second[LANE_VECTORS];
    vi code[LANE_VECTORS];
    for (int v = 0; v < LANE_VECTORS; v++) {
        best[v] = second[v] = vf_set(INFINITY);
        code[v] = vi_set(0);
    }
    ptrdiff_t k = 0;
    for (; k + 2 <= book->n_codes; k += 2) { /* two code words share the loads of y */
        const float *z = book->scores + k * d;
        vf even[LANE_VECTORS], odd[LANE_VECTORS];
        for (int v = 0; v < LANE_VECTORS; v++) {
            even[v] = vf_set(book->half_norms[k]);
            odd[v] = vf_set(book->half_norms[k + 1]);
        }
        for (ptrdiff_t j = 0; j < d; j++) {
            vf z_even = vf_set(z[j]), z_odd = vf_set(z[d + j]);
            for (int v = 0; v < LANE_VECTORS; v++) {
                vf y_j = vf_load(y + j * LANE_GROUP + v * VL);
                even[v] = vf_fma(y_j, z_even, even[v]);
                odd[v] = vf_fma(y_j, z_odd, odd[v]);
            }
        }
        vi k_even = vi_set((int32_t)k), k_odd = vi_set((int32_t)k + 1);
        for (int v = 0; v < LANE_VECTORS; v++) {
            code[v] = vi_select(vf_less(even[v], best[v]), k_even, code[v]);
            second[v] = vf_min(second[v], vf_max(even[v], best[v]));
            best[v] = vf_min(even[v], best[v]);
            code[v] = vi_select(vf_less(odd[v], best[v]), k_odd, code[v]);
            second[v] = vf_min(second[v], vf_max(odd[v], best[v]));
            best[v] = vf_min(odd[v], best[v]);
        }
    }
    if (k < book->n_codes) {
        const float *z = book->scores + k * d;
        for (int v = 0; v < LANE_VECTORS; v++) {
            vf score = vf_set(book->half_norms[k]);
            for (ptrdiff_t j = 0; j < d; j++)
                score = vf_fma(vf_load(y + j * LANE_GROUP + v * VL), vf_set(z[j]), score);
            code[v] = vi_select(vf_less(score, best[v]), vi_set((int32_t)k), code[v]);
            second[v] = vf_min(second[v], vf_max(score, best[v]));
            best[v] = vf_min(score, best[v]);
        }
    }
    for (int v = 0; v < LANE_VECTORS; v++) {
        vf_store(best_out + v * VL, best[v]);
        vf_store(second_out + v * VL, second[v]);
        vi_store(codes + v * VL, code[v]);
    }
}

static void scan_lanes(const float *y, const vq_code_book *book, float *best, float *second, int32_t *codes)
{
    switch (book->n_features) {
    case 1: scan_lanes_of(y, book, 1, best, second, codes); break;
    case 2: scan_lanes_of(y, book, 2, best, second, codes); break;
    case 3: scan_lanes_of(y, book, 3, best, second, codes); break;
    case 4: scan_lanes_of(y, book, 4, best, second, codes); break;
    case 8: scan_lanes_of(y, book, 8, best, second, codes); break;
    default: scan_lanes_of(y, book, book->n_features, best, second, codes);
    }
}

/* Whether all the winners are certain, by the band of the longest y of the group. A NaN
 * makes them not so. */
INLINE int all_certain(const vq_code_book *book, const float *sq_norms, const float *best, const float *second)
{
    vf longest = vf_load(sq_norms);
    for (int v = 1; v < LANE_VECTORS; v++)
        longest = vf_max(longest, vf_load(sq_norms + v * VL));
    const float sq_norm = -vf_lowest(vf_fma(longest, vf_set(-1), vf_set(0)));
    const vf band = vf_set(book->band_constant + book->band_norm * sqrtf(sq_norm) + book->band_square * sq_norm);
    int certain = 1;
    for (int v = 0; v < LANE_VECTORS; v++) {
        vf gap = vf_fma(vf_load(best + v * VL), vf_set(-1), vf_load(second + v * VL));
        certain &= vm_all(vf_less(band, gap));
    }
    return certain;
}

/* <y, z> in no particular order; within the error bound of the contract. */
INLINE float inner_product(const float *y, const float *z, ptrdiff_t d)
{
    vf even = vf_set(0), odd = vf_set(0);
    float rest = 0;
    ptrdiff_t j = 0;
    for (; j + 2 * VL <= d; j += 2 * VL) {
        even = vf_fma(vf_load(y + j), vf_load(z + j), even);
        odd = vf_fma(vf_load(y + j + VL), vf_load(z + j + VL), odd);
    }
    for (; j < d; j++)
        rest += y[j] * z[j];
    return vf_sum(even) + vf_sum(odd) + rest;
}

/* |y - z|^2 in no particular order. */
INLINE float sq_dist_packed(const float *y, const float *z, ptrdiff_t d)
{
    vf even = vf_set(0), odd = vf_set(0), minus_one = vf_set(-1);
    float rest = 0;
    ptrdiff_t j = 0;
    for (; j + 2 * VL <= d; j += 2 * VL) {
        vf t = vf_fma(vf_load(z + j), minus_one, vf_load(y + j));
        vf s = vf_fma(vf_load(z + j + VL), minus_one, vf_load(y + j + VL));
        even = vf_fma(t, t, even);
        odd = vf_fma(s, s, odd);
    }
    for (; j < d; j++)
        rest += (y[j] - z[j]) * (y[j] - z[j]);
    return vf_sum(even) + vf_sum(odd) + rest;
}

/* ---- panels: code words in the vector lanes, observations broadcast ------------- */

/* Drop the candidates above limit; the rest stay in ascending order of the codes. */
static void prune(vq_candidates *candidates, float limit)
{
    int32_t kept = 0;
    for (int32_t c = 0; c < candidates->count; c++)
        if (candidates->scores[c] <= limit) {
            candidates->codes[kept] = candidates->codes[c];
            candidates->scores[kept++] = candidates->scores[c];
        }
    candidates->count = kept;
}

static __attribute__((noinline)) void keep(vq_candidates *candidates, int32_t code, float score, float limit)
{
    if (candidates->count > VQ_CANDIDATES)
        return;
    if (candidates->count == VQ_CANDIDATES)
        prune(candidates, limit);
    if (candidates->count < VQ_CANDIDATES) {
        candidates->codes[candidates->count] = code;
        candidates->scores[candidates->count] = score;
    }
    candidates->count++; /* past VQ_CANDIDATES: given up */
}

/* The register tile: scores of TILE_ROWS observations and a panel of vectors * VL codes.
 * start[r] is where the chains of observation r begin: the half norms. */
INLINE void tile_scores(const float *const y[TILE_ROWS], ptrdiff_t d, const float *panel,
                        const float *const start[TILE_ROWS], int vectors, vf acc[TILE_ROWS][TILE_VECTORS])
{
    const ptrdiff_t width = (ptrdiff_t)vectors * VL;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vf_load(start[r] + v * VL);
#pragma GCC unroll 4
    for (ptrdiff_t j = 0; j < d; j++) {
        vf z[TILE_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            z[v] = vf_load(panel + j * width + v * VL);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++) {
            vf y_j = vf_set(y[r][j]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(y_j, z[v], acc[r][v]);
        }
    }
}

INLINE vf lowest_of(const vf *acc, int vectors)
{
    vf lowest = acc[0];
#pragma GCC unroll 2
    for (int v = 1; v < vectors; v++)
        lowest = vf_min(lowest, acc[v]);
    return lowest;
}

/* One observation has a score at or below its limit: lower the limit, keep what meets it. */
INLINE void offer(const vf *acc, int vectors, ptrdiff_t first, float band, float *limit, vq_candidates *candidates)
{
    const float new_best = vf_lowest(lowest_of(acc, vectors));
    if (new_best < candidates->best)
        candidates->best = new_best;
    if (candidates->best + band < *limit)
        *limit = candidates->best + band;
    float scores[PANEL];
    uint64_t hits = 0;
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        vf_store(scores + v * VL, acc[v]);
        hits |= (uint64_t)vm_bits(vf_less_equal(acc[v], vf_set(*limit))) << (v * VL);
    }
    for (; hits; hits &= hits - 1) {
        const int lane = __builtin_ctzll(hits);
        keep(candidates, (int32_t)(first + lane), scores[lane], *limit);
    }
}

/* TILE_ROWS observations in a row against one panel. */
INLINE void scan_tile(const float *rows, ptrdiff_t d, const float *panel, const float *half_norms, int vectors,
                      ptrdiff_t first, const float *bands, float *limits, vq_candidates *candidates)
{
    const float *y[TILE_ROWS], *start[TILE_ROWS];
    vf acc[TILE_ROWS][TILE_VECTORS];
    vm hits[TILE_ROWS], any;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        y[r] = rows + r * d;
        start[r] = half_norms;
    }
    tile_scores(y, d, panel, start, vectors, acc);
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        hits[r] = vf_less_equal(lowest_of(acc[r], vectors), vf_set(limits[r]));
        any = r ? vm_or(any, hits[r]) : hits[r];
    }
    if (!vm_any(any))
        return;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
        if (vm_any(hits[r]))
            offer(acc[r], vectors, first, bands[r], limits + r, candidates + r);
}

/* Vectors of the panel that begins with code first: whole ones but the last. */
INLINE int panel_vectors(const vq_code_book *book, ptrdiff_t first)
{
    ptrdiff_t rest = book->n_codes - first;
    return rest > (TILE_VECTORS - 1) * VL ? TILE_VECTORS : (int)((rest + VL - 1) / VL);
}

/* n_rows is a multiple of TILE_ROWS. The panel loop is outside, so that a panel is
 * read from the first-level cache by all tiles. */
static void scan_panels(const float *rows, ptrdiff_t n_rows, const vq_code_book *book, const float *bands,
                        float *limits, vq_candidates *candidates)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t first = 0; first < book->n_codes; first += PANEL) {
        const float *panel = book->scores + first * d, *half_norms = book->half_norms + first;
        const int vectors = panel_vectors(book, first);
        for (ptrdiff_t i = 0; i < n_rows; i += TILE_ROWS)
            switch (vectors) { /* constants, so that the accumulators stay in registers */
            case 1:
                scan_tile(rows + i * d, d, panel, half_norms, 1, first, bands + i, limits + i, candidates + i);
                break;
            case 2:
                scan_tile(rows + i * d, d, panel, half_norms, 2, first, bands + i, limits + i, candidates + i);
                break;
            default:
                scan_tile(rows + i * d, d, panel, half_norms, TILE_VECTORS, first, bands + i, limits + i,
                          candidates + i);
            }
    }
}

/* ---- panels with bounds: only the (observation, panel) pairs that can matter ------ */

/* The observations of list[0 ... TILE_ROWS - 1] against one panel, without each one's
 * own code; minima[r] is the lowest score. Only the first n_listed are not filling. */
INLINE void scan_listed_tile(const vq_scratch *scratch, const int32_t *list, const int32_t *codes, ptrdiff_t d,
                             const float *panel, const float *half_norms, int vectors, ptrdiff_t first,
                             ptrdiff_t n_listed, float *minima)
{
    const float *y[TILE_ROWS], *start[TILE_ROWS];
    float without_own[TILE_ROWS][PANEL];
    vf acc[TILE_ROWS][TILE_VECTORS];
    vm hits[TILE_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        y[r] = scratch->rows + list[r] * d;
        start[r] = half_norms;
        ptrdiff_t own = codes[list[r]] - first;
        if (own >= 0 && own < (ptrdiff_t)vectors * VL) {
            memcpy(without_own[r], half_norms, (size_t)vectors * VL * sizeof *half_norms);
            without_own[r][own] = INFINITY;
            start[r] = without_own[r];
        }
    }
    tile_scores(y, d, panel, start, vectors, acc);
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        vf lowest = lowest_of(acc[r], vectors);
        minima[r] = vf_lowest(lowest);
        hits[r] = vf_less_equal(lowest, vf_set(scratch->limits[list[r]]));
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
        if (r < n_listed && vm_any(hits[r]))
            offer(acc[r], vectors, first, scratch->bands[list[r]], scratch->limits + list[r],
                  scratch->candidates + list[r]);
}

/* The observations that cannot skip a panel, in ascending order, filled up to a whole
 * tile with the last of them. */
static ptrdiff_t list_needed(const vq_scratch *scratch, ptrdiff_t n_rows, const float *lower, float drift)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        scratch->list[n] = (int32_t)i;
        n += !(scratch->upper[i] < (lower[i] - drift) * BOUND_DOWN);
    }
    for (ptrdiff_t i = n; n && i < n + TILE_ROWS - 1; i++)
        scratch->list[i] = scratch->list[n - 1];
    return n;
}

/* lower holds one row of bounds for each panel, row_step apart, see vq_bounds. */
static void scan_needed(const vq_scratch *scratch, ptrdiff_t n_rows, ptrdiff_t row_step, const vq_code_book *book,
                        const float *drifts, const int32_t *codes, float *lower)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t first = 0, p = 0; first < book->n_codes; first += PANEL, p++, lower += row_step) {
        const float *panel = book->scores + first * d, *half_norms = book->half_norms + first;
        const int vectors = panel_vectors(book, first);
        const ptrdiff_t n = list_needed(scratch, n_rows, lower, drifts[p]);
        float *minima = scratch->minima;
        for (ptrdiff_t i = 0; i < n; i += TILE_ROWS) {
            const int32_t *list = scratch->list + i;
            switch (vectors) {
            case 1: scan_listed_tile(scratch, list, codes, d, panel, half_norms, 1, first, n - i, minima + i); break;
            case 2: scan_listed_tile(scratch, list, codes, d, panel, half_norms, 2, first, n - i, minima + i); break;
            default:
                scan_listed_tile(scratch, list, codes, d, panel, half_norms, TILE_VECTORS, first, n - i, minima + i);
            }
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            const int32_t row = scratch->list[i];
            float sq_dist = scratch->sq_norms[row] + 2 * minima[i] - scratch->bands[row];
            lower[row] = (sqrtf(sq_dist > 0 ? sq_dist : 0) * BOUND_DOWN + drifts[p]) * BOUND_DOWN;
        }
    }
}
