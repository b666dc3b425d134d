#ifndef TSPEFT_COMPUTE_H
#define TSPEFT_COMPUTE_H
#include <stddef.h>
#include <stdint.h>

// Element types of activations. Statistics, norms, gradients of adapter tensors and optimizer state are always float.
enum { TSPEFT_F32 = 0, TSPEFT_BF16 = 1, TSPEFT_F16 = 2 };

// Matrices are row-major and contiguous ([rows, width]) unless a stride (in elements) is given. No function allocates
// or keeps state. `dtype` is TSPEFT_F32 or TSPEFT_BF16 and is the type of every `void *` operand unless said otherwise.

/// dst[i] = src[i], converted; any of the three types to F32, F32 to any of the three (nearest, ties to even).
/// bf16 denormals are kept.
void tspeft_convert(const void *src, int src_dtype, void *dst, int dst_dtype, size_t count);

/// RMSNorm: out = weight * x * inv_rms, inv_rms[i] = 1 / sqrt(mean(x_i^2) + eps). x is `x_dtype`, out is `dtype`.
void tspeft_rmsnorm_forward(const void *x, int x_dtype, const float *weight, float eps, void *out, int dtype,
                            float *inv_rms, size_t rows, size_t width);
/// dx += the gradient with respect to x, both `x_dtype`, for the gradient `dout` (`dtype`) of the output; the weight is
/// frozen.
void tspeft_rmsnorm_backward(const void *x, int x_dtype, const float *weight, const float *inv_rms, const void *dout,
                             int dtype, void *dx, size_t rows, size_t width);

/// The constants of a LayerNorm: weight and bias float [width]; NULL stands for ones and for zeros.
typedef struct {
    const float *weight, *bias;
    float eps;
} tspeft_layernorm;

/// LayerNorm: out = weight * (x - mean) * inv_std + bias, inv_std[i] = 1 / sqrt(mean((x_i - mean[i])^2) + eps). x is
/// `x_dtype`, out is `dtype`.
void tspeft_layernorm_forward(const void *x, int x_dtype, const tspeft_layernorm *norm, void *out, int dtype,
                              float *mean, float *inv_std, size_t rows, size_t width);
/// dx += the gradient with respect to x, both `x_dtype`, for the gradient `dout` (`dtype`) of the output; the weight,
/// NULL for ones, is frozen.
void tspeft_layernorm_backward(const void *x, int x_dtype, const float *weight, const float *mean,
                               const float *inv_std, const void *dout, int dtype, void *dx, size_t rows, size_t width);

/// Element (i, j) of a matrix is element i * stride + j from `data` on.
typedef struct {
    void *data;
    size_t stride;
} tspeft_matrix;

/// By which angles rows of heads turn: that of row i is in row positions[i] of cosine and sine ([.., turned/2]).
/// direction -1 turns back (the backward pass: s -> -s), 1 forth. The first `turned` elements of a head turn, an even
/// number; the others stay.
typedef struct {
    const int32_t *positions;
    const float *cosine, *sine;
    int direction;
    size_t heads, head_size, turned;
    /// Whether elements 2i and 2i + 1 turn together; else i and i + turned/2 do.
    int in_pairs;
} tspeft_rotation;

/// Rotary embedding: for each row, head and i < turned/2, with x from `src` and half = turned/2,
/// (dst[i], dst[i+half]) <- (x[i] c - x[i+half] s, x[i+half] c + x[i] s), the rotate-half layout of Hugging Face, or the
/// same of elements 2i and 2i + 1. dst may be src.
void tspeft_rope(tspeft_matrix src, tspeft_matrix dst, int dtype, const tspeft_rotation *rotation, size_t rows);

/// out = silu(gate) * up, elementwise.
void tspeft_silu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count);
/// dgate, dup <- gradients for `dout` (written, not added).
void tspeft_silu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count);

/// out = gelu(gate) * up, elementwise, gelu(z) = z / (1 + exp(-2 sqrt(2/pi) (z + 0.044715 z^3))): the form with tanh.
void tspeft_gelu_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count);
/// dgate, dup <- gradients for `dout` (written, not added).
void tspeft_gelu_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                              size_t count);

