#ifndef TSPEFT_BLOCKS_PRIVATE_H
#define TSPEFT_BLOCKS_PRIVATE_H
// What the files of block formats share. Each includes this first: products and sums must round one by one, as ggml's
// reference does, so none of them may be fused.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../include/tspeft_blocks.h"
#include "../plain/plain.h"

#pragma STDC FP_CONTRACT OFF

/// Elements of a block of the K, IQ and ternary families (ggml's QK_K).
enum { SUPER = 256 };

static inline uint16_t load16(const uint8_t *p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline uint32_t load32(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

/// Shifts exponent and fraction into place and corrects the exponent's bias by a product, which also normalises
/// denormals; infinities and NaN then get the full exponent. Without branches, so that loops vectorise.
static inline float float_of_half(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
    const uint32_t scaled = bits_from_float(float_from_bits(magnitude) * 0x1p112f);
    const uint32_t special = magnitude >= 0x0F800000u ? 0x7F800000u : 0;
    return float_from_bits(scaled | special | (uint32_t)(half & 0x8000) << 16);
}

/// The binary16 number at p.
static inline float load_half(const uint8_t *p) { return float_of_half(load16(p)); }

/// The scale and minimum of group `g` of 8 in a Q4_K or Q5_K block: six bits each, the first four groups' in one piece,
/// the last four's split into four low bits and, in the first bytes' spare bits, two high ones.
static inline void six_bit_pair(const uint8_t *packed, int g, uint8_t *scale, uint8_t *minimum) {
    if (g < 4) {
        *scale = packed[g] & 0x3F;
        *minimum = packed[g + 4] & 0x3F;
    } else {
        *scale = (uint8_t)((packed[g + 4] & 0x0F) | (packed[g - 4] >> 2 & 0x30));
        *minimum = (uint8_t)(packed[g + 4] >> 4 | (packed[g] >> 2 & 0x30));
    }
}

/// The 16 values of a nibble in IQ4_NL and IQ4_XS.
extern const int8_t tspeft_iq4_values[16];

// The codebooks of the IQ formats: each entry is eight (four in the 32-bit ones) bytes, the first element's lowest.
extern const uint64_t tspeft_iq2_xxs_grid[256];
extern const uint64_t tspeft_iq2_xs_grid[512];
extern const uint64_t tspeft_iq2_s_grid[1024];
extern const uint32_t tspeft_iq3_xxs_grid[256];
extern const uint32_t tspeft_iq3_s_grid[512];
/// Signed bytes: -1, 0, 1.
extern const uint64_t tspeft_iq1_grid[2048];

/// A format by ggml's number, with its functions; `encode` is NULL where there is none.
typedef struct {
    uint32_t number;
    tspeft_block_decoder *decode;
    tspeft_block_encoder *encode;
} block_functions;

/// The functions of all formats, compiled for a kind of processor from one text (level.h).
enum { FORMAT_COUNT = 27 };
extern const block_functions tspeft_plain_blocks[FORMAT_COUNT];
#ifdef __x86_64__
extern const block_functions tspeft_avx2_blocks[FORMAT_COUNT];
extern const block_functions tspeft_avx512_blocks[FORMAT_COUNT];
#endif

#endif
