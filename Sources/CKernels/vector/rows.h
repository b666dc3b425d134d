// Kernels that work on rows: norms, rotary embedding, cross entropy.

/// sum of a_i b_i, in four vectors of partial sums.
INLINE float dot_loop(const void *a, size_t a_first, const void *b, size_t b_first, int dtype, size_t count) {
    vf sums[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    size_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        for (size_t part = 0; part < 4; part++) {
            size_t at = i + part * LANES;
            vf x = v_load(a, dtype, a_first + at, LANES), y = v_load(b, dtype, b_first + at, LANES);
            sums[part] = v_fma(x, y, sums[part]);
        }
    for (; i < count; i += LANES)
        sums[0] = v_fma(v_load(a, dtype, a_first + i, count - i), v_load(b, dtype, b_first + i, count - i), sums[0]);
    return v_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

INLINE void rmsnorm_forward_loop(const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype,
                                 float *inv_rms, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        float squares = dot_loop(x, first, x, first, x_dtype, width);
        inv_rms[row] = 1 / __builtin_sqrtf(squares / (float)width + eps);
        vf s = v_set(inv_rms[row]);
        for (size_t j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf normed = v_load(x, x_dtype, first + j, left) * s;
            v_store(out, dtype, first + j, left, v_load(weight, TSPEFT_F32, j, left) * normed);
        }
    }
}

static void rmsnorm_forward(const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype,
                            float *inv_rms, size_t rows, size_t width) {
    if (x_dtype == TSPEFT_F32 && dtype == TSPEFT_F32)
        rmsnorm_forward_loop(x, TSPEFT_F32, weight, eps, out, TSPEFT_F32, inv_rms, rows, width);
    else if (x_dtype == TSPEFT_F32)
        rmsnorm_forward_loop(x, TSPEFT_F32, weight, eps, out, TSPEFT_BF16, inv_rms, rows, width);
    else
        rmsnorm_forward_loop(x, TSPEFT_BF16, weight, eps, out, dtype, inv_rms, rows, width);
}

INLINE void rmsnorm_backward_loop(const void *x, int x_dtype, const float *weight, const float *inv_rms,
                                  const void *dout, int dtype, void *dx, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        vf even = v_zero(), odd = v_zero();
        size_t j = 0;
        for (; j + 2 * LANES <= width; j += 2 * LANES) {
            size_t next = j + LANES;
            vf a = v_load(weight, TSPEFT_F32, j, LANES) * v_load(dout, dtype, first + j, LANES);
            vf b = v_load(weight, TSPEFT_F32, next, LANES) * v_load(dout, dtype, first + next, LANES);
            even = v_fma(a, v_load(x, x_dtype, first + j, LANES), even);
            odd = v_fma(b, v_load(x, x_dtype, first + next, LANES), odd);
        }
        for (; j < width; j += LANES) {
            size_t left = width - j;
            vf a = v_load(weight, TSPEFT_F32, j, left) * v_load(dout, dtype, first + j, left);
            even = v_fma(a, v_load(x, x_dtype, first + j, left), even);
        }
        float s = inv_rms[row];
        vf pull = v_set(-v_sum(even + odd) / (float)width * s * s);
        for (j = 0; j < width; j += LANES) {
            size_t left = width - j;
            vf a = v_load(weight, TSPEFT_F32, j, left) * v_load(dout, dtype, first + j, left);
            vf gradient = v_fma(pull, v_load(x, x_dtype, first + j, left), a);
            vf sum = v_fma(v_set(s), gradient, v_load(dx, x_dtype, first + j, left));
            v_store(dx, x_dtype, first + j, left, sum);
        }
    }
}

static void rmsnorm_backward(const void *x, int x_dtype, const float *weight, const float *inv_rms, const void *dout,
                             int dtype, void *dx, size_t rows, size_t width) {
    if (x_dtype == TSPEFT_F32 && dtype == TSPEFT_F32)
        rmsnorm_backward_loop(x, TSPEFT_F32, weight, inv_rms, dout, TSPEFT_F32, dx, rows, width);
    else if (x_dtype == TSPEFT_F32)
        rmsnorm_backward_loop(x, TSPEFT_F32, weight, inv_rms, dout, TSPEFT_BF16, dx, rows, width);
    else
        rmsnorm_backward_loop(x, TSPEFT_BF16, weight, inv_rms, dout, dtype, dx, rows, width);
}

/// What of a row's heads does not turn.
INLINE void rope_rest(tspeft_matrix source, tspeft_matrix target, int dtype, const tspeft_rotation *rotation,
                      size_t row) {
    const tspeft_rotation turn = *rotation;
    if (source.data == target.data) return;
    for (size_t head = 0; head < turn.heads; head++) {
        size_t from = row * source.stride + head * turn.head_size, to = row * target.stride + head * turn.head_size;
        for (size_t i = turn.turned; i < turn.head_size; i += LANES) {
            size_t left = turn.head_size - i;
            v_store(target.data, dtype, to + i, left, v_load(source.data, dtype, from + i, left));
        }
    }
}

