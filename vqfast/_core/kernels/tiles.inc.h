/* k-means by tiles (tiles.h), in the operations of simd.h. */

#define TILE_ROUNDING 0x1p-19f /* for up to eight features: 2 (d + 3) 2^-24, and to spare */
#define TILE_UNDERFLOW 1e-35f

/* ---- order ----------------------------------------------------------------------- */

enum { MORTON_BITS = 30 };

static void tiles_order(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, ptrdiff_t first,
                        ptrdiff_t last, ptrdiff_t n_features, const float *low, const float *high, uint64_t *keys)
{
    const int bits = MORTON_BITS / (int)n_features;
    const float cells = (float)(1 << bits);
    float factor[VQ_TILE_FEATURES];
    for (ptrdiff_t j = 0; j < n_features; j++)
        factor[j] = high[j] > low[j] ? cells / (high[j] - low[j]) : 0;
    for (ptrdiff_t i = first; i < last; i++) {
        uint32_t key = 0;
        for (ptrdiff_t j = 0; j < n_features; j++) {
            float cell = (obs[i * row_stride + j * feature_stride] - low[j]) * factor[j];
            uint32_t number = cell < cells ? (uint32_t)cell : (1u << bits) - 1, spread = 0;
            if (n_features == 1)
                spread = number;
            else if (n_features == 2) { /* the usual dilations of 15 and 10 bits */
                spread = (number | number << 8) & 0x00ff00ff;
                spread = (spread | spread << 4) & 0x0f0f0f0f;
                spread = (spread | spread << 2) & 0x33333333;
                spread = (spread | spread << 1) & 0x55555555;
            } else if (n_features == 3) {
                spread = (number | number << 16) & 0x030000ff;
                spread = (spread | spread << 8) & 0x0300f00f;
                spread = (spread | spread << 4) & 0x030c30c3;
                spread = (spread | spread << 2) & 0x09249249;
            } else
                for (int b = 0; b < bits; b++)
                    spread |= (number >> b & 1) << (b * n_features);
            key |= spread << j;
        }
        keys[i - first] = (uint64_t)key << 32 | (uint64_t)i;
    }
}

static void tiles_count(const uint64_t *keys, ptrdiff_t first, ptrdiff_t last, int shift, int64_t *counts)
{
    memset(counts, 0, VQ_TILE_RADIX * sizeof *counts);
    for (ptrdiff_t e = first; e < last; e++)
        counts[keys[e] >> shift & (VQ_TILE_RADIX - 1)]++;
}

static void tiles_scatter(const uint64_t *keys, ptrdiff_t first, ptrdiff_t last, int shift, int64_t *starts,
                          uint64_t *sorted)
{
    for (ptrdiff_t e = first; e < last; e++)
        sorted[starts[keys[e] >> shift & (VQ_TILE_RADIX - 1)]++] = keys[e];
}

/* ---- points ---------------------------------------------------------------------- */

static ptrdiff_t tiles_mark(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, const uint64_t *keys,
                            ptrdiff_t first, ptrdiff_t last, ptrdiff_t n_features, uint8_t *marks)
{
    const float *before = first ? obs + (ptrdiff_t)(keys[first - 1] & 0xffffffff) * row_stride : NULL;
    ptrdiff_t n = 0;
    for (ptrdiff_t e = first; e < last; e++) {
        const float *x = obs + (ptrdiff_t)(keys[e] & 0xffffffff) * row_stride;
        int differs = !before;
        for (ptrdiff_t j = 0; before && j < n_features; j++)
            differs |= x[j * feature_stride] != before[j * feature_stride];
        marks[e] = (uint8_t)differs;
        n += differs;
        before = x;
    }
    return n;
}

