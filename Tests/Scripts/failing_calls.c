// A library for LD_PRELOAD that makes one system call of a program fail, of those that write to a folder or read from
// it. `FailingCallTests` compiles it with clang and runs every writing command under it.
//
// In the environment:
//   FAULT_FOLDER  the folder, by its real path; only calls about what lies in it, or about itself, count
//   FAULT_LOG     a file outside that folder; gets a line for each call that counts: its name, a space, its path
//   FAULT_CALLS   "write" counts the calls that make, change and sync files, "read" those that look and read
//   FAULT_AT      the number of the call that fails, from 1; 0 for none
//   FAULT_ERRNO   what it fails with
//   FAULT_KIND    "error"; "interrupt": every call that a signal may interrupt says EINTR first and is done when it is
//                 repeated; "short": writes, reads and copies of more than a byte do half
//   FAULT_STAYS   "1": from that call on whatever takes room on the disk fails; else that call alone
//
// A line "threads N" is logged for each parallel region that libgomp is asked for, whatever the folder.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum { ERROR, INTERRUPT, SHORT } fault_kind;

static char folder[PATH_MAX];
static size_t folder_length;
static int log_file = -1, counts_reads, fault_number, fault_at, stays, count;
static fault_kind kind;
static int last_interrupted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    snprintf(folder, sizeof folder, "%s", setting("FAULT_FOLDER", "/nowhere"));
    folder_length = strlen(folder);
    counts_reads = strcmp(setting("FAULT_CALLS", "write"), "read") == 0;
    fault_at = atoi(setting("FAULT_AT", "0"));
    fault_number = atoi(setting("FAULT_ERRNO", "5"));
    stays = atoi(setting("FAULT_STAYS", "0"));
    const char *name = setting("FAULT_KIND", "error");
    kind = strcmp(name, "interrupt") == 0 ? INTERRUPT : strcmp(name, "short") == 0 ? SHORT : ERROR;
    const char *path = getenv("FAULT_LOG");
    // The program starts itself anew, and only what comes then is of use.
    if (path) log_file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static void note(const char *call, const char *what) {
    char line[PATH_MAX + 64];
    const int length = snprintf(line, sizeof line, "%s %s\n", call, what);
    if (log_file >= 0 && length > 0) syscall(SYS_write, log_file, line, (size_t)length);
}

static int is_inside(const char *path) {
    return strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || path[folder_length] == 0);
}

// The path of an open file.
static int resolve(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

// A path from the root; links are as they are.
static void complete(const char *name, char *path) {
    char here[PATH_MAX];
    if (name[0] == '/' || getcwd(here, sizeof here) == NULL) {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        while (strncmp(name, "./", 2) == 0) name += 2;
        snprintf(path, PATH_MAX, "%s%s%s", here, strcmp(name, ".") == 0 ? "" : "/", strcmp(name, ".") == 0 ? "" : name);
    }
}

static int takes_room(const char *call) {
    static const char *const calls[] = {"open-to-write", "fopen", "write", "pwrite", "copy_file_range", "fallocate", "mkdir"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(call, calls[i]) == 0) return 1;
    }
    return 0;
}

// What becomes of a call about a path: 0 it goes on; else it says -1, with errno set.
static int fails(const char *call, const char *path, int reads, int can_be_interrupted) {
    if (reads != counts_reads || !is_inside(path)) return 0;
    const int code = errno;
    pthread_mutex_lock(&lock);
    int failure = 0;
    if (kind == INTERRUPT) {
        // Each second call, so that the repeated one comes through.
        if (can_be_interrupted && (last_interrupted = !last_interrupted)) failure = EINTR;
        if (failure) note(call, path);
    } else {
        count++;
        note(call, path);
        if (kind == ERROR && fault_at > 0 && (count == fault_at || (stays && count > fault_at && takes_room(call)))) {
            failure = fault_number;
        }
    }
    pthread_mutex_unlock(&lock);
    errno = failure ? failure : code;
    return failure != 0;
}

static int fails_open_file(const char *call, int file, int reads, int can_be_interrupted) {
    char path[PATH_MAX];
    const int code = errno;
    const int is_known = resolve(file, path);
    errno = code;
    return is_known && fails(call, path, reads, can_be_interrupted);
}

static int fails_named(const char *call, const char *name, int reads, int can_be_interrupted) {
    char path[PATH_MAX];
    complete(name, path);
    return fails(call, path, reads, can_be_interrupted);
}

