#define _GNU_SOURCE
#include "tspeft_files.h"

#include <stdio.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int tspeft_rename(const char *source, const char *target, int mode) {
    static const unsigned flags[] = {0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    return renameat2(AT_FDCWD, source, AT_FDCWD, target, flags[mode]);
}

int64_t tspeft_copy_range(int source, int64_t *position, int destination, int64_t *target, size_t count) {
    off64_t from = *position;
    off64_t to = target ? *target : 0;
    const ssize_t copied = copy_file_range(source, &from, destination, target ? &to : NULL, count, 0);
    if (copied <= 0) return copied;
    *position = from;
    if (target) *target = to;
    return copied;
}

int tspeft_clone(int source, int destination) { return ioctl(destination, FICLONE, source); }

int tspeft_reserve(int file, int64_t count) { return fallocate(file, 0, 0, count); }

void tspeft_begin_writing(int file, int64_t offset, int64_t count) {
    sync_file_range(file, offset, count, SYNC_FILE_RANGE_WRITE);
}

int tspeft_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }
