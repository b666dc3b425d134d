// Tests of CKernels in plain C, for processors that Swift's tests do not run on: .ci/aarch64 compiles this for aarch64 and
// for the machine itself, runs both, and compares their output. What rounds differently between processors (products may
// be fused with sums) is held against its definition in double; what must be the same bits everywhere is printed as a
// hash. The exit status is 1 where anything fails.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CKernels.h"

static int failures = 0;

__attribute__((format(printf, 2, 3))) static void check(int holds, const char *what, ...) {
    if (holds) return;
    va_list arguments;
    va_start(arguments, what);
    fputs("failed: ", stderr);
    vfprintf(stderr, what, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    failures++;
}

// Numbers

static uint64_t state = 1;

static uint32_t random_bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/// Uniform in [-1, 1).
static float random_float(void) { return (float)(int32_t)random_bits() * 0x1p-31f; }

static float *random_floats(size_t count) {
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = random_float();
    return x;
}

static float *zeros(size_t count) { return calloc(count, sizeof(float)); }

/// Random numbers that BF16 holds, as floats and as BF16.
static float *random_pairs(size_t count, uint16_t *stored) {
    float *x = random_floats(count);
    tspeft_convert(x, TSPEFT_F32, stored, TSPEFT_BF16, count);
    tspeft_convert(stored, TSPEFT_BF16, x, TSPEFT_F32, count);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// Reports

/// The largest |found - expected| / max(1, |expected|).
static double distance(const float *found, const double *expected, size_t count) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs(found[i] - expected[i]) / fmax(1, fabs(expected[i]));
        if (!(d <= largest)) largest = d;
    }
    return largest;
}

static void close_to(const char *name, const float *found, const double *expected, size_t count, double tolerance) {
    double d = distance(found, expected, count);
    check(d <= tolerance, "%s: %g from its definition, more than %g", name, d, tolerance);
    fprintf(stderr, "%s: at most %.1e from its definition\n", name, d);
}

/// FNV-1a.
static uint64_t hash(uint64_t seed, const void *src, size_t count) {
    const uint8_t *bytes = src;
    for (size_t i = 0; i < count; i++) seed = (seed ^ bytes[i]) * 0x100000001B3u;
    return seed;
}

static const uint64_t hash_start = 0xCBF29CE484222325u;

static void print_hash(const char *name, uint64_t value) { printf("%s %016llx\n", name, (unsigned long long)value); }

// Conversions

static void test_conversions(void) {
    static const struct {
        uint32_t f32;
        uint16_t bf16, f16;
    } cases[] = {
        {0x3F800000, 0x3F80, 0x3C00},  // 1
        {0x80000000, 0x8000, 0x8000},  // -0
        {0x3F808000, 0x3F80, 0x3C04},  // a tie of bf16, to even: down
        {0x3F818000, 0x3F82, 0x3C0C},  // up
        {0x3F801000, 0x3F80, 0x3C00},  // a tie of f16, to even: down
        {0x3F803000, 0x3F80, 0x3C02},  // up
        {0x3F801001, 0x3F80, 0x3C01},  // just above a tie
        {0x477FE000, 0x4780, 0x7BFF},  // 65504, f16's largest
        {0x477FF000, 0x4780, 0x7C00},  // the first that f16 rounds to infinity
        {0x33800000, 0x3380, 0x0001},  // f16's smallest denormal
        {0x33000000, 0x3300, 0x0000},  // half of it, a tie, to even
        {0x33C00000, 0x33C0, 0x0002},  // one and a half
        {0x387FC000, 0x3880, 0x03FF},  // f16's largest denormal
        {0x00010000, 0x0001, 0x0000},  // bf16's smallest denormal
        {0x00018000, 0x0002, 0x0000},
        {0x7F7FFFFF, 0x7F80, 0x7C00},  // float's largest
        {0x7F800000, 0x7F80, 0x7C00},
        {0xFF800000, 0xFF80, 0xFC00},
        {0x7F800001, 0x7FC0, 0x7E00},  // NaN with a payload that is cut off
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x = float_of(cases[i].f32);
        uint16_t bf16, f16;
        tspeft_convert(&x, TSPEFT_F32, &bf16, TSPEFT_BF16, 1);
        tspeft_convert(&x, TSPEFT_F32, &f16, TSPEFT_F16, 1);
        check(bf16 == cases[i].bf16, "%08x becomes %04x in bf16", cases[i].f32, bf16);
        check(f16 == cases[i].f16, "%08x becomes %04x in f16", cases[i].f32, f16);
    }
    uint64_t all = hash_start;
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
        uint16_t stored = (uint16_t)bits, back;
        float wide, decoded;
        for (int dtype = TSPEFT_BF16; dtype <= TSPEFT_F16; dtype++) {
            tspeft_convert(&stored, dtype, &wide, TSPEFT_F32, 1);
            tspeft_convert(&wide, TSPEFT_F32, &back, dtype, 1);
            (dtype == TSPEFT_BF16 ? tspeft_decode_bf16 : tspeft_decode_f16)(&stored, &decoded, 1);
            if (isnan(wide)) {
                check(isnan(decoded) && ((dtype == TSPEFT_BF16 ? 0x7F80 : 0x7C00) < (back & 0x7FFF)), "NaN %04x", bits);
                continue;
            }
            check(back == stored, "%04x of type %d comes back as %04x", bits, dtype, back);
            check(bits_of(decoded) == bits_of(wide), "%04x of type %d has two values", bits, dtype);
            all = hash(all, &wide, sizeof wide);
        }
    }
    for (int i = 0; i < 100000; i++) {
        float x = float_of(random_bits());
        uint16_t narrow[2];
        if (isnan(x)) continue;
        tspeft_convert(&x, TSPEFT_F32, narrow, TSPEFT_BF16, 1);
        tspeft_convert(&x, TSPEFT_F32, narrow + 1, TSPEFT_F16, 1);
        all = hash(all, narrow, sizeof narrow);
    }
    print_hash("conversions", all);
}

