// Adding a low-rank product to a weight as it is stored, and counting what that changed.

/// Rows that share what was loaded of `a`.
enum { MERGED_ROWS = 4 };

/// What changed, lane by lane: how many numbers, the bits of the largest |after - before|, and how many were and are not
/// finite. Without their sign bit, floats are ordered as their bits are, NaN above infinity.
typedef struct {
    vi count, largest, unusable;
} change_lanes;

/// `yes` in each lane whose number is finite, 0 in the others.
INLINE vi where_finite(vf x, uint32_t yes) {
    vi exponent = v_int(0x7F800000);
    return v_select_int(v_differs(v_and(v_bits(x), exponent), exponent), v_int(yes), v_int(0));
}

INLINE void note_change(change_lanes *seen, vi old_bits, vi new_bits, vf old, vf new) {
    vmask differs = v_differs(old_bits, new_bits);
    // 0 where neither is finite.
    vmask counts = v_differs(v_add_int(where_finite(old, 1), where_finite(new, 1)), v_int(0));
    vi distance = v_and(v_and(v_bits(new - old), v_int(0x7FFFFFFF)), where_finite(old, 0x7FFFFFFF));
    seen->count = v_add_int(seen->count, v_select_int(differs, v_select_int(counts, v_int(1), v_int(0)), v_int(0)));
    seen->largest = v_max_int(seen->largest, v_select_int(differs, distance, v_int(0)));
    seen->unusable = v_add_int(seen->unusable, v_select_int(counts, v_int(0), v_int(1)));
}

static tspeft_change change_of(const change_lanes *seen) {
    uint32_t count[LANES], bits[LANES], unusable[LANES], largest = 0;
    memcpy(count, &seen->count, sizeof count);
    memcpy(bits, &seen->largest, sizeof bits);
    memcpy(unusable, &seen->unusable, sizeof unusable);
    tspeft_change change = {0, 0, 0};
    for (int lane = 0; lane < LANES; lane++) {
        change.changed += count[lane];
        change.unusable += unusable[lane];
        if (bits[lane] > largest) largest = bits[lane];
    }
    if (largest > 0x7F800000) largest = 0x7F800000;
    memcpy(&change.largest, &largest, sizeof largest);
    return change;
}

/// `height` rows from element `place` on, of `vectors` vectors of columns, the last with `left` columns; all of these
/// are constants at each call but `left` of a single vector.
INLINE void merge_strip(void *target, const void *source, int dtype, size_t place, const float *b, const float *a,
                        float scale, size_t height, int vectors, size_t left, size_t rank, size_t width,
                        change_lanes *seen) {
    vf sum[MERGED_ROWS][TILE_VECTORS];
    for (size_t i = 0; i < height; i++)
        for (int v = 0; v < vectors; v++) sum[i][v] = v_zero();
    for (size_t k = 0; k < rank; k++) {
        vf row[TILE_VECTORS];
        for (int v = 0; v < vectors; v++) row[v] = v_load(a, TSPEFT_F32, k * width + (size_t)v * LANES, left);
        for (size_t i = 0; i < height; i++) {
            vf factor = v_set(b[i * rank + k]);
            for (int v = 0; v < vectors; v++) sum[i][v] = v_fma(factor, row[v], sum[i][v]);
        }
    }
    vf factor = v_set(scale);
    for (size_t i = 0; i < height; i++) {
        for (int v = 0; v < vectors; v++) {
            size_t at = place + i * width + (size_t)v * LANES;
            vi old_bits = v_load_bits(source, dtype, at, left);
            vf old = v_widen(old_bits, dtype);
            // Two statements, so that no compiler fuses them.
            vf update = factor * sum[i][v];
            vi new_bits = v_narrow(old + update, dtype);
            new_bits = v_select_int(v_is_zero(sum[i][v]), old_bits, new_bits);
            note_change(seen, old_bits, new_bits, old, v_widen(new_bits, dtype));
            v_store_bits(target, dtype, at, left, new_bits);
        }
    }
}

INLINE tspeft_change merge_rows_loop(void *target, const void *source, int dtype, const float *b, const float *a,
                                     float scale, size_t rows, size_t rank, size_t width) {
    change_lanes seen = {v_int(0), v_int(0), v_int(0)};
    size_t strip = TILE_VECTORS * LANES, bytes = strip * (dtype == TSPEFT_F32 ? 4 : 2), j = 0;
    // Columns go outermost, so that a strip of `a` stays in the first-level cache while all rows pass over it.
    for (; j + strip <= width; j += strip) {
        size_t i = 0;
        for (; i + MERGED_ROWS <= rows; i += MERGED_ROWS) {
            for (size_t row = i; row < i + MERGED_ROWS; row++) {
                const char *next = (const char *)source + (row * width + j) * (bytes / strip) + bytes;
                for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(next + line);
            }
            merge_strip(target, source, dtype, i * width + j, b + i * rank, a + j, scale, MERGED_ROWS, TILE_VECTORS,
                        LANES, rank, width, &seen);
        }
        for (; i < rows; i++)
            merge_strip(target, source, dtype, i * width + j, b + i * rank, a + j, scale, 1, TILE_VECTORS, LANES, rank,
                        width, &seen);
    }
    for (; j < width; j += LANES)
        for (size_t i = 0; i < rows; i++)
            merge_strip(target, source, dtype, i * width + j, b + i * rank, a + j, scale, 1, 1, width - j, rank, width,
                        &seen);
    return change_of(&seen);
}

static tspeft_change merge_rows(void *target, const void *source, int dtype, const float *b, const float *a,
                                float scale, size_t rows, size_t rank, size_t width) {
    if (dtype == TSPEFT_F32)
        return merge_rows_loop(target, source, TSPEFT_F32, b, a, scale, rows, rank, width);
    if (dtype == TSPEFT_BF16)
        return merge_rows_loop(target, source, TSPEFT_BF16, b, a, scale, rows, rank, width);
    return merge_rows_loop(target, source, TSPEFT_F16, b, a, scale, rows, rank, width);
}

static tspeft_change changes(const float *before, const float *after, size_t count) {
    change_lanes seen = {v_int(0), v_int(0), v_int(0)};
    for (size_t i = 0; i < count; i += LANES) {
        vf old = v_load(before, TSPEFT_F32, i, count - i), new = v_load(after, TSPEFT_F32, i, count - i);
        note_change(&seen, v_bits(old), v_bits(new), old, new);
    }
    return change_of(&seen);
}
