// Encoders of TQ1_0 and TQ2_0, with the bytes of ggml's reference: the scale is the largest magnitude.

/// Writes 0, 1 or 2 for each element (-1, 0, 1 times the scale), and the scale.
static inline int quantize_ternary(const float *x, uint8_t *scale, uint8_t *q) {
    const uint32_t magnitude = largest_magnitude(x, SUPER);
    if (!is_finite_magnitude(magnitude)) return 0;
    const float d = float_from_bits(magnitude), inverse = inverse_of(d);
    for (int i = 0; i < SUPER; i++) {
        const float ratio = x[i] * inverse;
        q[i] = (uint8_t)(1 + (ratio >= 0.5f) - (ratio <= -0.5f));
    }
    return put_half(scale, d);
}

static inline int tq1_0_block(const float *x, uint8_t *block) {
    uint8_t q[SUPER];
    if (!quantize_ternary(x, block + 52, q)) return 0;
    const uint8_t *digits = q;
    for (int run = 0; run < 3; run++) {
        const int width = ternary_runs[run].width;
        for (int i = 0; i < width; i++) {
            unsigned number = 0;
            for (int place = 0; place < 5; place++)
                number = 3 * number + (place < ternary_runs[run].digits ? digits[place * width + i] : 0);
            // Five digits as a fraction of 256, rounded up so that the decoder's products find each digit.
            block[ternary_runs[run].start + i] = (uint8_t)((number * 256 + 242) / 243);
        }
        digits += width * ternary_runs[run].digits;
    }
    return 1;
}

static inline int tq2_0_block(const float *x, uint8_t *block) {
    uint8_t q[SUPER];
    if (!quantize_ternary(x, block + 64, q)) return 0;
    for (int i = 0; i < 64; i++) {
        const uint8_t *first = q + i / 32 * 128 + i % 32;
        block[i] = (uint8_t)(first[0] | first[32] << 2 | first[64] << 4 | first[96] << 6);
    }
    return 1;
}

DEFINE_ENCODER(tq1_0, SUPER, 54)
DEFINE_ENCODER(tq2_0, SUPER, 66)
