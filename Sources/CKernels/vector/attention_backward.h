// Causal attention, backward, with the probabilities computed again from the forward pass's log-sum-exp. With
// P = exp(S - lse), S = scale Q K', and D = rowsum(dO * O):
//     dV = P' dO      dP = dO V'      dS = P * (dP - D)      dQ = scale dS K      dK = scale dS' Q

typedef struct {
    const void *q, *out, *dout;
    void *dq;
    const float *lse;
    int dtype;
    size_t q_stride, heads, head_size, pitch, queries, first_query;
    float scale;
    float *keys_transposed, *values_transposed, *keys;  // packed for one kv head
    float *dk, *dv;                                     // sums over its group, [queries, pitch]
    float *rest;
} backward_call;

/// Scores to probabilities and gradients of products to gradients of scores, both in place, for 6 queries and a block
/// of keys of which query i sees first_visible + i, at most `depth`; all BLOCK columns are written, with zeros where a
/// key is not seen.
INLINE void score_gradients(float *p_rows, float *ds_rows, size_t depth, ptrdiff_t first_visible, const float *lse,
                            const float *means) {
    for (size_t i = 0; i < TILE_ROWS; i++) {
        ptrdiff_t shown = first_visible + (ptrdiff_t)i;
        size_t visible = shown < 0 ? 0 : (size_t)shown < depth ? (size_t)shown : depth;
        for (size_t j = 0; j < BLOCK; j += LANES) {
            vf p = v_zero(), ds = v_zero();
            if (j < visible) {
                p = v_exp(v_load(p_rows, TSPEFT_F32, i * BLOCK + j, LANES) - v_set(lse[i]));
                ds = p * (v_load(ds_rows, TSPEFT_F32, i * BLOCK + j, LANES) - v_set(means[i]));
                if (visible - j < LANES) {
                    p = v_select(v_first(visible - j), p, v_zero());
                    ds = v_select(v_first(visible - j), ds, v_zero());
                }
            }
            v_store(p_rows, TSPEFT_F32, i * BLOCK + j, LANES, p);
            v_store(ds_rows, TSPEFT_F32, i * BLOCK + j, LANES, ds);
        }
    }
}

