// The formats of 32 elements a block, and the one- and two-bit ones of the same make.
enum { BLOCK = 32, HALF = BLOCK / 2 };

static void decode_q4_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 18, dst += BLOCK) {
        const float d = load_half(block);
        const uint8_t *nibbles = block + 2;
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)((nibbles[i] & 0x0F) - 8);
            dst[i + HALF] = d * (float)((nibbles[i] >> 4) - 8);
        }
    }
}

static void decode_q4_1(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 20, dst += BLOCK) {
        const float d = load_half(block), m = load_half(block + 2);
        const uint8_t *nibbles = block + 4;
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)(nibbles[i] & 0x0F) + m;
            dst[i + HALF] = d * (float)(nibbles[i] >> 4) + m;
        }
    }
}

/// The 32 five-bit numbers of a Q5 block: nibbles, and a bit of `high` each above them.
static inline void unpack_five_bits(const uint8_t *high_bytes, const uint8_t *nibbles, int32_t *values) {
    uint32_t high;
    memcpy(&high, high_bytes, sizeof high);
    for (int i = 0; i < HALF; i++) {
        values[i] = (nibbles[i] & 0x0F) | (int32_t)((high >> i & 1) << 4);
        values[i + HALF] = nibbles[i] >> 4 | (int32_t)((high >> (i + HALF) & 1) << 4);
    }
}

static void decode_q5_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 22, dst += BLOCK) {
        const float d = load_half(block);
        int32_t values[BLOCK];
        unpack_five_bits(block + 2, block + 6, values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)(values[i] - 16);
    }
}

static void decode_q5_1(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 24, dst += BLOCK) {
        const float d = load_half(block), m = load_half(block + 2);
        int32_t values[BLOCK];
        unpack_five_bits(block + 4, block + 8, values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)values[i] + m;
    }
}

static void decode_q8_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 34, dst += BLOCK) {
        const float d = load_half(block);
        int8_t values[BLOCK];
        memcpy(values, block + 2, sizeof values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)values[i];
    }
}

static void decode_q8_1(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 36, dst += BLOCK) {
        const float d = load_half(block);
        int8_t values[BLOCK];
        memcpy(values, block + 4, sizeof values);
        for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)values[i];
    }
}

static void decode_q1_0(const void *src, float *dst, size_t blocks) {
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 18, dst += 128) {
        const float d = load_half(block);
        // The scale itself where a bit is set, else its negative.
        for (int i = 0; i < 16; i++) put_eight(dst + 8 * i, 0x0101010101010101ull, (uint8_t)~block[2 + i], d);
    }
}

typedef int32_t sixteen_words __attribute__((ext_vector_type(16)));

static void decode_q2_0(const void *src, float *dst, size_t blocks) {
    const sixteen_words shifts = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
    const uint8_t *block = src;
    for (size_t b = 0; b < blocks; b++, block += 18, dst += 64) {
        const float d = load_half(block);
        for (int g = 0; g < 4; g++) {
            const sixteen_words quants = ((sixteen_words)(int32_t)load32(block + 2 + 4 * g) >> shifts & 3) - 1;
            const sixteen_floats values = d * __builtin_convertvector(quants, sixteen_floats);
            memcpy(dst + 16 * g, &values, sizeof values);
        }
    }
}
