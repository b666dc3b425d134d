// The vector vocabulary of the AVX-512 level: 16 floats, 8 doubles. lanes_avx2.h has the same names.
#define LANES 16
#define TILE_VECTORS 4  // columns of a matrix tile, in vectors: 6 x 4 accumulators of 32 registers

typedef __m512 vf;
typedef __m512i vi;
typedef __m512d vd;
typedef __mmask16 vmask;

#define INLINE static inline __attribute__((always_inline, unused))

/// The first `left` lanes.
INLINE vmask v_first(size_t left) { return left >= LANES ? (vmask)0xFFFF : (vmask)((1u << left) - 1); }
/// The lanes of a that b does not have.
INLINE vmask v_without(vmask a, vmask b) { return a & (vmask)~b; }
INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf v_sqrt(vf x) { return _mm512_sqrt_ps(x); }
/// The larger one; b where either is NaN.
INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/// a in the lanes of mask, else b.
INLINE vf v_select(vmask mask, vf a, vf b) { return _mm512_mask_blend_ps(mask, b, a); }
INLINE float v_sum(vf x) { return _mm512_reduce_add_ps(x); }
INLINE float v_largest(vf x) { return _mm512_reduce_max_ps(x); }
INLINE vi v_bits(vf x) { return _mm512_castps_si512(x); }
INLINE vf v_from_bits(vi x) { return _mm512_castsi512_ps(x); }
INLINE vi v_int(uint32_t x) { return _mm512_set1_epi32((int)x); }
/// 0, 1, 2, ...
INLINE vi v_indices(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE vi v_add_int(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi v_mul_int(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
INLINE vi v_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
INLINE vi v_and(vi a, vi b) { return _mm512_and_si512(a, b); }
#define v_shift_right(x, bits) _mm512_srli_epi32(x, bits)
/// Unsigned a >= b.
INLINE vmask v_not_below(vi a, vi b) { return _mm512_cmpge_epu32_mask(a, b); }
/// Whether a lane of the first `left` is infinite or NaN.
INLINE int v_any_nonfinite(vf x, size_t left) {
    vi exponent = _mm512_set1_epi32(0x7F800000);
    return _mm512_mask_cmpeq_epi32_mask(v_first(left), _mm512_and_si512(v_bits(x), exponent), exponent) != 0;
}
/// x 2^n for whole n, with underflow and overflow as they should be.
INLINE vf v_scale(vf x, vf n) { return _mm512_scalef_ps(x, n); }
INLINE vf v_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/// LANES numbers of 16 bits; from `left` on 0 and not read.
INLINE __m256i v_load_halves(const uint16_t *p, size_t left) {
    return left >= LANES ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi16(v_first(left), p);
}

/// Writes the first `left` numbers of 16 bits.
INLINE void v_store_halves(uint16_t *p, size_t left, __m256i half) {
    if (left >= LANES)
        _mm256_storeu_si256((__m256i *)p, half);
    else
        _mm256_mask_storeu_epi16(p, v_first(left), half);
}

/// Floats i, i + 1, ... of an array of `dtype`; lanes from `left` on are 0 and not read.
INLINE vf v_load(const void *array, int dtype, size_t i, size_t left) {
    if (dtype == TSPEFT_F32) {
        const float *p = (const float *)array + i;
        return left >= LANES ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(v_first(left), p);
    }
    __m256i half = v_load_halves((const uint16_t *)array + i, left);
    if (dtype == TSPEFT_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/// bf16 bits in the lower halves: nearest, ties to even, NaN quiet. vcvtneps2bf16 would flush denormals.
INLINE vi v_round_bf16(vf x) {
    vi bits = v_bits(x);
    vi odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    vi rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    vmask nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_srli_epi32(rounded, 16);
}

/// Writes lanes below `left`.
INLINE void v_store(void *array, int dtype, size_t i, size_t left, vf x) {
    if (dtype == TSPEFT_F32) {
        float *p = (float *)array + i;
        if (left >= LANES)
            _mm512_storeu_ps(p, x);
        else
            _mm512_mask_storeu_ps(p, v_first(left), x);
        return;
    }
    __m256i half = dtype == TSPEFT_F16 ? _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                                       : _mm512_cvtepi32_epi16(v_round_bf16(x));
    v_store_halves((uint16_t *)array + i, left, half);
}

/// Elements i, i + 1, ... of an array of `dtype` as stored, in the lower bits; lanes from `left` on are 0 and not read.
INLINE vi v_load_bits(const void *array, int dtype, size_t i, size_t left) {
    if (dtype == TSPEFT_F32) return v_bits(v_load(array, dtype, i, left));
    return _mm512_cvtepu16_epi32(v_load_halves((const uint16_t *)array + i, left));
}

/// Writes the lower bits of lanes below `left`.
INLINE void v_store_bits(void *array, int dtype, size_t i, size_t left, vi x) {
    if (dtype == TSPEFT_F32) return v_store(array, dtype, i, left, v_from_bits(x));
    v_store_halves((uint16_t *)array + i, left, _mm512_cvtepi32_epi16(x));
}

/// The floats that bits of `dtype` are.
INLINE vf v_widen(vi x, int dtype) {
    if (dtype == TSPEFT_F32) return v_from_bits(x);
    return dtype == TSPEFT_F16 ? _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)) : v_from_bits(_mm512_slli_epi32(x, 16));
}

/// The bits that floats are stored with in `dtype`.
INLINE vi v_narrow(vf x, int dtype) {
    if (dtype == TSPEFT_F32) return v_bits(x);
    if (dtype == TSPEFT_BF16) return v_round_bf16(x);
    return _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE vmask v_is_zero(vf x) { return _mm512_cmp_ps_mask(x, v_zero(), _CMP_EQ_OQ); }
INLINE vmask v_differs(vi a, vi b) { return _mm512_cmpneq_epi32_mask(a, b); }
/// a in the lanes of mask, else b.
INLINE vi v_select_int(vmask mask, vi a, vi b) { return _mm512_mask_blend_epi32(mask, b, a); }
/// The larger one, unsigned.
INLINE vi v_max_int(vi a, vi b) { return _mm512_max_epu32(a, b); }

/// Rows become columns.
INLINE void v_transpose(vf r[LANES]) {
    vf t[LANES];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    vf quads[LANES];  // quads[4 g + c], 128-bit lane l: column 4 l + c of rows 4 g ... 4 g + 3
    for (int g = 0; g < 4; g++)
        for (int c = 0; c < 2; c++) {
            vd a = _mm512_castps_pd(t[4 * g + c]), b = _mm512_castps_pd(t[4 * g + 2 + c]);
            quads[4 * g + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            quads[4 * g + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int c = 0; c < 4; c++) {
        vf even_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0x88);
        vf odd_low = _mm512_shuffle_f32x4(quads[c], quads[4 + c], 0xDD);
        vf even_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0x88);
        vf odd_high = _mm512_shuffle_f32x4(quads[8 + c], quads[12 + c], 0xDD);
        r[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        r[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        r[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xDD);
        r[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD);
    }
}

INLINE vd w_zero(void) { return _mm512_setzero_pd(); }
INLINE vd w_set(double x) { return _mm512_set1_pd(x); }
INLINE vd w_load(const double *p) { return _mm512_loadu_pd(p); }
INLINE void w_store(double *p, vd x) { _mm512_storeu_pd(p, x); }
/// LANES / 2 floats, widened; from `left` on 0 and not read.
INLINE vd w_load_floats(const float *p, size_t left) {
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)v_first(left), p));
}
INLINE vd w_fma(vd a, vd b, vd c) { return _mm512_fmadd_pd(a, b, c); }
INLINE double w_sum(vd x) { return _mm512_reduce_add_pd(x); }
