/* SPDX-License-Identifier: MIT
 *
 * The loop: take what arrives, show it at each interval, stop when the time is up, the
 * processes have ended or the user says so; then judge.
 */
#include "run.h"
#include "contract.h"
#include "escape.h"
#include "find.h"
#include "greenps.h"
#include "present.h"
#include "recording.h"
#include "terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SECOND 1000000000
#define POLL_MS 5

struct run {
	const struct options *options;
	struct look look;
	struct trace **all; /* one for each process */
	size_t count;
	struct found found;
	int64_t started_ns, looked_ns; /* for processes */
	int status;                    /* so far: the worst */
	pid_t child;                   /* that was started here and not waited for yet; 0 */
	int result;                    /* of the one that was */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	/* A second one ends this process as if it had never been caught. */
	interrupted = 1;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* Is there one table at the end, and none before? */
static bool only_at_end(const struct options *o)
{
	return o->summary || o->map || o->command == RECORD || has_contract(o);
}

/* A problem outweighs a broken contract, that one an inconclusive one. */
static void add_status(struct run *r, int status)
{
	static const int weights[] = {
		[EXIT_OK] = 0, [EXIT_INCONCLUSIVE] = 1, [EXIT_BROKEN] = 2, [EXIT_PROBLEM] = 3
	};

	if (weights[status] > weights[r->status])
		r->status = status;
}

/* ---- processes -------------------------------------------------------------------- */

/* pid: 0: the command is started.  EXIT_OK, or a problem that has been reported. */
static int add_process(struct run *r, pid_t pid)
{
	struct trace **more = realloc(r->all, (r->count + 1) * sizeof(struct trace *));
	struct trace *t = calloc(1, sizeof(*t));

	if (more)
		r->all = more;
	if (!more || !t) {
		free(t);
		return problem("no memory");
	}
	int status = trace_start(t, r->options, &r->look, pid);
	if (status == EXIT_OK) {
		r->all[r->count++] = t;
		return EXIT_OK;
	}
	trace_free(t);
	free(t);
	return status;
}

/* Those that have come since the last look; what cannot be attached to is said, and left. */
static int look_for_processes(struct run *r)
{
	int status = find_news(&r->found, r->options->name);

	r->looked_ns = clock_now();
	for (size_t i = 0; i < r->found.news_count && status == EXIT_OK; i++)
		if (add_process(r, r->found.news[i]) != EXIT_OK)
			complain("process %d is left out", (int)r->found.news[i]);
	return status;
}

static int begin(struct run *r)
{
	const struct options *o = r->options;
	int status = o->many ? look_for_processes(r) : add_process(r, o->pid);
	if (o->many && status == EXIT_OK && r->count == 0)
		status = problem("no process with green threads can be attached to");
	/* Attaching takes longer than some ask to look. */
	r->started_ns = clock_now();
	return status;
}

/* ---- the end of one ---------------------------------------------------------------- */

/* A program that was started here is waited for: its exit status is the result, unless a
 * contract says otherwise. */
static int command_result(struct run *r)
{
	pid_t pid = r->child;
	int status = 0;

	r->child = 0;
	while (pid && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			pid = 0;
	if (pid)
		r->result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return r->result;
}

static int end_recording(struct trace *t)
{
	char shown[300];
	uint64_t size;
	int status = recording_finish(t->recording, &size);

	t->recording = NULL;
	if (status == EXIT_OK)
		printf("%s: %" PRIu64 " records, %.1f MB\n",
		       escape_text(shown, sizeof(shown), t->options->file, false), t->records,
		       (double)size / 1e6);
	return status;
}

static void finish(struct run *r, struct trace *t, bool ended)
{
	const struct options *o = r->options;

	trace_stop(t);
	if (o->summary || o->map || (o->json && !has_contract(o)) || (ended && !only_at_end(o)))
		present(t, false);
	int status = t->recording ? end_recording(t) : present_files(t);
	if (status == EXIT_OK && has_contract(o))
		status = contract_judge(t);
	if (status == EXIT_OK && o->lock && command_result(r) == EXIT_OK)
		status = contract_lock(t);
	add_status(r, status);
	trace_free(t);
	free(t);
}

/* ---- the loop ---------------------------------------------------------------------- */

/* False: all have ended. */
static bool poll_all(struct run *r)
{
	for (size_t i = 0; i < r->count;) {
		if (trace_poll(r->all[i], i == 0 ? POLL_MS : 0)) {
			i++;
			continue;
		}
		finish(r, r->all[i], true);
		r->all[i] = r->all[--r->count];
	}
	return r->count > 0;
}

static void show_all(struct run *r, int64_t now)
{
	terminal_clear();
	for (size_t i = 0; i < r->count; i++) {
		struct trace *t = r->all[i];
		present(t, true);
		sites_mark(&t->sites);
		t->marked_ns = now;
	}
	terminal_line(&r->look);
}

/* The last interval is as long as the time that was left. */
static void follow(struct run *r)
{
	const struct options *o = r->options;
	int64_t interval = o->interval_ns ? (int64_t)o->interval_ns : SECOND;
	int64_t next = r->started_ns + interval;
	uint64_t intervals = 0;

	while (poll_all(r) && !interrupted && !terminal_key(&r->look)) {
		int64_t now = clock_now();
		bool over = o->duration_ns && now - r->started_ns >= (int64_t)o->duration_ns;
		if (!over && o->many && now - r->looked_ns >= SECOND)
			look_for_processes(r);
		if (!over && now < next)
			continue;
		if (!only_at_end(o))
			show_all(r, now);
		next += interval * ((now - next) / interval + 1);
		if (over || ++intervals == o->count)
			return;
	}
}

int run(const struct options *o)
{
	struct run r = { .options = o, .look = { .order = o->order, .filter = o->filter } };
	int status = present_check(o);

	if (status != EXIT_OK)
		return status;
	status = begin(&r);
	if (status == EXIT_OK) {
		if (o->argv)
			r.child = r.all[0]->session.pid;
		catch_signals();
		terminal_open(o);
		follow(&r);
		terminal_close();
	}
	/* Taking the probes out of many processes takes a while. */
	for (size_t i = 0; i < r.count; i++)
		trace_end(r.all[i]);
	while (r.count > 0)
		finish(&r, r.all[--r.count], false);
	free(r.all);
	find_free(&r.found);
	if (status == EXIT_OK)
		status = r.status;
	int shown = present_end();
	if (shown != EXIT_OK)
		status = shown;
	int result = command_result(&r);
	if (status != EXIT_OK || result == EXIT_OK || !has_contract(o))
		return status != EXIT_OK ? status : result;
	complain("inconclusive: the command failed (exit status %d)", result);
	return EXIT_INCONCLUSIVE;
}
