/* The steps of learning vector quantization for one element type, see lvq.h.
 *
 * The including file defines REAL, TYPED(name) and LINE, LINE_INTS, LINE_ROWS: a vector of a
 * line, one of equally wide integers, and the rows whose sums are folded at once.
 */
#define LINE_SIZE ((ptrdiff_t)(VQ_LVQ_LINE / sizeof(REAL)))
#define LINE_AT(p) (*(const LINE *)(p))

/* The observation as whole lines at a line's start: rows of X may straddle lines. */
INLINE const REAL *TYPED(lvq_load)(const vq_lvq_model *model, const vq_obs *obs, ptrdiff_t i)
{
    const REAL *x = (const REAL *)obs->data + i * obs->row_stride;
    REAL *row = model->obs; /* its last features stay zero */
    const ptrdiff_t d = model->n_features;
    ptrdiff_t j = 0;
    if (obs->feature_stride == 1)
        for (; j + LINE_SIZE <= d; j += LINE_SIZE)
            *(LINE *)(row + j) = LINE_AT(x + j);
    for (; j < d; j++)
        row[j] = x[j * obs->feature_stride];
    return row;
}

/* One term of a sum: of a squared distance, or of an inner product. */
INLINE LINE TYPED(lvq_term)(LINE x, LINE w, int is_distance)
{
    if (!is_distance)
        return x * w;
    LINE t = x - w;
    return t * t;
}

/* Partial sums of n_rows rows and x, side by side for the sake of latency. Called with constants. */
INLINE void TYPED(lvq_partial)(const REAL *rows, int n_rows, ptrdiff_t width, const REAL *x, int is_distance, LINE *p)
{
    LINE sums[LINE_ROWS] = {{0}};
    for (ptrdiff_t j = 0; j < width; j += LINE_SIZE)
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++)
            sums[r] += TYPED(lvq_term)(LINE_AT(x + j), LINE_AT(rows + r * width + j), is_distance);
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
        p[r] = sums[r];
}

/* sums[i] of up to LINE_ROWS rows and x; some of the sums past n_rows are those of the rows
 * that follow, which must be there. Called with a constant is_distance. */
INLINE void TYPED(lvq_group)(const REAL *rows, ptrdiff_t n_rows, ptrdiff_t width, const REAL *x, int is_distance,
                             REAL *sums)
{
    enum { STEP = LINE_ROWS / 4 };
    LINE p[LINE_ROWS] = {{0}};
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

/* A whole line of squared distances, from prototype i on; +inf past the last prototype. */
INLINE LINE TYPED(lvq_distances)(const vq_lvq_model *model, const REAL *x, ptrdiff_t i)
{
    REAL *sq_dists = (REAL *)model->sq_dists + i;
    const REAL *rows = (const REAL *)model->prototypes + i * model->width;
    const ptrdiff_t width = model->width, left = model->n_prototypes - i;
    for (ptrdiff_t g = 0; g < LINE_SIZE && (g == 0 || g < left); g += LINE_ROWS)
        TYPED(lvq_group)(rows + g * width, left - g, width, x, 1, sq_dists + g);
    LINE d = LINE_AT(sq_dists);
    if (left < LINE_SIZE) {
        d = TYPED(pick)(TYPED(below)(TYPED(lvq_lanes), (REAL_BITS)left), d, (LINE){0} + (REAL)INFINITY);
        *(LINE *)sq_dists = d;
    }
    return d;
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

/* ---- LVQ1, OLVQ1 -------------------------------------------------------------------- */

static void TYPED(lvq1_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    (void)rule;
    const ptrdiff_t i = TYPED(lvq_scan)(model, x);
    REAL *nearest = TYPED(lvq_prototype)(model, i);
    if (model->labels[i] == class) /* foreseen more often than not */
        TYPED(lvq_move)(nearest, model->width, x, rate);
    else
        TYPED(lvq_move)(nearest, model->width, x, -rate);
}

static void TYPED(olvq1_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    (void)rate;
    const ptrdiff_t i = TYPED(lvq_scan)(model, x);
    const double own = model->rates[i], moved = model->labels[i] == class ? own : -own, next = own / (1 + moved);
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, i), model->width, x, moved);
    model->rates[i] = next < rule->rate ? next : rule->rate;
}

/* ---- LVQ2, LVQ2.1, LVQ3 ------------------------------------------------------------- */

