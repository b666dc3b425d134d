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

INLINE vf v_sigmoid(vf x) { return v_set(1) / (v_set(1) + v_exp(-x)); }

INLINE void silu_mul_forward_loop(const void *gate, const void *up, void *out, int dtype, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vf g = v_load(gate, dtype, i, left);
        v_store(out, dtype, i, left, g / (v_set(1) + v_exp(-g)) * v_load(up, dtype, i, left));
    }
}

static void silu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    if (dtype == TSPEFT_F32)
        silu_mul_forward_loop(gate, up, out, TSPEFT_F32, count);
    else
        silu_mul_forward_loop(gate, up, out, TSPEFT_BF16, count);
}

INLINE void silu_mul_backward_loop(const void *gate, const void *up, const void *dout, void *dgate, void *dup,
                                   int dtype, size_t count) {
    vf one = v_set(1);
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vf g = v_load(gate, dtype, i, left), u = v_load(up, dtype, i, left), d = v_load(dout, dtype, i, left);
        vf s = v_sigmoid(g);
        v_store(dgate, dtype, i, left, d * u * s * v_fma(g, one - s, one));
        v_store(dup, dtype, i, left, d * g * s);
    }
}

static void silu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count) {
    if (dtype == TSPEFT_F32)
        silu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_F32, count);
    else
        silu_mul_backward_loop(gate, up, dout, dgate, dup, TSPEFT_BF16, count);
}

INLINE void add_loop(void *dst, int dst_dtype, const void *src, int dtype, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        v_store(dst, dst_dtype, i, left, v_load(dst, dst_dtype, i, left) + v_load(src, dtype, i, left));
    }
}

static void add(float *dst, const void *src, int dtype, size_t count) {
    if (dtype == TSPEFT_F32)
        add_loop(dst, TSPEFT_F32, src, TSPEFT_F32, count);
    else
        add_loop(dst, TSPEFT_F32, src, TSPEFT_BF16, count);
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

INLINE vi v_dropout_mix(vi x) {
    x = v_mul_int(v_xor(x, v_shift_right(x, 16)), v_int(DROPOUT_MULTIPLIER_1));
    x = v_mul_int(v_xor(x, v_shift_right(x, 15)), v_int(DROPOUT_MULTIPLIER_2));
    return v_xor(x, v_shift_right(x, 16));
}

INLINE void dropout_loop(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                         float rate) {
    uint64_t threshold = dropout_threshold(rate);
    vf scale = v_set(dropout_scale(rate));
    size_t i = 0;
    while (i < count) {
        // A run of elements whose indices share their upper half.
        uint64_t index = first_index + i, room = (1ull << 32) - (uint32_t)index;
        size_t end = count - i < room ? count : i + (size_t)room;
        dropout_block_key block = dropout_block(key, (uint32_t)(index >> 32));
        vi low = v_add_int(v_indices(), v_int((uint32_t)index + block.first));
        for (; i < end; i += LANES) {
            vi bits = v_dropout_mix(v_xor(v_dropout_mix(low), v_int(block.second)));
            vf x = v_load(src, dtype, i, end - i) * scale;
            vf kept = threshold >> 32 ? v_zero() : v_select(v_not_below(bits, v_int((uint32_t)threshold)), x, v_zero());
            v_store(dst, dtype, i, end - i, kept);
            low = v_add_int(low, v_int(LANES));
        }
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

static void adamw(float *parameter, const float *grad, float *m, float *v, size_t count, float gradient_scale, float lr,
                  float beta1, float beta2, float eps, float decay, float correction1, float correction2) {
    vf shrink = v_set(1 - lr * decay);
    for (size_t i = 0; i < count; i += LANES) {
        size_t left = count - i;
        vf g = v_load(grad, TSPEFT_F32, i, left) * v_set(gradient_scale);
        vf first = v_load(m, TSPEFT_F32, i, left) * v_set(beta1) + v_set(1 - beta1) * g;
        vf second = v_load(v, TSPEFT_F32, i, left) * v_set(beta2) + v_set(1 - beta2) * g * g;
        vf step = v_set(lr) * (first / v_set(correction1)) / (v_sqrt(second / v_set(correction2)) + v_set(eps));
        v_store(m, TSPEFT_F32, i, left, first);
        v_store(v, TSPEFT_F32, i, left, second);
        v_store(parameter, TSPEFT_F32, i, left, shrink * v_load(parameter, TSPEFT_F32, i, left) - step);
    }
}
