/* The search among codes: passes over them, and the thresholds of a search. */
#include "search.h"

#include "search_filter.inc.h"
#include "search_order.inc.h"
#include "search_tables.inc.h"

#include "search_keys.inc.h"

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
    if (job->element == VQ_CODE_PAIRS)
        chunk_keys(job, codes, query, VQ_CODE_PAIRS, c, keys);
    else if (job->element == VQ_CODE_BYTES)
        chunk_keys(job, codes, query, VQ_CODE_BYTES, c, keys);
    else
        chunk_keys(job, codes, query, VQ_CODE_WORDS, c, keys);
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

/* Codes of four bits without the byte of a norm: filter_pairs is for these. */
INLINE int is_pairs(const vq_search *job) { return job->element == VQ_CODE_PAIRS && job->books.kind == VQ_PRODUCT; }

/* Whether the filter of one query has a table for each code of four bits, none for their pairs. */
INLINE int is_split(const vq_search *job)
{
#ifdef FILTER_PAIRS
    return is_pairs(job);
#else
    (void)job;
    return 0;
#endif
}

/* The filter for one query. */
INLINE ptrdiff_t filter_one(const vq_search *job, const vq_query *query, const uint8_t *chunks, ptrdiff_t first,
                            ptrdiff_t last, vq_chunk_hit *hits)
{
#if defined(FILTER_PAIRS)
    if (is_split(job))
        return filter_pairs(query->bytes, job->n_rows, query->limit, chunks, first, last, hits);
#endif
#if defined(FILTER_BYTES)
    return filter_bytes(query->bytes, job->n_rows, query->limit, chunks, first, last, hits);
#else
    (void)job, (void)query, (void)chunks, (void)first, (void)last, (void)hits;
    return 0;
#endif
}

/* The filter for one query after another, tile by tile. */
static void search_each(const vq_search *job, const vq_search_codes *codes, vq_query *queries, ptrdiff_t n_queries,
                        ptrdiff_t first, ptrdiff_t last, vq_chunk_hit *hits)
{
    for (ptrdiff_t c = first; c < last; c += VQ_SEARCH_TILE) {
        const ptrdiff_t end = c + VQ_SEARCH_TILE < last ? c + VQ_SEARCH_TILE : last;
        for (vq_query *query = queries; query < queries + n_queries; query++) {
            if (!query->usable || query->threshold == INFINITY) {
                search_plain(job, codes, query, c, end);
                continue;
            }
            const ptrdiff_t n = filter_one(job, query, codes->chunks, c, end, hits);
            if (job->books.kind == VQ_SUM && job->element == VQ_CODE_BYTES)
                take_hits(job, codes, query, VQ_SUM, VQ_CODE_BYTES, hits, n);
            else if (job->books.kind == VQ_SUM)
                take_hits(job, codes, query, VQ_SUM, VQ_CODE_PAIRS, hits, n);
            else if (job->element == VQ_CODE_BYTES)
                take_hits(job, codes, query, VQ_PRODUCT, VQ_CODE_BYTES, hits, n);
            else
                take_hits(job, codes, query, VQ_PRODUCT, VQ_CODE_PAIRS, hits, n);
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
        const ptrdiff_t n =
            filter_lanes(scratch->lanes, job->n_rows, limits, codes->chunks + c * job->chunk_bytes, hits);
        for (ptrdiff_t h = 0; h < n; h++) {
            const ptrdiff_t id = c * VQ_CHUNK + hits[h].index;
            if (id >= codes->n)
                break;
            for (uint64_t mask = hits[h].queries; mask; mask &= mask - 1) {
                vq_query *query = &queries[__builtin_ctzll(mask)];
                keep_key(job, codes, query,
                         code_key(job, codes, query, job->books.kind, job->element, c, hits[h].index), id);
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
    if (n_queries <= (is_pairs(job) ? EACH_PAIRS : EACH_BYTES))
        return PASS_EACH;
    return n_queries > 1 ? PASS_LANES : PASS_PLAIN;
}

static void pass_codes(const vq_search *job, const vq_search_codes *codes, int pass, ptrdiff_t n_queries,
                       ptrdiff_t first, ptrdiff_t last, vq_search_scratch *scratch)
{
    if (pass == PASS_PLAIN) {
        for (ptrdiff_t q = 0; q < n_queries; q++)
            search_plain(job, codes, &scratch->queries[q], first, last);
        return;
    }
    for (ptrdiff_t q = 0; q < n_queries; q++)
        if (scratch->queries[q].usable && scratch->queries[q].threshold < INFINITY)
            quantize(job, &scratch->queries[q], pass == PASS_EACH && is_split(job));
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

/* So many of a part are expected to hold `expected`, almost always. */
static ptrdiff_t with_margin(double expected) { return (ptrdiff_t)ceil(expected + 2 * sqrt(expected) + 2); }

/* Lower a threshold to the r-th smallest key of the sample so far. */
static void lower_threshold(vq_query *query, ptrdiff_t r)
{
    if (!query->usable || query->n_exact || query->n_kept < r)
        return;
    const double fine = kth_smallest(query->keys, query->n_kept, r) + 2 * query->band;
    query->threshold = fine < query->threshold ? fine : query->threshold;
}

/* Thresholds that k of all codes are expected to pass, with some to spare; returns whether
 * there are any. A chunk of the sample gives one that more than enough pass, the codes of an
 * eighth of the sample that pass it a lower one, and so on. */
static int guess_thresholds(const vq_search *job, int pass, ptrdiff_t n_queries, int attempt,
                            vq_search_scratch *scratch)
{
    const double expected = (double)job->k * (double)job->sample.n / (double)job->codes.n;
    const ptrdiff_t r = with_margin(expected), n_chunks = job->sample.n / VQ_CHUNK;
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
    const ptrdiff_t part = pass == PASS_EACH ? n_chunks / 8 : 0; /* what lies in lanes is laid out anew for a part */
    if (part) {
        pass_codes(&of_sample, &job->sample, pass, n_queries, 0, part, scratch);
        for (ptrdiff_t q = 0; q < n_queries; q++)
            lower_threshold(&scratch->queries[q], with_margin((double)(r * part) / (double)n_chunks));
    }
    pass_codes(&of_sample, &job->sample, pass, n_queries, part, n_chunks, scratch);
    for (ptrdiff_t q = 0; q < n_queries; q++) {
        lower_threshold(&scratch->queries[q], r);
        scratch->queries[q].n_kept = scratch->queries[q].n_exact = 0;
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

static const vq_search_kernels search_kernels = {
    .lanes = LANES,
    .most_each = {EACH_PAIRS, EACH_BYTES},
    .ns_each = {NS_PAIRS, NS_BYTES},
    .pack_columns = pack_search_columns,
    .code_norms = code_norms,
    .pack_chunks = pack_chunks,
    .search = search_codes,
    .select = select_sorted,
    .rerank = search_rerank,
};
