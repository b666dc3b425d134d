#ifndef TSPEFT_SHA256_H
#define TSPEFT_SHA256_H
#include <stddef.h>
#include <stdint.h>

/// SHA-256 (FIPS 180-4): mixes `blocks` blocks of 64 bytes, at any alignment, into the eight words of the state.
void tspeft_sha256_blocks(uint32_t state[8], const void *src, size_t blocks);
/// The same in plain C.
void tspeft_sha256_blocks_plain(uint32_t state[8], const void *src, size_t blocks);
/// Whether the first of the two uses the processor's SHA instructions.
int tspeft_has_sha256(void);
#endif