// Rows

static void test_norms(void) {
    enum { ROWS = 5, WIDTH = 67, COUNT = ROWS * WIDTH };
    const float eps = 1e-5f;
    float *x = random_floats(COUNT), *weight = random_floats(WIDTH), *dout = random_floats(COUNT);
    float out[COUNT], inv_rms[ROWS], dx[COUNT], norms[ROWS];
    double expected[COUNT], gradient[COUNT], lengths[ROWS];
    for (int i = 0; i < COUNT; i++) dx[i] = 0.5f;
    tspeft_rmsnorm_forward(x, TSPEFT_F32, weight, eps, out, TSPEFT_F32, inv_rms, ROWS, WIDTH);
    tspeft_rmsnorm_backward(x, TSPEFT_F32, weight, inv_rms, dout, TSPEFT_F32, dx, ROWS, WIDTH);
    tspeft_row_norms(x, TSPEFT_F32, norms, ROWS, WIDTH);
    for (int i = 0; i < ROWS; i++) {
        double squares = 0, dot = 0;
        for (int j = i * WIDTH; j < (i + 1) * WIDTH; j++) {
            squares += (double)x[j] * x[j];
            dot += (double)weight[j - i * WIDTH] * dout[j] * x[j];
        }
        double s = 1 / sqrt(squares / WIDTH + eps);
        lengths[i] = sqrt(squares);
        for (int j = i * WIDTH; j < (i + 1) * WIDTH; j++) {
            double w = weight[j - i * WIDTH];
            expected[j] = w * x[j] * s;
            gradient[j] = 0.5 + s * w * dout[j] - x[j] * s * s * s / WIDTH * dot;
        }
    }
    close_to("rmsnorm", out, expected, COUNT, 1e-6);
    close_to("rmsnorm's gradient", dx, gradient, COUNT, 2e-6);
    close_to("row norms", norms, lengths, ROWS, 1e-6);
    free(x), free(weight), free(dout);
}

static void test_rope(void) {
    enum { ROWS = 3, HEADS = 2, SIZE = 10, HALF = SIZE / 2, STRIDE = 23, COUNT = ROWS * STRIDE, POSITIONS = 9 };
    const int32_t positions[ROWS] = {0, 8, 3};
    float cosine[POSITIONS * HALF], sine[POSITIONS * HALF], turned[COUNT], back[COUNT];
    double expected[COUNT], original[COUNT];
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < HALF; i++) {
            cosine[p * HALF + i] = (float)cos(p * pow(100, -i / (double)HALF));
            sine[p * HALF + i] = (float)sin(p * pow(100, -i / (double)HALF));
        }
    float *x = random_floats(COUNT);
    memcpy(turned, x, sizeof turned);
    tspeft_rotation rotation = {positions, cosine, sine, 1, HEADS, SIZE, SIZE, 0};
    tspeft_rope((tspeft_matrix){x, STRIDE}, (tspeft_matrix){turned, STRIDE}, TSPEFT_F32, &rotation, ROWS);
    memcpy(back, turned, sizeof back);
    rotation.direction = -1;
    tspeft_rope((tspeft_matrix){back, STRIDE}, (tspeft_matrix){back, STRIDE}, TSPEFT_F32, &rotation, ROWS);
    for (int i = 0; i < COUNT; i++) expected[i] = original[i] = x[i];
    for (int row = 0; row < ROWS; row++)
        for (int head = 0; head < HEADS; head++)
            for (int i = 0; i < HALF; i++) {
                int a = row * STRIDE + head * SIZE + i, b = a + HALF;
                double angle = positions[row] * pow(100, -i / (double)HALF);
                expected[a] = x[a] * cos(angle) - x[b] * sin(angle);
                expected[b] = x[b] * cos(angle) + x[a] * sin(angle);
            }
    close_to("rope", turned, expected, COUNT, 1e-6);
    close_to("rope and back", back, original, COUNT, 1e-6);
    free(x);
}

