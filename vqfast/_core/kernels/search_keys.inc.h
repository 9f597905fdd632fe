/* The search among codes: keys of codes, what is kept of them, and how ties are resolved. */

INLINE ptrdiff_t chunk_code(const uint8_t *chunk, int element, ptrdiff_t m, ptrdiff_t i)
{
    if (element == VQ_CODE_PAIRS)
        return chunk[m / 2 * VQ_CHUNK + i] >> 4 * (m & 1) & 15;
    return element == VQ_CODE_BYTES ? chunk[m * VQ_CHUNK + i] : ((const uint16_t *)chunk)[m * VQ_CHUNK + i];
}

/* The norm of code i of a chunk, as its byte has it. */
INLINE double norm_of_byte(const vq_search *job, const uint8_t *chunk, ptrdiff_t i)
{
    return job->norm_low + chunk[(job->n_rows - 1) * VQ_CHUNK + i] * job->norm_step;
}

INLINE double code_key(const vq_search *job, const vq_search_codes *codes, const vq_query *query, int kind, int element,
                       ptrdiff_t c, ptrdiff_t i)
{
    const uint8_t *chunk = codes->chunks + c * job->chunk_bytes;
    const double *table = query->table;
    double key = table[chunk_code(chunk, element, 0, i)];
    for (ptrdiff_t m = 1; m < job->books.n_books; m++)
        key += (table += job->books.n_entries)[chunk_code(chunk, element, m, i)];
    if (kind == VQ_PRODUCT || !query->usable)
        return key;
    /* The byte lies with the codes; a look at the norm waits for memory. */
    const double by_byte = key + norm_of_byte(job, chunk, i);
    return codes->norms && by_byte <= query->threshold ? key + (double)codes->norms[c * VQ_CHUNK + i] : by_byte;
}

/* The rows of a code are on their way from memory afterwards. */
INLINE void prefetch_code(const vq_search *job, const vq_search_codes *codes, int64_t id)
{
    const ptrdiff_t row_bytes = job->chunk_bytes / job->n_rows;
    const uint8_t *row = codes->chunks + id / VQ_CHUNK * job->chunk_bytes + id % VQ_CHUNK * (row_bytes / VQ_CHUNK);
    for (ptrdiff_t r = 0; r < job->n_rows; r++)
        __builtin_prefetch(row + r * row_bytes);
}

/* Where the code words of a code begin, which are on their way from memory afterwards. */
INLINE void find_words(const vq_search *job, const vq_search_codes *codes, int64_t id, ptrdiff_t *starts)
{
    const vq_search_books *books = &job->books;
    const uint8_t *chunk = codes->chunks + id / VQ_CHUNK * job->chunk_bytes;
    const ptrdiff_t size = books->words_type == VQ_FLOAT32 ? 4 : 8, row_bytes = books->n_padded * size;
    for (ptrdiff_t m = 0; m < books->n_books; m++) {
        starts[m] = (m * books->n_codes + chunk_code(chunk, job->element, m, id % VQ_CHUNK)) * books->n_padded;
        for (ptrdiff_t line = 0; line < row_bytes; line += 64)
            __builtin_prefetch((const char *)books->words + starts[m] * size + line);
    }
}

/* Some columns of sum_sq_dist, from j on: the sums of all words stay in registers. */
INLINE void add_columns(const vq_search_books *books, const double *row, const ptrdiff_t *starts, int words_type,
                        ptrdiff_t j, int n_vectors, vd *totals)
{
    vd sums[8] = {{0}};
    for (ptrdiff_t m = 0; m < books->n_books; m++) {
        const ptrdiff_t start = starts[m] + j;
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++) {
            sums[v] += words_type == VQ_FLOAT32 ? vd_load_f32((const float *)books->words + start + v * VDL)
                                                : vd_load((const double *)books->words + start + v * VDL);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < n_vectors; v++) {
        const vd t = vd_load(row + j + v * VDL) - (books->rounded ? vd_round_f32(sums[v]) : sums[v]);
        totals[v % VDS] += t * t;
    }
}

