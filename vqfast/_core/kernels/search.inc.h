/* The search among codes: tables, thresholds, keys and what is kept. */
#include "search.h"

#include "search_filter.inc.h"

/* ---- packing -------------------------------------------------------------------------- */

INLINE double search_word(const void *words, int words_type, ptrdiff_t i)
{
    return words_type == VQ_FLOAT32 ? (double)((const float *)words)[i] : ((const double *)words)[i];
}

INLINE ptrdiff_t search_code(const void *codes, int element_size, ptrdiff_t i)
{
    return element_size == 1 ? ((const uint8_t *)codes)[i] : ((const uint16_t *)codes)[i];
}

static void pack_search_columns(const void *words, int words_type, ptrdiff_t n_codes, ptrdiff_t d, ptrdiff_t n_entries,
                         double *columns)
{
    for (ptrdiff_t j = 0; j < d; j++)
        for (ptrdiff_t k = 0; k < n_entries; k++)
            columns[j * n_entries + k] = search_word(words, words_type, (k < n_codes ? k : 0) * d + j);
}

static void pack_chunks(const void *codes, int element_size, const uint8_t *norm_bytes, ptrdiff_t n, ptrdiff_t n_books,
                        int element, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t last, uint8_t *chunks)
{
    const ptrdiff_t n_elements = element == VQ_PAIRS ? (n_books + 1) / 2 : n_books;
    const ptrdiff_t row_bytes = VQ_CHUNK * (element == VQ_WORDS ? 2 : 1);
    const ptrdiff_t chunk_bytes = (n_elements + (norm_bytes != NULL)) * row_bytes;
    for (ptrdiff_t c = first; c < last; c++) {
        uint8_t *chunk = chunks + c * chunk_bytes;
        memset(chunk, 0, (size_t)chunk_bytes);
        for (ptrdiff_t i = 0; i < VQ_CHUNK; i++) {
            const ptrdiff_t index = stride ? (i * stride + c) * n / (VQ_CHUNK * stride) : c * VQ_CHUNK + i;
            if (index >= n)
                break;
            for (ptrdiff_t m = 0; m < n_books; m++) {
                const ptrdiff_t code = search_code(codes, element_size, index * n_books + m);
                if (element == VQ_PAIRS)
                    chunk[m / 2 * VQ_CHUNK + i] |= (uint8_t)(code << 4 * (m & 1));
                else if (element == VQ_BYTES)
                    chunk[m * VQ_CHUNK + i] = (uint8_t)code;
                else
                    ((uint16_t *)chunk)[m * VQ_CHUNK + i] = (uint16_t)code;
            }
            if (norm_bytes)
                chunk[n_elements * VQ_CHUNK + i] = norm_bytes[index];
        }
    }
}

static void code_norms(const vq_search_books *books, const void *codes, int element_size, ptrdiff_t n, double *row,
                       double *sq_norms)
{
    const ptrdiff_t d = books->n_features, padded = books->n_padded;
    for (ptrdiff_t i = 0; i < n; i++) {
        memset(row, 0, (size_t)padded * sizeof *row);
        for (ptrdiff_t m = 0; m < books->n_books; m++) {
            const ptrdiff_t code = search_code(codes, element_size, i * books->n_books + m);
            const ptrdiff_t start = (m * books->n_codes + code) * padded;
            for (ptrdiff_t j = 0; j < padded; j += 8)
                *(vd8 *)(row + j) += books->words_type == VQ_FLOAT32 ? load8_f32((const float *)books->words + start + j)
                                                                     : load8_f64((const double *)books->words + start + j);
        }
        double sum = 0;
        for (ptrdiff_t j = 0; j < d; j++) {
            double t = (row[j] - books->mean[j]) * books->scale;
            sum += t * t;
        }
        sq_norms[i] = sum;
    }
}

/* ---- order ------------------------------------------------------------------------------
 *
 * The kept of a query are always in the order of their indices, so that ties need no look at
 * them: of equal keys the earlier ones are the smaller entries. */

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

/* ---- tables ------------------------------------------------------------------------------- */

