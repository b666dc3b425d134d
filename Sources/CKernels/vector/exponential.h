/// Vectors that a kernel with long chains of dependent instructions works on side by side, so that the processor always
/// finds one that is ready.
#define GANG ((size_t)4)
#define EACH(g, count) _Pragma("clang loop unroll(full)") for (size_t g = 0; g < (count); g++)

/// x <- e^x for `count` <= GANG vectors: within 2 units in the last place; 0 below -104, infinity above 88.8, NaN for
/// NaN. x = n ln 2 + r with ln 2 in two parts, then Cephes' polynomial for e^r on |r| <= ln(2) / 2.
INLINE void v_exp_each(vf *x, size_t count) {
    vf n[GANG], r[GANG], p[GANG];
    EACH(g, count) r[g] = v_min(v_set(130), v_max(v_set(-150), x[g]));
    EACH(g, count) n[g] = v_round(r[g] * v_set(1.44269504088896341f));
    EACH(g, count) r[g] = v_fma(n[g], v_set(-0.693359375f), r[g]);
    EACH(g, count) r[g] = v_fma(n[g], v_set(2.12194440e-4f), r[g]);
    EACH(g, count) p[g] = v_fma(v_set(1.9875691500e-4f), r[g], v_set(1.3981999507e-3f));
    EACH(g, count) p[g] = v_fma(p[g], r[g], v_set(8.3334519073e-3f));
    EACH(g, count) p[g] = v_fma(p[g], r[g], v_set(4.1665795894e-2f));
    EACH(g, count) p[g] = v_fma(p[g], r[g], v_set(1.6666665459e-1f));
    EACH(g, count) p[g] = v_fma(p[g], r[g], v_set(5.0000001201e-1f));
    EACH(g, count) p[g] = v_fma(p[g], r[g] * r[g], r[g] + v_set(1));
    EACH(g, count) x[g] = v_scale(p[g], n[g]);
}

INLINE vf v_exp(vf x) {
    v_exp_each(&x, 1);
    return x;
}
