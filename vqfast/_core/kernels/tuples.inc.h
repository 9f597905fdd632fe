/* The search for the tuple of one observation, for one form of the energy.
 *
 * The including file defines ENERGY, MOST_ENERGY and FORM(name), and by the name of the form
 * row_of_sums, row_of_rest, energy, settled, above, below, first,
 * choose, prefetch and squared_error.
 */

/* Whether two candidates are the same set of words. */
INLINE int FORM(same_set)(const int32_t *tuples, ptrdiff_t n_books, const vq_sum_candidate *a,
                          const vq_sum_candidate *b)
{
    const int32_t *s = tuples + a->tuple * n_books, *t = tuples + b->tuple * n_books;
    for (ptrdiff_t m = 0; m < n_books; m++)
        if ((m == a->book ? a->word : s[m]) != (m == b->book ? b->word : t[m]))
            return 0;
    return 1;
}

/* Put a candidate into the sorted list unless its set is there; the earlier one first where
 * energies are equal. Returns the new length. */
INLINE ptrdiff_t FORM(insert)(const int32_t *tuples, ptrdiff_t n_books, int any_order, const vq_sum_candidate *new,
                              ENERGY energy, ptrdiff_t n, ptrdiff_t most, vq_sum_candidate *found, ENERGY *energies)
{
    for (ptrdiff_t c = 0; any_order && c < n; c++)
        if (FORM(same_set)(tuples, n_books, new, found + c))
            return n;
    ptrdiff_t at = n < most ? n++ : n - 1;
    for (; at > 0 && energies[at - 1] > energy; at--) {
        energies[at] = energies[at - 1];
        found[at] = found[at - 1];
    }
    energies[at] = energy;
    found[at] = *new;
    return n;
}

/* The words of one row of sums, all of one tuple and book, that belong into the list. */
INLINE ptrdiff_t FORM(scan)(const vq_sum_books *books, const ENERGY *sums, ENERGY energy, ENERGY most_energy,
                            const int32_t *tuples, int any_order, vq_sum_candidate *new, ptrdiff_t n, ptrdiff_t most,
                            vq_sum_candidate *found, ENERGY *energies)
{
    const ENERGY limit = (n == most ? energies[n - 1] : most_energy) - energy;
    for (ptrdiff_t first = 0; first < books->width; first += 32) {
        uint32_t below = FORM(below)(sums + first, limit) | FORM(below)(sums + first + 16, limit) << 16;
        for (; below; below &= below - 1) {
            const ptrdiff_t k = first + __builtin_ctz(below);
            if (k >= books->n_codes || (n == most && !(energy + sums[k] < energies[n - 1])))
                continue;
            new->word = (int32_t)k;
            n = FORM(insert)(tuples, books->n_books, any_order, new, energy + sums[k], n, most, found, energies);
        }
    }
    return n;
}

/* An energy that `most` words of the rows do not exceed: the lowest of every 16th word each
 * are that many, if there are enough rows. */
INLINE ENERGY FORM(bound)(const ENERGY *rows, ptrdiff_t n_rows, ptrdiff_t width, ptrdiff_t most)
{
    enum { LANES = 16 };
    ENERGY lowest[LANES], least[LANES];
    ptrdiff_t n = 0;
    if (most > LANES)
        return MOST_ENERGY;
    for (int r = 0; r < LANES; r++)
        lowest[r] = MOST_ENERGY;
    for (ptrdiff_t k = 0; k < n_rows * width; k += LANES)
        for (int r = 0; r < LANES; r++)
            lowest[r] = rows[k + r] < lowest[r] ? rows[k + r] : lowest[r];
    for (int r = 0; r < LANES; r++) { /* the `most` least of them, sorted */
        ptrdiff_t at = n < most ? n++ : most;
        for (; at > 0 && lowest[r] < least[at - 1]; at--)
            if (at < most)
                least[at] = least[at - 1];
        if (at < most)
            least[at] = lowest[r];
    }
    return least[most - 1];
}

