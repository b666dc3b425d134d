// Householder triangularization and outer-product sums, in double.

/// Columns of a matrix under reduction: element i of column j's tail is tails[j * tail_stride + i], and above the tail
/// stands one element, heads[j * head_stride].
typedef struct {
    double *heads, *tails;
    size_t head_stride, tail_stride, length;
} column_set;

/// column <- column - factor v (v' column), v = (head, tail): for `count` <= 4 columns from `j` on.
INLINE void reflect(const column_set *set, const double *tail, double head, double factor, size_t j, size_t count) {
    double *columns[4], dots[4];
    vd sums[4] = {w_zero(), w_zero(), w_zero(), w_zero()};
    for (size_t c = 0; c < count; c++) columns[c] = set->tails + (j + c) * set->tail_stride;
    size_t i = 0, step = LANES / 2;
    for (; i + step <= set->length; i += step) {
        vd v = w_load(tail + i);
        for (size_t c = 0; c < count; c++) sums[c] = w_fma(v, w_load(columns[c] + i), sums[c]);
    }
    size_t whole = i;
    for (size_t c = 0; c < count; c++) {
        double *at_head = set->heads + (j + c) * set->head_stride;
        double dot = w_sum(sums[c]) + head * *at_head;
        for (i = whole; i < set->length; i++) dot += tail[i] * columns[c][i];
        dots[c] = -factor * dot;
        *at_head += dots[c] * head;
        for (i = whole; i < set->length; i++) columns[c][i] += dots[c] * tail[i];
    }
    for (i = 0; i < whole; i += step) {
        vd v = w_load(tail + i);
        for (size_t c = 0; c < count; c++)
            w_store(columns[c] + i, w_fma(v, w_set(dots[c]), w_load(columns[c] + i)));
    }
}

/// Takes the tail of column 0 of a set of `width` columns into its head by a reflection, and applies it to the others.
INLINE void eliminate(const column_set *set, size_t width) {
    double *tail = set->tails, pivot = *set->heads;
    vd sum = w_zero();
    size_t i = 0, step = LANES / 2;
    for (; i + step <= set->length; i += step) sum = w_fma(w_load(tail + i), w_load(tail + i), sum);
    double squares = w_sum(sum);
    for (; i < set->length; i++) squares += tail[i] * tail[i];
    if (squares == 0) return;
    double norm = __builtin_sqrt(pivot * pivot + squares);
    double reduced = pivot > 0 ? -norm : norm, head = pivot - reduced;
    double factor = 2 / (head * head + squares);
    size_t j = 1;
    for (; j + 4 <= width; j += 4) reflect(set, tail, head, factor, j, 4);
    for (; j < width; j++) reflect(set, tail, head, factor, j, 1);
    *set->heads = reduced;
}

/// Doubles of the matrix that are reduced at a time, so that they stay in the second-level cache.
#define HOUSEHOLDER_BLOCK 49152

INLINE void copy_columns(const float *b, size_t rows, size_t width, double *columns) {
    for (size_t row = 0; row < rows; row += 8)  // a cache line of a column
        for (size_t j = 0; j < width; j++)
            for (size_t i = row; i < rows && i < row + 8; i++) columns[j * rows + i] = b[i * width + j];
}

/// A tall matrix is reduced some rows at a time: they are the tails below the triangle that the rows before left, which
/// is kept at the end of the scratch. A flat one is reduced in place.
static void householder_r(const float *b, size_t rows, size_t width, float *r, double *scratch) {
    if (width == 0) return;
    if (rows < 2 * width) {
        copy_columns(b, rows, width, scratch);
        for (size_t k = 0; k < width && k + 1 < rows; k++) {
            double *diagonal = scratch + k * rows + k;
            column_set set = {diagonal, diagonal + 1, rows, rows, rows - k - 1};
            eliminate(&set, width - k);
        }
        for (size_t i = 0; i < width; i++)
            for (size_t j = 0; j < width; j++)
                r[i * width + j] = i <= j && i < rows ? (float)scratch[j * rows + i] : 0;
        return;
    }
    size_t room = rows - width, block = HOUSEHOLDER_BLOCK / width;
    if (block < width) block = width;
    if (block > room) block = room;
    double *triangle = scratch + room * width;  // column j at j * width
    for (size_t i = 0; i < width * width; i++) triangle[i] = 0;
    for (size_t start = 0; start < rows; start += block) {
        size_t count = rows - start < block ? rows - start : block;
        copy_columns(b + start * width, count, width, scratch);
        for (size_t k = 0; k < width; k++) {
            column_set set = {triangle + k * width + k, scratch + k * count, width, count, count};
            eliminate(&set, width - k);
        }
    }
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j < width; j++) r[i * width + j] = i <= j ? (float)triangle[j * width + i] : 0;
}

/// Rows of a tile of the sums.
#define OUTER_ROWS 4

/// The sums of z_i z_j for i in [i, i + OUTER_ROWS) and j in [j, j + LANES), of which those with i <= j < width count.
INLINE void outer_tile(const float *z, const float *weights, double *sums, size_t rows, size_t width, size_t i,
                       size_t j) {
    vd low[OUTER_ROWS], high[OUTER_ROWS];
    for (size_t a = 0; a < OUTER_ROWS; a++) low[a] = high[a] = w_zero();
    size_t height = width - i < OUTER_ROWS ? width - i : OUTER_ROWS;
    size_t left = width - j, half = LANES / 2, left_high = left > half ? left - half : 0;
    for (size_t row = 0; row < rows; row++) {
        const float *x = z + row * width;
        double weight = weights ? weights[row] : 1;
        vd b = w_load_floats(x + j, left), c = w_load_floats(x + (left_high ? j + half : j), left_high);
        for (size_t a = 0; a < OUTER_ROWS; a++) {
            vd factor = w_set(a < height ? weight * x[i + a] : 0);
            low[a] = w_fma(factor, b, low[a]);
            high[a] = w_fma(factor, c, high[a]);
        }
    }
    double tile[LANES];
    for (size_t a = 0; a < height; a++) {
        w_store(tile, low[a]);
        w_store(tile + half, high[a]);
        for (size_t c = 0; c < LANES && c < left; c++) {
            if (j + c < i + a) continue;
            sums[(i + a) * width + j + c] += tile[c];
            if (j + c != i + a) sums[(j + c) * width + i + a] += tile[c];
        }
    }
}

/// Floats of z whose tiles are summed up at a time, so that they stay in the second-level cache.
#define OUTER_BLOCK 32768

static void outer_sums(const float *z, const float *weights, double *sums, size_t rows, size_t width) {
    size_t block = width < OUTER_BLOCK / 64 ? OUTER_BLOCK / (width + 1) : 64;
    for (size_t start = 0; start < rows; start += block) {
        size_t count = rows - start < block ? rows - start : block;
        const float *block_weights = weights ? weights + start : weights;
        for (size_t i = 0; i < width; i += OUTER_ROWS)
            for (size_t j = i / LANES * LANES; j < width; j += LANES)
                outer_tile(z + start * width, block_weights, sums, count, width, i, j);
    }
}
