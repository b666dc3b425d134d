// The encoder of MXFP4, with the bytes of ggml's reference.
static inline int mxfp4_block(const float *x, uint8_t *block) {
    const uint32_t magnitude = largest_magnitude(x, 32);
    if (!is_finite_magnitude(magnitude)) return 0;
    // The largest element lies between 4 and 8 of the scale's units. Where the scale would be below the smallest one,
    // it is that (the reference's number would wrap around to a huge scale, and all elements to zero).
    const float exponent = magnitude ? floorf(log2f(float_from_bits(magnitude))) - 2 + 127 : 0;
    block[0] = (uint8_t)(exponent > 0 ? exponent : 0);
    const float scale = half_of_e8m0(block[0]);
    uint8_t q[32];
    for (int half = 0; half < 32; half += 16) {
        lanes element, code = 0;
        memcpy(&element, x + half, sizeof element);
        // The first of the nearest, so that ties go as the reference's do; 8 is a second zero.
        lanes least = element < 0 ? -element : element;
        for (int other = 1; other < 16; other++) {
            const lanes difference = scale * (float)e2m1_values[other] - element;
            const lanes error = difference < 0 ? -difference : difference;
            code = error < least ? (float)other : code;
            least = error < least ? error : least;
        }
        for (int i = 0; i < 16; i++) q[half + i] = (uint8_t)code[i];
    }
    for (int i = 0; i < 16; i++) block[1 + i] = (uint8_t)(q[i] | q[i + 16] << 4);
    return 1;
}

DEFINE_ENCODER(mxfp4, 32, 17)
