/* The energies of tuples, in integers from tables and in double: the words that tuples.inc.h is
 * written in. */

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
INLINE vi vi_plus(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm512_min_epi32(a, b); }
INLINE int32_t vi_lowest(vi a) { return _mm512_reduce_min_epi32(a); }
#elif defined(__AVX2__)
INLINE vi vi_plus(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi vi_min(vi a, vi b) { return _mm256_min_epi32(a, b); }
INLINE int32_t vi_lowest(vi a)
{
    __m128i b = _mm_min_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_min_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    return _mm_cvtsi128_si32(_mm_min_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}
#else
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
