// Attention, forward: softmax over blocks of keys with a running maximum and denominator (Milakov and Gimelshein, arXiv
// 1805.02867; Dao et al., arXiv 2205.14135), so that scores never leave the first-level cache.

/// One call's operands, and what its segment comes to.
typedef struct {
    const tspeft_attention *operands;
    const tspeft_attention_segment *segment;
    size_t group, head_size, pitch, queries, keys, prefix;
} forward_call;

/// The keys' or values' rows of one kv head.
INLINE row_source kv_rows(const forward_call *call, const tspeft_matrix *matrix, size_t kv_head) {
    size_t column = kv_head * call->head_size;
    return (row_source){matrix->data, call->operands->dtype, matrix->stride, call->prefix,
                        (size_t)call->segment->prefix_start * matrix->stride + column,
                        (size_t)call->segment->key_start * matrix->stride + column};
}

/// The element of `matrix` at which a head of a segment's query begins.
INLINE size_t query_place(const forward_call *call, const tspeft_matrix *matrix, size_t query, size_t head) {
    return ((size_t)call->segment->query_start + query) * matrix->stride + head * call->head_size;
}

/// The keys that each query of a block sees: [begin, end).
typedef struct {
    size_t begin[BLOCK], end[BLOCK];
} seen_keys;

/// What the queries at places [first, first + count) see of `keys` keys; rows up to `padded` as the last one.
INLINE void find_seen_keys(const tspeft_attention_rule *rule, size_t first, size_t count, size_t padded, size_t keys,
                           seen_keys *seen) {
    for (size_t i = 0; i < padded; i++) {
        size_t place = first + (i < count ? i : count - 1);
        seen->begin[i] = keys_begin(rule, place);
        seen->end[i] = keys_end(rule, place, keys);
    }
}

/// The lanes j, j + 1, ... of which [begin, end) are shown.
INLINE vmask shown_lanes(size_t j, size_t begin, size_t end) {
    vmask below_end = v_first(end > j ? end - j : 0);
    return begin > j ? v_without(below_end, v_first(begin - j)) : below_end;
}

INLINE vf v_tanh(vf x) { return v_set(1) - v_set(2) / (v_set(1) + v_exp(x + x)); }

/// Scores, 6 rows of `vectors` vectors, become softcap tanh(score / softcap).
static void cap_scores(float *scores, size_t vectors, float softcap) {
    for (size_t i = 0; i < TILE_ROWS; i++)
        for (size_t j = 0; j < vectors * LANES; j += LANES) {
            vf x = v_load(scores, TSPEFT_F32, i * BLOCK + j, LANES);
            v_store(scores, TSPEFT_F32, i * BLOCK + j, LANES, v_set(softcap) * v_tanh(x * v_set(1 / softcap)));
        }
}

/// The numbers of the 6 rows of a tile of a segment's queries: row i is that of query `query` + i, or of the last one.
typedef struct {
    const tspeft_attention *operands;
    size_t head, query, queries, first_row;
} tile_rows;

INLINE size_t tile_query(const tile_rows *rows, size_t i) {
    return rows->query + i < rows->queries ? rows->query + i : rows->queries - 1;
}

/// Adds the bias of the keys [key, keys) to 6 rows of scores of the keys from `key` on.
static void add_bias(float *scores, size_t vectors, const tile_rows *rows, size_t key, size_t keys) {
    const tspeft_attention_rule *rule = &rows->operands->rule;
    for (size_t i = 0; i < TILE_ROWS; i++) {
        const float *bias = rule->bias + tile_query(rows, i) * rule->bias_stride + key;
        for (size_t j = 0; j < vectors * LANES && key + j < keys; j += LANES) {
            vf sum = v_load(scores, TSPEFT_F32, i * BLOCK + j, LANES) + v_load(bias, TSPEFT_F32, j, keys - key - j);
            v_store(scores, TSPEFT_F32, i * BLOCK + j, LANES, sum);
        }
    }
}

/// Drops some of 6 rows of probabilities of the keys from `key` on, or of their gradients.
static void drop_probabilities(float *values, size_t vectors, const tile_rows *rows, size_t key) {
    const tspeft_attention *operands = rows->operands;
    uint64_t threshold = dropout_threshold(operands->rule.dropout_rate);
    vf scale = v_set(dropout_scale(operands->rule.dropout_rate));
    for (size_t i = 0; i < TILE_ROWS; i++) {
        dropout_block_key block = probability_block(operands, rows->first_row + tile_query(rows, i), rows->head);
        for (size_t j = 0; j < vectors; j++) {
            vi bits = v_add_int(v_indices(), v_int((uint32_t)(key + j * LANES) + block.first));
            v_dropout_mix(&bits, 1);
            bits = v_xor(bits, v_int(block.second));
            v_dropout_mix(&bits, 1);
            vf x = v_load(values, TSPEFT_F32, i * BLOCK + j * LANES, LANES) * scale;
            x = v_select(v_not_below(bits, v_int((uint32_t)threshold)), x, v_zero());
            v_store(values, TSPEFT_F32, i * BLOCK + j * LANES, LANES, x);
        }
    }
}

