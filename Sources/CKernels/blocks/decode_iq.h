// The IQ formats: groups of elements are entries of a codebook, with signs and a small scale apart.
/// Eight signs from seven bits: the eighth makes their number even.
static inline uint8_t even_signs(uint32_t seven_bits) {
    const uint32_t bits = seven_bits & 0x7F;
    return (uint8_t)(bits | (uint32_t)(__builtin_popcount(bits) & 1) << 7);
}

typedef float eight_floats __attribute__((ext_vector_type(8)));
typedef int32_t eight_ints __attribute__((ext_vector_type(8)));
typedef uint8_t eight_bytes __attribute__((ext_vector_type(8)));
typedef int8_t eight_signed_bytes __attribute__((ext_vector_type(8)));

/// Writes eight elements: the bytes of a codebook entry times `scale`, negative where a bit of `signs` is set.
static inline void put_eight(float *dst, uint64_t entry, uint8_t signs, float scale) {
    const eight_ints places = {1, 2, 4, 8, 16, 32, 64, 128};
    const eight_ints sign = ((eight_ints)signs & places) != 0 ? (eight_ints)INT32_MIN : 0;
    eight_bytes bytes;
    memcpy(&bytes, &entry, sizeof bytes);
    eight_floats values = scale * __builtin_convertvector(bytes, eight_floats);
    eight_ints bits;
    memcpy(&bits, &values, sizeof bits);
    bits ^= sign;
    memcpy(dst, &bits, sizeof bits);
}

/// Eight elements from two codebook entries of four.
static inline uint64_t join_fours(uint32_t first, uint32_t second) { return (uint64_t)second << 32 | first; }

static void decode_iq2_xxs(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 66) {
        const float d = load_half(block);
        for (int g = 0; g < 8; g++) {
            const uint8_t *indices = block + 2 + 8 * g;
            const uint32_t signs_and_scale = load32(indices + 4);
            const float scale = d * (0.5f + (float)(signs_and_scale >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++, dst += 8)
                put_eight(dst, tspeft_iq2_xxs_grid[indices[i]], even_signs(signs_and_scale >> 7 * i), scale);
        }
    }
}

static void decode_iq2_xs(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 74) {
        const float d = load_half(block);
        const uint8_t *scales = block + 66;
        for (int g = 0; g < 32; g++, dst += 8) {
            const uint16_t entry = load16(block + 2 + 2 * g);
            const float scale = d * (0.5f + (float)(scales[g / 4] >> g / 2 % 2 * 4 & 0x0F)) * 0.25f;
            put_eight(dst, tspeft_iq2_xs_grid[entry & 511], even_signs(entry >> 9), scale);
        }
    }
}

static void decode_iq2_s(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 82) {
        const float d = load_half(block);
        const uint8_t *low = block + 2, *signs = block + 34, *high = block + 66, *scales = block + 74;
        for (int g = 0; g < 32; g++, dst += 8) {
            const int index = low[g] | (high[g / 4] >> g % 4 * 2 & 3) << 8;
            const float scale = d * (0.5f + (float)(scales[g / 4] >> g / 2 % 2 * 4 & 0x0F)) * 0.25f;
            put_eight(dst, tspeft_iq2_s_grid[index], signs[g], scale);
        }
    }
}

static void decode_iq3_xxs(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 98) {
        const float d = load_half(block);
        const uint8_t *indices = block + 2;
        for (int g = 0; g < 8; g++) {
            const uint32_t signs_and_scale = load32(block + 66 + 4 * g);
            const float scale = d * (0.5f + (float)(signs_and_scale >> 28)) * 0.5f;
            for (int i = 0; i < 4; i++, dst += 8, indices += 2) {
                const uint64_t entry =
                    join_fours(tspeft_iq3_xxs_grid[indices[0]], tspeft_iq3_xxs_grid[indices[1]]);
                put_eight(dst, entry, even_signs(signs_and_scale >> 7 * i), scale);
            }
        }
    }
}

static void decode_iq3_s(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 110) {
        const float d = load_half(block);
        const uint8_t *low = block + 2, *high = block + 66, *signs = block + 74, *scales = block + 106;
        for (int g = 0; g < 32; g++, dst += 8) {
            const float scale = d * (float)(1 + 2 * (scales[g / 8] >> g / 4 % 2 * 4 & 0x0F));
            const int pair = high[g / 4] >> g % 4 * 2;
            const uint64_t entry = join_fours(tspeft_iq3_s_grid[low[2 * g] | (pair & 1) << 8],
                                              tspeft_iq3_s_grid[low[2 * g + 1] | (pair & 2) << 7]);
            put_eight(dst, entry, signs[g], scale);
        }
    }
}

/// Writes eight elements of an IQ1 format: (-1, 0 or 1, and an eighth more or less) times `scale`.
static inline void put_eight_shifted(float *dst, uint64_t entry, int is_less, float scale) {
    eight_signed_bytes bytes;
    memcpy(&bytes, &entry, sizeof bytes);
    const eight_floats values =
        scale * (__builtin_convertvector(bytes, eight_floats) + (is_less ? -0.125f : 0.125f));
    memcpy(dst, &values, sizeof values);
}

static void decode_iq1_s(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 50) {
        const float d = load_half(block);
        const uint8_t *low = block + 2;
        for (int g = 0; g < 8; g++) {
            const uint16_t high = load16(block + 34 + 2 * g);
            const float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            for (int i = 0; i < 4; i++, dst += 8) {
                const int index = low[4 * g + i] | (high >> 3 * i & 7) << 8;
                put_eight_shifted(dst, tspeft_iq1_grid[index], high >> 15, scale);
            }
        }
    }
}

static void decode_iq1_m(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 56) {
        const uint8_t *low = block, *high = block + 32, *scales = block + 48;
        // The highest four bits of each scale word are a quarter of the half-precision scale.
        uint16_t half = 0;
        for (int word = 0; word < 4; word++) half |= (uint16_t)(load16(scales + 2 * word) >> 12 << 4 * word);
        const float d = float_of_half(half);
        for (int g = 0; g < 32; g++, dst += 8) {
            const int three_bits = load16(scales + g / 8 * 2) >> g / 2 % 4 * 3 & 7;
            const int nibble = high[g / 2] >> g % 2 * 4;
            const float scale = d * (float)(2 * three_bits + 1);
            put_eight_shifted(dst, tspeft_iq1_grid[low[g] | (nibble & 7) << 8], nibble & 8, scale);
        }
    }
}

static void decode_iq4_nl(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 18, dst += 32) {
        const float d = load_half(block);
        int8_t values[32];
        look_up_nibbles(tspeft_iq4_values, block + 2, values);
        for (int i = 0; i < 32; i++) dst[i] = d * (float)values[i];
    }
}

static void decode_iq4_xs(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 136) {
        const float d = load_half(block);
        const uint16_t high_scales = load16(block + 2);
        for (int g = 0; g < 8; g++, dst += 32) {
            const int low_scale = block[4 + g / 2] >> g % 2 * 4 & 0x0F;
            const float scale = d * (float)((low_scale | (high_scales >> 2 * g & 3) << 4) - 32);
            int8_t values[32];
            look_up_nibbles(tspeft_iq4_values, block + 8 + 16 * g, values);
            for (int i = 0; i < 32; i++) dst[i] = scale * (float)values[i];
        }
    }
}