/// out_i = (up + 1) gate / (1 + exp(-alpha gate)) with gate = x_2i, at most limit, and up = x_(2i+1), within +-limit, for
/// `count` elements of out.
void tspeft_clamped_product_forward(const void *x, void *out, int dtype, float alpha, float limit, size_t count);
/// dx <- its gradient for `dout` (written, not added); 0 where a limit cuts.
void tspeft_clamped_product_backward(const void *x, const void *dout, void *dx, int dtype, float alpha, float limit,
                                     size_t count);

/// out = sigmoid(gate) * up, elementwise; and dgate, dup <- gradients for `dout` (written, not added).
void tspeft_sigmoid_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count);
void tspeft_sigmoid_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                                 size_t count);

/// One step of one head's gated delta rule on its state S [key_size, value_size]: S <- decay S, u = share (v - S' k),
/// S <- S + k u', out = S' q. All float.
void tspeft_delta_step(float *state, const float *q, const float *k, const float *v, float decay, float share,
                       float *u, float *out, size_t key_size, size_t value_size);

/// What a step computed with: its vectors and numbers, and the state before it and after it.
typedef struct {
    const float *q, *k, *u, *before, *after;
    float decay, share;
} tspeft_delta_values;

/// Where a step's gradients go (written, not added).
typedef struct {
    float *dq, *dk, *dv, *ddecay, *dshare;
} tspeft_delta_slopes;

/// The backward pass of a step for the gradient `dout` of its output; `dstate` is that of the state after it and becomes
/// that of the state before.
void tspeft_delta_step_backward(const tspeft_delta_values *values, const float *dout, float *dstate,
                                const tspeft_delta_slopes *slopes, size_t key_size, size_t value_size);

/// dst = factor src; dst may be src.
void tspeft_scale(const void *src, void *dst, int dtype, float factor, size_t count);

/// x <- cap tanh(x / cap).
void tspeft_softcap(float *x, float cap, size_t count);
/// gradient *= 1 - (capped / cap)^2, the slope where x was capped to `capped`.
void tspeft_softcap_backward(const float *capped, float cap, void *gradient, int dtype, size_t count);

/// dst += src; dst `dst_dtype`, src `dtype`.
void tspeft_add(void *dst, int dst_dtype, const void *src, int dtype, size_t count);

/// norms[i] = |x_i|_2, summed in float over at least 16 lanes (or wider).
void tspeft_row_norms(const void *x, int dtype, float *norms, size_t rows, size_t width);
/// dots[i] = <a_i, b_i>.
void tspeft_row_dots(const float *a, const float *b, float *dots, size_t rows, size_t width);

/// dots[i] = sum_j weights[j] a_ij b_ij; a and b `dtype`, weights float [width].
void tspeft_weighted_row_dots(const void *a, const void *b, const float *weights, int dtype, float *dots, size_t rows,
                              size_t width);
/// sums[j] = sum_i a_ij b_ij for begin <= j < end, float.
void tspeft_column_dots(const void *a, const void *b, int dtype, float *sums, size_t rows, size_t width, size_t begin,
                        size_t end);
/// dst_ij += factors[j] src_ij; dst may be src.
void tspeft_add_scaled_columns(void *dst, const void *src, const float *factors, int dtype, size_t rows, size_t width);
/// x_ij += factor row_values[j].
void tspeft_add_to_rows(void *x, int dtype, const float *row_values, float factor, size_t rows, size_t width);

/// Non-linearities: gelu exact (erf), as PyTorch's default, and in the form with tanh; quick gelu is x / (1 +
/// exp(-1.702 x)).
enum { TSPEFT_TANH = 0, TSPEFT_RELU = 1, TSPEFT_SILU = 2, TSPEFT_GELU = 3, TSPEFT_GELU_TANH = 4, TSPEFT_QUICK_GELU = 5 };
/// f(x) and f'(x).
float tspeft_activation(int kind, float x);
float tspeft_activation_slope(int kind, float x);
/// out = f(x); out may be x.
void tspeft_activate(int kind, const float *x, float *out, size_t count);
/// dx = dout f'(x); dx may be dout.
void tspeft_activate_backward(int kind, const float *x, const float *dout, float *dx, size_t count);

