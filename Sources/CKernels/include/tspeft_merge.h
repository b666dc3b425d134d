#ifndef TSPEFT_MERGE_H
#define TSPEFT_MERGE_H
#include <stddef.h>
#include <stdint.h>

/// w += scale * b a, for w [rows, width], b [rows, rank], a [rank, width], all row-major and contiguous. An element whose
/// sum over the rank is 0 keeps its bits. Sums run over the rank in order, in float; the product with `scale` is rounded
/// before it is added, as in peft.
void tspeft_merge_rows(float *w, const float *b, const float *a, float scale, size_t rows, size_t rank, size_t width);
/// The same with the kernel of a level of tspeft_cpu_level; one that the processor lacks falls to plain C.
void tspeft_merge_rows_at(int level, float *w, const float *b, const float *a, float scale, size_t rows, size_t rank,
                          size_t width);

/// What became of `count` numbers: how many have other bits, and the largest |after - before| (infinity where a number
/// that changed is no longer finite).
typedef struct {
    uint64_t changed;
    float largest;
} tspeft_change;
tspeft_change tspeft_changes(const float *before, const float *after, size_t count);
/// The same with the instructions of a level of tspeft_cpu_level; one that the processor lacks falls to plain C.
tspeft_change tspeft_changes_at(int level, const float *before, const float *after, size_t count);
#endif
