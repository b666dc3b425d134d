#include <math.h>
#include <stdlib.h>

#include "plain.h"

// One head's recurrence, S [key_size, value_size]: S <- decay S; S += k u' with u = share (v - S'k); out = S'q.

void tspeft_delta_step(float *state, const float *q, const float *k, const float *v, float decay, float share,
                       float *u, float *out, size_t key_size, size_t value_size) {
    for (size_t j = 0; j < value_size; j++) u[j] = 0;
    for (size_t i = 0; i < key_size; i++) {
        float *row = state + i * value_size;
        for (size_t j = 0; j < value_size; j++) {
            row[j] *= decay;
            u[j] += k[i] * row[j];
        }
    }
    for (size_t j = 0; j < value_size; j++) u[j] = share * (v[j] - u[j]);
    for (size_t j = 0; j < value_size; j++) out[j] = 0;
    for (size_t i = 0; i < key_size; i++) {
        float *row = state + i * value_size;
        for (size_t j = 0; j < value_size; j++) {
            row[j] += k[i] * u[j];
            out[j] += q[i] * row[j];
        }
    }
}

void tspeft_delta_step_backward(const tspeft_delta_values *values, const float *dout, float *dstate,
                                const tspeft_delta_slopes *slopes, size_t key_size, size_t value_size) {
    const tspeft_delta_values x = *values;
    const tspeft_delta_slopes d = *slopes;
    // du = dS' k and dm = -share du, with dS that of the state after the step.
    for (size_t j = 0; j < value_size; j++) d.dv[j] = 0;
    for (size_t i = 0; i < key_size; i++) {
        const float *after = x.after + i * value_size;
        float *row = dstate + i * value_size;
        float dq = 0, dk = 0;
        for (size_t j = 0; j < value_size; j++) {
            dq += after[j] * dout[j];
            row[j] += x.q[i] * dout[j];
            dk += row[j] * x.u[j];
            d.dv[j] += row[j] * x.k[i];
        }
        d.dq[i] = dq;
        d.dk[i] = dk;
    }
    double dshare = 0, ddecay = 0;
    for (size_t j = 0; j < value_size; j++) {
        if (x.share != 0) dshare += (double)d.dv[j] * x.u[j] / x.share;
        d.dv[j] *= x.share;
    }
    for (size_t i = 0; i < key_size; i++) {
        const float *before = x.before + i * value_size;
        float *row = dstate + i * value_size;
        float dk = 0;
        for (size_t j = 0; j < value_size; j++) {
            row[j] -= x.k[i] * d.dv[j];
            dk -= x.decay * before[j] * d.dv[j];
            ddecay += (double)row[j] * before[j];
            row[j] *= x.decay;
        }
        d.dk[i] += dk;
    }
    *d.dshare = (float)dshare;
    *d.ddecay = (float)ddecay;
}

void tspeft_sigmoid_mul_forward(const void *gate, const void *up, void *out, int dtype, size_t count) {
    for (size_t i = 0; i < count; i++) put(out, dtype, i, get(up, dtype, i) / (1 + expf(-get(gate, dtype, i))));
}

void tspeft_sigmoid_mul_backward(const void *gate, const void *up, const void *dout, void *dgate, void *dup, int dtype,
                                 size_t count) {
    for (size_t i = 0; i < count; i++) {
        float s = 1 / (1 + expf(-get(gate, dtype, i))), d = get(dout, dtype, i);
        put(dgate, dtype, i, d * get(up, dtype, i) * s * (1 - s));
        put(dup, dtype, i, d * s);
    }
}
