// Causal attention, forward: softmax over blocks of keys with a running maximum and denominator (Milakov and
// Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135), so that scores never leave the first-level cache.

/// What the heads of one call share.
typedef struct {
    const void *q, *k, *v;
    void *out;
    float *lse;
    int dtype;
    size_t q_stride, kv_stride, heads, group, head_size, pitch;
    float scale;
    const tspeft_attention_segment *segment;
    size_t queries, keys, prefix;
} forward_call;

/// The keys' or values' rows of one kv head.
INLINE row_source kv_rows(const forward_call *call, const void *data, size_t kv_head) {
    size_t column = kv_head * call->head_size;
    return (row_source){data, call->dtype, call->kv_stride, call->prefix,
                        (size_t)call->segment->prefix_start * call->kv_stride + column,
                        (size_t)call->segment->key_start * call->kv_stride + column};
}

/// The softmax of 6 rows of scores, into probabilities in place, of which row i sees first_visible + i (none where that
/// is negative); the running maxima and denominators are brought up to date, and the sums so far rescaled.
INLINE void online_softmax(float *scores, size_t vectors, ptrdiff_t first_visible, float *maxima, float *denominators,
                           float *sums, size_t pitch) {
    for (size_t i = 0; i < TILE_ROWS; i++) {
        float *row = scores + i * BLOCK;
        ptrdiff_t shown = first_visible + (ptrdiff_t)i;
        size_t visible = shown > 0 ? (size_t)shown : 0;
        vf most = v_set(maxima[i]);
        for (size_t j = 0; j < vectors; j++) {
            vf x = v_load(row, TSPEFT_F32, j * LANES, LANES);
            if (visible < (j + 1) * LANES) {
                vmask seen = v_first(visible > j * LANES ? visible - j * LANES : 0);
                x = v_select(seen, x, v_set(-__builtin_inff()));
                v_store(row, TSPEFT_F32, j * LANES, LANES, x);
            }
            most = v_max(x, most);
        }
        float largest = v_largest(most);
        vf shift = v_set(largest), total = v_zero();
        for (size_t j = 0; j < vectors; j++) {
            vf p = v_exp(v_load(row, TSPEFT_F32, j * LANES, LANES) - shift);
            v_store(row, TSPEFT_F32, j * LANES, LANES, p);
            total += p;
        }
        if (largest != maxima[i]) {
            vf decay = v_exp(v_set(maxima[i]) - shift);
            for (size_t j = 0; j < pitch; j += LANES)
                v_store(sums, TSPEFT_F32, i * pitch + j, LANES, v_load(sums, TSPEFT_F32, i * pitch + j, LANES) * decay);
            total += v_select(v_first(1), decay * v_set(denominators[i]), v_zero());
            maxima[i] = largest;
            denominators[i] = v_sum(total);
        } else {
            denominators[i] += v_sum(total);
        }
    }
}

/// One query head, BLOCK queries at a time, against keys packed by pack_transposed and values by pack_rows.
static void forward_blocks(const forward_call *call, size_t head, const float *keys, const float *values,
                           float *scratch) {
    size_t width = call->head_size, pitch = call->pitch;
    float *q_block = scratch, *sums = q_block + BLOCK * pitch, *scores = sums + BLOCK * pitch;
    float *maxima = scores + BLOCK * BLOCK, *denominators = maxima + BLOCK;
    size_t first = (size_t)call->segment->query_start * call->q_stride + head * width;
    row_source q_rows = {call->q, call->dtype, call->q_stride, 0, 0, first};
    for (size_t start = 0; start < call->queries; start += BLOCK) {
        size_t count = call->queries - start < BLOCK ? call->queries - start : BLOCK;
        size_t padded = round_up(count, TILE_ROWS);
        pack_rows(&q_rows, start, count, width, call->scale, q_block, padded, pitch);
        for (size_t i = 0; i < padded * pitch; i += LANES) v_store(sums, TSPEFT_F32, i, LANES, v_zero());
        for (size_t i = 0; i < padded; i++) {
            maxima[i] = -__builtin_inff();
            denominators[i] = 0;
        }
        for (size_t key = 0; key < call->prefix + start + count; key += BLOCK)
            for (size_t row = 0; row < padded; row += TILE_ROWS) {
                // The group's last real query sees the most keys.
                size_t last = row + TILE_ROWS < count ? row + TILE_ROWS : count;
                size_t seen = call->prefix + start + last;
                if (seen <= key) continue;
                size_t depth = seen - key < BLOCK ? seen - key : BLOCK, vectors = (depth + LANES - 1) / LANES;
                ptrdiff_t first_visible = (ptrdiff_t)(call->prefix + start + row + 1) - (ptrdiff_t)key;
                float *group_sums = sums + row * pitch;
                multiply(vectors, width, q_block + row * pitch, pitch, 1, keys + key * width, BLOCK, scores, BLOCK, 0);
                online_softmax(scores, vectors, first_visible, maxima + row, denominators + row, group_sums, pitch);
                multiply(pitch / LANES, depth, scores, BLOCK, 1, values + key * pitch, pitch, group_sums, pitch, 1);
            }
        for (size_t i = 0; i < count; i++) {
            unpack_rows(sums + i * pitch, pitch, 1, width, 1 / denominators[i], call->out, call->dtype,
                        first + (start + i) * call->q_stride, 0);
            if (call->lse)
                call->lse[((size_t)call->segment->query_start + start + i) * call->heads + head] =
                    maxima[i] + logf(denominators[i]);
        }
    }
}

/// Heads that share a pass over keys and values where there are few queries.
#define DIRECT_HEADS 4

