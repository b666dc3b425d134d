#define _GNU_SOURCE
#include "tspeft_map_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// More files than any checkpoint has shards.
enum { SLOT_COUNT = 4096 };

// `start` of a slot that holds no mapping.
enum { FREE = 0, CLAIMED = 1 };

// `end` and `path` are written while the slot is claimed and read only where `start` is an address.
typedef struct {
    _Atomic uintptr_t start;
    uintptr_t end;
    char *path;
} mapping_slot;

static mapping_slot slots[SLOT_COUNT];
static int fault_pipe[2] = {-1, -1};

int tspeft_map_register(const void *start, size_t length, const char *path) {
    char *copy = strdup(path);
    if (copy == NULL) return -1;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        uintptr_t expected = FREE;
        if (!atomic_compare_exchange_strong(&slots[slot].start, &expected, CLAIMED)) continue;
        // The last page belongs to the mapping as a whole.
        slots[slot].end = ((uintptr_t)start + length + page - 1) / page * page;
        slots[slot].path = copy;
        atomic_store(&slots[slot].start, (uintptr_t)start);
        return slot;
    }
    free(copy);
    return -1;
}

void tspeft_map_unregister(int slot) {
    if (slot < 0) return;
    atomic_store(&slots[slot].start, CLAIMED);
    free(slots[slot].path);
    atomic_store(&slots[slot].start, FREE);
}

// The slot of the mapping that holds an address, or -1. A thread that reads a mapping keeps it alive, so its slot can't
// be taken out meanwhile; others may come and go, which the first test sees.
static int slot_of(uintptr_t address) {
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        const uintptr_t start = atomic_load(&slots[slot].start);
        if (start > CLAIMED && address >= start && address < slots[slot].end) return slot;
    }
    return -1;
}

// Only calls that are safe in a handler: write, pause, sigaction, raise.
static void stop_or_end(int number, siginfo_t *info, void *context) {
    (void)context;
    const int code = errno;
    // A signal that a program sent, not the processor, has no address.
    const int was_sent = info->si_code <= 0;
    const int slot = was_sent ? -1 : slot_of((uintptr_t)info->si_addr);
    if (slot >= 0 && write(fault_pipe[1], &slot, sizeof slot) == sizeof slot) {
        for (;;) pause();
    }
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(number, &action, NULL);
    // The thread touches the page again on return and ends the program; a signal that was sent must be sent again.
    if (was_sent) raise(number);
    errno = code;
}

int tspeft_map_catch_faults(void) {
    if (pipe2(fault_pipe, O_CLOEXEC) != 0) return -1;
    struct sigaction action = {.sa_sigaction = stop_or_end, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL);
}

const char *tspeft_map_await_fault(void) {
    int slot = -1;
    while (read(fault_pipe[0], &slot, sizeof slot) != sizeof slot) {
        if (errno != EINTR) pause();
    }
    return slots[slot].path;
}
