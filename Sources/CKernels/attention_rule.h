#ifndef TSPEFT_ATTENTION_RULE_H
#define TSPEFT_ATTENTION_RULE_H
// Who sees whom, by the places of queries and keys in their run. Both ends of what a query sees rise with its place, and
// so do both ends of what a key is seen by.
#include "dropout_stream.h"
#include "include/tspeft_compute.h"

static inline size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// The first place that is within `reach` below `place`, and in its block.
static inline size_t range_begin(size_t place, size_t reach, size_t block) {
    size_t begin = place > reach ? place - reach : 0;
    return block ? larger(begin, place / block * block) : begin;
}

/// The end of the places below `count` that are within `reach` above `place`, and in its block.
static inline size_t range_end(size_t place, size_t reach, size_t block, size_t count) {
    size_t end = reach < count - place ? smaller(count, place + reach + 1) : count;
    return block ? smaller(end, (place / block + 1) * block) : end;
}

/// The keys, of `count`, that the query at `place` sees: from here ...
static inline size_t keys_begin(const tspeft_attention_rule *rule, size_t place) {
    return range_begin(place, rule->before, rule->block);
}

/// ... to before here; never none, since a query sees its own place.
static inline size_t keys_end(const tspeft_attention_rule *rule, size_t place, size_t count) {
    return range_end(place, rule->after, rule->block, count);
}

/// The queries, at places below `count`, that see the key at `place`: from here ...
static inline size_t queries_begin(const tspeft_attention_rule *rule, size_t place) {
    return range_begin(place, rule->after, rule->block);
}

/// ... to before here.
static inline size_t queries_end(const tspeft_attention_rule *rule, size_t place, size_t count) {
    return range_end(place, rule->before, rule->block, count);
}

/// The key of the dropout of a row's probabilities in a head.
static inline dropout_block_key probability_block(const tspeft_attention *call, size_t row, size_t head) {
    return dropout_block(call->rule.dropout_key, (uint32_t)(row * call->heads + head));
}

#endif
