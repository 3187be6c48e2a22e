/* SPDX-License-Identifier: MIT
 *
 * What the thread tests of a C library expect beside it: checks that count failures, calls
 * that must not fail, sums of times.  scripts/check-nptl.sh makes every header of theirs
 * below support/ one that includes this.  All static: a test is one file, as a rule.
 */
#ifndef NPTL_H
#define NPTL_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"

#define EXIT_UNSUPPORTED 77
#define NS_PER_S 1000000000L

/* ---- checks ------------------------------------------------------------------- */

/* Of the process and what it forks. */
__attribute__((weak)) _Atomic int *nptl_failures;

static void support_record_failure(void)
{
	atomic_fetch_add(nptl_failures, 1);
}

__attribute__((format(printf, 3, 4))) static void nptl_say(const char *file, int line,
                                                           const char *format, ...)
{
	va_list arguments;

	printf("%s:%d: ", file, line);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

#define NPTL_SAY(...) nptl_say(__FILE__, __LINE__, __VA_ARGS__)
#define FAIL(...) (NPTL_SAY(__VA_ARGS__), support_record_failure())
#define FAIL_RET(...) return NPTL_SAY(__VA_ARGS__), 1
#define FAIL_EXIT(status, ...) (NPTL_SAY(__VA_ARGS__), exit(status))
#define FAIL_EXIT1(...) FAIL_EXIT(1, __VA_ARGS__)
#define FAIL_UNSUPPORTED(...) FAIL_EXIT(EXIT_UNSUPPORTED, __VA_ARGS__)
#define FAIL_ERR(format, ...) FAIL_EXIT1(format ": %m", ##__VA_ARGS__)

#define TEST_VERIFY(holds) ((holds) ? (void)0 : FAIL("does not hold: %s", #holds))
#define TEST_VERIFY_EXIT(holds) ((holds) ? (void)0 : FAIL_EXIT1("does not hold: %s", #holds))
#define TEST_COMPARE(left, right)                                                       \
	({                                                                              \
		__typeof__(left) left_ = (left);                                        \
		__typeof__(right) right_ = (right);                                     \
		if ((long long)left_ != (long long)right_)                              \
			FAIL("%s is %lld, %s is %lld", #left, (long long)left_, #right, \
			     (long long)right_);                                        \
	})

/* ---- calls that must not fail --------------------------------------------------- */

/* Those that return an error number; and those that return -1, or what is no pointer. */
#define NPTL_NUMBER(call)                                              \
	({                                                             \
		int error_ = (call);                                   \
		if (error_)                                            \
			FAIL_EXIT1("%s: %s", #call, strerror(error_)); \
		(void)0;                                               \
	})
#define NPTL_ERRNO(call)                             \
	({                                           \
		__typeof__(call) result_ = (call);   \
		if ((long)result_ == -1)             \
			FAIL_EXIT1("%s: %m", #call); \
		result_;                             \
	})
#define NPTL_POINTER(call)                           \
	({                                           \
		__typeof__(call) result_ = (call);   \
		if (!result_)                        \
			FAIL_EXIT1("%s: %m", #call); \
		result_;                             \
	})

#define xpthread_attr_init(...) NPTL_NUMBER(pthread_attr_init(__VA_ARGS__))
#define xpthread_attr_destroy(...) NPTL_NUMBER(pthread_attr_destroy(__VA_ARGS__))
#define xpthread_attr_setaffinity_np(...) NPTL_NUMBER(pthread_attr_setaffinity_np(__VA_ARGS__))
#define xpthread_attr_setdetachstate(...) NPTL_NUMBER(pthread_attr_setdetachstate(__VA_ARGS__))
#define xpthread_attr_setguardsize(...) NPTL_NUMBER(pthread_attr_setguardsize(__VA_ARGS__))
#define xpthread_attr_setstack(...) NPTL_NUMBER(pthread_attr_setstack(__VA_ARGS__))
#define xpthread_attr_setstacksize(...) NPTL_NUMBER(pthread_attr_setstacksize(__VA_ARGS__))
#define xpthread_barrier_init(...) NPTL_NUMBER(pthread_barrier_init(__VA_ARGS__))
#define xpthread_barrier_destroy(...) NPTL_NUMBER(pthread_barrier_destroy(__VA_ARGS__))
#define xpthread_cancel(...) NPTL_NUMBER(pthread_cancel(__VA_ARGS__))
#define xpthread_cond_wait(...) NPTL_NUMBER(pthread_cond_wait(__VA_ARGS__))
#define xpthread_cond_signal(...) NPTL_NUMBER(pthread_cond_signal(__VA_ARGS__))
#define xpthread_detach(...) NPTL_NUMBER(pthread_detach(__VA_ARGS__))
#define xpthread_key_create(...) NPTL_NUMBER(pthread_key_create(__VA_ARGS__))
#define xpthread_key_delete(...) NPTL_NUMBER(pthread_key_delete(__VA_ARGS__))
#define xpthread_kill(...) NPTL_NUMBER(pthread_kill(__VA_ARGS__))
#define xpthread_mutex_consistent(...) NPTL_NUMBER(pthread_mutex_consistent(__VA_ARGS__))
#define xpthread_mutex_destroy(...) NPTL_NUMBER(pthread_mutex_destroy(__VA_ARGS__))
#define xpthread_mutex_init(...) NPTL_NUMBER(pthread_mutex_init(__VA_ARGS__))
#define xpthread_mutex_lock(...) NPTL_NUMBER(pthread_mutex_lock(__VA_ARGS__))
#define xpthread_mutex_unlock(...) NPTL_NUMBER(pthread_mutex_unlock(__VA_ARGS__))
#define xpthread_mutexattr_destroy(...) NPTL_NUMBER(pthread_mutexattr_destroy(__VA_ARGS__))
#define xpthread_mutexattr_init(...) NPTL_NUMBER(pthread_mutexattr_init(__VA_ARGS__))
#define xpthread_mutexattr_setprotocol(...) NPTL_NUMBER(pthread_mutexattr_setprotocol(__VA_ARGS__))
#define xpthread_mutexattr_setpshared(...) NPTL_NUMBER(pthread_mutexattr_setpshared(__VA_ARGS__))
#define xpthread_mutexattr_setrobust(...) NPTL_NUMBER(pthread_mutexattr_setrobust(__VA_ARGS__))
#define xpthread_mutexattr_settype(...) NPTL_NUMBER(pthread_mutexattr_settype(__VA_ARGS__))
#define xpthread_once(...) NPTL_NUMBER(pthread_once(__VA_ARGS__))
#define xpthread_rwlock_destroy(...) NPTL_NUMBER(pthread_rwlock_destroy(__VA_ARGS__))
#define xpthread_rwlock_init(...) NPTL_NUMBER(pthread_rwlock_init(__VA_ARGS__))
#define xpthread_rwlock_rdlock(...) NPTL_NUMBER(pthread_rwlock_rdlock(__VA_ARGS__))
#define xpthread_rwlock_unlock(...) NPTL_NUMBER(pthread_rwlock_unlock(__VA_ARGS__))
#define xpthread_rwlock_wrlock(...) NPTL_NUMBER(pthread_rwlock_wrlock(__VA_ARGS__))
#define xpthread_rwlockattr_init(...) NPTL_NUMBER(pthread_rwlockattr_init(__VA_ARGS__))
#define xpthread_rwlockattr_setkind_np(...) NPTL_NUMBER(pthread_rwlockattr_setkind_np(__VA_ARGS__))
#define xpthread_setspecific(...) NPTL_NUMBER(pthread_setspecific(__VA_ARGS__))
#define xpthread_sigmask(...) NPTL_NUMBER(pthread_sigmask(__VA_ARGS__))
#define xpthread_spin_lock(...) NPTL_NUMBER(pthread_spin_lock(__VA_ARGS__))
#define xpthread_spin_unlock(...) NPTL_NUMBER(pthread_spin_unlock(__VA_ARGS__))

#define xclock_gettime(...) ((void)NPTL_ERRNO(clock_gettime(__VA_ARGS__)))
#define xclock_settime(...) ((void)NPTL_ERRNO(clock_settime(__VA_ARGS__)))
#define xclose(...) ((void)NPTL_ERRNO(close(__VA_ARGS__)))
#define xfork() NPTL_ERRNO(fork())
#define xftruncate(...) ((void)NPTL_ERRNO(ftruncate(__VA_ARGS__)))
#define xmunmap(...) ((void)NPTL_ERRNO(munmap(__VA_ARGS__)))
#define xopen(...) NPTL_ERRNO(open(__VA_ARGS__))
#define xpipe(...) ((void)NPTL_ERRNO(pipe(__VA_ARGS__)))
#define xraise(sig) ((void)NPTL_ERRNO(raise(sig)))
#define xread(...) ((void)NPTL_ERRNO(read(__VA_ARGS__)))
#define xsigaction(...) ((void)NPTL_ERRNO(sigaction(__VA_ARGS__)))
#define xsignal(...) NPTL_ERRNO(signal(__VA_ARGS__))
#define xsysconf(...) NPTL_ERRNO(sysconf(__VA_ARGS__))
#define xwaitpid(...) NPTL_ERRNO(waitpid(__VA_ARGS__))
#define xwrite(...) ((void)NPTL_ERRNO(write(__VA_ARGS__)))
#define xasprintf(...)                                           \
	({                                                       \
		char *text_;                                     \
		(void)NPTL_ERRNO(asprintf(&text_, __VA_ARGS__)); \
		text_;                                           \
	})

#define xcalloc(...) NPTL_POINTER(calloc(__VA_ARGS__))
#define xdlopen(...) NPTL_POINTER(dlopen(__VA_ARGS__))
#define xdlsym(...) NPTL_POINTER(dlsym(__VA_ARGS__))
#define xdlclose(handle) NPTL_NUMBER(dlclose(handle))
#define xfclose(file) NPTL_NUMBER(fclose(file))
#define xfopen(...) NPTL_POINTER(fopen(__VA_ARGS__))
#define xmalloc(...) NPTL_POINTER(malloc(__VA_ARGS__))
#define xrealloc(...) NPTL_POINTER(realloc(__VA_ARGS__))
#define xstrdup(...) NPTL_POINTER(strdup(__VA_ARGS__))

static void *xmmap(void *at, size_t size, int protection, int flags, int fd)
{
	return NPTL_ERRNO(mmap(at, size, protection, flags, fd, 0));
}

static void *xposix_memalign(size_t alignment, size_t size)
{
	void *memory;

	NPTL_NUMBER(posix_memalign(&memory, alignment, size));
	return memory;
}

static pthread_t xpthread_create(const pthread_attr_t *attributes, void *(*start)(void *),
                                 void *argument)
{
	pthread_t thread;

	NPTL_NUMBER(pthread_create(&thread, attributes, start, argument));
	return thread;
}

static void *xpthread_join(pthread_t thread)
{
	void *result;

	NPTL_NUMBER(pthread_join(thread, &result));
	return result;
}

/* Whether it is the one thread that is told so. */
static bool xpthread_barrier_wait(pthread_barrier_t *barrier)
{
	int r = pthread_barrier_wait(barrier);

	if (r && r != PTHREAD_BARRIER_SERIAL_THREAD)
		FAIL_EXIT1("pthread_barrier_wait: %s", strerror(r));
	return r != 0;
}

/* ---- times ------------------------------------------------------------------------ */

static struct timespec make_timespec(time_t s, long ns)
{
	return (struct timespec){ .tv_sec = s, .tv_nsec = ns };
}

static struct timespec nptl_normal(struct timespec t)
{
	if (t.tv_nsec >= NS_PER_S)
		return make_timespec(t.tv_sec + 1, t.tv_nsec - NS_PER_S);
	if (t.tv_nsec < 0)
		return make_timespec(t.tv_sec - 1, t.tv_nsec + NS_PER_S);
	return t;
}

static struct timespec timespec_add(struct timespec a, struct timespec b)
{
	return nptl_normal(make_timespec(a.tv_sec + b.tv_sec, a.tv_nsec + b.tv_nsec));
}

static struct timespec timespec_sub(struct timespec a, struct timespec b)
{
	return nptl_normal(make_timespec(a.tv_sec - b.tv_sec, a.tv_nsec - b.tv_nsec));
}

static struct timespec xclock_now(clockid_t clock)
{
	struct timespec t;

	xclock_gettime(clock, &t);
	return t;
}

static bool nptl_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

#define TEST_TIMESPEC_BEFORE(a, b) TEST_VERIFY(nptl_before(a, b))
#define TEST_TIMESPEC_EQUAL_OR_AFTER(a, b) TEST_VERIFY(!nptl_before(a, b))
#define TEST_TIMESPEC_BEFORE_NOW(t, clock) TEST_TIMESPEC_BEFORE(t, xclock_now(clock))
#define TEST_TIMESPEC_NOW_OR_AFTER(clock, t) TEST_TIMESPEC_EQUAL_OR_AFTER(xclock_now(clock), t)

/* ---- the rest ----------------------------------------------------------------------- */

#define array_length(array) (sizeof(array) / sizeof((array)[0]))
#define DIAG_PUSH_NEEDS_COMMENT _Pragma("GCC diagnostic push")
#define DIAG_POP_NEEDS_COMMENT _Pragma("GCC diagnostic pop")
#define DIAG_IGNORE_NEEDS_COMMENT(version, option) \
	_Pragma("GCC diagnostic ignored \"-Wunknown-pragmas\"")
#define DIAG_IGNORE_O_NEEDS_COMMENT DIAG_IGNORE_NEEDS_COMMENT

#define TIMESPEC_HZ NS_PER_S
#define verbose_printf(...) printf(__VA_ARGS__)

static unsigned int test_verbose;

static void write_message(const char *message)
{
	int error = errno;

	if (write(1, message, strlen(message)) < 0)
		error = errno;
	errno = error;
}

static void support_need_proc(const char *why)
{
	if (access("/proc/self/maps", R_OK) != 0)
		FAIL_UNSUPPORTED("/proc: %s", why);
}

static int create_temp_file(const char *base, char **name)
{
	char *path = xasprintf("%s/%s.XXXXXX", P_tmpdir, base);
	int fd = mkstemp(path);

	if (name)
		*name = path;
	return fd;
}

static void add_temp_file(const char *name)
{
	(void)name;
}

static void *support_shared_allocate(size_t size)
{
	return xmmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static void *nptl_exit_later(void *seconds)
{
	sleep((unsigned)(long)seconds);
	_exit(0);
}

/* The process ends well in so many seconds. */
static void delayed_exit(int seconds)
{
	pthread_t thread;

	NPTL_NUMBER(pthread_create(&thread, NULL, nptl_exit_later, (void *)(long)seconds));
}

static bool support_mutex_pi_monotonic(void)
{
	return true; /* from Linux 5.14, and glibc 2.35 */
}

#endif
