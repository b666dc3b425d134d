// Encoders of the K formats. Each keeps the sum of its elements' squared errors small, in three steps: a scale (and an
// offset) for each group, the best of sixteen starts after a fit by least squares; the block's scale in half precision,
// from the largest of them; then the best of sixteen small integers (or pairs of them) near each group's, with the
// elements nearest to what those give.

/// Groups of a block, at most.
enum { GROUPS = 16 };

/// Sums over the elements x of a group and the whole numbers q that stand for them, in each lane.
typedef struct {
    lanes q, qq, xq;
} fit_sums;

/// The sums for q = (x - offset) * inverse, rounded to whole numbers from `low` to `high`.
LANES fit_sums sums_of(const float *x, int count, lanes offset, lanes inverse, float low, float high) {
    // Two elements at a time: else each sum would wait for the one before.
    fit_sums even = {0, 0, 0}, odd = {0, 0, 0};
    for (int i = 0; i < count; i += 2) {
        const lanes q = nearest(clamped((x[i] - offset) * inverse, low, high));
        const lanes next = nearest(clamped((x[i + 1] - offset) * inverse, low, high));
        even.q += q;
        odd.q += next;
        even.qq += q * q;
        odd.qq += next * next;
        even.xq += q * x[i];
        odd.xq += next * x[i + 1];
    }
    const fit_sums sums = {even.q + odd.q, even.qq + odd.qq, even.xq + odd.xq};
    return sums;
}

/// By how much the squared error of scale * q + offset is less than that of zero.
LANES lanes gain_of(fit_sums sums, lanes scale, lanes offset, float sum, float count) {
    return 2 * (scale * sums.xq + offset * sum) - scale * (scale * sums.qq + 2 * offset * sums.q) -
           count * offset * offset;
}

/// The scale that fits the whole numbers behind the sums best, without an offset.
LANES lanes fitted_scale(fit_sums sums) { return sums.qq > 0 ? sums.xq / sums.qq : 0; }

/// The scale, and the offset of at most zero, that fit the whole numbers behind the sums best.
LANES void fit_line(fit_sums sums, float sum, float count, lanes *scale, lanes *offset) {
    const lanes determinant = count * sums.qq - sums.q * sums.q;
    lanes slope = (count * sums.xq - sum * sums.q) / determinant;
    lanes shift = (sum - slope * sums.q) / count;
    // Where all q are equal, only a mean can be fitted.
    slope = determinant > 0 ? slope : 0;
    shift = determinant > 0 ? shift : sum / count;
    lanes through_zero = fitted_scale(sums);
    through_zero = through_zero > 0 ? through_zero : 0;
    *scale = shift > 0 ? through_zero : slope;
    *offset = shift > 0 ? 0 : shift;
}

/// The best scale and offset (at most zero) found for `count` elements that become 0 to `largest`. The starts cut off
/// some of the range above and below, in units of one step: with few steps that pays.
LANES void search_line(const float *x, int count, float sum, int largest, const lanes *above, const lanes *below,
                       float *scale, float *offset) {
    float low, high;
    find_range(x, count, &low, &high);
    low = low < 0 ? low : 0;
    const float top = (float)largest, step = (high - low) / top;
    lanes offsets = low + *below * step;
    offsets = offsets > 0 ? 0 : offsets;
    lanes scales = step * (top - *above - *below) / top;
    const fit_sums sums = sums_of(x, count, offsets, inverses(scales), 0, top);
    fit_line(sums, sum, (float)count, &scales, &offsets);
    const int best = best_lane(gain_of(sums, scales, offsets, sum, (float)count));
    *scale = scales[best];
    *offset = offsets[best];
}

/// How a K format with minima is made.
typedef struct {
    /// Elements of a group, the largest of their whole numbers, and of the groups' integers.
    int count, largest, limit;
    /// Where the half-precision scale and minimum stand in a block.
    int scale_place, minimum_place;
} line_format;

