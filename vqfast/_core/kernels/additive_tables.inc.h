/* Code books whose words are added: observations and words rounded to 16 bits, their inner products
 * and the tables of a search. */

/* ---- reading observations ------------------------------------------------------------ */

/* Observation i, less shift if there is one, in row. */
INLINE void widen_obs(const vq_obs *obs, int obs_type, ptrdiff_t i, ptrdiff_t d, const double *shift, double *row)
{
    const ptrdiff_t first = i * obs->row_stride, step = obs->feature_stride;
    if (obs_type == VQ_FLOAT64) {
        const double *x = (const double *)obs->data + first;
        for (ptrdiff_t j = 0; j < d; j++)
            row[j] = x[j * step];
    } else if (step == 1) {
        const float *x = (const float *)obs->data + first;
        for (ptrdiff_t j = 0; j < d; j++)
            row[j] = x[j];
    } else {
        const float *x = (const float *)obs->data + first;
        for (ptrdiff_t j = 0; j < d; j++)
            row[j] = x[j * step];
    }
    for (ptrdiff_t j = 0; shift && j < d; j++)
        row[j] -= shift[j];
}

INLINE double sq_norm_of(const double *x, ptrdiff_t d)
{
    vd sums[VDS] = {{0}};
    double partial[8], sum = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8)
#pragma GCC unroll 4
        for (int v = 0; v < VDS; v++)
            sums[v] += vd_load(x + j + v * VDL) * vd_load(x + j + v * VDL);
    vd_store8(partial, sums);
    for (int r = 0; j < d; j++, r++)
        partial[r] += x[j] * x[j];
    for (int r = 0; r < 8; r++)
        sum += partial[r];
    return sum;
}

/* ---- inner products of 16-bit rows and words ----------------------------------------- */

INLINE vi vi_load(const void *p)
{
    vi a;
    memcpy(&a, p, sizeof a);
    return a;
}

enum { GROUP_VECTORS = VQ_SUM_GROUP / VL };

/* Rows tile by tile against groups of words: dots[r * stride + w]. Called with constants, so
 * that the sums stay in registers. */
