// Finds a format's functions for a kind of processor.
#include "blocks.h"

static const block_functions *functions(int level, uint32_t number) {
    const block_functions *all = tspeft_plain_blocks;
#ifdef __x86_64__
    if (level == 1) all = tspeft_avx2_blocks;
    if (level == 2) all = tspeft_avx512_blocks;
#else
    (void)level;
#endif
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (all[i].number == number) return all + i;
    return NULL;
}

tspeft_block_decoder *tspeft_block_decoder_at(int level, uint32_t number) {
    const block_functions *format = functions(level, number);
    return format ? format->decode : NULL;
}

tspeft_block_encoder *tspeft_block_encoder_at(int level, uint32_t number) {
    const block_functions *format = functions(level, number);
    return format ? format->encode : NULL;
}