/* sq_dist of the query's features to every word, some words side by side. */
static void product_tables(const vq_search_books *books, const double *row, double *table)
{
    enum { WORDS = VL >= 8 ? VL : 8 };
    const ptrdiff_t n_entries = books->n_entries;
    for (ptrdiff_t m = 0; m < books->n_books; m++, table += n_entries) {
        const ptrdiff_t start = books->splits[m], d = books->splits[m + 1] - start;
        const double *x = row + start;
        for (ptrdiff_t k = 0; k < n_entries; k += WORDS) {
            const double *columns = books->columns + start * n_entries + k;
            double sums[WORDS] = {0};
            for (ptrdiff_t r = 0; r < 8 && r < d; r++) {
                double partial[WORDS] = {0};
                for (ptrdiff_t j = r; j < d; j += 8)
                    for (int l = 0; l < WORDS; l++) {
                        const double t = x[j] - columns[j * n_entries + l];
                        partial[l] += t * t;
                    }
                for (int l = 0; l < WORDS; l++)
                    sums[l] += partial[l];
            }
            memcpy(table + k, sums, sizeof sums);
        }
    }
}

/* -2 <y, z> of up to SUM_QUERIES queries and all words of a book, in float. */
enum { SUM_QUERIES = 4, SUM_VECTORS = 4, SUM_VECTORS_ALONE = 8 };

INLINE void sum_tile(const float *const *rows, const float *columns, ptrdiff_t n_entries, ptrdiff_t d, int n_queries,
                     int n_vectors, double *const *tables)
{
    vf sums[SUM_QUERIES][SUM_VECTORS_ALONE];
#pragma GCC unroll 4
    for (int q = 0; q < n_queries; q++)
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++)
            sums[q][v] = vf_set(0);
    for (ptrdiff_t j = 0; j < d; j++)
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++) {
            const vf z = vf_load(columns + j * n_entries + v * VL);
#pragma GCC unroll 4
            for (int q = 0; q < n_queries; q++)
                sums[q][v] = vf_fma(vf_set(rows[q][j]), z, sums[q][v]);
        }
    for (int q = 0; q < n_queries; q++)
        for (int v = 0; v < n_vectors; v++) {
            float products[VL];
            vf_store(products, sums[q][v]);
            for (int l = 0; l < VL; l++)
                tables[q][v * VL + l] = -2.0 * (double)products[l];
        }
}

static void sum_tables(const vq_search_books *books, vq_query *queries, int n_queries)
{
    const ptrdiff_t n_entries = books->n_entries, d = books->n_features;
    const int together = n_queries == SUM_QUERIES, most = together ? SUM_VECTORS : SUM_VECTORS_ALONE;
    for (ptrdiff_t m = 0; m < books->n_books; m++)
        for (ptrdiff_t k = 0; k < n_entries;) {
            const float *columns = books->centred + m * d * n_entries + k;
            const int whole = k + most * VL <= n_entries;
            const float *rows[SUM_QUERIES];
            double *tables[SUM_QUERIES];
            for (int q = 0; q < n_queries; q++) {
                rows[q] = queries[q].centred;
                tables[q] = queries[q].table + m * n_entries + k;
            }
            if (together && whole)
                sum_tile(rows, columns, n_entries, d, SUM_QUERIES, SUM_VECTORS, tables);
            else if (whole)
                for (int q = 0; q < n_queries; q++)
                    sum_tile(rows + q, columns, n_entries, d, 1, SUM_VECTORS_ALONE, tables + q);
            else
                for (int q = 0; q < n_queries; q++)
                    sum_tile(rows + q, columns, n_entries, d, 1, 1, tables + q);
            k += whole ? most * VL : VL;
        }
}