/* The candidates that add a word of the given books to tuple b of the beam. */
INLINE ptrdiff_t FORM(grow)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch, ptrdiff_t b,
                            ptrdiff_t first, ptrdiff_t last, const int32_t *tuples, const ENERGY *energies,
                            ENERGY *most_energy, ptrdiff_t n, ENERGY *next_energies)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t n_books = books->n_books, width = books->width;
    const int any_order = how->start == VQ_START_ANY_ORDER;
    ENERGY *sums = (ENERGY *)scratch->sums;
    if (b == 0) { /* its best words bound what is worth looking at */
        ptrdiff_t n_rows = 0;
        for (ptrdiff_t m = first; m < last; m++)
            if (tuples[m] < 0)
                FORM(row_of_sums)(state, m, tuples, sums + n_rows++ * width);
        const ENERGY bound = FORM(bound)(sums, n_rows, width, how->beam);
        if (bound < MOST_ENERGY - 1 - energies[0])
            *most_energy = FORM(above)(bound + energies[0]);
    }
    for (ptrdiff_t m = first, row = 0; m < last; m++) {
        vq_sum_candidate new = {(int32_t)b, (int32_t)m, 0};
        if (tuples[b * n_books + m] >= 0)
            continue;
        ENERGY *own = b == 0 ? sums + row++ * width : sums;
        if (b > 0) {
            const ENERGY lowest = FORM(row_of_sums)(state, m, tuples + b * n_books, own);
            if (!(energies[b] + lowest < (n == how->beam ? next_energies[n - 1] : *most_energy)))
                continue;
        }
        n = FORM(scan)(books, own, energies[b], *most_energy, tuples, any_order, &new, n, how->beam, scratch->found,
                       next_energies);
    }
    return n;
}

/* Beam search: into tuple the best set of one word of each book. */
static void FORM(beam)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch, int32_t *tuple)
{
    const ptrdiff_t n_books = state->books->n_books;
    const int any_order = how->start == VQ_START_ANY_ORDER;
    int32_t *tuples = scratch->tuples, *next = tuples + how->beam * n_books, *swap;
    ENERGY *energies = (ENERGY *)scratch->energies, *next_energies = energies + how->beam, *swap_energies;
    ptrdiff_t n_tuples = 1;
    energies[0] = 0;
    for (ptrdiff_t m = 0; m < n_books; m++)
        tuples[m] = -1;
    for (ptrdiff_t step = 0; step < n_books; step++) {
        const ptrdiff_t first = any_order ? 0 : step, last = any_order ? n_books : step + 1;
        ENERGY most_energy = MOST_ENERGY;
        ptrdiff_t n = 0;
        for (ptrdiff_t b = 0; b < n_tuples; b++)
            n = FORM(grow)(state, how, scratch, b, first, last, tuples, energies, &most_energy, n, next_energies);
        if (n == 0) { /* no energy is a number: observations of a size that no formula can take */
            ptrdiff_t m = 0;
            while (tuples[m] >= 0)
                m++;
            scratch->found[0] = (vq_sum_candidate){0, (int32_t)m, 0};
            next_energies[0] = energies[0];
            n = 1;
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            const vq_sum_candidate found = scratch->found[c];
            for (ptrdiff_t m = 0; m < n_books; m++)
                next[c * n_books + m] = tuples[found.tuple * n_books + m];
            next[c * n_books + found.book] = found.word;
        }
        n_tuples = n;
        swap = tuples, tuples = next, next = swap;
        swap_energies = energies, energies = next_energies, next_energies = swap_energies;
    }
    memcpy(tuple, tuples, sizeof *tuple * (size_t)n_books);
}

/* Improve the words of a tuple in turn until nothing changes, or n_sweeps times; returns its
 * energy. Called with a constant n_books where there are kernels for it. */
INLINE ENERGY FORM(descend_books)(const sum_state *state, ptrdiff_t n_sweeps, vq_sum_scratch *scratch, int32_t *tuple,
                                  const ptrdiff_t n_books)
{
    int32_t *visited = scratch->order; /* the number of changes before the last visit of a book */
    int32_t n_changed = 1;
    ENERGY *sums = (ENERGY *)scratch->sums, *own = (ENERGY *)scratch->own;
    for (ptrdiff_t m = 0; m < n_books; m++) {
        visited[m] = 0;
        FORM(choose)(state, m, tuple[m]);
    }
    for (ptrdiff_t sweep = 0; sweep < n_sweeps; sweep++)
        for (ptrdiff_t m = 0; m < n_books; m++) {
            if (visited[m] == n_changed) /* all others were visited since: nothing is left to improve */
                return FORM(settled)(state, tuple, own);
            FORM(prefetch)(state, m + 1 < n_books ? m + 1 : 0, n_books);
            const ENERGY lowest = FORM(row_of_rest)(state, m, tuple, sums, n_books);
            if (lowest < sums[tuple[m]]) {
                tuple[m] = FORM(first)(sums, lowest);
                FORM(choose)(state, m, tuple[m]);
                n_changed++;
            }
            own[m] = lowest;
            visited[m] = n_changed;
        }
    return FORM(energy)(state, tuple);
}