// Elementwise

static void test_elementwise(void) {
    enum { COUNT = 101 };
    float *gate = random_floats(COUNT), *up = random_floats(COUNT), *dout = random_floats(COUNT);
    float out[COUNT], dgate[COUNT], dup[COUNT];
    double expected[COUNT], gate_gradient[COUNT], up_gradient[COUNT];
    for (int i = 0; i < COUNT; i++) {
        double g = gate[i] *= 20, s = 1 / (1 + exp(-g));
        expected[i] = g * s * up[i];
        gate_gradient[i] = dout[i] * (double)up[i] * s * (1 + g * (1 - s));
        up_gradient[i] = dout[i] * g * s;
    }
    tspeft_silu_mul_forward(gate, up, out, TSPEFT_F32, COUNT);
    tspeft_silu_mul_backward(gate, up, dout, dgate, dup, TSPEFT_F32, COUNT);
    close_to("silu", out, expected, COUNT, 1e-6);
    close_to("silu's gradient", dgate, gate_gradient, COUNT, 3e-6);
    close_to("its factor's gradient", dup, up_gradient, COUNT, 1e-6);

    for (int i = 0; i < COUNT; i++) {
        double g = gate[i], root = sqrt(2 / acos(-1)), t = tanh(root * (g + 0.044715 * g * g * g));
        double slope = (1 + t) / 2 + g / 2 * (1 - t * t) * root * (1 + 3 * 0.044715 * g * g);
        expected[i] = g / 2 * (1 + t) * up[i];
        gate_gradient[i] = dout[i] * (double)up[i] * slope;
    }
    tspeft_gelu_mul_forward(gate, up, out, TSPEFT_F32, COUNT);
    tspeft_gelu_mul_backward(gate, up, dout, dgate, dup, TSPEFT_F32, COUNT);
    close_to("gelu by tanh", out, expected, COUNT, 2e-6);
    close_to("its gradient", dgate, gate_gradient, COUNT, 3e-6);

    for (int i = 0; i < COUNT; i++) out[i] = gate[i], expected[i] = (double)gate[i] + up[i];
    tspeft_add(out, TSPEFT_F32, up, TSPEFT_F32, COUNT);
    close_to("sums", out, expected, COUNT, 1e-6);
    check(tspeft_first_nonfinite(out, COUNT) == -1, "a number passes for no number");
    out[77] = float_of(0x7FC00001), out[90] = INFINITY;
    check(tspeft_first_nonfinite(out, COUNT) == 77, "a NaN is not found");

    for (int i = 0; i < COUNT; i++) expected[i] = tanh(gate[i]);
    tspeft_activate(TSPEFT_TANH, gate, out, COUNT);
    close_to("tanh", out, expected, COUNT, 1e-6);
    for (int i = 0; i < COUNT; i++) expected[i] = gate[i] * 0.5 * (1 + erf(gate[i] / sqrt(2)));
    tspeft_activate(TSPEFT_GELU, gate, out, COUNT);
    close_to("gelu", out, expected, COUNT, 1e-6);
    free(gate), free(up), free(dout);
}

