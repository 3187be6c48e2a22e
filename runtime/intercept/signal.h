/* SPDX-License-Identifier: MIT
 *
 * Signals of threads that are green threads.
 *
 * What the kernel keeps for a thread – mask, pending signals, alternate stack – is
 * kept here for each green thread; what it keeps for the process – what to do with
 * which signal – is kept here, too.  The way of a signal:
 *
 *   to the process   Workers and all other OS threads of the runtime block it.  One OS
 *                    thread, green-signals, waits for it (signal_thread.c) and looks
 *                    for a green thread that does not block it.  When all do, it gives
 *                    the signal back to the kernel and blocks it itself: so
 *                    signalfd(2) and sigpending(2) find what they would find.
 *   to a thread      tgkill(2) and the like, to the tid of a green thread, is done here
 *                    alone (signal_send.c).
 *   a fault          arrives on the worker, in the code that it is about (kick.c).
 *
 * A signal for a green thread is queued with it, GT_SIGNALLED is set, a wait that Linux
 * would interrupt is ended (park.h), and the worker that runs it is kicked if it is
 * another one.  The thread itself looks at what came for it (signal_deliver.c)
 *
 *   - when it leaves an intercepted call: the entry looks at gt.look last, and again
 *     from the beginning of that look if it is kicked behind it;
 *   - when its own code was interrupted by a kick: the handler of the kick sends it to
 *     signal_landing, on its own stack, with the interrupted state in a frame there.
 *
 * So handlers of the program run on the thread's stack (or its sigaltstack), with its
 * thread-local storage, never inside the runtime, and may do all that others may: wait,
 * siglongjmp(3), end the thread.
 *
 * Why none is lost: the sender queues, then makes all CPUs that run this process pass a
 * barrier (membarrier), then reads the mask and who runs where.  The thread writes its
 * mask, then reads what is pending; it becomes a worker's current thread, then reads
 * gt.look on its way out.  Either the sender sees what the thread wrote, or the thread
 * what the sender queued.
 *
 * One lock protects actions and queues.  It is held in the runtime only, where no
 * thread is interrupted for good.
 */
#ifndef INTERCEPT_SIGNAL_H
#define INTERCEPT_SIGNAL_H

#include "arch/os_thread.h"
#include "intercept/thread.h"
#include "spin.h"

#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

#define SIGNAL_COUNT 64
#define SIGNAL_BIT(sig) ((uint64_t)1 << ((sig)-1))
#define SIGNAL_CANCEL 32 /* of libc: pthread_cancel(), and SIGEV_THREAD */

/* The real signal by which the runtime interrupts its OS threads: libc's own use of it
 * is answered here (credentials.c), so it never comes. */
#define SIGNAL_KICK SIGNAL_SETXID

/* Ends blocking calls on threads of the offload pool: theirs. */
#define SIGNAL_OFFLOAD SIGNAL_CANCEL

#define SIGNALS_STOPPING \
	(SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU))
#define SIGNALS_UNBLOCKABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))
/* Those that code causes by itself. */
#define SIGNALS_OF_FAULTS                                                                     \
	(SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGILL) | \
	 SIGNAL_BIT(SIGTRAP) | SIGNAL_BIT(SIGSYS))
/* What no OS thread of the runtime ever blocks. */
#define SIGNALS_REAL (SIGNALS_OF_FAULTS | SIGNAL_BIT(SIGNAL_KICK))

