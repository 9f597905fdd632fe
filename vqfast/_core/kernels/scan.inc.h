/* The two float32 scans: one source, written in the operations of simd.h. */

/* ---- lanes: observations in the vector lanes, code words broadcast ------------- */

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

static void keep(vq_candidates *candidates, int32_t code, float score, float limit)
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

/* Some of the scores of codes first ... first + width - 1 are at or below the limit. */
static __attribute__((noinline)) void offer(const float *scores, ptrdiff_t width, ptrdiff_t first, float band,
                                            float *limit, vq_candidates *candidates)
{
    vf lowest = vf_load(scores);
    for (ptrdiff_t l = VL; l < width; l += VL)
        lowest = vf_min(lowest, vf_load(scores + l));
    float new_best = vf_lowest(lowest);
    if (new_best < candidates->best)
        candidates->best = new_best;
    if (candidates->best + band < *limit)
        *limit = candidates->best + band;
    for (ptrdiff_t l = 0; l < width; l += VL)
        for (uint32_t hits = vm_bits(vf_less_equal(vf_load(scores + l), vf_set(*limit))); hits; hits &= hits - 1) {
            ptrdiff_t lane = l + __builtin_ctz(hits);
            keep(candidates, (int32_t)(first + lane), scores[lane], *limit);
        }
}

/* One register tile: TILE_ROWS observations against a panel of vectors * VL codes. */
INLINE void scan_tile(const float *rows, ptrdiff_t d, const float *panel, const float *half_norms, int vectors,
                      ptrdiff_t first, const float *bands, float *limits, vq_candidates *candidates)
{
    const ptrdiff_t width = (ptrdiff_t)vectors * VL;
    vf acc[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vf_load(half_norms + v * VL);
#pragma GCC unroll 4
    for (ptrdiff_t j = 0; j < d; j++) {
        vf z[TILE_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            z[v] = vf_load(panel + j * width + v * VL);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++) {
            vf y = vf_set(rows[r * d + j]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                acc[r][v] = vf_fma(y, z[v], acc[r][v]);
        }
    }
    vm hits[TILE_ROWS], any;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
        vf lowest = acc[r][0];
#pragma GCC unroll 2
        for (int v = 1; v < vectors; v++)
            lowest = vf_min(lowest, acc[r][v]);
        hits[r] = vf_less_equal(lowest, vf_set(limits[r]));
        any = r ? vm_or(any, hits[r]) : hits[r];
    }
    if (!vm_any(any))
        return;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
        if (vm_any(hits[r])) {
            float scores[PANEL];
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                vf_store(scores + v * VL, acc[r][v]);
            offer(scores, width, first, bands[r], limits + r, candidates + r);
        }
}

/* n_rows is a multiple of TILE_ROWS. The panel loop is outside, so that a panel is
 * read from the first-level cache by all tiles. */
static void scan_panels(const float *rows, ptrdiff_t n_rows, const vq_code_book *book, const float *bands,
                        float *limits, vq_candidates *candidates)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t first = 0; first < book->n_codes; first += PANEL) {
        const float *panel = book->scores + first * d, *half_norms = book->half_norms + first;
        ptrdiff_t rest = book->n_codes - first;
        int vectors = rest > (TILE_VECTORS - 1) * VL ? TILE_VECTORS : (int)((rest + VL - 1) / VL);
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
