#include <math.h>

#include "plain.h"

void plain_householder_r(const float *b, size_t rows, size_t width, float *r, double *scratch) {
    double *columns = scratch;  // [width, rows]
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < width; j++) columns[j * rows + i] = b[i * width + j];
    for (size_t k = 0; k < width && k < rows; k++) {
        double *v = columns + k * rows;  // becomes the reflector below its first element
        double tail = 0;
        for (size_t i = k + 1; i < rows; i++) tail += v[i] * v[i];
        if (tail == 0) continue;
        double norm = sqrt(v[k] * v[k] + tail);
        double pivot = v[k] > 0 ? -norm : norm;
        double head = v[k] - pivot;
        double factor = 2 / (head * head + tail);
        for (size_t j = k + 1; j < width; j++) {
            double *column = columns + j * rows;
            double dot = head * column[k];
            for (size_t i = k + 1; i < rows; i++) dot += v[i] * column[i];
            dot *= factor;
            column[k] -= dot * head;
            for (size_t i = k + 1; i < rows; i++) column[i] -= dot * v[i];
        }
        v[k] = pivot;
    }
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j < width; j++) r[i * width + j] = i <= j && i < rows ? (float)columns[j * rows + i] : 0;
}

void plain_outer_sums(const float *z, const float *weights, double *sums, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++, z += width) {
        double weight = weights ? weights[row] : 1;
        for (size_t i = 0; i < width; i++)
            for (size_t j = i; j < width; j++) {
                double product = weight * z[i] * z[j];
                sums[i * width + j] += product;
                if (i != j) sums[j * width + i] += product;
            }
    }
}
