// Plain element types as floats; none of these rounds twice.
#include "blocks.h"

void tspeft_decode_f16(const void *src, float *dst, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) dst[i] = load_half(bytes + 2 * i);
}

void tspeft_decode_bf16(const void *src, float *dst, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) dst[i] = float_from_bits((uint32_t)load16(bytes + 2 * i) << 16);
}

#define DEFINE_DECODER(name, type)                                         \
    void tspeft_decode_##name(const void *src, float *dst, size_t count) { \
        const uint8_t *bytes = src;                                        \
        for (size_t i = 0; i < count; i++) {                               \
            type value;                                                    \
            memcpy(&value, bytes + sizeof value * i, sizeof value);        \
            dst[i] = (float)value;                                         \
        }                                                                  \
    }

DEFINE_DECODER(f64, double)
DEFINE_DECODER(i8, int8_t)
DEFINE_DECODER(i16, int16_t)
DEFINE_DECODER(i32, int32_t)
DEFINE_DECODER(i64, int64_t)
