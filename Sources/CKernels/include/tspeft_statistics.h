#ifndef TSPEFT_STATISTICS_H
#define TSPEFT_STATISTICS_H
#include <stddef.h>
#include <stdint.h>

// What a list of numbers looks like, and how two lists differ, each in one pass. Stored numbers may lie at any
// alignment; nothing is allocated or kept. Sums are in double, over 16 lanes (element i in lane i % 16, the lanes added
// up in order), without fused products: all levels give the same bits.

/// Figures of the finite ones among some numbers.
typedef struct {
    uint64_t finite, nan, infinite;
    /// +infinity and -infinity where nothing is finite.
    double minimum, maximum;
    /// The first finite number, which the sums are taken from, so that equal numbers have a variance of exactly 0.
    double shift;
    /// The sums of (x - shift) and (x - shift)^2.
    double sum, squares;
} tspeft_moments;

typedef void tspeft_moments_kernel(const void *src, size_t count, tspeft_moments *moments);

/// How `b` differs from `a`.
typedef struct {
    /// Elements with other bits.
    uint64_t differing;
    /// Those of them of which one or both are NaN or infinite; they count in no other figure.
    uint64_t incomparable;
    /// The largest |b - a|.
    double largest;
    /// The sums of (b - a)^2 and of a^2.
    double squares, reference;
} tspeft_difference;

typedef void tspeft_difference_kernel(const void *a, const void *b, size_t count, tspeft_difference *difference);

/// One implementation of each function for one kind of processor.
typedef struct {
    tspeft_moments_kernel *moments_f32, *moments_bf16, *moments_f16, *moments_f64;
    tspeft_difference_kernel *difference_f32, *difference_f64;
} tspeft_statistics_table;

/// The functions for processors of `level` (see tspeft_cpu_level), which must be one that the processor has.
const tspeft_statistics_table *tspeft_statistics_at(int level);
#endif
