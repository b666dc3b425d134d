#include <math.h>

#include "../attention_rule.h"
#include "plain.h"

/// The row of k and v that holds a segment's key `i`.
static size_t key_row(const tspeft_attention_segment *segment, size_t i) {
    size_t prefix = (size_t)segment->prefix_count;
    return i < prefix ? (size_t)segment->prefix_start + i : (size_t)segment->key_start + (i - prefix);
}

static float dot(tspeft_matrix a, size_t a_first, tspeft_matrix b, size_t b_first, int dtype, size_t count) {
    float sum = 0;
    for (size_t i = 0; i < count; i++) sum += get(a.data, dtype, a_first + i) * get(b.data, dtype, b_first + i);
    return sum;
}

static float capped(const tspeft_attention_rule *rule, float score) {
    return rule->softcap != 0 ? rule->softcap * tanhf(score / rule->softcap) : score;
}

/// What a probability is multiplied with: 0 where it is dropped, else what makes up for those that are.
static float kept(const tspeft_attention *call, size_t row, size_t head, size_t key) {
    float rate = call->rule.dropout_rate;
    if (rate == 0) return 1;
    uint32_t bits = dropout_bits(probability_block(call, row, head), (uint32_t)key);
    return bits < dropout_threshold(rate) ? 0 : dropout_scale(rate);
}

/// The score of a segment's query `j` and the key at place `key`.
static float score_of(const tspeft_attention *call, size_t j, size_t q_first, size_t key, size_t key_first) {
    const tspeft_attention_rule *rule = &call->rule;
    float score = rule->scale * dot(call->q, q_first, call->k, key_first, call->dtype, call->head_size);
    return capped(rule, score) + (rule->bias ? rule->bias[j * rule->bias_stride + key] : 0);
}

void plain_attention_forward(const tspeft_attention *call, const tspeft_attention_segment *segment, size_t head_begin,
                             size_t head_end, float *scratch) {
    const tspeft_attention_rule *rule = &call->rule;
    size_t size = call->head_size, prefix = (size_t)segment->prefix_count;
    size_t queries = (size_t)segment->query_count, keys = prefix + queries;
    float *scores = scratch, *sum = scratch + keys;
    for (size_t head = head_begin; head < head_end; head++) {
        size_t kv_column = head / (call->heads / call->kv_heads) * size;
        for (size_t j = 0; j < queries; j++) {
            size_t row = (size_t)segment->query_start + j;
            size_t first = row * call->q.stride + head * size;
            size_t begin = keys_begin(rule, prefix + j), end = keys_end(rule, prefix + j, keys);
            float largest = rule->sinks ? rule->sinks[head] : -INFINITY;
            for (size_t key = begin; key < end; key++) {
                size_t key_first = key_row(segment, key) * call->k.stride + kv_column;
                scores[key] = score_of(call, j, first, key, key_first);
                if (scores[key] > largest) largest = scores[key];
            }
            float denominator = rule->sinks ? expf(rule->sinks[head] - largest) : 0;
            for (size_t i = 0; i < size; i++) sum[i] = 0;
            for (size_t key = begin; key < end; key++) {
                float p = expf(scores[key] - largest);
                denominator += p;
                p *= kept(call, row, head, key);
                size_t value_first = key_row(segment, key) * call->v.stride + kv_column;
                for (size_t i = 0; i < size; i++) sum[i] += p * get(call->v.data, call->dtype, value_first + i);
            }
            size_t out_first = row * call->out.stride + head * size;
            for (size_t i = 0; i < size; i++) put(call->out.data, call->dtype, out_first + i, sum[i] / denominator);
            if (call->lse) call->lse[row * call->heads + head] = largest + logf(denominator);
        }
    }
}

/// Adds what one query of one head gives to the sums of dk and dv, [queries, head_size], and writes its dq.
static void backward_query(const tspeft_attention *call, const tspeft_attention_gradients *gradients,
                           const tspeft_attention_segment *segment, size_t head, size_t j, float *dk_sum,
                           float *dv_sum, float *dq_sum) {
    const tspeft_attention_rule *rule = &call->rule;
    int dtype = call->dtype;
    size_t size = call->head_size, queries = (size_t)segment->query_count, row = (size_t)segment->query_start + j;
    size_t column = head * size, kv_column = head / (call->heads / call->kv_heads) * size;
    size_t q_first = row * call->q.stride + column, dout_first = row * gradients->dout.stride + column;
    // Sum over keys of p dp.
    float mean = dot(gradients->dout, dout_first, call->out, row * call->out.stride + column, dtype, size);
    for (size_t i = 0; i < size; i++) dq_sum[i] = 0;
    for (size_t key = keys_begin(rule, j); key < keys_end(rule, j, queries); key++) {
        size_t key_row = (size_t)segment->key_start + key;
        size_t k_first = key_row * call->k.stride + kv_column, v_first = key_row * call->v.stride + kv_column;
        float score = score_of(call, j, q_first, key, k_first), share = kept(call, row, head, key);
        float p = expf(score - call->lse[row * call->heads + head]);
        float dp = dot(gradients->dout, dout_first, call->v, v_first, dtype, size) * share;
        float ds = p * (dp - mean);
        if (rule->bias) {
            size_t place = j * rule->bias_stride + key;
            gradients->dbias[place] = ds;
            score -= rule->bias[place];
        }
        ds *= rule->scale;
        p *= share;
        if (rule->softcap != 0) ds *= 1 - score / rule->softcap * (score / rule->softcap);
        for (size_t i = 0; i < size; i++) {
            dv_sum[key * size + i] += p * get(gradients->dout.data, dtype, dout_first + i);
            dk_sum[key * size + i] += ds * get(call->q.data, dtype, q_first + i);
            dq_sum[i] += ds * get(call->k.data, dtype, k_first + i);
        }
    }
    size_t dq_first = row * gradients->dq.stride + column;
    for (size_t i = 0; i < size; i++) put(gradients->dq.data, dtype, dq_first + i, dq_sum[i]);
}

void plain_attention_backward(const tspeft_attention *call, const tspeft_attention_gradients *gradients,
                              const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end,
                              float *scratch) {
    size_t size = call->head_size, queries = (size_t)segment->query_count, group = call->heads / call->kv_heads;
    float *dk_sum = scratch, *dv_sum = dk_sum + queries * size, *dq_sum = dv_sum + queries * size;
    for (size_t kv_head = kv_begin; kv_head < kv_end; kv_head++) {
        for (size_t i = 0; i < 2 * queries * size; i++) scratch[i] = 0;
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++)
            for (size_t j = 0; j < queries; j++)
                backward_query(call, gradients, segment, head, j, dk_sum, dv_sum, dq_sum);
        for (size_t key = 0; key < queries; key++) {
            size_t row = (size_t)segment->key_start + key;
            size_t dk_first = row * gradients->dk.stride + kv_head * size;
            size_t dv_first = row * gradients->dv.stride + kv_head * size;
            for (size_t i = 0; i < size; i++) {
                put(gradients->dk.data, call->dtype, dk_first + i, dk_sum[key * size + i]);
                put(gradients->dv.data, call->dtype, dv_first + i, dv_sum[key * size + i]);
            }
        }
    }
}
