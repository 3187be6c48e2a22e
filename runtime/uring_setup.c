/* SPDX-License-Identifier: MIT
 *
 * Finding out what the kernel's io_uring can do, and making rings accordingly.
 *
 * The floor is Linux 5.15.  Flags by the kernel that has them: SUBMIT_ALL 5.18,
 * COOP_TASKRUN and registered ring descriptors 5.19 and 5.18, SINGLE_ISSUER 6.0,
 * DEFER_TASKRUN 6.1, waits for a futex 6.7.  One trial ring has all of them.  Where that does not
 * work, each is tried by itself on another, so that any selection of them may be missing.
 */
#include "engine_uring.h"

#include "arch/sys.h"
#include "fdtab.h"
#include "feature.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

unsigned uring_sq_entries = 256, uring_cq_entries = 4096;

/* The least of a worker's ring: a page each. */
#define SQ_LEAST 64
#define CQ_LEAST 128

/* A trial ring's. */
#define SQ_TRIAL 4
#define CQ_TRIAL 8

int64_t uring_release_ns = 3000000000;

/* All that the runtime asks of a ring; the kernel refuses the rest (EACCES). */
static const uint8_t opcodes[] = {
	IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_READ,      IORING_OP_WRITE,
	IORING_OP_READV,    IORING_OP_WRITEV,       IORING_OP_ACCEPT,    IORING_OP_CONNECT,
	IORING_OP_OPENAT,   IORING_OP_FSYNC,        URING_OP_FUTEX_WAIT,
};
#define OPCODES_MOST (sizeof(opcodes) / sizeof(opcodes[0]))
#define OPCODES_FLOOR (OPCODES_MOST - 1) /* without the last, which not all kernels have */

#define TASK_FLAGS_COOP (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
#define TASK_FLAGS_DEFER \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG)

/* What the probe found; written before any worker exists. */
static struct {
	unsigned features; /* bits by enum feature */
} kernel;

static void found(enum feature f, bool have)
{
	if (have)
		kernel.features |= 1u << f;
	feature_set(f, have);
}

static bool in_use(enum feature f)
{
	return kernel.features & 1u << f && feature_on(f);
}

/* ---- entering --------------------------------------------------------------- */

int uring_enter(struct uring *u, unsigned submit, unsigned flags, int64_t wait_ns)
{
	struct io_uring_sq *sq = &u->ring.sq;
	struct __kernel_timespec ts = { .tv_sec = wait_ns / 1000000000,
		                        .tv_nsec = wait_ns % 1000000000 };
	struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&ts };
	void *arg_ptr = NULL;
	size_t arg_size = 0;

	flags |= u->enter_flags;
	if (wait_ns > 0) {
		flags |= IORING_ENTER_EXT_ARG;
		arg_ptr = &arg;
		arg_size = sizeof(arg);
	}
	/* The kernel reads the tail with acquire order, in this very call. */
	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);

	return (int)sys6(SYS_io_uring_enter, u->enter_fd, submit, wait_ns != 0, flags, arg_ptr,
	                 arg_size);
}

/* ---- making a ring ---------------------------------------------------------- */

static int make_ring(struct io_uring *ring, unsigned flags, unsigned sq, unsigned cq)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | flags,
		.cq_entries = cq,
	};
	long fault = sys_fault(SYS_io_uring_setup);

	if (fault)
		return (int)fault;
	int r = io_uring_queue_init_params(sq, ring, &params);
	/* Each place in the ring names the entry of its number.  The library sees to
	 * that since version 2.3, or has the kernel do without. */
	if (r == 0 && !(ring->flags & IORING_SETUP_NO_SQARRAY))
		for (unsigned i = 0; i < params.sq_entries; i++)
			ring->sq.array[i] = i;
	return r;
}

static unsigned quarter(unsigned entries, unsigned least)
{
	return entries / 4 > least ? entries / 4 : least;
}

/* As large as wanted, or smaller where memory is short.  Since Linux 6.14 rings
 * count against RLIMIT_MEMLOCK, for all processes of the user together: 8 MiB,
 * which is usual, are less than a hundred rings of full size. */
