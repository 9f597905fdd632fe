/* Memory of the drivers: one allocation each, arrays at the start of cache lines. */
#ifndef VQ_MEMORY_H
#define VQ_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

/* The next n_bytes at a cache line's start; with a cursor that began at NULL only sizes count. */
static inline void *vq_take(char **cursor, ptrdiff_t n_bytes)
{
    char *start = *cursor;
    *cursor = (char *)((uintptr_t)start + (size_t)((n_bytes + 63) / 64 * 64));
    return start;
}

/* From so many bytes on, memory comes from the system in huge pages: bounds and bytes of
 * observations are walked with long strides. Less is taken from the heap, which has it at hand:
 * touching new small pages costs as much as a small search. */
#define VQ_LARGE ((ptrdiff_t)4 << 20)

/* n_bytes of anything at the start of a cache line, or NULL. */
static inline void *vq_allocate(ptrdiff_t n_bytes)
{
#ifdef __linux__
    if (n_bytes >= VQ_LARGE) {
        void *memory = mmap(NULL, (size_t)n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return NULL;
#ifdef MADV_HUGEPAGE
        madvise(memory, (size_t)n_bytes, MADV_HUGEPAGE);
#endif
        return memory;
    }
#endif
    char *memory = malloc((size_t)n_bytes + 64 + sizeof(void *));
    if (!memory)
        return NULL;
    char *start = (char *)(((uintptr_t)memory + sizeof(void *) + 63) / 64 * 64);
    ((void **)start)[-1] = memory;
    return start;
}

static inline void vq_release(void *memory, ptrdiff_t n_bytes)
{
    if (!memory)
        return;
#ifdef __linux__
    if (n_bytes >= VQ_LARGE) {
        munmap(memory, (size_t)n_bytes);
        return;
    }
#else
    (void)n_bytes;
#endif
    free(((void **)memory)[-1]);
}

#endif
