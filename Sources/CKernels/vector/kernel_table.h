// Includes every template for the lanes that the including file chose, and lists the kernels.
#include "exponential.h"
#include "elementwise.h"
#include "rows.h"
#include "columns.h"
#include "linear_algebra.h"
#include "tiles.h"
#include "attention_forward.h"
#include "attention_backward.h"
#include "merge.h"

static const tspeft_kernel_table kernel_table = {
    .convert = convert,
    .rmsnorm_forward = rmsnorm_forward,
    .rmsnorm_backward = rmsnorm_backward,
    .rope = rope,
    .silu_mul_forward = silu_mul_forward,
    .silu_mul_backward = silu_mul_backward,
    .add = add,
    .row_norms = row_norms,
    .row_dots = row_dots,
    .scatter_add_rows = scatter_add_rows,
    .dropout = dropout,
    .cross_entropy = cross_entropy,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .householder_r = householder_r,
    .sum_squares = sum_squares,
    .first_nonfinite = first_nonfinite,
    .adamw = adamw,
    .outer_sums = outer_sums,
    .add_scaled_columns = add_scaled_columns,
    .weighted_row_dots = weighted_row_dots,
    .column_dots = column_dots,
    .add_to_rows = add_to_rows,
    .merge_rows = merge_rows,
    .changes = changes,
};
