// The matrix products of attention, on small blocks of float.

/// Queries and keys are taken this many at a time: a multiple of TILE_ROWS and of LANES, and a block of head size 64 is
/// 12 KiB, so that the operands of a product stay in the first-level cache.
#define BLOCK ((size_t)48)
/// Rows of a tile.
#define TILE_ROWS ((size_t)6)

/// c (6 rows x `vectors` vectors, row stride c_stride) = [c +] a b, where a's element (row, step) is
/// a[row * a_row + step * a_step] and b's row `step` starts at b + step * b_stride.
INLINE void tile(size_t vectors, size_t depth, const float *a, size_t a_row, size_t a_step, const float *b,
                 size_t b_stride, float *c, size_t c_stride, int accumulate) {
    vf sums[TILE_ROWS][TILE_VECTORS];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < TILE_ROWS; i++)
#pragma clang loop unroll(full)
        for (size_t j = 0; j < vectors; j++)
            sums[i][j] = accumulate ? v_load(c, TSPEFT_F32, i * c_stride + j * LANES, LANES) : v_zero();
    for (size_t step = 0; step < depth; step++) {
        vf columns[TILE_VECTORS];
#pragma clang loop unroll(full)
        for (size_t j = 0; j < vectors; j++)
            columns[j] = v_load(b, TSPEFT_F32, step * b_stride + j * LANES, LANES);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < TILE_ROWS; i++) {
            vf factor = v_set(a[i * a_row + step * a_step]);
#pragma clang loop unroll(full)
            for (size_t j = 0; j < vectors; j++) sums[i][j] = v_fma(factor, columns[j], sums[i][j]);
        }
    }
#pragma clang loop unroll(full)
    for (size_t i = 0; i < TILE_ROWS; i++)
#pragma clang loop unroll(full)
        for (size_t j = 0; j < vectors; j++) v_store(c, TSPEFT_F32, i * c_stride + j * LANES, LANES, sums[i][j]);
}

/// tile for any number of vectors.
static void multiply(size_t vectors, size_t depth, const float *a, size_t a_row, size_t a_step, const float *b,
                     size_t b_stride, float *c, size_t c_stride, int accumulate) {
    while (vectors > 0) {
#if TILE_VECTORS == 4
        // 5 is 3 + 2, so that no tile is a narrow rest.
        size_t now = vectors == 5 ? 3 : vectors < TILE_VECTORS ? vectors : TILE_VECTORS;
#else
        size_t now = vectors < TILE_VECTORS ? vectors : TILE_VECTORS;
#endif
        switch (now) {
        case 1: tile(1, depth, a, a_row, a_step, b, b_stride, c, c_stride, accumulate); break;
        case 2: tile(2, depth, a, a_row, a_step, b, b_stride, c, c_stride, accumulate); break;
#if TILE_VECTORS == 4
        case 3: tile(3, depth, a, a_row, a_step, b, b_stride, c, c_stride, accumulate); break;
        default: tile(4, depth, a, a_row, a_step, b, b_stride, c, c_stride, accumulate);
#endif
        }
        vectors -= now;
        b += now * LANES;
        c += now * LANES;
    }
}

/// The first float from `p` on that starts a cache line, so that no vector of a packed block spans two.
INLINE float *line_start(float *p) { return (float *)(((uintptr_t)p + 63) & ~(uintptr_t)63); }

INLINE size_t round_up(size_t x, size_t unit) { return (x + unit - 1) / unit * unit; }

/// Where the rows of a matrix of `dtype` are: row i at element first + i * stride, but the first `prefix_count` rows
/// from prefix_first on.
typedef struct {
    const void *data;
    int dtype;
    size_t stride, prefix_count, prefix_first, first;
} row_source;

INLINE size_t row_offset(const row_source *source, size_t i) {
    return i < source->prefix_count ? source->prefix_first + i * source->stride
                                    : source->first + (i - source->prefix_count) * source->stride;
}

/// Rows [begin, begin + count) as floats times factor, padded with zeros to `padded` rows and to row length `pitch`.
static void pack_rows(const row_source *source, size_t begin, size_t count, size_t width, float factor, float *out,
                      size_t padded, size_t pitch) {
    for (size_t i = 0; i < padded; i++) {
        size_t offset = i < count ? row_offset(source, begin + i) : 0;
        for (size_t j = 0; j < pitch; j += LANES) {
            size_t left = i < count && j < width ? width - j : 0;
            vf x = left ? v_load(source->data, source->dtype, offset + j, left) : v_zero();
            v_store(out, TSPEFT_F32, i * pitch + j, LANES, x * v_set(factor));
        }
    }
}

/// The same rows transposed, in blocks of BLOCK: block n is [width, BLOCK], padded with zeros.
static void pack_transposed(const row_source *source, size_t count, size_t width, float *out) {
    for (size_t start = 0; start < count; start += LANES)
        for (size_t j = 0; j < width; j += LANES) {
            vf square[LANES];
            for (size_t i = 0; i < LANES; i++)
                square[i] = start + i < count
                                ? v_load(source->data, source->dtype, row_offset(source, start + i) + j, width - j)
                                : v_zero();
            v_transpose(square);
            float *target = out + start / BLOCK * BLOCK * width + start % BLOCK;
            for (size_t i = 0; i < LANES && j + i < width; i++)
                v_store(target, TSPEFT_F32, (j + i) * BLOCK, LANES, square[i]);
        }
    for (size_t start = round_up(count, LANES); start < round_up(count, BLOCK); start += LANES)
        for (size_t j = 0; j < width; j++)
            v_store(out + start / BLOCK * BLOCK * width + start % BLOCK, TSPEFT_F32, j * BLOCK, LANES, v_zero());
}

/// Writes float rows (row length pitch) times factor as rows of `dtype`.
static void unpack_rows(const float *rows, size_t pitch, size_t count, size_t width, float factor, void *out, int dtype,
                        size_t first, size_t stride) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < width; j += LANES)
            v_store(out, dtype, first + i * stride + j, width - j,
                    v_load(rows, TSPEFT_F32, i * pitch + j, LANES) * v_set(factor));
}