INLINE void rope_loop(tspeft_matrix source, tspeft_matrix target, int dtype, const tspeft_rotation *rotation,
                      size_t rows) {
    // Copies, which no store of a result can change.
    const tspeft_rotation turn = *rotation;
    const void *src = source.data;
    void *dst = target.data;
    size_t heads = turn.heads, head_size = turn.head_size, half = turn.turned / 2;
    for (size_t row = 0; row < rows; row++) {
        size_t angles = (size_t)turn.positions[row] * half;
        const float *c_row = turn.cosine + angles, *s_row = turn.sine + angles;
        for (size_t i = 0; i < half; i += LANES) {
            size_t left = half - i;
            vf c = v_load(c_row, TSPEFT_F32, i, left);
            vf s = v_load(s_row, TSPEFT_F32, i, left) * v_set((float)turn.direction);
            for (size_t head = 0; head < heads; head++) {
                size_t from = row * source.stride + head * head_size + i;
                size_t to = row * target.stride + head * head_size + i;
                vf a = v_load(src, dtype, from, left), b = v_load(src, dtype, from + half, left);
                v_store(dst, dtype, to, left, a * c - b * s);
                v_store(dst, dtype, to + half, left, b * c + a * s);
            }
        }
        if (turn.turned < head_size) rope_rest(source, target, dtype, rotation, row);
    }
}

static void rope(tspeft_matrix src, tspeft_matrix dst, int dtype, const tspeft_rotation *rotation, size_t rows) {
    // Few models turn neighbours.
    if (rotation->in_pairs)
        tspeft_kernels_at(0)->rope(src, dst, dtype, rotation, rows);
    else if (dtype == TSPEFT_F32)
        rope_loop(src, dst, TSPEFT_F32, rotation, rows);
    else
        rope_loop(src, dst, TSPEFT_BF16, rotation, rows);
}

static void row_norms(const void *x, int dtype, float *norms, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        float squares = dtype == TSPEFT_F32 ? dot_loop(x, first, x, first, TSPEFT_F32, width)
                                            : dot_loop(x, first, x, first, TSPEFT_BF16, width);
        norms[row] = __builtin_sqrtf(squares);
    }
}

static void row_dots(const float *a, const float *b, float *dots, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++)
        dots[row] = dot_loop(a, row * width, b, row * width, TSPEFT_F32, width);
}

/// The largest of `count` > 0 floats, NaN ignored.
INLINE float largest_of(const float *row, size_t count) {
    vf most[4];
    for (size_t part = 0; part < 4; part++) most[part] = v_set(-__builtin_inff());
    size_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        for (size_t part = 0; part < 4; part++)
            most[part] = v_max(v_load(row, TSPEFT_F32, i + part * LANES, LANES), most[part]);
    for (; i < count; i += LANES) {
        vf x = v_select(v_first(count - i), v_load(row, TSPEFT_F32, i, count - i), most[0]);
        most[0] = v_max(x, most[0]);
    }
    return v_largest(v_max(v_max(most[0], most[1]), v_max(most[2], most[3])));
}

/// sum of e^(x - largest); double across runs of 2048.
INLINE double sum_of_exponentials(const float *row, float largest, size_t count) {
    double total = 0;
    for (size_t start = 0; start < count; start += 2048) {
        size_t end = count - start < 2048 ? count : start + 2048, i = start;
        vf sums[GANG], e[GANG];
        EACH(n, GANG) sums[n] = v_zero();
        for (; i + GANG * LANES <= end; i += GANG * LANES) {
            EACH(n, GANG) e[n] = v_load(row, TSPEFT_F32, i + n * LANES, LANES) - v_set(largest);
            v_exp_each(e, GANG);
            EACH(n, GANG) sums[n] += e[n];
        }
        for (; i < end; i += LANES) {
            e[0] = v_exp(v_load(row, TSPEFT_F32, i, end - i) - v_set(largest));
            sums[0] += v_select(v_first(end - i), e[0], v_zero());
        }
        total += v_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return total;
}

/// dlogits <- e^(x - largest) share.
INLINE void softmax_step(const float *x, void *dlogits, int dtype, size_t first, size_t j, size_t left, float largest,
                         vf share, size_t gang) {
    vf e[GANG];
    EACH(n, gang) e[n] = v_load(x, TSPEFT_F32, j + n * LANES, left - n * LANES) - v_set(largest);
    v_exp_each(e, gang);
    EACH(n, gang) v_store(dlogits, dtype, first + j + n * LANES, left - n * LANES, e[n] * share);
}

INLINE void cross_entropy_loop(const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype,
                               float *losses, size_t rows, size_t width) {
    for (size_t row = 0; row < rows; row++) {
        size_t first = row * width;
        const float *x = logits + first;
        if (targets[row] < 0) {
            losses[row] = 0;
            for (size_t j = 0; dlogits && j < width; j += LANES)
                v_store(dlogits, dtype, first + j, width - j, v_zero());
            continue;
        }
        size_t target = (size_t)targets[row];
        float largest = largest_of(x, width), target_logit = x[target];
        double sum = sum_of_exponentials(x, largest, width);
        losses[row] = (float)(log(sum) - ((double)target_logit - largest));
        if (!dlogits) continue;
        vf share = v_set((float)(scale / sum));
        size_t j = 0;
        for (; j + GANG * LANES <= width; j += GANG * LANES)
            softmax_step(x, dlogits, dtype, first, j, GANG * LANES, largest, share, GANG);
        for (; j < width; j += LANES) softmax_step(x, dlogits, dtype, first, j, width - j, largest, share, 1);
        vf at_target = v_exp(v_set(target_logit) - v_set(largest)) * share - v_set(scale);
        v_store(dlogits, dtype, first + target, 1, at_target);
    }
}

static void cross_entropy(const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype,
                          float *losses, size_t rows, size_t width) {
    if (dtype == TSPEFT_F32)
        cross_entropy_loop(logits, targets, scale, dlogits, TSPEFT_F32, losses, rows, width);
    else
        cross_entropy_loop(logits, targets, scale, dlogits, TSPEFT_BF16, losses, rows, width);
}
