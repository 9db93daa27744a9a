/* Shows the program in which it is loaded a calendar that is wrong by so many milliseconds as the file named by
   KCHAOS_CLOCK says, which may change at any time. Monotonic clocks stay right, as they would on a machine whose
   calendar is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t right = 0;
static volatile const int64_t *offset_ms = &right;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real_timedwait)
        real_timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    const char *path = getenv("KCHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED)
        offset_ms = map;
    close(file);
}

static void shift(struct timespec *time, int64_t by_ms)
{
    int64_t nanos = time->tv_nsec + by_ms % 1000 * 1000000;
    time->tv_sec += by_ms / 1000 + (nanos >= 1000000000) - (nanos < 0);
    time->tv_nsec = nanos + 1000000000 * ((nanos < 0) - (nanos >= 1000000000));
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = real_gettime(clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift(time, *offset_ms);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* Whoever waits until a time of the wrong calendar waits as long as they mean. A time of the monotonic clock is known
   by being far from any year of ours. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    struct timespec meant = *until;
    if (meant.tv_sec > 1000000000)
        shift(&meant, -*offset_ms);
    return real_timedwait(cond, mutex, &meant);
}
