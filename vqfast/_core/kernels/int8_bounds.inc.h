/* The int8 scan (int8.h): the bounds across the rounds of a fit, and the pairs that they leave. */

/* ---- entries ---------------------------------------------------------------------- */

/* An entry of the bounds, rounded down. */
INLINE uint16_t entry_of(float bound, float inverse, int slot)
{
    float units = bound * inverse;
    units = units > 0 ? units : 0;
    units = units < LARGEST_ENTRY ? units : LARGEST_ENTRY;
    return (uint16_t)((uint32_t)units << SLOT_BITS | (uint32_t)slot);
}

/* The same, of sixteen distances from their squares. */
INLINE __m256i entries_of(__m512 sq_dists, __m512 inverses, int slot)
{
    __m512 bounds = _mm512_sqrt_ps(_mm512_max_ps(sq_dists, _mm512_setzero_ps()));
    __m512 units = _mm512_min_ps(_mm512_mul_ps(bounds, inverses), _mm512_set1_ps(LARGEST_ENTRY));
    __m512i entries = _mm512_slli_epi32(_mm512_cvttps_epi32(units), SLOT_BITS);
    return _mm512_cvtepi32_epi16(_mm512_or_si512(entries, _mm512_set1_epi32(slot)));
}

/* Eight listed observations and n_vectors vectors of codes from v on, each without its own
 * code: hits, and with bounds the entry of the group. Only the first n_listed are not filling. */
INLINE void listed_tile(const vq_int8_book *bytes, const vq_int8_rows *rows, const int32_t *list, ptrdiff_t n_listed,
                        ptrdiff_t v, int n_vectors, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t step = 4 * bytes->n_quads;
    const uint8_t *q[ROWS8];
    __m512i sums[ROWS8][3];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        q[r] = rows->bytes + list[r] * step;
    int8_products(q, bytes, v, n_vectors, sums);
    __m256 facts[VQ_INT8_FACTS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        facts[r] = _mm256_loadu_ps(scratch->facts + list[r] * VQ_INT8_FACTS);
    transpose8(facts);
    const __m256 limits = facts[0], row_units = facts[1], row_errors = facts[2], row_norms = facts[3];
    const __mmask8 listed = (__mmask8)first_lanes(n_listed);
    __m256 nearest = _mm256_set1_ps(INFINITY);
#pragma GCC unroll 2
    for (int w = 0; w < n_vectors; w++) {
        const __m512 half_norms = _mm512_loadu_ps(bytes->half_norms + (v + w) * VECTOR);
        const __m512i positions =
            _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                             _mm512_set1_epi32((int32_t)(v + w) * VECTOR));
        float units[ROWS8], highest[ROWS8];
        __m512 scores[ROWS8];
        _mm256_storeu_ps(units, _mm256_mul_ps(row_units, _mm256_set1_ps(bytes->units[v + w])));
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++) {
            __mmask16 own = _mm512_cmpeq_epi32_mask(positions, _mm512_set1_epi32(scratch->own[list[r]]));
            scores[r] = _mm512_mask_mov_ps(int8_score(sums[r][w], units[r], half_norms), own, _mm512_set1_ps(INFINITY));
        }
        __m256 lowest = row_minima(scores);
        __m256 error = _mm256_fmadd_ps(row_errors, _mm256_set1_ps(bytes->norms[v + w]),
                                       _mm256_mul_ps(row_norms, _mm256_set1_ps(bytes->errors[v + w])));
        error = _mm256_mul_ps(error, _mm256_set1_ps(BOUND_UP));
        __m256 most = _mm256_add_ps(limits, error);
        uint32_t hit = _mm256_cmp_ps_mask(lowest, most, _CMP_LE_OQ) & listed;
        if (hit) { /* the bound is that of the others; the hits will lower it to their distances */
            float others[ROWS8];
            _mm256_storeu_ps(highest, most);
            _mm256_storeu_ps(others, lowest);
            for (; hit; hit &= hit - 1) {
                const int r = __builtin_ctz(hit);
                const __mmask16 lanes = _mm512_cmp_ps_mask(scores[r], _mm512_set1_ps(highest[r]), _CMP_LE_OQ);
                add_hits(bytes, scratch, list[r], v + w, lanes);
                others[r] = _mm512_reduce_min_ps(_mm512_mask_mov_ps(scores[r], lanes, _mm512_set1_ps(INFINITY)));
            }
            lowest = _mm256_loadu_ps(others);
        }
        nearest = _mm256_min_ps(nearest, _mm256_sub_ps(lowest, error));
    }
    if (!bounds)
        return;
    const __m256 heights = facts[4], inverses = facts[5];
    __m512 sq_dists = _mm512_castps256_ps512(_mm256_fmadd_ps(nearest, _mm256_set1_ps(2), heights));
    uint16_t entries[16];
    _mm256_storeu_si256((__m256i *)entries, entries_of(sq_dists, _mm512_castps256_ps512(inverses), bounds->slot));
    uint16_t *lower = bounds->lower + v / n_vectors * bounds->row_step;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        lower[list[r]] = entries[r];
}

