// The statistics without vector instructions of their own.
#include "tables.h"
#include "level.h"

const tspeft_statistics_table tspeft_plain_statistics = STATISTICS_TABLE;
