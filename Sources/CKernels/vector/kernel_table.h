// Includes every template for the lanes that the including file chose, and makes the table of their kernels.
#include "exponential.h"
#include "elementwise.h"
#include "rows.h"
#include "activations.h"
#include "layer_norm.h"
#include "columns.h"
#include "linear_algebra.h"
#include "tiles.h"
#include "attention_forward.h"
#include "attention_backward.h"
#include "merge.h"

static const tspeft_kernel_table kernel_table = {
#define ENTRY(type, name, parameters, arguments) .name = name,
    TSPEFT_KERNELS(ENTRY)
#undef ENTRY
};
