/* What a search knows before it looks at codes: packed code books and codes, tables, bytes of the filter. */

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
    const ptrdiff_t n_elements = element == VQ_CODE_PAIRS ? (n_books + 1) / 2 : n_books;
    const ptrdiff_t row_bytes = VQ_CHUNK * (element == VQ_CODE_WORDS ? 2 : 1);
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
                if (element == VQ_CODE_PAIRS)
                    chunk[m / 2 * VQ_CHUNK + i] |= (uint8_t)(code << 4 * (m & 1));
                else if (element == VQ_CODE_BYTES)
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
            if (books->words_type == VQ_FLOAT32)
                for (ptrdiff_t j = 0; j < padded; j++)
                    row[j] += ((const float *)books->words)[start + j];
            else
                for (ptrdiff_t j = 0; j < padded; j++)
                    row[j] += ((const double *)books->words)[start + j];
        }
        double sum = 0;
        for (ptrdiff_t j = 0; j < d; j++) {
            double t = (row[j] - books->mean[j]) * books->scale;
            sum += t * t;
        }
        sq_norms[i] = sum;
    }
}

/* ---- tables ------------------------------------------------------------------------------- */

/* sq_dist of the query's features to every word, some words side by side. */
static void product_tables(const vq_search_books *books, const double *row, double *table)
{
    enum { VECTORS = VQ_TABLE_MULTIPLE / VDL };
    const ptrdiff_t n_entries = books->n_entries;
    for (ptrdiff_t m = 0; m < books->n_books; m++, table += n_entries) {
        const ptrdiff_t start = books->splits[m], d = books->splits[m + 1] - start;
        const double *x = row + start;
        for (ptrdiff_t k = 0; k < n_entries; k += VQ_TABLE_MULTIPLE) {
            vd sums[VECTORS];
            column_sq_dists(x, d, books->columns + start * n_entries + k, n_entries, VECTORS, sums);
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
    query->band = 0x1p-23
                      * ((d + 16) * length * books->longest + 4 * books->longest * books->longest
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
    if (job->element == VQ_CODE_BYTES) {
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
