#include <math.h>

#include "plain.h"

/// The row of k and v that holds a segment's key `i`.
static size_t key_row(const tspeft_attention_segment *segment, size_t i) {
    size_t prefix = (size_t)segment->prefix_count;
    return i < prefix ? (size_t)segment->prefix_start + i : (size_t)segment->key_start + (i - prefix);
}

static float dot(const void *a, size_t a_first, const void *b, size_t b_first, int dtype, size_t count) {
    float sum = 0;
    for (size_t i = 0; i < count; i++) sum += get(a, dtype, a_first + i) * get(b, dtype, b_first + i);
    return sum;
}

void plain_attention_forward(const void *q, const void *k, const void *v, void *out, float *lse, int dtype,
                             size_t q_stride, size_t kv_stride, size_t heads, size_t kv_heads, size_t head_size,
                             float scale, const tspeft_attention_segment *segment, size_t head_begin, size_t head_end,
                             float *scratch) {
    size_t queries = (size_t)segment->query_count, prefix = (size_t)segment->prefix_count;
    float *scores = scratch, *sum = scratch + prefix + queries;
    for (size_t head = head_begin; head < head_end; head++) {
        size_t kv_column = head / (heads / kv_heads) * head_size;
        for (size_t j = 0; j < queries; j++) {
            size_t row = (size_t)segment->query_start + j;
            size_t first = row * q_stride + head * head_size;
            size_t visible = prefix + j + 1;
            float largest = -INFINITY;
            for (size_t key = 0; key < visible; key++) {
                size_t key_first = key_row(segment, key) * kv_stride + kv_column;
                scores[key] = scale * dot(q, first, k, key_first, dtype, head_size);
                if (scores[key] > largest) largest = scores[key];
            }
            float denominator = 0;
            for (size_t i = 0; i < head_size; i++) sum[i] = 0;
            for (size_t key = 0; key < visible; key++) {
                float p = expf(scores[key] - largest);
                denominator += p;
                size_t key_first = key_row(segment, key) * kv_stride + kv_column;
                for (size_t i = 0; i < head_size; i++) sum[i] += p * get(v, dtype, key_first + i);
            }
            for (size_t i = 0; i < head_size; i++) put(out, dtype, first + i, sum[i] / denominator);
            if (lse) lse[row * heads + head] = largest + logf(denominator);
        }
    }
}

void plain_attention_backward(const void *q, const void *k, const void *v, const void *out, const void *dout,
                              const float *lse, void *dq, void *dk, void *dv, int dtype, size_t q_stride,
                              size_t kv_stride, size_t heads, size_t kv_heads, size_t head_size, float scale,
                              const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end,
                              float *scratch) {
    size_t queries = (size_t)segment->query_count, group = heads / kv_heads;
    float *dk_sum = scratch, *dv_sum = dk_sum + queries * head_size, *dq_sum = dv_sum + queries * head_size;
    for (size_t kv_head = kv_begin; kv_head < kv_end; kv_head++) {
        for (size_t i = 0; i < 2 * queries * head_size; i++) scratch[i] = 0;
        size_t kv_first = (size_t)segment->key_start * kv_stride + kv_head * head_size;
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++)
            for (size_t j = 0; j < queries; j++) {
                size_t row = (size_t)segment->query_start + j;
                size_t first = row * q_stride + head * head_size;
                float mean = dot(dout, first, out, first, dtype, head_size);  // sum over keys of p dp
                for (size_t i = 0; i < head_size; i++) dq_sum[i] = 0;
                for (size_t key = 0; key <= j; key++) {
                    size_t key_first = kv_first + key * kv_stride;
                    float p = expf(scale * dot(q, first, k, key_first, dtype, head_size) - lse[row * heads + head]);
                    float dp = dot(dout, first, v, key_first, dtype, head_size);
                    float ds = p * (dp - mean) * scale;
                    for (size_t i = 0; i < head_size; i++) {
                        dv_sum[key * head_size + i] += p * get(dout, dtype, first + i);
                        dk_sum[key * head_size + i] += ds * get(q, dtype, first + i);
                        dq_sum[i] += ds * get(k, dtype, key_first + i);
                    }
                }
                for (size_t i = 0; i < head_size; i++) put(dq, dtype, first + i, dq_sum[i]);
            }
        for (size_t key = 0; key < queries; key++)
            for (size_t i = 0; i < head_size; i++) {
                put(dk, dtype, kv_first + key * kv_stride + i, dk_sum[key * head_size + i]);
                put(dv, dtype, kv_first + key * kv_stride + i, dv_sum[key * head_size + i]);
            }
    }
}
