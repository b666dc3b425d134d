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

/// Decodes `blocks` blocks of one format of ggml. The arithmetic is that of ggml's reference, each product and sum
/// rounded to float by itself, so that results are equal to it bit for bit (a NaN is a NaN, whatever its payload).
typedef void tspeft_block_decoder(const void *src, float *dst, size_t blocks);

/// The decoder of the format with ggml's number, the best one for processors of `level` (see tspeft_cpu_level); NULL
/// where there is no such format. All levels of one format give the same bits.
/// `level` must be one that the processor has.
tspeft_block_decoder *tspeft_block_decoder_at(int level, uint32_t number);

/// Encodes `blocks` blocks of one format of ggml. Returns how many leading blocks were written: fewer than `blocks`
/// where the next has a NaN, an infinity, or a magnitude whose scale half precision cannot hold.
typedef size_t tspeft_block_encoder(const float *src, void *dst, size_t blocks);

/// The encoder of a format, as above; NULL where tspeft does not write the format. All levels give the same bytes.
/// Those of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0 and MXFP4 are those of ggml's reference, but for scales so small
/// that their inverse is infinite, whose elements become zero. IQ4_NL and the K formats are searched for a small sum of
/// squared errors.
tspeft_block_encoder *tspeft_block_encoder_at(int level, uint32_t number);
#endif
