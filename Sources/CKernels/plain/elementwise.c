#include <math.h>

#include "../dropout_stream.h"
#include "plain.h"

void plain_convert(const void *src, int src_dtype, void *dst, int dst_dtype, size_t count) {
    for (size_t i = 0; i < count; i++) put(dst, dst_dtype, i, get(src, src_dtype, i));
}

void plain_silu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = get(gate, dtype, i);
        put(out, dtype, i, g / (1 + expf(-g)) * get(up, dtype, i));
    }
}

void plain_silu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                             size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = get(gate, dtype, i), d = get(dout, dtype, i);
        float sigmoid = 1 / (1 + expf(-g));
        put(dgate, dtype, i, d * get(up, dtype, i) * sigmoid * (1 + g * (1 - sigmoid)));
        put(dup, dtype, i, d * g * sigmoid);
    }
}

void plain_add(void *dst, int dst_dtype, const void *src, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) put(dst, dst_dtype, i, get(dst, dst_dtype, i) + get(src, dtype, i));
}

void plain_scatter_add_rows(const void *src, const int32_t *indices, void *dst, int dtype, size_t count,
                            size_t width) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < width; j++) {
            size_t target = (size_t)indices[i] * width + j;
            put(dst, dtype, target, get(dst, dtype, target) + get(src, dtype, i * width + j));
        }
}

void plain_dropout(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                   float rate) {
    uint64_t threshold = dropout_threshold(rate);
    float scale = dropout_scale(rate);
    for (size_t i = 0; i < count; i++) {
        uint64_t index = first_index + i;
        uint32_t bits = dropout_bits(dropout_block(key, (uint32_t)(index >> 32)), (uint32_t)index);
        put(dst, dtype, i, bits < threshold ? 0 : get(src, dtype, i) * scale);
    }
}

double plain_sum_squares(const float *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sum;
}

int64_t plain_first_nonfinite(const float *x, size_t count) {
    for (size_t i = 0; i < count; i++)
        if ((bits_from_float(x[i]) & 0x7F800000) == 0x7F800000) return (int64_t)i;
    return -1;
}

void plain_adamw(float *parameter, const float *grad, float *m, float *v, size_t count, const tspeft_adamw_step *step) {
    const tspeft_adamw_step s = *step;
    float shrink = 1 - s.lr * s.decay, keep1 = (float)s.beta1, take1 = (float)(1 - s.beta1);
    float keep2 = (float)s.beta2, take2 = (float)(1 - s.beta2);
    for (size_t i = 0; i < count; i++) {
        float g = s.gradient_scale * grad[i];
        m[i] = keep1 * m[i] + take1 * g;
        v[i] = keep2 * v[i] + take2 * g * g;
        parameter[i] = shrink * parameter[i] - s.lr * (m[i] / s.correction1) / (sqrtf(v[i] / s.correction2) + s.eps);
    }
}