static void test_dropout(void) {
    enum { COUNT = 4099 };
    static float x[COUNT], whole[COUNT], parts[COUNT];
    const uint64_t key = 0x0123456789ABCDEF, first = 0xFFFFFF00;  // crosses 2^32
    for (int i = 0; i < COUNT; i++) x[i] = 1;
    tspeft_dropout(x, whole, TSPEFT_F32, COUNT, first, key, 0.25f);
    tspeft_dropout(x, parts, TSPEFT_F32, 1000, first, key, 0.25f);
    tspeft_dropout(x + 1000, parts + 1000, TSPEFT_F32, COUNT - 1000, first + 1000, key, 0.25f);
    check(memcmp(whole, parts, sizeof whole) == 0, "dropout in parts differs from the whole");
    int dropped = 0;
    for (int i = 0; i < COUNT; i++) {
        dropped += whole[i] == 0;
        check(whole[i] == 0 || whole[i] == (float)(1 / 0.75), "dropout makes %g", whole[i]);
    }
    check(abs(dropped - COUNT / 4) < 140, "dropout drops %d of %d", dropped, COUNT);  // five standard deviations
    // A run that is resumed elsewhere, or by another version, draws what it would have drawn.
    const uint64_t mask = hash(hash_start, whole, sizeof whole);
    check(mask == 0x50E3C9AABE51C303u, "dropout's mask is another than it was");
    print_hash("dropout", mask);
}

static void test_adamw(void) {
    enum { COUNT = 53 };
    float *p = random_floats(COUNT), *g = random_floats(COUNT), m[COUNT] = {0}, v[COUNT] = {0};
    double expected[COUNT], ms[COUNT] = {0}, vs[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) expected[i] = p[i];
    for (int step = 1; step <= 3; step++) {
        const double c1 = 1 - pow(0.9, step), c2 = 1 - pow(0.999, step);
        const tspeft_adamw_step numbers = {0.5f, 1e-2f, 0.9, 0.999, 1e-8f, 0.1f, (float)c1, (float)c2};
        tspeft_adamw(p, g, m, v, COUNT, &numbers);
        for (int i = 0; i < COUNT; i++) {
            const double gradient = 0.5 * g[i];
            ms[i] = 0.9 * ms[i] + 0.1 * gradient, vs[i] = 0.999 * vs[i] + 0.001 * gradient * gradient;
            expected[i] = expected[i] * (1 - 1e-3) - 1e-2 * (ms[i] / c1) / (sqrt(vs[i] / c2) + 1e-8);
        }
    }
    close_to("adamw", p, expected, COUNT, 1e-6);
    free(p), free(g);
}

// Losses

static void test_cross_entropy(void) {
    enum { ROWS = 4, WIDTH = 131, COUNT = ROWS * WIDTH };
    const int32_t targets[ROWS] = {3, -1, 130, 0};
    float *logits = random_floats(COUNT), dlogits[COUNT], losses[ROWS];
    double expected[COUNT], expected_losses[ROWS];
    for (int i = 0; i < COUNT; i++) logits[i] = logits[i] * 30 + 100;
    for (int i = 0; i < ROWS; i++) {
        const float *row = logits + i * WIDTH;
        double sum = 0;
        for (int j = 0; j < WIDTH; j++) sum += exp(row[j] - 100.0);
        expected_losses[i] = targets[i] < 0 ? 0 : log(sum) + 100 - row[targets[i]];
        for (int j = 0; j < WIDTH; j++)
            expected[i * WIDTH + j] = targets[i] < 0 ? 0 : (exp(row[j] - 100.0) / sum - (j == targets[i])) * 0.5;
    }
    tspeft_cross_entropy(logits, targets, 0.5f, dlogits, TSPEFT_F32, losses, ROWS, WIDTH);
    close_to("cross entropy", losses, expected_losses, ROWS, 2e-6);
    close_to("its gradient", dlogits, expected, COUNT, 2e-6);
    check(losses[1] == 0, "a row without a target has a loss");
    free(logits);
}

// Attention

enum { ROWS = 23, HEADS = 4, KV_HEADS = 2, SIZE = 7, Q_WIDTH = HEADS * SIZE, KV_WIDTH = KV_HEADS * SIZE };

typedef struct {
    const char *name;
    int64_t prefix, queries;
    size_t before, after, block;
    float softcap;
    int has_sinks, is_bf16;
} attention_case;

static int sees(const attention_case *it, int64_t place, int64_t key) {
    if (place > key && (size_t)(place - key) > it->before) return 0;
    if (key > place && (size_t)(key - place) > it->after) return 0;
    return it->block == 0 || (size_t)place / it->block == (size_t)key / it->block;
}

