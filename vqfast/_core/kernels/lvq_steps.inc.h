/* Learning vector quantization: one step of each rule, and runs of steps. */

/* ---- LVQ1, OLVQ1 -------------------------------------------------------------------- */

static void TYPED(lvq1_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                             int32_t *foreseen)
{
    (void)rule;
    const ptrdiff_t i = foresee(TYPED(lvq_scan)(model, x), foreseen);
    REAL *nearest = TYPED(lvq_prototype)(model, i);
    if (model->labels[i] == class) /* foreseen more often than not */
        TYPED(lvq_move)(nearest, model->width, x, rate);
    else
        TYPED(lvq_move)(nearest, model->width, x, -rate);
}

static void TYPED(olvq1_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                              int32_t *foreseen)
{
    (void)rate;
    const ptrdiff_t i = foresee(TYPED(lvq_scan)(model, x), foreseen);
    const double own = model->rates[i], moved = model->labels[i] == class ? own : -own, next = own / (1 + moved);
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, i), model->width, x, moved);
    model->rates[i] = next < rule->rate ? next : rule->rate;
}

/* ---- LVQ2, LVQ2.1, LVQ3 ------------------------------------------------------------- */

/* The cases are branches, not selected numbers: a step that is foreseen need not wait for j. */
static void TYPED(pairs_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                              int32_t *foreseen)
{
    const REAL *sq_dists = model->sq_dists;
    if (model->n_prototypes < 2)
        return;
    ptrdiff_t i, j;
    if (rule->when_correct == VQ_LVQ_PAIR || model->starts[class + 1] - model->starts[class] > 1) {
        TYPED(lvq_scan_two)(model, x, &i, &j);
        i = foresee(i, foreseen);
        j = foresee(j, foreseen + 1);
    } else { /* where the nearest is right, the next one is wrong and stays where it is */
        i = foresee(TYPED(lvq_scan)(model, x), foreseen);
        if (model->labels[i] == class) {
            if (rule->when_correct == VQ_LVQ_ATTRACT)
                TYPED(lvq_move)(TYPED(lvq_prototype)(model, i), model->width, x, rate);
            return;
        }
        j = foresee(TYPED(lvq_nearest_of)(sq_dists, model->n_prototypes, i, i + 1, 0), foreseen + 1);
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
INLINE int TYPED(lvq_both)(const vq_lvq_model *model, const vq_lvq_rule *rule, int32_t class, double rate,
                           int32_t *foreseen, ptrdiff_t *right, ptrdiff_t *wrong, double factors[2])
{
    const REAL *sq_dists = model->sq_dists;
    const ptrdiff_t n = model->n_prototypes, first = model->starts[class], last = model->starts[class + 1];
    if (first == last || last - first == n)
        return 0;
    *right = last - first == 1 ? first : foresee(TYPED(lvq_nearest_of)(sq_dists, n, first, last, 1), foreseen);
    *wrong = foresee(TYPED(lvq_nearest_of)(sq_dists, n, first, last, 0), foreseen + 1);
    const double plus = (double)sq_dists[*right], minus = (double)sq_dists[*wrong], sum = plus + minus;
    if (!(sum > (sizeof(REAL) == 4 ? 0x1p-120 : 0x1p-1000) && sum < INFINITY))
        return 0;
    const double each = 1 / sum, scale = (rule->beta > 0 ? rule->beta * rate : rate) * (4 * each);
    double slope = 1;
    if (rule->beta > 0) {
        const double e = exp1(-rule->beta * fabs((plus - minus) * each)), whole = 1 + e;
        slope = e / (whole * whole);
    }
    factors[0] = scale * (minus * each) * slope;
    factors[1] = scale * (plus * each) * slope;
    return 1;
}

static void TYPED(glvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                             int32_t *foreseen)
{
    ptrdiff_t right, wrong;
    double factors[2];
    TYPED(lvq_sq_dists)(model, x);
    if (!TYPED(lvq_both)(model, rule, class, rate, foreseen, &right, &wrong, factors))
        return;
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, right), model->width, x, at_most_one(factors[0]));
    TYPED(lvq_move)(TYPED(lvq_prototype)(model, wrong), model->width, x, -at_most_one(factors[1]));
}

/* A tile of the products rows (n, width) times matrix (d, rank_width), each added up in the
 * order of the features. */
