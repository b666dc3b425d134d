// Non-linearities and their slopes, with a factor or without.

/// Phi(x), the distribution function of the normal distribution, of `gang` vectors into y: within 1e-7, and 0 below
/// -5.7. For |x| < 1.4 it is 1/2 + x P(x^2) / 2, else exp(-Q(|x|)) / 2 or 1 minus that; P and Q are polynomials fitted
/// to erf(x / sqrt(2)) / x and to -log erfc(x / sqrt(2)) at Chebyshev's nodes, which are off by 4e-8 and 6e-8.
INLINE void v_normal_each(const vf *x, vf *y, size_t gang) {
    static const float near[6] = {0.797884524f,   -0.132979825f,   0.0199414864f,
                                  -0.00236211228f, 0.000218031637f, -1.25952647e-05f};
    static const float far[8] = {0.000769245545f, 0.796110676f,    0.319595246f,    0.0364978294f,
                                 -0.00564441163f, 0.000605303737f, -3.94536791e-05f, 1.1656439e-06f};
    vf size[GANG], inner[GANG], tail[GANG];
    EACH(n, gang) size[n] = v_from_bits(v_and(v_bits(x[n]), v_int(0x7FFFFFFF)));
    EACH(n, gang) inner[n] = v_set(near[5]);
#pragma clang loop unroll(full)
    for (int i = 4; i >= 0; i--) EACH(n, gang) inner[n] = v_fma(inner[n], size[n] * size[n], v_set(near[i]));
    EACH(n, gang) inner[n] = v_fma(x[n] * v_set(0.5f), inner[n], v_set(0.5f));
    EACH(n, gang) tail[n] = v_set(far[7]);
#pragma clang loop unroll(full)
    for (int i = 6; i >= 0; i--)
        EACH(n, gang) tail[n] = v_fma(tail[n], v_min(v_set(5.7f), size[n]), v_set(far[i]));
    EACH(n, gang) tail[n] = -tail[n];
    v_exp_each(tail, gang);
    EACH(n, gang) {
        vi bits = v_bits(size[n]);
        vf half = v_select(v_not_below(bits, v_bits(v_set(5.7f))), v_zero(), tail[n] * v_set(0.5f));
        half = v_select(v_not_below(v_bits(x[n]), v_int(0x80000000)), half, v_set(1) - half);
        y[n] = v_select(v_not_below(bits, v_bits(v_set(1.4f))), half, inner[n]);
    }
}

/// 1 / (1 + exp(-factor x)) of `gang` vectors into y.
INLINE void v_logistic_each(const vf *x, float factor, vf *y, size_t gang) {
    EACH(n, gang) y[n] = v_set(-factor) * x[n];
    v_exp_each(y, gang);
    EACH(n, gang) y[n] = v_set(1) / (v_set(1) + y[n]);
}

/// The share f(x) / x of silu and of the forms of gelu.
INLINE void activation_share(int kind, const vf *x, vf *share, size_t gang) {
    switch (kind) {
    case TSPEFT_GELU: v_normal_each(x, share, gang); break;
    case TSPEFT_GELU_TANH: gelu_share(x, share, gang); break;
    case TSPEFT_QUICK_GELU: v_logistic_each(x, 1.702f, share, gang); break;
    default: v_logistic_each(x, 1, share, gang);
    }
}

/// f'(x) from x and the share.
INLINE void activation_slope_each(int kind, const vf *x, const vf *share, vf *slope, size_t gang) {
    if (kind == TSPEFT_GELU) {
        EACH(n, gang) slope[n] = v_set(-0.5f) * x[n] * x[n];
        v_exp_each(slope, gang);
        EACH(n, gang) slope[n] = v_fma(x[n] * v_set(0.39894228f), slope[n], share[n]);
        return;
    }
    // Far out the share is 0 or 1, and what it is multiplied with must not make a NaN of it.
    EACH(n, gang) {
        vf z = v_min(v_set(100), v_max(v_set(-100), x[n])), bend = share[n] * (v_set(1) - share[n]);
        vf inner = v_set(kind == TSPEFT_QUICK_GELU ? 1.702f : 1);
        if (kind == TSPEFT_GELU_TANH) inner = v_set(1.5957691216f) * v_fma(v_set(3 * 0.044715f) * z, z, v_set(1));
        slope[n] = v_fma(z * bend, inner, share[n]);
    }
}

