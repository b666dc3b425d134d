// The statistics, compiled for one kind of processor: level_plain.c, level_avx2.c and level_avx512.c include this text.
// Vectors are the compiler's own, wide ones cut up where the processor's are narrower, so all kinds add the same
// numbers in the same order.
#include <math.h>
#include <string.h>

#include "../include/tspeft_statistics.h"

#pragma STDC FP_CONTRACT OFF

enum { LANES = 16, HALF = 8 };

typedef uint16_t shorts __attribute__((vector_size(2 * LANES), aligned(1)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef float half_floats __attribute__((vector_size(4 * HALF)));
typedef int64_t longs __attribute__((vector_size(8 * HALF)));
typedef double doubles __attribute__((vector_size(8 * HALF)));

#define INLINE static inline __attribute__((always_inline))

/// The two halves of 16 floats as doubles.
#define LOW(x) __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7), doubles)
#define HIGH(x) __builtin_convertvector(__builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15), doubles)

/// `a` where the mask's bits are set, `b` elsewhere; of floats or doubles with masks of their width.
#define SELECT(type, bits, mask, a, b) ((type)(((bits)(a) & (mask)) | ((bits)(b) & ~(mask))))

enum { FLOAT_SIGN_OFF = 0x7FFFFFFF, FLOAT_INFINITY = 0x7F800000 };
static const int64_t DOUBLE_SIGN_OFF = 0x7FFFFFFFFFFFFFFF, DOUBLE_INFINITY = 0x7FF0000000000000;

INLINE void load_f32(const uint8_t *p, floats *x) { memcpy(x, p, sizeof *x); }

INLINE void load_bf16(const uint8_t *p, floats *x) {
    shorts raw;
    memcpy(&raw, p, sizeof raw);
    *x = (floats)(__builtin_convertvector(raw, ints) << 16);
}

/// As float_of_half in the block formats: shift exponent and fraction into place, correct the exponent by a product.
INLINE void load_f16(const uint8_t *p, floats *x) {
    shorts raw;
    memcpy(&raw, p, sizeof raw);
    const ints wide = __builtin_convertvector(raw, ints);
    const ints magnitude = (wide & 0x7FFF) << 13;
    const ints scaled = (ints)((floats)magnitude * 0x1p112f);
    const ints special = (magnitude >= 0x0F800000) & FLOAT_INFINITY;
    *x = (floats)(scaled | special | (wide & 0x8000) << 16);
}

/// Sums, extremes and what is not finite, lane by lane.
typedef struct {
    floats shift, lowest, highest;
    doubles shift_wide, sum[2], squares[2];
    ints odd;
} float_state;

INLINE void add_floats(float_state *state, const floats *values) {
    floats x = *values;
    const ints odd = ((ints)x & FLOAT_SIGN_OFF) >= FLOAT_INFINITY;
    state->odd -= odd;
    // A number that is not finite becomes the shift, which changes neither the extremes nor the sums.
    x = SELECT(floats, ints, odd, state->shift, x);
    state->lowest = SELECT(floats, ints, x < state->lowest, x, state->lowest);
    state->highest = SELECT(floats, ints, x > state->highest, x, state->highest);
    const doubles low = LOW(x) - state->shift_wide, high = HIGH(x) - state->shift_wide;
    state->sum[0] += low;
    state->sum[1] += high;
    state->squares[0] += low * low;
    state->squares[1] += high * high;
}

INLINE double lane_sum(const doubles *halves) {
    double sum = 0;
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < HALF; i++) sum += halves[half][i];
    return sum;
}

static void set_nothing(tspeft_moments *moments) {
    *moments = (tspeft_moments){0, 0, 0, INFINITY, -INFINITY, 0, 0, 0};
}

#define DEFINE_FLOAT_MOMENTS(name, size)                                                                   \
    static void moments_##name(const void *src, size_t count, tspeft_moments *moments) {                   \
        const uint8_t *bytes = src;                                                                        \
        set_nothing(moments);                                                                              \
        uint8_t rest[LANES * size];                                                                        \
        floats x;                                                                                          \
        size_t first = 0;                                                                                  \
        float shift = 0;                                                                                   \
        for (; first < count; first++) {                                                                   \
            memset(rest, 0, sizeof rest);                                                                  \
            memcpy(rest, bytes + first * size, size);                                                      \
            load_##name(rest, &x);                                                                         \
            shift = x[0];                                                                                  \
            if (isfinite(shift)) break;                                                                    \
            *(isnan(shift) ? &moments->nan : &moments->infinite) += 1;                                     \
        }                                                                                                  \
        if (first == count) return;                                                                        \
        float_state state = {0};                                                                           \
        state.shift += shift;                                                                              \
        state.shift_wide += shift;                                                                         \
        state.lowest = state.highest = state.shift;                                                        \
        size_t i = first, odd = 0;                                                                         \
        for (; i + LANES <= count; i += LANES) {                                                           \
            load_##name(bytes + i * size, &x);                                                             \
            add_floats(&state, &x);                                                                         \
        }                                                                                                  \
        if (i < count) {                                                                                   \
            memset(rest, 0, sizeof rest);                                                                  \
            memcpy(rest, bytes + i * size, (count - i) * size);                                            \
            load_##name(rest, &x);                                                                         \
            for (size_t lane = count - i; lane < LANES; lane++) x[lane] = shift;                           \
            add_floats(&state, &x);                                                                         \
        }                                                                                                  \
        for (int lane = 0; lane < LANES; lane++) {                                                         \
            odd += (uint32_t)state.odd[lane];                                                              \
            moments->minimum = fmin(moments->minimum, state.lowest[lane]);                                 \
            moments->maximum = fmax(moments->maximum, state.highest[lane]);                                \
        }                                                                                                  \
        moments->finite = count - first - odd;                                                             \
        moments->shift = shift;                                                                            \
        moments->sum = lane_sum(state.sum);                                                                \
        moments->squares = lane_sum(state.squares);                                                        \
        if (odd == 0) return;                                                                              \
        ints lanes = {0};                                                                                  \
        for (i = first; i + LANES <= count; i += LANES) {                                                  \
            load_##name(bytes + i * size, &x);                                                             \
            lanes -= ((ints)x & FLOAT_SIGN_OFF) > FLOAT_INFINITY;                                          \
        }                                                                                                  \
        if (i < count) {                                                                                   \
            memset(rest, 0, sizeof rest);                                                                  \
            memcpy(rest, bytes + i * size, (count - i) * size);                                            \
            load_##name(rest, &x);                                                                         \
            lanes -= ((ints)x & FLOAT_SIGN_OFF) > FLOAT_INFINITY;                                          \
        }                                                                                                  \
        size_t nan = 0;                                                                                    \
        for (int lane = 0; lane < LANES; lane++) nan += (uint32_t)lanes[lane];                             \
        moments->nan += nan;                                                                               \
        moments->infinite += odd - nan;                                                                    \
    }

