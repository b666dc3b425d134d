// The kernels for AVX-512 as of Skylake-X and Zen 4.
#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "attention_rule.h"
#include "dropout_stream.h"
#include "levels.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#include "vector/lanes_avx512.h"

#include "vector/kernel_table.h"
#pragma clang attribute pop

const tspeft_kernel_table *const tspeft_avx512_kernels = &kernel_table;
#else
typedef int tspeft_no_avx512;  // a file must declare something
#endif
