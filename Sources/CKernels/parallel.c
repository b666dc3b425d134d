#include "tspeft_parallel.h"

#include <pthread.h>

// libgomp's entry points; Swift's clang ships no omp.h.
extern void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int);
extern void omp_set_dynamic(int);
extern int omp_get_thread_limit(void);
extern int omp_get_num_procs(void);

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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_t crowd;
static int crowded;

static void nothing(void *argument) { (void)argument; }

// Has a pool of its own, of one thread more than there are processors, all of which sleep.
static void *crowd_out(void *argument) {
    (void)argument;
    omp_set_dynamic(0);
    GOMP_parallel(nothing, 0, (unsigned)omp_get_num_procs() + 1, 0);
    pthread_mutex_lock(&lock);
    while (crowded) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return 0;
}

int tspeft_let_waiting_threads_sleep(int sleep) {
    if (sleep == crowded) return 1;
    pthread_mutex_lock(&lock);
    crowded = sleep;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (!sleep) return !pthread_join(crowd, 0);
    int failed = pthread_create(&crowd, 0, crowd_out, 0);
    if (failed) crowded = 0;
    return !failed;
}
