#ifndef TSPEFT_COneDNN_shim_h
#define TSPEFT_COneDNN_shim_h

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <stdbool.h>
#include <stdint.h>

// oneDNN 3 describes memory and products in other calls than oneDNN 2. What the two have in common is called from
// Swift; what differs is here, in one form for both.

#if DNNL_VERSION_MAJOR != 2 && DNNL_VERSION_MAJOR != 3
#error "tspeft needs oneDNN 2 or 3"
#endif

/// A matrix [rows, columns] in memory. Strides are in elements: from a row to the next, and from a column to the next.
struct tspeft_onednn_matrix {
    int64_t rows, columns, row_stride, column_stride;
    dnnl_data_type_t type;
};

/// result = scale (left right + bias), or result += that where `accumulates`. The bias is F32, [1, columns of result].
struct tspeft_onednn_product {
    struct tspeft_onednn_matrix left, right, result;
    bool has_bias, accumulates;
    float scale;
};

/// Where the matrices of a product begin; `bias` is read where the product has one.
struct tspeft_onednn_places {
    const void *left, *right, *bias;
    void *result;
};

/// A product compiled for its shapes, and its arguments, which get their places with each run. `bias` and `scale` are
/// NULL where it takes none.
struct tspeft_onednn_compiled {
    dnnl_primitive_t primitive;
    dnnl_memory_t left, right, result, bias, scale;
};

static inline struct tspeft_onednn_matrix tspeft_onednn_bias(const struct tspeft_onednn_product *product) {
    int64_t columns = product->result.columns;
    return (struct tspeft_onednn_matrix){1, columns, columns, 1, dnnl_f32};
}

#if DNNL_VERSION_MAJOR == 2

static inline dnnl_status_t tspeft_onednn_describe(
        dnnl_memory_desc_t *described, const struct tspeft_onednn_matrix *matrix) {
    dnnl_dims_t sizes = {matrix->rows, matrix->columns}, strides = {matrix->row_stride, matrix->column_stride};
    return dnnl_memory_desc_init_by_strides(described, 2, sizes, matrix->type, strides);
}

/// Memory of a matrix, still without a place.
static inline dnnl_status_t tspeft_onednn_memory(
        dnnl_memory_t *made, const struct tspeft_onednn_matrix *matrix, dnnl_engine_t engine) {
    dnnl_memory_desc_t described;
    dnnl_status_t status = tspeft_onednn_describe(&described, matrix);
    return status == dnnl_success ? dnnl_memory_create(made, &described, engine, NULL) : status;
}

static inline dnnl_status_t tspeft_onednn_scale(
        struct tspeft_onednn_compiled *made, const struct tspeft_onednn_product *product,
        dnnl_primitive_attr_t attributes, dnnl_post_ops_t after, dnnl_engine_t engine) {
    (void)made, (void)after, (void)engine;
    return dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &product->scale);
}

// No product has one.
enum { tspeft_onednn_scale_argument = DNNL_ARG_ATTR_OUTPUT_SCALES };

static inline dnnl_status_t tspeft_onednn_accumulate(dnnl_post_ops_t after) {
    return dnnl_post_ops_append_sum(after, 1);
}

static inline dnnl_status_t tspeft_onednn_plan(
        dnnl_primitive_desc_t *plan, const struct tspeft_onednn_product *product, dnnl_primitive_attr_t attributes,
        dnnl_engine_t engine) {
    struct tspeft_onednn_matrix bias_matrix = tspeft_onednn_bias(product);
    dnnl_memory_desc_t left, right, result, bias;
    dnnl_matmul_desc_t described;
    dnnl_status_t status = tspeft_onednn_describe(&left, &product->left);
    if (status == dnnl_success) status = tspeft_onednn_describe(&right, &product->right);
    if (status == dnnl_success) status = tspeft_onednn_describe(&result, &product->result);
    if (status == dnnl_success) status = tspeft_onednn_describe(&bias, &bias_matrix);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&described, &left, &right, product->has_bias ? &bias : NULL, &result);
    return status == dnnl_success ? dnnl_primitive_desc_create(plan, &described, attributes, engine, NULL) : status;
}

#else

static inline dnnl_status_t tspeft_onednn_describe(
        dnnl_memory_desc_t *described, const struct tspeft_onednn_matrix *matrix) {
    dnnl_dims_t sizes = {matrix->rows, matrix->columns}, strides = {matrix->row_stride, matrix->column_stride};
    return dnnl_memory_desc_create_with_strides(described, 2, sizes, matrix->type, strides);
}

/// Memory of a matrix, still without a place.
static inline dnnl_status_t tspeft_onednn_memory(
        dnnl_memory_t *made, const struct tspeft_onednn_matrix *matrix, dnnl_engine_t engine) {
    dnnl_memory_desc_t described = NULL;
    dnnl_status_t status = tspeft_onednn_describe(&described, matrix);
    if (status == dnnl_success) status = dnnl_memory_create(made, described, engine, NULL);
    dnnl_memory_desc_destroy(described);
    return status;
}

enum { tspeft_onednn_scale_argument = DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC };

// oneDNN 3 scales operands, by a number that it reads with each run, and adds the bias after that. Where there is one,
// scaling is the first operation on the sum instead, which the products for AVX2 (3.2) cannot follow by accumulation:
// that combination is as slow there as oneDNN's reference. No adapter needs it.
static inline dnnl_status_t tspeft_onednn_scale(
        struct tspeft_onednn_compiled *made, const struct tspeft_onednn_product *product,
        dnnl_primitive_attr_t attributes, dnnl_post_ops_t after, dnnl_engine_t engine) {
    if (product->has_bias) return dnnl_post_ops_append_eltwise(after, dnnl_eltwise_linear, product->scale, 0);
    dnnl_dims_t one = {1};
    dnnl_memory_desc_t described = NULL;
    void *place = NULL;
    dnnl_status_t status = dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_SRC, 0);
    if (status == dnnl_success) status = dnnl_memory_desc_create_with_strides(&described, 1, one, dnnl_f32, one);
    if (status == dnnl_success) status = dnnl_memory_create(&made->scale, described, engine, DNNL_MEMORY_ALLOCATE);
    if (status == dnnl_success) status = dnnl_memory_map_data(made->scale, &place);
    if (status == dnnl_success) {
        *(float *)place = product->scale;
        status = dnnl_memory_unmap_data(made->scale, place);
    }
    dnnl_memory_desc_destroy(described);
    return status;
}

static inline dnnl_status_t tspeft_onednn_accumulate(dnnl_post_ops_t after) {
    return dnnl_post_ops_append_sum(after, 1, 0, dnnl_data_type_undef);
}

static inline dnnl_status_t tspeft_onednn_plan(
        dnnl_primitive_desc_t *plan, const struct tspeft_onednn_product *product, dnnl_primitive_attr_t attributes,
        dnnl_engine_t engine) {
    struct tspeft_onednn_matrix bias_matrix = tspeft_onednn_bias(product);
    dnnl_memory_desc_t left = NULL, right = NULL, result = NULL, bias = NULL;
    dnnl_status_t status = tspeft_onednn_describe(&left, &product->left);
    if (status == dnnl_success) status = tspeft_onednn_describe(&right, &product->right);
    if (status == dnnl_success) status = tspeft_onednn_describe(&result, &product->result);
    if (status == dnnl_success && product->has_bias) status = tspeft_onednn_describe(&bias, &bias_matrix);
    if (status == dnnl_success)
        status = dnnl_matmul_primitive_desc_create(plan, engine, left, right, bias, result, attributes);
    dnnl_memory_desc_destroy(left);
    dnnl_memory_desc_destroy(right);
    dnnl_memory_desc_destroy(result);
    dnnl_memory_desc_destroy(bias);
    return status;
}

#endif

static inline dnnl_status_t tspeft_onednn_attributes(
        struct tspeft_onednn_compiled *made, const struct tspeft_onednn_product *product,
        dnnl_primitive_attr_t attributes, dnnl_engine_t engine) {
    dnnl_post_ops_t after = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&after);
    if (status == dnnl_success && product->scale != 1)
        status = tspeft_onednn_scale(made, product, attributes, after, engine);
    if (status == dnnl_success && product->accumulates) status = tspeft_onednn_accumulate(after);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, after);
    dnnl_post_ops_destroy(after);
    return status;
}

/// Compiles a product for its shapes. `made` is empty before; whatever is returned, `tspeft_onednn_release` frees it.
static inline dnnl_status_t tspeft_onednn_compile(
        struct tspeft_onednn_compiled *made, const struct tspeft_onednn_product *product, dnnl_engine_t engine) {
    struct tspeft_onednn_matrix bias = tspeft_onednn_bias(product);
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t plan = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status == dnnl_success) status = tspeft_onednn_attributes(made, product, attributes, engine);
    if (status == dnnl_success) status = tspeft_onednn_plan(&plan, product, attributes, engine);
    if (status == dnnl_success) status = dnnl_primitive_create(&made->primitive, plan);
    if (status == dnnl_success) status = tspeft_onednn_memory(&made->left, &product->left, engine);
    if (status == dnnl_success) status = tspeft_onednn_memory(&made->right, &product->right, engine);
    if (status == dnnl_success) status = tspeft_onednn_memory(&made->result, &product->result, engine);
    if (status == dnnl_success && product->has_bias) status = tspeft_onednn_memory(&made->bias, &bias, engine);
    // Both take NULL, where an earlier step failed.
    dnnl_primitive_desc_destroy(plan);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/// Computes a compiled product.
static inline dnnl_status_t tspeft_onednn_run(
        const struct tspeft_onednn_compiled *product, struct tspeft_onednn_places places, dnnl_stream_t stream) {
    dnnl_exec_arg_t arguments[5] = {
        {DNNL_ARG_SRC, product->left}, {DNNL_ARG_WEIGHTS, product->right}, {DNNL_ARG_DST, product->result}};
    int count = 3;
    // oneDNN takes every place as one that it might write to; it writes to the result alone.
    dnnl_status_t status = dnnl_memory_set_data_handle(product->left, (void *)places.left);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(product->right, (void *)places.right);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(product->result, places.result);
    if (product->bias) {
        arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, product->bias};
        if (status == dnnl_success) status = dnnl_memory_set_data_handle(product->bias, (void *)places.bias);
    }
    if (product->scale) arguments[count++] = (dnnl_exec_arg_t){tspeft_onednn_scale_argument, product->scale};
    if (status == dnnl_success) status = dnnl_primitive_execute(product->primitive, stream, count, arguments);
    return status == dnnl_success ? dnnl_stream_wait(stream) : status;
}

/// Frees what a compiled product holds.
static inline void tspeft_onednn_release(struct tspeft_onednn_compiled *product) {
    // Each takes NULL.
    dnnl_memory_destroy(product->left);
    dnnl_memory_destroy(product->right);
    dnnl_memory_destroy(product->result);
    dnnl_memory_destroy(product->bias);
    dnnl_memory_destroy(product->scale);
    dnnl_primitive_destroy(product->primitive);
    *product = (struct tspeft_onednn_compiled){0};
}

#endif
