/* Decisions by the double formula of the contract. */

/* Squared distances to the code words of up to 2 VDS vectors, side by side in columns. Called with a constant. */
INLINE void column_sq_dists(const double *x, ptrdiff_t d, const double *columns, ptrdiff_t step, int n_vectors,
                            vd *sums)
{
#pragma GCC unroll 8
    for (int v = 0; v < n_vectors; v++)
        sums[v] = vd_set(0);
    for (ptrdiff_t r = 0; r < 8 && r < d; r++) {
        vd partial[2 * VDS] = {{0}};
        for (ptrdiff_t j = r; j < d; j += 8)
#pragma GCC unroll 8
            for (int v = 0; v < n_vectors; v++) {
                const vd t = x[j] - vd_load(columns + j * step + v * VDL);
                partial[v] += t * t;
            }
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++)
            sums[v] += partial[v];
    }
}

/* Against all code words, side by side in groups of VQ_EXACT_GROUP; each lane keeps its lowest. */
static int32_t nearest_grouped(const double *x, const vq_code_book *book)
{
    const ptrdiff_t d = book->n_features;
    vd best[VDS], at[VDS]; /* and the first code word of its group */
    for (int v = 0; v < VDS; v++) {
        best[v] = vd_set(INFINITY);
        at[v] = vd_set(0);
    }
    for (ptrdiff_t first = 0; first < book->n_codes; first += VQ_EXACT_GROUP) {
        vd sums[VDS];
        column_sq_dists(x, d, book->exact + first * d, VQ_EXACT_GROUP, VDS, sums);
#pragma GCC unroll 4
        for (int v = 0; v < VDS; v++) {
            at[v] = vd_where_less(sums[v], best[v], vd_set((double)first), at[v]);
            best[v] = vd_where_less(sums[v], best[v], sums[v], best[v]);
        }
    }
    double sq_dists[VQ_EXACT_GROUP], firsts[VQ_EXACT_GROUP], lowest = INFINITY;
    int32_t code = 0;
    vd_store8(sq_dists, best);
    vd_store8(firsts, at);
    for (int l = 0; l < VQ_EXACT_GROUP; l++) {
        const int32_t candidate = (int32_t)firsts[l] + l;
        if (sq_dists[l] < lowest || (sq_dists[l] == lowest && lowest < INFINITY && candidate < code)) {
            lowest = sq_dists[l];
            code = candidate;
        }
    }
    return code;
}

static int32_t nearest_direct(const double *x, const vq_code_book *book)
{
    if (book->exact)
        return nearest_grouped(x, book);
    double best = INFINITY;
    int32_t code = 0;
    for (ptrdiff_t k = 0; k < book->n_codes; k++) {
        double sq_dist = sq_dist_f64(x, book->code_book + k * book->n_features, book->n_features);
        if (sq_dist < best) {
            best = sq_dist;
            code = (int32_t)k;
        }
    }
    return code;
}

/* Among the candidates; none, or more than were kept, means all code words. */
static int32_t nearest_candidate(const double *x, const vq_code_book *book, const vq_candidates *candidates)
{
    if (candidates->count == 0 || candidates->count > VQ_CANDIDATES)
        return nearest_direct(x, book);
    double best = INFINITY;
    int32_t code = 0;
    for (int32_t c = 0; c < candidates->count; c++) {
        const double *code_word = book->code_book + candidates->codes[c] * book->n_features;
        double sq_dist = sq_dist_f64(x, code_word, book->n_features);
        int lower = candidates->codes[c] < code;
        if (sq_dist < best || (lower && sq_dist == best && best < INFINITY)) {
            best = sq_dist;
            code = candidates->codes[c];
        }
    }
    return code;
}