/* |a| Q + |y| E of sixteen rows and a vector of codes. */
INLINE __m512 score_error(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t v, ptrdiff_t i)
{
    return _mm512_fmadd_ps(_mm512_loadu_ps(rows->errors + i), _mm512_set1_ps(bytes->norms[v]),
                           _mm512_mul_ps(_mm512_loadu_ps(rows->norms + i), _mm512_set1_ps(bytes->errors[v])));
}

/* Fill up a list to a whole tile. */
INLINE void fill_list(int32_t *list, ptrdiff_t n)
{
    for (ptrdiff_t i = n; n && i < n + ROWS8 - 1; i++)
        list[i] = list[n - 1];
}

INLINE ptrdiff_t append_rows(int32_t *list, ptrdiff_t n, ptrdiff_t i, __mmask16 needed)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(list + n,
                        _mm512_maskz_compress_epi32(needed, _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)i))));
    return n + __builtin_popcount(needed);
}

/* After scan_first and the own codes: the rows of a group that the error of the lowest scores
 * leaves in doubt. */
static ptrdiff_t list_second(const vq_int8_book *bytes, const vq_int8_rows *rows, ptrdiff_t row_step, ptrdiff_t g,
                             vq_int8_scratch *scratch)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        __mmask16 needed = 0;
        for (ptrdiff_t v = g * bytes->span; v < (g + 1) * bytes->span; v++) {
            __m512 most = _mm512_fmadd_ps(score_error(bytes, rows, v, i), _mm512_set1_ps(BOUND_UP),
                                          _mm512_loadu_ps(scratch->limits + i));
            needed |= _mm512_cmp_ps_mask(_mm512_loadu_ps(scratch->minima + v * row_step + i), most, _CMP_LE_OQ);
        }
        n = append_rows(scratch->list, n, i, needed);
    }
    fill_list(scratch->list, n);
    return n;
}

/* ---- bounds ----------------------------------------------------------------------- */

/* A computed distance rounded up, and by what packed and true distances may differ. */
INLINE float upper_of(const vq_code_book *book, float norm, float dist)
{
    return dist * (1 + dist_rounding(book->n_features)) + DIST_SPARE * (norm + book->longest);
}

/* The first entries, from the lowest scores of all vectors. */
static void first_bounds(const vq_code_book *book, const vq_int8_book *bytes, const vq_int8_rows *rows,
                         ptrdiff_t n_rows, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, span = bytes->span;
    for (ptrdiff_t i = 0; i < row_step; i++) {
        /* Bounds beyond four times the distance to the own code are hardly ever of use. */
        float upper = i < n_rows ? upper_of(book, rows->norms[i], scratch->own_dists[i]) : 0;
        float largest = 4 * upper > rows->norms[i] ? 4 * upper : rows->norms[i];
        int known = i < n_rows && largest > 0x1p-60f && largest < INFINITY;
        bounds->units[i] = known ? largest / LARGEST_ENTRY : 0;
        bounds->upper[i] = upper;
        scratch->inverses[i] = known ? BOUND_DOWN / bounds->units[i] : 0;
    }
    for (ptrdiff_t g = 0; g < bytes->n_vectors / span; g++)
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            __m512 nearest = _mm512_set1_ps(INFINITY);
            for (ptrdiff_t v = g * span; v < (g + 1) * span; v++) {
                nearest =
                    _mm512_min_ps(nearest, _mm512_fnmadd_ps(score_error(bytes, rows, v, i), _mm512_set1_ps(BOUND_UP),
                                                            _mm512_loadu_ps(scratch->minima + v * row_step + i)));
            }
            __m512 sq_dists = _mm512_fmadd_ps(nearest, _mm512_set1_ps(2), _mm512_loadu_ps(scratch->heights + i));
            _mm256_storeu_si256((__m256i *)(bounds->lower + g * row_step + i),
                                entries_of(sq_dists, _mm512_loadu_ps(scratch->inverses + i), bounds->slot));
        }
}