/* The cases are branches, not selected numbers: a step that is foreseen need not wait for j. */
static void TYPED(pairs_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    const REAL *sq_dists = model->sq_dists;
    if (model->n_prototypes < 2)
        return;
    ptrdiff_t i, j;
    if (rule->when_correct == VQ_LVQ_PAIR || model->starts[class + 1] - model->starts[class] > 1) {
        TYPED(lvq_scan_two)(model, x, &i, &j);
    } else { /* where the nearest is right, the next one is wrong and stays where it is */
        i = TYPED(lvq_scan)(model, x);
        if (model->labels[i] == class) {
            if (rule->when_correct == VQ_LVQ_ATTRACT)
                TYPED(lvq_move)(TYPED(lvq_prototype)(model, i), model->width, x, rate);
            return;
        }
        j = TYPED(lvq_nearest_of)(sq_dists, model->n_prototypes, i, i + 1, 0);
    }
    REAL *nearest = TYPED(lvq_prototype)(model, i), *next = TYPED(lvq_prototype)(model, j);
    if (model->labels[i] == class) {
        if (model->labels[j] == class) {
            if (rule->epsilon > 0) {
                TYPED(lvq_move)(nearest, model->width, x, rule->epsilon * rate);
                TYPED(lvq_move)(next, model->width, x, rule->epsilon * rate);
            }
        } else if (rule->when_correct == VQ_LVQ_ATTRACT) {
            TYPED(lvq_move)(nearest, model->width, x, rate);
        } else if (rule->when_correct == VQ_LVQ_PAIR && (double)sq_dists[i] > rule->window * (double)sq_dists[j]) {
            TYPED(lvq_move)(nearest, model->width, x, rate);
            TYPED(lvq_move)(next, model->width, x, -rate);
        }
    } else if (model->labels[j] == class && (double)sq_dists[i] > rule->window * (double)sq_dists[j]) {
        TYPED(lvq_move)(nearest, model->width, x, -rate);
        TYPED(lvq_move)(next, model->width, x, rate);
    }
}

/* ---- GLVQ, GMLVQ -------------------------------------------------------------------- */

/* The nearest right and the nearest wrong prototype; returns 0 if a kind is missing or the
 * distances are zero, or so small that their squares have lost their precision. */
INLINE int TYPED(lvq_both)(const vq_lvq_model *model, const vq_lvq_rule *rule, int32_t class, ptrdiff_t *right,
                           ptrdiff_t *wrong, double factors[2])
{
    const REAL *sq_dists = model->sq_dists;
    const ptrdiff_t n = model->n_prototypes, first = model->starts[class], last = model->starts[class + 1];
    if (first == last || last - first == n)
        return 0;
    *right = last - first == 1 ? first : TYPED(lvq_nearest_of)(sq_dists, n, first, last, 1);
    *wrong = TYPED(lvq_nearest_of)(sq_dists, n, first, last, 0);
    const double plus = (double)sq_dists[*right], minus = (double)sq_dists[*wrong], sum = plus + minus;
    if (!(sum > (sizeof(REAL) == 4 ? 0x1p-120 : 0x1p-1000) && sum < INFINITY))
        return 0;
    double slope = 1;
    if (rule->beta > 0) {
        const double e = exp1(-rule->beta * fabs((plus - minus) / sum));
        slope = rule->beta * e / ((1 + e) * (1 + e));
    }
    const double g = 4 * slope / sum;
    factors[0] = g * (minus / sum);
    factors[1] = g * (plus / sum);
    return 1;
}

static void TYPED(glvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    ptrdiff_t right, wrong;
    double factors[2];
    TYPED(lvq_sq_dists)(model, x);
    if (!TYPED(lvq_both)(model, rule, class, &right, &wrong, factors))
        return;
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, right), model->width, x, at_most_one(rate * factors[0]));
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, wrong), model->width, x, -at_most_one(rate * factors[1]));
}

/* A tile of the products rows (n, width) times matrix (d, rank_width), each added up in the
 * order of the features. */
INLINE void TYPED(lvq_tile)(const REAL *rows, ptrdiff_t width, const REAL *matrix, ptrdiff_t d, ptrdiff_t rank_width,
                            int n_rows, int n_lines, REAL *products)
{
    LINE sums[LVQ_TILE_ROWS][LVQ_TILE_LINES] = {{{0}}};
    for (ptrdiff_t k = 0; k < d; k++)
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
            for (int l = 0; l < n_lines; l++)
                sums[r][l] += rows[r * width + k] * LINE_AT(matrix + k * rank_width + l * LINE_SIZE);
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int l = 0; l < n_lines; l++)
            *(LINE *)(products + r * rank_width + l * LINE_SIZE) = sums[r][l];
}

