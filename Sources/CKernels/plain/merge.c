#include <math.h>

#include "plain.h"

static inline uint32_t stored_bits(const void *array, int dtype, size_t i) {
    return dtype == TSPEFT_F32 ? ((const uint32_t *)array)[i] : ((const uint16_t *)array)[i];
}

static void note_change(tspeft_change *change, int differs, float before, float after) {
    if (!isfinite(before) && !isfinite(after)) {
        change->unusable++;
        return;
    }
    if (!differs) return;
    change->changed++;
    if (!isfinite(before)) return;
    float distance = fabsf(after - before);
    if (!isfinite(distance)) distance = INFINITY;
    if (distance > change->largest) change->largest = distance;
}

tspeft_change plain_merge_rows(void *target, const void *source, int dtype, const float *b, const float *a,
                               float scale, size_t rows, size_t rank, size_t width) {
    tspeft_change change = {0, 0, 0};
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < width; j++) {
            size_t place = i * width + j, size = dtype == TSPEFT_F32 ? 4 : 2;
            float sum = 0;
            for (size_t k = 0; k < rank; k++) sum += b[i * rank + k] * a[k * width + j];
            uint32_t old_bits = stored_bits(source, dtype, place);
            float old = get(source, dtype, place);
            if (sum == 0) {
                memmove((char *)target + place * size, (const char *)source + place * size, size);
                note_change(&change, 0, old, old);
                continue;
            }
            // Two statements, so that no compiler fuses them.
            float update = scale * sum;
            put(target, dtype, place, old + update);
            note_change(&change, stored_bits(target, dtype, place) != old_bits, old, get(target, dtype, place));
        }
    }
    return change;
}

tspeft_change plain_changes(const float *before, const float *after, size_t count) {
    tspeft_change change = {0, 0, 0};
    for (size_t i = 0; i < count; i++)
        note_change(&change, bits_from_float(before[i]) != bits_from_float(after[i]), before[i], after[i]);
    return change;
}