static void tiles_fill(const float *obs, ptrdiff_t row_stride, ptrdiff_t feature_stride, const uint64_t *keys,
                       const uint8_t *marks, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, ptrdiff_t n_before,
                       vq_tiles *tiles, int32_t *places)
{
    const ptrdiff_t d = tiles->n_features;
    ptrdiff_t p = n_before - 1, e = first;
    for (; e < last && !marks[e]; e++) /* the last point of the part before has them */
        places[keys[e] & 0xffffffff] = (int32_t)p;
    if (e == last)
        return;
    for (; e < last; e++) { /* no branch on marks: nobody could foresee it */
        const ptrdiff_t i = (ptrdiff_t)(keys[e] & 0xffffffff);
        p += marks[e];
        float *point = tiles->points + p / VQ_TILE * d * VQ_TILE + p % VQ_TILE;
        for (ptrdiff_t j = 0; j < d; j++)
            point[j * VQ_TILE] = obs[i * row_stride + j * feature_stride];
        tiles->weights[p] = (tiles->weights[p] & (marks[e] - 1)) + 1;
        places[i] = (int32_t)p;
    }
    for (; e < n && !marks[e]; e++)
        tiles->weights[p]++;
    float *point = tiles->points + p / VQ_TILE * d * VQ_TILE + p % VQ_TILE;
    for (ptrdiff_t over = 1; e == n && (p + over) % VQ_TILE; over++) { /* what fills the last tile */
        for (ptrdiff_t j = 0; j < d; j++)
            point[j * VQ_TILE + over] = point[j * VQ_TILE];
        tiles->weights[p + over] = 0;
    }
}

/* ---- boxes ----------------------------------------------------------------------- */

static void tiles_enclose(const vq_tiles *tiles, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = tiles->n_features;
    for (ptrdiff_t begin = first; begin < last; begin += VQ_TILE_GROUP) {
        const ptrdiff_t end = begin + VQ_TILE_GROUP < last ? begin + VQ_TILE_GROUP : last;
        float *group = tiles->group_boxes + begin / VQ_TILE_GROUP * 2 * d;
        for (ptrdiff_t j = 0; j < d; j++) {
            float group_low = INFINITY, group_high = -INFINITY;
            for (ptrdiff_t t = begin; t < end; t++) {
                const float *column = tiles->points + (t * d + j) * VQ_TILE;
                float low = INFINITY, high = -INFINITY, *box = tiles->boxes + t * 2 * d;
                for (int i = 0; i < VQ_TILE; i++) {
                    low = column[i] < low ? column[i] : low;
                    high = column[i] > high ? column[i] : high;
                }
                group_low = low < group_low ? low : group_low;
                group_high = high > group_high ? high : group_high;
                box[j] = low + (high - low) / 2;
                box[d + j] = (high - box[j] > box[j] - low ? high - box[j] : box[j] - low) * BOUND_UP;
            }
            group[j] = group_low + (group_high - group_low) / 2;
            group[d + j] = (group_high - group[j] > group[j] - group_low ? group_high - group[j] : group[j] - group_low)
                           * BOUND_UP;
        }
    }
}

