/* The integer scan (integers.h): the bounds across the rounds of a fit, and the pairs that they leave. */

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
INLINE w16i entries_of(w16 sq_dists, w16 inverses, int slot)
{
    w16 bounds = w_sqrt(w_max(sq_dists, w_set(0)));
    w16 units = w_min(w_mul(bounds, inverses), w_set(LARGEST_ENTRY));
    w16i entries = wi_left(wi_truncate(units), SLOT_BITS);
    return wi_or(entries, wi_set(slot));
}

/* Eight listed observations and n_vectors vectors of codes from v on, each without its own
 * code: hits, and with bounds the entry of the group. Only the first n_listed are not filling. */
INLINE void listed_tile(const vq_integers_book *integers, const vq_integers_rows *rows, const int32_t *list,
                        ptrdiff_t n_listed, ptrdiff_t v, int n_vectors, const vq_integers_bounds *bounds,
                        vq_integers_scratch *scratch)
{
    const ptrdiff_t step = 4 * integers->n_quads;
    const uint8_t *q[ROWS8];
    w16i sums[ROWS8][VQ_INTEGERS_SPAN];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        q[r] = rows->quads + list[r] * step;
    integers_products(q, integers, v, n_vectors, sums);
    f8 facts[VQ_INTEGERS_FACTS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        facts[r] = _mm256_loadu_ps(scratch->facts + list[r] * VQ_INTEGERS_FACTS);
    transpose8(facts);
    const f8 limits = facts[0], row_units = facts[1], row_errors = facts[2], row_norms = facts[3];
    const uint32_t listed = n_listed < ROWS8 ? (1u << n_listed) - 1 : 0xff;
    f8 nearest = _mm256_set1_ps(INFINITY);
#pragma GCC unroll 4
    for (int w = 0; w < n_vectors; w++) {
        const w16 half_norms = w_load(integers->half_norms + (v + w) * VECTOR);
        const w16i positions = wi_add(wi_lanes(), wi_set((int32_t)(v + w) * VECTOR));
        float units[ROWS8], highest[ROWS8];
        w16 scores[ROWS8];
        _mm256_storeu_ps(units, _mm256_mul_ps(row_units, _mm256_set1_ps(integers->units[v + w])));
#pragma GCC unroll 8
        for (int r = 0; r < ROWS8; r++) {
            w16m own = wi_equal(positions, wi_set(scratch->own[list[r]]));
            scores[r] = w_select(own, w_set(INFINITY), integers_score(sums[r][w], units[r], half_norms));
        }
        f8 lowest = w_lowest8(scores);
        f8 error = _mm256_fmadd_ps(row_errors, _mm256_set1_ps(integers->norms[v + w]),
                                   _mm256_mul_ps(row_norms, _mm256_set1_ps(integers->errors[v + w])));
        error = _mm256_mul_ps(error, _mm256_set1_ps(BOUND_UP));
        f8 most = _mm256_add_ps(limits, error);
        uint32_t hit = f8_less_equal(lowest, most) & listed;
        if (hit) { /* the bound is that of the others; the hits will lower it to their distances */
            float others[ROWS8];
            _mm256_storeu_ps(highest, most);
            _mm256_storeu_ps(others, lowest);
            for (; hit; hit &= hit - 1) {
                const int r = __builtin_ctz(hit);
                const w16m lanes = w_less_equal(scores[r], w_set(highest[r]));
                add_hits(integers, scratch, list[r], v + w, (int32_t)(v / n_vectors), wm_bits(lanes));
                others[r] = w_lowest(w_select(lanes, w_set(INFINITY), scores[r]));
            }
            lowest = _mm256_loadu_ps(others);
        }
        nearest = _mm256_min_ps(nearest, _mm256_sub_ps(lowest, error));
    }
    if (!bounds)
        return;
    const f8 heights = facts[4], inverses = facts[5];
    w16 sq_dists = w_from_low(_mm256_fmadd_ps(nearest, _mm256_set1_ps(2), heights));
    uint16_t entries[16];
    wi_store_u16(entries, entries_of(sq_dists, w_from_low(inverses), bounds->slot));
    uint16_t *lower = bounds->lower + v / n_vectors * bounds->row_step;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS8; r++)
        lower[list[r]] = entries[r];
}