static void TYPED(lvq_products)(const REAL *rows, ptrdiff_t n_rows, ptrdiff_t width, const REAL *matrix, ptrdiff_t d,
                                ptrdiff_t rank_width, REAL *products)
{
    enum { R = LVQ_TILE_ROWS, C = LVQ_TILE_LINES };
    for (ptrdiff_t i = 0; i < n_rows;) {
        const int whole = n_rows - i >= R;
        const REAL *x = rows + i * width;
        REAL *out = products + i * rank_width;
        for (ptrdiff_t l = 0; l < rank_width;) {
            if (rank_width - l >= C * LINE_SIZE) {
                if (whole)
                    TYPED(lvq_tile)(x, width, matrix + l, d, rank_width, R, C, out + l);
                else
                    TYPED(lvq_tile)(x, width, matrix + l, d, rank_width, 1, C, out + l);
                l += C * LINE_SIZE;
            } else {
                if (whole)
                    TYPED(lvq_tile)(x, width, matrix + l, d, rank_width, R, 1, out + l);
                else
                    TYPED(lvq_tile)(x, width, matrix + l, d, rank_width, 1, 1, out + l);
                l += LINE_SIZE;
            }
        }
        i += whole ? R : 1;
    }
}

/* With u = x - w, z = omega u and the factors c of lvq_both, for the nearest right (+) and
 * wrong (-) prototype, c limited to 1 as in GLVQ:
 *     w+ += a c+ omega' z+;    w- -= a c- omega' z-;
 *     omega -= b (c+ z+ u+' - c- z- u-'), b = a matrix_rate, then omega /= |omega|.
 * The matrix is kept as omega' / scale, so that dividing by the norm costs nothing; the norm
 * is that of the stored elements in their order, by sum() of lvq.h. A term of the matrix's step is
 * limited to half of its norm. */
static void TYPED(gmlvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    const ptrdiff_t width = model->width, rank_width = model->rank_width, d = model->n_features;
    REAL *u = model->differences, *z = model->projections, *sq_dists = model->sq_dists, *matrix = model->matrix;
    const REAL *w = model->prototypes;
    for (ptrdiff_t j = 0; j < model->n_prototypes * width; j += LINE_SIZE)
        *(LINE *)(u + j) = LINE_AT(x + j % width) - LINE_AT(w + j);
    TYPED(lvq_products)(u, model->n_prototypes, width, matrix, d, rank_width, z);
    const REAL sq_scale = (REAL)(model->scale * model->scale);
    for (ptrdiff_t i = 0; i < model->n_prototypes; i++) {
        LINE p = {0};
        for (ptrdiff_t l = 0; l < rank_width; l += LINE_SIZE)
            p += LINE_AT(z + i * rank_width + l) * LINE_AT(z + i * rank_width + l);
        sq_dists[i] = TYPED(fold1)(p) * sq_scale;
    }
    for (ptrdiff_t i = model->n_prototypes; i % LINE_SIZE; i++)
        sq_dists[i] = INFINITY;
    ptrdiff_t pair[2];
    double factors[2];
    if (!TYPED(lvq_both)(model, rule, class, &pair[0], &pair[1], factors))
        return;
    REAL steps[2];
    for (int s = 0; s < 2; s++) {
        const REAL *own_u = u + pair[s] * width, *own_z = z + pair[s] * rank_width;
        REAL *move = (REAL *)model->moves + s * width;
        REAL size[2];
        TYPED(lvq_sums)(matrix, d, rank_width, own_z, 0, move);
        for (ptrdiff_t j = d; j < width; j++)
            move[j] = 0;
        TYPED(lvq_add)(TYPED(lvq_prototype)(model, pair[s]), width, move,
                       (s ? -1 : 1) * at_most_one(rate * factors[s]) * (model->scale * model->scale));
        LINE p = {0}, q = {0};
        for (ptrdiff_t j = 0; j < width; j += LINE_SIZE)
            p += LINE_AT(own_u + j) * LINE_AT(own_u + j);
        for (ptrdiff_t l = 0; l < rank_width; l += LINE_SIZE)
            q += LINE_AT(own_z + l) * LINE_AT(own_z + l);
        size[0] = TYPED(fold1)(p);
        size[1] = TYPED(fold1)(q);
        /* |z u'| in units of the norm of omega, which is one */
        const double norm = sqrt((double)size[0]) * sqrt((double)size[1]) * model->scale;
        const double wanted = rate * rule->matrix_rate * factors[s];
        steps[s] = (REAL)((s ? 1 : -1) * (wanted * norm > 0.5 ? 0.5 / norm : wanted));
    }
    const REAL *up = u + pair[0] * width, *um = u + pair[1] * width;
    const REAL *zp = z + pair[0] * rank_width, *zm = z + pair[1] * rank_width;
    LINE norm = {0};
    for (ptrdiff_t k = 0; k < d; k++) {
        const REAL fp = steps[0] * up[k], fm = steps[1] * um[k];
        for (ptrdiff_t l = 0; l < rank_width; l += LINE_SIZE) {
            REAL *element = matrix + k * rank_width + l;
            const LINE moved = LINE_AT(element) + (fp * LINE_AT(zp + l) + fm * LINE_AT(zm + l));
            *(LINE *)element = moved;
            norm += moved * moved;
        }
    }
    const double length = sqrt((double)TYPED(fold1)(norm));
    model->scale = 1 / length;
    if (length > 0x1p10 || length < 0x1p-10) {
        const REAL factor = (REAL)model->scale;
        for (ptrdiff_t j = 0; j < d * rank_width; j += LINE_SIZE)
            *(LINE *)(matrix + j) = factor * LINE_AT(matrix + j);
        model->scale = 1;
    }
}