/// The definition: out, lse and the gradients for dout, which count for a run without prefix.
static void define_attention(const attention_case *it, const float *q, const float *k, const float *v,
                             const float *dout, const float *sinks, double *out, double *lse, double *dq, double *dk,
                             double *dv) {
    const double scale = (float)(1 / sqrt(SIZE));
    const int64_t keys = it->prefix + it->queries;
    for (int head = 0; head < HEADS; head++)
        for (int64_t j = 0; j < it->queries; j++) {
            const int64_t row = it->prefix + j;
            const size_t at = (size_t)row * Q_WIDTH + (size_t)head * SIZE;
            double p[ROWS] = {0}, dp[ROWS] = {0}, slope[ROWS] = {0}, sum = it->has_sinks ? exp(sinks[head]) : 0, mean = 0;
            for (int64_t key = 0; key < keys; key++) {
                if (!sees(it, row, key)) continue;
                const size_t place = (size_t)key * KV_WIDTH + (size_t)(head / 2) * SIZE;
                double s = 0;
                for (size_t i = 0; i < SIZE; i++) s += (double)q[at + i] * k[place + i], dp[key] += (double)dout[at + i] * v[place + i];
                s *= scale, slope[key] = 1;
                if (it->softcap != 0) {
                    const double t = tanh(s / it->softcap);
                    s = it->softcap * t, slope[key] = 1 - t * t;
                }
                p[key] = exp(s), sum += p[key];
            }
            lse[row * HEADS + head] = log(sum);
            for (int64_t key = 0; key < keys; key++) p[key] /= sum, mean += p[key] * dp[key];
            for (int64_t key = 0; key < keys; key++) {
                const size_t place = (size_t)key * KV_WIDTH + (size_t)(head / 2) * SIZE;
                const double ds = p[key] * (dp[key] - mean) * slope[key] * scale;
                for (size_t i = 0; i < SIZE; i++) {
                    out[at + i] += p[key] * v[place + i];
                    dq[at + i] += ds * k[place + i];
                    dk[place + i] += ds * q[at + i];
                    dv[place + i] += p[key] * dout[at + i];
                }
            }
        }
}

/// As `dtype`, for an operand of a call.
static void *stored(const float *x, int dtype, size_t count) {
    void *copy = malloc(count * sizeof(float));
    tspeft_convert(x, TSPEFT_F32, copy, dtype, count);
    return copy;
}

static void close_stored(const char *what, const char *name, const void *found, int dtype, const double *expected,
                         size_t count) {
    float wide[ROWS * Q_WIDTH];
    char text[80];
    tspeft_convert(found, dtype, wide, TSPEFT_F32, count);
    snprintf(text, sizeof text, "attention, %s: %s", name, what);
    close_to(text, wide, expected, count, dtype == TSPEFT_BF16 ? 0.02 : 3e-6);
}

static void test_attention(const attention_case *it) {
    enum { Q = ROWS * Q_WIDTH, KV = ROWS * KV_WIDTH };
    static uint16_t rounded[Q];
    const float sinks[HEADS] = {0.5f, -1, 2, 0};
    const int dtype = it->is_bf16 ? TSPEFT_BF16 : TSPEFT_F32;
    float *q = random_pairs(Q, rounded), *k = random_pairs(KV, rounded), *v = random_pairs(KV, rounded);
    float *dout = random_pairs(Q, rounded), *nothing = zeros(Q), lse[ROWS * HEADS] = {0};
    double out[Q] = {0}, log_sums[ROWS * HEADS] = {0}, dq[Q] = {0}, dk[KV] = {0}, dv[KV] = {0};
    define_attention(it, q, k, v, dout, sinks, out, log_sums, dq, dk, dv);
    const tspeft_attention call = {
        .q = {stored(q, dtype, Q), Q_WIDTH}, .k = {stored(k, dtype, KV), KV_WIDTH},
        .v = {stored(v, dtype, KV), KV_WIDTH}, .out = {stored(nothing, dtype, Q), Q_WIDTH},
        .lse = lse, .dtype = dtype, .heads = HEADS, .kv_heads = KV_HEADS, .head_size = SIZE,
        .rule = {it->before, it->after, it->block, (float)(1 / sqrt(SIZE)), it->softcap, it->has_sinks ? sinks : NULL,
                 NULL, 0, 0, 0},
    };
    const tspeft_attention_segment segment = {it->prefix, it->queries, it->prefix, 0, it->prefix};
    const size_t count = (size_t)it->queries;
    float *scratch = malloc(tspeft_attention_scratch(count, count + (size_t)it->prefix, SIZE) * sizeof *scratch);
    tspeft_attention_forward(&call, &segment, 0, HEADS, scratch);
    close_stored("output", it->name, call.out.data, dtype, out, Q);
    close_to("its log sums", lse, log_sums, ROWS * HEADS, 3e-6);
    if (it->prefix == 0) {
        const tspeft_attention_gradients gradients = {
            {stored(dout, dtype, Q), Q_WIDTH}, {stored(nothing, dtype, Q), Q_WIDTH},
            {stored(nothing, dtype, KV), KV_WIDTH}, {stored(nothing, dtype, KV), KV_WIDTH}, NULL};
        tspeft_attention_backward(&call, &gradients, &segment, 0, KV_HEADS, scratch);
        close_stored("gradient of the queries", it->name, gradients.dq.data, dtype, dq, Q);
        close_stored("gradient of the keys", it->name, gradients.dk.data, dtype, dk, KV);
        close_stored("gradient of the values", it->name, gradients.dv.data, dtype, dv, KV);
        free(gradients.dout.data), free(gradients.dq.data), free(gradients.dk.data), free(gradients.dv.data);
    }
    free(call.q.data), free(call.k.data), free(call.v.data), free(call.out.data), free(scratch);
    free(q), free(k), free(v), free(dout), free(nothing);
}

