#ifndef TSPEFT_BLOCKS_H
#define TSPEFT_BLOCKS_H
#include <stddef.h>
#include <stdint.h>

// Stored tensors as floats. Stored bytes may lie at any alignment and are little-endian; nothing is allocated or kept.

/// dst[i] = src[i] for `count` IEEE binary16 numbers; denormals, infinities and NaN included.
void tspeft_decode_f16(const void *src, float *dst, size_t count);
/// dst[i] = src[i] for `count` bfloat16 numbers.
void tspeft_decode_bf16(const void *src, float *dst, size_t count);
/// dst[i] = src[i] rounded to nearest for `count` binary64 numbers.
void tspeft_decode_f64(const void *src, float *dst, size_t count);
/// dst[i] = src[i] for `count` signed integers of 8 bits; likewise the others, rounded to nearest where they are wide.
void tspeft_decode_i8(const void *src, float *dst, size_t count);
void tspeft_decode_i16(const void *src, float *dst, size_t count);
void tspeft_decode_i32(const void *src, float *dst, size_t count);
void tspeft_decode_i64(const void *src, float *dst, size_t count);

/// Decodes `blocks` blocks of one format of ggml. The arithmetic is that of ggml's reference, each product and sum rounded
/// to float by itself, so that results are equal to it bit for bit (a NaN is a NaN, whatever its payload).
typedef void tspeft_block_decoder(const void *src, float *dst, size_t blocks);

/// The decoder of the format with ggml's number, the best one for processors of `level` (see tspeft_cpu_level); NULL
/// where there is no such format. All levels of one format give the same bits.
tspeft_block_decoder *tspeft_block_decoder_at(int level, uint32_t number);
#endif
