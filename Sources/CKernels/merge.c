// Adding a low-rank product to a weight, and counting what that changed.
#include "include/tspeft_merge.h"

#include <math.h>
#include <string.h>

#include "include/tspeft_compute.h"

static void merge_plain(float *w, const float *b, const float *a, float scale, size_t rows, size_t rank, size_t width) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < width; j++) {
            float sum = 0;
            for (size_t k = 0; k < rank; k++) sum += b[i * rank + k] * a[k * width + j];
            // Two statements, so that no compiler fuses them.
            float update = scale * sum;
            if (sum != 0) w[i * width + j] += update;
        }
    }
}

#ifdef __x86_64__
#include <immintrin.h>

// Columns go outermost, so that a strip of `a` stays in the first-level cache while all rows pass over it.
enum { ROWS = 4, VECTORS = 4 };

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))

/// `height` rows (at most ROWS) of one strip of columns; mask[v] tells the columns of vector v that exist.
AVX512 static inline __attribute__((always_inline)) void strip_avx512(float *w, const float *b, const float *a,
                                                                      float scale, size_t height, size_t rank,
                                                                      size_t width, const __mmask16 *mask) {
    __m512 sum[ROWS][VECTORS];
    for (size_t i = 0; i < height; i++)
        for (int v = 0; v < VECTORS; v++) sum[i][v] = _mm512_setzero_ps();
    for (size_t k = 0; k < rank; k++) {
        __m512 row[VECTORS];
        for (int v = 0; v < VECTORS; v++) row[v] = _mm512_maskz_loadu_ps(mask[v], a + k * width + 16 * v);
        for (size_t i = 0; i < height; i++) {
            __m512 factor = _mm512_set1_ps(b[i * rank + k]);
            for (int v = 0; v < VECTORS; v++) sum[i][v] = _mm512_fmadd_ps(factor, row[v], sum[i][v]);
        }
    }
    __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < height; i++) {
        for (int v = 0; v < VECTORS; v++) {
            float *place = w + i * width + 16 * v;
            __m512 old = _mm512_maskz_loadu_ps(mask[v], place);
            __mmask16 kept = _mm512_cmp_ps_mask(sum[i][v], _mm512_setzero_ps(), _CMP_EQ_OQ);
            __m512 merged = _mm512_add_ps(old, _mm512_mul_ps(factor, sum[i][v]));
            _mm512_mask_storeu_ps(place, mask[v] & ~kept, merged);
        }
    }
}

AVX512 static void merge_avx512(float *w, const float *b, const float *a, float scale, size_t rows, size_t rank,
                                size_t width) {
    for (size_t j = 0; j < width; j += 16 * VECTORS) {
        __mmask16 mask[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            size_t start = j + 16 * (size_t)v;
            size_t count = start >= width ? 0 : width - start;
            mask[v] = count >= 16 ? 0xFFFF : (__mmask16)((1u << count) - 1);
        }
        size_t i = 0;
        for (; i + ROWS <= rows; i += ROWS)
            strip_avx512(w + i * width + j, b + i * rank, a + j, scale, ROWS, rank, width, mask);
        for (; i < rows; i++) strip_avx512(w + i * width + j, b + i * rank, a + j, scale, 1, rank, width, mask);
    }
}

#define AVX2 __attribute__((target("avx2,fma")))
enum { NARROW = 2 };

AVX2 static inline __attribute__((always_inline)) void strip_avx2(float *w, const float *b, const float *a, float scale,
                                                                  size_t height, size_t rank, size_t width) {
    __m256 sum[ROWS][NARROW];
    for (size_t i = 0; i < height; i++)
        for (int v = 0; v < NARROW; v++) sum[i][v] = _mm256_setzero_ps();
    for (size_t k = 0; k < rank; k++) {
        __m256 row[NARROW];
        for (int v = 0; v < NARROW; v++) row[v] = _mm256_loadu_ps(a + k * width + 8 * v);
        for (size_t i = 0; i < height; i++) {
            __m256 factor = _mm256_set1_ps(b[i * rank + k]);
            for (int v = 0; v < NARROW; v++) sum[i][v] = _mm256_fmadd_ps(factor, row[v], sum[i][v]);
        }
    }
    __m256 factor = _mm256_set1_ps(scale);
    for (size_t i = 0; i < height; i++) {
        for (int v = 0; v < NARROW; v++) {
            float *place = w + i * width + 8 * v;
            __m256 old = _mm256_loadu_ps(place);
            __m256 kept = _mm256_cmp_ps(sum[i][v], _mm256_setzero_ps(), _CMP_EQ_OQ);
            __m256 merged = _mm256_add_ps(old, _mm256_mul_ps(factor, sum[i][v]));
            _mm256_storeu_ps(place, _mm256_blendv_ps(merged, old, kept));
        }
    }
}

