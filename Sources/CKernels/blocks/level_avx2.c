// The block formats for AVX2.
#ifdef __x86_64__
#include <immintrin.h>

#include "blocks.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "look_up_shuffle.h"
#include "level.h"
#pragma clang attribute pop

const block_functions tspeft_avx2_blocks[FORMAT_COUNT] = BLOCK_FUNCTIONS;
#else
typedef int tspeft_no_avx2_blocks;  // a file must declare something
#endif
