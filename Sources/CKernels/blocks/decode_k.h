// The K formats: 256 elements in groups of 16 or 32, whose scales are themselves integers times one half-precision
// number.
typedef float sixteen_floats __attribute__((ext_vector_type(16)));
typedef uint8_t sixteen_bytes __attribute__((ext_vector_type(16)));

static void decode_q2_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 84, dst += SUPER) {
        const uint8_t *scales = block, *quants = block + 16;
        const float d = load_half(block + 80), dmin = load_half(block + 82);
        for (int g = 0; g < 16; g++) {
            const float scale = d * (float)(scales[g] & 0x0F), minimum = dmin * (float)(scales[g] >> 4);
            const uint8_t *bytes = quants + g / 8 * 32 + g % 2 * 16;
            // As a vector: the compiler would find a worse one.
            sixteen_bytes quants_here;
            memcpy(&quants_here, bytes, sizeof quants_here);
            quants_here = quants_here >> (uint8_t)(g % 8 / 2 * 2) & 3;
            const sixteen_floats products = scale * __builtin_convertvector(quants_here, sixteen_floats);
            const sixteen_floats values = products - minimum;
            memcpy(dst + 16 * g, &values, sizeof values);
        }
    }
}

static void decode_q3_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 110, dst += SUPER) {
        const uint8_t *high = block, *quants = block + 32, *scales = block + 96;
        const float d = load_half(block + 108);
        for (int g = 0; g < 16; g++) {
            const int low_scale = scales[g % 8] >> g / 8 * 4 & 0x0F;
            const int high_scale = scales[8 + g % 4] >> g / 4 * 2 & 3;
            const float scale = d * (float)((low_scale | high_scale << 4) - 32);
            const uint8_t *bytes = quants + g / 8 * 32 + g % 2 * 16, *bits = high + g % 2 * 16;
            const int shift = g % 8 / 2 * 2;
            // A high bit that is not set takes four away.
            for (int i = 0; i < 16; i++)
                dst[16 * g + i] = scale * (float)((bytes[i] >> shift & 3) - (bits[i] >> g / 2 & 1 ? 0 : 4));
        }
    }
}

static void decode_q4_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 144, dst += SUPER) {
        const float d = load_half(block), dmin = load_half(block + 2);
        for (int g = 0; g < 8; g++) {
            uint8_t six_bit_scale, six_bit_minimum;
            six_bit_pair(block + 4, g, &six_bit_scale, &six_bit_minimum);
            const float scale = d * (float)six_bit_scale, minimum = dmin * (float)six_bit_minimum;
            const uint8_t *bytes = block + 16 + g / 2 * 32;
            const int shift = g % 2 * 4;
            for (int i = 0; i < 32; i++) dst[32 * g + i] = scale * (float)(bytes[i] >> shift & 0x0F) - minimum;
        }
    }
}

static void decode_q5_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 176, dst += SUPER) {
        const float d = load_half(block), dmin = load_half(block + 2);
        const uint8_t *high = block + 16;
        for (int g = 0; g < 8; g++) {
            uint8_t six_bit_scale, six_bit_minimum;
            six_bit_pair(block + 4, g, &six_bit_scale, &six_bit_minimum);
            const float scale = d * (float)six_bit_scale, minimum = dmin * (float)six_bit_minimum;
            const uint8_t *bytes = block + 48 + g / 2 * 32;
            const int shift = g % 2 * 4;
            for (int i = 0; i < 32; i++) {
                const int value = (bytes[i] >> shift & 0x0F) | (high[i] >> g & 1) << 4;
                dst[32 * g + i] = scale * (float)value - minimum;
            }
        }
    }
}

static void decode_q6_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 210, dst += SUPER) {
        const uint8_t *scales = block + 192;
        const float d = load_half(block + 208);
        for (int g = 0; g < 16; g++) {
            const float scale = d * (float)(int8_t)scales[g];
            const int place = g % 8 * 16;  // within a half of 128 elements
            const uint8_t *low = block + g / 8 * 64 + place % 64;
            const uint8_t *high = block + 128 + g / 8 * 32 + place % 32;
            const int low_shift = place / 64 * 4, high_shift = place / 32 * 2;
            for (int i = 0; i < 16; i++) {
                const int value = (low[i] >> low_shift & 0x0F) | (high[i] >> high_shift & 3) << 4;
                dst[16 * g + i] = scale * (float)(value - 32);
            }
        }
    }
}

static void decode_q8_k(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 292, dst += SUPER) {
        const float d = float_from_bits(load32(block));
        for (int i = 0; i < SUPER; i++) dst[i] = d * (float)(int8_t)block[4 + i];
    }
}