/* A query as doubles, rotated where the code books are. */
static void search_row(const vq_search_books *books, const vq_obs *obs, int obs_type, ptrdiff_t i, double *scratch,
                       double *row)
{
    const ptrdiff_t d = books->n_features;
    double *x = books->rotation ? scratch : row;
    if (obs_type == VQ_FLOAT32)
        widen_f32(obs, i, d, x);
    else
        widen_f64(obs, i, d, x);
    if (books->rotation) {
        memset(row, 0, (size_t)d * sizeof *row);
        for (ptrdiff_t j = 0; j < d; j++) {
            const double *weights = books->rotation + j * d;
            for (ptrdiff_t l = 0; l < d; l++)
                row[l] += x[j] * weights[l];
        }
    }
    for (ptrdiff_t j = d; j < books->n_padded; j++)
        row[j] = 0;
}

/* y, |y|^2 and the band of a query for a sum; not usable where the sizes are too unlike. */
static void centre_query(const vq_search *job, vq_query *query)
{
    const vq_search_books *books = &job->books;
    const double d = (double)books->n_features, mean = books->mean_length * books->scale;
    double sum = 0;
    for (ptrdiff_t j = 0; j < books->n_features; j++) {
        const double y = (query->row[j] - books->mean[j]) * books->scale;
        query->centred[j] = (float)y;
        sum += y * y;
    }
    const double length = sqrt(sum), all = length + books->longest + mean;
    query->sq_norm = sum;
    query->band = 0x1p-23 * ((d + 16) * length * books->longest + 4 * books->longest * books->longest
                             + 2 * (length + books->longest) * mean)
                  + 0x1p-40 * all * all + job->norm_band;
    /* Products below 2^-100 could underflow, and above 2^100 overflow; both in units of C in [1, 2). */
    query->usable = sum < 0x1p100 && (sum > 0x1p-100 || sum == 0) && query->band < 0x1p100 && d < 0x1p20;
}

INLINE double row_minimum(const double *table, ptrdiff_t n, double *largest)
{
    double low[8], high[8];
    for (int l = 0; l < 8; l++)
        low[l] = INFINITY, high[l] = 0;
    for (ptrdiff_t k = 0; k < n; k += 8)
        for (int l = 0; l < 8; l++) {
            const double t = table[k + l], size = fabs(t);
            low[l] = t < low[l] ? t : low[l];
            high[l] = size > high[l] ? size : high[l];
        }
    for (int l = 1; l < 8; l++) {
        low[0] = low[l] < low[0] ? low[l] : low[0];
        high[0] = high[l] > high[0] ? high[l] : high[0];
    }
    *largest = high[0];
    return low[0];
}

/* Minima and sizes of the tables, for the filter. */
static void measure_tables(const vq_search *job, vq_query *query)
{
    const vq_search_books *books = &job->books;
    double base = 0, size = 0;
    for (ptrdiff_t m = 0; m < books->n_books; m++) {
        double largest;
        query->lowest[m] = row_minimum(query->table + m * books->n_entries, books->n_entries, &largest);
        base += query->lowest[m];
        size += largest;
    }
    if (books->kind == VQ_SUM) {
        base += job->norm_low;
        size += fabs(job->norm_low) + 256 * job->norm_step;
    }
    query->base = base;
    query->size = size;
    query->usable = size < 1e290;
}

/* Rows, tables and the empty buffers of a group. */
static void begin_queries(const vq_search *job, const vq_obs *obs, int obs_type, ptrdiff_t n_queries,
                          vq_search_scratch *scratch)
{
    const vq_search_books *books = &job->books;
    for (ptrdiff_t i = 0; i < n_queries; i++) {
        vq_query *query = &scratch->queries[i];
        search_row(books, obs, obs_type, i, scratch->row, query->row);
        query->n_kept = query->n_exact = 0;
        query->sq_norm = query->band = query->delta = query->factor = 0;
        query->usable = 1;
        query->threshold = INFINITY;
        if (books->kind == VQ_PRODUCT)
            product_tables(books, query->row, query->table);
        else
            centre_query(job, query);
    }
    if (books->kind == VQ_SUM)
        for (ptrdiff_t i = 0; i < n_queries; i += SUM_QUERIES)
            sum_tables(books, scratch->queries + i, (int)(n_queries - i < SUM_QUERIES ? n_queries - i : SUM_QUERIES));
    for (ptrdiff_t i = 0; i < n_queries; i++) {
        vq_query *query = &scratch->queries[i];
        if (!query->usable) /* a sum's: all codes are compared by sq_dist */
            memset(query->table, 0, (size_t)(books->n_books * books->n_entries) * sizeof *query->table);
        else if (job->filtered)
            measure_tables(job, query);
    }
}

