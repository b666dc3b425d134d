// Finds the statistics for a kind of processor.
#include "tables.h"

const tspeft_statistics_table *tspeft_statistics_at(int level) {
#ifdef __x86_64__
    if (level == 2) return &tspeft_avx512_statistics;
    if (level == 1) return &tspeft_avx2_statistics;
#else
    (void)level;
#endif
    return &tspeft_plain_statistics;
}
