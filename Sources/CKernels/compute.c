// The functions of tspeft_compute.h and tspeft_merge.h: each calls the kernel of the best level that the processor has
// and the limit allows.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "levels.h"

/// Float arithmetic only uses what the operating system saves too: __builtin_cpu_supports asks for both.
static int processor_level(void) {
#ifdef __x86_64__
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (!avx2) return 0;
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return avx512 ? 2 : 1;
#else
    return 0;
#endif
}

/// Names of the levels, in their order; the environment may have a name or its number.
static const char *const level_names[] = {"plain", "avx2", "avx512"};
enum { LEVEL_COUNT = sizeof level_names / sizeof *level_names, NOT_READ = INT32_MAX };

const char *tspeft_level_name(int level) { return level < 0 || level >= LEVEL_COUNT ? NULL : level_names[level]; }

int tspeft_asked_level(void) {
    const char *text = getenv("TSPEFT_CPU_LEVEL");
    if (!text || !*text) return LEVEL_COUNT - 1;
    for (int level = 0; level < LEVEL_COUNT; level++)
        if (!strcasecmp(text, level_names[level]) || (text[0] == '0' + level && !text[1])) return level;
    return -1;
}

/// What the environment lets calls use, asked for once.
static int limit(void) {
    static atomic_int stored = NOT_READ;
    int limit = atomic_load_explicit(&stored, memory_order_relaxed);
    if (limit != NOT_READ) return limit;
    limit = tspeft_asked_level();
    if (limit < 0) limit = LEVEL_COUNT - 1;
    atomic_store_explicit(&stored, limit, memory_order_relaxed);
    return limit;
}

int tspeft_cpu_level(void) {
    int most = limit(), level = processor_level();
    return level < most ? level : most;
}

int tspeft_multiplies_bf16(void) {
#ifdef __x86_64__
    return tspeft_cpu_level() == 2 && (__builtin_cpu_supports("avx512bf16") || __builtin_cpu_supports("amx-bf16"));
#else
    return 0;
#endif
}

const tspeft_kernel_table *tspeft_kernels_at(int level) {
    if (level < 0 || level > processor_level()) return NULL;
#ifdef __x86_64__
    if (level == 2) return tspeft_avx512_kernels;
    if (level == 1) return tspeft_avx2_kernels;
#endif
    return tspeft_plain_kernels;
}

static const tspeft_kernel_table *kernels(void) { return tspeft_kernels_at(tspeft_cpu_level()); }

#define FUNCTION(type, name, parameters, arguments) \
    type tspeft_##name parameters { return kernels()->name arguments; }
TSPEFT_KERNELS(FUNCTION)

void tspeft_gather_rows(const void *src, const int32_t *indices, void *dst, size_t count, size_t row_bytes) {
    for (size_t i = 0; i < count; i++)
        memcpy((char *)dst + i * row_bytes, (const char *)src + (size_t)indices[i] * row_bytes, row_bytes);
}

size_t tspeft_attention_scratch(size_t query_count, size_t key_count, size_t head_size) {
    // For every level: 5 packed or summed copies of the keys' rows, 4 blocks of 48 rows, 2 blocks of 48 x 48 scores
    // and two rows of statistics (attention_backward.h), or 4 rows of scores (attention_forward.h).
    size_t keys = (key_count > query_count ? key_count : query_count) + 48, pitch = (head_size + 15) / 16 * 16;
    size_t packed = 5 * keys * pitch + 4 * 48 * pitch + 2 * 48 * 48 + 2 * 48;
    size_t direct = 4 * (keys + pitch);
    return packed + direct + 15;  // to start at a cache line
}