/* |a| Q + |y| E of sixteen rows and a vector of codes. */
INLINE w16 score_error(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t v, ptrdiff_t i)
{
    return w_fma(w_load(rows->errors + i), w_set(integers->norms[v]),
                 w_mul(w_load(rows->norms + i), w_set(integers->errors[v])));
}

/* Fill up a list to a whole tile. */
INLINE void fill_list(int32_t *list, ptrdiff_t n)
{
    for (ptrdiff_t i = n; n && i < n + ROWS8 - 1; i++)
        list[i] = list[n - 1];
}

/* The lanes of sixteen rows from i on that are rows. */
INLINE uint32_t rows_from(ptrdiff_t i, ptrdiff_t n_rows) { return n_rows - i < 16 ? (1u << (n_rows - i)) - 1 : 0xffff; }

/* After scan_first and the own codes: the rows of a group that the error of the lowest scores
 * leaves in doubt. (Those past n_rows have scores of anything.) */
static ptrdiff_t list_second(const vq_integers_book *integers, const vq_integers_rows *rows, ptrdiff_t n_rows,
                             ptrdiff_t row_step, ptrdiff_t g, vq_integers_scratch *scratch)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < n_rows; i += 16) {
        uint32_t needed = 0;
        for (ptrdiff_t v = g * integers->span; v < (g + 1) * integers->span; v++) {
            w16 most = w_fma(score_error(integers, rows, v, i), w_set(BOUND_UP), w_load(scratch->limits + i));
            needed |= wm_bits(w_less_equal(w_load(scratch->minima + v * row_step + i), most));
        }
        n = w_append(scratch->list, n, i, needed & rows_from(i, n_rows));
    }
    fill_list(scratch->list, n);
    return n;
}

/* ---- bounds ----------------------------------------------------------------------- */

/* A computed distance rounded up, and by what packed and true distances may differ. */
INLINE float upper_of(const vq_code_book *book, const vq_integers_rows *rows, ptrdiff_t i, float dist)
{
    return dist * (1 + dist_rounding(book->n_features)) + dist_spare(book, rows, i);
}

/* The first entries, from the lowest scores of all vectors. */
static void first_bounds(const vq_code_book *book, const vq_integers_book *integers, const vq_integers_rows *rows,
                         ptrdiff_t n_rows, const vq_integers_bounds *bounds, vq_integers_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, span = integers->span;
    for (ptrdiff_t i = 0; i < row_step; i++) {
        /* Bounds beyond four times the distance to the own code are hardly ever of use. */
        float upper = i < n_rows ? upper_of(book, rows, i, scratch->own_dists[i]) : 0;
        float largest = 4 * upper > rows->norms[i] ? 4 * upper : rows->norms[i];
        int known = i < n_rows && largest > 0x1p-60f && largest < INFINITY;
        bounds->units[i] = known ? largest / LARGEST_ENTRY : 0;
        bounds->upper[i] = upper;
        bounds->dists[i] = i < n_rows ? scratch->own_dists[i] : -1;
        scratch->inverses[i] = known ? BOUND_DOWN / bounds->units[i] : 0;
    }
    for (ptrdiff_t g = 0; g < integers->n_vectors / span; g++)
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            w16 nearest = w_set(INFINITY);
            for (ptrdiff_t v = g * span; v < (g + 1) * span; v++) {
                nearest = w_min(nearest, w_fnma(score_error(integers, rows, v, i), w_set(BOUND_UP),
                                                w_load(scratch->minima + v * row_step + i)));
            }
            w16 sq_dists = w_fma(nearest, w_set(2), w_load(scratch->heights + i));
            wi_store_u16(bounds->lower + g * row_step + i,
                         entries_of(sq_dists, w_load(scratch->inverses + i), bounds->slot));
        }
}

/* Sixteen bounds as they hold now. Entries of a slot that gets a new meaning are rewritten. */
INLINE w16 bounds_now(uint16_t *lower, w16 units, w16 inverses, w16 ways, int slot, int reused)
{
    w16i entries = wi_load_u16(lower);
    w16 now = w_fms(w_from_int(wi_right(entries, SLOT_BITS)), units, w_lookup(ways, entries));
    if (reused) {
        w16m old = wi_equal_bits(entries, wi_set(VQ_INTEGERS_SLOTS - 1), wi_set(slot));
        if (wm_bits(old)) {
            w16 kept = w_mul(w_max(now, w_set(0)), inverses);
            w16i fresh = wi_or(wi_left(wi_truncate(kept), SLOT_BITS), wi_set(slot));
            wi_store_u16_where(lower, old, fresh);
        }
    }
    return now;
}

