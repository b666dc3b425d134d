// The vector vocabulary of the AVX2 level: 8 floats, 4 doubles. lanes_avx512.h has the same names.
#define LANES 8
#define TILE_VECTORS 2  // 6 x 2 accumulators of 16 registers

typedef __m256 vf;
typedef __m256i vi;
typedef __m256d vd;
typedef __m256i vmask;  // all bits of a lane or none

#define INLINE static inline __attribute__((always_inline, unused))

/// The first `left` lanes.
INLINE vmask v_first(size_t left) {
    int count = left >= LANES ? LANES : (int)left;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/// The lanes of a that b does not have.
INLINE vmask v_without(vmask a, vmask b) { return _mm256_andnot_si256(b, a); }
INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf v_sqrt(vf x) { return _mm256_sqrt_ps(x); }
/// The larger one; b where either is NaN.
INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
/// a in the lanes of mask, else b.
INLINE vf v_select(vmask mask, vf a, vf b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)); }
INLINE float v_sum(vf x) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
}
INLINE float v_largest(vf x) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_shuffle_ps(most, most, 1)));
}
INLINE vi v_bits(vf x) { return _mm256_castps_si256(x); }
INLINE vf v_from_bits(vi x) { return _mm256_castsi256_ps(x); }
INLINE vi v_int(uint32_t x) { return _mm256_set1_epi32((int)x); }
/// 0, 1, 2, ...
INLINE vi v_indices(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
INLINE vi v_add_int(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi v_mul_int(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
INLINE vi v_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
INLINE vi v_and(vi a, vi b) { return _mm256_and_si256(a, b); }
#define v_shift_right(x, bits) _mm256_srli_epi32(x, bits)
/// Unsigned a >= b.
INLINE vmask v_not_below(vi a, vi b) { return _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a); }
/// Whether a lane of the first `left` is infinite or NaN.
INLINE int v_any_nonfinite(vf x, size_t left) {
    vi exponent = _mm256_set1_epi32(0x7F800000);
    vi found = _mm256_cmpeq_epi32(_mm256_and_si256(v_bits(x), exponent), exponent);
    return _mm256_movemask_epi8(_mm256_and_si256(found, v_first(left))) != 0;
}
/// x 2^n for whole n in [-252, 252], in two steps so that underflow and overflow are as they should be.
INLINE vf v_scale(vf x, vf n) {
    vi whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
    vi first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    vi second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return x * v_from_bits(first) * v_from_bits(second);
}
INLINE vf v_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/// LANES numbers of 16 bits; from `left` on 0 and not read.
INLINE __m128i v_load_halves(const uint16_t *p, size_t left) {
    if (left >= LANES) return _mm_loadu_si128((const __m128i *)p);
    __m128i half = _mm_setzero_si128();
    memcpy(&half, p, left * sizeof *p);
    return half;
}

/// Writes the first `left` numbers of 16 bits.
INLINE void v_store_halves(uint16_t *p, size_t left, __m128i half) {
    if (left >= LANES)
        _mm_storeu_si128((__m128i *)p, half);
    else
        memcpy(p, &half, left * sizeof *p);
}

/// Floats i, i + 1, ... of an array of `dtype`; lanes from `left` on are 0 and not read.
INLINE vf v_load(const void *array, int dtype, size_t i, size_t left) {
    if (dtype == TSPEFT_F32) {
        const float *p = (const float *)array + i;
        return left >= LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, v_first(left));
    }
    __m128i half = v_load_halves((const uint16_t *)array + i, left);
    if (dtype == TSPEFT_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/// bf16 bits in the lower halves: nearest, ties to even, NaN quiet.
INLINE vi v_round_bf16(vf x) {
    vi bits = v_bits(x);
    vi odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    vi rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    vi nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    vi quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}

/// The lower halves of the lanes, side by side.
INLINE __m128i v_lower_halves(vi x) {
    return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

/// Writes lanes below `left`.
INLINE void v_store(void *array, int dtype, size_t i, size_t left, vf x) {
    if (dtype == TSPEFT_F32) {
        float *p = (float *)array + i;
        if (left >= LANES)
            _mm256_storeu_ps(p, x);
        else
            _mm256_maskstore_ps(p, v_first(left), x);
        return;
    }
    __m128i half = dtype == TSPEFT_F16 ? _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                                       : v_lower_halves(v_round_bf16(x));
    v_store_halves((uint16_t *)array + i, left, half);
}

/// Elements i, i + 1, ... of an array of `dtype` as stored, in the lower bits; lanes from `left` on are 0 and not read.
INLINE vi v_load_bits(const void *array, int dtype, size_t i, size_t left) {
    if (dtype == TSPEFT_F32) return v_bits(v_load(array, dtype, i, left));
    return _mm256_cvtepu16_epi32(v_load_halves((const uint16_t *)array + i, left));
}

/// Writes the lower bits of lanes below `left`.
INLINE void v_store_bits(void *array, int dtype, size_t i, size_t left, vi x) {
    if (dtype == TSPEFT_F32) return v_store(array, dtype, i, left, v_from_bits(x));
    v_store_halves((uint16_t *)array + i, left, v_lower_halves(x));
}

/// The floats that bits of `dtype` are.
INLINE vf v_widen(vi x, int dtype) {
    if (dtype == TSPEFT_F32) return v_from_bits(x);
    return dtype == TSPEFT_F16 ? _mm256_cvtph_ps(v_lower_halves(x)) : v_from_bits(_mm256_slli_epi32(x, 16));
}

/// The bits that floats are stored with in `dtype`.
INLINE vi v_narrow(vf x, int dtype) {
    if (dtype == TSPEFT_F32) return v_bits(x);
    if (dtype == TSPEFT_BF16) return v_round_bf16(x);
    return _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

INLINE vmask v_is_zero(vf x) { return _mm256_castps_si256(_mm256_cmp_ps(x, v_zero(), _CMP_EQ_OQ)); }
INLINE vmask v_differs(vi a, vi b) { return _mm256_xor_si256(_mm256_cmpeq_epi32(a, b), _mm256_set1_epi32(-1)); }
/// a in the lanes of mask, else b.
INLINE vi v_select_int(vmask mask, vi a, vi b) { return _mm256_blendv_epi8(b, a, mask); }
/// The larger one, unsigned.
INLINE vi v_max_int(vi a, vi b) { return _mm256_max_epu32(a, b); }

/// Rows become columns.
INLINE void v_transpose(vf r[LANES]) {
    vf t[LANES], quads[LANES];  // quads[4 g + c], 128-bit lane l: column 4 l + c of rows 4 g ... 4 g + 3
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int g = 0; g < 2; g++)
        for (int c = 0; c < 2; c++) {
            vd a = _mm256_castps_pd(t[4 * g + c]), b = _mm256_castps_pd(t[4 * g + 2 + c]);
            quads[4 * g + 2 * c] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            quads[4 * g + 2 * c + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int c = 0; c < 4; c++) {
        r[c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x20);
        r[4 + c] = _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x31);
    }
}

INLINE vd w_zero(void) { return _mm256_setzero_pd(); }
INLINE vd w_set(double x) { return _mm256_set1_pd(x); }
INLINE vd w_load(const double *p) { return _mm256_loadu_pd(p); }
INLINE void w_store(double *p, vd x) { _mm256_storeu_pd(p, x); }
/// LANES / 2 floats, widened; from `left` on 0 and not read.
INLINE vd w_load_floats(const float *p, size_t left) {
    return _mm256_cvtps_pd(_mm_maskload_ps(p, _mm256_castsi256_si128(v_first(left))));
}
INLINE vd w_fma(vd a, vd b, vd c) { return _mm256_fmadd_pd(a, b, c); }
INLINE double w_sum(vd x) {
    __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}
