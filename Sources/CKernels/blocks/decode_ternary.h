// The formats of three values: -1, 0, 1 times one half-precision scale for 256 elements.
/// Digit `place` (0 is the first element's) of a byte that holds five base-three digits as a fraction of 256.
static inline int ternary_digit(uint8_t byte, int place) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const uint8_t fraction = (uint8_t)(byte * powers[place]);
    return fraction * 3 >> 8;
}

/// Bytes side by side hold elements side by side: 32 bytes of five, 16 bytes of five, 4 bytes of four.
static const struct {
    int start, width, digits;
} ternary_runs[3] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};

static void decode_tq1_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 54) {
        const float d = load_half(block + 52);
        for (int run = 0; run < 3; run++)
            for (int place = 0; place < ternary_runs[run].digits; place++, dst += ternary_runs[run].width)
                for (int i = 0; i < ternary_runs[run].width; i++)
                    dst[i] = d * (float)(ternary_digit(block[ternary_runs[run].start + i], place) - 1);
    }
}

static void decode_tq2_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 66) {
        const float d = load_half(block + 64);
        for (int g = 0; g < 8; g++, dst += 32)
            for (int i = 0; i < 32; i++) dst[i] = d * (float)((block[g / 4 * 32 + i] >> g % 4 * 2 & 3) - 1);
    }
}
