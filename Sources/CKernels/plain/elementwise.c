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

// gelu(z) = z s with s = sigmoid(2 k (z + c z^3)), k = sqrt(2 / pi), c = 0.044715; so its slope is
// s + z s (1 - s) 2 k (1 + 3 c z^2).
static const float gelu_factor = 1.5957691216f, gelu_cubic = 0.044715f;

void plain_gelu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = get(gate, dtype, i);
        put(out, dtype, i, g / (1 + expf(-gelu_factor * g * (1 + gelu_cubic * g * g))) * get(up, dtype, i));
    }
}

void plain_gelu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                             size_t count) {
    for (size_t i = 0; i < count; i++) {
        float g = get(gate, dtype, i), d = get(dout, dtype, i), u = get(up, dtype, i);
        float s = 1 / (1 + expf(-gelu_factor * g * (1 + gelu_cubic * g * g)));
        // Where s is 0 or 1 the curve is straight, however large the square.
        float bend = s * (1 - s), slope = s;
        if (bend > 0) slope += g * bend * gelu_factor * (1 + 3 * gelu_cubic * g * g);
        put(dgate, dtype, i, d * u * slope);
        put(dup, dtype, i, d * g * s);
    }
}

void plain_scale(const void *src, void *dst, int dtype, float factor, size_t count) {
    for (size_t i = 0; i < count; i++) put(dst, dtype, i, get(src, dtype, i) * factor);
}

void tspeft_clamped_product_forward(const void *x, void *out, int dtype, float alpha, float limit, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float gate = fminf(get(x, dtype, 2 * i), limit), up = fmaxf(-limit, fminf(get(x, dtype, 2 * i + 1), limit));
        put(out, dtype, i, (up + 1) * gate / (1 + expf(-alpha * gate)));
    }
}

void tspeft_clamped_product_backward(const void *x, const void *dout, void *dx, int dtype, float alpha, float limit,
                                     size_t count) {
    for (size_t i = 0; i < count; i++) {
        float given_gate = get(x, dtype, 2 * i), given_up = get(x, dtype, 2 * i + 1), d = get(dout, dtype, i);
        float gate = fminf(given_gate, limit), up = fmaxf(-limit, fminf(given_up, limit));
        float share = 1 / (1 + expf(-alpha * gate));
        float slope = (up + 1) * share * (1 + alpha * gate * (1 - share));
        put(dx, dtype, 2 * i, given_gate <= limit ? d * slope : 0);
        put(dx, dtype, 2 * i + 1, given_up >= -limit && given_up <= limit ? d * gate * share : 0);
    }
}

void tspeft_softcap(float *x, float cap, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = cap * tanhf(x[i] / cap);
}

void tspeft_softcap_backward(const float *capped, float cap, void *gradient, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float share = capped[i] / cap;
        put(gradient, dtype, i, get(gradient, dtype, i) * (1 - share * share));
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
