// Elementwise kernels. A body takes `dtype` as an argument and is always inlined, so that a call with a constant
// becomes a loop of its own.

INLINE void convert_loop(const void *src, int src_dtype, void *dst, int dst_dtype, size_t count) {
    for (size_t i = 0; i < count; i += LANES)
        v_store(dst, dst_dtype, i, count - i, v_load(src, src_dtype, i, count - i));
}

static void convert(const void *src, int src_dtype, void *dst, int dst_dtype, size_t count) {
    if (src_dtype == TSPEFT_BF16 && dst_dtype == TSPEFT_F32)
        convert_loop(src, TSPEFT_BF16, dst, TSPEFT_F32, count);
    else if (src_dtype == TSPEFT_F32 && dst_dtype == TSPEFT_BF16)
        convert_loop(src, TSPEFT_F32, dst, TSPEFT_BF16, count);
    else
        convert_loop(src, src_dtype, dst, dst_dtype, count);
}

INLINE void silu_mul_forward_step(const void *gate, const void *up, void *out, int dtype, size_t i, size_t left,
                                  size_t gang) {
    vf g[GANG], e[GANG];
    EACH(n, gang) g[n] = v_load(gate, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) e[n] = -g[n];
    v_exp_each(e, gang);
    EACH(n, gang) g[n] = g[n] / (v_set(1) + e[n]) * v_load(up, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) v_store(out, dtype, i + n * LANES, left - n * LANES, g[n]);
}

INLINE void silu_mul_forward_loop(const void *gate, const void *up, void *out, int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        silu_mul_forward_step(gate, up, out, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES) silu_mul_forward_step(gate, up, out, dtype, i, count - i, 1);
}

static void silu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    if (dtype == TSPEFT_F32)
        silu_mul_forward_loop(gate, up, out, TSPEFT_F32, count);
    else
        silu_mul_forward_loop(gate, up, out, TSPEFT_BF16, count);
}

INLINE void silu_mul_backward_step(const void *gate, const void *up, const void *dout, void *dgate, void *dup,
                                   int dtype, size_t i, size_t left, size_t gang) {
    vf one = v_set(1), g[GANG], s[GANG], u[GANG], d[GANG];
    EACH(n, gang) g[n] = v_load(gate, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) s[n] = -g[n];
    v_exp_each(s, gang);
    EACH(n, gang) s[n] = one / (one + s[n]);
    EACH(n, gang) u[n] = v_load(up, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) d[n] = v_load(dout, dtype, i + n * LANES, left - n * LANES) * s[n];
    EACH(n, gang) u[n] = d[n] * u[n] * v_fma(g[n], one - s[n], one);
    EACH(n, gang) g[n] = d[n] * g[n];
    EACH(n, gang) v_store(dgate, dtype, i + n * LANES, left - n * LANES, u[n]);
    EACH(n, gang) v_store(dup, dtype, i + n * LANES, left - n * LANES, g[n]);
}

INLINE void silu_mul_backward_loop(const void *gate, const void *up, const void *dout, void *dgate, void *dup,
                                   int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        silu_mul_backward_step(gate, up, dout, dgate, dup, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES) silu_mul_backward_step(gate, up, dout, dgate, dup, dtype, i, count - i, 1);
}

static void silu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count) {
    if (dtype == TSPEFT_F32)
        silu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_F32, count);
    else
        silu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_BF16, count);
}

/// sigmoid(2 k (g + c g^3)) of `gang` vectors into s; see plain/elementwise.c.
INLINE void gelu_share(const vf *g, vf *s, size_t gang) {
    vf one = v_set(1);
    EACH(n, gang) s[n] = v_set(-1.5957691216f) * g[n] * v_fma(v_set(0.044715f) * g[n], g[n], one);
    v_exp_each(s, gang);
    EACH(n, gang) s[n] = one / (one + s[n]);
}

INLINE void gelu_mul_forward_step(const void *gate, const void *up, void *out, int dtype, size_t i, size_t left,
                                  size_t gang) {
    vf g[GANG], s[GANG];
    EACH(n, gang) g[n] = v_load(gate, dtype, i + n * LANES, left - n * LANES);
    gelu_share(g, s, gang);
    EACH(n, gang) g[n] = g[n] * s[n] * v_load(up, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) v_store(out, dtype, i + n * LANES, left - n * LANES, g[n]);
}