// Linear algebra and merging

static void test_linear_algebra(void) {
    enum { HEIGHT = 19, WIDTH = 5 };
    float *b = random_floats(HEIGHT * WIDTH), r[WIDTH * WIDTH];
    double scratch[HEIGHT * WIDTH], expected[WIDTH * WIDTH] = {0}, sums[WIDTH * WIDTH] = {0}, squares = 0;
    float found[WIDTH * WIDTH], outer[WIDTH * WIDTH];
    for (int row = 0; row < HEIGHT; row++)
        for (int i = 0; i < WIDTH; i++) {
            squares += (double)b[row * WIDTH + i] * b[row * WIDTH + i];
            for (int j = 0; j < WIDTH; j++) expected[i * WIDTH + j] += (double)b[row * WIDTH + i] * b[row * WIDTH + j];
        }
    tspeft_householder_r(b, HEIGHT, WIDTH, r, scratch);
    tspeft_outer_sums(b, NULL, sums, HEIGHT, WIDTH);
    for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < WIDTH; j++) {
            double product = 0;
            for (int k = 0; k < WIDTH; k++) product += (double)r[k * WIDTH + i] * r[k * WIDTH + j];
            found[i * WIDTH + j] = (float)product, outer[i * WIDTH + j] = (float)sums[i * WIDTH + j];
            check(j >= i || r[i * WIDTH + j] == 0, "R is not triangular");
        }
    close_to("R'R, which is B'B", found, expected, WIDTH * WIDTH, 1e-6);
    close_to("outer sums", outer, expected, WIDTH * WIDTH, 1e-7);
    check(fabs(tspeft_sum_squares(b, HEIGHT * WIDTH) - squares) < 1e-12, "sum of squares");
    free(b);
}

/// Integers, whose sums are exact, so that the result is the same bits however products are fused.
static void test_merging(void) {
    enum { HEIGHT = 9, RANK = 3, WIDTH = 21, COUNT = HEIGHT * WIDTH };
    float source[COUNT], b[HEIGHT * RANK], a[RANK * WIDTH];
    for (int i = 0; i < COUNT; i++) source[i] = (float)(random_bits() % 1000) / 8;
    for (int i = 0; i < HEIGHT * RANK; i++) b[i] = (float)(random_bits() % 7) - 3;
    for (int i = 0; i < RANK * WIDTH; i++) a[i] = (float)(random_bits() % 7) - 3;
    for (int dtype = TSPEFT_F32; dtype <= TSPEFT_F16; dtype++) {
        void *before = stored(source, dtype, COUNT), *after = stored(source, dtype, COUNT);
        float old[COUNT], new[COUNT], largest = 0;
        uint64_t changed = 0;
        tspeft_change change = tspeft_merge_rows(after, before, dtype, b, a, 0.5f, HEIGHT, RANK, WIDTH);
        tspeft_convert(before, dtype, old, TSPEFT_F32, COUNT);
        tspeft_convert(after, dtype, new, TSPEFT_F32, COUNT);
        for (int i = 0; i < COUNT; i++) {
            float update = 0, rounded;
            for (int k = 0; k < RANK; k++) update += b[i / WIDTH * RANK + k] * a[k * WIDTH + i % WIDTH];
            void *narrow = stored((float[]){old[i] + 0.5f * update}, dtype, 1);
            tspeft_convert(narrow, dtype, &rounded, TSPEFT_F32, 1);
            free(narrow);
            check(new[i] == rounded, "merging in type %d: %g instead of %g", dtype, new[i], rounded);
            changed += new[i] != old[i];
            largest = fmaxf(largest, fabsf(new[i] - old[i]));
        }
        check(change.changed == changed && change.largest == largest, "merging in type %d counts wrongly", dtype);
        tspeft_change again = tspeft_changes(old, new, COUNT);
        check(again.changed == changed && again.largest == largest, "changes of type %d are counted wrongly", dtype);
        free(before), free(after);
    }
}

