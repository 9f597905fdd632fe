/* Which row of the table this CPU can run. The only file that knows CPUs. The build
 * defines VQ_HAVE_<ISA> for every row it compiled. */
#include <string.h>

#include "kernels.h"

extern const vq_kernels vq_kernels_baseline;

#ifdef VQ_HAVE_AVX2
extern const vq_kernels vq_kernels_avx2;
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

#ifdef VQ_HAVE_AVX512
extern const vq_kernels vq_kernels_avx512;
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
           && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef VQ_HAVE_AVX512VNNI
extern const vq_kernels vq_kernels_avx512vnni;
static int has_avx512vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif

#ifdef VQ_HAVE_AVX512VBMI
extern const vq_kernels vq_kernels_avx512vbmi;
static int has_avx512vbmi(void) { return has_avx512vnni() && __builtin_cpu_supports("avx512vbmi"); }
#endif

static int always(void) { return 1; }

/* Slowest first. */
static const struct {
    const vq_kernels *kernels;
    int (*supported)(void);
} rows[] = {
    {&vq_kernels_baseline, always},
#ifdef VQ_HAVE_AVX2
    {&vq_kernels_avx2, has_avx2},
#endif
#ifdef VQ_HAVE_AVX512
    {&vq_kernels_avx512, has_avx512},
#endif
#ifdef VQ_HAVE_AVX512VNNI
    {&vq_kernels_avx512vnni, has_avx512vnni},
#endif
#ifdef VQ_HAVE_AVX512VBMI
    {&vq_kernels_avx512vbmi, has_avx512vbmi},
#endif
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

const vq_kernels *vq_kernels_named(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].kernels->name, name) == 0 && rows[i].supported())
            return rows[i].kernels;
    return NULL;
}

const vq_kernels *vq_kernels_best(void)
{
    int best = 0;
    for (int i = 0; i < N_ROWS; i++)
        if (rows[i].supported())
            best = i;
    return rows[best].kernels;
}

const char *vq_isa_built(int i) { return i < N_ROWS ? rows[i].kernels->name : NULL; }
