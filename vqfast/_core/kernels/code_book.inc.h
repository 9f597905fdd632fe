/* Packing of a code book for the scans (layouts in kernels.h). */

/* 0 if all elements are finite, otherwise NaN. */
INLINE double finite_sign(const double *x, ptrdiff_t n)
{
    vd8 acc = {0};
    double rest = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8)
        acc += load8_f64(x + j) * 0.0;
    for (; j < n; j++)
        rest += x[j] * 0.0;
    for (int r = 0; r < 8; r++)
        rest += acc[r];
    return rest;
}

/* shift = mean of the finite code words; marks the others by half_norms = inf. */
static void pack_shift(vq_code_book *book, int obs_type)
{
    const ptrdiff_t d = book->n_features;
    double n_finite = 0;
    for (ptrdiff_t j = 0; j < d; j++)
        book->shift[j] = 0;
    for (ptrdiff_t k = 0; k < book->n_codes; k++) {
        const double *code_word = book->code_book + k * d;
        int finite = finite_sign(code_word, d) == 0;
        book->half_norms[k] = finite ? 0 : INFINITY;
        if (finite) {
            n_finite += 1;
            for (ptrdiff_t j = 0; j < d; j++)
                book->shift[j] += code_word[j];
        }
    }
    for (ptrdiff_t j = 0; j < d; j++) {
        double mean = n_finite > 0 ? book->shift[j] / n_finite : 0;
        book->shift_f32[j] = (float)mean;
        book->shift[j] = obs_type == VQ_FLOAT32 ? (double)book->shift_f32[j] : mean;
    }
}

/* |c - shift|^2 of one code word, in no particular order. */
INLINE double shifted_norm(const vq_code_book *book, ptrdiff_t k)
{
    const ptrdiff_t d = book->n_features;
    const double *code_word = book->code_book + k * d;
    vd8 acc = {0};
    double norm = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8) {
        vd8 t = load8_f64(code_word + j) - load8_f64(book->shift + j);
        acc += t * t;
    }
    for (; j < d; j++)
        norm += (code_word[j] - book->shift[j]) * (code_word[j] - book->shift[j]);
    for (int r = 0; r < 8; r++)
        norm += acc[r];
    return norm;
}

/* The squared step of a code word from its packed row of the round before. */
INLINE double sq_step(const vq_code_book *book, ptrdiff_t k)
{
    const ptrdiff_t d = book->n_features;
    const double *code_word = book->code_book + k * d;
    const float *row = book->rows + k * d;
    vd8 acc = {0};
    double step = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8) {
        vd8 t = (load8_f64(code_word + j) - load8_f64(book->shift + j)) * book->scale - load8_f32(row + j);
        acc += t * t;
    }
    for (; j < d; j++) {
        double t = (code_word[j] - book->shift[j]) * book->scale - (double)row[j];
        step += t * t;
    }
    for (int r = 0; r < 8; r++)
        step += acc[r];
    return step;
}

/* max |c - shift| over the code words that are not marked. */
static double longest_shifted(const vq_code_book *book)
{
    double longest = 0;
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->half_norms[k] < INFINITY) {
            double norm = shifted_norm(book, k);
            if (!(norm <= longest))
                longest = norm; /* a NaN, from an infinite shift, stays */
        }
    return sqrt(longest);
}

/* Returns whether the float32 scan can be trusted. */
static int pack_scale(vq_code_book *book, int obs_type)
{
    /* Squares must stay normal doubles; a float scale must be a normal float. */
    const double largest = obs_type == VQ_FLOAT32 ? 1e30 : 1e130, longest = longest_shifted(book);
    if (!(longest > 1 / largest && longest < largest))
        return 0;
    book->scale = ldexp(1.0, -ilogb(longest));
    return 1;
}

static void pack_bands(vq_code_book *book)
{
    const double d = (double)book->n_features, z = longest_shifted(book) * book->scale;
    const double rounding = (d + 8) * 0x1p-24, g = rounding / (1 - rounding), g64 = (d / 8 + 16) * 0x1p-52;
    book->band_constant = (float)(2.04 * (g * z * z / 2 + 2 * g64 * z * z));
    book->band_norm = (float)(2.04 * g * z);
    book->band_square = (float)(2.04 * 2 * g64);
    book->longest = (float)(z * BOUND_UP);
}