AVX2 static void merge_avx2(float *w, const float *b, const float *a, float scale, size_t rows, size_t rank,
                            size_t width) {
    size_t whole = width - width % (8 * NARROW);
    for (size_t j = 0; j < whole; j += 8 * NARROW) {
        size_t i = 0;
        for (; i + ROWS <= rows; i += ROWS)
            strip_avx2(w + i * width + j, b + i * rank, a + j, scale, ROWS, rank, width);
        for (; i < rows; i++) strip_avx2(w + i * width + j, b + i * rank, a + j, scale, 1, rank, width);
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = whole; j < width; j++) {
            float sum = 0;
            for (size_t k = 0; k < rank; k++) sum = __builtin_fmaf(b[i * rank + k], a[k * width + j], sum);
            float update = scale * sum;
            if (sum != 0) w[i * width + j] += update;
        }
    }
}
#endif

void tspeft_merge_rows_at(int level, float *w, const float *b, const float *a, float scale, size_t rows, size_t rank,
                          size_t width) {
#ifdef __x86_64__
    int limit = tspeft_cpu_level();
    if (level >= 2 && limit >= 2) return merge_avx512(w, b, a, scale, rows, rank, width);
    if (level >= 1 && limit >= 1) return merge_avx2(w, b, a, scale, rows, rank, width);
#endif
    merge_plain(w, b, a, scale, rows, rank, width);
}

void tspeft_merge_rows(float *w, const float *b, const float *a, float scale, size_t rows, size_t rank, size_t width) {
    tspeft_merge_rows_at(tspeft_cpu_level(), w, b, a, scale, rows, rank, width);
}

/// Numbers that are counted in 32 bits, so that counting is vectorized as widely as the rest.
enum { CHANGE_BLOCK = 1 << 16 };

static inline __attribute__((always_inline)) tspeft_change changes(const float *before, const float *after,
                                                                   size_t count) {
    // Without their sign bit, floats are ordered as their bits are, NaN above infinity: a maximum the compiler can
    // vectorize.
    uint64_t changed = 0;
    uint32_t largest = 0;
    const uint32_t infinity = 0x7F800000;
    for (size_t start = 0; start < count; start += CHANGE_BLOCK) {
        size_t end = count - start < CHANGE_BLOCK ? count : start + CHANGE_BLOCK;
        uint32_t block = 0;
        for (size_t i = start; i < end; i++) {
            uint32_t old, new, difference;
            float distance = after[i] - before[i];
            memcpy(&old, before + i, 4);
            memcpy(&new, after + i, 4);
            memcpy(&difference, &distance, 4);
            uint32_t differs = old != new;
            block += differs;
            difference = differs ? difference & 0x7FFFFFFF : 0;
            largest = difference > largest ? difference : largest;
        }
        changed += block;
    }
    if (largest > infinity) largest = infinity;
    tspeft_change change = {changed, 0};
    memcpy(&change.largest, &largest, 4);
    return change;
}

static tspeft_change changes_plain(const float *before, const float *after, size_t count) {
    return changes(before, after, count);
}

#ifdef __x86_64__
AVX512 static tspeft_change changes_avx512(const float *before, const float *after, size_t count) {
    return changes(before, after, count);
}

AVX2 static tspeft_change changes_avx2(const float *before, const float *after, size_t count) {
    return changes(before, after, count);
}
#endif

tspeft_change tspeft_changes_at(int level, const float *before, const float *after, size_t count) {
#ifdef __x86_64__
    int limit = tspeft_cpu_level();
    if (level >= 2 && limit >= 2) return changes_avx512(before, after, count);
    if (level >= 1 && limit >= 1) return changes_avx2(before, after, count);
#endif
    return changes_plain(before, after, count);
}

tspeft_change tspeft_changes(const float *before, const float *after, size_t count) {
    return tspeft_changes_at(tspeft_cpu_level(), before, after, count);
}
