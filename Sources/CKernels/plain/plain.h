#ifndef TSPEFT_PLAIN_H
#define TSPEFT_PLAIN_H
// The plain level: what every kernel means, written for the reader and for processors without AVX2.
#include <string.h>

#include "../include/tspeft_levels.h"

__typeof__(tspeft_convert) plain_convert;
__typeof__(tspeft_rmsnorm_forward) plain_rmsnorm_forward;
__typeof__(tspeft_rmsnorm_backward) plain_rmsnorm_backward;
__typeof__(tspeft_rope) plain_rope;
__typeof__(tspeft_silu_mul_forward) plain_silu_mul_forward;
__typeof__(tspeft_silu_mul_backward) plain_silu_mul_backward;
__typeof__(tspeft_add) plain_add;
__typeof__(tspeft_row_norms) plain_row_norms;
__typeof__(tspeft_row_dots) plain_row_dots;
__typeof__(tspeft_scatter_add_rows) plain_scatter_add_rows;
__typeof__(tspeft_dropout) plain_dropout;
__typeof__(tspeft_cross_entropy) plain_cross_entropy;
__typeof__(tspeft_attention_forward) plain_attention_forward;
__typeof__(tspeft_attention_backward) plain_attention_backward;
__typeof__(tspeft_householder_r) plain_householder_r;
__typeof__(tspeft_sum_squares) plain_sum_squares;
__typeof__(tspeft_first_nonfinite) plain_first_nonfinite;
__typeof__(tspeft_adamw) plain_adamw;
__typeof__(tspeft_outer_sums) plain_outer_sums;
__typeof__(tspeft_add_scaled_columns) plain_add_scaled_columns;
__typeof__(tspeft_weighted_row_dots) plain_weighted_row_dots;
__typeof__(tspeft_column_dots) plain_column_dots;
__typeof__(tspeft_add_to_rows) plain_add_to_rows;
__typeof__(tspeft_merge_rows) plain_merge_rows;
__typeof__(tspeft_changes) plain_changes;

static inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float plain_float_from_half(uint16_t half);
uint16_t plain_half_from_float(float value);

/// Nearest, ties to even; NaN stays a quiet NaN.
static inline uint16_t bf16_from_float(float value) {
    uint32_t bits = bits_from_float(value);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// Element i of an array of `dtype`.
static inline float get(const void *array, int dtype, size_t i) {
    if (dtype == TSPEFT_F32) return ((const float *)array)[i];
    uint16_t bits = ((const uint16_t *)array)[i];
    return dtype == TSPEFT_BF16 ? float_from_bits((uint32_t)bits << 16) : plain_float_from_half(bits);
}

static inline void put(void *array, int dtype, size_t i, float value) {
    if (dtype == TSPEFT_F32)
        ((float *)array)[i] = value;
    else
        ((uint16_t *)array)[i] = dtype == TSPEFT_BF16 ? bf16_from_float(value) : plain_half_from_float(value);
}

#endif
