#ifndef TSPEFT_FILES_H
#define TSPEFT_FILES_H
#include <stddef.h>
#include <stdint.h>

// Linux calls that Swift's Glibc module does not import.

enum { TSPEFT_RENAME_REPLACE = 0, TSPEFT_RENAME_NO_REPLACE = 1, TSPEFT_RENAME_EXCHANGE = 2 };

/// Renames `source` to `target` in one of the three ways. 0, or -1 with errno set (EINVAL, ENOSYS: not on this file system).
int tspeft_rename(const char *source, const char *target, int mode);

/// Copies up to `count` bytes from `*position` of one file (advanced) to the current position of another, inside the
/// kernel. The number copied, or -1 with errno set.
int64_t tspeft_copy_range(int source, int64_t *position, int destination, size_t count);
#endif
