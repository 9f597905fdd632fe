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
INLINE double shifted_norm(const double *code_word, const double *shift, ptrdiff_t n)
{
    vd8 acc = {0};
    double norm = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8) {
        vd8 t = load8_f64(code_word + j) - load8_f64(shift + j);
        acc += t * t;
    }
    for (; j < n; j++)
        norm += (code_word[j] - shift[j]) * (code_word[j] - shift[j]);
    for (int r = 0; r < 8; r++)
        norm += acc[r];
    return norm;
}

/* scale and the bands. Returns whether the float32 scan can be trusted. */
static int pack_bands(vq_code_book *book, int obs_type)
{
    const double d = (double)book->n_features;
    /* Squares must stay normal doubles; a float scale must be a normal float. */
    const double largest = obs_type == VQ_FLOAT32 ? 1e30 : 1e130;
    double longest = 0;
    if (book->n_features > 1 << 20)
        return 0; /* g of the contract would approach 1/16 */
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->half_norms[k] == 0) {
            double norm = shifted_norm(book->code_book + k * book->n_features, book->shift, book->n_features);
            if (!(norm <= longest))
                longest = norm; /* a NaN, from an infinite shift, stays */
        }
    longest = sqrt(longest);
    if (!(longest > 1 / largest && longest < largest))
        return 0;
    book->scale = ldexp(1.0, -ilogb(longest));

    double rounding = (d + 8) * 0x1p-24;
    double g = rounding / (1 - rounding), g64 = (d / 8 + 16) * 0x1p-52;
    double z = longest * book->scale;
    book->band_constant = (float)(2.04 * (g * z * z / 2 + 2 * g64 * z * z));
    book->band_norm = (float)(2.04 * g * z);
    book->band_square = (float)(2.04 * 2 * g64);
    return 1;
}

static void pack_half_norms(vq_code_book *book)
{
    const ptrdiff_t padded = (book->n_codes + VL - 1) / VL * VL;
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->half_norms[k] == 0)
            book->half_norms[k] =
                (float)(0.5 * book->scale * book->scale
                        * shifted_norm(book->code_book + k * book->n_features, book->shift, book->n_features));
    for (ptrdiff_t k = book->n_codes; k < padded; k++)
        book->half_norms[k] = INFINITY;
}

/* z of one code word; zero where it is not finite (its half norm is infinite). */
INLINE float packed_element(const vq_code_book *book, ptrdiff_t k, ptrdiff_t j)
{
    if (book->half_norms[k] == INFINITY)
        return 0;
    return (float)((book->code_book[k * book->n_features + j] - book->shift[j]) * book->scale);
}

static void pack_lanes(vq_code_book *book)
{
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        for (ptrdiff_t j = 0; j < book->n_features; j++)
            book->scores[k * book->n_features + j] = -packed_element(book, k, j);
}

static void pack_panels(vq_code_book *book)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t first = 0; first < book->n_codes; first += PANEL) {
        float *panel = book->scores + first * d;
        ptrdiff_t rest = book->n_codes - first;
        ptrdiff_t width = rest >= PANEL ? PANEL : (rest + VL - 1) / VL * VL;
        for (ptrdiff_t l = 0; l < width; l++)
            for (ptrdiff_t j = 0; j < d; j++) {
                float z = l < rest ? packed_element(book, first + l, j) : 0;
                panel[j * width + l] = -z;
                if (l < rest)
                    book->rows[(first + l) * d + j] = z;
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
    if (!pack_bands(book, obs_type))
        return VQ_DIRECT;
    pack_half_norms(book);
    if (path == VQ_LANES)
        pack_lanes(book);
    else
        pack_panels(book);
    return path;
}