// How much of a call for `size` bytes is asked for.
static size_t part(size_t size, int file, int reads) {
    char path[PATH_MAX];
    if (kind != SHORT || size < 2 || reads != counts_reads || !resolve(file, path) || !is_inside(path)) return size;
    return size / 2;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int opened(const char *call, const char *name, int flags, mode_t mode) {
    const int writes = (flags & O_ACCMODE) != O_RDONLY;
    // Directories are opened to be listed and to be synced.
    const int reads = flags & O_DIRECTORY ? counts_reads : !writes;
    if (fails_named(writes ? "open-to-write" : "open", name, reads, 1)) return -1;
    return ((__typeof__(&open))dlsym(RTLD_NEXT, call))(name, flags, mode);
}

int open(const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return opened("open", name, flags, mode);
}

int open64(const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return opened("open64", name, flags, mode);
}

FILE *fopen(const char *name, const char *mode) {
    if (fails_named("fopen", name, mode[0] == 'r', 1)) return NULL;
    return REAL(fopen)(name, mode);
}

ssize_t write(int file, const void *bytes, size_t size) {
    if (fails_open_file("write", file, 0, 1)) return -1;
    return REAL(write)(file, bytes, part(size, file, 0));
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t place) {
    if (fails_open_file("pwrite", file, 0, 1)) return -1;
    return REAL(pwrite)(file, bytes, part(size, file, 0), place);
}

ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *place, size_t size, unsigned flags) {
    if (fails_open_file("copy_file_range", to, 0, 1)) return -1;
    return REAL(copy_file_range)(from, start, to, place, part(size, to, 0), flags);
}

int fallocate(int file, int mode, off_t place, off_t size) {
    if (fails_open_file("fallocate", file, 0, 1)) return -1;
    return REAL(fallocate)(file, mode, place, size);
}

int ftruncate(int file, off_t size) {
    if (fails_open_file("ftruncate", file, 0, 1)) return -1;
    return REAL(ftruncate)(file, size);
}

int fsync(int file) {
    if (fails_open_file("fsync", file, 0, 1)) return -1;
    return REAL(fsync)(file);
}

int close(int file) {
    // The file is closed whatever is said. Errors come where writing was put off (NFS): of those open for writing.
    const int code = errno, flags = fcntl(file, F_GETFL);
    errno = code;
    const int failed =
        flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fails_open_file("close", file, 0, 1) ? errno : 0;
    const int result = REAL(close)(file);
    if (!failed) return result;
    errno = failed;
    return -1;
}

int mkdir(const char *name, mode_t mode) {
    if (fails_named("mkdir", name, 0, 0)) return -1;
    return REAL(mkdir)(name, mode);
}

int rename(const char *from, const char *to) {
    if (fails_named("rename", to, 0, 0)) return -1;
    return REAL(rename)(from, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    if (fails_named("renameat2", to, 0, 0)) return -1;
    return REAL(renameat2)(from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to) {
    if (fails_named("link", to, 0, 0)) return -1;
    return REAL(link)(from, to);
}

ssize_t read(int file, void *bytes, size_t size) {
    if (fails_open_file("read", file, 1, 1)) return -1;
    return REAL(read)(file, bytes, part(size, file, 1));
}

ssize_t pread(int file, void *bytes, size_t size, off_t place) {
    if (fails_open_file("pread", file, 1, 1)) return -1;
    return REAL(pread)(file, bytes, part(size, file, 1), place);
}

void *mmap(void *where, size_t size, int protection, int flags, int file, off_t place) {
    if (file >= 0 && fails_open_file("mmap", file, 1, 0)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, where, size, protection, flags, file, place);
}

int fstat(int file, struct stat *status) {
    if (fails_open_file("fstat", file, 1, 0)) return -1;
    return REAL(fstat)(file, status);
}

int stat(const char *name, struct stat *status) {
    if (fails_named("stat", name, 1, 0)) return -1;
    return REAL(stat)(name, status);
}

int lstat(const char *name, struct stat *status) {
    if (fails_named("lstat", name, 1, 0)) return -1;
    return REAL(lstat)(name, status);
}

DIR *opendir(const char *name) {
    if (fails_named("opendir", name, 1, 0)) return NULL;
    return REAL(opendir)(name);
}

struct dirent *readdir(DIR *directory) {
    if (fails_open_file("readdir", dirfd(directory), 1, 0)) return NULL;
    return REAL(readdir)(directory);
}

// libgomp's entry point.
void GOMP_parallel(void (*body)(void *), void *context, unsigned threads, unsigned flags) {
    char number[16];
    snprintf(number, sizeof number, "%u", threads);
    pthread_mutex_lock(&lock);
    note("threads", number);
    pthread_mutex_unlock(&lock);
    ((void (*)(void (*)(void *), void *, unsigned, unsigned))dlsym(RTLD_NEXT, "GOMP_parallel"))(
        body, context, threads, flags);
}
