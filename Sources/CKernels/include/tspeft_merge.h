#ifndef TSPEFT_MERGE_H
#define TSPEFT_MERGE_H
#include <stddef.h>
#include <stdint.h>

/// What became of numbers: how many have other bits, the largest |after - before| of those that were finite (infinity
/// where one of them is no longer finite), and how many were not finite and are not now either, which do not count as
/// changed.
typedef struct {
    uint64_t changed;
    float largest;
    uint64_t unusable;
} tspeft_change;

/// target = source + scale * b a, for target and source [rows, width] of `dtype` (TSPEFT_F32, TSPEFT_BF16 or
/// TSPEFT_F16; either the same memory or apart), b [rows, rank] and a [rank, width], all row-major and contiguous.
/// Returns what changed, as stored.
///
/// Sums run over the rank in order, in float; the product with `scale` is rounded before it is added, as in peft, and
/// what is stored is rounded once. An element whose sum over the rank is 0 keeps its bits. For at most 2^34 elements.
tspeft_change tspeft_merge_rows(void *target, const void *source, int dtype, const float *b, const float *a,
                                float scale, size_t rows, size_t rank, size_t width);

/// What became of `count` numbers, at most 2^34.
tspeft_change tspeft_changes(const float *before, const float *after, size_t count);
#endif