/* ---- RSLVQ -------------------------------------------------------------------------- */

static void TYPED(rslvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate)
{
    const ptrdiff_t n = model->n_prototypes, first = model->starts[class], last = model->starts[class + 1];
    const double per_distance = 1 / (2 * rule->variance), step = rate / rule->variance;
    double *factors = model->factors;
    REAL *sq_dists = model->sq_dists;
    const double lowest = (double)sq_dists[TYPED(lvq_scan)(model, x)];
    if (!(lowest < INFINITY))
        return;
    vd8 sums = {0};
    for (ptrdiff_t i = 0; i < n; i += 8) {
        const vd8 p = exp8((lowest - TYPED(load8)(sq_dists + i)) * per_distance);
        *(vd8 *)(factors + i) = p;
        sums += p;
    }
    const double total = fold1_f64(sums), each = step / total;
    double own = INFINITY, own_total = 0;
    for (ptrdiff_t i = first; i < last; i++)
        own = (double)sq_dists[i] < own ? (double)sq_dists[i] : own;
    for (ptrdiff_t i = first; i < last; i++)
        own_total += exp1((own - (double)sq_dists[i]) * per_distance);
    for (ptrdiff_t i = 0; i < n; i++) {
        double factor = -each * factors[i];
        if (first <= i && i < last)
            factor += step * (exp1((own - (double)sq_dists[i]) * per_distance) / own_total);
        if (fabs(factor) > 1e-12 * step)
            TYPED(lvq_move)(TYPED(lvq_prototype)(model, i), model->width, x, factor);
    }
}

/* ---- runs of steps ------------------------------------------------------------------ */

/* Lines of the next observation that are asked for in advance. */
enum { TYPED(LVQ_PREFETCHED) = 16 };

#define LVQ_TRAIN(step)                                                                                                \
    static void TYPED(step##_train)(vq_lvq_model * model, const vq_lvq_rule *rule, const vq_obs *obs,                  \
                                    const int32_t *classes, const int64_t *order, const double *rates,                 \
                                    ptrdiff_t n_steps)                                                                 \
    {                                                                                                                  \
        for (ptrdiff_t t = 0; t < n_steps; t++) {                                                                      \
            const REAL *x = TYPED(lvq_load)(model, obs, (ptrdiff_t)order[t]);                                          \
            const REAL *next = (const REAL *)obs->data + order[t + 1 < n_steps ? t + 1 : t] * obs->row_stride;         \
            for (ptrdiff_t j = 0; j < model->width && j < TYPED(LVQ_PREFETCHED) * LINE_SIZE; j += LINE_SIZE)           \
                __builtin_prefetch((const char *)next + j * (ptrdiff_t)sizeof(REAL));                                  \
            TYPED(step)(model, rule, x, classes[order[t]], rates[t]);                                                  \
        }                                                                                                              \
    }

LVQ_TRAIN(lvq1_step)
LVQ_TRAIN(olvq1_step)
LVQ_TRAIN(pairs_step)
LVQ_TRAIN(glvq_step)
LVQ_TRAIN(gmlvq_step)
LVQ_TRAIN(rslvq_step)
#undef LVQ_TRAIN

static double TYPED(lvq_spread)(vq_lvq_model *model, const void *centre)
{
    const REAL *sq_dists = model->sq_dists;
    double largest = 0;
    TYPED(lvq_sq_dists)(model, centre);
    for (ptrdiff_t i = 0; i < model->n_prototypes; i++) {
        if (!(sq_dists[i] < INFINITY))
            return INFINITY;
        largest = (double)sq_dists[i] > largest ? (double)sq_dists[i] : largest;
    }
    return largest;
}

/* ---- passes over the observations --------------------------------------------------- */

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

#undef LINE_SIZE
#undef LINE_AT
