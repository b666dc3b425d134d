#ifndef TSPEFT_PLAIN_H
#define TSPEFT_PLAIN_H
// The plain level: what every kernel means, written for the reader and for processors without AVX2.
#include <string.h>

#include "../include/tspeft_levels.h"

#define DECLARATION(type, name, parameters, arguments) type plain_##name parameters;
TSPEFT_KERNELS(DECLARATION)
#undef DECLARATION

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