static int fit_ring(struct io_uring *ring, unsigned flags)
{
	unsigned sq = uring_sq_entries, cq = uring_cq_entries;
	int r;

	while ((r = make_ring(ring, flags, sq, cq)) == -ENOMEM &&
	       (sq > SQ_LEAST || cq > CQ_LEAST)) {
		sq = quarter(sq, SQ_LEAST);
		cq = quarter(cq, CQ_LEAST);
	}
	return r;
}

/* For who may lock memory the limit does not hold. */
static bool limited(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return sys2(SYS_capget, &head, data) < 0 || !(data[0].effective & 1u << CAP_IPC_LOCK);
}

/* The kernel takes rings down one after the other, some sixty a second, and gives
 * back their share of the limit only then (io_ring_exit_work()).  So where nothing
 * but io_uring will do, memory that is missing is waited for. */
static int await_ring(struct io_uring *ring, unsigned flags,
                      int (*init)(struct io_uring *ring, unsigned flags))
{
	static const struct timespec step = { .tv_nsec = 10000000 };
	int64_t end = sys.now() + uring_release_ns;
	int r;

	while ((r = init(ring, flags)) == -ENOMEM && rt.options.engine == GREEN_ENGINE_URING &&
	       limited() && sys.now() < end)
		sys2(SYS_nanosleep, &step, NULL);
	return r;
}

static int try_ring(struct io_uring *ring, unsigned flags)
{
	return make_ring(ring, flags, SQ_TRIAL, CQ_TRIAL);
}

/* The set-up flags for a worker's ring, less R_DISABLED. */
static unsigned ring_flags(void)
{
	unsigned flags = in_use(FEATURE_SUBMIT_ALL) ? IORING_SETUP_SUBMIT_ALL : 0;

	if (in_use(FEATURE_SINGLE_ISSUER)) {
		flags |= IORING_SETUP_SINGLE_ISSUER;
		if (in_use(FEATURE_DEFER_TASKRUN))
			return flags | TASK_FLAGS_DEFER;
	}
	return in_use(FEATURE_COOP_TASKRUN) ? flags | TASK_FLAGS_COOP : flags;
}

/* Limits the ring to what is used, and starts it. */
static int ring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction rules[OPCODES_MOST + 1];
	const unsigned count = in_use(FEATURE_URING_FUTEX) ? OPCODES_MOST : OPCODES_FLOOR;

	memset(rules, 0, sizeof(rules));
	for (unsigned i = 0; i < count; i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = opcodes[i];
	}
	rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[count].register_op = URING_UNREGISTER_RING_FDS;

	long r = sys_fault(SYS_io_uring_register);
	if (!r)
		r = io_uring_register_restrictions(ring, rules, count + 1);
	if (!r)
		r = sys_fault(SYS_io_uring_register);
	if (!r)
		r = io_uring_enable_rings(ring);
	return (int)r;
}

/* The number of the ring; the library keeps it twice since version 2.2. */
static void set_ring_fd(struct uring *u, int fd)
{
	u->ring.ring_fd = fd;
	u->enter_fd = fd;
#if URING_HAS_ENTER_FD
	u->ring.enter_ring_fd = fd;
#endif
}

/* From then on it is entered by an index that belongs to this OS thread. */
static bool register_fd(struct uring *u)
{
	struct io_uring_rsrc_update slot = { .offset = UINT32_MAX,
		                             .data = (uint64_t)u->ring.ring_fd };

	if (sys4(SYS_io_uring_register, u->ring.ring_fd, URING_REGISTER_RING_FDS, &slot, 1) != 1)
		return false;
	u->enter_fd = (int)slot.offset;
	return true;
}

static void unregister_fd(struct uring *u)
{
	struct io_uring_rsrc_update slot = { .offset = (uint32_t)u->enter_fd };

	sys4(SYS_io_uring_register, u->ring.ring_fd, URING_UNREGISTER_RING_FDS, &slot, 1);
	u->enter_fd = u->ring.ring_fd;
}

