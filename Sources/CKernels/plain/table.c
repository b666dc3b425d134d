#include "../levels.h"
#include "plain.h"

static const tspeft_kernel_table table = {
    .convert = plain_convert,
    .rmsnorm_forward = plain_rmsnorm_forward,
    .rmsnorm_backward = plain_rmsnorm_backward,
    .rope = plain_rope,
    .silu_mul_forward = plain_silu_mul_forward,
    .silu_mul_backward = plain_silu_mul_backward,
    .add = plain_add,
    .row_norms = plain_row_norms,
    .row_dots = plain_row_dots,
    .scatter_add_rows = plain_scatter_add_rows,
    .dropout = plain_dropout,
    .cross_entropy = plain_cross_entropy,
    .attention_forward = plain_attention_forward,
    .attention_backward = plain_attention_backward,
    .householder_r = plain_householder_r,
    .sum_squares = plain_sum_squares,
    .first_nonfinite = plain_first_nonfinite,
    .adamw = plain_adamw,
    .outer_sums = plain_outer_sums,
    .add_scaled_columns = plain_add_scaled_columns,
    .weighted_row_dots = plain_weighted_row_dots,
    .column_dots = plain_column_dots,
    .add_to_rows = plain_add_to_rows,
    .merge_rows = plain_merge_rows,
    .changes = plain_changes,
};

const tspeft_kernel_table *const tspeft_plain_kernels = &table;