/* ---- the bytes of the filter ---------------------------------------------------------------- */

INLINE uint8_t byte_of(double steps) { return (uint8_t)(int32_t)(steps < 255 ? steps : 255); }

/* e of one table. */
INLINE void byte_row(const double *table, ptrdiff_t n, double lowest, double factor, uint8_t *bytes)
{
    n = n < 256 ? n : 256;
    for (ptrdiff_t k = 0; k < n; k++)
        bytes[k] = byte_of((table[k] - lowest) * factor);
    memset(bytes + n, 255, (size_t)(256 - n));
}

/* e of the pairs of two tables of sixteen entries; the second may be missing. */
INLINE void pair_row(const double *low, const double *high, const double *lowest, double factor, uint8_t *bytes)
{
    for (int h = 0; h < 16; h++) {
        const double of_high = high ? (high[h] - lowest[1]) * factor : 0;
        for (int l = 0; l < 16; l++)
            bytes[h * 16 + l] = byte_of((low[l] - lowest[0]) * factor + of_high);
    }
}

static void set_limit(vq_query *query)
{
    const double limit = floor((query->threshold - query->base + query->delta) * query->factor);
    query->limit = limit < 0 ? 0 : limit < 254 ? (int)limit : 254;
}

/* The bytes for the threshold; with split, those of filter_pairs. */
static void quantize(const vq_search *job, vq_query *query, int split)
{
    const vq_search_books *books = &job->books;
    const ptrdiff_t step = books->n_entries;
    double width = query->threshold - query->base;
    query->delta = 0x1p-43 * (fabs(query->threshold) + query->size);
    width = width + query->delta > 4 * query->delta ? width + query->delta : 4 * query->delta;
    width = width > 1e-290 ? width : 1e-290;
    query->factor = 254 / width;
    set_limit(query);
    uint8_t *bytes = query->bytes;
    const double *table = query->table;
    if (job->element == VQ_BYTES) {
        for (ptrdiff_t m = 0; m < books->n_books; m++, bytes += 256)
            byte_row(table + m * step, step, query->lowest[m], query->factor, bytes);
    } else {
        for (ptrdiff_t m = 0; m < books->n_books; m += 2, bytes += 256) {
            const double *low = table + m * step, *high = m + 1 < books->n_books ? low + step : NULL;
            if (!split) {
                pair_row(low, high, query->lowest + m, query->factor, bytes);
                continue;
            }
            memset(bytes, 0, 256);
            for (int l = 0; l < 16; l++)
                bytes[l] = byte_of((low[l] - query->lowest[m]) * query->factor);
            for (int l = 0; high && l < 16; l++)
                bytes[128 + l] = byte_of((high[l] - query->lowest[m + 1]) * query->factor);
        }
    }
    if (books->kind == VQ_SUM)
        for (int k = 0; k < 256; k++)
            bytes[k] = byte_of(k * job->norm_step * query->factor);
}

/* ---- keys ------------------------------------------------------------------------------------- */

