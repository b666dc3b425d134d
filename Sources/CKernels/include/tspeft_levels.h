#ifndef TSPEFT_LEVELS_H
#define TSPEFT_LEVELS_H
#include "tspeft_compute.h"
#include "tspeft_kernel_list.h"
#include "tspeft_merge.h"

/// One implementation of every kernel of tspeft_compute.h and tspeft_merge.h, for one kind of processor. The functions
/// there call the table of the current level; tests hold the tables against each other.
typedef struct {
#define POINTER(type, name, parameters, arguments) __typeof__(tspeft_##name) *name;
    TSPEFT_KERNELS(POINTER)
#undef POINTER
} tspeft_kernel_table;

/// The kernels of a level (see tspeft_cpu_level; the limit does not matter here), or NULL where this processor cannot
/// run them. Level 0, plain C without vector instructions of its own, always exists.
const tspeft_kernel_table *tspeft_kernels_at(int level);

#endif
