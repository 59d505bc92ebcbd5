/* Preloaded into a process, this writes down everything done to the files of one folder, in order: what was written
   where, and what was synced. See bench/ledger_unsynced.py, which plays it back without what was never synced.

   A note is: op (1 byte), length of the path (2), offset (8), length of the data (8), path, data; native order. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 4096
static char paths[FILES][512];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int notes = -1;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_truncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_close)(int);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_close = dlsym(RTLD_NEXT, "close");
    folder = getenv("UNSYNCED_FOLDER");
    if (folder) notes = real_open(getenv("UNSYNCED_NOTES"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length) {
        ssize_t done = real_write(notes, at, length);
        if (done <= 0) abort(); /* a lost note would make the proof worthless */
        at += done;
        length -= done;
    }
}

static void note(char op, const char *path, uint64_t offset, const void *data, uint64_t length) {
    uint16_t size = strlen(path);
    put(&op, 1), put(&size, 2), put(&offset, 8), put(&length, 8), put(path, size);
    if (data) put(data, length);
}

static int ours(int fd) { return notes >= 0 && fd >= 0 && fd < FILES && paths[fd][0]; }

static int opened(const char *path, int flags, mode_t mode) {
    int inside = notes >= 0 && !strncmp(path, folder, strlen(folder));
    if (!inside) return real_open(path, flags, mode);
    pthread_mutex_lock(&lock);
    int fresh = (flags & O_CREAT) && access(path, F_OK) != 0;
    int fd = real_open(path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        strncpy(paths[fd], path, sizeof paths[fd] - 1);
        if (fresh) note('c', path, 0, NULL, 0);
        if (flags & O_TRUNC) note('t', path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (ours(fd)) paths[fd][0] = 0;
    int result = real_close(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t written(int fd, const void *data, size_t length, off_t at) {
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwrite(fd, data, length, at);
    if (done > 0) note('w', paths[fd], at, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return ours(fd) ? written(fd, data, length, at) : real_pwrite(fd, data, length, at);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) { return pwrite(fd, data, length, at); }

ssize_t write(int fd, const void *data, size_t length) {
    if (!ours(fd)) return real_write(fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t done = real_write(fd, data, length);
    if (done > 0) note('a', paths[fd], 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) {
    if (!ours(fd)) return real_truncate(fd, length);
    pthread_mutex_lock(&lock);
    int result = real_truncate(fd, length);
    if (!result) note('t', paths[fd], length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

static int synced(int fd, int (*sync)(int)) {
    if (!ours(fd)) return sync(fd);
    pthread_mutex_lock(&lock);
    int result = sync(fd);
    if (!result) note('s', paths[fd], 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
    if (notes < 0 || strncmp(path, folder, strlen(folder))) return real_unlink(path);
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    if (!result) note('u', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
