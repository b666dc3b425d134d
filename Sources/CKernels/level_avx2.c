// The kernels for AVX2, FMA and F16C: any x86-64 processor since 2013 or so.
#ifdef __x86_64__
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "attention_rule.h"
#include "dropout_stream.h"
#include "levels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), \
                             apply_to = function)
#include "vector/lanes_avx2.h"

#include "vector/kernel_table.h"
#pragma clang attribute pop

const tspeft_kernel_table *const tspeft_avx2_kernels = &kernel_table;
#else
typedef int tspeft_no_avx2;  // a file must declare something
#endif