DEFINE_FLOAT_MOMENTS(f32, 4)
DEFINE_FLOAT_MOMENTS(bf16, 2)
DEFINE_FLOAT_MOMENTS(f16, 2)

static void moments_f64(const void *src, size_t count, tspeft_moments *moments) {
    const uint8_t *bytes = src;
    set_nothing(moments);
    size_t first = 0;
    double shift = 0;
    for (; first < count; first++) {
        memcpy(&shift, bytes + first * sizeof shift, sizeof shift);
        if (isfinite(shift)) break;
        *(isnan(shift) ? &moments->nan : &moments->infinite) += 1;
    }
    if (first == count) return;
    doubles shifts = {0}, sum[2] = {{0}}, squares[2] = {{0}};
    shifts += shift;
    doubles lowest = shifts, highest = shifts;
    size_t odd = 0;
    for (size_t i = first; i < count; i += LANES) {
        const size_t here = count - i < LANES ? count - i : LANES;
        double values[LANES];
        for (size_t lane = here; lane < LANES; lane++) values[lane] = shift;
        memcpy(values, bytes + i * sizeof shift, here * sizeof shift);
        for (int half = 0; half < 2; half++) {
            doubles x;
            memcpy(&x, values + half * HALF, sizeof x);
            const longs strange = ((longs)x & DOUBLE_SIGN_OFF) >= DOUBLE_INFINITY;
            for (int lane = 0; lane < HALF; lane++) odd -= (size_t)strange[lane];
            x = SELECT(doubles, longs, strange, shifts, x);
            lowest = SELECT(doubles, longs, x < lowest, x, lowest);
            highest = SELECT(doubles, longs, x > highest, x, highest);
            const doubles distance = x - shifts;
            sum[half] += distance;
            squares[half] += distance * distance;
        }
    }
    for (int lane = 0; lane < HALF; lane++) {
        moments->minimum = fmin(moments->minimum, lowest[lane]);
        moments->maximum = fmax(moments->maximum, highest[lane]);
    }
    moments->finite = count - first - odd;
    moments->shift = shift;
    moments->sum = lane_sum(sum);
    moments->squares = lane_sum(squares);
    size_t nan = 0;
    for (size_t i = first; odd > 0 && i < count; i++) {
        double value;
        memcpy(&value, bytes + i * sizeof value, sizeof value);
        nan += isnan(value) != 0;
    }
    moments->nan += nan;
    moments->infinite += odd - nan;
}