static ENERGY FORM(descend)(const sum_state *state, ptrdiff_t n_sweeps, vq_sum_scratch *scratch, int32_t *tuple)
{
    switch (state->books->n_books) {
    case 4: return FORM(descend_books)(state, n_sweeps, scratch, tuple, 4);
    case 8: return FORM(descend_books)(state, n_sweeps, scratch, tuple, 8);
    case 16: return FORM(descend_books)(state, n_sweeps, scratch, tuple, 16);
    default: return FORM(descend_books)(state, n_sweeps, scratch, tuple, state->books->n_books);
    }
}

/* Put a tuple into the sorted list of the lowest energies unless that energy is there. */
static ptrdiff_t FORM(keep)(const int32_t *tuple, ENERGY energy, ptrdiff_t n_books, ptrdiff_t most, ptrdiff_t n,
                            int32_t *kept, ENERGY *energies)
{
    ptrdiff_t at = n;
    if (n == most && (most == 0 || !(energy < energies[n - 1])))
        return n;
    while (at > 0 && energies[at - 1] > energy)
        at--;
    if (at > 0 && energies[at - 1] == energy)
        return n;
    if (n == most)
        n--;
    memmove(energies + at + 1, energies + at, sizeof *energies * (size_t)(n - at));
    memmove(kept + (at + 1) * n_books, kept + at * n_books, sizeof *kept * (size_t)((n - at) * n_books));
    energies[at] = energy;
    memcpy(kept + at * n_books, tuple, sizeof *kept * (size_t)n_books);
    return n + 1;
}

/* Iterated local search from the best tuple so far; returns the number of tuples kept. */
static ptrdiff_t FORM(local_search)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch,
                                    int32_t *best)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t n_books = books->n_books;
    int32_t *tuple = scratch->tuples + 2 * how->beam * n_books, *order = scratch->order + n_books;
    ENERGY *kept_energies = (ENERGY *)scratch->kept_energies, best_energy, energy;
    ptrdiff_t n_kept = 0;
    uint64_t random = mixed(how->seed + 0x9e3779b97f4a7c15u);
    for (ptrdiff_t m = 0; m < n_books; m++)
        random = mixed(random ^ (uint64_t)best[m]) + 0x9e3779b97f4a7c15u;
    best_energy = how->n_rounds > 0 ? FORM(descend)(state, how->n_sweeps, scratch, best) : FORM(energy)(state, best);
    n_kept = FORM(keep)(best, best_energy, n_books, how->n_kept, n_kept, scratch->kept, kept_energies);
    for (ptrdiff_t round = 1; round < how->n_rounds; round++) {
        memcpy(tuple, best, sizeof *tuple * (size_t)n_books);
        for (ptrdiff_t m = 0; m < n_books; m++)
            order[m] = (int32_t)m;
        for (ptrdiff_t c = 0; c < how->n_changes; c++) {
            const ptrdiff_t at = c + random_below(&random, n_books - c);
            const int32_t m = order[at];
            order[at] = order[c];
            order[c] = m;
            tuple[m] = (int32_t)random_below(&random, books->n_codes);
        }
        energy = FORM(descend)(state, how->n_sweeps, scratch, tuple);
        n_kept = FORM(keep)(tuple, energy, n_books, how->n_kept, n_kept, scratch->kept, kept_energies);
        if (energy < best_energy) {
            best_energy = energy;
            memcpy(best, tuple, sizeof *best * (size_t)n_books);
        }
    }
    return n_kept;
}

static void FORM(search)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch, double sq_norm,
                         uint16_t *codes, uint16_t *kept, double *kept_energies)
{
    const ptrdiff_t n_books = state->books->n_books;
    int32_t *best = scratch->tuples + (2 * how->beam + 1) * n_books;
    if (how->start == VQ_START_GIVEN)
        for (ptrdiff_t m = 0; m < n_books; m++)
            best[m] = codes[m];
    else
        FORM(beam)(state, how, scratch, best);
    ptrdiff_t n_kept = 0;
    if (how->n_rounds > 0 || kept)
        n_kept = FORM(local_search)(state, how, scratch, best);
    for (ptrdiff_t m = 0; m < n_books; m++)
        codes[m] = (uint16_t)best[m];
    for (ptrdiff_t a = 0; kept && a < how->n_kept; a++) {
        const int there = a < n_kept;
        const ENERGY energy = ((const ENERGY *)scratch->kept_energies)[there ? a : 0];
        kept_energies[a] = there ? FORM(squared_error)(state, energy, sq_norm) : INFINITY;
        for (ptrdiff_t m = 0; m < n_books; m++)
            kept[a * n_books + m] = there ? (uint16_t)scratch->kept[a * n_books + m] : 0;
    }
}
