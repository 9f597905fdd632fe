/* The filter for draws of k-means++ (seeds.h). */

/* The observation that was drawn: signed integers, and what its products are compared with. */
typedef struct {
    int32_t quads[VQ_INTEGERS_FEATURES / QUAD];
    int32_t start; /* takes off what the offset of the others adds */
    float unit;
    float half_sq_norm; /* rounded down */
    float norm;         /* Q */
    float error;        /* E */
} drawn_row;

static void take_drawn(const vq_seeds_rows *rows, ptrdiff_t i, drawn_row *drawn)
{
    const int32_t *quads = rows->quads + i / VECTOR * VECTOR * rows->n_quads + i % VECTOR;
    int32_t sum = 0;
    for (ptrdiff_t t = 0; t < rows->n_quads; t++) {
        int8_t bytes[4];
        const uint32_t quad = (uint32_t)quads[t * VECTOR] ^ (uint32_t)OFFSET * 0x01010101u;
        memcpy(bytes, &quad, sizeof quad);
        memcpy(drawn->quads + t, &quad, sizeof quad);
        sum += bytes[0] + bytes[1] + bytes[2] + bytes[3];
    }
    drawn->start = -OFFSET * sum;
    drawn->unit = rows->units[i];
    drawn->half_sq_norm = 0.5f * rows->sq_norms[i];
    drawn->norm = (rows->norms[i] + rows->errors[i]) * BOUND_UP;
    drawn->error = (rows->errors[i] + 0x1p-21f * drawn->norm) * BOUND_UP;
}

static void seeds_place(const vq_integers_rows *quantized, ptrdiff_t n_rows, ptrdiff_t first, vq_seeds_rows *rows)
{
    const ptrdiff_t n_quads = rows->n_quads;
    for (ptrdiff_t r = 0; r < VQ_SEEDS_ROWS; r++) {
        const ptrdiff_t i = first + r;
        int32_t *quads = rows->quads + i / VECTOR * VECTOR * n_quads + i % VECTOR;
        const int known = r < n_rows && quantized->norms[r] < INFINITY;
        for (ptrdiff_t t = 0; t < n_quads; t++) {
            quads[t * VECTOR] = 0;
            if (known)
                memcpy(quads + t * VECTOR, quantized->quads + (r * n_quads + t) * 4, 4);
        }
        rows->units[i] = known ? quantized->units[r] : 0;
        rows->errors[i] = known ? quantized->errors[r] : 0;
        rows->norms[i] = known ? quantized->norms[r] : 0;
        rows->sq_norms[i] = known ? quantized->sq_norms[r] : -INFINITY;
        rows->limits[i] = r < n_rows ? INFINITY : -INFINITY;
    }
}

static ptrdiff_t seeds_list(const vq_seeds_rows *rows, ptrdiff_t drawn_i, ptrdiff_t first, int32_t *list)
{
    enum { VECTORS = 4 }; /* more sums than a product takes cycles */
    const ptrdiff_t n_quads = rows->n_quads;
    drawn_row drawn;
    take_drawn(rows, drawn_i, &drawn);
    const w16 half = w_set(drawn.half_sq_norm), norm = w_set(drawn.norm), error = w_set(drawn.error);
    const w16 unit = w_set(drawn.unit);
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < VQ_SEEDS_ROWS; i += VECTORS * VECTOR) {
        const int32_t *quads = rows->quads + (first + i) * n_quads;
        w16i sums[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sums[v] = wi_set(drawn.start);
        for (ptrdiff_t t = 0; t < n_quads; t++) {
            const w16i z = wi_set(drawn.quads[t]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                sums[v] = add_products(sums[v], wi_load(quads + (v * n_quads + t) * VECTOR), z);
        }
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            const ptrdiff_t row = first + i + v * VECTOR;
            const w16 score = w_fnma(w_from_int(sums[v]), w_mul(unit, w_load(rows->units + row)), half);
            w16 most = w_mul(w_load(rows->norms + row), error);
            most = w_fma(w_load(rows->errors + row), norm, most);
            most = w_fma(most, w_set(BOUND_UP), w_load(rows->limits + row));
            n = w_append(list, n, i + v * VECTOR, wm_bits(w_less_equal(score, most)));
        }
    }
    return n;
}

static void seeds_limit(const int32_t *list, ptrdiff_t n_listed, ptrdiff_t first, const double *sq_dists, double scale,
                        double longest, vq_seeds_rows *rows)
{
    for (ptrdiff_t l = 0; l < n_listed; l++) {
        const ptrdiff_t i = first + list[l];
        const double sq_dist = sq_dists[i], norm = rows->norms[i], sq_norm = rows->sq_norms[i];
        const double upper = sqrt(sq_dist) * scale * (1 + 0x1p-20) + DIST_SPARE * (norm + longest);
        const double spare = 0x1p-21 * (upper * upper + norm * norm + longest * longest);
        float limit = (float)((upper * upper - sq_norm) * 0.5 + spare);
        if (sq_dist < VQ_SEEDS_SMALLEST)
            limit = sq_dist > 0 ? INFINITY : -INFINITY;
        rows->limits[i] = limit;
    }
}