static int open_bell(struct uring *u)
{
	u->bell = -1;
	u->bell_futex = in_use(FEATURE_URING_FUTEX);
	u->bell_multishot = in_use(FEATURE_MULTISHOT_POLL);
	if (u->bell_futex)
		return 0;
	u->bell = fd_private((int)sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	return u->bell < 0 ? u->bell : 0;
}

/* The library would close the descriptor by its number; here it is private. */
static void close_ring(struct uring *u)
{
	int fd = u->ring.ring_fd;

	if (u->ring_registered)
		unregister_fd(u);
	u->ring.ring_fd = -1;
	io_uring_queue_exit(&u->ring);
	fd_private_close(fd);
}

static int open_ring(struct uring *u)
{
	bool restricted = in_use(FEATURE_RESTRICTIONS);
	int r = await_ring(&u->ring, ring_flags() | (restricted ? IORING_SETUP_R_DISABLED : 0),
	                   fit_ring);

	if (r < 0)
		return r;
	set_ring_fd(u, fd_private(u->ring.ring_fd));
	u->cq_mask = *u->ring.cq.kring_mask;
	u->enter_flags = 0;
	/* Before it is restricted: from then on nothing can be registered. */
	if (in_use(FEATURE_RING_FD) && register_fd(u)) {
		u->ring_registered = true;
		u->enter_flags |= IORING_ENTER_REGISTERED_RING;
	}
	/* A child made by fork() shall not see the rings at all. */
	r = io_uring_ring_dontfork(&u->ring);
	if (!r && restricted)
		r = ring_restrict(&u->ring);
	if (r < 0) {
		close_ring(u);
		return r;
	}
	if (u->ring.features & IORING_FEAT_NO_IOWAIT)
		u->enter_flags |= IORING_ENTER_NO_IOWAIT; /* a sleeping worker is idle */
	return 0;
}

int uring_open(struct uring *u)
{
	memset(u, 0, sizeof(*u));
	int r = open_bell(u);
	if (r < 0)
		return r;
	r = open_ring(u);
	if (r < 0)
		fd_private_close(u->bell);
	return r;
}

void uring_close(struct uring *u)
{
	/* The kernel takes a ring down later.  A wait for the doorbell that was left until then
	 * would get the wake-ups of whatever futex comes to lie there. */
	sys_futex_wake((const uint32_t *)&u->bell_rings, INT_MAX);
	close_ring(u);
	fd_private_close(u->bell);
}

/* ---- probing ---------------------------------------------------------------- */

/* Would a ring with these flags be made? */
static bool takes_flags(unsigned flags)
{
	struct io_uring ring;

	if (try_ring(&ring, flags) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

static bool takes_restrictions(void)
{
	struct io_uring ring;

	if (try_ring(&ring, IORING_SETUP_R_DISABLED) < 0)
		return false;
	int r = ring_restrict(&ring);
	io_uring_queue_exit(&ring);
	return r == 0;
}

static bool takes_ring_fd(struct uring *u)
{
	if (!register_fd(u))
		return false;
	unregister_fd(u);
	return true;
}

static bool has_opcodes(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool all = probe != NULL;

	for (unsigned i = 0; all && i < OPCODES_FLOOR; i++)
		all = io_uring_opcode_supported(probe, opcodes[i]);
	found(FEATURE_URING_FUTEX, all && io_uring_opcode_supported(probe, URING_OP_FUTEX_WAIT));
	io_uring_free_probe(probe);
	return all;
}

/* Runs one poll on a ready descriptor, which also shows that the ring may be
 * entered.  *multishot: the kernel knows polls that go on.  0, -errno. */
static int try_poll(struct uring *u, bool *multishot)
{
	int fd = (int)sys2(SYS_eventfd2, 1, EFD_CLOEXEC);

	if (fd < 0)
		return fd;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	sqe->user_data = URING_TAG_BELL;
	int r = uring_enter(u, 1, IORING_ENTER_GETEVENTS, 1000000000);
	if (r >= 0 && !io_uring_cq_ready(&u->ring))
		r = -EIO;
	if (r >= 0) {
		const struct io_uring_cqe *cqe = u->ring.cq.cqes;

		*multishot = cqe->res > 0 && cqe->flags & IORING_CQE_F_MORE;
		r = 0;
	}
	sys1(SYS_close, fd);
	return r;
}

/* What kernel.io_uring_disabled says: '0', '1' (only a group may), '2'; '0'
 * where there is no such setting. */
static char disabled_setting(void)
{
	char c = '0';
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/sys/kernel/io_uring_disabled",
	               O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return c;
	if (sys3(SYS_read, fd, &c, 1) != 1)
		c = '0';
	sys1(SYS_close, fd);
	return c;
}

static const char *reason(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		if (disabled_setting() == '2')
			return "io_uring is disabled by kernel.io_uring_disabled=2";
		if (disabled_setting() == '1')
			return "io_uring is limited to a group by kernel.io_uring_disabled=1";
		return "io_uring is not permitted here (seccomp or container policy)";
	case -ENOSYS:
		return "this kernel has no io_uring, or a container policy hides it";
	case -ENOMEM:
		return "no memory for an io_uring (RLIMIT_MEMLOCK or the cgroup's limit)";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor left for an io_uring";
	case -EINVAL:
	case -EOPNOTSUPP:
		return "the io_uring of this kernel is too old (Linux 5.15 is needed)";
	default:
		return "io_uring does not work here";
	}
}

/* Has the kernel what is taken for granted? */
static bool has_the_floor(struct io_uring *ring)
{
	const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SINGLE_MMAP |
	                        IORING_FEAT_RW_CUR_POS;

	return (ring->features & needed) == needed && has_opcodes(ring);
}

/* All features on one ring, as since Linux 6.1: the kernel takes its time with each ring that
 * is closed.  False: not all of them are there, or something went wrong. */
static bool probe_at_once(void)
{
	struct uring trial = { .bell = -1 };
	bool multishot = false, ring_fd;

	if (try_ring(&trial.ring, IORING_SETUP_SUBMIT_ALL | TASK_FLAGS_COOP | TASK_FLAGS_DEFER |
	                                  IORING_SETUP_R_DISABLED) < 0)
		return false;
	trial.enter_fd = trial.ring.ring_fd;
	ring_fd = takes_ring_fd(&trial);
	bool all = has_the_floor(&trial.ring) && ring_restrict(&trial.ring) == 0 &&
	           try_poll(&trial, &multishot) == 0;
	io_uring_queue_exit(&trial.ring);
	if (!all)
		return false;
	found(FEATURE_IO_URING, true);
	found(FEATURE_RING_FD, ring_fd);
	found(FEATURE_MULTISHOT_POLL, multishot);
	found(FEATURE_SUBMIT_ALL, true);
	found(FEATURE_COOP_TASKRUN, true);
	found(FEATURE_SINGLE_ISSUER, true);
	found(FEATURE_DEFER_TASKRUN, true);
	found(FEATURE_RESTRICTIONS, true);
	return true;
}

static int probe_ring(struct uring *u)
{
	bool multishot = false;

	if (!has_the_floor(&u->ring))
		return -EOPNOTSUPP;
	found(FEATURE_RING_FD, takes_ring_fd(u));
	int r = try_poll(u, &multishot);
	found(FEATURE_MULTISHOT_POLL, multishot);
	return r;
}

int uring_probe(char *why, size_t size)
{
	struct uring trial = { .bell = -1 };

	memset(&kernel, 0, sizeof(kernel));
	if (!feature_on(FEATURE_IO_URING)) {
		snprintf(why, size, "io_uring is switched off by GREEN_FEATURES");
		return -EOPNOTSUPP;
	}
	if (probe_at_once())
		return 0;
	int r = await_ring(&trial.ring, 0, try_ring);
	if (r == 0) {
		trial.enter_fd = trial.ring.ring_fd;
		r = probe_ring(&trial);
		io_uring_queue_exit(&trial.ring);
	}
	found(FEATURE_IO_URING, r == 0);
	if (r < 0) {
		snprintf(why, size, "%s", reason(r));
		return r;
	}
	found(FEATURE_SUBMIT_ALL, takes_flags(IORING_SETUP_SUBMIT_ALL));
	found(FEATURE_COOP_TASKRUN, takes_flags(TASK_FLAGS_COOP));
	found(FEATURE_SINGLE_ISSUER, takes_flags(IORING_SETUP_SINGLE_ISSUER));
	found(FEATURE_DEFER_TASKRUN, takes_flags(TASK_FLAGS_DEFER));
	found(FEATURE_RESTRICTIONS, takes_restrictions());
	return 0;
}