// Stored formats

/// The bits of numbers, every NaN as one.
static uint64_t hash_floats(uint64_t seed, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = isnan(x[i]) ? 0x7FC00000 : bits_of(x[i]);
        seed = hash(seed, &bits, sizeof bits);
    }
    return seed;
}

static void test_blocks(void) {
    static const struct {
        uint32_t number;
        size_t elements, bytes;
        double error;  // most that encoding numbers in [-1, 1) changes one by; 0: not written
    } formats[] = {
        {2, 32, 18, 0.13}, {3, 32, 20, 0.07}, {6, 32, 22, 0.07}, {7, 32, 24, 0.04}, {8, 32, 34, 0.005}, {9, 32, 36, 0},
        {10, 256, 84, 0.5}, {11, 256, 110, 0.3}, {12, 256, 144, 0.15}, {13, 256, 176, 0.08}, {14, 256, 210, 0.05},
        {15, 256, 292, 0}, {16, 256, 66, 0}, {17, 256, 74, 0}, {18, 256, 98, 0}, {19, 256, 50, 0}, {20, 32, 18, 0.2},
        {21, 256, 110, 0}, {22, 256, 82, 0}, {23, 256, 136, 0}, {29, 256, 56, 0}, {34, 256, 54, 0.51},
        {35, 256, 66, 0.51}, {39, 32, 17, 0.4}, {40, 64, 36, 0}, {41, 128, 18, 0}, {42, 64, 18, 0},
    };
    enum { ELEMENTS = 4096 };
    static float decoded[ELEMENTS];
    float *x = random_floats(ELEMENTS);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        const uint32_t number = formats[f].number;
        const size_t blocks = ELEMENTS / formats[f].elements, bytes = blocks * formats[f].bytes;
        tspeft_block_decoder *decode = tspeft_block_decoder_at(0, number);
        tspeft_block_encoder *encode = tspeft_block_encoder_at(0, number);
        check(decode != NULL && (encode != NULL) == (formats[f].error > 0), "format %u has other functions", number);
        if (!decode) continue;
        uint8_t *packed = malloc(bytes);
        for (size_t i = 0; i < bytes; i++) packed[i] = (uint8_t)random_bits();
        decode(packed, decoded, blocks);
        uint64_t all = hash_floats(hash_start, decoded, ELEMENTS);
        if (encode) {
            check(encode(x, packed, blocks) == blocks, "format %u refuses numbers", number);
            decode(packed, decoded, blocks);
            double largest = 0;
            for (int i = 0; i < ELEMENTS; i++) largest = fmax(largest, fabs((double)decoded[i] - x[i]));
            check(largest <= formats[f].error, "format %u changes numbers by up to %g", number, largest);
            all = hash(all, packed, bytes);
        }
        char name[24];
        snprintf(name, sizeof name, "format %u", number);
        print_hash(name, all);
        free(packed);
    }
    check(tspeft_block_decoder_at(0, 4) == NULL, "format 4 exists");
    free(x);
}

static void test_statistics(void) {
    enum { COUNT = 1003 };
    const tspeft_statistics_table *table = tspeft_statistics_at(0);
    float *a = random_floats(COUNT), *b = random_floats(COUNT);
    memcpy(b, a, COUNT / 2 * sizeof *b);
    a[0] = NAN, b[5] = INFINITY, a[700] = 3, b[900] = a[900];
    tspeft_moments moments;
    tspeft_difference difference;
    table->moments_f32(a, COUNT, &moments);
    check(moments.finite == COUNT - 1 && moments.nan == 1 && moments.infinite == 0, "moments count wrongly");
    check(moments.maximum == 3, "the maximum is %g", moments.maximum);
    double sum = 0;
    for (int i = 1; i < COUNT; i++) sum += a[i] - (double)a[1];
    check(fabs(moments.sum - sum) < 1e-9, "the sum is %g instead of %g", moments.sum, sum);
    a[0] = b[0];
    table->difference_f32(a, b, COUNT, &difference);
    uint64_t differing = 0;
    for (int i = 0; i < COUNT; i++) differing += bits_of(a[i]) != bits_of(b[i]);
    check(difference.differing == differing && difference.incomparable == 1, "differences are counted wrongly");
    uint64_t all = hash(hash_start, &moments, sizeof moments);
    all = hash(all, &difference, sizeof difference);
    // In double, whose products are rounded: fused ones would give other bits.
    double wide[2][COUNT];
    for (int i = 0; i < COUNT; i++) wide[0][i] = (double)random_float() / 3, wide[1][i] = (double)random_float() / 7;
    table->moments_f64(wide[0], COUNT, &moments);
    table->difference_f64(wide[0], wide[1], COUNT, &difference);
    check(moments.finite == COUNT && difference.differing == COUNT, "doubles are counted wrongly");
    all = hash(all, &moments, sizeof moments);
    print_hash("statistics", hash(all, &difference, sizeof difference));
    free(a), free(b);
}