/// `count` query heads from `head` on, of one kv head and one query: dot products straight from keys and values in
/// place, which is as fast as memory is.
INLINE void direct_heads(const forward_call *call, size_t query, size_t head, size_t count, float *scratch) {
    size_t width = call->head_size, pitch = call->pitch, visible = call->prefix + query + 1;
    size_t scores_pitch = round_up(visible, LANES);
    float *scores = scratch, *q_rows = scratch + DIRECT_HEADS * scores_pitch;
    size_t row = (size_t)call->segment->query_start + query, first = row * call->q_stride + head * width;
    row_source keys = kv_rows(call, call->k, head / call->group), values = kv_rows(call, call->v, head / call->group);
    row_source q = {call->q, call->dtype, width, 0, 0, first};
    pack_rows(&q, 0, count, width, call->scale, q_rows, count, pitch);
    for (size_t key = 0; key < visible; key++) {
        size_t offset = row_offset(&keys, key);
        vf sums[DIRECT_HEADS];
        for (size_t h = 0; h < count; h++) sums[h] = v_zero();
        for (size_t j = 0; j < width; j += LANES) {
            vf x = v_load(call->k, call->dtype, offset + j, width - j);
            for (size_t h = 0; h < count; h++)
                sums[h] = v_fma(x, v_load(q_rows, TSPEFT_F32, h * pitch + j, LANES), sums[h]);
        }
        for (size_t h = 0; h < count; h++) scores[h * scores_pitch + key] = v_sum(sums[h]);
    }
    float factors[DIRECT_HEADS];
    for (size_t h = 0; h < count; h++) {
        float *s = scores + h * scores_pitch, largest = largest_of(s, visible);
        vf total = v_zero();
        for (size_t i = 0; i < visible; i += LANES) {
            vf p = v_exp(v_load(s, TSPEFT_F32, i, visible - i) - v_set(largest));
            v_store(s, TSPEFT_F32, i, visible - i, p);
            total += v_select(v_first(visible - i), p, v_zero());
        }
        float denominator = v_sum(total);
        factors[h] = 1 / denominator;
        if (call->lse) call->lse[row * call->heads + head + h] = largest + logf(denominator);
    }
    for (size_t j = 0; j < width; j += 4 * LANES) {
        vf sums[DIRECT_HEADS][4];
        for (size_t h = 0; h < count; h++)
            for (size_t part = 0; part < 4; part++) sums[h][part] = v_zero();
        for (size_t key = 0; key < visible; key++) {
            size_t offset = row_offset(&values, key);
            for (size_t part = 0; part < 4; part++) {
                size_t column = j + part * LANES;
                if (column >= width) break;
                vf x = v_load(call->v, call->dtype, offset + column, width - column);
                for (size_t h = 0; h < count; h++)
                    sums[h][part] = v_fma(v_set(scores[h * scores_pitch + key]), x, sums[h][part]);
            }
        }
        for (size_t h = 0; h < count; h++)
            for (size_t part = 0; part < 4; part++) {
                size_t column = j + part * LANES;
                if (column >= width) break;
                v_store(call->out, call->dtype, first + h * width + column, width - column,
                        sums[h][part] * v_set(factors[h]));
            }
    }
}

static void forward_direct(const forward_call *call, size_t head_begin, size_t head_end, float *scratch) {
    for (size_t query = 0; query < call->queries; query++) {
        size_t count;
        for (size_t head = head_begin; head < head_end; head += count) {
            count = head_end - head < DIRECT_HEADS ? head_end - head : DIRECT_HEADS;
            switch (count) {
            case 1: direct_heads(call, query, head, 1, scratch); break;
            case 2: direct_heads(call, query, head, 2, scratch); break;
            case 3: direct_heads(call, query, head, 3, scratch); break;
            default: direct_heads(call, query, head, 4, scratch);
            }
        }
    }
}

/// Segments with fewer queries than this are not worth packing the keys and values (measured for prefixes of 30 to 1000
/// keys).
#define FEW_QUERIES 4

static void attention_forward(const void *q, const void *k, const void *v, void *out, float *lse, int dtype,
                              size_t q_stride, size_t kv_stride, size_t heads, size_t kv_heads, size_t head_size,
                              float scale, const tspeft_attention_segment *segment, size_t head_begin, size_t head_end,
                              float *scratch) {
    size_t queries = (size_t)segment->query_count, prefix = (size_t)segment->prefix_count;
    forward_call call = {q, k, v, out, lse, dtype, q_stride, kv_stride, heads, heads / kv_heads, head_size,
                         round_up(head_size, LANES), scale, segment, queries, prefix + queries, prefix};
    size_t padded = round_up(call.keys, BLOCK);
    float *keys = line_start(scratch), *values = keys + padded * head_size, *rest = values + padded * call.pitch;
    size_t group_end;
    for (size_t head = head_begin; head < head_end; head = group_end) {
        size_t kv_head = head / call.group;
        group_end = (kv_head + 1) * call.group < head_end ? (kv_head + 1) * call.group : head_end;
        if (queries < FEW_QUERIES) {
            forward_direct(&call, head, group_end, keys);
            continue;
        }
        row_source key_rows = kv_rows(&call, k, kv_head), value_rows = kv_rows(&call, v, kv_head);
        pack_transposed(&key_rows, call.keys, head_size, keys);
        pack_rows(&value_rows, 0, call.keys, head_size, 1, values, call.keys, call.pitch);
        for (size_t h = head; h < group_end; h++) forward_blocks(&call, h, keys, values, rest);
    }
}
