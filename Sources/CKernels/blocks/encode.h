// What the encoders share.

/// The loop over blocks of an encoder whose `<name>_block` writes one and returns whether the format can hold it.
#define DEFINE_ENCODER(name, elements, bytes)                                        \
    static size_t encode_##name(const float *src, void *dst, size_t blocks) {        \
        uint8_t *block = dst;                                                        \
        for (size_t b = 0; b < blocks; b++)                                          \
            if (!name##_block(src + b * (elements), block + b * (bytes))) return b; \
        return blocks;                                                               \
    }

/// The bits of the largest magnitude of x. Bits of magnitudes are ordered as the magnitudes are, infinity and then NaN
/// after all numbers; a maximum of integers is one that the compiler can vectorise.
static inline uint32_t largest_magnitude(const float *x, int count) {
    uint32_t largest = 0;
    for (int i = 0; i < count; i++) {
        const uint32_t magnitude = bits_from_float(x[i]) & 0x7FFFFFFF;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

static inline int is_finite_magnitude(uint32_t bits) { return bits < 0x7F800000; }

/// The first element of largest magnitude, whose bits are `magnitude`.
static inline float first_extreme(const float *x, int count, uint32_t magnitude) {
    const float size = float_from_bits(magnitude);
    int above = 0, below = 0;
    for (int i = 0; i < count; i++) {
        above |= x[i] == size;
        below |= x[i] == -size;
    }
    if (above && below) {
        int i = 0;
        while ((bits_from_float(x[i]) & 0x7FFFFFFF) != magnitude) i++;
        return x[i];
    }
    return below ? -size : size;
}

/// 1 / scale; 0 where there is no such number, so that all elements become the one nearest to zero.
static inline float inverse_of(float scale) {
    const float inverse = 1 / scale;
    return is_finite_magnitude(bits_from_float(inverse) & 0x7FFFFFFF) ? inverse : 0;
}

/// Writes a half-precision number; 0 where it is too large for one.
static inline int put_half(uint8_t *p, float value) {
    const uint16_t half = plain_half_from_float(value);
    memcpy(p, &half, sizeof half);
    return (half & 0x7C00) != 0x7C00;
}

/// The whole number nearest to x, halves away from zero, as C's roundf gives it.
static inline int rounded(float x) {
    const float magnitude = x < 0 ? -x : x;
    const int whole = (int)magnitude;
    const int nearest = whole + (magnitude - (float)whole >= 0.5f);
    return x < 0 ? -nearest : nearest;
}

/// Sixteen candidates for a group's scale side by side, each with sums of its own.
typedef float lanes __attribute__((ext_vector_type(16)));

// Lanes are passed between inlined functions only, so that no calling convention matters.
#pragma clang diagnostic ignored "-Wpsabi"
#define LANES static inline __attribute__((always_inline))

/// The nearest whole number, ties to even, of numbers far below 2^22: the sum leaves no room for a fraction.
LANES lanes nearest(lanes x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

LANES lanes clamped(lanes x, lanes low, lanes high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

/// 1 / x, and 0 where x is zero or so small (against elements of about one) that it might as well be.
LANES lanes inverses(lanes x) {
    const lanes magnitude = x < 0 ? -x : x;
    return magnitude > 0x1p-100f ? 1 / x : 0;
}

/// The lane with the largest gain, the first of those.
LANES int best_lane(lanes gain) {
    typedef float half_lanes __attribute__((ext_vector_type(8)));
    typedef float quarter_lanes __attribute__((ext_vector_type(4)));
    const half_lanes most8 = gain.lo > gain.hi ? gain.lo : gain.hi;
    const quarter_lanes most4 = most8.lo > most8.hi ? most8.lo : most8.hi;
    const float most2 = most4.x > most4.z ? most4.x : most4.z, other2 = most4.y > most4.w ? most4.y : most4.w;
    const lanes number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const lanes first = gain == (most2 > other2 ? most2 : other2) ? number : 15;
    const half_lanes first8 = first.lo < first.hi ? first.lo : first.hi;
    const quarter_lanes first4 = first8.lo < first8.hi ? first8.lo : first8.hi;
    const float first2 = first4.x < first4.z ? first4.x : first4.z, second2 = first4.y < first4.w ? first4.y : first4.w;
    return (int)(first2 < second2 ? first2 : second2);
}

/// The sum of `count` elements, a multiple of eight, in eight parts side by side.
static inline float sum_of(const float *x, int count) {
    float parts[8] = {0};
    for (int i = 0; i < count; i += 8)
        for (int lane = 0; lane < 8; lane++) parts[lane] += x[i + lane];
    return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

/// The smallest and the largest of `count` elements, a multiple of eight.
static inline void find_range(const float *x, int count, float *low, float *high) {
    float lows[8], highs[8];
    memcpy(lows, x, sizeof lows);
    memcpy(highs, x, sizeof highs);
    for (int i = 8; i < count; i += 8) {
        for (int lane = 0; lane < 8; lane++) {
            lows[lane] = x[i + lane] < lows[lane] ? x[i + lane] : lows[lane];
            highs[lane] = x[i + lane] > highs[lane] ? x[i + lane] : highs[lane];
        }
    }
    for (int lane = 1; lane < 8; lane++) {
        lows[0] = lows[lane] < lows[0] ? lows[lane] : lows[0];
        highs[0] = highs[lane] > highs[0] ? highs[lane] : highs[0];
    }
    *low = lows[0];
    *high = highs[0];
}

/// Copies elements times a power of two that brings the largest magnitude, whose bits are given, to between one and two
/// (or as near as powers of two go), so that squares neither vanish nor overflow. Returns that power.
static inline float normalize(const float *x, int count, uint32_t magnitude, float *normal) {
    uint32_t exponent = magnitude >> 23;
    if (exponent < 1) exponent = 1;
    if (exponent > 253) exponent = 253;
    const float power = float_from_bits((254 - exponent) << 23);
    for (int i = 0; i < count; i++) normal[i] = x[i] * power;
    return power;
}

/// Writes scale / power in half precision, and sets *kept to what that is, times power again.
static inline int put_scale(uint8_t *p, float scale, float power, float *kept) {
    const int fits = put_half(p, scale / power);
    *kept = load_half(p) * power;
    return fits;
}