/* Sixteen bounds as they hold now. Entries of a slot that gets a new meaning are rewritten. */
INLINE __m512 bounds_now(uint16_t *lower, __m512 units, __m512 inverses, __m512 ways, int slot, int reused)
{
    __m512i entries = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)lower));
    __m512 now = _mm512_fmsub_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(entries, SLOT_BITS)), units,
                                 _mm512_permutexvar_ps(entries, ways));
    if (reused) {
        __mmask16 old = _mm512_cmpeq_epi32_mask(_mm512_and_si512(entries, _mm512_set1_epi32(VQ_INT8_SLOTS - 1)),
                                                _mm512_set1_epi32(slot));
        if (old) {
            __m512 kept = _mm512_mul_ps(_mm512_max_ps(now, _mm512_setzero_ps()), inverses);
            __m512i fresh =
                _mm512_or_si512(_mm512_slli_epi32(_mm512_cvttps_epi32(kept), SLOT_BITS), _mm512_set1_epi32(slot));
            _mm256_mask_storeu_epi16(lower, old, _mm512_cvtepi32_epi16(fresh));
        }
    }
    return now;
}

/* scratch->best = the nearest bound of each row. */
static void nearest_bounds(const vq_int8_book *bytes, const vq_int8_bounds *bounds, vq_int8_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, n_groups = bytes->n_vectors / bytes->span;
    for (ptrdiff_t i = 0; i < row_step; i++)
        scratch->best[i] = INFINITY;
    for (ptrdiff_t g = 0; g < n_groups; g++) {
        const __m512 ways = _mm512_loadu_ps(bounds->ways + g * VQ_INT8_SLOTS);
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            __m512 now = bounds_now(bounds->lower + g * row_step + i, _mm512_loadu_ps(bounds->units + i),
                                    _mm512_loadu_ps(scratch->inverses + i), ways, bounds->slot, bounds->reused);
            _mm512_storeu_ps(scratch->best + i, _mm512_min_ps(_mm512_loadu_ps(scratch->best + i), now));
        }
    }
}

/* The rows that the bounds do not exclude from a group. With renewed, the entries of a slot
 * that was in use hold for this round already. */
static ptrdiff_t list_bounded(const vq_int8_bounds *bounds, ptrdiff_t g, int renewed, vq_int8_scratch *scratch)
{
    const __mmask16 this_slot = (__mmask16)(renewed << bounds->slot);
    const __m512 ways =
        _mm512_mask_mov_ps(_mm512_loadu_ps(bounds->ways + g * VQ_INT8_SLOTS), this_slot, _mm512_setzero_ps());
    const int reused = bounds->reused && !renewed;
    uint16_t *lower = bounds->lower + g * bounds->row_step;
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < bounds->row_step; i += 16) {
        __m512 now = bounds_now(lower + i, _mm512_loadu_ps(bounds->units + i), _mm512_loadu_ps(scratch->inverses + i),
                                ways, bounds->slot, reused);
        __mmask16 needed = ~_mm512_cmp_ps_mask(_mm512_loadu_ps(scratch->upper + i), now, _CMP_LT_OQ);
        n = append_rows(scratch->list, n, i, needed);
    }
    fill_list(scratch->list, n);
    return n;
}

