#ifndef TSPEFT_LEVELS_H
#define TSPEFT_LEVELS_H
#include "tspeft_compute.h"
#include "tspeft_merge.h"

/// One implementation of every kernel of tspeft_compute.h and tspeft_merge.h, for one kind of processor. The functions
/// there call the table of the current level; tests hold the tables against each other.
typedef struct {
    __typeof__(tspeft_convert) *convert;
    __typeof__(tspeft_rmsnorm_forward) *rmsnorm_forward;
    __typeof__(tspeft_rmsnorm_backward) *rmsnorm_backward;
    __typeof__(tspeft_rope) *rope;
    __typeof__(tspeft_silu_mul_forward) *silu_mul_forward;
    __typeof__(tspeft_silu_mul_backward) *silu_mul_backward;
    __typeof__(tspeft_add) *add;
    __typeof__(tspeft_row_norms) *row_norms;
    __typeof__(tspeft_row_dots) *row_dots;
    __typeof__(tspeft_scatter_add_rows) *scatter_add_rows;
    __typeof__(tspeft_dropout) *dropout;
    __typeof__(tspeft_cross_entropy) *cross_entropy;
    __typeof__(tspeft_attention_forward) *attention_forward;
    __typeof__(tspeft_attention_backward) *attention_backward;
    __typeof__(tspeft_householder_r) *householder_r;
    __typeof__(tspeft_sum_squares) *sum_squares;
    __typeof__(tspeft_first_nonfinite) *first_nonfinite;
    __typeof__(tspeft_adamw) *adamw;
    __typeof__(tspeft_outer_sums) *outer_sums;
    __typeof__(tspeft_add_scaled_columns) *add_scaled_columns;
    __typeof__(tspeft_weighted_row_dots) *weighted_row_dots;
    __typeof__(tspeft_column_dots) *column_dots;
    __typeof__(tspeft_add_to_rows) *add_to_rows;
    __typeof__(tspeft_merge_rows) *merge_rows;
    __typeof__(tspeft_changes) *changes;
} tspeft_kernel_table;

/// The kernels of a level (see tspeft_cpu_level; the limit does not matter here), or NULL where this processor cannot
/// run them. Level 0, plain C without vector instructions of its own, always exists.
const tspeft_kernel_table *tspeft_kernels_at(int level);

#endif
