#include "plain.h"

void plain_add_scaled_columns(void *dst, const void *src, const float *factors, int dtype, size_t rows, size_t width) {
    for (size_t i = 0; i < rows * width; i++)
        put(dst, dtype, i, get(dst, dtype, i) + factors[i % width] * get(src, dtype, i));
}

void plain_weighted_row_dots(const void *a, const void *b, const float *weights, int dtype, float *dots, size_t rows,
                             size_t width) {
    for (size_t row = 0; row < rows; row++) {
        float sum = 0;
        for (size_t j = 0; j < width; j++) {
            size_t i = row * width + j;
            sum += weights[j] * get(a, dtype, i) * get(b, dtype, i);
        }
        dots[row] = sum;
    }
}

void plain_column_dots(const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width, size_t begin,
                       size_t end) {
    for (size_t j = begin; j < end; j++) {
        float sum = 0;
        for (size_t row = 0; row < rows; row++) sum += get(a, dtype, row * width + j) * get(b, dtype, row * width + j);
        sums[j] = sum;
    }
}

void plain_add_to_rows(void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width) {
    for (size_t i = 0; i < rows * width; i++) put(x, dtype, i, get(x, dtype, i) + factor * row_values[i % width]);
}
