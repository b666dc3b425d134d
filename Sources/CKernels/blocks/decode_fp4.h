// Four-bit floats: E2M1 elements under a scale that is a power of two (MXFP4) or an eight-bit float (NVFP4).
/// Twice the 16 values of an E2M1 number.
static const int8_t e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(exponent - 128): half of an E8M0 number, as the table of elements is doubled.
static inline float half_of_e8m0(uint8_t exponent) {
    return float_from_bits(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
}

/// Half of an unsigned E4M3 number; its NaN counts as zero, a sign bit is not looked at.
static inline float half_of_ue4m3(uint8_t byte) {
    if (byte == 0x7F) return 0;
    const int exponent = byte >> 3 & 0x0F, fraction = byte & 7;
    if (exponent == 0) return (float)fraction * 0x1p-10f;
    return float_from_bits((uint32_t)(exponent - 8 + 127) << 23 | (uint32_t)fraction << 20);
}

static void decode_mxfp4(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 17, dst += 32) {
        const float scale = half_of_e8m0(block[0]);
        int8_t values[32];
        look_up_nibbles(e2m1_values, block + 1, values);
        for (int i = 0; i < 32; i++) dst[i] = scale * (float)values[i];
    }
}

static void decode_nvfp4(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 36, dst += 64) {
        for (int pair = 0; pair < 4; pair += 2) {
            // Two groups of 16: eight bytes each, whose low nibbles come before the high ones.
            const float first = half_of_ue4m3(block[pair]), second = half_of_ue4m3(block[pair + 1]);
            int8_t values[32];
            look_up_nibbles(e2m1_values, block + 4 + 8 * pair, values);
            float *out = dst + 16 * pair;
            for (int i = 0; i < 8; i++) {
                out[i] = first * (float)values[i];
                out[i + 8] = first * (float)values[i + 16];
                out[i + 16] = second * (float)values[i + 8];
                out[i + 24] = second * (float)values[i + 24];
            }
        }
    }
}
