/* Code books whose words are added: the search for tuples, which is in tuples.inc.h for either form
 * of the energy, their vectors, and sums over observations. */
#include "additive_tables.inc.h"

#include "additive_forms.inc.h"

#define ENERGY int32_t
#define FORM(name) JOIN(name, integer)
#define MOST_ENERGY VQ_SUM_MISSING
#include "tuples.inc.h"
#undef ENERGY
#undef FORM
#undef MOST_ENERGY

#define ENERGY double
#define FORM(name) JOIN(name, direct)
#define MOST_ENERGY INFINITY
#include "tuples.inc.h"
#undef ENERGY
#undef FORM
#undef MOST_ENERGY

static void search_tuples(const vq_sum_books *books, const vq_sum_search *how, const vq_obs *obs, int obs_type,
                          ptrdiff_t n_rows, vq_sum_scratch *scratch, uint16_t *codes, uint16_t *kept,
                          double *kept_energies)
{
    if (books->cross) {
        load_unaries(books, obs, obs_type, n_rows, scratch);
        for (ptrdiff_t i = 0; i < n_rows; i++) {
            sum_state state = {books, scratch->unaries + i * books->n_books * books->width, scratch->chosen, NULL};
            search_integer(&state, how, scratch, scratch->sq_norms[i], codes + i * books->n_books,
                           kept ? kept + i * how->n_kept * books->n_books : NULL,
                           kept ? kept_energies + i * how->n_kept : NULL);
        }
    } else {
        for (ptrdiff_t i = 0; i < n_rows; i++) {
            sum_state state = {books, NULL, NULL, scratch->vector};
            widen_obs(obs, obs_type, i, books->n_features, books->shift, scratch->vector);
            search_direct(&state, how, scratch, 0, codes + i * books->n_books,
                          kept ? kept + i * how->n_kept * books->n_books : NULL,
                          kept ? kept_energies + i * how->n_kept : NULL);
        }
    }
}

/* ---- vectors of tuples ---------------------------------------------------------------------- */

/* The sum of the words of a tuple, rounded to the type of the code books. */
INLINE void sum_words(const vq_sum_books *books, const uint16_t *codes, double *vector)
{
    const ptrdiff_t d = books->n_features;
    memset(vector, 0, sizeof *vector * (size_t)d);
    for (ptrdiff_t m = 0; m < books->n_books; m++) {
        const double *word = books->code_books + (m * books->n_codes + codes[m]) * d;
        for (ptrdiff_t j = 0; j < d; j++)
            vector[j] += word[j];
    }
    if (books->decoded_type == VQ_FLOAT32)
        for (ptrdiff_t j = 0; j < d; j++)
            vector[j] = (float)vector[j];
}

static void decode_tuples(const vq_sum_books *books, const uint16_t *codes, ptrdiff_t n_rows, double *vector, void *obs)
{
    const ptrdiff_t d = books->n_features;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        sum_words(books, codes + i * books->n_books, vector);
        if (books->decoded_type == VQ_FLOAT32)
            for (ptrdiff_t j = 0; j < d; j++)
                ((float *)obs)[i * d + j] = (float)vector[j];
        else
            memcpy((double *)obs + i * d, vector, sizeof *vector * (size_t)d);
    }
}

static void sq_errors_of(const vq_sum_books *books, const vq_obs *obs, int obs_type, const uint16_t *codes,
                         ptrdiff_t n_rows, double *vector, double *sq_errors)
{
    const ptrdiff_t d = books->n_features;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        double *x = vector + d;
        sum_words(books, codes + i * books->n_books, vector);
        widen_obs(obs, obs_type, i, d, NULL, x);
        sq_errors[i] = sq_dist_f64(x, vector, d);
    }
}

/* ---- sums over observations -------------------------------------------------------------------- */