INLINE void TYPED(lvq_tile)(const REAL *rows, ptrdiff_t width, const REAL *matrix, ptrdiff_t d, ptrdiff_t rank_width,
                            int n_rows, int n_lines, REAL *products)
{
    PART sums[LVQ_TILE_ROWS][LVQ_TILE_LINES * PARTS] = {{{0}}};
    for (ptrdiff_t k = 0; k < d; k++)
#pragma GCC unroll 8
        for (int q = 0; q < n_lines * PARTS; q++) {
            const PART column = PART_LOAD(matrix + k * rank_width + q * PART_SIZE);
#pragma GCC unroll 4
            for (int r = 0; r < n_rows; r++)
                sums[r][q] += rows[r * width + k] * column;
        }
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 8
        for (int q = 0; q < n_lines * PARTS; q++)
            PART_STORE(products + r * rank_width + q * PART_SIZE, sums[r][q]);
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
static void TYPED(gmlvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                              int32_t *foreseen)
{
    const ptrdiff_t width = model->width, rank_width = model->rank_width, d = model->n_features;
    REAL *u = model->differences, *z = model->projections, *sq_dists = model->sq_dists, *matrix = model->matrix;
    const REAL *w = model->prototypes;
    for (ptrdiff_t j = 0; j < model->n_prototypes * width; j += LINE_SIZE)
        *(LINE *)(u + j) = LINE_AT(x + j % width) - LINE_AT(w + j);
    TYPED(lvq_products)(u, model->n_prototypes, width, matrix, d, rank_width, z);
    const REAL sq_scale = (REAL)(model->scale * model->scale);
    for (ptrdiff_t i = 0; i < model->n_prototypes; i++) {
        const REAL *own = z + i * rank_width;
        sq_dists[i] = TYPED(lvq_inner)(own, own, rank_width) * sq_scale;
    }
    for (ptrdiff_t i = model->n_prototypes; i % LINE_SIZE; i++)
        sq_dists[i] = INFINITY;
    ptrdiff_t pair[2];
    double factors[2];
    if (!TYPED(lvq_both)(model, rule, class, rate, foreseen, &pair[0], &pair[1], factors))
        return;
    REAL steps[2];
    for (int s = 0; s < 2; s++) {
        const REAL *own_u = u + pair[s] * width, *own_z = z + pair[s] * rank_width;
        REAL *move = (REAL *)model->moves + s * width;
        TYPED(lvq_sums)(matrix, d, rank_width, own_z, 0, move);
        for (ptrdiff_t j = d; j < width; j++)
            move[j] = 0;
        TYPED(lvq_add)(TYPED(lvq_prototype)(model, pair[s]), width, move,
                       (s ? -1 : 1) * at_most_one(factors[s]) * (model->scale * model->scale));
        const double u_norm = sqrt((double)TYPED(lvq_inner)(own_u, own_u, width));
        const double z_norm = sqrt((double)TYPED(lvq_inner)(own_z, own_z, rank_width));
        const double norm = u_norm * z_norm * model->scale; /* |z u'| in units of that of omega, which is one */
        const double wanted = rule->matrix_rate * factors[s];
        steps[s] = (REAL)((s ? 1 : -1) * (wanted * norm > 0.5 ? 0.5 / norm : wanted));
    }
    const REAL *up = u + pair[0] * width, *um = u + pair[1] * width;
    const REAL *zp = z + pair[0] * rank_width, *zm = z + pair[1] * rank_width;
    PART norm[PARTS] = {{0}};
    for (ptrdiff_t k = 0; k < d; k++) {
        const REAL fp = steps[0] * up[k], fm = steps[1] * um[k];
        for (ptrdiff_t l = 0; l < rank_width; l += LINE_SIZE)
#pragma GCC unroll 4
            for (int q = 0; q < PARTS; q++) {
                const ptrdiff_t at = l + q * PART_SIZE;
                REAL *element = matrix + k * rank_width + at;
                const PART step = fp * PART_LOAD(zp + at) + fm * PART_LOAD(zm + at), moved = PART_LOAD(element) + step;
                PART_STORE(element, moved);
                norm[q] += moved * moved;
            }
    }
    const double length = sqrt((double)TYPED(lvq_fold)(norm));
    model->scale = 1 / length;
    if (length > 0x1p10 || length < 0x1p-10) {
        const REAL factor = (REAL)model->scale;
        for (ptrdiff_t j = 0; j < d * rank_width; j += LINE_SIZE)
            *(LINE *)(matrix + j) = factor * LINE_AT(matrix + j);
        model->scale = 1;
    }
}

/* ---- RSLVQ -------------------------------------------------------------------------- */

static void TYPED(rslvq_step)(vq_lvq_model *model, const vq_lvq_rule *rule, const REAL *x, int32_t class, double rate,
                              int32_t *foreseen)
{
    (void)foreseen;
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
    for (ptrdiff_t i = first; i < last && last - first > 1; i++)
        own_total += exp1((own - (double)sq_dists[i]) * per_distance);
    for (ptrdiff_t i = 0; i < n; i++) {
        double factor = -each * factors[i];
        if (first <= i && i < last)
            factor += last - first == 1 ? step : step * (exp1((own - (double)sq_dists[i]) * per_distance) / own_total);
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
            TYPED(step)(model, rule, x, classes[order[t]], rates[t], model->foreseen + 2 * order[t]);                  \
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
