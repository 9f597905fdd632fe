/* The integer scan (integers.h): the code book in integers, and how far its code words have come. */

/* Codes by their place on the line between two far ones. */
static int by_key(const void *a, const void *b)
{
    const float x = ((const float *)a)[0], y = ((const float *)b)[0];
    return (x > y) - (x < y);
}

static ptrdiff_t farthest(const vq_code_book *book, const int32_t *codes, ptrdiff_t n, const float *from)
{
    ptrdiff_t best = 0;
    float longest = -1;
    for (ptrdiff_t i = 0; i < n; i++) {
        float sq_dist = sq_dist_packed(book->rows + codes[i] * book->n_features, from, book->n_features);
        if (sq_dist > longest) {
            longest = sq_dist;
            best = i;
        }
    }
    return best;
}

/* Codes of the first half: whole vectors. */
INLINE ptrdiff_t half_of(ptrdiff_t n) { return n <= VECTOR ? n : (n / VECTOR + 1) / 2 * VECTOR; }

static void integers_arrange(const vq_code_book *book, int level, ptrdiff_t part, float *keys,
                             vq_integers_book *integers)
{
    const ptrdiff_t d = book->n_features;
    ptrdiff_t first = 0, n = book->n_codes;
    for (int bit = level - 1; bit >= 0; bit--) {
        const ptrdiff_t half = half_of(n);
        first += part >> bit & 1 ? half : 0;
        n = part >> bit & 1 ? n - half : half;
    }
    if (n <= VECTOR)
        return;
    int32_t *codes = integers->order + first;
    const float *one = book->rows + codes[farthest(book, codes, n, book->rows + codes[0] * d)] * d;
    const float *other = book->rows + codes[farthest(book, codes, n, one)] * d;
    keys += 2 * first;
    for (ptrdiff_t i = 0; i < n; i++) {
        const float *row = book->rows + codes[i] * d;
        keys[2 * i] = inner_product(row, one, d) - inner_product(row, other, d);
        memcpy(keys + 2 * i + 1, codes + i, sizeof *codes);
    }
    qsort(keys, (size_t)n, 2 * sizeof *keys, by_key);
    for (ptrdiff_t i = 0; i < n; i++)
        memcpy(codes + i, keys + 2 * i + 1, sizeof *codes);
}

/* Codes of a vector, eight at a time, as they go into integers: rows of the code book, or what the
 * directions see of them. */
INLINE void mapped_codes(const vq_code_book *book, const vq_integers_book *integers, const int32_t *order,
                         float mapped[ROWS8][VQ_INTEGERS_MAPPED], const float *features[ROWS8])
{
    const ptrdiff_t d = book->n_features;
    for (int l = 0; l < ROWS8; l++)
        features[l] = book->rows + (order[l] < 0 ? 0 : order[l]) * d;
    if (!integers->directions.n)
        return;
    project(integers->directions.columns, integers->directions.n_columns, features, d, mapped);
    for (int l = 0; l < ROWS8; l++) {
        see_rest(&integers->directions, inner_product(features[l], features[l], d), mapped[l]);
        features[l] = mapped[l];
    }
}

/* One vector of codes. */
static void integers_pack_vector(const vq_code_book *book, ptrdiff_t v, vq_integers_book *integers)
{
    const vq_integers_directions *directions = &integers->directions;
    const ptrdiff_t d = n_seen(directions, book->n_features), n_quads = integers->n_quads;
    const float rounding = 1 + sum_rounding(book->n_features);
    const int32_t *order = integers->order + v * VECTOR;
    int32_t quads[VQ_INTEGERS_FEATURES / QUAD];
    float mapped[VECTOR][VQ_INTEGERS_MAPPED];
    const float *features[VECTOR];
    float longest = 0, half_norm = 0, sq_error = 0, sq_norm = 0;
    for (int l = 0; l < VECTOR; l += ROWS8)
        mapped_codes(book, integers, order + l, mapped + l, features + l);
    for (int l = 0; l < VECTOR; l++)
        if (order[l] >= 0) {
            float candidate = longest_feature(features[l], d), half = book->half_norms[order[l]];
            longest = candidate > longest ? candidate : longest;
            half_norm = half > half_norm && half < INFINITY ? half : half_norm;
        }
    const float norm = sqrtf(2 * half_norm), unit = unit_of(longest, norm * (1 + 2 * directions->margin));
    for (int l = 0; l < VECTOR; l++) {
        integers_facts facts = {0, 0, 0, 0};
        if (order[l] >= 0)
            facts = to_integers(features[l], d, n_quads, unit, 0, (uint8_t *)quads, NULL);
        else
            memset(quads, 0, (size_t)n_quads * 4);
        for (ptrdiff_t t = 0; t < n_quads; t++)
            memcpy(integers->codes + ((v * n_quads + t) * VECTOR + l) * 4, quads + t, 4);
        integers->starts[v * VECTOR + l] = -OFFSET * facts.sum;
        integers->half_norms[v * VECTOR + l] = order[l] >= 0 ? book->half_norms[order[l]] : INFINITY;
        sq_error = facts.sq_error > sq_error ? facts.sq_error : sq_error;
        sq_norm = facts.sq_norm > sq_norm ? facts.sq_norm : sq_norm;
    }
    const float error = sqrtf(sq_error) * rounding + directions->error * norm;
    integers->units[v] = unit;
    integers->norms[v] = sqrtf(sq_norm) * unit * rounding * BOUND_UP * (1 + 0x1p-22f);
    integers->errors[v] = error * (1 + 2 * directions->margin) * BOUND_UP + 0x1p-22f * integers->norms[v];
}

