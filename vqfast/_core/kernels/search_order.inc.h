/* The kept of a query: selection and sorting. They are always in the order of their indices, so
 * that ties need no look at them: of equal keys the earlier ones are the smaller entries. */

INLINE ptrdiff_t count_up_to(const double *keys, ptrdiff_t n, double limit)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        count += keys[i] <= limit;
    return count;
}

/* A value that exactly the k smallest of n keys do not exceed, or else the k-th smallest key;
 * 0 < k <= n. By bisection: some ten vectorised counts where a partition mispredicts branches. */
static double kth_smallest(const double *keys, ptrdiff_t n, ptrdiff_t k)
{
    double low = keys[0], high = keys[0];
    for (ptrdiff_t i = 1; i < n; i++) {
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    if (high > DBL_MAX) {
        if (count_up_to(keys, n, DBL_MAX) < k)
            return high;
        high = DBL_MAX;
    }
    if (count_up_to(keys, n, low) >= k)
        return low;
    for (;;) { /* fewer than k keys are up to low, at least k up to high */
        const double middle = low / 2 + high / 2;
        if (!(middle > low && middle < high))
            return high;
        const ptrdiff_t count = count_up_to(keys, n, middle);
        if (count == k)
            return middle;
        if (count > k)
            high = middle;
        else
            low = middle;
    }
}

/* The entries with keys up to a limit, but of those equal to it only so many; returns how many. */
static ptrdiff_t compact(double *keys, int64_t *ids, ptrdiff_t n, double limit, ptrdiff_t n_equal)
{
    ptrdiff_t kept = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const int equal = keys[i] == limit;
        const double key = keys[i];
        const int64_t id = ids[i];
        keys[kept] = key, ids[kept] = id;
        kept += key < limit || (equal && n_equal > 0);
        n_equal -= equal;
    }
    return kept;
}

/* Cut n entries to the k smallest, in their order; returns a value that no other one is below. */
static double keep_smallest(double *keys, int64_t *ids, ptrdiff_t n, ptrdiff_t k)
{
    const double limit = kth_smallest(keys, n, k);
    ptrdiff_t below = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        below += keys[i] < limit;
    compact(keys, ids, n, limit, k - below);
    return limit;
}

/* Sort up to SORT_RUN entries into others: the place of one is the number of smaller ones. */
enum { SORT_RUN = 128 };

INLINE void sort_run(const double *keys, const int64_t *ids, ptrdiff_t n, double *to_keys, int64_t *to_ids)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const double key = keys[i];
        ptrdiff_t place = 0;
        for (ptrdiff_t j = 0; j < i; j++)
            place += keys[j] <= key;
        for (ptrdiff_t j = i + 1; j < n; j++)
            place += keys[j] < key;
        to_keys[place] = key, to_ids[place] = ids[i];
    }
}

/* Sorts n entries, equal ones in their order; those behind `spare` are scratch of the same size. */
static void sort_entries(double *keys, int64_t *ids, ptrdiff_t n, ptrdiff_t spare)
{
    double *from_keys = keys + spare, *to_keys = keys;
    int64_t *from_ids = ids + spare, *to_ids = ids;
    for (ptrdiff_t start = 0; start < n; start += SORT_RUN)
        sort_run(keys + start, ids + start, n - start < SORT_RUN ? n - start : SORT_RUN, from_keys + start,
                 from_ids + start);
    for (ptrdiff_t run = SORT_RUN; run < n; run *= 2) {
        for (ptrdiff_t start = 0; start < n; start += 2 * run) {
            const ptrdiff_t middle = start + run < n ? start + run : n, end = middle + run < n ? middle + run : n;
            ptrdiff_t a = start, b = middle;
            for (ptrdiff_t i = start; i < end; i++) {
                const ptrdiff_t next = b >= end || (a < middle && from_keys[a] <= from_keys[b]) ? a++ : b++;
                to_keys[i] = from_keys[next], to_ids[i] = from_ids[next];
            }
        }
        double *keys_before = from_keys;
        int64_t *ids_before = from_ids;
        from_keys = to_keys, from_ids = to_ids;
        to_keys = keys_before, to_ids = ids_before;
    }
    if (from_keys != keys) {
        memcpy(keys, from_keys, (size_t)n * sizeof *keys);
        memcpy(ids, from_ids, (size_t)n * sizeof *ids);
    }
}

static void select_sorted(vq_query *query, ptrdiff_t k, ptrdiff_t capacity)
{
    if (query->n_kept > k) {
        keep_smallest(query->keys, query->ids, query->n_kept, k);
        query->n_kept = k;
    }
    sort_entries(query->keys, query->ids, query->n_kept, capacity);
}
