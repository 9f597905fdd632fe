/* Code books whose words are added: rounding, tables, normal equations. The search for
 * tuples is in tuples.inc.h, included here for either form of the energy. */

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
    vd8 acc = {0};
    double partial[8], sum = 0;
    ptrdiff_t j = 0;
    for (; j + 8 <= d; j += 8)
        acc += load8_f64(x + j) * load8_f64(x + j);
    memcpy(partial, &acc, sizeof acc);
    for (int r = 0; j < d; j++, r++)
        partial[r] += x[j] * x[j];
    for (int r = 0; r < 8; r++)
        sum += partial[r];
    return sum;
}

/* ---- inner products of 16-bit rows and words ----------------------------------------- */

/* sum[v] + a[2v] b[2v] + a[2v+1] b[2v+1] for the VL pairs of 16-bit numbers in a and b. */
#if defined(__AVX512VNNI__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm512_dpwssd_epi32(sum, a, b); }
#elif defined(__AVX512BW__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
#elif defined(__AVX2__)
INLINE vi vi_dot(vi sum, vi a, vi b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
#else
INLINE vi vi_dot(vi sum, vi a, vi b) { return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
#endif
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

/* ---- the search, in integers and in double ----------------------------------------------- */

/* Random numbers of Steele, Lea and Flood's SplitMix64. */
INLINE uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

INLINE ptrdiff_t random_below(uint64_t *state, ptrdiff_t n)
{
    *state += 0x9e3779b97f4a7c15u;
    return (ptrdiff_t)(((mixed(*state) >> 32) * (uint64_t)n) >> 32);
}

/* What the energies of one observation are computed from. */
typedef struct {
    const vq_sum_books *books;
    const int32_t *unaries; /* integers */
    const int16_t **chosen; /* integers: the rows of cross of the words of a tuple */
    double *obs;            /* direct: the observation, and room for two vectors more */
} sum_state;

#if defined(__AVX512F__)
INLINE vi vi_widen(const int16_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE vi vi_plus(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm512_min_epi32(a, b); }
INLINE int32_t vi_lowest(vi a) { return _mm512_reduce_min_epi32(a); }
#elif defined(__AVX2__)
INLINE vi vi_widen(const int16_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi vi_plus(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm256_min_epi32(a, b); }
INLINE int32_t vi_lowest(vi a)
{
    __m128i b = _mm_min_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_min_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    return _mm_cvtsi128_si32(_mm_min_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}
#else
INLINE vi vi_widen(const int16_t *p) { return (vi){p[0], p[1], p[2], p[3]}; }
INLINE vi vi_plus(vi a, vi b) { return a + b; }
INLINE vi vi_min(vi a, vi b) { return vi_select(a < b, a, b); }
INLINE int32_t vi_lowest(vi a)
{
    int32_t low = a[0] < a[1] ? a[0] : a[1], high = a[2] < a[3] ? a[2] : a[3];
    return low < high ? low : high;
}
#endif

/* sums[k] = base[k] + the elements k of n rows; returns the lowest. Called with a constant n. */
INLINE int32_t add_rows_of(const int32_t *base, const int16_t *const *rows, const int n, ptrdiff_t width, int32_t *sums)
{
    vi lowest = vi_set(INT32_MAX);
    for (ptrdiff_t k = 0; k < width; k += VL) {
        vi sum = vi_load(base + k);
#pragma GCC unroll 8
        for (int r = 0; r < n; r++)
            sum = vi_plus(sum, vi_widen(rows[r] + k));
        vi_store(sums + k, sum);
        lowest = vi_min(lowest, sum);
    }
    return vi_lowest(lowest);
}

INLINE int32_t add_rows_i16(const int32_t *base, const int16_t *const *rows, int n, ptrdiff_t width, int32_t *sums)
{
    switch (n) {
    case 0: return add_rows_of(base, rows, 0, width, sums);
    case 1: return add_rows_of(base, rows, 1, width, sums);
    case 2: return add_rows_of(base, rows, 2, width, sums);
    case 3: return add_rows_of(base, rows, 3, width, sums);
    case 4: return add_rows_of(base, rows, 4, width, sums);
    case 5: return add_rows_of(base, rows, 5, width, sums);
    case 6: return add_rows_of(base, rows, 6, width, sums);
    case 7: return add_rows_of(base, rows, 7, width, sums);
    default: return add_rows_of(base, rows, 8, width, sums);
    }
}

/* The rows of cross, from book m on, of the words of a tuple. */
INLINE const int16_t *cross_row(const vq_sum_books *books, ptrdiff_t l, int32_t code, ptrdiff_t m)
{
    return books->cross + ((l * books->n_codes + code) * books->n_books + m) * books->width;
}

/* The energies of the words of book m beside the other words of the tuple; a word of -1 is
 * not there. Returns the lowest. */
static int32_t row_of_sums_integer(const sum_state *state, ptrdiff_t m, const int32_t *tuple, int32_t *sums)
{
    const vq_sum_books *books = state->books;
    const int16_t *rows[8];
    const int32_t *base = state->unaries + m * books->width;
    int n = 0;
    for (ptrdiff_t l = 0; l < books->n_books; l++) {
        if (l == m || tuple[l] < 0)
            continue;
        if (n == 8) {
            add_rows_of(base, rows, 8, books->width, sums);
            base = sums;
            n = 0;
        }
        rows[n++] = cross_row(books, l, tuple[l], m);
    }
    return add_rows_i16(base, rows, n, books->width, sums);
}

/* The same for a whole tuple, the rows of whose words are in state->chosen. */
INLINE int32_t row_of_rest_integer(const sum_state *state, ptrdiff_t m, const int32_t *tuple, int32_t *sums,
                                   const ptrdiff_t n_books)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t width = books->width;
    const int16_t *rows[16];
    (void)tuple;
    if (n_books != 4 && n_books != 8 && n_books != 16)
        return row_of_sums_integer(state, m, tuple, sums);
#pragma GCC unroll 16
    for (ptrdiff_t l = 0; l < n_books - 1; l++)
        rows[l] = state->chosen[l + (l >= m)] + m * width;
    if (n_books == 4)
        return add_rows_of(state->unaries + m * width, rows, 3, width, sums);
    if (n_books == 8)
        return add_rows_of(state->unaries + m * width, rows, 7, width, sums);
    add_rows_of(state->unaries + m * width, rows, 8, width, sums);
    return add_rows_of(sums, rows + 8, 7, width, sums);
}

INLINE void choose_integer(const sum_state *state, ptrdiff_t m, int32_t code)
{
    state->chosen[m] = cross_row(state->books, m, code, 0);
}

static int32_t energy_integer(const sum_state *state, const int32_t *tuple)
{
    const vq_sum_books *books = state->books;
    int32_t energy = 0;
    for (ptrdiff_t m = 0; m < books->n_books; m++) {
        energy += state->unaries[m * books->width + tuple[m]];
        for (ptrdiff_t l = 0; l < m; l++)
            energy += cross_row(books, l, tuple[l], m)[tuple[m]];
    }
    return energy;
}

/* Ask for the rows that a visit of book m will add. */
INLINE void prefetch_integer(const sum_state *state, ptrdiff_t m, const ptrdiff_t n_books)
{
    const ptrdiff_t width = state->books->width;
    for (ptrdiff_t l = 0; l < n_books; l++)
        for (ptrdiff_t k = 0; k < width; k += 32)
            __builtin_prefetch(state->chosen[l] + m * width + k);
}

/* The energy of a tuple all of whose words have been visited since the last change, own[m]
 * being the energy of word m beside the others: each pair of words was counted twice. */
INLINE int32_t settled_integer(const sum_state *state, const int32_t *tuple, const int32_t *own)
{
    const vq_sum_books *books = state->books;
    int32_t twice = 0;
    for (ptrdiff_t m = 0; m < books->n_books; m++)
        twice += own[m] + state->unaries[m * books->width + tuple[m]];
    return twice / 2;
}

/* Bit r says whether sums[r] < limit, for sixteen of them. */
INLINE uint32_t below_integer(const int32_t *sums, int32_t limit)
{
#if defined(__AVX512F__)
    return _mm512_cmplt_epi32_mask(_mm512_loadu_si512(sums), _mm512_set1_epi32(limit));
#elif defined(__AVX2__)
    const __m256i limits = _mm256_set1_epi32(limit);
    const __m256i low = _mm256_cmpgt_epi32(limits, vi_load(sums)), high = _mm256_cmpgt_epi32(limits, vi_load(sums + 8));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(low))
           | (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(high)) << 8;
#else
    uint32_t below = 0;
    for (int r = 0; r < 16; r++)
        below |= (uint32_t)(sums[r] < limit) << r;
    return below;
#endif
}

/* The first k with sums[k] == lowest, which is the lowest of all. */
INLINE int32_t first_integer(const int32_t *sums, int32_t lowest)
{
    for (int32_t k = 0;; k += 16) {
        const uint32_t found = below_integer(sums + k, lowest + 1);
        if (found)
            return k + __builtin_ctz(found);
    }
}

INLINE int32_t above_integer(int32_t energy) { return energy + 1; }

INLINE double squared_error_integer(const sum_state *state, int32_t energy, double sq_norm)
{
    return sq_norm + energy * state->books->unit;
}

static double row_of_sums_direct(const sum_state *state, ptrdiff_t m, const int32_t *tuple, double *sums)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t d = books->n_features, width = books->width;
    double *rest = state->obs + d, lowest = INFINITY;
    memcpy(rest, state->obs, sizeof *rest * (size_t)d);
    for (ptrdiff_t l = 0; l < books->n_books; l++) {
        const double *word = books->centred + (l * books->n_codes + tuple[l]) * d;
        for (ptrdiff_t j = 0; l != m && tuple[l] >= 0 && j < d; j++)
            rest[j] -= word[j];
    }
    memcpy(sums, books->sq_norms + m * width, sizeof *sums * (size_t)width);
    for (ptrdiff_t j = 0; j < d; j++) {
        const double *column = books->columns + (m * d + j) * width, twice = 2 * rest[j];
        for (ptrdiff_t k = 0; k < width; k++)
            sums[k] -= twice * column[k];
    }
    for (ptrdiff_t k = 0; k < width; k++)
        lowest = sums[k] < lowest ? sums[k] : lowest;
    return lowest;
}

/* Two tuples of one set of words have one energy: it is computed from the tuple alone. */
static double energy_direct(const sum_state *state, const int32_t *tuple)
{
    const vq_sum_books *books = state->books;
    const ptrdiff_t d = books->n_features;
    double *rest = state->obs + d;
    memcpy(rest, state->obs, sizeof *rest * (size_t)d);
    for (ptrdiff_t l = 0; l < books->n_books; l++)
        for (ptrdiff_t j = 0; j < d; j++)
            rest[j] -= books->centred[(l * books->n_codes + tuple[l]) * d + j];
    return sq_norm_of(rest, d);
}

INLINE double row_of_rest_direct(const sum_state *state, ptrdiff_t m, const int32_t *tuple, double *sums,
                                 const ptrdiff_t n_books)
{
    (void)n_books;
    return row_of_sums_direct(state, m, tuple, sums);
}

INLINE void choose_direct(const sum_state *state, ptrdiff_t m, int32_t code) { (void)state, (void)m, (void)code; }

INLINE void prefetch_direct(const sum_state *state, ptrdiff_t m, const ptrdiff_t n_books)
{
    (void)state, (void)m, (void)n_books;
}

INLINE double settled_direct(const sum_state *state, const int32_t *tuple, const double *own)
{
    (void)own;
    return energy_direct(state, tuple);
}

INLINE uint32_t below_direct(const double *sums, double limit)
{
    uint32_t below = 0;
    for (int r = 0; r < 16; r++)
        below |= (uint32_t)(sums[r] < limit) << r;
    return below;
}

INLINE int32_t first_direct(const double *sums, double lowest)
{
    int32_t k = 0;
    while (sums[k] != lowest)
        k++;
    return k;
}

INLINE double above_direct(double energy) { return nextafter(energy, INFINITY); }

INLINE double squared_error_direct(const sum_state *state, double energy, double sq_norm)
{
    (void)state;
    (void)sq_norm;
    return energy;
}

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
