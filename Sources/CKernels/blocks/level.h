// Every format's functions, compiled for one kind of processor: level_plain.c, level_avx2.c and level_avx512.c include
// this text. The compiler turns its loops into the vectors of that kind; without fused products and with sums in a
// fixed order, all of them give the same bits. Before it comes one of the look_up_*.h, which depends on the kind.
#include "decode_fp4.h"
#include "decode_iq.h"
#include "decode_k.h"
#include "decode_legacy.h"
#include "decode_ternary.h"
#include "encode.h"
#include "encode_fp4.h"
#include "encode_iq.h"
#include "encode_k.h"
#include "encode_legacy.h"
#include "encode_ternary.h"

#define BLOCK_FUNCTIONS                                                                                         \
    {                                                                                                           \
        {2, decode_q4_0, encode_q4_0}, {3, decode_q4_1, encode_q4_1}, {6, decode_q5_0, encode_q5_0},            \
        {7, decode_q5_1, encode_q5_1}, {8, decode_q8_0, encode_q8_0}, {9, decode_q8_1, NULL},                   \
        {10, decode_q2_k, encode_q2_k}, {11, decode_q3_k, encode_q3_k}, {12, decode_q4_k, encode_q4_k},         \
        {13, decode_q5_k, encode_q5_k}, {14, decode_q6_k, encode_q6_k}, {15, decode_q8_k, NULL},                \
        {16, decode_iq2_xxs, NULL}, {17, decode_iq2_xs, NULL}, {18, decode_iq3_xxs, NULL},                      \
        {19, decode_iq1_s, NULL}, {20, decode_iq4_nl, encode_iq4_nl}, {21, decode_iq3_s, NULL},                 \
        {22, decode_iq2_s, NULL}, {23, decode_iq4_xs, NULL}, {29, decode_iq1_m, NULL},                          \
        {34, decode_tq1_0, encode_tq1_0}, {35, decode_tq2_0, encode_tq2_0}, {39, decode_mxfp4, encode_mxfp4},   \
        {40, decode_nvfp4, NULL}, {41, decode_q1_0, NULL}, {42, decode_q2_0, NULL},                             \
    }
