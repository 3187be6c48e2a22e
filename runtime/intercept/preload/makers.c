/* SPDX-License-Identifier: MIT
 *
 * What programs call to have a thread made, by themselves or by libc for its own use.
 */
#include "maker.h"

#include <aio.h>
#include <mqueue.h>
#include <netdb.h>
#include <signal.h>
#include <threads.h>
#include <time.h>

/* A function as libc has it, behind the start of the runtime if `when` holds. */
#define MAKER(when, name, parameters, ...)                         \
	__attribute__((visibility("default"))) int name parameters \
	{                                                          \
		static int(*real) parameters;                      \
		if (!real)                                         \
			maker_find(&real, #name);                  \
		if (when)                                          \
			maker_start();                             \
		return real(__VA_ARGS__);                          \
	}

static bool by_thread(const struct sigevent *event)
{
	return event && event->sigev_notify == SIGEV_THREAD;
}

/* clang-format off */
MAKER(true, pthread_create, (pthread_t *restrict thread, const pthread_attr_t *restrict attr,
      void *(*start)(void *), void *restrict arg), thread, attr, start, arg)
MAKER(true, thrd_create, (thrd_t *thread, thrd_start_t start, void *arg), thread, start, arg)

MAKER(by_thread(event), timer_create, (clockid_t clock, struct sigevent *restrict event,
      timer_t *restrict timer), clock, event, timer)
MAKER(by_thread(event), mq_notify, (mqd_t queue, const struct sigevent *event), queue, event)

MAKER(true, getaddrinfo_a, (int mode, struct gaicb *list[restrict], int count,
      struct sigevent *restrict event), mode, list, count, event)

MAKER(true, aio_read, (struct aiocb *block), block)
MAKER(true, aio_read64, (struct aiocb64 *block), block)
MAKER(true, aio_write, (struct aiocb *block), block)
MAKER(true, aio_write64, (struct aiocb64 *block), block)
MAKER(true, aio_fsync, (int operation, struct aiocb *block), operation, block)
MAKER(true, aio_fsync64, (int operation, struct aiocb64 *block), operation, block)
MAKER(true, lio_listio, (int mode, struct aiocb *const list[restrict], int count,
      struct sigevent *restrict event), mode, list, count, event)
MAKER(true, lio_listio64, (int mode, struct aiocb64 *const list[restrict], int count,
      struct sigevent *restrict event), mode, list, count, event)
/* clang-format on */
