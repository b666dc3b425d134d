#ifndef TSPEFT_FILES_H
#define TSPEFT_FILES_H
#include <stddef.h>
#include <stdint.h>

// Linux calls that Swift's Glibc module does not import.

enum { TSPEFT_RENAME_REPLACE = 0, TSPEFT_RENAME_NO_REPLACE = 1, TSPEFT_RENAME_EXCHANGE = 2 };

/// Renames `source` to `target` in one of the three ways. 0, or -1 with errno set (EINVAL, ENOSYS: not on this file
/// system).
int tspeft_rename(const char *source, const char *target, int mode);

/// Copies up to `count` bytes from `*position` of one file (advanced) to `*target` of another (advanced), or to its
/// current position where `target` is null, inside the kernel. The number copied, or -1 with errno set.
int64_t tspeft_copy_range(int source, int64_t *position, int destination, int64_t *target, size_t count);

/// Makes `destination` share all blocks of `source`, on a file system that can (FICLONE). 0, or -1 with errno set.
int tspeft_clone(int source, int destination);

/// Reserves disk blocks for the first `count` bytes and makes the file that long. 0, or -1 with errno set.
int tspeft_reserve(int file, int64_t count);

/// Has the kernel begin to write a range of dirty pages to the disk, without waiting for it. What fails shows in fsync.
void tspeft_begin_writing(int file, int64_t offset, int64_t count);

/// A file that exists in memory only, as long as a descriptor or mapping of it does. The descriptor, or -1 with errno
/// set.
int tspeft_memory_file(const char *name);
#endif
