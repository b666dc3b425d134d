#include <math.h>

#include "plain.h"

void plain_rmsnorm_forward(const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype,
                           float *inv_rms, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * width;
        double sum = 0;
        for (size_t j = 0; j < width; j++) {
            double value = get(x, x_dtype, row + j);
            sum += value * value;
        }
        inv_rms[i] = (float)(1 / sqrt(sum / (double)width + eps));
        for (size_t j = 0; j < width; j++)
            put(out, dtype, row + j, weight[j] * (get(x, x_dtype, row + j) * inv_rms[i]));
    }
}

// With y = w x s, s = (mean(x^2) + eps)^(-1/2): ds/dx_j = -s^3 x_j / width, so
// dx_j = s w_j dy_j - x_j s^3 / width * sum_i(w_i dy_i x_i).
void plain_rmsnorm_backward(const void *x, int x_dtype, const float *weight, const float *inv_rms, const void *dout,
                            int dtype, void *dx, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * width;
        double dot = 0;
        for (size_t j = 0; j < width; j++) dot += (double)weight[j] * get(dout, dtype, row + j) * get(x, x_dtype, row + j);
        float s = inv_rms[i];
        float pull = (float)(dot / (double)width) * s * s;
        for (size_t j = 0; j < width; j++) {
            float gradient = s * (weight[j] * get(dout, dtype, row + j) - pull * get(x, x_dtype, row + j));
            put(dx, x_dtype, row + j, get(dx, x_dtype, row + j) + gradient);
        }
    }
}

static float weight_at(const float *weight, size_t j) { return weight ? weight[j] : 1; }

void plain_layernorm_forward(const void *x, int x_dtype, const tspeft_layernorm *norm, void *out, int dtype,
                             float *mean, float *inv_std, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * width;
        double sum = 0, squares = 0;
        for (size_t j = 0; j < width; j++) sum += get(x, x_dtype, row + j);
        double middle = sum / (double)width;
        for (size_t j = 0; j < width; j++) {
            double off = get(x, x_dtype, row + j) - middle;
            squares += off * off;
        }
        mean[i] = (float)middle;
        inv_std[i] = (float)(1 / sqrt(squares / (double)width + norm->eps));
        for (size_t j = 0; j < width; j++) {
            float normed = (get(x, x_dtype, row + j) - mean[i]) * inv_std[i];
            put(out, dtype, row + j, weight_at(norm->weight, j) * normed + (norm->bias ? norm->bias[j] : 0));
        }
    }
}

// With x^ = (x - mean) s and g = w dy: dx = s (g - mean(g) - x^ mean(g x^)).
void plain_layernorm_backward(const void *x, int x_dtype, const float *weight, const float *mean,
                              const float *inv_std, const void *dout, int dtype, void *dx, size_t rows,
                              size_t width) {
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * width;
        float s = inv_std[i];
        double sum = 0, dot = 0;
        for (size_t j = 0; j < width; j++) {
            double g = (double)weight_at(weight, j) * get(dout, dtype, row + j);
            sum += g;
            dot += g * (get(x, x_dtype, row + j) - mean[i]) * s;
        }
        float shift = (float)(sum / (double)width), pull = (float)(dot / (double)width);
        for (size_t j = 0; j < width; j++) {
            float normed = (get(x, x_dtype, row + j) - mean[i]) * s;
            float gradient = s * (weight_at(weight, j) * get(dout, dtype, row + j) - shift - normed * pull);
            put(dx, x_dtype, row + j, get(dx, x_dtype, row + j) + gradient);
        }
    }
}

void plain_rope(tspeft_matrix src, tspeft_matrix dst, int dtype, const tspeft_rotation *rotation, size_t rows) {
    const tspeft_rotation r = *rotation;
    size_t half = r.turned / 2, step = r.in_pairs ? 2 : 1, apart = r.in_pairs ? 1 : half;
    for (size_t row = 0; row < rows; row++)
        for (size_t head = 0; head < r.heads; head++) {
            size_t from = row * src.stride + head * r.head_size, to = row * dst.stride + head * r.head_size;
            for (size_t i = 0; i < half; i++) {
                float c = r.cosine[(size_t)r.positions[row] * half + i];
                float s = r.sine[(size_t)r.positions[row] * half + i] * (float)r.direction;
                float a = get(src.data, dtype, from + i * step), b = get(src.data, dtype, from + i * step + apart);
                put(dst.data, dtype, to + i * step, a * c - b * s);
                put(dst.data, dtype, to + i * step + apart, b * c + a * s);
            }
            for (size_t i = r.turned; i < r.head_size; i++) put(dst.data, dtype, to + i, get(src.data, dtype, from + i));
        }
}

void plain_row_norms(const void *x, int dtype, float *norms, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < width; j++) {
            double value = get(x, dtype, i * width + j);
            sum += value * value;
        }
        norms[i] = (float)sqrt(sum);
    }
}

void plain_row_dots(const float *a, const float *b, float *dots, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < width; j++) sum += (double)a[i * width + j] * b[i * width + j];
        dots[i] = (float)sum;
    }
}

void plain_cross_entropy(const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype,
                         float *losses, size_t rows, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = logits + i * width;
        if (targets[i] < 0) {
            losses[i] = 0;
            for (size_t j = 0; dlogits && j < width; j++) put(dlogits, dtype, i * width + j, 0);
            continue;
        }
        size_t target = (size_t)targets[i];
        float largest = row[0];
        for (size_t j = 1; j < width; j++)
            if (row[j] > largest) largest = row[j];
        double sum = 0;
        for (size_t j = 0; j < width; j++) sum += expf(row[j] - largest);
        losses[i] = (float)(log(sum) - ((double)row[target] - largest));
        float share = (float)(scale / sum);
        for (size_t j = 0; dlogits && j < width; j++)
            put(dlogits, dtype, i * width + j, expf(row[j] - largest) * share - (j == target ? scale : 0));
    }
}
