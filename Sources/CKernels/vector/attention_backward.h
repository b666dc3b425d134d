// Attention, backward, with the probabilities computed again from the forward pass's log-sum-exp. With
// P = exp(S - lse), S = scale Q K', and D = rowsum(dO * O):
//     dV = P' dO      dP = dO V'      dS = P * (dP - D)      dQ = scale dS K      dK = scale dS' Q
// and, where scores are capped, P from c tanh(S / c) and dS times its slope 1 - tanh(S / c)^2. With dropout's mask M,
// dV = (P * M)' dO and dP = M * (dO V'); D is what it was, since it is sum P * dP either way.

typedef struct {
    const tspeft_attention *operands;
    const tspeft_attention_gradients *gradients;
    size_t head_size, pitch, queries, first_query;
    float *keys_transposed, *values_transposed, *keys;  // packed for one kv head
    float *dk, *dv;                                     // sums over its group, [queries, pitch]
    float *rest;
} backward_call;

/// Scores to probabilities and gradients of products to gradients of scores, both in place, for 6 queries and the block
/// of keys from `key` on, of which query i sees [begins[i], ends[i]), at most `depth`; all BLOCK columns are written,
/// with zeros where a key is not seen.
INLINE void score_gradients(float *p_rows, float *ds_rows, size_t key, size_t depth, const size_t *begins,
                            const size_t *ends, float softcap, const float *lse, const float *means) {
    for (size_t i = 0; i < TILE_ROWS; i++) {
        size_t begin = begins[i] > key ? begins[i] - key : 0, end = ends[i] > key ? ends[i] - key : 0;
        if (end > depth) end = depth;
        for (size_t j = 0; j < BLOCK; j += LANES) {
            vf p = v_zero(), ds = v_zero();
            if (j < end && j + LANES > begin) {
                vf score = v_load(p_rows, TSPEFT_F32, i * BLOCK + j, LANES), slope = v_set(1);
                if (softcap != 0) {
                    vf share = v_tanh(score * v_set(1 / softcap));
                    score = share * v_set(softcap);
                    slope = slope - share * share;
                }
                p = v_exp(score - v_set(lse[i]));
                ds = p * (v_load(ds_rows, TSPEFT_F32, i * BLOCK + j, LANES) - v_set(means[i]));
                if (softcap != 0) ds = ds * slope;
                if (end - j < LANES || begin > j) {
                    vmask shown = shown_lanes(j, begin, end);
                    p = v_select(shown, p, v_zero());
                    ds = v_select(shown, ds, v_zero());
                }
            }
            v_store(p_rows, TSPEFT_F32, i * BLOCK + j, LANES, p);
            v_store(ds_rows, TSPEFT_F32, i * BLOCK + j, LANES, ds);
        }
    }
}

/// Writes 6 rows of gradients of scores of the keys [key, keys) as those of the bias, where its row sees the key.
static void store_bias_gradients(const float *ds_rows, float *dbias, const tile_rows *rows, size_t key,
                                 const size_t *begins, const size_t *ends) {
    size_t stride = rows->operands->rule.bias_stride;
    for (size_t i = 0; i < TILE_ROWS && rows->query + i < rows->queries; i++) {
        size_t begin = larger(begins[i], key), end = smaller(ends[i], key + BLOCK);
        float *target = dbias + (rows->query + i) * stride;
        for (size_t j = begin; j < end; j++) target[j] = ds_rows[i * BLOCK + j - key];
    }
}

/// Adds what the queries [start, start + count) of a head give to the sums of dk and dv over the keys
/// [key, key + key_count), from their probabilities and the gradients of their scores.
static void add_key_gradients(const backward_call *call, size_t start, size_t count, size_t key, size_t key_count,
                              const float *p_block, const float *ds_block, const float *q_block,
                              const float *dout_block) {
    const tspeft_attention_rule *rule = &call->operands->rule;
    size_t pitch = call->pitch, vectors = pitch / LANES;
    for (size_t column = 0; column < key_count; column += TILE_ROWS) {
        // Queries before the first and behind the last that sees any of these 6 keys add nothing.
        size_t last = column + TILE_ROWS < key_count ? column + TILE_ROWS : key_count;
        size_t begin = queries_begin(rule, key + column), end = queries_end(rule, key + last - 1, call->queries);
        begin = begin > start ? begin - start : 0;
        end = end > start ? smaller(end - start, count) : 0;
        if (begin >= end) continue;
        float *dv = call->dv + (key + column) * pitch, *dk = call->dk + (key + column) * pitch;
        multiply(vectors, end - begin, p_block + begin * BLOCK + column, 1, BLOCK, dout_block + begin * pitch, pitch,
                 dv, pitch, 1);
        multiply(vectors, end - begin, ds_block + begin * BLOCK + column, 1, BLOCK, q_block + begin * pitch, pitch, dk,
                 pitch, 1);
    }
}

