// The encoder of IQ4_NL, whose 16 values are not evenly spaced.

/// The table's value nearest to x in each lane: each threshold that x passes adds the step to the next value.
LANES lanes nearest_iq4_value(lanes x) {
    lanes value = tspeft_iq4_values[0];
    for (int i = 1; i < 16; i++) {
        const float lower = tspeft_iq4_values[i - 1], upper = tspeft_iq4_values[i];
        const lanes step = upper - lower;
        value += x > (lower + upper) / 2 ? step : 0;
    }
    return value;
}

static inline uint8_t nearest_iq4_code(float x) {
    int code = 0;
    for (int i = 1; i < 16; i++) code += x > (float)(tspeft_iq4_values[i - 1] + tspeft_iq4_values[i]) / 2;
    return (uint8_t)code;
}

/// Keeps the sum of squared errors small: the scale is the best of sixteen starts after a fit by least squares.
static int iq4_nl_block(const float *x, uint8_t *block) {
    // What the element of largest magnitude becomes at first: the first value or the last, or something beyond.
    static const lanes starts = {-117, -121, -125, -127, -129, -133, -137, -141,
                                 103,  107,  111,  113,  117,  121,  125,  129};
    const uint32_t magnitude = largest_magnitude(x, 32);
    if (!is_finite_magnitude(magnitude)) return 0;
    float normal[32], unit;
    const float power = normalize(x, 32, magnitude, normal);
    const lanes inverse_starts = inverses(first_extreme(normal, 32, largest_magnitude(normal, 32)) / starts);
    lanes xv = 0, vv = 0;
    for (int i = 0; i < 32; i++) {
        const lanes value = nearest_iq4_value(normal[i] * inverse_starts);
        xv += value * normal[i];
        vv += value * value;
    }
    const lanes scales = xv / vv;  // no value of the table is zero
    const lanes gain = scales * xv;
    if (!put_scale(block, scales[best_lane(gain)], power, &unit)) return 0;
    const float inverse = inverses(unit)[0];
    for (int i = 0; i < 16; i++) {
        const uint8_t low = nearest_iq4_code(normal[i] * inverse), high = nearest_iq4_code(normal[i + 16] * inverse);
        block[2 + i] = (uint8_t)(low | high << 4);
    }
    return 1;
}

DEFINE_ENCODER(iq4_nl, 32, 18)
