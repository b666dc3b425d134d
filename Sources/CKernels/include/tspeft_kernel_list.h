#ifndef TSPEFT_KERNEL_LIST_H
#define TSPEFT_KERNEL_LIST_H

/// The table of the kernels that are compiled once for each level of tspeft_cpu_level: the only list of them. It gives
///
///     KERNEL(type, name, parameters, arguments)
///
/// for each: its result, its name (tspeft_NAME is public, plain_NAME the plain level's, NAME the vector levels'), its
/// parameters as they are declared, and these as they are handed on. From this come the struct of pointers
/// (tspeft_levels.h), the levels' tables (plain/table.c, vector/kernel_table.h) and the public functions, which call the
/// kernel of the current level (compute.c). So a new kernel is its entry here, its declaration with what it means
/// (tspeft_compute.h, tspeft_merge.h), and its definitions in plain/ and vector/.
#define TSPEFT_KERNELS(KERNEL)                                                                                         \
    KERNEL(void, convert, (const void *src, int src_dtype, void *dst, int dst_dtype, size_t count),                    \
           (src, src_dtype, dst, dst_dtype, count))                                                                    \
    /* Rows */                                                                                                         \
    KERNEL(void, rmsnorm_forward,                                                                                      \
           (const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype, float *inv_rms,          \
            size_t rows, size_t width),                                                                                \
           (x, x_dtype, weight, eps, out, dtype, inv_rms, rows, width))                                                \
    KERNEL(void, rmsnorm_backward,                                                                                     \
           (const void *x, int x_dtype, const float *weight, const float *inv_rms, const void *dout, int dtype,        \
            void *dx, size_t rows, size_t width),                                                                      \
           (x, x_dtype, weight, inv_rms, dout, dtype, dx, rows, width))                                                \
    KERNEL(void, layernorm_forward,                                                                                    \
           (const void *x, int x_dtype, const tspeft_layernorm *norm, void *out, int dtype, float *mean,               \
            float *inv_std, size_t rows, size_t width),                                                                \
           (x, x_dtype, norm, out, dtype, mean, inv_std, rows, width))                                                 \
    KERNEL(void, layernorm_backward,                                                                                   \
           (const void *x, int x_dtype, const float *weight, const float *mean, const float *inv_std,                  \
            const void *dout, int dtype, void *dx, size_t rows, size_t width),                                         \
           (x, x_dtype, weight, mean, inv_std, dout, dtype, dx, rows, width))                                          \
    KERNEL(void, rope,                                                                                                 \
           (tspeft_matrix src, tspeft_matrix dst, int dtype, const tspeft_rotation *rotation, size_t rows),            \
           (src, dst, dtype, rotation, rows))                                                                          \
    KERNEL(void, row_norms, (const void *x, int dtype, float *norms, size_t rows, size_t width),                       \
           (x, dtype, norms, rows, width))                                                                             \
    KERNEL(void, row_dots, (const float *a, const float *b, float *dots, size_t rows, size_t width),                   \
           (a, b, dots, rows, width))                                                                                  \
    KERNEL(void, scatter_add_rows,                                                                                     \
           (const void *src, const int32_t *indices, void *dst, int dtype, size_t count, size_t width),                \
           (src, indices, dst, dtype, count, width))                                                                   \
    KERNEL(void, cross_entropy,                                                                                        \
           (const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype, float *losses,         \
            size_t rows, size_t width),                                                                                \
           (logits, targets, scale, dlogits, dtype, losses, rows, width))                                              \
    /* Elements */                                                                                                     \
    KERNEL(void, silu_mul_forward, (const void *gate, const void *up, void *out, int dtype, size_t count),             \
           (gate, up, out, dtype, count))                                                                              \
    KERNEL(void, silu_mul_backward,                                                                                    \
           (const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype, size_t count),      \
           (gate, up, dout, dgate, dup, dtype, count))                                                                 \
    KERNEL(void, gelu_mul_forward, (const void *gate, const void *up, void *out, int dtype, size_t count),             \
           (gate, up, out, dtype, count))                                                                              \
    KERNEL(void, gelu_mul_backward,                                                                                    \
           (const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype, size_t count),      \
           (gate, up, dout, dgate, dup, dtype, count))                                                                 \
    KERNEL(void, activation_forward,                                                                                   \
           (int kind, const void *x, const void *factor, void *out, int dtype, size_t count),                          \
           (kind, x, factor, out, dtype, count))                                                                       \
    KERNEL(void, activation_backward,                                                                                  \
           (int kind, const void *x, const void *factor, const void *dout, void *dx, void *dfactor, int dtype,         \
            size_t count),                                                                                             \
           (kind, x, factor, dout, dx, dfactor, dtype, count))                                                         \
    KERNEL(void, scale, (const void *src, void *dst, int dtype, float factor, size_t count),                           \
           (src, dst, dtype, factor, count))                                                                           \
    KERNEL(void, add, (void *dst, int dst_dtype, const void *src, int dtype, size_t count),                            \
           (dst, dst_dtype, src, dtype, count))                                                                        \
    KERNEL(void, dropout,                                                                                              \
           (const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key, float rate),      \
           (src, dst, dtype, count, first_index, key, rate))                                                           \
    KERNEL(double, sum_squares, (const float *x, size_t count), (x, count))                                            \
    KERNEL(int64_t, first_nonfinite, (const float *x, size_t count), (x, count))                                       \
    KERNEL(void, adamw,                                                                                                \
           (float *parameter, const float *grad, float *m, float *v, size_t count, const tspeft_adamw_step *step),     \
           (parameter, grad, m, v, count, step))                                                                       \
    /* Columns */                                                                                                      \
    KERNEL(void, add_scaled_columns,                                                                                   \
           (void *dst, const void *src, const float *factors, int dtype, size_t rows, size_t width),                   \
           (dst, src, factors, dtype, rows, width))                                                                    \
    KERNEL(void, weighted_row_dots,                                                                                    \
           (const void *a, const void *b, const float *weights, int dtype, float *dots, size_t rows, size_t width),    \
           (a, b, weights, dtype, dots, rows, width))                                                                  \
    KERNEL(void, column_dots,                                                                                          \
           (const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width, size_t begin,             \
            size_t end),                                                                                               \
           (a, b, dtype, sums, rows, width, begin, end))                                                               \
    KERNEL(void, add_to_rows, (void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width),  \
           (x, dtype, row_values, factor, rows, width))                                                                \
    /* Attention */                                                                                                    \
    KERNEL(void, attention_forward,                                                                                    \
           (const tspeft_attention *call, const tspeft_attention_segment *segment, size_t head_begin, size_t head_end, \
            float *scratch),                                                                                           \
           (call, segment, head_begin, head_end, scratch))                                                             \
    KERNEL(void, attention_backward,                                                                                   \
           (const tspeft_attention *call, const tspeft_attention_gradients *gradients,                                 \
            const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end, float *scratch),                  \
           (call, gradients, segment, kv_begin, kv_end, scratch))                                                      \
    /* Small matrices */                                                                                               \
    KERNEL(void, householder_r, (const float *b, size_t rows, size_t width, float *r, double *scratch),                \
           (b, rows, width, r, scratch))                                                                               \
    KERNEL(void, outer_sums, (const float *z, const float *weights, double *sums, size_t rows, size_t width),          \
           (z, weights, sums, rows, width))                                                                            \
    /* Merging */                                                                                                      \
    KERNEL(tspeft_change, merge_rows,                                                                                  \
           (void *target, const void *source, int dtype, const float *b, const float *a, float scale, size_t rows,     \
            size_t rank, size_t width),                                                                                \
           (target, source, dtype, b, a, scale, rows, rank, width))                                                    \
    KERNEL(tspeft_change, changes, (const float *before, const float *after, size_t count), (before, after, count))

#endif
