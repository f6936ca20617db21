/* A library for LD_PRELOAD that sees a program's calls that change the file system, and disturbs them: it counts and
 * logs them, ends the program before or after one of them, or lets one fail. It can also refuse hard links and shift
 * the clock. It knows no more of the program than its name and first argument. faults/shim.rs builds and steers it.
 *
 *   FAULT_PROGRAM   the program that is meant, by the end of its path; FAULT_WORD its first argument, if that matters
 *   FAULT_BELOW     the folder whose changes count; relative paths count, too
 *   FAULT_LOG       a file that takes one line a call: its number, its name, its path
 *   FAULT_AT        the number of the call to be disturbed
 *   FAULT_HOW       "before" or "after": the program kills itself there; a number: the call fails with that errno
 *   FAULT_LINKS     an errno: every hard link fails with it, in every program
 *   FAULT_CLOCK     seconds that the clock is ahead (or behind, if negative), in every program
 *   FAULT_CLOCK_AT  the reading of the clock from which on it is
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static bool watched;
static const char *below;
static size_t below_length;
static int log_file = -1;
static long disturbed;
static bool kill_before, kill_after;
static int failure;
static int links_fail;
static long clock_shift, clock_from;
static atomic_long calls, readings;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

__attribute__((constructor)) static void set_up(int argc, char **argv) {
    links_fail = (int)number("FAULT_LINKS");
    clock_shift = number("FAULT_CLOCK");
    clock_from = number("FAULT_CLOCK_AT");
    char program[PATH_MAX] = "";
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return;
    const char *meant = getenv("FAULT_PROGRAM"), *word = getenv("FAULT_WORD"), *log = getenv("FAULT_LOG");
    if (!meant || !ends_with(program, meant)) return;
    if (word && (argc < 2 || strcmp(argv[1], word) != 0)) return;
    below = getenv("FAULT_BELOW");
    if (!below) return;
    below_length = strlen(below);
    if (log) log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    disturbed = number("FAULT_AT");
    const char *how = getenv("FAULT_HOW");
    kill_before = how && strcmp(how, "before") == 0;
    kill_after = how && strcmp(how, "after") == 0;
    failure = kill_before || kill_after ? 0 : (int)number("FAULT_HOW");
    watched = true;
}

static void end_program(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Notes a call that is about to be made. Returns its number, or 0 where it does not count. */
static long note(const char *name, const char *path) {
    if (!watched || !path || (path[0] == '/' && strncmp(path, below, below_length) != 0)) return 0;
    long at = atomic_fetch_add(&calls, 1) + 1;
    if (log_file >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", at, name, path);
        if (length > 0) syscall(SYS_write, log_file, line, (size_t)length);
    }
    if (at == disturbed && kill_before) end_program();
    return at;
}

/* The path that a descriptor leads to, with a name below it if there is one. */
static const char *path_of(int descriptor, const char *name, char *buffer) {
    if (!watched) return NULL;
    if (name && (name[0] == '/' || descriptor == AT_FDCWD)) return name;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length <= 0 || buffer[0] != '/') return NULL;
    buffer[length] = 0;
    if (name) snprintf(buffer + length, (size_t)(PATH_MAX - length), "/%s", name);
    return buffer;
}

#define REAL(name)                                           \
    static __typeof__(name) *real;                           \
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

/* Makes the call, unless it is the one that fails or the program ends beside it. */
#define DISTURB(name, path, call)                            \
    do {                                                     \
        int kept = errno;                                    \
        long at = note(name, path);                          \
        if (at && at == disturbed && failure) {              \
            errno = failure;                                 \
            return -1;                                       \
        }                                                    \
        errno = kept;                                        \
        __typeof__(call) result = (call);                    \
        if (at && at == disturbed && kill_after) end_program(); \
        return result;                                       \
    } while (0)

#define MODE(flags)                                          \
    mode_t mode = 0;                                         \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                 \
        va_list rest;                                        \
        va_start(rest, flags);                               \
        mode = va_arg(rest, mode_t);                         \
        va_end(rest);                                        \
    }

#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC))

int open(const char *path, int flags, ...) {
    REAL(open);
    MODE(flags)
    if (!CHANGES(flags)) return real(path, flags, mode);
    DISTURB("open", path, real(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE(flags)
    if (!CHANGES(flags)) return real(path, flags, mode);
    DISTURB("open", path, real(path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...) {
    REAL(openat);
    MODE(flags)
    if (!CHANGES(flags)) return real(folder, path, flags, mode);
    char buffer[PATH_MAX];
    DISTURB("open", path_of(folder, path, buffer), real(folder, path, flags, mode));
}

int openat64(int folder, const char *path, int flags, ...) {
    REAL(openat64);
    MODE(flags)
    if (!CHANGES(flags)) return real(folder, path, flags, mode);
    char buffer[PATH_MAX];
    DISTURB("open", path_of(folder, path, buffer), real(folder, path, flags, mode));
}

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(write);
    char buffer[PATH_MAX];
    DISTURB("write", path_of(file, NULL, buffer), real(file, bytes, count));
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    char buffer[PATH_MAX];
    DISTURB("write", path_of(file, NULL, buffer), real(file, parts, count));
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    REAL(pwrite64);
    char buffer[PATH_MAX];
    DISTURB("write", path_of(file, NULL, buffer), real(file, bytes, count, offset));
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned flags) {
    REAL(copy_file_range);
    char buffer[PATH_MAX];
    DISTURB("copy", path_of(to, NULL, buffer), real(from, from_offset, to, to_offset, length, flags));
}

int ftruncate64(int file, off64_t length) {
    REAL(ftruncate64);
    char buffer[PATH_MAX];
    DISTURB("truncate", path_of(file, NULL, buffer), real(file, length));
}

int fsync(int file) {
    REAL(fsync);
    char buffer[PATH_MAX];
    DISTURB("sync", path_of(file, NULL, buffer), real(file));
}

int fdatasync(int file) {
    REAL(fdatasync);
    char buffer[PATH_MAX];
    DISTURB("sync", path_of(file, NULL, buffer), real(file));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    DISTURB("rename", to, real(from, to));
}

int link(const char *from, const char *to) {
    REAL(link);
    if (links_fail) {
        errno = links_fail;
        return -1;
    }
    DISTURB("link", to, real(from, to));
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(linkat);
    if (links_fail) {
        errno = links_fail;
        return -1;
    }
    char buffer[PATH_MAX];
    DISTURB("link", path_of(to_folder, to, buffer), real(from_folder, from, to_folder, to, flags));
}

int symlink(const char *target, const char *path) {
    REAL(symlink);
    DISTURB("symlink", path, real(target, path));
}

int unlink(const char *path) {
    REAL(unlink);
    DISTURB("unlink", path, real(path));
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    char buffer[PATH_MAX];
    DISTURB("unlink", path_of(folder, path, buffer), real(folder, path, flags));
}

int rmdir(const char *path) {
    REAL(rmdir);
    DISTURB("rmdir", path, real(path));
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    DISTURB("mkdir", path, real(path, mode));
}

int chmod(const char *path, mode_t mode) {
    REAL(chmod);
    DISTURB("chmod", path, real(path, mode));
}

int fchmod(int file, mode_t mode) {
    REAL(fchmod);
    char buffer[PATH_MAX];
    DISTURB("chmod", path_of(file, NULL, buffer), real(file, mode));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && clock_shift && atomic_fetch_add(&readings, 1) + 1 >= clock_from)
        time->tv_sec += clock_shift;
    return result;
}
