// LayerNorm.

/// The weight's elements from `j` on; ones where there is none.
INLINE vf weight_lanes(const float *weight, size_t j, size_t left) {
    return weight ? v_load(weight, TSPEFT_F32, j, left) : v_set(1);
}

/// Elements of a row minus `middle`; 0 behind its end.
INLINE vf off_middle(const void *x, int dtype, size_t place, size_t left, vf middle) {
    vf off = v_load(x, dtype, place, left) - middle;
    return left >= LANES ? off : v_select(v_first(left), off, v_zero());
}

INLINE void layernorm_forward_loop(const void *x, int x_dtype, const tspeft_layernorm *norm, void *out, int dtype,
                                   float *mean, float *inv_std, size_t rows, size_t width) {
    const tspeft_layernorm n = *norm;
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width, j;
        vf sums[2] = {v_zero(), v_zero()}, squares[2] = {v_zero(), v_zero()};
        for (j = 0; j < width; j += LANES) sums[j / LANES % 2] += v_load(x, x_dtype, first + j, width - j);
        mean[row] = v_sum(sums[0] + sums[1]) / (float)width;
        vf middle = v_set(mean[row]);
        for (j = 0; j < width; j += LANES) {
            vf off = off_middle(x, x_dtype, first + j, width - j, middle);
            squares[j / LANES % 2] = v_fma(off, off, squares[j / LANES % 2]);
        }
        inv_std[row] = 1 / __builtin_sqrtf(v_sum(squares[0] + squares[1]) / (float)width + n.eps);
        vf s = v_set(inv_std[row]);
        for (j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf y = weight_lanes(n.weight, j, left) * (off_middle(x, x_dtype, first + j, left, middle) * s);
            v_store(out, dtype, first + j, left, n.bias ? y + v_load(n.bias, TSPEFT_F32, j, left) : y);
        }
    }
}

static void layernorm_forward(const void *x, int x_dtype, const tspeft_layernorm *norm, void *out, int dtype,
                              float *mean, float *inv_std, size_t rows, size_t width) {
    if (x_dtype == TSPEFT_F32 && dtype == TSPEFT_F32)
        layernorm_forward_loop(x, TSPEFT_F32, norm, out, TSPEFT_F32, mean, inv_std, rows, width);
    else if (x_dtype == TSPEFT_F32)
        layernorm_forward_loop(x, TSPEFT_F32, norm, out, TSPEFT_BF16, mean, inv_std, rows, width);
    else
        layernorm_forward_loop(x, TSPEFT_BF16, norm, out, dtype, mean, inv_std, rows, width);
}

INLINE void layernorm_backward_loop(const void *x, int x_dtype, const float *weight, const float *mean,
                                    const float *inv_std, const void *dout, int dtype, void *dx, size_t rows,
                                    size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width, j;
        vf sum = v_zero(), dot = v_zero(), middle = v_set(mean[row]), s = v_set(inv_std[row]);
        for (j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf g = weight_lanes(weight, j, left) * v_load(dout, dtype, first + j, left);
            sum += g;
            dot = v_fma(g, off_middle(x, x_dtype, first + j, left, middle), dot);
        }
        vf shift = v_set(v_sum(sum) / (float)width), pull = v_set(v_sum(dot) / (float)width) * s * s;
        for (j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf g = weight_lanes(weight, j, left) * v_load(dout, dtype, first + j, left) - shift;
            g = g - pull * off_middle(x, x_dtype, first + j, left, middle);
            v_store(dx, x_dtype, first + j, left, v_fma(s, g, v_load(dx, x_dtype, first + j, left)));
        }
    }
}

static void layernorm_backward(const void *x, int x_dtype, const float *weight, const float *mean,
                               const float *inv_std, const void *dout, int dtype, void *dx, size_t rows,
                               size_t width) {
    if (x_dtype == TSPEFT_F32 && dtype == TSPEFT_F32)
        layernorm_backward_loop(x, TSPEFT_F32, weight, mean, inv_std, dout, TSPEFT_F32, dx, rows, width);
    else if (x_dtype == TSPEFT_F32)
        layernorm_backward_loop(x, TSPEFT_F32, weight, mean, inv_std, dout, TSPEFT_BF16, dx, rows, width);
    else
        layernorm_backward_loop(x, TSPEFT_BF16, weight, mean, inv_std, dout, dtype, dx, rows, width);
}
