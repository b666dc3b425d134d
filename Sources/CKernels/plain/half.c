// IEEE 754 binary16, in integer arithmetic: the plain level cannot count on conversion instructions.
#include "plain.h"

float plain_float_from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1F;
    uint32_t fraction = half & 0x3FF;
    if (exponent == 0x1F)  // infinity, or NaN, which becomes quiet as in hardware
        return float_from_bits(sign | 0x7F800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent == 0) {  // zero or denormal: fraction * 2^-24, exact in float
        float magnitude = (float)fraction * 0x1p-24f;
        return float_from_bits(sign | bits_from_float(magnitude));
    }
    return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t plain_half_from_float(float value) {
    uint32_t bits = bits_from_float(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7C00);  // 2^16 and up, infinity
    if (magnitude >= 0x38800000) {  // normal; rounding may carry into the exponent, up to infinity
        uint32_t rebased = magnitude - (112u << 23);
        return (uint16_t)(sign | (rebased + 0xFFF + (rebased >> 13 & 1)) >> 13);
    }
    // Denormal: a multiple of 2^-24. Adding 0.5 puts its unit at the float's last place, which rounds to even.
    uint32_t shifted = bits_from_float(float_from_bits(magnitude) + 0.5f);
    return (uint16_t)(sign | (shifted - 0x3F000000));
}