/// Writes a block's half-precision numbers, and gives the integers of its groups' scales and minima and of its
/// elements.
LANES int quantize_lines(const float *x, line_format format, const lanes *above, const lanes *below, uint8_t *block,
                         uint8_t *scales, uint8_t *minima, uint8_t *q) {
    const uint32_t magnitude = largest_magnitude(x, SUPER);
    if (!is_finite_magnitude(magnitude)) return 0;
    float normal[SUPER], group_scale[GROUPS], group_offset[GROUPS], group_sum[GROUPS];
    float largest_scale = 0, lowest_offset = 0;
    const float power = normalize(x, SUPER, magnitude, normal);
    const int count = format.count, groups = SUPER / count;
    for (int g = 0; g < groups; g++) {
        group_sum[g] = sum_of(normal + g * count, count);
        search_line(normal + g * count, count, group_sum[g], format.largest, above, below, group_scale + g,
                    group_offset + g);
        largest_scale = group_scale[g] > largest_scale ? group_scale[g] : largest_scale;
        lowest_offset = group_offset[g] < lowest_offset ? group_offset[g] : lowest_offset;
    }
    const float limit = (float)format.limit;
    float unit, offset_unit;
    const int fits = put_scale(block + format.scale_place, largest_scale / limit, power, &unit) &
                     put_scale(block + format.minimum_place, -lowest_offset / limit, power, &offset_unit);
    if (!fits) return 0;
    static const lanes scale_steps = {-1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0};
    static const lanes minimum_steps = {-2, -1, 0, 1, 2, -2, -1, 0, 1, 2, -2, -1, 0, 1, 2, 0};
    for (int g = 0; g < groups; g++) {
        const float *elements = normal + g * count;
        const lanes near_scale = nearest(clamped(group_scale[g] * inverses(unit), 0, limit));
        const lanes near_minimum = nearest(clamped(-group_offset[g] * inverses(offset_unit), 0, limit));
        const lanes scale = clamped(near_scale + scale_steps, 0, limit);
        const lanes minimum = clamped(near_minimum + minimum_steps, 0, limit);
        const lanes scales_here = scale * unit, offsets_here = -minimum * offset_unit;
        const fit_sums sums =
            sums_of(elements, count, offsets_here, inverses(scales_here), 0, (float)format.largest);
        const int best = best_lane(gain_of(sums, scales_here, offsets_here, group_sum[g], (float)count));
        scales[g] = (uint8_t)scale[best];
        minima[g] = (uint8_t)minimum[best];
        const float offset = offsets_here[best], inverse = inverses(scales_here)[best];
        for (int i = 0; i < count; i++) {
            float value = (elements[i] - offset) * inverse;
            value = value > 0 ? value : 0;
            value = value < (float)format.largest ? value : (float)format.largest;
            q[g * count + i] = (uint8_t)((value + 0x1.8p23f) - 0x1.8p23f);
        }
    }
    return 1;
}

/// The best scale found, of either sign, for 16 elements that become -levels to levels - 1.
LANES float search_scale(const float *x, int levels, const lanes *starts) {
    const float extreme = first_extreme(x, 16, largest_magnitude(x, 16));
    const fit_sums sums =
        sums_of(x, 16, 0, inverses(extreme / *starts), (float)-levels, (float)(levels - 1));
    const lanes scales = fitted_scale(sums);
    return scales[best_lane(scales * sums.xq)];
}

/// Writes a block's half-precision scale, and gives its groups' scales, from -limit to limit - 1, and its elements'
/// whole numbers, from 0 to 2 levels - 1.
LANES int quantize_scales(const float *x, int levels, int limit, const lanes *starts, uint8_t *half, int8_t *scales,
                          uint8_t *q) {
    const uint32_t magnitude = largest_magnitude(x, SUPER);
    if (!is_finite_magnitude(magnitude)) return 0;
    float normal[SUPER], group_scale[GROUPS];
    const float power = normalize(x, SUPER, magnitude, normal);
    for (int g = 0; g < GROUPS; g++) group_scale[g] = search_scale(normal + 16 * g, levels, starts);
    const float extreme = first_extreme(group_scale, GROUPS, largest_magnitude(group_scale, GROUPS));
    float unit;
    if (!put_scale(half, extreme / (float)-limit, power, &unit)) return 0;
    static const lanes steps = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const float low = (float)-limit, high = (float)(limit - 1);
    for (int g = 0; g < GROUPS; g++) {
        const float *elements = normal + 16 * g;
        const lanes scale = clamped(nearest(clamped(group_scale[g] * inverses(unit), low, high)) + steps, low, high);
        const lanes scales_here = scale * unit;
        const fit_sums sums =
            sums_of(elements, 16, 0, inverses(scales_here), (float)-levels, (float)(levels - 1));
        const int best = best_lane(gain_of(sums, scales_here, 0, 0, 16));
        scales[g] = (int8_t)scale[best];
        const float inverse = inverses(scales_here)[best];
        for (int i = 0; i < 16; i++) {
            float value = elements[i] * inverse;
            value = value > (float)-levels ? value : (float)-levels;
            value = value < (float)(levels - 1) ? value : (float)(levels - 1);
            q[16 * g + i] = (uint8_t)((value + 0x1.8p23f) - 0x1.8p23f + (float)levels);
        }
    }
    return 1;
}

/// Two low bits of each element, as Q2_K and Q3_K keep them.
static inline void put_two_bits(const uint8_t *q, uint8_t *bytes) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *first = q + i / 32 * 128 + i % 32;
        bytes[i] = (uint8_t)((first[0] & 3) | (first[32] & 3) << 2 | (first[64] & 3) << 4 | (first[96] & 3) << 6);
    }
}

/// Four low bits of each element, as Q4_K and Q5_K keep them.
static inline void put_four_bits(const uint8_t *q, uint8_t *bytes) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *first = q + i / 32 * 64 + i % 32;
        bytes[i] = (uint8_t)((first[0] & 0x0F) | first[32] << 4);
    }
}

