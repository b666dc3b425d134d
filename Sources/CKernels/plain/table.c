#include "../levels.h"
#include "plain.h"

static const tspeft_kernel_table table = {
#define ENTRY(type, name, parameters, arguments) .name = plain_##name,
    TSPEFT_KERNELS(ENTRY)
#undef ENTRY
};

const tspeft_kernel_table *const tspeft_plain_kernels = &table;