static void integers_pack(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last, vq_integers_book *integers)
{
    for (ptrdiff_t v = first; v < last; v++)
        integers_pack_vector(book, v, integers);
}

/* ---- ways of the codes since the snapshots ---------------------------------------- */

/* A place of a code's snapshots that no slot but the one of this round refers to. */
INLINE int free_place(const uint8_t *places, const vq_integers_history *history)
{
    uint32_t used = 0;
    for (int s = 0; s < history->n_slots; s++)
        used |= (uint32_t)(s != history->slot) << places[s];
    return __builtin_ctz(~used);
}

/* One code: its ways, and the snapshot of this round. Returns whether it has moved. */
static int measure_code(const vq_code_book *book, ptrdiff_t code, const vq_integers_history *history)
{
    const ptrdiff_t d = book->n_features, size = book->n_codes * d;
    const float *row = book->rows + code * d;
    float *snapshots = history->snapshots + code * d, *ways = history->code_ways + code * VQ_INTEGERS_SLOTS;
    uint8_t *places = history->places + code * VQ_INTEGERS_SLOTS;
    const int first = history->last < 0, slot = history->slot, last = first ? slot : history->last;
    const int moved = first
                      || (!at_rest(book, code, code + 1)
                          && memcmp(row, snapshots + places[last] * size, (size_t)d * sizeof *row) != 0);
    if (first) {
        memset(ways, 0, VQ_INTEGERS_SLOTS * sizeof *ways);
        for (int s = 0; s < VQ_INTEGERS_SLOTS; s++)
            places[s] = (uint8_t)s;
    } else if (moved) {
        float from[VQ_INTEGERS_SLOTS];
        uint32_t known = 0;
        for (int s = 0; s < history->n_slots; s++) {
            const int place = places[s];
            if (!(known >> place & 1))
                from[place] =
                    sqrtf(sq_dist_packed(row, snapshots + place * size, d)) * (1 + sum_rounding(d)) * BOUND_UP;
            known |= 1u << place;
            ways[s] = from[place];
        }
    } else
        ways[last] = 0;
    history->steps[code] = first ? 0 : ways[last];
    places[slot] = (uint8_t)(moved ? free_place(places, history) : places[last]);
    if (moved)
        memcpy(snapshots + places[slot] * size, row, (size_t)d * sizeof *row);
    return moved;
}

static void integers_follow(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last,
                            const vq_integers_history *history, vq_integers_book *integers)
{
    for (ptrdiff_t g = first; g < last; g++) {
        float *ways = history->ways + g * VQ_INTEGERS_SLOTS;
        memset(ways, 0, VQ_INTEGERS_SLOTS * sizeof *ways);
        for (ptrdiff_t v = g * integers->span; v < (g + 1) * integers->span; v++) {
            int moved = history->last < 0;
            for (ptrdiff_t p = v * VECTOR; p < (v + 1) * VECTOR && integers->order[p] >= 0; p++) {
                const ptrdiff_t code = integers->order[p];
                moved |= measure_code(book, code, history);
                for (int s = 0; s < history->n_slots; s++) {
                    float way = history->code_ways[code * VQ_INTEGERS_SLOTS + s];
                    ways[s] = way > ways[s] ? way : ways[s];
                }
            }
            if (moved)
                integers_pack_vector(book, v, integers);
        }
    }
}
