/// As in look_up_plain.h: a table of 16 bytes fits a register, and a byte shuffle looks all indices up at once.
static inline void look_up_nibbles(const int8_t *table, const uint8_t *bytes, int8_t *values) {
    const __m128i entries = _mm_loadu_si128((const __m128i *)table);
    const __m128i packed = _mm_loadu_si128((const __m128i *)bytes), mask = _mm_set1_epi8(0x0F);
    const __m128i low = _mm_and_si128(packed, mask), high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
    _mm_storeu_si128((__m128i *)values, _mm_shuffle_epi8(entries, low));
    _mm_storeu_si128((__m128i *)(values + 16), _mm_shuffle_epi8(entries, high));
}