INLINE void activation_forward_step(int kind, const void *x, const void *factor, void *out, int dtype, size_t i,
                                    size_t left, size_t gang) {
    vf z[GANG], share[GANG];
    EACH(n, gang) z[n] = v_load(x, dtype, i + n * LANES, left - n * LANES);
    activation_share(kind, z, share, gang);
    EACH(n, gang) {
        vf y = z[n] * share[n];
        if (factor) y = y * v_load(factor, dtype, i + n * LANES, left - n * LANES);
        v_store(out, dtype, i + n * LANES, left - n * LANES, y);
    }
}

INLINE void activation_forward_loop(int kind, const void *x, const void *factor, void *out, int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        activation_forward_step(kind, x, factor, out, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES) activation_forward_step(kind, x, factor, out, dtype, i, count - i, 1);
}

INLINE void activation_backward_step(int kind, const void *x, const void *factor, const void *dout, void *dx,
                                     void *dfactor, int dtype, size_t i, size_t left, size_t gang) {
    vf z[GANG], share[GANG], slope[GANG];
    EACH(n, gang) z[n] = v_load(x, dtype, i + n * LANES, left - n * LANES);
    activation_share(kind, z, share, gang);
    activation_slope_each(kind, z, share, slope, gang);
    EACH(n, gang) {
        size_t at = i + n * LANES, rest = left - n * LANES;
        vf d = v_load(dout, dtype, at, rest), gradient = d * slope[n];
        if (factor) {
            gradient = gradient * v_load(factor, dtype, at, rest);
            v_store(dfactor, dtype, at, rest, d * z[n] * share[n]);
        }
        v_store(dx, dtype, at, rest, gradient);
    }
}

INLINE void activation_backward_loop(int kind, const void *x, const void *factor, const void *dout, void *dx,
                                     void *dfactor, int dtype, size_t count) {
    size_t i = 0;
    for (; i + GANG * LANES <= count; i += GANG * LANES)
        activation_backward_step(kind, x, factor, dout, dx, dfactor, dtype, i, GANG * LANES, GANG);
    for (; i < count; i += LANES)
        activation_backward_step(kind, x, factor, dout, dx, dfactor, dtype, i, count - i, 1);
}

/// A loop of its own for each kind and type; what narrow layers alone have goes by the plain level.
#define EACH_ACTIVATION(plain, loop, ...)                                                                    \
    switch (kind) {                                                                                          \
    case TSPEFT_GELU: loop(TSPEFT_GELU, __VA_ARGS__); break;                                                 \
    case TSPEFT_GELU_TANH: loop(TSPEFT_GELU_TANH, __VA_ARGS__); break;                                       \
    case TSPEFT_QUICK_GELU: loop(TSPEFT_QUICK_GELU, __VA_ARGS__); break;                                     \
    case TSPEFT_SILU: loop(TSPEFT_SILU, __VA_ARGS__); break;                                                 \
    default: tspeft_kernels_at(0)->plain(kind, __VA_ARGS__);                                                 \
    }

static void activation_forward(int kind, const void *x, const void *factor, void *out, int dtype, size_t count) {
    if (dtype == TSPEFT_F32) {
        EACH_ACTIVATION(activation_forward, activation_forward_loop, x, factor, out, TSPEFT_F32, count)
    } else {
        EACH_ACTIVATION(activation_forward, activation_forward_loop, x, factor, out, TSPEFT_BF16, count)
    }
}

static void activation_backward(int kind, const void *x, const void *factor, const void *dout, void *dx,
                                void *dfactor, int dtype, size_t count) {
    if (dtype == TSPEFT_F32) {
        EACH_ACTIVATION(activation_backward, activation_backward_loop, x, factor, dout, dx, dfactor, TSPEFT_F32, count)
    } else {
        EACH_ACTIVATION(activation_backward, activation_backward_loop, x, factor, dout, dx, dfactor, TSPEFT_BF16, count)
    }
}