/* scratch->best = the nearest bound of each row. */
static void nearest_bounds(const vq_integers_book *integers, const vq_integers_bounds *bounds,
                           vq_integers_scratch *scratch)
{
    const ptrdiff_t row_step = bounds->row_step, n_groups = integers->n_vectors / integers->span;
    for (ptrdiff_t i = 0; i < row_step; i++)
        scratch->best[i] = INFINITY;
    for (ptrdiff_t g = 0; g < n_groups; g++) {
        const w16 ways = w_load(bounds->ways + g * VQ_INTEGERS_SLOTS);
        for (ptrdiff_t i = 0; i < row_step; i += 16) {
            w16 now = bounds_now(bounds->lower + g * row_step + i, w_load(bounds->units + i),
                                 w_load(scratch->inverses + i), ways, bounds->slot, bounds->reused);
            w_store(scratch->best + i, w_min(w_load(scratch->best + i), now));
        }
    }
}

/* The steps of the own codes are in scratch->minima. Old distances and upper bounds as they hold now;
 * scratch->own_dists is the known distance, or -1 where none is or, with lazy, the upper bound is
 * below the nearest bound. Lists the rows whose distance is needed and not known. */
static ptrdiff_t list_own(const vq_integers_bounds *bounds, ptrdiff_t n_rows, int lazy, vq_integers_scratch *scratch)
{
    const w16 none = w_set(-1), zero = w_set(0);
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < bounds->row_step; i += 16) {
        const w16 step = w_load(scratch->minima + i);
        const w16 upper = w_mul(w_add(w_load(bounds->upper + i), step), w_set(BOUND_UP));
        const w16 dists = w_select(w_less(zero, step), none, w_load(bounds->dists + i));
        uint32_t needed = rows_from(i, n_rows);
        if (lazy)
            needed &= ~wm_bits(w_less(upper, w_load(scratch->best + i)));
        w_store(bounds->upper + i, upper);
        w_store(bounds->dists + i, dists);
        w_store(scratch->own_dists + i, w_select(wm_from_bits(needed), dists, none));
        n = w_append(scratch->list, n, i, needed & ~wm_bits(w_less_equal(zero, dists)));
    }
    return n;
}

/* scratch->parts = where sixteen rows begin of which some may need something; with all, all do. Returns how many. */
static ptrdiff_t list_parts(ptrdiff_t row_step, int all, vq_integers_scratch *scratch)
{
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        scratch->parts[n] = (int32_t)i;
        n += all || wm_bits(w_less(w_set(-INFINITY), w_load(scratch->upper + i)));
    }
    return n;
}

/* The rows of the n_parts that the bounds do not exclude from a group. With renewed, the entries of
 * a slot that was in use hold for this round already; without, parts must be all. */
static ptrdiff_t list_bounded(const vq_integers_bounds *bounds, ptrdiff_t g, int renewed, ptrdiff_t n_parts,
                              vq_integers_scratch *scratch)
{
    const w16m this_slot = wm_from_bits((uint32_t)renewed << bounds->slot);
    const w16 ways = w_select(this_slot, w_set(0), w_load(bounds->ways + g * VQ_INTEGERS_SLOTS));
    const int reused = bounds->reused && !renewed;
    uint16_t *lower = bounds->lower + g * bounds->row_step;
    ptrdiff_t n = 0;
    for (ptrdiff_t p = 0; p < n_parts; p++) {
        const ptrdiff_t i = scratch->parts[p];
        w16 now =
            bounds_now(lower + i, w_load(bounds->units + i), w_load(scratch->inverses + i), ways, bounds->slot, reused);
        const uint32_t needed = 0xffff & ~wm_bits(w_less(w_load(scratch->upper + i), now));
        n = w_append(scratch->list, n, i, needed);
    }
    fill_list(scratch->list, n);
    return n;
}

/* scratch->inverses = 1 / the units of the bounds, rounded down. */
static void invert_units(const vq_integers_bounds *bounds, vq_integers_scratch *scratch)
{
    const float *units = bounds->units;
    float *inverses = scratch->inverses;
    for (ptrdiff_t i = 0; i < bounds->row_step; i++) {
        const float inverse = BOUND_DOWN / units[i];
        inverses[i] = units[i] > 0 ? inverse : 0;
    }
}