/* The code words that can be nearest somewhere in a box, in ascending order. */
INLINE void narrow(const vq_tile_codes *from, ptrdiff_t d, const float *box, float *sq_dists, vq_tile_codes *to)
{
    vf lowest = vf_set(INFINITY);
    for (ptrdiff_t k = 0; k < from->n; k += VL) {
        vf sq_dist = vf_set(0);
        for (ptrdiff_t j = 0; j < d; j++) {
            vf t = vf_fma(vf_load(from->columns + j * from->step + k), vf_set(-1), vf_set(box[j]));
            sq_dist = vf_fma(t, t, sq_dist);
        }
        vf_store(sq_dists + k, sq_dist);
        lowest = vf_min(lowest, sq_dist);
    }
    const float best = vf_lowest(lowest);
    ptrdiff_t nearest = 0, n = 0;
    while (sq_dists[nearest] != best)
        nearest++;
    float sq_half = 0; /* squared distances within the box may round to the same double up to here */
    for (ptrdiff_t j = 0; j < d; j++)
        sq_half += box[d + j] * box[d + j];
    const vf high = vf_set(best * (1 + TILE_ROUNDING) + TILE_UNDERFLOW + sq_half * 0x1p-44f);
    const vf up = vf_set(1 + TILE_ROUNDING);
    for (ptrdiff_t k = 0; k < from->n; k += VL) {
        vf reach = vf_set(0);
        for (ptrdiff_t j = 0; j < d; j++) {
            const float *column = from->columns + j * from->step;
            vf way = vf_fma(vf_load(column + k), vf_set(-1), vf_set(column[nearest]));
            reach = vf_fma(vf_max(way, vf_fma(way, vf_set(-1), vf_set(0))), vf_set(2 * box[d + j]), reach);
        }
        vf most = vf_fma(reach, up, high); /* the nearest to the centre is its own candidate */
        for (uint32_t bits = vm_bits(vf_less_equal(vf_load(sq_dists + k), vf_fma(most, up, vf_set(0)))); bits;
             bits &= bits - 1) {
            const ptrdiff_t c = k + __builtin_ctz(bits);
            for (ptrdiff_t j = 0; j < d; j++)
                to->columns[j * to->step + n] = from->columns[j * from->step + c];
            to->codes[n++] = from->codes[c];
        }
    }
    to->n = n;
    for (; n % 16; n++)
        for (ptrdiff_t j = 0; j < d; j++)
            to->columns[j * to->step + n] = VQ_TILE_FAR;
}

/* The double formula among the candidates. */
static int32_t nearest_of_tile(const float *point, const vq_tile_codes *codes, ptrdiff_t d)
{
    double best = INFINITY;
    int32_t code = codes->codes[0];
    for (ptrdiff_t c = 0; c < codes->n; c++) {
        double sum = 0;
        for (ptrdiff_t j = 0; j < d; j++) {
            double t = (double)point[j * VQ_TILE] - (double)codes->columns[j * codes->step + c];
            sum += t * t;
        }
        if (sum < best) {
            best = sum;
            code = codes->codes[c];
        }
    }
    return code;
}

/* Codes of LANE_GROUP points of a tile. */
INLINE void compare_points(const float *points, ptrdiff_t d, const vq_tile_codes *codes, int32_t *nearest)
{
    vf best[LANE_VECTORS], second[LANE_VECTORS];
    vi code[LANE_VECTORS];
    for (int v = 0; v < LANE_VECTORS; v++) {
        best[v] = second[v] = vf_set(INFINITY);
        code[v] = vi_set(0);
    }
    for (ptrdiff_t c = 0; c < codes->n; c++) {
        vf sq_dist[LANE_VECTORS];
        for (int v = 0; v < LANE_VECTORS; v++)
            sq_dist[v] = vf_set(0);
        for (ptrdiff_t j = 0; j < d; j++) {
            const vf z = vf_set(codes->columns[j * codes->step + c]);
            for (int v = 0; v < LANE_VECTORS; v++) {
                vf t = vf_fma(vf_load(points + j * VQ_TILE + v * VL), vf_set(-1), z);
                sq_dist[v] = vf_fma(t, t, sq_dist[v]);
            }
        }
        const vi number = vi_set(codes->codes[c]);
        for (int v = 0; v < LANE_VECTORS; v++) {
            code[v] = vi_select(vf_less(sq_dist[v], best[v]), number, code[v]);
            second[v] = vf_min(second[v], vf_max(sq_dist[v], best[v]));
            best[v] = vf_min(sq_dist[v], best[v]);
        }
    }
    for (int v = 0; v < LANE_VECTORS; v++) {
        vi_store(nearest + v * VL, code[v]);
        vf most = vf_fma(best[v], vf_set(1 + TILE_ROUNDING), vf_set(TILE_UNDERFLOW));
        for (uint32_t bits = vm_bits(vf_less_equal(second[v], most)); bits; bits &= bits - 1) {
            const int lane = v * VL + __builtin_ctz(bits);
            nearest[lane] = nearest_of_tile(points + lane, codes, d);
        }
    }
}

/* Point i of a tile goes from an old code (or -1) to a new one. */
INLINE void move_point(const vq_tiles *tiles, ptrdiff_t tile, int i, int32_t old, int32_t code, ptrdiff_t d,
                       double factor, double low_factor, vq_tile_scratch *scratch)
{
    const float *point = tiles->points + tile * d * VQ_TILE + i;
    const int64_t weight = tiles->weights[tile * VQ_TILE + i], taken = old < 0 ? 0 : weight;
    int64_t *into = scratch->sums + 2 * d * code, *out = scratch->sums + 2 * d * (old < 0 ? code : old);
    for (ptrdiff_t j = 0; j < d; j++) {
        double t = (double)point[j * VQ_TILE] * factor;
        int64_t high = (int64_t)t, low = (int64_t)((t - (double)high) * low_factor);
        into[j] += weight * high;
        into[d + j] += weight * low;
        out[j] -= taken * high;
        out[d + j] -= taken * low;
    }
    scratch->counts[code] += weight;
    scratch->counts[old < 0 ? code : old] -= taken;
    scratch->n_moved += weight;
}

/* Called with a constant d. */
INLINE void assign_tile(const vq_tiles *tiles, ptrdiff_t tile, ptrdiff_t d, const vq_tile_codes *from, int first_round,
                        double factor, double low_factor, vq_tile_scratch *scratch)
{
    int32_t *codes = tiles->codes + tile * VQ_TILE, nearest[VQ_TILE];
    narrow(from, d, tiles->boxes + tile * 2 * d, scratch->sq_dists, &scratch->tile);
    scratch->n_candidates += scratch->tile.n;
    const int32_t single = scratch->tile.n == 1 ? scratch->tile.codes[0] : -1;
    if (single >= 0 && !first_round && single == tiles->single[tile])
        return;
    tiles->single[tile] = single;
    if (single >= 0)
        for (int i = 0; i < VQ_TILE; i++)
            nearest[i] = single;
    else
        for (int i = 0; i < VQ_TILE; i += LANE_GROUP)
            compare_points(tiles->points + tile * d * VQ_TILE + i, d, &scratch->tile, nearest + i);
    for (int i = 0; i < VQ_TILE; i++)
        if (first_round || nearest[i] != codes[i]) {
            move_point(tiles, tile, i, first_round ? -1 : codes[i], nearest[i], d, factor, low_factor, scratch);
            codes[i] = nearest[i];
        }
}

INLINE void assign_group(const vq_tiles *tiles, ptrdiff_t first, ptrdiff_t last, ptrdiff_t d, const vq_tile_codes *all,
                         int first_round, double factor, double low_factor, vq_tile_scratch *scratch)
{
    narrow(all, d, tiles->group_boxes + first / VQ_TILE_GROUP * 2 * d, scratch->sq_dists, &scratch->group);
    for (ptrdiff_t tile = first; tile < last; tile++)
        assign_tile(tiles, tile, d, &scratch->group, first_round, factor, low_factor, scratch);
}

static void tiles_assign(const vq_tiles *tiles, ptrdiff_t first, ptrdiff_t last, const vq_tile_codes *all,
                         int first_round, double factor, double low_factor, vq_tile_scratch *scratch)
{
    for (ptrdiff_t begin = first; begin < last; begin += VQ_TILE_GROUP) {
        const ptrdiff_t end = begin + VQ_TILE_GROUP < last ? begin + VQ_TILE_GROUP : last;
        switch (tiles->n_features) {
        case 1: assign_group(tiles, begin, end, 1, all, first_round, factor, low_factor, scratch); break;
        case 2: assign_group(tiles, begin, end, 2, all, first_round, factor, low_factor, scratch); break;
        case 3: assign_group(tiles, begin, end, 3, all, first_round, factor, low_factor, scratch); break;
        default: assign_group(tiles, begin, end, tiles->n_features, all, first_round, factor, low_factor, scratch);
        }
    }
}