/// One query head: writes its dq and adds to dk and dv.
static void backward_head(const backward_call *call, size_t head) {
    const tspeft_attention *operands = call->operands;
    const tspeft_attention_rule *rule = &operands->rule;
    const tspeft_matrix *q = &operands->q, *out = &operands->out, *dout = &call->gradients->dout;
    const tspeft_matrix *dq = &call->gradients->dq;
    size_t width = call->head_size, pitch = call->pitch, vectors = pitch / LANES, first = call->first_query;
    int dtype = operands->dtype;
    float *q_block = call->rest, *dout_block = q_block + BLOCK * pitch, *dq_block = dout_block + BLOCK * pitch;
    float *p_block = dq_block + BLOCK * pitch, *ds_block = p_block + BLOCK * BLOCK;
    float *lse = ds_block + BLOCK * BLOCK, *means = lse + BLOCK;
    row_source q_rows = {q->data, dtype, q->stride, 0, 0, first * q->stride + head * width};
    row_source dout_rows = {dout->data, dtype, dout->stride, 0, 0, first * dout->stride + head * width};
    for (size_t start = 0; start < call->queries; start += BLOCK) {
        size_t count = call->queries - start < BLOCK ? call->queries - start : BLOCK;
        size_t padded = round_up(count, TILE_ROWS);
        seen_keys seen;
        find_seen_keys(rule, start, count, padded, call->queries, &seen);
        pack_rows(&q_rows, start, count, width, rule->scale, q_block, padded, pitch);
        pack_rows(&dout_rows, start, count, width, 1, dout_block, padded, pitch);
        for (size_t i = 0; i < padded * pitch; i += LANES) v_store(dq_block, TSPEFT_F32, i, LANES, v_zero());
        for (size_t i = 0; i < padded; i++) {
            size_t row = first + start + i;
            lse[i] = i < count ? operands->lse[row * operands->heads + head] : 0;
            means[i] = i < count ? dot_loop(dout->data, row * dout->stride + head * width, out->data,
                                            row * out->stride + head * width, dtype, width)
                                 : 0;
        }
        size_t key_end = seen.end[count - 1];
        for (size_t key = seen.begin[0] / BLOCK * BLOCK; key < key_end; key += BLOCK) {
            size_t key_count = key_end - key < BLOCK ? key_end - key : BLOCK;
            for (size_t row = 0; row < padded; row += TILE_ROWS) {
                size_t end = seen.end[row + TILE_ROWS - 1];
                size_t depth = end <= key || seen.begin[row] >= key + BLOCK ? 0 : smaller(end - key, BLOCK);
                size_t seen_vectors = (depth + LANES - 1) / LANES;
                float *p_rows = p_block + row * BLOCK, *ds_rows = ds_block + row * BLOCK;
                multiply(seen_vectors, width, q_block + row * pitch, pitch, 1, call->keys_transposed + key * width,
                         BLOCK, p_rows, BLOCK, 0);
                multiply(seen_vectors, width, dout_block + row * pitch, pitch, 1, call->values_transposed + key * width,
                         BLOCK, ds_rows, BLOCK, 0);
                tile_rows rows = {operands, head, start + row, call->queries, first};
                if (rule->bias) add_bias(p_rows, seen_vectors, &rows, key, call->queries);
                if (rule->dropout_rate != 0) drop_probabilities(ds_rows, seen_vectors, &rows, key);
                // A cap of 0 as a constant, so that the loop without one has nothing of it.
                if (rule->softcap != 0)
                    score_gradients(p_rows, ds_rows, key, depth, seen.begin + row, seen.end + row, rule->softcap,
                                    lse + row, means + row);
                else
                    score_gradients(p_rows, ds_rows, key, depth, seen.begin + row, seen.end + row, 0, lse + row,
                                    means + row);
                if (rule->bias)
                    store_bias_gradients(ds_rows, call->gradients->dbias, &rows, key, seen.begin + row, seen.end + row);
                if (rule->dropout_rate != 0) drop_probabilities(p_rows, seen_vectors, &rows, key);
                multiply(vectors, depth, ds_rows, BLOCK, 1, call->keys + key * pitch, pitch, dq_block + row * pitch,
                         pitch, 1);
            }
            add_key_gradients(call, start, count, key, key_count, p_block, ds_block, q_block, dout_block);
        }
        unpack_rows(dq_block, pitch, count, width, rule->scale, dq->data, dtype,
                    (first + start) * dq->stride + head * width, dq->stride);
    }
}

static void attention_backward(const tspeft_attention *operands, const tspeft_attention_gradients *gradients,
                               const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end,
                               float *scratch) {
    size_t queries = (size_t)segment->query_count, padded = round_up(queries, BLOCK);
    size_t head_size = operands->head_size, group = operands->heads / operands->kv_heads;
    size_t pitch = round_up(head_size, LANES), first_key = (size_t)segment->key_start;
    const tspeft_matrix *k = &operands->k, *v = &operands->v, *dk = &gradients->dk, *dv = &gradients->dv;
    int dtype = operands->dtype;
    backward_call call = {operands, gradients, head_size, pitch, queries, (size_t)segment->query_start,
                          0, 0, 0, 0, 0, 0};
    call.keys_transposed = line_start(scratch);
    call.values_transposed = call.keys_transposed + padded * head_size;
    call.keys = call.values_transposed + padded * head_size;
    call.dk = call.keys + padded * pitch;
    call.dv = call.dk + padded * pitch;
    call.rest = call.dv + padded * pitch;
    for (size_t kv_head = kv_begin; kv_head < kv_end; kv_head++) {
        size_t column = kv_head * head_size;
        row_source keys = {k->data, dtype, k->stride, 0, 0, first_key * k->stride + column};
        row_source values = {v->data, dtype, v->stride, 0, 0, first_key * v->stride + column};
        pack_transposed(&keys, queries, head_size, call.keys_transposed);
        pack_transposed(&values, queries, head_size, call.values_transposed);
        pack_rows(&keys, 0, queries, head_size, 1, call.keys, queries, pitch);
        for (size_t i = 0; i < 2 * padded * pitch; i += LANES) v_store(call.dk, TSPEFT_F32, i, LANES, v_zero());
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) backward_head(&call, head);
        unpack_rows(call.dk, pitch, queries, head_size, 1, dk->data, dtype, first_key * dk->stride + column,
                    dk->stride);
        unpack_rows(call.dv, pitch, queries, head_size, 1, dv->data, dtype, first_key * dv->stride + column,
                    dv->stride);
    }
}
