/* SPDX-License-Identifier: MIT
 *
 * liburing.h, and the kernel's constants newer than those that come with liburing
 * 2.1 (Ubuntu 22.04).  Every use is probed when the program starts; a constant
 * here promises nothing.
 */
#ifndef ARCH_COMPAT_URING_H
#define ARCH_COMPAT_URING_H

#include <liburing.h>
#include <stdint.h>
#include <string.h>

#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7) /* Linux 5.18 */
#endif

/* With this constant came a member of the library's struct io_uring. */
#ifdef IORING_ENTER_REGISTERED_RING
#define URING_HAS_ENTER_FD 1
#else
#define URING_HAS_ENTER_FD 0
#define IORING_ENTER_REGISTERED_RING (1U << 4) /* Linux 5.18 */
#endif

/* IORING_REGISTER_RING_FDS and IORING_UNREGISTER_RING_FDS: enumerators, which the
 * preprocessor cannot look for. */
#define URING_REGISTER_RING_FDS 20
#define URING_UNREGISTER_RING_FDS 21

#ifndef IORING_SETUP_COOP_TASKRUN
#define IORING_SETUP_COOP_TASKRUN (1U << 8) /* Linux 5.19 */
#define IORING_SETUP_TASKRUN_FLAG (1U << 9)
#define IORING_SQ_TASKRUN (1U << 2)
#endif

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) /* Linux 6.0 */
#endif

#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* Linux 6.1 */
#endif

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) /* Linux 6.6 */
#endif

#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17) /* Linux 6.15 */
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

#define URING_OP_FUTEX_WAIT 51 /* Linux 6.7; IORING_OP_FUTEX_WAIT is an enumerator */

/* Completes when a futex that only this process uses is woken, or at once with -EAGAIN where
 * *word is not value. */
static inline void uring_prep_futex_wait(struct io_uring_sqe *sqe, const uint32_t *word,
                                         uint32_t value)
{
	const int flags = 2 | 128;                    /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */
	const uint64_t mask = 0xffffffff;             /* FUTEX_BITSET_MATCH_ANY */
	char *addr3 = (char *)sqe + 6 * sizeof(mask); /* of a later liburing */

	io_uring_prep_rw(URING_OP_FUTEX_WAIT, sqe, flags, word, 0, value);
	memcpy(addr3, &mask, sizeof(mask));
}

#endif
