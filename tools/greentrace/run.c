/* SPDX-License-Identifier: MIT
 *
 * The loop: take what arrives, show it at each interval, stop when the time is up, the
 * process has ended or the user says so; then judge.
 */
#include "run.h"
#include "attach.h"
#include "contract.h"
#include "escape.h"
#include "greenps.h"
#include "recording.h"
#include "terminal.h"
#include "timeline.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SECOND 1000000000
#define POLL_MS 5

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

static void show(struct trace *t, bool interval)
{
	const struct options *o = t->options;

	if (o->json) {
		view_json(t, interval);
	} else {
		if (interval)
			terminal_clear();
		if (o->map)
			view_sites(t);
		else
			view_table(t, interval);
		printf("\n");
	}
	fflush(stdout);
}

/* Is there one table at the end, and none before? */
static bool only_at_end(const struct options *o)
{
	return o->summary || o->map || o->command == RECORD || has_contract(o);
}

/* True: the process has ended. */
static bool follow(struct trace *t)
{
	const struct options *o = t->options;
	int64_t interval = o->interval_ns ? (int64_t)o->interval_ns : SECOND;
	int64_t next = t->started_ns + interval;
	uint64_t shown = 0;

	for (;;) {
		bool alive = trace_poll(t, POLL_MS);
		int64_t now = clock_now();
		if (!alive)
			return true;
		if (interrupted || terminal_key(&t->order) ||
		    (o->duration_ns && now - t->started_ns >= (int64_t)o->duration_ns))
			return false;
		if (now < next || only_at_end(o))
			continue;
		show(t, true);
		sites_mark(&t->sites);
		t->marked_ns = now;
		next += interval * ((now - next) / interval + 1);
		if (++shown == o->count)
			return false;
	}
}

static int write_files(struct trace *t)
{
	const struct options *o = t->options;
	int status = EXIT_OK;

	if (o->folded)
		status = folded_write(t, o->folded);
	if (o->flame && status == EXIT_OK)
		status = flame_write(t, o->flame);
	if (t->timeline && status == EXIT_OK)
		status = timeline_end(t->timeline);
	return status;
}

/* A program that was started here is waited for: its exit status is the result, unless a
 * contract says otherwise. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_OK;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
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

static int finish(struct trace *t, bool ended)
{
	const struct options *o = t->options;

	trace_stop(t);
	if (o->summary || o->map || (o->json && !has_contract(o)) || (ended && !only_at_end(o)))
		show(t, false);
	int status = t->recording ? end_recording(t) : write_files(t);
	if (status == EXIT_OK && has_contract(o))
		status = contract_judge(t);
	fflush(stdout);
	if (ferror(stdout))
		status = problem("standard output: %s", strerror(errno));
	if (!o->argv)
		return status;
	int child = wait_for(t->session.pid);
	if (status != EXIT_OK || child == EXIT_OK || !has_contract(o))
		return status != EXIT_OK ? status : child;
	complain("inconclusive: the command failed (exit status %d)", child);
	return EXIT_INCONCLUSIVE;
}

static int report_from(struct trace *t, const struct options *o, FILE *file)
{
	t->options = o;
	t->order = o->order;
	int read = recording_read(t, file, o->file), status;

	if (read != EXIT_OK && read != EXIT_INCOMPLETE)
		return read;
	if (!has_contract(o))
		show(t, false);
	status = write_files(t);
	if (status == EXIT_OK && has_contract(o))
		status = contract_judge(t);
	fflush(stdout);
	if (ferror(stdout))
		status = problem("standard output: %s", strerror(errno));
	return status == EXIT_OK && read == EXIT_INCOMPLETE ? EXIT_PROBLEM : status;
}

int report(const struct options *o)
{
	struct trace *t = calloc(1, sizeof(*t));
	char shown[300];
	FILE *file = fopen(o->file, "re");
	int status;

	if (!file)
		status = problem("%s: %s", escape_text(shown, sizeof(shown), o->file, true),
		                 strerror(errno));
	else if (!t)
		status = problem("no memory");
	else
		status = report_from(t, o, file);
	if (t)
		trace_free(t);
	if (file)
		fclose(file);
	free(t);
	return status;
}

int run(const struct options *o)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return problem("no memory");
	int status = trace_start(t, o);
	if (status == EXIT_OK) {
		catch_signals();
		terminal_open(o);
		bool ended = follow(t);
		terminal_close();
		status = finish(t, ended);
	}
	trace_free(t);
	free(t);
	return status;
}
