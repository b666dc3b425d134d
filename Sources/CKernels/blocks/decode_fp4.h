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

/// Writes two runs of `half` elements: the low nibbles', then the high nibbles'.
static inline void put_e2m1(const uint8_t *nibbles, int half, float scale, float *dst) {
    for (int i = 0; i < half; i++) {
        dst[i] = scale * (float)e2m1_values[nibbles[i] & 0x0F];
        dst[i + half] = scale * (float)e2m1_values[nibbles[i] >> 4];
    }
}

static void decode_mxfp4(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 17, dst += 32) put_e2m1(block + 1, 16, half_of_e8m0(block[0]), dst);
}

static void decode_nvfp4(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 36, dst += 64)
        for (int g = 0; g < 4; g++) put_e2m1(block + 4 + 8 * g, 8, half_of_ue4m3(block[g]), dst + 16 * g);
}