/// The softmax of 6 rows of scores of the keys from `key` on, into probabilities in place, of which row i sees
/// [begins[i], ends[i]) (maybe none of them); the running maxima and denominators are brought up to date, and the sums
/// so far rescaled.
INLINE void online_softmax(float *scores, size_t vectors, size_t key, const size_t *begins, const size_t *ends,
                           float *maxima, float *denominators, float *sums, size_t pitch) {
    for (size_t i = 0; i < TILE_ROWS; i++) {
        float *row = scores + i * BLOCK;
        size_t begin = begins[i] > key ? begins[i] - key : 0, end = ends[i] > key ? ends[i] - key : 0;
        vf most = v_set(maxima[i]);
        for (size_t j = 0; j < vectors; j++) {
            vf x = v_load(row, TSPEFT_F32, j * LANES, LANES);
            if (end < (j + 1) * LANES || begin > j * LANES) {
                x = v_select(shown_lanes(j * LANES, begin, end), x, v_set(-__builtin_inff()));
                v_store(row, TSPEFT_F32, j * LANES, LANES, x);
            }
            most = v_max(x, most);
        }
        float largest = v_largest(most);
        // A row that has seen no key yet has nothing but -inf.
        vf shift = v_set(largest == -__builtin_inff() ? 0 : largest), total = v_zero();
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
    const tspeft_attention *operands = call->operands;
    const tspeft_attention_rule *rule = &operands->rule;
    size_t width = call->head_size, pitch = call->pitch;
    float *q_block = scratch, *sums = q_block + BLOCK * pitch, *scores = sums + BLOCK * pitch;
    float *maxima = scores + BLOCK * BLOCK, *denominators = maxima + BLOCK;
    const tspeft_matrix *q = &operands->q, *out = &operands->out;
    row_source q_rows = {q->data, operands->dtype, q->stride, 0, 0, query_place(call, q, 0, head)};
    for (size_t start = 0; start < call->queries; start += BLOCK) {
        size_t count = call->queries - start < BLOCK ? call->queries - start : BLOCK;
        size_t padded = round_up(count, TILE_ROWS);
        seen_keys seen;
        find_seen_keys(rule, call->prefix + start, count, padded, call->keys, &seen);
        pack_rows(&q_rows, start, count, width, rule->scale, q_block, padded, pitch);
        for (size_t i = 0; i < padded * pitch; i += LANES) v_store(sums, TSPEFT_F32, i, LANES, v_zero());
        for (size_t i = 0; i < padded; i++) {
            maxima[i] = rule->sinks ? rule->sinks[head] : -__builtin_inff();
            denominators[i] = rule->sinks ? 1 : 0;
        }
        for (size_t key = seen.begin[0] / BLOCK * BLOCK; key < seen.end[count - 1]; key += BLOCK)
            for (size_t row = 0; row < padded; row += TILE_ROWS) {
                // The group's last query sees furthest up, its first furthest down.
                size_t end = seen.end[row + TILE_ROWS - 1];
                if (end <= key || seen.begin[row] >= key + BLOCK) continue;
                size_t depth = end - key < BLOCK ? end - key : BLOCK, vectors = (depth + LANES - 1) / LANES;
                float *group_sums = sums + row * pitch;
                multiply(vectors, width, q_block + row * pitch, pitch, 1, keys + key * width, BLOCK, scores, BLOCK, 0);
                if (rule->softcap != 0) cap_scores(scores, vectors, rule->softcap);
                tile_rows rows = {operands, head, start + row, call->queries, (size_t)call->segment->query_start};
                if (rule->bias) add_bias(scores, vectors, &rows, key, call->keys);
                online_softmax(scores, vectors, key, seen.begin + row, seen.end + row, maxima + row,
                               denominators + row, group_sums, pitch);
                if (rule->dropout_rate != 0) drop_probabilities(scores, vectors, &rows, key);
                multiply(pitch / LANES, depth, scores, BLOCK, 1, values + key * pitch, pitch, group_sums, pitch, 1);
            }
        for (size_t i = 0; i < count; i++) {
            unpack_rows(sums + i * pitch, pitch, 1, width, 1 / denominators[i], out->data, operands->dtype,
                        query_place(call, out, start + i, head), 0);
            if (operands->lse)
                operands->lse[((size_t)call->segment->query_start + start + i) * operands->heads + head] =
                    maxima[i] + logf(denominators[i]);
        }
    }
}

/// Heads that share a pass over keys and values where there are few queries.
#define DIRECT_HEADS 4

/// The softmax of one head's `count` scores, in place and not yet divided; gives the factor that divides.
INLINE float direct_softmax(const tspeft_attention_rule *rule, size_t head, float *scores, size_t count, float *lse) {
    if (rule->softcap != 0)
        for (size_t i = 0; i < count; i += LANES) {
            vf x = v_load(scores, TSPEFT_F32, i, count - i) * v_set(1 / rule->softcap);
            v_store(scores, TSPEFT_F32, i, count - i, v_set(rule->softcap) * v_tanh(x));
        }
    float largest = largest_of(scores, count), sink = rule->sinks ? rule->sinks[head] : -__builtin_inff();
    if (sink > largest) largest = sink;
    vf total = v_zero();
    for (size_t i = 0; i < count; i += LANES) {
        vf p = v_exp(v_load(scores, TSPEFT_F32, i, count - i) - v_set(largest));
        v_store(scores, TSPEFT_F32, i, count - i, p);
        total += v_select(v_first(count - i), p, v_zero());
    }
    float denominator = v_sum(total);
    if (rule->sinks) denominator += expf(sink - largest);
    if (lse) *lse = largest + logf(denominator);
    return 1 / denominator;
}

/// `count` query heads from `head` on, of one kv head and one query: dot products straight from keys and values in
/// place, which is as fast as memory is.
INLINE void direct_heads(const forward_call *call, size_t query, size_t head, size_t count, float *scratch) {
    const tspeft_attention *operands = call->operands;
    const tspeft_matrix *k = &operands->k, *v = &operands->v;
    int dtype = operands->dtype;
    size_t width = call->head_size, pitch = call->pitch, place = call->prefix + query;
    size_t begin = keys_begin(&operands->rule, place), visible = keys_end(&operands->rule, place, call->keys) - begin;
    size_t scores_pitch = round_up(visible, LANES);
    float *scores = scratch, *q_rows = scratch + DIRECT_HEADS * scores_pitch;
    row_source keys = kv_rows(call, k, head / call->group), values = kv_rows(call, v, head / call->group);
    row_source q = {operands->q.data, dtype, width, 0, 0, query_place(call, &operands->q, query, head)};
    pack_rows(&q, 0, count, width, operands->rule.scale, q_rows, count, pitch);
    for (size_t key = 0; key < visible; key++) {
        size_t offset = row_offset(&keys, begin + key);
        vf sums[DIRECT_HEADS];
        for (size_t h = 0; h < count; h++) sums[h] = v_zero();
        for (size_t j = 0; j < width; j += LANES) {
            vf x = v_load(k->data, dtype, offset + j, width - j);
            for (size_t h = 0; h < count; h++)
                sums[h] = v_fma(x, v_load(q_rows, TSPEFT_F32, h * pitch + j, LANES), sums[h]);
        }
        for (size_t h = 0; h < count; h++) scores[h * scores_pitch + key] = v_sum(sums[h]);
    }
    float factors[DIRECT_HEADS];
    for (size_t h = 0; h < count; h++) {
        size_t row = (size_t)call->segment->query_start + query;
        float *lse = operands->lse ? operands->lse + row * operands->heads + head + h : NULL;
        factors[h] = direct_softmax(&operands->rule, head + h, scores + h * scores_pitch, visible, lse);
    }
    size_t first = query_place(call, &operands->out, query, head);
    for (size_t j = 0; j < width; j += 4 * LANES) {
        vf sums[DIRECT_HEADS][4];
        for (size_t h = 0; h < count; h++)
            for (size_t part = 0; part < 4; part++) sums[h][part] = v_zero();
        for (size_t key = 0; key < visible; key++) {
            size_t offset = row_offset(&values, begin + key);
            for (size_t part = 0; part < 4; part++) {
                size_t column = j + part * LANES;
                if (column >= width) break;
                vf x = v_load(v->data, dtype, offset + column, width - column);
                for (size_t h = 0; h < count; h++)
                    sums[h][part] = v_fma(v_set(scores[h * scores_pitch + key]), x, sums[h][part]);
            }
        }
        for (size_t h = 0; h < count; h++)
            for (size_t part = 0; part < 4; part++) {
                size_t column = j + part * LANES;
                if (column >= width) break;
                v_store(operands->out.data, dtype, first + h * width + column, width - column,
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

static void attention_forward(const tspeft_attention *operands, const tspeft_attention_segment *segment,
                              size_t head_begin, size_t head_end, float *scratch) {
    size_t queries = (size_t)segment->query_count, prefix = (size_t)segment->prefix_count;
    size_t head_size = operands->head_size;
    forward_call call = {operands, segment, operands->heads / operands->kv_heads, head_size,
                         round_up(head_size, LANES), queries, prefix + queries, prefix};
    size_t padded = round_up(call.keys, BLOCK);
    float *keys = line_start(scratch), *values = keys + padded * head_size, *rest = values + padded * call.pitch;
    size_t group_end;
    for (size_t head = head_begin; head < head_end; head = group_end) {
        size_t kv_head = head / call.group;
        group_end = (kv_head + 1) * call.group < head_end ? (kv_head + 1) * call.group : head_end;
        if (queries < FEW_QUERIES && !operands->rule.bias && operands->rule.dropout_rate == 0) {
            forward_direct(&call, head, group_end, keys);
            continue;
        }
        row_source key_rows = kv_rows(&call, &operands->k, kv_head), value_rows = kv_rows(&call, &operands->v, kv_head);
        pack_transposed(&key_rows, call.keys, head_size, keys);
        pack_rows(&value_rows, 0, call.keys, head_size, 1, values, call.keys, call.pitch);
        for (size_t h = head; h < group_end; h++) forward_blocks(&call, h, keys, values, rest);
    }
}