INLINE void gelu_mul_forward_loop(const void *gate, const void *up, void *out, int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        gelu_mul_forward_step(gate, up, out, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES) gelu_mul_forward_step(gate, up, out, dtype, i, count - i, 1);
}

static void gelu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    if (dtype == TSPEFT_F32)
        gelu_mul_forward_loop(gate, up, out, TSPEFT_F32, count);
    else
        gelu_mul_forward_loop(gate, up, out, TSPEFT_BF16, count);
}

INLINE void gelu_mul_backward_step(const void *gate, const void *up, const void *dout, void *dgate, void *dup,
                                   int dtype, size_t i, size_t left, size_t gang) {
    vf one = v_set(1), g[GANG], s[GANG], d[GANG], slope[GANG];
    EACH(n, gang) g[n] = v_load(gate, dtype, i + n * LANES, left - n * LANES);
    gelu_share(g, s, gang);
    // Beyond +-20 s is 0 or 1, and the square must not make a NaN of what is multiplied with it.
    EACH(n, gang) {
        vf z = v_min(v_set(20), v_max(v_set(-20), g[n]));
        slope[n] = z * s[n] * (one - s[n]) * v_set(1.5957691216f) * v_fma(v_set(3 * 0.044715f) * z, z, one) + s[n];
    }
    EACH(n, gang) d[n] = v_load(dout, dtype, i + n * LANES, left - n * LANES);
    EACH(n, gang) {
        vf u = v_load(up, dtype, i + n * LANES, left - n * LANES);
        v_store(dgate, dtype, i + n * LANES, left - n * LANES, d[n] * u * slope[n]);
    }
    EACH(n, gang) v_store(dup, dtype, i + n * LANES, left - n * LANES, d[n] * g[n] * s[n]);
}

INLINE void gelu_mul_backward_loop(const void *gate, const void *up, const void *dout, void *dgate, void *dup,
                                   int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        gelu_mul_backward_step(gate, up, dout, dgate, dup, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES) gelu_mul_backward_step(gate, up, dout, dgate, dup, dtype, i, count - i, 1);
}

static void gelu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count) {
    if (dtype == TSPEFT_F32)
        gelu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_F32, count);
    else
        gelu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_BF16, count);
}

INLINE void scale_loop(const void *src, void *dst, int dtype, vf factor, size_t count) {
    for (size_t i = 0; i < count; i += LANES) v_store(dst, dtype, i, count - i, v_load(src, dtype, i, count - i) * factor);
}

static void scale(const void *src, void *dst, int dtype, float factor, size_t count) {
    if (dtype == TSPEFT_F32)
        scale_loop(src, dst, TSPEFT_F32, v_set(factor), count);
    else
        scale_loop(src, dst, TSPEFT_BF16, v_set(factor), count);
}

INLINE void add_loop(void *dst, int dst_dtype, const void *src, int dtype, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        v_store(dst, dst_dtype, i, left, v_load(dst, dst_dtype, i, left) + v_load(src, dtype, i, left));
    }
}

static void add(void *dst, int dst_dtype, const void *src, int dtype, size_t count) {
    if (dst_dtype == TSPEFT_F32 && dtype == TSPEFT_F32)
        add_loop(dst, TSPEFT_F32, src, TSPEFT_F32, count);
    else if (dst_dtype == TSPEFT_F32)
        add_loop(dst, TSPEFT_F32, src, TSPEFT_BF16, count);
    else if (dtype == TSPEFT_F32)
        add_loop(dst, TSPEFT_BF16, src, TSPEFT_F32, count);
    else
        add_loop(dst, TSPEFT_BF16, src, TSPEFT_BF16, count);
}

static void scatter_add_rows(const void *src, const int32_t *indices, void *dst, int dtype, size_t count,
                             size_t width) {
    for (size_t i = 0; i < count; i++) {
        size_t from = i * width, to = (size_t)indices[i] * width;
        if (dtype == TSPEFT_F32)
            add_loop((float *)dst + to, TSPEFT_F32, (const float *)src + from, TSPEFT_F32, width);
        else
            add_loop((uint16_t *)dst + to, TSPEFT_BF16, (const uint16_t *)src + from, TSPEFT_BF16, width);
    }
}

INLINE void v_dropout_mix(vi *x, size_t gang) {
    EACH(n, gang) x[n] = v_mul_int(v_xor(x[n], v_shift_right(x[n], 16)), v_int(DROPOUT_MULTIPLIER_1));
    EACH(n, gang) x[n] = v_mul_int(v_xor(x[n], v_shift_right(x[n], 15)), v_int(DROPOUT_MULTIPLIER_2));
    EACH(n, gang) x[n] = v_xor(x[n], v_shift_right(x[n], 16));
}

