#ifndef TSPEFT_PARALLEL_H
#define TSPEFT_PARALLEL_H

/// Runs `body(context, thread, threads)` once on each of `threads` threads of libgomp's pool, the pool that oneDNN uses
/// too, and returns when all are done. Call it from the thread that calls oneDNN: libgomp keeps one pool a caller.
void tspeft_parallel(void (*body)(void *context, int thread, int threads), void *context, int threads);

/// Threads that libgomp uses where nothing else is said.
int tspeft_available_threads(void);

/// Sets that number, for oneDNN too, and gives what it is now: no more than libgomp will give (OMP_THREAD_LIMIT).
/// oneDNN counts on getting all threads that it asks for, so dynamic adjustment (OMP_DYNAMIC) is turned off.
int tspeft_set_threads(int threads);

/// Whether threads that wait for the next loop sleep at once, or spin for a while first (GOMP_SPINCOUNT, which libgomp reads
/// when it is loaded). libgomp has no call for that, but takes its shorter count, 0 under OMP_WAIT_POLICY=passive, while
/// the pools of a process have more threads than there are processors: for as long as threads are to sleep, one more
/// pool stands by and does nothing. Calls come from one thread at a time; gives 0 where no thread can be made.
int tspeft_let_waiting_threads_sleep(int sleep);

#endif
