#include "tspeft_blocks.h"

#include <string.h>

// d * q + m must round twice, as ggml's reference does.
#pragma STDC FP_CONTRACT OFF

enum { BLOCK = 32, HALF = BLOCK / 2 };

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint16_t load16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/// Shifts exponent and fraction into place and corrects the exponent's bias by a product, which also normalises
/// denormals; infinities and NaN then get the full exponent. Without branches, so that loops vectorise.
static inline float float_of_half(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
    const uint32_t scaled = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    const uint32_t special = magnitude >= 0x0F800000u ? 0x7F800000u : 0;
    return float_of_bits(scaled | special | (uint32_t)(half & 0x8000) << 16);
}

void tspeft_decode_f16(const void *src, float *dst, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) dst[i] = float_of_half(load16(bytes + 2 * i));
}

void tspeft_decode_bf16(const void *src, float *dst, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) dst[i] = float_of_bits((uint32_t)load16(bytes + 2 * i) << 16);
}

void tspeft_decode_f64(const void *src, float *dst, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, bytes + 8 * i, sizeof value);
        dst[i] = (float)value;
    }
}

void tspeft_decode_q4_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 18, dst += BLOCK) {
        const float d = float_of_half(load16(block));
        const uint8_t *nibbles = block + 2;
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)((nibbles[i] & 0x0F) - 8);
            dst[i + HALF] = d * (float)((nibbles[i] >> 4) - 8);
        }
    }
}

void tspeft_decode_q4_1(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 20, dst += BLOCK) {
        const float d = float_of_half(load16(block)), m = float_of_half(load16(block + 2));
        const uint8_t *nibbles = block + 4;
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)(nibbles[i] & 0x0F) + m;
            dst[i + HALF] = d * (float)(nibbles[i] >> 4) + m;
        }
    }
}

/// The 32 five-bit numbers of a Q5 block: nibbles, and a bit of `high` each above them.
static inline void unpack_five_bits(const uint8_t *high_bytes, const uint8_t *nibbles, int32_t *values) {
    uint32_t high;
    memcpy(&high, high_bytes, sizeof high);
    for (int i = 0; i < HALF; i++) {
        values[i] = (nibbles[i] & 0x0F) | (int32_t)((high >> i & 1) << 4);
        values[i + HALF] = nibbles[i] >> 4 | (int32_t)((high >> (i + HALF) & 1) << 4);
    }
}

void tspeft_decode_q5_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 22, dst += BLOCK) {
        const float d = float_of_half(load16(block));
        int32_t values[BLOCK];
        unpack_five_bits(block + 2, block + 6, values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)(values[i] - 16);
    }
}

void tspeft_decode_q5_1(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 24, dst += BLOCK) {
        const float d = float_of_half(load16(block)), m = float_of_half(load16(block + 2));
        int32_t values[BLOCK];
        unpack_five_bits(block + 4, block + 8, values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)values[i] + m;
    }
}

void tspeft_decode_q8_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 34, dst += BLOCK) {
        const float d = float_of_half(load16(block));
        int8_t values[BLOCK];
        memcpy(values, block + 2, sizeof values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)values[i];
    }
}