/* limits, units, errors, norms, heights and inverses of a row side by side. */
static void gather_facts(const vq_integers_rows *rows, ptrdiff_t row_step, vq_integers_scratch *scratch)
{
    for (ptrdiff_t i = 0; i < row_step; i += ROWS8) {
        f8 facts[VQ_INTEGERS_FACTS] = {
            _mm256_loadu_ps(scratch->limits + i),  _mm256_loadu_ps(rows->units + i),
            _mm256_loadu_ps(rows->errors + i),     _mm256_loadu_ps(rows->norms + i),
            _mm256_loadu_ps(scratch->heights + i), _mm256_loadu_ps(scratch->inverses + i),
        };
        transpose8(facts);
        for (int r = 0; r < ROWS8; r++)
            _mm256_storeu_ps(scratch->facts + (i + r) * VQ_INTEGERS_FACTS, facts[r]);
    }
}

/* From the distances to the own codes: what the filters compare with, and the bounds of those distances
 * unless bounds is NULL. Rows past n_rows and those that need nothing are left out; with nearest, so
 * are those below their nearest bound. */
static void finish_own(const vq_code_book *book, const vq_integers_rows *rows, ptrdiff_t row_step, const float *nearest,
                       const vq_integers_bounds *bounds, vq_integers_scratch *scratch)
{
    const w16 rounding = w_set(1 + dist_rounding(book->n_features)), half = w_set(0.5f);
    const w16 longest = w_set(book->longest), none = w_set(-INFINITY);
    for (ptrdiff_t i = 0; i < row_step; i += 16) {
        const w16 dist = w_load(scratch->own_dists + i), norm = w_load(rows->norms + i);
        const w16 sq_norm = w_load(rows->sq_norms + i), sq_longest = w_mul(longest, longest);
        w16 upper = w_fma(longest, w_set(DIST_SPARE), w_load(rows->spares + i));
        upper = w_fma(dist, rounding, upper);
        w16 sq_upper = w_mul(upper, upper);
        w16 spare = w_fma(norm, norm, w_add(sq_upper, sq_longest));
        spare = w_mul(spare, w_set(0x1p-21f));
        w16 band =
            w_fma(w_fma(w_set(book->band_square), norm, w_set(book->band_norm)), norm, w_set(book->band_constant));
        band = w_add(band, spare);
        w16m needed = w_less_equal(w_set(0), dist);
        if (bounds)
            w_store(bounds->upper + i, w_select(needed, upper, w_load(bounds->upper + i)));
        needed = wm_and(needed, w_less(norm, w_set(INFINITY)));
        w16 limit = w_fma(w_sub(sq_upper, sq_norm), half, band);
        w_store(scratch->heights + i, w_sub(sq_norm, band));
        w_store(scratch->limits + i, w_select(needed, limit, none));
        w_store(scratch->dists + i, dist);
        if (nearest)
            needed = wm_and_not(needed, w_less(upper, w_load(nearest + i)));
        w_store(scratch->upper + i, w_select(needed, upper, none));
    }
}

/* The first of the sixteens of rows from i on of which one may have another code than before, in codes. */
static ptrdiff_t next_changed(const vq_integers_scratch *scratch, const int32_t *codes, ptrdiff_t i, ptrdiff_t n_rows)
{
    for (; i + 16 <= n_rows; i += 16) {
        uint64_t doubt[2];
        memcpy(doubt, scratch->in_doubt + i, sizeof doubt);
        if ((doubt[0] | doubt[1]) || wm_bits(wi_equal(wi_load(scratch->codes + i), wi_load(codes + i))) != 0xffff)
            return i;
    }
    return i;
}

/* The bound of group g holds for one more code, at least so far from the observation. */
INLINE void lower_entry(const vq_integers_bounds *bounds, ptrdiff_t i, ptrdiff_t g, float dist,
                        const vq_integers_scratch *scratch)
{
    uint16_t *lower = bounds->lower + g * bounds->row_step + i;
    const int slot = *lower & (VQ_INTEGERS_SLOTS - 1);
    const float way = slot == bounds->slot ? 0 : bounds->ways[g * VQ_INTEGERS_SLOTS + slot];
    const float now = (float)(*lower >> SLOT_BITS) * bounds->units[i] - way;
    if (dist < now || slot != bounds->slot)
        *lower = entry_of(dist < now ? dist : now, scratch->inverses[i], bounds->slot);
}
