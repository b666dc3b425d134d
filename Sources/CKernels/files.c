#define _GNU_SOURCE
#include "tspeft_files.h"

#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>

int tspeft_rename(const char *source, const char *target, int mode) {
    static const unsigned flags[] = {0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    return renameat2(AT_FDCWD, source, AT_FDCWD, target, flags[mode]);
}

int64_t tspeft_copy_range(int source, int64_t *position, int destination, size_t count) {
    off64_t offset = *position;
    const ssize_t copied = copy_file_range(source, &offset, destination, NULL, count, 0);
    if (copied > 0) *position = offset;
    return copied;
}
