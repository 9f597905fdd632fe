/* Learning vector quantization: sums along the features, distances and the lowest of them. */

/* The observation as whole lines: where it lies if it has no others, else a copy. */
INLINE const REAL *TYPED(lvq_load)(const vq_lvq_model *model, const vq_obs *obs, ptrdiff_t i)
{
    const REAL *x = (const REAL *)obs->data + i * obs->row_stride;
    REAL *row = model->obs; /* its last features stay zero */
    const ptrdiff_t d = model->n_features;
    ptrdiff_t j = 0;
    if (obs->feature_stride == 1 && d == model->width)
        return x;
    if (obs->feature_stride == 1)
        for (; j + LINE_SIZE <= d; j += LINE_SIZE)
            *(LINE *)(row + j) = LINE_AT(x + j);
    for (; j < d; j++)
        row[j] = x[j * obs->feature_stride];
    return row;
}

/* One term of a sum: of a squared distance, or of an inner product. */
INLINE PART TYPED(lvq_term)(PART x, PART w, int is_distance)
{
    if (!is_distance)
        return x * w;
    PART t = x - w;
    return t * t;
}

/* Partial sums of n_rows rows and x, side by side for the sake of latency. Called with constants. */
INLINE void TYPED(lvq_partial)(const REAL *rows, int n_rows, ptrdiff_t width, const REAL *x, int is_distance, LINE *p)
{
    PART sums[LINE_ROWS][PARTS] = {{{0}}};
#pragma GCC unroll 2
    for (ptrdiff_t j = 0; j < width; j += LINE_SIZE)
#pragma GCC unroll 4
        for (int q = 0; q < PARTS; q++) {
            const REAL *at = rows + j + q * PART_SIZE;
            const PART features = PART_LOAD(x + j + q * PART_SIZE);
#pragma GCC unroll 16
            for (int r = 0; r < n_rows; r++)
                sums[r][q] += TYPED(lvq_term)(features, PART_LOAD(at + r * width), is_distance);
        }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int q = 0; q < PARTS; q++)
            PART_STORE((REAL *)(p + r) + q * PART_SIZE, sums[r][q]);
}

/* The sum of one line in parts. */
INLINE REAL TYPED(lvq_fold)(const PART parts[PARTS])
{
    LINE line;
#pragma GCC unroll 4
    for (int q = 0; q < PARTS; q++)
        PART_STORE((REAL *)&line + q * PART_SIZE, parts[q]);
    return TYPED(fold1)(line);
}

/* The inner product of two rows. */
INLINE REAL TYPED(lvq_inner)(const REAL *a, const REAL *b, ptrdiff_t width)
{
    PART sums[PARTS] = {{0}};
    for (ptrdiff_t j = 0; j < width; j += LINE_SIZE)
#pragma GCC unroll 4
        for (int q = 0; q < PARTS; q++)
            sums[q] += PART_LOAD(a + j + q * PART_SIZE) * PART_LOAD(b + j + q * PART_SIZE);
    return TYPED(lvq_fold)(sums);
}

/* sums[i] of up to LINE_ROWS rows and x; some of the sums past n_rows are those of the rows
 * that follow, which must be there, the others are +inf. Called with a constant is_distance. */
INLINE void TYPED(lvq_group)(const REAL *rows, ptrdiff_t n_rows, ptrdiff_t width, const REAL *x, int is_distance,
                             REAL *sums)
{
    enum { STEP = LINE_ROWS / 4 };
    LINE p[LINE_ROWS];
    for (int r = STEP; r < LINE_ROWS; r++)
        p[r] = (LINE){0} + (REAL)INFINITY;
    if (n_rows > 3 * STEP)
        TYPED(lvq_partial)(rows, 4 * STEP, width, x, is_distance, p);
    else if (n_rows > 2 * STEP)
        TYPED(lvq_partial)(rows, 3 * STEP, width, x, is_distance, p);
    else if (n_rows > STEP)
        TYPED(lvq_partial)(rows, 2 * STEP, width, x, is_distance, p);
    else
        TYPED(lvq_partial)(rows, STEP, width, x, is_distance, p);
    TYPED(fold)(p, sums);
}

/* The same for all rows. */
INLINE void TYPED(lvq_sums)(const REAL *rows, ptrdiff_t n_rows, ptrdiff_t width, const REAL *x, int is_distance,
                            REAL *sums)
{
    for (ptrdiff_t i = 0; i < n_rows; i += LINE_ROWS)
        TYPED(lvq_group)(rows + i * width, n_rows - i, width, x, is_distance, sums + i);
}

/* A whole line of squared distances, from prototype i on; +inf past the last prototype, as the
 * rows that follow it are infinitely far and what is not computed stays +inf. */
INLINE LINE TYPED(lvq_distances)(const vq_lvq_model *model, const REAL *x, ptrdiff_t i)
{
    REAL *sq_dists = (REAL *)model->sq_dists + i;
    const REAL *rows = (const REAL *)model->prototypes + i * model->width;
    const ptrdiff_t width = model->width, left = model->n_prototypes - i;
    for (ptrdiff_t g = 0; g < LINE_SIZE && (g == 0 || g < left); g += LINE_ROWS)
        TYPED(lvq_group)(rows + g * width, left - g, width, x, 1, sq_dists + g);
    return LINE_AT(sq_dists);
}