/// out = f(x) * factor, elementwise; a factor of NULL stands for ones. Where there is none out may be x.
void tspeft_activation_forward(int kind, const void *x, const void *factor, void *out, int dtype, size_t count);
/// dx <- dout factor f'(x), and dfactor <- dout f(x) where there is a factor (written, not added).
void tspeft_activation_backward(int kind, const void *x, const void *factor, const void *dout, void *dx, void *dfactor,
                                int dtype, size_t count);

/// dst[i] = src[indices[i]], rows of `row_bytes` bytes.
void tspeft_gather_rows(const void *src, const int32_t *indices, void *dst, size_t count, size_t row_bytes);
/// dst[indices[i]] += src[i]; no index twice.
void tspeft_scatter_add_rows(const void *src, const int32_t *indices, void *dst, int dtype, size_t count, size_t width);

/// Dropout: element i of the call is element first_index + i of a stream of random numbers that depends on key and that
/// index alone (so any split of the work gives the same mask); kept with probability 1 - rate and multiplied by
/// 1 / (1 - rate), else 0. dst may be src. The same call on a gradient is the backward pass. (dropout_stream.h has the
/// stream; every level and dtype draws the same mask.)
void tspeft_dropout(const void *src, void *dst, int dtype, size_t count, uint64_t first_index, uint64_t key,
                    float rate);

/// Softmax cross entropy. For each row of float logits [rows, width] with target t >= 0: losses[i] is
/// logsumexp - logit_t (float), and, unless dlogits is NULL, dlogits_i = (softmax - onehot) * scale in `dtype`. dlogits
/// may overlay logits exactly at its start of each row only when dtype is F32 (in place); otherwise it is another
/// buffer. A row with t < 0 gets loss 0 and gradient 0.
void tspeft_cross_entropy(const float *logits, const int32_t *targets, float scale, void *dlogits, int dtype,
                          float *losses, size_t rows, size_t width);

/// One run of queries and the keys it may see: first key rows [prefix_start, prefix_start + prefix_count), then
/// [key_start, key_start + query_count). Query j (0 <= j < query_count; row query_start + j of q, out, lse) stands at
/// place prefix_count + j of these keys.
typedef struct {
    int64_t query_start, query_count, key_start, prefix_start, prefix_count;
} tspeft_attention_segment;

/// Which keys a query sees and what becomes of a score. The query at place p of its run's keys sees those at places j
/// with p - before <= j <= p + after and, where block is not 0, j / block == p / block (rounded down); before and after
/// are at least 0 and may be SIZE_MAX for no limit. (Causal: SIZE_MAX, 0, 0. A window of w: w - 1, 0, 0. Everything:
/// SIZE_MAX, SIZE_MAX, 0.)
///
/// A score s = scale <q, k> becomes softcap tanh(s / softcap) where softcap is not 0. Where sinks are given, float
/// [heads], each query of head h has one further key with that score and a value of 0; nothing is their gradient.
///
/// Where a bias is given, float rows of bias_stride, bias[i * bias_stride + j] is added to the score of the segment's
/// query i and the key at place j, behind the cap; it is that of the one head that the call is for.
///
/// Where dropout_rate is not 0 the probabilities behind the softmax pass tspeft_dropout: that of a query's row r, head h
/// and the key at place j is element j of the block of 2^32 elements number r * heads + h of dropout_key's stream.
typedef struct {
    size_t before, after, block;
    float scale, softcap;
    const float *sinks;
    const float *bias;
    size_t bias_stride;
    float dropout_rate;
    uint64_t dropout_key;
} tspeft_attention_rule;

