// Which function decodes or encodes which format, at which level.
#include "blocks.h"

/// A format by ggml's number, with its functions.
typedef struct {
    uint32_t number;
    tspeft_block_decoder *decode;
} block_functions;

static const block_functions plain_functions[] = {
    {2, tspeft_plain_decode_q4_0},     {3, tspeft_plain_decode_q4_1},    {6, tspeft_plain_decode_q5_0},
    {7, tspeft_plain_decode_q5_1},     {8, tspeft_plain_decode_q8_0},    {9, tspeft_plain_decode_q8_1},
    {10, tspeft_plain_decode_q2_k},    {11, tspeft_plain_decode_q3_k},   {12, tspeft_plain_decode_q4_k},
    {13, tspeft_plain_decode_q5_k},    {14, tspeft_plain_decode_q6_k},   {15, tspeft_plain_decode_q8_k},
    {16, tspeft_plain_decode_iq2_xxs}, {17, tspeft_plain_decode_iq2_xs}, {18, tspeft_plain_decode_iq3_xxs},
    {19, tspeft_plain_decode_iq1_s},   {20, tspeft_plain_decode_iq4_nl}, {21, tspeft_plain_decode_iq3_s},
    {22, tspeft_plain_decode_iq2_s},   {23, tspeft_plain_decode_iq4_xs}, {29, tspeft_plain_decode_iq1_m},
    {34, tspeft_plain_decode_tq1_0},   {35, tspeft_plain_decode_tq2_0},  {39, tspeft_plain_decode_mxfp4},
    {40, tspeft_plain_decode_nvfp4},   {41, tspeft_plain_decode_q1_0},   {42, tspeft_plain_decode_q2_0},
};

static const block_functions *find(const block_functions *functions, size_t count, uint32_t number) {
    for (size_t i = 0; i < count; i++)
        if (functions[i].number == number) return functions + i;
    return NULL;
}

tspeft_block_decoder *tspeft_block_decoder_at(int level, uint32_t number) {
    (void)level;
    const block_functions *plain = find(plain_functions, sizeof plain_functions / sizeof *plain_functions, number);
    return plain ? plain->decode : NULL;
}
