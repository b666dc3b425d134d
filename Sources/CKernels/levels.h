#ifndef TSPEFT_LEVEL_TABLES_H
#define TSPEFT_LEVEL_TABLES_H
#include "include/tspeft_levels.h"

extern const tspeft_kernel_table *const tspeft_plain_kernels;
#ifdef __x86_64__
extern const tspeft_kernel_table *const tspeft_avx2_kernels;
extern const tspeft_kernel_table *const tspeft_avx512_kernels;
#endif

#endif
