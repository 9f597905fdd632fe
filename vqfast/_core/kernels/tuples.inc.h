/* The search for the tuple of one observation, for one form of the energy.
 *
 * The including file defines ENERGY, MOST_ENERGY and FORM(name), and by the name of the form
 * row_of_sums, energy, first, prefetch and squared_error.
 */

/* Whether two candidates, each a tuple of the beam and one word more, are the same set. */
INLINE int FORM(same_set)(const int32_t *tuples, ptrdiff_t n_books, const int32_t *a, const int32_t *b)
{
    const int32_t *s = tuples + a[0] * n_books, *t = tuples + b[0] * n_books;
    for (ptrdiff_t m = 0; m < n_books; m++)
        if ((m == a[1] ? a[2] : s[m]) != (m == b[1] ? b[2] : t[m]))
            return 0;
    return 1;
}

/* Put a candidate (tuple, book, word) into the sorted list unless its set is there; the
 * earlier one first where energies are equal. Returns the new length. */
static ptrdiff_t FORM(insert)(const int32_t *tuples, ptrdiff_t n_books, int any_order, const int32_t *candidate,
                              ENERGY energy, ptrdiff_t n, ptrdiff_t most, int32_t *found, ENERGY *energies)
{
    ptrdiff_t at = n;
    for (ptrdiff_t c = 0; any_order && c < n; c++)
        if (FORM(same_set)(tuples, n_books, candidate, found + 3 * c))
            return n;
    while (at > 0 && energies[at - 1] > energy)
        at--;
    if (n == most)
        n--;
    memmove(energies + at + 1, energies + at, sizeof *energies * (size_t)(n - at));
    memmove(found + 3 * (at + 1), found + 3 * at, sizeof *found * 3 * (size_t)(n - at));
    energies[at] = energy;
    memcpy(found + 3 * at, candidate, sizeof *found * 3);
    return n + 1;
}

/* The words of one row of sums that belong into the list. */
INLINE ptrdiff_t FORM(scan)(const vq_sum_books *books, const ENERGY *sums, ENERGY energy, const int32_t *tuples,
                            int any_order, int32_t *candidate, ptrdiff_t n, ptrdiff_t most, int32_t *found,
                            ENERGY *energies)
{
    for (ptrdiff_t first = 0; first < books->n_codes; first += 16) {
        const ENERGY limit = n == most ? energies[n - 1] - energy : MOST_ENERGY;
        const ptrdiff_t end = books->n_codes - first < 16 ? books->n_codes - first : 16;
        uint32_t below = 0;
        for (int r = 0; r < 16; r++)
            below |= (uint32_t)(sums[first + r] < limit) << r;
        below &= 0xffffu >> (16 - end);
        for (; below; below &= below - 1) {
            const ptrdiff_t k = first + __builtin_ctz(below);
            if (n == most && !(energy + sums[k] < energies[n - 1]))
                continue;
            candidate[2] = (int32_t)k;
            n = FORM(insert)(tuples, books->n_books, any_order, candidate, energy + sums[k], n, most, found, energies);
        }
    }
    return n;
}

/* Beam search: into tuple the best set of one word of each book. */
static void FORM(beam)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch, int32_t *tuple)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t n_books = books->n_books;
    const int any_order = how->start == VQ_START_ANY_ORDER;
    int32_t *tuples = scratch->tuples, *next = tuples + how->beam * n_books, *swap;
    ENERGY *energies = (ENERGY *)scratch->energies, *next_energies = energies + how->beam, *swap_energies;
    ptrdiff_t n_tuples = 1;
    energies[0] = 0;
    for (ptrdiff_t m = 0; m < n_books; m++)
        tuples[m] = -1;
    for (ptrdiff_t step = 0; step < n_books; step++) {
        ptrdiff_t n = 0;
        for (ptrdiff_t b = 0; b < n_tuples; b++)
            for (ptrdiff_t m = any_order ? 0 : step; m < (any_order ? n_books : step + 1); m++) {
                int32_t candidate[3] = {(int32_t)b, (int32_t)m, 0};
                if (tuples[b * n_books + m] >= 0)
                    continue;
                ENERGY lowest = FORM(row_of_sums)(state, m, tuples + b * n_books, (ENERGY *)scratch->sums);
                if (n < how->beam || energies[b] + lowest < next_energies[n - 1])
                    n = FORM(scan)(books, (const ENERGY *)scratch->sums, energies[b], tuples, any_order, candidate, n,
                                   how->beam, scratch->found, next_energies);
            }
        if (n == 0) { /* no energy is a number: observations of a size that no formula can take */
            ptrdiff_t m = 0;
            while (tuples[m] >= 0)
                m++;
            memcpy(scratch->found, (int32_t[3]){0, (int32_t)m, 0}, sizeof *scratch->found * 3);
            next_energies[0] = energies[0];
            n = 1;
        }
        for (ptrdiff_t c = 0; c < n; c++) {
            const int32_t *found = scratch->found + 3 * c;
            memcpy(next + c * n_books, tuples + found[0] * n_books, sizeof *next * (size_t)n_books);
            next[c * n_books + found[1]] = found[2];
        }
        n_tuples = n;
        swap = tuples, tuples = next, next = swap;
        swap_energies = energies, energies = next_energies, next_energies = swap_energies;
    }
    memcpy(tuple, tuples, sizeof *tuple * (size_t)n_books);
}

/* Improve the words of a tuple in turn until nothing changes, or n_sweeps times. */
static void FORM(descend)(const sum_state *state, const vq_sum_search *how, vq_sum_scratch *scratch, int32_t *tuple)
{
    const ptrdiff_t n_books = state->books->n_books;
    int32_t *stale = scratch->order;
    ENERGY *sums = (ENERGY *)scratch->sums;
    for (ptrdiff_t m = 0; m < n_books; m++)
        stale[m] = 1;
    ptrdiff_t n_stale = n_books;
    for (ptrdiff_t sweep = 0; sweep < how->n_sweeps && n_stale; sweep++)
        for (ptrdiff_t m = 0; m < n_books && n_stale; m++) {
            if (!stale[m])
                continue;
            if (m + 1 < n_books)
                FORM(prefetch)(state, m + 1, tuple);
            const ENERGY lowest = FORM(row_of_sums)(state, m, tuple, sums);
            if (lowest < sums[tuple[m]]) {
                tuple[m] = FORM(first)(sums, lowest);
                for (ptrdiff_t l = 0; l < n_books; l++)
                    stale[l] = 1;
                n_stale = n_books;
            }
            stale[m] = 0;
            n_stale--;
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
    if (how->n_rounds > 0)
        FORM(descend)(state, how, scratch, best);
    best_energy = FORM(energy)(state, best);
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
        FORM(descend)(state, how, scratch, tuple);
        energy = FORM(energy)(state, tuple);
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