#define DEFINE_DIFFERENCE(name, type, bits, sign_off, infinity, LOAD)                                          \
    static void difference_##name(const void *before, const void *after, size_t count,                         \
                                  tspeft_difference *difference) {                                             \
        const uint8_t *a = before, *b = after;                                                                 \
        doubles squares[2] = {{0}}, reference[2] = {{0}}, largest = {0};                                       \
        uint64_t differing = 0, incomparable = 0;                                                              \
        for (size_t i = 0; i < count; i += LANES) {                                                            \
            const size_t here = count - i < LANES ? count - i : LANES;                                         \
            type left[LANES] = {0}, right[LANES] = {0};                                                        \
            memcpy(left, a + i * sizeof *left, here * sizeof *left);                                           \
            memcpy(right, b + i * sizeof *right, here * sizeof *right);                                        \
            bits left_bits[LANES], right_bits[LANES];                                                          \
            memcpy(left_bits, left, sizeof left);                                                              \
            memcpy(right_bits, right, sizeof right);                                                           \
            uint32_t others = 0, strange = 0;                                                                  \
            for (int lane = 0; lane < LANES; lane++) {                                                         \
                const bits differs = left_bits[lane] != right_bits[lane];                                      \
                const bits odd = (left_bits[lane] & sign_off) >= infinity || (right_bits[lane] & sign_off) >= infinity; \
                others += (uint32_t)differs;                                                                   \
                strange += (uint32_t)(differs & odd);                                                          \
                left[lane] = odd ? 0 : left[lane];                                                             \
                right[lane] = odd ? 0 : right[lane];                                                           \
            }                                                                                                  \
            differing += others;                                                                               \
            incomparable += strange;                                                                           \
            for (int half = 0; half < 2; half++) {                                                             \
                doubles x, y;                                                                                  \
                LOAD(x, left + half * HALF);                                                                   \
                LOAD(y, right + half * HALF);                                                                  \
                const doubles distance = y - x;                                                                \
                const doubles magnitude = (doubles)((longs)distance & DOUBLE_SIGN_OFF);                        \
                largest = SELECT(doubles, longs, magnitude > largest, magnitude, largest);                     \
                squares[half] += distance * distance;                                                          \
                reference[half] += x * x;                                                                      \
            }                                                                                                  \
        }                                                                                                      \
        *difference = (tspeft_difference){differing, incomparable, 0, lane_sum(squares), lane_sum(reference)}; \
        for (int lane = 0; lane < HALF; lane++) difference->largest = fmax(difference->largest, largest[lane]); \
    }

#define LOAD_FLOATS(x, p)                        \
    half_floats narrow;                          \
    memcpy(&narrow, p, sizeof narrow);           \
    x = __builtin_convertvector(narrow, doubles)
#define LOAD_FLOATS_APART(x, p) do { LOAD_FLOATS(x, p); } while (0)
#define LOAD_DOUBLES(x, p) memcpy(&x, p, sizeof x)

DEFINE_DIFFERENCE(f32, float, uint32_t, (uint32_t)FLOAT_SIGN_OFF, (uint32_t)FLOAT_INFINITY, LOAD_FLOATS_APART)
DEFINE_DIFFERENCE(f64, double, uint64_t, (uint64_t)DOUBLE_SIGN_OFF, (uint64_t)DOUBLE_INFINITY, LOAD_DOUBLES)

#define STATISTICS_TABLE \
    {moments_f32, moments_bf16, moments_f16, moments_f64, difference_f32, difference_f64}
