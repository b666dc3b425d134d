#ifndef TSPEFT_DROPOUT_STREAM_H
#define TSPEFT_DROPOUT_STREAM_H
#include <stdint.h>

// The random numbers of dropout. Element `index` of the stream of `key` is
//     mix(mix(low + first) ^ second)
// in 32-bit arithmetic, where low is the lower half of index, (first, second) are the halves of a 64-bit hash of key
// and the upper half of index, and mix is the 32-bit finalizer `lowbias32` of Chris Wellons' hash prospector. Only
// 32-bit multiplications and shifts depend on the element, so vectors compute the same numbers as the plain loop.

/// What the numbers of 2^32 neighbouring indices have in common.
typedef struct {
    uint32_t first, second;
} dropout_block_key;

/// The block key of the indices whose upper half is `high`: SplitMix64's output function.
static inline dropout_block_key dropout_block(uint64_t key, uint32_t high) {
    uint64_t z = key + (high + 1ull) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    return (dropout_block_key){(uint32_t)z, (uint32_t)(z >> 32)};
}

#define DROPOUT_MULTIPLIER_1 0x7FEB352Du
#define DROPOUT_MULTIPLIER_2 0x846CA68Bu

static inline uint32_t dropout_mix(uint32_t x) {
    x ^= x >> 16;
    x *= DROPOUT_MULTIPLIER_1;
    x ^= x >> 15;
    x *= DROPOUT_MULTIPLIER_2;
    return x ^ (x >> 16);
}

static inline uint32_t dropout_bits(dropout_block_key block, uint32_t low) {
    return dropout_mix(dropout_mix(low + block.first) ^ block.second);
}

/// An element is dropped where its 32 bits are below this; 2^32 (rate 1) drops all.
static inline uint64_t dropout_threshold(float rate) {
    return rate <= 0 ? 0 : rate >= 1 ? 1ull << 32 : (uint64_t)((double)rate * 4294967296.0);
}

/// The factor of what is kept.
static inline float dropout_scale(float rate) {
    return rate >= 1 ? 0.0f : rate <= 0 ? 1.0f : (float)(1.0 / (1.0 - (double)rate));
}

#endif
