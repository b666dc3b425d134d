/// e^x: within 2 units in the last place; 0 below -104, infinity above 88.8, NaN for NaN. x = n ln 2 + r with ln 2 in
/// two parts, then Cephes' polynomial for e^r on |r| <= ln(2) / 2.
INLINE vf v_exp(vf x) {
    x = v_min(v_set(130), v_max(v_set(-150), x));
    vf n = v_round(x * v_set(1.44269504088896341f));
    vf r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r + v_set(1));
    return v_scale(p, n);
}