INLINE ptrdiff_t chunk_code(const uint8_t *chunk, int element, ptrdiff_t m, ptrdiff_t i)
{
    if (element == VQ_PAIRS)
        return chunk[m / 2 * VQ_CHUNK + i] >> 4 * (m & 1) & 15;
    return element == VQ_BYTES ? chunk[m * VQ_CHUNK + i] : ((const uint16_t *)chunk)[m * VQ_CHUNK + i];
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

/* sq_dist of the query to the sum of the code words at starts. */
INLINE double sum_sq_dist(const vq_search_books *books, const double *row, const ptrdiff_t *starts, int words_type)
{
    const ptrdiff_t n_books = books->n_books;
    vd8 total = {0};
    for (ptrdiff_t j = 0; j < books->n_padded; j += 16) {
        vd8 low = {0}, high = {0};
        for (ptrdiff_t m = 0; m < n_books; m++) {
            if (words_type == VQ_FLOAT32) {
                low += load8_f32((const float *)books->words + starts[m] + j);
                high += load8_f32((const float *)books->words + starts[m] + j + 8);
            } else {
                low += load8_f64((const double *)books->words + starts[m] + j);
                high += load8_f64((const double *)books->words + starts[m] + j + 8);
            }
        }
        if (books->rounded) {
            low = round8_f32(low);
            high = round8_f32(high);
        }
        low = load8_f64(row + j) - low;
        high = load8_f64(row + j + 8) - high;
        total += low * low;
        total += high * high;
    }
    double partial[8], sq_dist = 0;
    memcpy(partial, &total, sizeof total);
    for (int r = 0; r < 8; r++)
        sq_dist += partial[r];
    return sq_dist;
}

/* Turn the keys of a sum into sq_dists. */
static void resolve(const vq_search *job, const vq_search_codes *codes, vq_query *query)
{
    const vq_search_books *books = &job->books;
    ptrdiff_t *starts = query->starts, *next = starts + books->n_books;
    if (query->n_exact < query->n_kept)
        find_words(job, codes, query->ids[query->n_exact], next);
    for (ptrdiff_t i = query->n_exact; i < query->n_kept; i++) {
        ptrdiff_t *before = starts;
        starts = next;
        next = before;
        if (i + 1 < query->n_kept)
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

/* ---- passes over the codes ---------------------------------------------------------------------- */

/* Keys of all codes of a chunk. */
INLINE void chunk_keys(const vq_search *job, const vq_search_codes *codes, const vq_query *query, int element,
                       ptrdiff_t c, double *keys)
{
    enum { AT_ONCE = 8 };
    const uint8_t *chunk = codes->chunks + c * job->chunk_bytes;
    const ptrdiff_t n_books = job->books.n_books, n_entries = job->books.n_entries;
    for (ptrdiff_t i = 0; i < VQ_CHUNK; i += AT_ONCE) {
        double sums[AT_ONCE];
        const double *table = query->table;
#pragma GCC unroll 8
        for (int b = 0; b < AT_ONCE; b++)
            sums[b] = table[chunk_code(chunk, element, 0, i + b)];
        for (ptrdiff_t m = 1; m < n_books; m++) {
            table += n_entries;
#pragma GCC unroll 8
            for (int b = 0; b < AT_ONCE; b++)
                sums[b] += table[chunk_code(chunk, element, m, i + b)];
        }
#pragma GCC unroll 8
        for (int b = 0; b < AT_ONCE; b++)
            keys[i + b] = sums[b];
    }
    if (job->books.kind == VQ_SUM && query->usable) {
        const ptrdiff_t n = codes->n - c * VQ_CHUNK < VQ_CHUNK ? codes->n - c * VQ_CHUNK : VQ_CHUNK;
        for (ptrdiff_t i = 0; i < n; i++)
            keys[i] += codes->norms ? (double)codes->norms[c * VQ_CHUNK + i] : norm_of_byte(job, chunk, i);
    }
}

static void plain_keys(const vq_search *job, const vq_search_codes *codes, const vq_query *query, ptrdiff_t c,
                       double *keys)
{
    if (job->element == VQ_PAIRS)
        chunk_keys(job, codes, query, VQ_PAIRS, c, keys);
    else if (job->element == VQ_BYTES)
        chunk_keys(job, codes, query, VQ_BYTES, c, keys);
    else
        chunk_keys(job, codes, query, VQ_WORDS, c, keys);
}

static void search_plain(const vq_search *job, const vq_search_codes *codes, vq_query *query, ptrdiff_t first,
                         ptrdiff_t last)
{
    enum { AT_ONCE = 32 };
    double keys[VQ_CHUNK];
    for (ptrdiff_t c = first; c < last; c++) {
        const ptrdiff_t start = c * VQ_CHUNK, n = codes->n - start < VQ_CHUNK ? codes->n - start : VQ_CHUNK;
        plain_keys(job, codes, query, c, keys);
        for (ptrdiff_t i = 0; i < n; i += AT_ONCE)
            if (count_up_to(keys + i, AT_ONCE, query->threshold))
                for (ptrdiff_t b = i; b < i + AT_ONCE && b < n; b++)
                    keep_key(job, codes, query, keys[b], start + b);
    }
}

/* The keys of listed codes, and those that are kept. Nothing branches on a key but a full buffer. */
INLINE void take_listed(const vq_search *job, const vq_search_codes *codes, vq_query *query, int kind, int element,
                        const int64_t *ids, ptrdiff_t n)
{
    for (ptrdiff_t l = 0; l < n; l++) {
        const double key = code_key(job, codes, query, kind, element, (ptrdiff_t)((uint64_t)ids[l] / VQ_CHUNK),
                                    (ptrdiff_t)((uint64_t)ids[l] % VQ_CHUNK));
        query->keys[query->n_kept] = key;
        query->ids[query->n_kept] = ids[l];
        query->n_kept += key <= query->threshold;
        if (query->n_kept == job->capacity)
            tighten(job, codes, query);
    }
}

INLINE void take_hits(const vq_search *job, const vq_search_codes *codes, vq_query *query, int kind, int element,
                      const vq_chunk_hit *hits, ptrdiff_t n_hits)
{
    enum { LISTED = 64 };
    int64_t ids[LISTED + 64];
    ptrdiff_t n = 0;
    for (ptrdiff_t h = 0; h < n_hits; h++) {
        unsigned words = 0; /* with a code that passes: mostly one of eight */
        for (int w = 0; w < VQ_CHUNK / 64; w++)
            words |= (unsigned)(hits[h].masks[w] != 0) << w;
        for (; words; words &= words - 1) {
            const int w = __builtin_ctz(words);
            const int64_t first = hits[h].chunk * VQ_CHUNK + w * 64;
            for (uint64_t mask = hits[h].masks[w]; mask; mask &= mask - 1)
                ids[n++] = first + __builtin_ctzll(mask);
            while (n > 0 && ids[n - 1] >= codes->n) /* what fills the last chunk */
                n--;
            if (n >= LISTED) {
                take_listed(job, codes, query, kind, element, ids, n);
                n = 0;
            }
        }
    }
    take_listed(job, codes, query, kind, element, ids, n);
}

/* The filter for one query after another, tile by tile. */
static void search_each(const vq_search *job, const vq_search_codes *codes, vq_query *queries, ptrdiff_t n_queries,
                        ptrdiff_t first, ptrdiff_t last, vq_chunk_hit *hits)
{
    for (ptrdiff_t c = first; c < last; c += VQ_TILE) {
        const ptrdiff_t end = c + VQ_TILE < last ? c + VQ_TILE : last;
        for (vq_query *query = queries; query < queries + n_queries; query++) {
            if (!query->usable || query->threshold == INFINITY) {
                search_plain(job, codes, query, c, end);
                continue;
            }
            ptrdiff_t n = 0;
#ifdef FILTER_BYTES
            n = filter_bytes(query->bytes, job->n_rows, query->limit, codes->chunks, c, end, hits);
#elif defined(FILTER_PAIRS)
            n = filter_pairs(query->bytes, job->n_rows, query->limit, codes->chunks, c, end, hits);
#endif
            if (job->books.kind == VQ_SUM && job->element == VQ_BYTES)
                take_hits(job, codes, query, VQ_SUM, VQ_BYTES, hits, n);
            else if (job->books.kind == VQ_SUM)
                take_hits(job, codes, query, VQ_SUM, VQ_PAIRS, hits, n);
            else if (job->element == VQ_BYTES)
                take_hits(job, codes, query, VQ_PRODUCT, VQ_BYTES, hits, n);
            else
                take_hits(job, codes, query, VQ_PRODUCT, VQ_PAIRS, hits, n);
        }
    }
}

/* The bytes of a group side by side; where a query is missing or not usable nothing passes. */
static void interleave(const vq_search *job, const vq_query *queries, ptrdiff_t n_queries, uint8_t *lanes)
{
    memset(lanes, 255, (size_t)(job->n_rows * 256 * LANES));
    for (ptrdiff_t q = 0; q < n_queries; q++)
        if (queries[q].usable && queries[q].threshold < INFINITY)
            for (ptrdiff_t k = 0; k < job->n_rows * 256; k++)
                lanes[k * LANES + q] = queries[q].bytes[k];
}

/* The filter for all queries of a group at once. */
static void search_lanes(const vq_search *job, const vq_search_codes *codes, vq_query *queries, ptrdiff_t n_queries,
                         ptrdiff_t first, ptrdiff_t last, vq_search_scratch *scratch)
{
    uint8_t limits[LANES] = {0};
    vq_lane_hit *hits = scratch->lane_hits;
    interleave(job, queries, n_queries, scratch->lanes);
    for (ptrdiff_t c = first; c < last; c++) {
        for (ptrdiff_t q = 0; q < n_queries; q++)
            if (queries[q].usable && queries[q].threshold < INFINITY)
                limits[q] = (uint8_t)queries[q].limit;
            else
                search_plain(job, codes, &queries[q], c, c + 1);
        const ptrdiff_t n = filter_lanes(scratch->lanes, job->n_rows, limits, codes->chunks + c * job->chunk_bytes, hits);
        for (ptrdiff_t h = 0; h < n; h++) {
            const ptrdiff_t id = c * VQ_CHUNK + hits[h].index;
            if (id >= codes->n)
                break;
            for (uint64_t mask = hits[h].queries; mask; mask &= mask - 1) {
                vq_query *query = &queries[__builtin_ctzll(mask)];
                keep_key(job, codes, query, code_key(job, codes, query, job->books.kind, job->element, c, hits[h].index),
                         id);
            }
        }
    }
}

/* ---- a search ------------------------------------------------------------------------------------- */

/* How the codes are passed: each query alone by the plain formula or the filter, or in lanes. */
enum { PASS_PLAIN, PASS_EACH, PASS_LANES };

static int choose_pass(const vq_search *job, ptrdiff_t n_queries)
{
    if (!job->filtered)
        return PASS_PLAIN;
#if defined(FILTER_BYTES)
    (void)n_queries;
    return PASS_EACH;
#else
    if (n_queries > 1)
        return PASS_LANES;
#ifdef FILTER_PAIRS
    if (job->element == VQ_PAIRS && job->books.kind == VQ_PRODUCT)
        return PASS_EACH;
#endif
    return PASS_PLAIN;
#endif
}

static void pass_codes(const vq_search *job, const vq_search_codes *codes, int pass, ptrdiff_t n_queries, ptrdiff_t first,
                       ptrdiff_t last, vq_search_scratch *scratch)
{
    int split = 0;
#ifdef FILTER_PAIRS
    split = pass == PASS_EACH;
#endif
    if (pass == PASS_PLAIN) {
        for (ptrdiff_t q = 0; q < n_queries; q++)
            search_plain(job, codes, &scratch->queries[q], first, last);
        return;
    }
    for (ptrdiff_t q = 0; q < n_queries; q++)
        if (scratch->queries[q].usable && scratch->queries[q].threshold < INFINITY)
            quantize(job, &scratch->queries[q], split);
    if (pass == PASS_EACH)
        search_each(job, codes, scratch->queries, n_queries, first, last, scratch->chunk_hits);
    else
        search_lanes(job, codes, scratch->queries, n_queries, first, last, scratch);
}

/* The rank-th smallest key of a chunk of the sample. */
static double coarse_threshold(const vq_search *job, const vq_query *query, ptrdiff_t rank)
{
    double keys[VQ_CHUNK];
    plain_keys(job, &job->sample, query, 0, keys);
    return kth_smallest(keys, VQ_CHUNK, rank) + 2 * query->band;
}

/* Thresholds that k of all codes are expected to pass, with some to spare; returns whether
 * there are any. A chunk of the sample gives one that more than enough pass; of the whole
 * sample those that pass it are looked at. */
static int guess_thresholds(const vq_search *job, int pass, ptrdiff_t n_queries, int attempt,
                            vq_search_scratch *scratch)
{
    const double expected = (double)job->k * (double)job->sample.n / (double)job->codes.n;
    const ptrdiff_t r = (ptrdiff_t)ceil(expected + 2 * sqrt(expected) + 2);
    const ptrdiff_t rank = (3 + (2 * r * VQ_CHUNK + job->sample.n - 1) / job->sample.n) * (attempt + 1);
    if (rank > VQ_CHUNK / 4)
        return 0;
    for (ptrdiff_t q = 0; q < n_queries; q++)
        if (scratch->queries[q].usable)
            scratch->queries[q].threshold = coarse_threshold(job, &scratch->queries[q], rank);
    if (attempt > 0)
        return 1;
    vq_search of_sample = *job; /* its r nearest, found with a small buffer: the threshold falls soon */
    of_sample.k = r;
    of_sample.capacity = 3 * r < job->capacity ? 3 * r : job->capacity;
    pass_codes(&of_sample, &job->sample, pass, n_queries, 0, job->sample.n / VQ_CHUNK, scratch);
    for (ptrdiff_t q = 0; q < n_queries; q++) {
        vq_query *query = &scratch->queries[q];
        if (query->usable && query->n_exact == 0 && query->n_kept >= r) {
            const double fine = kth_smallest(query->keys, query->n_kept, r) + 2 * query->band;
            query->threshold = fine < query->threshold ? fine : query->threshold;
        }
        query->n_kept = query->n_exact = 0;
    }
    return 1;
}

static void search_codes(const vq_search *job, const vq_obs *obs, int obs_type, ptrdiff_t n_queries, ptrdiff_t first,
                         ptrdiff_t last, int attempt, vq_search_scratch *scratch)
{
    int pass = choose_pass(job, n_queries);
    begin_queries(job, obs, obs_type, n_queries, scratch);
    if (pass != PASS_PLAIN && !(attempt < 2 && guess_thresholds(job, pass, n_queries, attempt, scratch)))
        pass = PASS_PLAIN;
    for (ptrdiff_t q = 0; q < n_queries; q++) {
        vq_query *query = &scratch->queries[q];
        query->bound = query->threshold;
        if (job->books.kind == VQ_SUM)
            query->bound = (query->threshold - query->band + query->sq_norm) / (job->books.scale * job->books.scale);
    }
    pass_codes(job, &job->codes, pass, n_queries, first, last, scratch);
    for (ptrdiff_t q = 0; q < n_queries; q++) {
        vq_query *query = &scratch->queries[q];
        if (job->books.kind == VQ_SUM) {
            if (query->n_exact == 0 && query->usable && query->n_kept > job->k)
                drop_far(query, job->k);
            resolve(job, &job->codes, query);
        }
        select_sorted(query, job->k, job->capacity);
    }
}

static void search_rerank(const double *query, const vq_obs *obs, int obs_type, ptrdiff_t n_features,
                          const int64_t *indices, ptrdiff_t n, double *row, double *sq_dists)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const double *x = obs_type == VQ_FLOAT32 ? widen_f32(obs, indices[i], n_features, row)
                                                 : widen_f64(obs, indices[i], n_features, row);
        sq_dists[i] = sq_dist_f64(query, x, n_features);
    }
}

#ifdef FILTER_BYTES
enum { LOOKUPS = 1 << VQ_PAIRS | 1 << VQ_BYTES };
#elif defined(FILTER_PAIRS)
enum { LOOKUPS = 1 << VQ_PAIRS };
#else
enum { LOOKUPS = 0 };
#endif

static const vq_search_kernels search_kernels = {
    .lanes = LANES,
    .lookup = LOOKUPS,
    .pack_columns = pack_search_columns,
    .code_norms = code_norms,
    .pack_chunks = pack_chunks,
    .search = search_codes,
    .select = select_sorted,
    .rerank = search_rerank,
};
