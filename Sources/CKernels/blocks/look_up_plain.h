/// values[i] = table[low nibble of bytes[i]], values[16 + i] = table[high nibble of bytes[i]], for 16 bytes.
static inline void look_up_nibbles(const int8_t *table, const uint8_t *bytes, int8_t *values) {
    for (int i = 0; i < 16; i++) {
        values[i] = table[bytes[i] & 0x0F];
        values[i + 16] = table[bytes[i] >> 4];
    }
}
