#ifndef TSPEFT_MAP_FAULTS_H
#define TSPEFT_MAP_FAULTS_H
#include <stddef.h>

// What happens when a mapped file loses pages while the program reads them: the system sends SIGBUS to the thread that
// touched one. A table that all threads share, kept without locks, tells the handler whose page it was. It is the only
// state kept here: a signal handler has no other way to learn what is mapped.

/// Enters a mapping (`length` bytes from `start`; `path` is copied) into the table. Its slot, or -1 where there is no
/// room: a fault in it then ends the program as the system does by default.
int tspeft_map_register(const void *start, size_t length, const char *path);

/// Takes a mapping out; must come before `munmap`, since its addresses may then belong to another at once. -1 is
/// nothing.
void tspeft_map_unregister(int slot);

/// Installs the SIGBUS handler. From then on a thread that touches a lost page of a mapping in the table stops for ever
/// and `tspeft_map_await_fault` returns; a SIGBUS for any other reason ends the program as before. 0, or -1 with errno
/// set.
int tspeft_map_catch_faults(void);

/// Waits until a thread has stopped; the path of the file, which stays valid as long as the process lives.
const char *tspeft_map_await_fault(void);
#endif