// The rest

/// FIPS 180-4's example `abc`, padded to a block.
static void test_sha256(void) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static const uint32_t expected[8] = {0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                                         0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad};
    uint8_t block[65] = {0, 'a', 'b', 'c', 0x80};
    block[64] = 24;  // bits; the block starts at an odd address
    uint32_t words[8];
    memcpy(words, start, sizeof words);
    tspeft_sha256_blocks(words, block + 1, 1);
    check(memcmp(words, expected, sizeof words) == 0, "the digest of abc");
    check(tspeft_has_sha256() == 0, "SHA instructions at the plain level");
}

static void note_thread(void *context, int thread, int threads) { ((int *)context)[thread] = threads; }

static void test_threads(void) {
    int seen[3] = {0};
    tspeft_set_threads(3);
    tspeft_parallel(note_thread, seen, 3);
    check(seen[0] == 3 && seen[1] == 3 && seen[2] == 3, "three threads are not three");
}

static void test_files(void) {
    int from = tspeft_memory_file("from"), to = tspeft_memory_file("to");
    check(from >= 0 && to >= 0 && tspeft_reserve(from, 100000) == 0, "no file in memory");
    FILE *file = fdopen(from, "r+");
    fputs("some text", file);
    fflush(file);
    int64_t position = 5, target = 0;
    char text[5] = {0};
    check(tspeft_copy_range(from, &position, to, &target, 4) == 4 && position == 9 && target == 4, "no range copied");
    FILE *copy = fdopen(to, "r");
    check(fread(text, 1, 4, copy) == 4 && strcmp(text, "text") == 0, "another text: %s", text);
    fclose(file), fclose(copy);
}

static void test_levels(void) {
    static const struct {
        const char *text;
        int level;
    } cases[] = {{"plain", 0}, {"0", 0}, {"avx2", 1}, {"AVX512", 2}, {"2", 2}, {"", 2}, {"3", -1}, {"neon", -1}};
    check(tspeft_cpu_level() == 0, "the level is %d", tspeft_cpu_level());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("TSPEFT_CPU_LEVEL", cases[i].text, 1);
        check(tspeft_asked_level() == cases[i].level, "`%s` is level %d", cases[i].text, tspeft_asked_level());
        check(tspeft_cpu_level() == 0, "`%s` changes the level", cases[i].text);
    }
    check(tspeft_multiplies_bf16() == 0, "bf16 is multiplied at the plain level");
    check(tspeft_kernels_at(0) != NULL && tspeft_kernels_at(3) == NULL, "levels that are not there");
#ifndef __x86_64__
    check(tspeft_kernels_at(1) == NULL && tspeft_kernels_at(2) == NULL, "x86's levels on another processor");
#endif
}

int main(void) {
    static const attention_case cases[] = {
        {"causal", 0, ROWS, SIZE_MAX, 0, 0, 0, 0, 0},   {"a prefix", 6, ROWS - 6, SIZE_MAX, 0, 0, 0, 0, 0},
        {"a window", 0, ROWS, 4, 0, 0, 0, 0, 0},        {"both ways, in blocks", 0, ROWS, SIZE_MAX, SIZE_MAX, 5, 0, 0, 0},
        {"capped", 0, ROWS, SIZE_MAX, 0, 0, 0.5f, 0, 0}, {"with sinks", 0, ROWS, SIZE_MAX, 0, 0, 0, 1, 0},
        {"bf16", 0, ROWS, SIZE_MAX, 0, 0, 0, 0, 1},
    };
    test_levels();
    test_conversions();
    test_norms();
    test_rope();
    test_elementwise();
    test_dropout();
    test_adamw();
    test_cross_entropy();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_attention(cases + i);
    test_linear_algebra();
    test_merging();
    test_blocks();
    test_statistics();
    test_sha256();
    test_threads();
    test_files();
    return failures > 0;
}
