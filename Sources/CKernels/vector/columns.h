// Passes that weigh the columns of a matrix.

INLINE void add_scaled_columns_loop(void *dst, const void *src, const float *factors, int dtype, size_t rows,
                                    size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        for (size_t j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf sum = v_fma(v_load(factors, TSPEFT_F32, j, left), v_load(src, dtype, first + j, left),
                           v_load(dst, dtype, first + j, left));
            v_store(dst, dtype, first + j, left, sum);
        }
    }
}

static void add_scaled_columns(void *dst, const void *src, const float *factors, int dtype, size_t rows,
                               size_t width) {
    if (dtype == TSPEFT_F32)
        add_scaled_columns_loop(dst, src, factors, TSPEFT_F32, rows, width);
    else
        add_scaled_columns_loop(dst, src, factors, TSPEFT_BF16, rows, width);
}

INLINE void weighted_row_dots_loop(const void *a, const void *b, const float *weights, int dtype, float *dots,
                                   size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        vf sum = v_zero();
        for (size_t j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf product = v_load(a, dtype, first + j, left) * v_load(b, dtype, first + j, left);
            sum = v_fma(v_load(weights, TSPEFT_F32, j, left), product, sum);
        }
        dots[row] = v_sum(sum);
    }
}

static void weighted_row_dots(const void *a, const void *b, const float *weights, int dtype, float *dots, size_t rows,
                              size_t width) {
    if (dtype == TSPEFT_F32)
        weighted_row_dots_loop(a, b, weights, TSPEFT_F32, dots, rows, width);
    else
        weighted_row_dots_loop(a, b, weights, TSPEFT_BF16, dots, rows, width);
}

INLINE void column_dots_loop(const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width,
                             size_t begin, size_t end) {
    for (size_t j = begin; j < end; j += LANES) {
        size_t left = end - j;
        vf sum = v_zero();
        for (size_t row = 0; row < rows; row++) {
            size_t place = row * width + j;
            sum = v_fma(v_load(a, dtype, place, left), v_load(b, dtype, place, left), sum);
        }
        v_store(sums, TSPEFT_F32, j, left, sum);
    }
}

static void column_dots(const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width, size_t begin,
                        size_t end) {
    if (dtype == TSPEFT_F32)
        column_dots_loop(a, b, TSPEFT_F32, sums, rows, width, begin, end);
    else
        column_dots_loop(a, b, TSPEFT_BF16, sums, rows, width, begin, end);
}

INLINE void add_to_rows_loop(void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        for (size_t j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf sum = v_fma(v_set(factor), v_load(row_values, TSPEFT_F32, j, left), v_load(x, dtype, first + j, left));
            v_store(x, dtype, first + j, left, sum);
        }
    }
}

static void add_to_rows(void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width) {
    if (dtype == TSPEFT_F32)
        add_to_rows_loop(x, TSPEFT_F32, row_values, factor, rows, width);
    else
        add_to_rows_loop(x, TSPEFT_BF16, row_values, factor, rows, width);
}
