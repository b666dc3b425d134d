// Non-linearities, one number at a time.
#include <math.h>

#include "plain.h"

// gelu's form with tanh: x sigmoid(2 k (x + c x^3)), k = sqrt(2 / pi), c = 0.044715.
static const float gelu_factor = 1.5957691216f, gelu_cubic = 0.044715f, quick_gelu_factor = 1.702f;

float tspeft_activation(int kind, float x) {
    switch (kind) {
        case TSPEFT_TANH: return tanhf(x);
        case TSPEFT_RELU: return x > 0 ? x : x == x ? 0 : x;
        case TSPEFT_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
        case TSPEFT_GELU_TANH: return x / (1 + expf(-gelu_factor * x * (1 + gelu_cubic * x * x)));
        case TSPEFT_QUICK_GELU: return x / (1 + expf(-quick_gelu_factor * x));
        default: return x / (1 + expf(-x));
    }
}

float tspeft_activation_slope(int kind, float x) {
    switch (kind) {
        case TSPEFT_TANH: {
            float y = tanhf(x);
            return 1 - y * y;
        }
        case TSPEFT_RELU: return x > 0 ? 1 : 0;
        case TSPEFT_GELU: return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
        case TSPEFT_GELU_TANH: {
            float s = 1 / (1 + expf(-gelu_factor * x * (1 + gelu_cubic * x * x))), bend = s * (1 - s);
            // Where s is 0 or 1 the curve is straight, however large the square.
            return bend > 0 ? s + x * bend * gelu_factor * (1 + 3 * gelu_cubic * x * x) : s;
        }
        case TSPEFT_QUICK_GELU: {
            float s = 1 / (1 + expf(-quick_gelu_factor * x)), bend = s * (1 - s);
            return bend > 0 ? s + x * bend * quick_gelu_factor : s;
        }
        default: {
            float sigmoid = 1 / (1 + expf(-x));
            return sigmoid * (1 + x * (1 - sigmoid));
        }
    }
}

void tspeft_activate(int kind, const float *x, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = tspeft_activation(kind, x[i]);
}

void tspeft_activate_backward(int kind, const float *x, const float *dout, float *dx, size_t count) {
    for (size_t i = 0; i < count; i++) dx[i] = dout[i] * tspeft_activation_slope(kind, x[i]);
}

void plain_activation_forward(int kind, const void *x, const void *factor, void *out, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float y = tspeft_activation(kind, get(x, dtype, i));
        put(out, dtype, i, factor ? y * get(factor, dtype, i) : y);
    }
}

void plain_activation_backward(int kind, const void *x, const void *factor, const void *dout, void *dx, void *dfactor,
                               int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float z = get(x, dtype, i), d = get(dout, dtype, i), f = factor ? get(factor, dtype, i) : 1;
        put(dx, dtype, i, d * f * tspeft_activation_slope(kind, z));
        if (factor) put(dfactor, dtype, i, d * tspeft_activation(kind, z));
    }
}