INLINE void dot_tile(const int16_t *rows, const int16_t *words, ptrdiff_t n_pairs, const int n_rows,
                     const int n_vectors, ptrdiff_t stride, int32_t *dots)
{
    vi acc[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            acc[r][v] = vi_set(0);
    const ptrdiff_t group = n_pairs * 2 * VQ_SUM_GROUP;
    for (ptrdiff_t j = 0; j < n_pairs; j++) {
        vi b[4];
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            b[v] = vi_load(words + v / GROUP_VECTORS * group + j * 2 * VQ_SUM_GROUP + v % GROUP_VECTORS * 2 * VL);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            int32_t pair;
            memcpy(&pair, rows + (r * n_pairs + j) * 2, sizeof pair);
            vi a = vi_set(pair);
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++)
                acc[r][v] = vi_dot(acc[r][v], a, b[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
            vi_store(dots + r * stride + v * VL, acc[r][v]);
}

#if defined(__AVX512F__)
enum { DOT_ROWS = 8, DOT_VECTORS = 2 };
#elif defined(__AVX2__)
enum { DOT_ROWS = 4, DOT_VECTORS = 2 };
#else
enum { DOT_ROWS = 2, DOT_VECTORS = 4 };
#endif

/* dots (n_rows, n_books * width); n_rows is a multiple of VQ_SUM_ROWS. */
static void word_dots(const vq_sum_books *books, const int16_t *rows, ptrdiff_t n_rows, int32_t *dots)
{
    const ptrdiff_t n_words = books->n_books * books->width, pairs = books->n_pairs;
    for (ptrdiff_t w = 0; w < n_words; w += DOT_VECTORS * VL)
        for (ptrdiff_t r = 0; r < n_rows; r += DOT_ROWS)
            dot_tile(rows + r * pairs * 2, books->words + w * pairs * 2, pairs, DOT_ROWS, DOT_VECTORS, n_words,
                     dots + r * n_words + w);
}

/* The nearest integer of a float product, halves away from zero. */
INLINE int32_t scaled(int32_t dot, float factor)
{
    float value = (float)dot * factor;
    return (int32_t)(value + (value < 0 ? -0.5f : 0.5f));
}

/* ---- rounding and tables --------------------------------------------------------------- */

INLINE int16_t *packed_word(const vq_sum_books *books, ptrdiff_t m, ptrdiff_t k)
{
    const ptrdiff_t w = m * books->width + k;
    return books->words + w / VQ_SUM_GROUP * VQ_SUM_GROUP * 2 * books->n_pairs + w % VQ_SUM_GROUP * 2;
}

static void pack_words(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, double *sq_norms)
{
    for (ptrdiff_t w = first; w < last; w++) {
        const ptrdiff_t m = w / books->n_codes, k = w % books->n_codes;
        const double *centred = books->centred + w * books->n_features;
        int16_t *word = packed_word(books, m, k);
        int32_t sq_norm = 0;
        for (ptrdiff_t j = 0; j < books->n_features; j++) {
            int16_t element = (int16_t)rint(centred[j] * books->word_scale);
            word[j / 2 * 2 * VQ_SUM_GROUP + j % 2] = element;
            sq_norm += element * element;
        }
        sq_norms[w] = sq_norm;
    }
}

/* Word w (counted through the books) and those after it as rows. */
static ptrdiff_t words_as_rows(const vq_sum_books *books, ptrdiff_t w, ptrdiff_t last, int16_t *rows)
{
    const ptrdiff_t n = last - w < VQ_SUM_ROWS ? last - w : VQ_SUM_ROWS;
    memset(rows, 0, sizeof *rows * VQ_SUM_ROWS * 2 * (size_t)books->n_pairs);
    for (ptrdiff_t r = 0; r < n; r++) {
        const int16_t *word = packed_word(books, (w + r) / books->n_codes, (w + r) % books->n_codes);
        for (ptrdiff_t j = 0; j < 2 * books->n_pairs; j++)
            rows[r * 2 * books->n_pairs + j] = word[j / 2 * 2 * VQ_SUM_GROUP + j % 2];
    }
    return n;
}

static double measure_words(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, const double *sq_norms,
                            int16_t *rows, int32_t *dots, double *nearest)
{
    const ptrdiff_t width = books->width, n_codes = books->n_codes;
    double largest = 0;
    for (ptrdiff_t w = first; w < last; w += VQ_SUM_ROWS) {
        const ptrdiff_t n = words_as_rows(books, w, last, rows);
        word_dots(books, rows, VQ_SUM_ROWS, dots);
        for (ptrdiff_t r = 0; r < n; r++) {
            const ptrdiff_t own = (w + r) / n_codes;
            int32_t most = 0;
            for (ptrdiff_t m = 0; m < books->n_books; m++) {
                const int32_t *row = dots + (r * books->n_books + m) * width;
                if (m == own) {
                    double lowest = INFINITY;
                    for (ptrdiff_t k = 0; k < n_codes; k++) {
                        double sq_dist = sq_norms[w + r] + sq_norms[own * n_codes + k] - 2.0 * row[k];
                        if (k != (w + r) % n_codes && sq_dist < lowest)
                            lowest = sq_dist;
                    }
                    nearest[w + r] = lowest;
                } else {
                    for (ptrdiff_t k = 0; k < width; k++) {
                        int32_t size = row[k] < 0 ? -row[k] : row[k];
                        most = size > most ? size : most;
                    }
                }
            }
            largest = most > largest ? most : largest;
        }
    }
    return largest;
}

static void pack_cross(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last, int16_t *rows, int32_t *dots)
{
    const ptrdiff_t width = books->width, n_words = books->n_books * width;
    const float factor = (float)(2 / (books->word_scale * books->word_scale * books->unit));
    for (ptrdiff_t w = first; w < last; w += VQ_SUM_ROWS) {
        const ptrdiff_t n = words_as_rows(books, w, last, rows);
        word_dots(books, rows, VQ_SUM_ROWS, dots);
        for (ptrdiff_t r = 0; r < n; r++) {
            int16_t *cross = books->cross + (w + r) * n_words;
            for (ptrdiff_t i = 0; i < n_words; i++) {
                int32_t value = scaled(dots[r * n_words + i], factor);
                cross[i] = (int16_t)(value > 32767 ? 32767 : value < -32767 ? -32767 : value);
            }
            memset(cross + (w + r) / books->n_codes * width, 0, sizeof *cross * (size_t)width);
        }
    }
}

static void pack_columns(const vq_sum_books *books, ptrdiff_t first, ptrdiff_t last)
{
    const ptrdiff_t width = books->width, d = books->n_features;
    for (ptrdiff_t m = first; m < last; m++)
        for (ptrdiff_t k = 0; k < width; k++) {
            const double *word = books->centred + (m * books->n_codes + k) * d;
            const int there = k < books->n_codes;
            for (ptrdiff_t j = 0; j < d; j++)
                books->columns[(m * d + j) * width + k] = there ? word[j] : 0;
            books->sq_norms[m * width + k] = there ? sq_norm_of(word, d) : INFINITY;
        }
}

/* Observations as 16-bit rows with their factors and squared norms, and their unaries. */
static void load_unaries(const vq_sum_books *books, const vq_obs *obs, int obs_type, ptrdiff_t n_rows,
                         vq_sum_scratch *scratch)
{
    const ptrdiff_t d = books->n_features, n_words = books->n_books * books->width;
    const ptrdiff_t padded = (n_rows + VQ_SUM_ROWS - 1) / VQ_SUM_ROWS * VQ_SUM_ROWS;
    memset(scratch->rows, 0, sizeof *scratch->rows * 2 * (size_t)(padded * books->n_pairs));
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        int16_t *row = scratch->rows + i * 2 * books->n_pairs;
        double *x = scratch->vector;
        widen_obs(obs, obs_type, i, d, books->shift, x);
        double sq_norm = sq_norm_of(x, d), norm = sqrt(sq_norm), length = norm < books->longest ? norm : books->longest;
        double scale = norm > 0 ? VQ_SUM_LENGTH / norm : 0;
        for (ptrdiff_t j = 0; j < d; j++)
            row[j] = (int16_t)rint(x[j] * scale);
        scratch->sq_norms[i] = sq_norm;
        scratch->factors[i] = (float)(2 * (length / VQ_SUM_LENGTH) / (books->word_scale * books->unit));
    }
    word_dots(books, scratch->rows, padded, scratch->unaries);
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        int32_t *row = scratch->unaries + i * n_words;
        const float factor = scratch->factors[i];
        for (ptrdiff_t w = 0; w < n_words; w++)
            row[w] = books->norms[w] - scaled(row[w], factor);
    }
}
