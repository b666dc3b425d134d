#ifndef TSPEFT_STATISTICS_TABLES_H
#define TSPEFT_STATISTICS_TABLES_H
#include "../include/tspeft_statistics.h"

extern const tspeft_statistics_table tspeft_plain_statistics;
#ifdef __x86_64__
extern const tspeft_statistics_table tspeft_avx2_statistics;
extern const tspeft_statistics_table tspeft_avx512_statistics;
#endif
#endif
