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

void tspeft_convert(const void *src, int src_dtype, void *dst, int dst_dtype, size_t count) {
    kernels()->convert(src, src_dtype, dst, dst_dtype, count);
}

void tspeft_rmsnorm_forward(const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype,
                            float *inv_rms, size_t rows, size_t width) {
    kernels()->rmsnorm_forward(x, x_dtype, weight, eps, out, dtype, inv_rms, rows, width);
}

void tspeft_rmsnorm_backward(const void *x, int x_dtype, const float *weight, const float *inv_rms, const void *dout,
                             int dtype, void *dx, size_t rows, size_t width) {
    kernels()->rmsnorm_backward(x, x_dtype, weight, inv_rms, dout, dtype, dx, rows, width);
}

void tspeft_rope(const void *src, size_t src_stride, void *dst, size_t dst_stride, int dtype, const int32_t *positions,
                 const float *cosine, const float *sine, int direction, size_t rows, size_t heads, size_t head_size) {
    kernels()->rope(src, src_stride, dst, dst_stride, dtype, positions, cosine, sine, direction, rows, heads,
                    head_size);
}

void tspeft_silu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    kernels()->silu_mul_forward(gate, up, out, dtype, count);
}

void tspeft_silu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count) {
    kernels()->silu_mul_backward(gate, up, dout, dgate, dup, dtype, count);
}

void tspeft_add(void *dst, int dst_dtype, const void *src, int dtype, size_t count) {
    kernels()->add(dst, dst_dtype, src, dtype, count);
}

void tspeft_row_norms(const void *x, int dtype, float *norms, size_t rows, size_t width) {
    kernels()->row_norms(x, dtype, norms, rows, width);
}

void tspeft_row_dots(const float *a, const float *b, float *dots, size_t rows, size_t width) {
    kernels()->row_dots(a, b, dots, rows, width);
}

void tspeft_gather_rows(const void *src, const int32_t *indices, void *dst, size_t count, size_t row_bytes) {
    for (size_t i = 0; i < count; i++)
        memcpy((char *)dst + i * row_bytes, (const char *)src + (size_t)indices[i] * row_bytes, row_bytes);
}

void tspeft_scatter_add_rows(const void *src, const int32_t *indices, void *dst, int dtype, size_t count,
                             size_t width) {
    kernels()->scatter_add_rows(src, indices, dst, dtype, count, width);
}

void tspeft_dropout(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                    float rate) {
    kernels()->dropout(src, dst, dtype, count, first_index, key, rate);
}

void tspeft_cross_entropy(const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype,
                          float *losses, size_t rows, size_t width) {
    kernels()->cross_entropy(logits, targets, scale, dlogits, dtype, losses, rows, width);
}

size_t tspeft_attention_scratch(size_t query_count, size_t key_count, size_t head_size) {
    // For every level: 5 packed or summed copies of the keys' rows, 4 blocks of 48 rows, 2 blocks of 48 x 48 scores
    // and two rows of statistics (attention_backward.h), or 4 rows of scores (attention_forward.h).
    size_t keys = (key_count > query_count ? key_count : query_count) + 48, pitch = (head_size + 15) / 16 * 16;
    size_t packed = 5 * keys * pitch + 4 * 48 * pitch + 2 * 48 * 48 + 2 * 48;
    size_t direct = 4 * (keys + pitch);
    return packed + direct + 15;  // to start at a cache line
}

void tspeft_attention_forward(const tspeft_attention *call, const tspeft_attention_segment *segment, size_t head_begin,
                              size_t head_end, float *scratch) {
    kernels()->attention_forward(call, segment, head_begin, head_end, scratch);
}

void tspeft_attention_backward(const tspeft_attention *call, const tspeft_attention_gradients *gradients,
                               const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end,
                               float *scratch) {
    kernels()->attention_backward(call, gradients, segment, kv_begin, kv_end, scratch);
}

void tspeft_householder_r(const float *b, size_t rows, size_t width, float *r, double *scratch) {
    kernels()->householder_r(b, rows, width, r, scratch);
}

double tspeft_sum_squares(const float *x, size_t count) { return kernels()->sum_squares(x, count); }

int64_t tspeft_first_nonfinite(const float *x, size_t count) { return kernels()->first_nonfinite(x, count); }

void tspeft_adamw(float *parameter, const float *grad, float *m, float *v, size_t count, float gradient_scale, float lr,
                  double beta1, double beta2, float eps, float decay, float correction1, float correction2) {
    kernels()->adamw(parameter, grad, m, v, count, gradient_scale, lr, beta1, beta2, eps, decay, correction1,
                     correction2);
}

void tspeft_outer_sums(const float *z, const float *weights, double *sums, size_t rows, size_t width) {
    kernels()->outer_sums(z, weights, sums, rows, width);
}

void tspeft_add_scaled_columns(void *dst, const void *src, const float *factors, int dtype, size_t rows,
                               size_t width) {
    kernels()->add_scaled_columns(dst, src, factors, dtype, rows, width);
}

void tspeft_weighted_row_dots(const void *a, const void *b, const float *weights, int dtype, float *dots, size_t rows,
                              size_t width) {
    kernels()->weighted_row_dots(a, b, weights, dtype, dots, rows, width);
}

void tspeft_column_dots(const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width, size_t begin,
                        size_t end) {
    kernels()->column_dots(a, b, dtype, sums, rows, width, begin, end);
}

void tspeft_add_to_rows(void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width) {
    kernels()->add_to_rows(x, dtype, row_values, factor, rows, width);
}

tspeft_change tspeft_merge_rows(void *target, const void *source, int dtype, const float *b, const float *a,
                                float scale, size_t rows, size_t rank, size_t width) {
    return kernels()->merge_rows(target, source, dtype, b, a, scale, rows, rank, width);
}

tspeft_change tspeft_changes(const float *before, const float *after, size_t count) {
    return kernels()->changes(before, after, count);
}