/// Elements i and on, of which the first one's lower half of the index is `low`.
INLINE void dropout_step(const void *src, void *dst, int dtype, size_t i, size_t left, dropout_block_key block,
                         uint32_t low, uint32_t threshold, vf scale, size_t gang) {
    vi bits[GANG];
    vf x[GANG];
    EACH(n, gang) bits[n] = v_add_int(v_indices(), v_int(low + block.first + (uint32_t)(n * LANES)));
    v_dropout_mix(bits, gang);
    EACH(n, gang) bits[n] = v_xor(bits[n], v_int(block.second));
    v_dropout_mix(bits, gang);
    EACH(n, gang) x[n] = v_load(src, dtype, i + n * LANES, left - n * LANES) * scale;
    EACH(n, gang) x[n] = v_select(v_not_below(bits[n], v_int(threshold)), x[n], v_zero());
    EACH(n, gang) v_store(dst, dtype, i + n * LANES, left - n * LANES, x[n]);
}

INLINE void dropout_loop(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                         float rate) {
    uint64_t threshold = dropout_threshold(rate);
    if (threshold >> 32) {
        for (size_t i = 0; i < count; i += LANES) v_store(dst, dtype, i, count - i, v_zero());
        return;
    }
    vf scale = v_set(dropout_scale(rate));
    size_t i = 0;
    while (i < count) {
        // A run of elements whose indices share their upper half.
        uint64_t index = first_index + i, room = (1ull << 32) - (uint32_t)index;
        size_t end = count - i < room ? count : i + (size_t)room, start = i;
        dropout_block_key block = dropout_block(key, (uint32_t)(index >> 32));
        for (; i + GANG * LANES <= end; i += GANG * LANES)
            dropout_step(src, dst, dtype, i, GANG * LANES, block, (uint32_t)(index + (i - start)), (uint32_t)threshold,
                         scale, GANG);
        for (; i < end; i += LANES)
            dropout_step(src, dst, dtype, i, end - i, block, (uint32_t)(index + (i - start)), (uint32_t)threshold,
                         scale, 1);
        i = end;
    }
}

static void dropout(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                    float rate) {
    if (dtype == TSPEFT_F32)
        dropout_loop(src, dst, TSPEFT_F32, count, first_index, key, rate);
    else
        dropout_loop(src, dst, TSPEFT_BF16, count, first_index, key, rate);
}

static double sum_squares(const float *x, size_t count) {
    vd sums[4] = {w_zero(), w_zero(), w_zero(), w_zero()};
    size_t i = 0, step = LANES / 2;
    for (; i + 4 * step <= count; i += 4 * step)
        for (size_t part = 0; part < 4; part++) {
            vd value = w_load_floats(x + i + part * step, step);
            sums[part] = w_fma(value, value, sums[part]);
        }
    for (; i < count; i += step) {
        vd value = w_load_floats(x + i, count - i);
        sums[0] = w_fma(value, value, sums[0]);
    }
    return w_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static int64_t first_nonfinite(const float *x, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        if (!v_any_nonfinite(v_load(x, TSPEFT_F32, i, count - i), count - i)) continue;
        while (__builtin_isfinite(x[i])) i++;
        return (int64_t)i;
    }
    return -1;
}

static void adamw(float *parameter, const float *grad, float *m, float *v, size_t count, const tspeft_adamw_step *step) {
    // A copy, which no store of a result can change.
    const tspeft_adamw_step s = *step;
    vf shrink = v_set(1 - s.lr * s.decay);
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vf g = v_load(grad, TSPEFT_F32, i, left) * v_set(s.gradient_scale);
        vf first = v_load(m, TSPEFT_F32, i, left) * v_set((float)s.beta1) + v_set((float)(1 - s.beta1)) * g;
        vf second = v_load(v, TSPEFT_F32, i, left) * v_set((float)s.beta2) + v_set((float)(1 - s.beta2)) * g * g;
        vf way = v_set(s.lr) * (first / v_set(s.correction1)) / (v_sqrt(second / v_set(s.correction2)) + v_set(s.eps));
        v_store(m, TSPEFT_F32, i, left, first);
        v_store(v, TSPEFT_F32, i, left, second);
        v_store(parameter, TSPEFT_F32, i, left, shrink * v_load(parameter, TSPEFT_F32, i, left) - way);
    }
}