static void add_counts(const uint16_t *codes, const double *weights, ptrdiff_t n_rows, ptrdiff_t n_kept,
                       ptrdiff_t n_books, ptrdiff_t n_codes, ptrdiff_t l, ptrdiff_t m, double *counts)
{
    const ptrdiff_t size = n_books * n_codes;
    double *block = counts + l * n_codes * size + m * n_codes;
    for (ptrdiff_t i = 0; i < n_rows; i++)
        for (ptrdiff_t a = i * n_kept; a < (i + 1) * n_kept; a++) {
            const double weight = weights ? weights[a] : 1;
            if (weight == 0)
                break;
            block[codes[a * n_books + l] * size + codes[a * n_books + m]] += weight;
        }
}

static void add_sums(const vq_obs *obs, int obs_type, const uint16_t *codes, const double *weights, ptrdiff_t n_rows,
                     ptrdiff_t n_kept, ptrdiff_t n_books, ptrdiff_t n_codes, ptrdiff_t n_features, const double *shift,
                     ptrdiff_t m, double *vector, double *sums)
{
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const uint16_t *own = codes + i * n_kept * n_books + m;
        const double *w = weights ? weights + i * n_kept : NULL;
        widen_obs(obs, obs_type, i, n_features, shift, vector);
        for (ptrdiff_t a = 0; a < n_kept && (!w || w[a] != 0); a++) {
            const uint16_t code = own[a * n_books];
            double weight = w ? w[a] : 1;
            ptrdiff_t b = 0; /* tuples with the same word count once, with the sum of their weights */
            while (b < a && own[b * n_books] != code)
                b++;
            if (b < a)
                continue;
            for (b = a + 1; b < n_kept && (!w || w[b] != 0); b++)
                if (own[b * n_books] == code)
                    weight += w ? w[b] : 1;
            double *row = sums + (m * n_codes + code) * n_features;
            for (ptrdiff_t j = 0; j < n_features; j++)
                row[j] += weight * vector[j];
        }
    }
}

static void rotate_obs(const vq_obs *obs, int obs_type, ptrdiff_t n_rows, ptrdiff_t n_features, const double *matrix,
                       ptrdiff_t n_outputs, double *vector, void *products)
{
    enum { AT_ONCE = 4 };
    double *x = vector + AT_ONCE * n_outputs;
    for (ptrdiff_t i = 0; i < n_rows; i += AT_ONCE) {
        const ptrdiff_t n = n_rows - i < AT_ONCE ? n_rows - i : AT_ONCE;
        double *y0 = vector, *y1 = y0 + n_outputs, *y2 = y1 + n_outputs, *y3 = y2 + n_outputs;
        for (ptrdiff_t r = 0; r < AT_ONCE; r++)
            widen_obs(obs, obs_type, i + (r < n ? r : 0), n_features, NULL, x + r * n_features);
        memset(vector, 0, sizeof *vector * AT_ONCE * (size_t)n_outputs);
        for (ptrdiff_t j = 0; j < n_features; j++) {
            const double *row = matrix + j * n_outputs;
            const double x0 = x[j], x1 = x[n_features + j], x2 = x[2 * n_features + j], x3 = x[3 * n_features + j];
            for (ptrdiff_t o = 0; o < n_outputs; o++) {
                y0[o] += x0 * row[o];
                y1[o] += x1 * row[o];
                y2[o] += x2 * row[o];
                y3[o] += x3 * row[o];
            }
        }
        for (ptrdiff_t o = 0; o < n * n_outputs; o++)
            if (obs_type == VQ_FLOAT32)
                ((float *)products)[i * n_outputs + o] = (float)vector[o];
            else
                ((double *)products)[i * n_outputs + o] = vector[o];
    }
}

static const vq_additive_kernels additive_kernels = {
    .pack_words = pack_words,
    .measure_words = measure_words,
    .pack_cross = pack_cross,
    .pack_columns = pack_columns,
    .search = search_tuples,
    .decode = decode_tuples,
    .sq_errors = sq_errors_of,
    .add_counts = add_counts,
    .add_sums = add_sums,
    .rotate = rotate_obs,
};
