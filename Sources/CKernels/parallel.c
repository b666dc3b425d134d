#include "tspeft_parallel.h"

// libgomp's entry points; Swift's clang ships no omp.h.
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int);
extern void omp_set_dynamic(int);
extern int omp_get_thread_limit(void);

struct region {
    void (*body)(void *, int, int);
    void *context;
};

static void enter(void *argument) {
    struct region *region = argument;
    region->body(region->context, omp_get_thread_num(), omp_get_num_threads());
}

void tspeft_parallel(void (*body)(void *, int, int), void *context, int threads) {
    if (threads <= 1) {
        body(context, 0, 1);
        return;
    }
    struct region region = {body, context};
    GOMP_parallel(enter, &region, (unsigned)threads, 0);
}

int tspeft_available_threads(void) { return omp_get_max_threads(); }

int tspeft_set_threads(int threads) {
    int limit = omp_get_thread_limit();
    int count = threads < 1 ? 1 : threads < limit ? threads : limit;
    omp_set_dynamic(0);
    omp_set_num_threads(count);
    return count;
}
