/* Decisions by the double formula of the contract. */

/* Against all code words, side by side in groups of VQ_EXACT_GROUP. */
static int32_t nearest_grouped(const double *x, const vq_code_book *book)
{
    const ptrdiff_t d = book->n_features;
    double best = INFINITY;
    int32_t code = 0;
    for (ptrdiff_t first = 0; first < book->n_codes; first += VQ_EXACT_GROUP) {
        const double *group = book->exact + first * d;
        vd8 sum = {0};
        for (ptrdiff_t r = 0; r < 8 && r < d; r++) {
            vd8 partial = {0};
            for (ptrdiff_t j = r; j < d; j += 8) {
                vd8 t = x[j] - load8_f64(group + j * VQ_EXACT_GROUP);
                partial += t * t;
            }
            sum += partial;
        }
        double sq_dists[VQ_EXACT_GROUP], lowest = INFINITY;
        memcpy(sq_dists, &sum, sizeof sum);
        for (int l = 0; l < VQ_EXACT_GROUP; l++)
            lowest = sq_dists[l] < lowest ? sq_dists[l] : lowest;
        if (lowest < best) {
            best = lowest;
            int l = 0;
            while (sq_dists[l] != lowest)
                l++;
            code = (int32_t)first + l;
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
