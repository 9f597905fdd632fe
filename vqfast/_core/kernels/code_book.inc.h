/* Packing of a code book for the scans (layouts in kernels.h). */

/* Whether all elements are finite. */
static int all_finite(const double *x, ptrdiff_t n)
{
    double sum = 0; /* of zeros, or NaN */
    for (ptrdiff_t j = 0; j < n; j++)
        sum += x[j] * 0.0;
    return sum == 0;
}

/* The mean of some finite code words, spread over the book: any vector near them is as good. */
static void pack_shift(vq_code_book *book, int obs_type)
{
    const ptrdiff_t d = book->n_features, step = (book->n_codes + 255) / 256;
    double n_finite = 0;
    for (ptrdiff_t j = 0; j < d; j++)
        book->shift[j] = 0;
    for (ptrdiff_t k = 0; k < book->n_codes; k += step) {
        const double *code_word = book->code_book + k * d;
        if (all_finite(code_word, d)) {
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

/* Whether code words first ... last - 1 are packed as they are. */
INLINE int at_rest(const vq_code_book *book, ptrdiff_t first, ptrdiff_t last)
{
    int moved = book->moved == NULL;
    for (ptrdiff_t k = first; !moved && k < last; k++)
        moved = book->moved[k];
    return !moved;
}

/* sq_norms[k] = |c - shift|^2 */
static void pack_sq_norms(vq_code_book *book, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t k = first; k < last; k++)
        if (!at_rest(book, k, k + 1))
            book->sq_norms[k] = sq_dist_f64(book->code_book + k * d, book->shift, d);
}

/* All code words of the lanes path in 16 bits, see int16.inc.h. */
static void int16_pack(vq_code_book *book);

/* max |c - shift|. Code words that are not finite get the norm inf and do not count; a
 * finite one whose norm overflows makes the result inf. */
static double longest_shifted(vq_code_book *book, ptrdiff_t *n_excluded)
{
    double longest = 0;
    *n_excluded = 0;
    for (ptrdiff_t k = 0; k < book->n_codes; k++)
        if (book->sq_norms[k] < INFINITY)
            longest = book->sq_norms[k] > longest ? book->sq_norms[k] : longest;
        else if (all_finite(book->code_book + k * book->n_features, book->n_features))
            longest = INFINITY;
        else {
            book->sq_norms[k] = INFINITY;
            ++*n_excluded;
        }
    return sqrt(longest);
}

static int pack_scale(vq_code_book *book, int obs_type, int keep)
{
    /* Squares must stay normal doubles; a float scale must be a normal float. */
    const double largest = obs_type == VQ_FLOAT32 ? 1e30 : 1e130, d = (double)book->n_features;
    ptrdiff_t n_excluded;
    const double longest = longest_shifted(book, &n_excluded);
    if (keep) {
        const double z = longest * book->scale;
        if (n_excluded || !(z > 0x1p-10 && z < 0x1p10))
            return 0;
    } else {
        /* Beyond 2^20 features g of the contract would approach 1/16. */
        if (d > 0x1p20 || !(longest > 1 / largest && longest < largest))
            return 0;
        book->scale = ldexp(1.0, -ilogb(longest));
        book->longest = 0;
    }
    const double rounding = (d + 8) * 0x1p-24, g = rounding / (1 - rounding), g64 = (d / 8 + 16) * 0x1p-52;
    const double z = longest * book->scale;
    book->band_constant = (float)(2.04 * (g * z * z / 2 + 2 * g64 * z * z));
    book->band_norm = (float)(2.04 * g * z);
    book->band_square = (float)(2.04 * 2 * g64);
    book->longest_before = book->longest;
    book->longest = (float)(z * BOUND_UP);
    return 1;
}

/* z of one code word; zero where it is not finite (its half norm is infinite). */
INLINE void packed_row(const vq_code_book *book, ptrdiff_t k, float sign, float *z)
{
    const double *code_word = book->code_book + k * book->n_features;
    const double scale = sign * book->scale;
    if (book->sq_norms[k] == INFINITY)
        memset(z, 0, (size_t)book->n_features * sizeof *z);
    else
        for (ptrdiff_t j = 0; j < book->n_features; j++)
            z[j] = (float)((code_word[j] - book->shift[j]) * scale);
}

/* The step of a code word from its packed row of the round before, in packed units. */
static float step_of(const vq_code_book *book, ptrdiff_t k)
{
    const ptrdiff_t d = book->n_features;
    const double *code_word = book->code_book + k * d;
    const float *row = book->rows + k * d;
    vd sums[VDS] = {{0}};
    double step = 0, partial[8];
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8)
#pragma GCC unroll 4
        for (int v = 0; v < VDS; v++) {
            const vd z = (vd_load(code_word + j + v * VDL) - vd_load(book->shift + j + v * VDL)) * book->scale;
            const vd t = z - vd_load_f32(row + j + v * VDL);
            sums[v] += t * t;
        }
    vd_store8(partial, sums);
    for (; j < d; j++) {
        double t = (code_word[j] - book->shift[j]) * book->scale - (double)row[j];
        step += t * t;
    }
    for (int r = 0; r < 8; r++)
        step += partial[r];
    return (float)(sqrt(step) * BOUND_UP);
}

/* One panel of up to PANEL code words. */
static void pack_panel(vq_code_book *book, ptrdiff_t first, ptrdiff_t n, float *drift)
{
    const ptrdiff_t d = book->n_features, width = n == PANEL ? PANEL : (n + VL - 1) / VL * VL;
    float *panel = book->scores + first * d, *rows = book->rows + first * d, longest = 0;
    for (ptrdiff_t l = 0; l < n; l++) {
        if (drift) {
            float step = step_of(book, first + l);
            longest = step > longest ? step : longest;
        }
        packed_row(book, first + l, 1, rows + l * d);
    }
    if (drift) /* rows of either round are off by u Z, at most 2^-24 of the longest */
        *drift = (*drift + longest + 0x1p-23f * (book->longest + book->longest_before)) * BOUND_UP;
    for (ptrdiff_t begin = 0; begin < d; begin += VL) { /* a transposition within the first-level cache */
        ptrdiff_t end = begin + VL < d ? begin + VL : d;
        for (ptrdiff_t l = 0; l < n; l++)
            for (ptrdiff_t j = begin; j < end; j++)
                panel[j * width + l] = -rows[l * d + j];
        for (ptrdiff_t l = n; l < width; l++)
            for (ptrdiff_t j = begin; j < end; j++)
                panel[j * width + l] = 0;
    }
}

/* The last group is filled up with NaN, which never wins. */
static void pack_exact(vq_code_book *book, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t d = book->n_features;
    for (ptrdiff_t g = first / VQ_EXACT_GROUP; g * VQ_EXACT_GROUP < last; g++)
        for (ptrdiff_t l = 0; l < VQ_EXACT_GROUP; l++) {
            ptrdiff_t k = g * VQ_EXACT_GROUP + l;
            for (ptrdiff_t j = 0; j < d; j++)
                book->exact[(g * d + j) * VQ_EXACT_GROUP + l] = k < book->n_codes ? book->code_book[k * d + j] : NAN;
        }
}

static void pack_codes(vq_code_book *book, int path, ptrdiff_t first, ptrdiff_t last, float *drifts)
{
    if (book->exact)
        pack_exact(book, first, last);
    if (path == VQ_DIRECT)
        return;
    for (ptrdiff_t k = first; k < last; k++)
        book->half_norms[k] = (float)(0.5 * book->scale * book->scale * book->sq_norms[k]);
    for (ptrdiff_t k = last; last == book->n_codes && k % VL; k++)
        book->half_norms[k] = INFINITY;
    if (path == VQ_LANES) {
        for (ptrdiff_t k = first; k < last; k++)
            packed_row(book, k, -1, book->scores + k * book->n_features);
        if (first == 0)
            int16_pack(book);
    } else if (path == VQ_INTEGERS) {
        for (ptrdiff_t k = first; k < last; k++)
            if (!at_rest(book, k, k + 1))
                packed_row(book, k, 1, book->rows + k * book->n_features);
    } else
        for (ptrdiff_t k = first; k < last; k += PANEL) {
            const ptrdiff_t n = last - k < PANEL ? last - k : PANEL;
            if (!at_rest(book, k, k + n))
                pack_panel(book, k, n, drifts ? drifts + k / PANEL : NULL);
        }
}
