// Encoders of Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: the scale comes from the extremes alone, as in ggml's reference, whose
// bytes these are.

/// q = (x - minimum) * inverse + offset, cut to a whole number and at `largest`.
static inline void cut_to_whole(const float *x, float minimum, float inverse, float offset, int largest, uint8_t *q) {
    for (int i = 0; i < BLOCK; i++) {
        const int whole = (int)((x[i] - minimum) * inverse + offset);
        q[i] = (uint8_t)(whole < largest ? whole : largest);
    }
}

static inline void put_nibbles(const uint8_t *q, uint8_t *nibbles) {
    for (int i = 0; i < HALF; i++) nibbles[i] = (uint8_t)((q[i] & 0x0F) | q[i + HALF] << 4);
}

static inline void put_fifth_bits(const uint8_t *q, uint8_t *bits) {
    uint32_t high = 0;
    for (int i = 0; i < BLOCK; i++) high |= (uint32_t)(q[i] >> 4) << i;
    memcpy(bits, &high, sizeof high);
}

/// The scale that makes the element of largest magnitude -`levels`; writes it, and the whole numbers.
static inline int quantize_around_zero(const float *x, int levels, uint8_t *scale, uint8_t *q) {
    const uint32_t magnitude = largest_magnitude(x, BLOCK);
    if (!is_finite_magnitude(magnitude)) return 0;
    const float d = first_extreme(x, BLOCK, magnitude) / (float)-levels;
    cut_to_whole(x, 0, inverse_of(d), (float)levels + 0.5f, 2 * levels - 1, q);
    return put_half(scale, d);
}

/// The minimum, and the scale that makes the maximum `largest`; writes both, and the whole numbers.
static inline int quantize_from_minimum(const float *x, int largest, uint8_t *scale, uint8_t *q) {
    if (!is_finite_magnitude(largest_magnitude(x, BLOCK))) return 0;
    float low, high;
    find_range(x, BLOCK, &low, &high);
    const float d = (high - low) / (float)largest;
    // A range that half precision holds is one whose differences float holds.
    if (!put_half(scale, d) || !put_half(scale + 2, low)) return 0;
    cut_to_whole(x, low, inverse_of(d), 0.5f, largest, q);
    return 1;
}

static inline int q4_0_block(const float *x, uint8_t *block) {
    uint8_t q[BLOCK];
    if (!quantize_around_zero(x, 8, block, q)) return 0;
    put_nibbles(q, block + 2);
    return 1;
}

static inline int q4_1_block(const float *x, uint8_t *block) {
    uint8_t q[BLOCK];
    if (!quantize_from_minimum(x, 15, block, q)) return 0;
    put_nibbles(q, block + 4);
    return 1;
}

static inline int q5_0_block(const float *x, uint8_t *block) {
    uint8_t q[BLOCK];
    if (!quantize_around_zero(x, 16, block, q)) return 0;
    put_fifth_bits(q, block + 2);
    put_nibbles(q, block + 6);
    return 1;
}

static inline int q5_1_block(const float *x, uint8_t *block) {
    uint8_t q[BLOCK];
    if (!quantize_from_minimum(x, 31, block, q)) return 0;
    put_fifth_bits(q, block + 4);
    put_nibbles(q, block + 8);
    return 1;
}

static inline int q8_0_block(const float *x, uint8_t *block) {
    const uint32_t magnitude = largest_magnitude(x, BLOCK);
    if (!is_finite_magnitude(magnitude)) return 0;
    const float d = float_from_bits(magnitude) / 127, inverse = inverse_of(d);
    for (int i = 0; i < BLOCK; i++) block[2 + i] = (uint8_t)rounded(x[i] * inverse);
    return put_half(block, d);
}

DEFINE_ENCODER(q4_0, BLOCK, 18)
DEFINE_ENCODER(q4_1, BLOCK, 20)
DEFINE_ENCODER(q5_0, BLOCK, 22)
DEFINE_ENCODER(q5_1, BLOCK, 24)
DEFINE_ENCODER(q8_0, BLOCK, 34)