static void TYPED(lvq_sq_dists)(const vq_lvq_model *model, const REAL *x)
{
    for (ptrdiff_t i = 0; i < model->n_prototypes; i += LINE_SIZE)
        TYPED(lvq_distances)(model, x, i);
}

/* The lowest of each lane so far, with its index. */
typedef struct {
    LINE best;
    LINE_INTS at;
} TYPED(lvq_lanes_best);

/* Where the lanes of d, numbered now, are lower and the mask is set. */
INLINE void TYPED(lvq_lower)(TYPED(lvq_lanes_best) * lanes, LINE d, LINE_INTS now, TYPED(mask) less)
{
    lanes->best = TYPED(pick)(less, d, lanes->best);
    lanes->at = TYPED(picki)(less, now, lanes->at);
}

INLINE void TYPED(lvq_reset)(TYPED(lvq_lanes_best) * lanes)
{
    lanes->best = (LINE){0} + (REAL)INFINITY;
    lanes->at = (LINE_INTS){0};
}

/* Squared distances of all prototypes and the index of the lowest, the first of equals. */
INLINE ptrdiff_t TYPED(lvq_scan)(const vq_lvq_model *model, const REAL *x)
{
    TYPED(lvq_lanes_best) lanes;
    TYPED(lvq_reset)(&lanes);
    for (ptrdiff_t i = 0; i < model->n_prototypes; i += LINE_SIZE) {
        const LINE d = TYPED(lvq_distances)(model, x, i);
        TYPED(lvq_lower)(&lanes, d, TYPED(lvq_lanes) + (REAL_BITS)i, TYPED(less)(d, lanes.best));
    }
    return TYPED(lowest)(lanes.best, lanes.at);
}

/* The same for the lowest two. */
INLINE void TYPED(lvq_scan_two)(const vq_lvq_model *model, const REAL *x, ptrdiff_t *first, ptrdiff_t *second)
{
    TYPED(lvq_lanes_best) one, two;
    TYPED(lvq_reset)(&one);
    TYPED(lvq_reset)(&two);
    for (ptrdiff_t i = 0; i < model->n_prototypes; i += LINE_SIZE) {
        const LINE d = TYPED(lvq_distances)(model, x, i);
        const LINE_INTS now = TYPED(lvq_lanes) + (REAL_BITS)i;
        const TYPED(mask) less = TYPED(less)(d, one.best);
        TYPED(lvq_lower)(&two, d, now, TYPED(but)(TYPED(less)(d, two.best), less));
        TYPED(lvq_lower)(&two, one.best, one.at, less);
        TYPED(lvq_lower)(&one, d, now, less);
    }
    *first = TYPED(lowest)(one.best, one.at);
    /* Where the first came from, the second of that lane takes its place. */
    const TYPED(mask) before = TYPED(below)(one.at, (REAL_BITS)*first);
    const TYPED(mask) taken = TYPED(but)(TYPED(below)(one.at, (REAL_BITS)*first + 1), before);
    TYPED(lvq_lower)(&one, two.best, two.at, taken);
    *second = TYPED(lowest)(one.best, one.at);
}

/* Of the distances as they were stored: the lowest of those from first to last - 1, and with
 * inside = 0 of all others. Called with a constant inside. */
INLINE ptrdiff_t TYPED(lvq_nearest_of)(const REAL *sq_dists, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last, int inside)
{
    TYPED(lvq_lanes_best) lanes;
    TYPED(lvq_reset)(&lanes);
    for (ptrdiff_t i = inside ? first / LINE_SIZE * LINE_SIZE : 0; i < (inside ? last : n); i += LINE_SIZE) {
        const LINE d = LINE_AT(sq_dists + i);
        const LINE_INTS now = TYPED(lvq_lanes) + (REAL_BITS)i;
        const TYPED(mask) less = TYPED(less)(d, lanes.best);
        const TYPED(mask) within = TYPED(but)(TYPED(below)(now, (REAL_BITS)last), TYPED(below)(now, (REAL_BITS)first));
        const TYPED(mask) outside = TYPED(but)(less, within);
        TYPED(lvq_lower)(&lanes, d, now, inside ? TYPED(but)(less, outside) : outside);
    }
    return TYPED(lowest)(lanes.best, lanes.at);
}

INLINE REAL *TYPED(lvq_prototype)(const vq_lvq_model *model, ptrdiff_t i)
{
    return (REAL *)model->prototypes + i * model->width;
}

/* w += factor * (x - w) */
INLINE void TYPED(lvq_move)(REAL *w, ptrdiff_t width, const REAL *x, double factor)
{
    const REAL f = (REAL)factor;
    for (ptrdiff_t j = 0; j < width; j += LINE_SIZE) {
        const LINE old = LINE_AT(w + j);
        *(LINE *)(w + j) = old + f * (LINE_AT(x + j) - old);
    }
}

/* w += factor * step */
INLINE void TYPED(lvq_add)(REAL *w, ptrdiff_t width, const REAL *step, double factor)
{
    const REAL f = (REAL)factor;
    for (ptrdiff_t j = 0; j < width; j += LINE_SIZE)
        *(LINE *)(w + j) = LINE_AT(w + j) + f * LINE_AT(step + j);
}
