#ifndef TSPEFT_BLOCKS_H
#define TSPEFT_BLOCKS_H
#include <stddef.h>
#include <stdint.h>

// Decoding of stored tensors to float. Sources may lie at any alignment and are little-endian; nothing is allocated or
// kept. Results are exact conversions, or for blocks the float arithmetic of ggml without fused multiply-adds, so that they
// equal ggml's reference bit for bit.

/// dst[i] = src[i] for `count` IEEE binary16 numbers; denormals, infinities and NaN included.
void tspeft_decode_f16(const void *src, float *dst, size_t count);
/// dst[i] = src[i] for `count` bfloat16 numbers.
void tspeft_decode_bf16(const void *src, float *dst, size_t count);
/// dst[i] = src[i] rounded to nearest for `count` binary64 numbers.
void tspeft_decode_f64(const void *src, float *dst, size_t count);

/// Q4_0: 18 bytes for 32 elements: f16 d, 16 bytes of nibbles (low ones first); d * (q - 8).
void tspeft_decode_q4_0(const void *src, float *dst, size_t blocks);
/// Q4_1: 20 bytes for 32 elements: f16 d, f16 m, 16 bytes of nibbles; d * q + m.
void tspeft_decode_q4_1(const void *src, float *dst, size_t blocks);
/// Q5_0: 22 bytes for 32 elements: f16 d, 32 fifth bits, 16 bytes of nibbles; d * (q - 16).
void tspeft_decode_q5_0(const void *src, float *dst, size_t blocks);
/// Q5_1: 24 bytes for 32 elements: f16 d, f16 m, 32 fifth bits, 16 bytes of nibbles; d * q + m.
void tspeft_decode_q5_1(const void *src, float *dst, size_t blocks);
/// Q8_0: 34 bytes for 32 elements: f16 d, 32 signed bytes; d * q.
void tspeft_decode_q8_0(const void *src, float *dst, size_t blocks);
#endif
