/* Learning vector quantization: passes over the observations. */

INLINE uint64_t TYPED(lvq_mix)(uint64_t hash, REAL x)
{
    const double value = (double)x + 0.0; /* 0.0 for -0.0 */
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    hash = (hash ^ bits) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
}

/* Four chains of multiply and shift over the values as doubles. */
static void TYPED(lvq_hashes)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const int32_t *classes,
                              uint64_t *hashes)
{
    const ptrdiff_t stride = obs->feature_stride;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const REAL *x = (const REAL *)obs->data + i * obs->row_stride;
        uint64_t a = (uint64_t)classes[i] + 1, b = 2, c = 3, d = 4;
        ptrdiff_t j = 0;
        for (; j + 4 <= n_features; j += 4) {
            a = TYPED(lvq_mix)(a, x[j * stride]);
            b = TYPED(lvq_mix)(b, x[(j + 1) * stride]);
            c = TYPED(lvq_mix)(c, x[(j + 2) * stride]);
            d = TYPED(lvq_mix)(d, x[(j + 3) * stride]);
        }
        for (; j < n_features; j++)
            a = TYPED(lvq_mix)(a, x[j * stride]);
        a = (a ^ (b << 1)) * 0x9e3779b97f4a7c15u;
        c = (c ^ (d << 1)) * 0xc2b2ae3d27d4eb4fu;
        a = (a ^ (a >> 29) ^ c) * 0x9e3779b97f4a7c15u;
        hashes[i] = a ^ (a >> 32);
    }
}

static void TYPED(lvq_class_sq_dists)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features,
                                      const double *prototypes, const int32_t *starts, ptrdiff_t n_classes, double *row,
                                      double *lowest)
{
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const double *x = TYPED(widen)(obs, i, n_features, row);
        for (ptrdiff_t c = 0; c < n_classes; c++) {
            double best = INFINITY;
            for (ptrdiff_t k = starts[c]; k < starts[c + 1]; k++) {
                const double sq_dist = sq_dist_f64(x, prototypes + k * n_features, n_features);
                best = sq_dist < best ? sq_dist : best;
            }
            lowest[i * n_classes + c] = best;
        }
    }
}

static void TYPED(lvq_posteriors)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const double *prototypes,
                                  const int32_t *starts, ptrdiff_t n_classes, double variance, double *row,
                                  double *sq_dists, double *posterior)
{
    const ptrdiff_t n = starts[n_classes];
    const double per_distance = 1 / (2 * variance);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const double *x = TYPED(widen)(obs, i, n_features, row);
        double lowest = INFINITY, total = 0;
        for (ptrdiff_t k = 0; k < n; k++) {
            sq_dists[k] = sq_dist_f64(x, prototypes + k * n_features, n_features);
            lowest = sq_dists[k] < lowest ? sq_dists[k] : lowest;
        }
        lowest = lowest < INFINITY ? lowest : 0; /* all too far for a double: equally likely */
        for (ptrdiff_t k = 0; k < n; k += 8)
            *(vd8 *)(sq_dists + k) = exp8((lowest - load8_f64(sq_dists + k)) * per_distance);
        for (ptrdiff_t c = 0; c < n_classes; c++) {
            double sum = 0;
            for (ptrdiff_t k = starts[c]; k < starts[c + 1]; k++)
                sum += sq_dists[k];
            posterior[i * n_classes + c] = sum;
            total += sum;
        }
        for (ptrdiff_t c = 0; c < n_classes; c++)
            posterior[i * n_classes + c] /= total;
    }
}

static void TYPED(lvq_project)(const vq_obs *obs, ptrdiff_t n_rows, ptrdiff_t n_features, const double *matrix,
                               ptrdiff_t rank, ptrdiff_t rank_width, double *row, double *projected)
{
    double *z = row + n_features;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        lvq_products_f64(TYPED(widen)(obs, i, n_features, row), 1, n_features, matrix, n_features, rank_width, z);
        memcpy(projected + i * rank, z, (size_t)rank * sizeof *z);
    }
}