/// One query head: writes its dq and adds to dk and dv.
static void backward_head(const backward_call *call, size_t head) {
    size_t width = call->head_size, pitch = call->pitch, vectors = pitch / LANES;
    float *q_block = call->rest, *dout_block = q_block + BLOCK * pitch, *dq_block = dout_block + BLOCK * pitch;
    float *p_block = dq_block + BLOCK * pitch, *ds_block = p_block + BLOCK * BLOCK;
    float *lse = ds_block + BLOCK * BLOCK, *means = lse + BLOCK;
    size_t first = call->first_query * call->q_stride + head * width;
    row_source q_rows = {call->q, call->dtype, call->q_stride, 0, 0, first};
    row_source dout_rows = {call->dout, call->dtype, call->q_stride, 0, 0, first};
    for (size_t start = 0; start < call->queries; start += BLOCK) {
        size_t count = call->queries - start < BLOCK ? call->queries - start : BLOCK;
        size_t padded = round_up(count, TILE_ROWS);
        pack_rows(&q_rows, start, count, width, call->scale, q_block, padded, pitch);
        pack_rows(&dout_rows, start, count, width, 1, dout_block, padded, pitch);
        for (size_t i = 0; i < padded * pitch; i += LANES) v_store(dq_block, TSPEFT_F32, i, LANES, v_zero());
        for (size_t i = 0; i < padded; i++) {
            size_t offset = first + (start + i) * call->q_stride;
            lse[i] = i < count ? call->lse[(call->first_query + start + i) * call->heads + head] : 0;
            means[i] = i < count ? dot_loop(call->dout, offset, call->out, offset, call->dtype, width) : 0;
        }
        for (size_t key = 0; key < start + count; key += BLOCK) {
            size_t key_count = start + count - key < BLOCK ? start + count - key : BLOCK;
            for (size_t row = 0; row < padded; row += TILE_ROWS) {
                size_t last = row + TILE_ROWS < count ? row + TILE_ROWS : count, seen = start + last;
                size_t depth = seen <= key ? 0 : seen - key < BLOCK ? seen - key : BLOCK;
                size_t seen_vectors = (depth + LANES - 1) / LANES;
                ptrdiff_t first_visible = (ptrdiff_t)(start + row + 1) - (ptrdiff_t)key;
                float *p_rows = p_block + row * BLOCK, *ds_rows = ds_block + row * BLOCK;
                multiply(seen_vectors, width, q_block + row * pitch, pitch, 1, call->keys_transposed + key * width,
                         BLOCK, p_rows, BLOCK, 0);
                multiply(seen_vectors, width, dout_block + row * pitch, pitch, 1, call->values_transposed + key * width,
                         BLOCK, ds_rows, BLOCK, 0);
                score_gradients(p_rows, ds_rows, depth, first_visible, lse + row, means + row);
                multiply(vectors, depth, ds_rows, BLOCK, 1, call->keys + key * pitch, pitch, dq_block + row * pitch,
                         pitch, 1);
            }
            for (size_t column = 0; column < key_count; column += TILE_ROWS) {
                // Queries before the first one that sees any of these 6 keys add nothing.
                size_t skipped = key + column > start ? key + column - start : 0, depth = count - skipped;
                float *dv = call->dv + (key + column) * pitch, *dk = call->dk + (key + column) * pitch;
                multiply(vectors, depth, p_block + skipped * BLOCK + column, 1, BLOCK, dout_block + skipped * pitch,
                         pitch, dv, pitch, 1);
                multiply(vectors, depth, ds_block + skipped * BLOCK + column, 1, BLOCK, q_block + skipped * pitch,
                         pitch, dk, pitch, 1);
            }
        }
        unpack_rows(dq_block, pitch, count, width, call->scale, call->dq, call->dtype, first + start * call->q_stride,
                    call->q_stride);
    }
}

static void attention_backward(const void *q, const void *k, const void *v, const void *out, const void *dout,
                               const float *lse, void *dq, void *dk, void *dv, int dtype, size_t q_stride,
                               size_t kv_stride, size_t heads, size_t kv_heads, size_t head_size, float scale,
                               const tspeft_attention_segment *segment, size_t kv_begin, size_t kv_end,
                               float *scratch) {
    size_t queries = (size_t)segment->query_count, padded = round_up(queries, BLOCK), group = heads / kv_heads;
    size_t pitch = round_up(head_size, LANES);
    backward_call call = {q, out, dout, dq, lse, dtype, q_stride, heads, head_size, pitch, queries,
                          (size_t)segment->query_start, scale, 0, 0, 0, 0, 0, 0};
    call.keys_transposed = line_start(scratch);
    call.values_transposed = call.keys_transposed + padded * head_size;
    call.keys = call.values_transposed + padded * head_size;
    call.dk = call.keys + padded * pitch;
    call.dv = call.dk + padded * pitch;
    call.rest = call.dv + padded * pitch;
    for (size_t kv_head = kv_begin; kv_head < kv_end; kv_head++) {
        size_t first = (size_t)segment->key_start * kv_stride + kv_head * head_size;
        row_source keys = {k, dtype, kv_stride, 0, 0, first}, values = {v, dtype, kv_stride, 0, 0, first};
        pack_transposed(&keys, queries, head_size, call.keys_transposed);
        pack_transposed(&values, queries, head_size, call.values_transposed);
        pack_rows(&keys, 0, queries, head_size, 1, call.keys, queries, pitch);
        for (size_t i = 0; i < 2 * padded * pitch; i += LANES) v_store(call.dk, TSPEFT_F32, i, LANES, v_zero());
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) backward_head(&call, head);
        unpack_rows(call.dk, pitch, queries, head_size, 1, dk, dtype, first, kv_stride);
        unpack_rows(call.dv, pitch, queries, head_size, 1, dv, dtype, first, kv_stride);
    }
}