/// The opposite of six_bit_pair, for all groups.
static inline void put_six_bit_pairs(const uint8_t *scales, const uint8_t *minima, uint8_t *packed) {
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(scales[g] | scales[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(minima[g] | minima[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((scales[g + 4] & 0x0F) | minima[g + 4] << 4);
    }
}

// Starts of the searches, found by trying on normal numbers; the fit makes their exact places unimportant.
static const lanes coarse_above = {0, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f,
                                   0, 0.2f, 0.4f, 0.6f, 0.1f, 0.3f, 0.5f, 0.8f};
static const lanes coarse_below = {0,    0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f,
                                   0.4f, 0.6f, 0,    0.2f, 0.5f, 0.1f, 0.3f, 0.8f};
static const lanes fine_above = {-0.5f, -0.3f, -0.1f, 0.1f, 0.3f, 0.5f, 0.7f, 0.9f,
                                 -0.4f, -0.2f, 0,     0.2f, 0.4f, 0.6f, 0.8f, 1};
static const lanes fine_below = {0, 0, 0, 0, 0, 0, 0, 0, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f};
// What the element of largest magnitude becomes: the lowest number or the highest, or something beyond.
static const lanes q3_starts = {-3.4f, -3.7f, -4,   -4.3f, -4.6f, -4.9f, -5.2f, -5.5f,
                                2.6f,  2.9f,  3.2f, 3.5f,  3.8f,  4.1f,  4.4f,  4.7f};
static const lanes q6_starts = {-31.4f, -31.6f, -31.8f, -32,    -32.2f, -32.4f, -32.6f, -32.8f,
                                -33,    -33.2f, -33.4f, -33.6f, 30.6f,  30.9f,  31.2f,  31.5f};

static int q2_k_block(const float *x, uint8_t *block) {
    static const line_format format = {16, 3, 15, 80, 82};
    uint8_t scales[GROUPS], minima[GROUPS], q[SUPER];
    if (!quantize_lines(x, format, &coarse_above, &coarse_below, block, scales, minima, q)) return 0;
    for (int g = 0; g < 16; g++) block[g] = (uint8_t)(scales[g] | minima[g] << 4);
    put_two_bits(q, block + 16);
    return 1;
}

static int q4_k_block(const float *x, uint8_t *block) {
    static const line_format format = {32, 15, 63, 0, 2};
    uint8_t scales[GROUPS], minima[GROUPS], q[SUPER];
    if (!quantize_lines(x, format, &fine_above, &fine_below, block, scales, minima, q)) return 0;
    put_six_bit_pairs(scales, minima, block + 4);
    put_four_bits(q, block + 16);
    return 1;
}

static int q5_k_block(const float *x, uint8_t *block) {
    static const line_format format = {32, 31, 63, 0, 2};
    uint8_t scales[GROUPS], minima[GROUPS], q[SUPER];
    if (!quantize_lines(x, format, &fine_above, &fine_below, block, scales, minima, q)) return 0;
    put_six_bit_pairs(scales, minima, block + 4);
    for (int i = 0; i < 32; i++) {
        unsigned high = 0;
        for (int g = 0; g < 8; g++) high |= (unsigned)(q[32 * g + i] >> 4) << g;
        block[16 + i] = (uint8_t)high;
    }
    put_four_bits(q, block + 48);
    return 1;
}

static int q3_k_block(const float *x, uint8_t *block) {
    int8_t scales[GROUPS];
    uint8_t q[SUPER], *packed = block + 96;
    if (!quantize_scales(x, 4, 32, &q3_starts, block + 108, scales, q)) return 0;
    for (int i = 0; i < 32; i++) {
        unsigned high = 0;
        for (int g = 0; g < 8; g++) high |= (unsigned)(q[32 * g + i] >> 2) << g;
        block[i] = (uint8_t)high;
    }
    put_two_bits(q, block + 32);
    memset(packed, 0, 12);
    for (int g = 0; g < 16; g++) {
        const int scale = scales[g] + 32;
        packed[g % 8] |= (uint8_t)((scale & 0x0F) << g / 8 * 4);
        packed[8 + g % 4] |= (uint8_t)(scale >> 4 << g / 4 * 2);
    }
    return 1;
}

static int q6_k_block(const float *x, uint8_t *block) {
    int8_t scales[GROUPS];
    uint8_t q[SUPER];
    if (!quantize_scales(x, 32, 128, &q6_starts, block + 208, scales, q)) return 0;
    for (int i = 0; i < 128; i++) {
        const uint8_t *first = q + i / 64 * 128 + i % 64;
        block[i] = (uint8_t)((first[0] & 0x0F) | first[64] << 4);
    }
    for (int i = 0; i < 64; i++) {
        const uint8_t *first = q + i / 32 * 128 + i % 32;
        block[128 + i] = (uint8_t)(first[0] >> 4 | first[32] >> 4 << 2 | first[64] >> 4 << 4 | first[96] >> 4 << 6);
    }
    memcpy(block + 192, scales, sizeof scales);
    return 1;
}

DEFINE_ENCODER(q2_k, SUPER, 84)
DEFINE_ENCODER(q3_k, SUPER, 110)
DEFINE_ENCODER(q4_k, SUPER, 144)
DEFINE_ENCODER(q5_k, SUPER, 176)
DEFINE_ENCODER(q6_k, SUPER, 210)