/* As the kernel has it. */
struct signal_action {
	union {
		void (*plain)(int);
		void (*info)(int, siginfo_t *, void *);
	} handler;
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
_Static_assert(sizeof(struct signal_action) == 32, "the kernel's struct sigaction");

struct signal_record {
	struct signal_record *next;
	siginfo_t info;
	bool process; /* any thread would do */
};

struct signals {
	struct spin lock; /* of all that follows, but for what is atomic */
	struct signal_action actions[SIGNAL_COUNT + 1]; /* the program's, by number */
	struct signal_record *free;
	unsigned records;
	/* Blocked by green-signals: every green thread did, when one came last. */
	_Atomic uint64_t held;
	_Atomic uint64_t adopted; /* what of it green-signals has blocked by now */
	/* Somebody has waited for them with sigtimedwait(2), or by signalfd(2). */
	_Atomic uint64_t awaited, in_files;
	int pid;
	_Atomic int tid;     /* of green-signals */
	uint64_t real_mask;  /* of workers */
	uint64_t first_mask; /* of the first thread when it became green */
	stack_t first_stack; /* the same */
};
extern internal struct signals signals;

/* ---- for handlers of calls ------------------------------------------------- */

/* Is there a signal for self that it does not block, or waits for, and that is not
 * ignored?  Its wait ends with CALL_RESTARTSYS & co. then (call.h). */
bool signal_pending(struct gt *self);
static inline bool signal_deliverable(void)
{
	return signal_pending(gt_self());
}

/* self gets a signal by what it has just done (SIGPIPE): delivered when the call is
 * left.  Takes the kernel's own away, if there is one. */
void signal_raise(struct gt *self, int sig, int code);

/* The signal that the calling OS thread, which blocks it, has just had from the kernel for
 * a call with that result (SIGPIPE, SIGXFSZ), taken from there; 0: none. */
int signal_earned(long result);

/* sigsuspend, ppoll, pselect6, epoll_pwait: the mask is *mask until the call is left and
 * the signals that it lets through have been delivered.  0, -EINVAL, -EFAULT.  NULL: as
 * it is.  CALL_PASS: it cannot be emulated (link mode). */
long signal_mask_for_call(const void *mask, size_t size);

/* ---- between the parts ----------------------------------------------------- */

/* Before the first worker starts: the OS thread's mask and actions become the
 * program's. */
void signals_start(void);
/* The workers did not start: mask and actions are the kernel's again. */
void signals_undo(void);
/* Once workers run, outside of them: green-signals and the kick. 0 or -errno. */
int signals_serve(void);
/* t begins: with the mask of the one that made it (NULL: the process's first). */
void signal_thread_begin(struct thread *t, const struct thread *parent);
/* t ends, by its own hand: what came for the process is passed on. */
void signal_thread_end(struct thread *t);

/* The whole mask, and what is pending: told again, or passed on. */
void signal_settle(struct thread *t);

/* Queues it with t.  0, -EAGAIN (too many), -ESRCH. */
int signal_send(struct thread *t, const siginfo_t *info, bool process);
/* To a green thread that does not block it: true.  Else nothing has been done. */
bool signal_send_process(const siginfo_t *info, struct thread *preferred);

/* Does any thread not block it, or await it? */
bool signal_has_taker(int sig);

/* The first signal of t's among those of `which`; NULL: none.  The lock is held; the
 * caller gives the record back. */
struct signal_record *signal_take(struct thread *t, uint64_t which);
void signal_record_put(struct signal_record *record); /* the lock is held */
/* Drops what is queued of these, for all threads. The lock is held. */
void signal_forget(uint64_t which);

/* What blocks and does nothing when it comes. */
bool signal_is_ignored(int sig);
/* The default action, for a signal that has come: for the process's death or stop the
 * kernel's own is made, on the calling OS thread.  Returns when there is none. */
void signal_default(const siginfo_t *info);
/* The kernel's action of that signal: default, ignored, or ours. */
void signal_set_real(int sig);

/* t->pending, from the queue; the lock is held. */
void signal_note_pending(struct thread *t);
void signal_set_mask(struct thread *t, uint64_t mask);
stack_t signal_stack_of(const struct thread *t, uintptr_t sp);

/* Nobody takes it: back to the kernel, where green-signals blocks it. */
void signal_give_back(const siginfo_t *info);
/* Returns when green-signals blocks it. */
void signal_hold(int sig);
/* What has been sent so far is with whom it is for, and not on its way through the kernel and
 * green-signals; unless all block it.  Full stage. */
void signal_gather(int sig);
/* What nobody takes: pending for the process, where signalfd(2) reads it.  0, -errno. */
long signal_leave_to_kernel(const siginfo_t *info);
/* Somebody takes these now: green-signals shall not block them. */
void signals_unhold(uint64_t which);
/* Sends the kick to an OS thread, or to whoever runs gt now. */
void kick_tid(int tid);
void kick_gt(const struct gt *gt);
/* Installs the handlers of faults and kicks. */
void kick_start(void);

/* Delivers what is pending to the calling green thread, whose interrupted state is in
 * *context; true: at least one handler has run, *restart: all that ran allow it. */
bool signal_deliver(ucontext_t *context, bool *restart);

static inline bool signal_code_is_fault(const siginfo_t *info)
{
	return info->si_code > 0 && (SIGNALS_OF_FAULTS & SIGNAL_BIT(info->si_signo));
}

/* Something has come for it. */
static inline bool signal_look(const struct gt *gt)
{
	return atomic_load_explicit(&gt->look, memory_order_relaxed) & LOOK_SIGNALLED;
}

static inline uint64_t signal_mask_of(const struct thread *t)
{
	return atomic_load_explicit(&t->sigmask, memory_order_relaxed);
}

#endif
