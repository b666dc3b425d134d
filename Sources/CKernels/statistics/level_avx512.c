// The statistics for AVX-512.
#ifdef __x86_64__
#include "tables.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), apply_to = function)
#include "level.h"
#pragma clang attribute pop

const tspeft_statistics_table tspeft_avx512_statistics = STATISTICS_TABLE;
#else
typedef int tspeft_no_avx512_statistics;  // a file must declare something
#endif