/* sq_dist of the query to the sum of the code words at starts. */
INLINE double sum_sq_dist(const vq_search_books *books, const double *row, const ptrdiff_t *starts, int words_type)
{
    enum { MANY = 8, FEW = 16 / VDL };
    const ptrdiff_t n_columns = books->n_padded;
    vd totals[VDS] = {{0}};
    ptrdiff_t j = 0;
    for (; j + MANY * VDL <= n_columns; j += MANY * VDL)
        add_columns(books, row, starts, words_type, j, MANY, totals);
    for (; j < n_columns; j += FEW * VDL)
        add_columns(books, row, starts, words_type, j, FEW, totals);
    double partial[8], sq_dist = 0;
    memcpy(partial, totals, sizeof partial);
    for (int r = 0; r < 8; r++)
        sq_dist += partial[r];
    return sq_dist;
}

/* Turn the keys of a sum into sq_dists. */
static void resolve(const vq_search *job, const vq_search_codes *codes, vq_query *query)
{
    enum { AHEAD = 6 }; /* a code comes from the third-level cache or farther */
    const vq_search_books *books = &job->books;
    const ptrdiff_t n = query->n_kept;
    ptrdiff_t *starts = query->starts, *next = starts + books->n_books;
    for (ptrdiff_t i = query->n_exact; i < n && i < query->n_exact + AHEAD; i++)
        prefetch_code(job, codes, query->ids[i]);
    if (query->n_exact < n)
        find_words(job, codes, query->ids[query->n_exact], next);
    for (ptrdiff_t i = query->n_exact; i < n; i++) {
        ptrdiff_t *before = starts;
        starts = next;
        next = before;
        if (i + AHEAD < n)
            prefetch_code(job, codes, query->ids[i + AHEAD]);
        if (i + 1 < n)
            find_words(job, codes, query->ids[i + 1], next);
        query->keys[i] = books->words_type == VQ_FLOAT32 ? sum_sq_dist(books, query->row, starts, VQ_FLOAT32)
                                                         : sum_sq_dist(books, query->row, starts, VQ_FLOAT64);
    }
    query->n_exact = query->n_kept;
}

/* Drop what is more than two bands above the k-th smallest key; returns the highest key that may stay. */
static double drop_far(vq_query *query, ptrdiff_t k)
{
    const double highest = kth_smallest(query->keys, query->n_kept, k) + 2 * query->band;
    query->n_kept = compact(query->keys, query->ids, query->n_kept, highest, query->n_kept);
    return highest;
}

/* The buffer is full, and holds more than k: make room and lower the threshold. */
static void tighten(const vq_search *job, const vq_search_codes *codes, vq_query *query)
{
    double highest = INFINITY;
    if (job->books.kind == VQ_PRODUCT) {
        /* Codes come in the order of their indices: an equal one is behind. */
        highest = nextafter(keep_smallest(query->keys, query->ids, query->n_kept, job->k), -1);
        query->n_kept = job->k;
    } else {
        if (query->n_exact == 0 && query->usable)
            highest = drop_far(query, job->k);
        if (query->n_kept > job->k + (job->capacity - job->k) / 2) {
            resolve(job, codes, query);
            const double farthest = keep_smallest(query->keys, query->ids, query->n_kept, job->k);
            query->n_kept = query->n_exact = job->k;
            if (query->usable)
                highest = farthest * job->books.scale * job->books.scale - query->sq_norm + query->band;
        }
    }
    query->threshold = highest < query->threshold ? highest : query->threshold;
    if (job->filtered && query->usable)
        set_limit(query);
}

INLINE void keep_key(const vq_search *job, const vq_search_codes *codes, vq_query *query, double key, int64_t id)
{
    if (!(key <= query->threshold))
        return;
    query->keys[query->n_kept] = key;
    query->ids[query->n_kept++] = id;
    if (query->n_kept == job->capacity)
        tighten(job, codes, query);
}