/// The operands of attention: q, out [.., heads * head_size]; k, v [.., kv_heads * head_size], all `dtype`. Query head h
/// uses kv head h / (heads / kv_heads). lse (may be NULL in the forward pass): float [query rows, heads], the log of the
/// softmax's denominator (log sum exp of the scores).
typedef struct {
    tspeft_matrix q, k, v, out;
    float *lse;
    int dtype;
    size_t heads, kv_heads, head_size;
    tspeft_attention_rule rule;
} tspeft_attention;

/// Gradients with the shapes of out, q, k and v, and of the bias where there is one: written where a query sees a key.
typedef struct {
    tspeft_matrix dout, dq, dk, dv;
    float *dbias;
} tspeft_attention_gradients;

/// Floats of scratch that one call of tspeft_attention_forward/backward needs for segments with at most
/// query_count queries and key_count = prefix_count + query_count keys.
size_t tspeft_attention_scratch(size_t query_count, size_t key_count, size_t head_size);

/// Attention of one segment for query heads [head_begin, head_end): softmax(scores) v into `out` and, where it is given,
/// `lse`. Arithmetic in float. Heads that share a kv head are best done in one call: it reads or packs the keys and
/// values once for them.
void tspeft_attention_forward(const tspeft_attention *call, const tspeft_attention_segment *segment, size_t head_begin,
                              size_t head_end, float *scratch);
/// The backward pass for kv heads [kv_begin, kv_end) of a segment without prefix (prefix_count 0), from the forward
/// pass's out and lse: writes (not adds) the rows of dq for the query heads of these groups and of dk, dv.
void tspeft_attention_backward(const tspeft_attention *call, const tspeft_attention_gradients *gradients,
                               const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end, float *scratch);

/// R of the QR decomposition (Householder, in double) of b [rows, width], upper triangular, written row-major
/// [width, width] in float with zeros below; |B z| = |R z| for every z, for rank-deficient and zero B too (rows < width
/// as well). scratch: rows * width doubles.
void tspeft_householder_r(const float *b, size_t rows, size_t width, float *r, double *scratch);

/// Sum of squares in double.
double tspeft_sum_squares(const float *x, size_t count);
/// First index of a NaN or infinity, or -1.
int64_t tspeft_first_nonfinite(const float *x, size_t count);

/// The numbers of an AdamW step; correction_i is 1 - beta_i^step. The betas are double because 1 - b2 would lose 5e-5 of
/// itself in float at 0.999.
typedef struct {
    float gradient_scale, lr;
    double beta1, beta2;
    float eps, decay, correction1, correction2;
} tspeft_adamw_step;

/// One AdamW step (Loshchilov and Hutter, as PyTorch orders it): p -= lr*decay*p; m = b1 m + (1-b1) g;
/// v = b2 v + (1-b2) g^2; p -= lr * (m / correction1) / (sqrt(v / correction2) + eps), with g = gradient_scale * grad.
void tspeft_adamw(float *parameter, const float *grad, float *m, float *v, size_t count, const tspeft_adamw_step *step);

/// sums[i][j] += sum over rows of weight_row * z_i z_j, double [width, width] (both triangles); weights NULL means 1
/// each.
void tspeft_outer_sums(const float *z, const float *weights, double *sums, size_t rows, size_t width);

/// The vector instructions that kernels use: 0 plain C, 1 AVX2 with FMA and F16C, 2 AVX-512. The processor's best, or
/// less where the environment variable TSPEFT_CPU_LEVEL (`plain`, `avx2`, `avx512`, or 0 to 2) says so, which is read
/// once.
int tspeft_cpu_level(void);
/// `plain`, `avx2` or `avx512`; NULL for a number that is no level.
const char *tspeft_level_name(int level);
/// The level that TSPEFT_CPU_LEVEL asks for, the highest where it is unset or empty; -1 where it names none. Such a
/// value limits nothing: whoever can talk to the user refuses it.
int tspeft_asked_level(void);
/// 1 where the processor multiplies bf16 in hardware and the level allows it, which is above AVX2.
int tspeft_multiplies_bf16(void);

#endif