/* limits, units, errors, norms, heights and inverses of a row side by side. */
static void gather_facts(const vq_int8_rows *rows, ptrdiff_t row_step, vq_int8_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < row_step; i += ROWS8) {
        __m256 facts[VQ_INT8_FACTS] = {
            _mm256_loadu_ps(scratch->limits + i),  _mm256_loadu_ps(rows->units + i),
            _mm256_loadu_ps(rows->errors + i),     _mm256_loadu_ps(rows->norms + i),
            _mm256_loadu_ps(scratch->heights + i), _mm256_loadu_ps(scratch->inverses + i),
        };
        transpose8(facts);
        for (int r = 0; r < ROWS8; r++)
            _mm256_storeu_ps(scratch->facts + (i + r) * VQ_INT8_FACTS, facts[r]);
    }
}

/* From the distances to the own codes: what the filters compare with. Rows past n_rows and
 * those that need nothing are left out; with nearest, so are those below their nearest bound. */
static void finish_own(const vq_code_book *book, const vq_int8_rows *rows, ptrdiff_t row_step, const float *nearest,
                       vq_int8_scratch *scratch)
{
    const __m512 rounding = _mm512_set1_ps(1 + dist_rounding(book->n_features)), half = _mm512_set1_ps(0.5f);
    const __m512 longest = _mm512_set1_ps(book->longest), none = _mm512_set1_ps(-INFINITY);
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        const __m512 dist = _mm512_loadu_ps(scratch->own_dists + i), norm = _mm512_loadu_ps(rows->norms + i);
        const __m512 sq_norm = _mm512_loadu_ps(rows->sq_norms + i), sq_longest = _mm512_mul_ps(longest, longest);
        __m512 upper = _mm512_mul_ps(_mm512_add_ps(norm, longest), _mm512_set1_ps(DIST_SPARE));
        upper = _mm512_fmadd_ps(dist, rounding, upper);
        __m512 sq_upper = _mm512_mul_ps(upper, upper);
        __m512 spare = _mm512_fmadd_ps(norm, norm, _mm512_add_ps(sq_upper, sq_longest));
        spare = _mm512_mul_ps(spare, _mm512_set1_ps(0x1p-21f));
        __m512 band =
            _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_set1_ps(book->band_square), norm, _mm512_set1_ps(book->band_norm)),
                            norm, _mm512_set1_ps(book->band_constant));
        band = _mm512_add_ps(band, spare);
        __mmask16 needed = _mm512_cmp_ps_mask(dist, _mm512_setzero_ps(), _CMP_GE_OQ)
                           & _mm512_cmp_ps_mask(norm, _mm512_set1_ps(INFINITY), _CMP_LT_OQ);
        __m512 limit = _mm512_fmadd_ps(_mm512_sub_ps(sq_upper, sq_norm), half, band);
        _mm512_storeu_ps(scratch->heights + i, _mm512_sub_ps(sq_norm, band));
        _mm512_storeu_ps(scratch->limits + i, _mm512_mask_mov_ps(none, needed, limit));
        _mm512_storeu_ps(scratch->dists + i, dist);
        if (nearest)
            needed &= ~_mm512_cmp_ps_mask(upper, _mm512_loadu_ps(nearest + i), _CMP_LT_OQ);
        _mm512_storeu_ps(scratch->upper + i, _mm512_mask_mov_ps(none, needed, upper));
    }
}

/* The bound of a group holds for one more code, at least so far from the observation. */
INLINE void lower_entry(const vq_int8_book *bytes, const vq_int8_bounds *bounds, ptrdiff_t i, ptrdiff_t code,
                        float dist, const vq_int8_scratch *scratch)
{
    const ptrdiff_t g = bytes->positions[code] / (bytes->span * VECTOR);
    uint16_t *lower = bounds->lower + g * bounds->row_step + i;
    const int slot = *lower & (VQ_INT8_SLOTS - 1);
    const float way = slot == bounds->slot ? 0 : bounds->ways[g * VQ_INT8_SLOTS + slot];
    const float now = (float)(*lower >> SLOT_BITS) * bounds->units[i] - way;
    if (dist < now || slot != bounds->slot)
        *lower = entry_of(dist < now ? dist : now, scratch->inverses[i], bounds->slot);
}
