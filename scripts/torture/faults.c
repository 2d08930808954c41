/* Faults at a chosen system call, for scripts/torture.sh: preloaded into the program under test.
 *
 *   FAULT_ROOT   only calls on files below this folder count (absolute path)
 *   FAULT_CALL   any, or one of: open write fsync rename mkdir unlink
 *   FAULT_AT     the call, from 1; 0 never
 *   FAULT_DO     kill (before the call), torn (half of a write, then kill), eio, enospc (from that call on)
 *   FAULT_MARK   file that is created when a call fails
 *   FAULT_COUNT  file that receives the number of calls when the program ends
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, EIO_ONCE, ENOSPC_ON, KILL, TORN };

static const char *root, *which;
static size_t root_length;
static long at;
static int action;
static atomic_long count;

__attribute__((constructor)) static void begin(void) {
    const char *a = getenv("FAULT_AT"), *d = getenv("FAULT_DO");
    root = getenv("FAULT_ROOT");
    root_length = root ? strlen(root) : 0;
    which = getenv("FAULT_CALL");
    at = a ? atol(a) : 0;
    if (d && !strcmp(d, "kill")) action = KILL;
    if (d && !strcmp(d, "torn")) action = TORN;
    if (d && !strcmp(d, "eio")) action = EIO_ONCE;
    if (d && !strcmp(d, "enospc")) action = ENOSPC_ON;
}

__attribute__((destructor)) static void end(void) {
    const char *file = getenv("FAULT_COUNT");
    if (!file) return;
    FILE *f = fopen(file, "w");
    if (!f) return;
    fprintf(f, "%ld\n", atomic_load(&count));
    fclose(f);
}

static int below(const char *path) { return root && path && !strncmp(path, root, root_length); }

static int below_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void mark(void) {
    const char *file = getenv("FAULT_MARK");
    FILE *f = file ? fopen(file, "w") : NULL;
    if (f) fclose(f);
}

/* What to do at this call: NOTHING, an error number, or TORN; kills here. */
static int decide(const char *call, int ours) {
    if (!ours || (which && strcmp(which, "any") && strcmp(which, call))) return NOTHING;
    long n = atomic_fetch_add(&count, 1) + 1;
    if (at <= 0 || n < at) return NOTHING;
    if (n == at && action == KILL) die();
    if (n == at && action == TORN) return TORN;
    if (n == at && action == EIO_ONCE) return EIO;
    /* A full disk can still be renamed and removed on. */
    if (action == ENOSPC_ON && strcmp(call, "unlink") && strcmp(call, "rename")) return ENOSPC;
    return NOTHING;
}

static int strike(const char *call, int ours) {
    int e = decide(call, ours);
    if (e != NOTHING) mark();
    return e;
}

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

#define FAIL(call, ours) \
    do { \
        int e = strike(call, ours); \
        if (e == TORN) die(); \
        if (e != NOTHING) { \
            errno = e; \
            return -1; \
        } \
    } while (0)

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(#name, int (*)(const char *, int, ...)); \
        va_list v; \
        va_start(v, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(v, int) : 0; \
        va_end(v); \
        FAIL("open", below(path) && (flags & (O_CREAT | O_WRONLY | O_RDWR))); \
        return real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int fd, const void *data, size_t n) {
    REAL("write", ssize_t(*)(int, const void *, size_t));
    int e = strike("write", fd > 2 && below_fd(fd));
    if (e == TORN) {
        real(fd, data, n / 2);
        die();
    }
    if (e != NOTHING) {
        errno = e;
        return -1;
    }
    return real(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL("writev", ssize_t(*)(int, const struct iovec *, int));
    FAIL("write", fd > 2 && below_fd(fd));
    return real(fd, v, n);
}

#define ON_FD(name, call) \
    int name(int fd) { \
        REAL(#name, int (*)(int)); \
        FAIL(call, below_fd(fd)); \
        return real(fd); \
    }
ON_FD(fsync, "fsync")
ON_FD(fdatasync, "fsync")

#define ON_SIZE(name) \
    int name(int fd, off64_t n) { \
        REAL(#name, int (*)(int, off64_t)); \
        FAIL("write", below_fd(fd)); \
        return real(fd, n); \
    }
ON_SIZE(ftruncate)
ON_SIZE(ftruncate64)

int rename(const char *from, const char *to) {
    REAL("rename", int (*)(const char *, const char *));
    FAIL("rename", below(to));
    return real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int (*)(const char *, mode_t));
    FAIL("mkdir", below(path));
    return real(path, mode);
}

int unlink(const char *path) {
    REAL("unlink", int (*)(const char *));
    FAIL("unlink", below(path));
    return real(path);
}

int unlinkat(int dir, const char *path, int flags) {
    REAL("unlinkat", int (*)(int, const char *, int));
    FAIL("unlink", below(path) || below_fd(dir));
    return real(dir, path, flags);
}