static void pack_half_norms(vq_code_book *book)
{
    const ptrdiff_t padded = (book->n_codes + VL - 1) / VL * VL;
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->half_norms[k] < INFINITY)
            book->half_norms[k] = (float)(0.5 * book->scale * book->scale * shifted_norm(book, k));
    for (ptrdiff_t k = book->n_codes; k < padded; k++)
        book->half_norms[k] = INFINITY;
}

/* z of one code word; zero where it is not finite (its half norm is infinite). */
INLINE void packed_row(const vq_code_book *book, ptrdiff_t k, float sign, float *z)
{
    const double *code_word = book->code_book + k * book->n_features;
    const double scale = sign * book->scale;
    if (book->half_norms[k] == INFINITY)
        memset(z, 0, (size_t)book->n_features * sizeof *z);
    else
        for (ptrdiff_t j = 0; j < book->n_features; j++)
            z[j] = (float)((code_word[j] - book->shift[j]) * scale);
}

static void pack_lanes(vq_code_book *book)
{
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        packed_row(book, k, -1, book->scores + k * book->n_features);
}

static void pack_panels(vq_code_book *book)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        packed_row(book, k, 1, book->rows + k * d);
    for (ptrdiff_t first = 0; first < book->n_codes; first += PANEL) {
        float *panel = book->scores + first * d;
        const float *rows = book->rows + first * d;
        ptrdiff_t rest = book->n_codes - first;
        ptrdiff_t width = rest >= PANEL ? PANEL : (rest + VL - 1) / VL * VL;
        for (ptrdiff_t begin = 0; begin < d; begin += VL) { /* a transposition within the first-level cache */
            ptrdiff_t end = begin + VL < d ? begin + VL : d;
            for (ptrdiff_t l = 0; l < width; l++)
                for (ptrdiff_t j = begin; j < end; j++)
                    panel[j * width + l] = l < rest ? -rows[l * d + j] : 0;
        }
    }
}

/* The last group is filled up with NaN, which never wins. */
static void pack_exact(vq_code_book *book)
{
    const ptrdiff_t d = book->n_features, n_groups = (book->n_codes + VQ_EXACT_GROUP - 1) / VQ_EXACT_GROUP;
    for (ptrdiff_t g = 0; g < n_groups; g++)
        for (ptrdiff_t l = 0; l < VQ_EXACT_GROUP; l++) {
            ptrdiff_t k = g * VQ_EXACT_GROUP + l;
            for (ptrdiff_t j = 0; j < d; j++)
                book->exact[(g * d + j) * VQ_EXACT_GROUP + l] = k < book->n_codes ? book->code_book[k * d + j] : NAN;
        }
}

static int pack_code_book(vq_code_book *book, int path, int obs_type)
{
    if (book->exact)
        pack_exact(book);
    if (path == VQ_DIRECT)
        return VQ_DIRECT;
    pack_shift(book, obs_type);
    /* Beyond 2^20 features g of the contract would approach 1/16. */
    if (book->n_features > 1 << 20 || !pack_scale(book, obs_type))
        return VQ_DIRECT;
    pack_bands(book);
    pack_half_norms(book);
    if (path == VQ_LANES)
        pack_lanes(book);
    else
        pack_panels(book);
    return path;
}

/* The longest step of the code words of a panel. */
static float longest_step(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last)
{
    double longest = 0;
    for (ptrdiff_t k = first; k < last; k++) {
        double step = sq_step(book, k);
        longest = step > longest ? step : longest;
    }
    return (float)(sqrt(longest) * BOUND_UP);
}

static int repack_code_book(vq_code_book *book, float *drifts)
{
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->half_norms[k] == INFINITY)
            return 0;
    const double z = longest_shifted(book) * book->scale; /* NaN if a code word has become one */
    if (!(z > 0x1p-10 && z < 0x1p10))
        return 0;
    for (ptrdiff_t first = 0, p = 0; first < book->n_codes; first += PANEL, p++) {
        ptrdiff_t last = first + PANEL < book->n_codes ? first + PANEL : book->n_codes;
        /* The rows are off by u Z, at most 2^-24 of the longest of either round. */
        drifts[p] =
            (drifts[p] + longest_step(book, first, last) + 0x1p-23f * (float)z + 0x1p-23f * book->longest) * BOUND_UP;
    }
    pack_bands(book);
    pack_half_norms(book);
    pack_panels(book);
    if (book->exact)
        pack_exact(book);
    return 1;
}
