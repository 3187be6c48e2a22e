/* SPDX-License-Identifier: MIT
 *
 * Running a bench inside the runtime: start, rounds, what went wrong.
 */
#include "run.h"

#include "child.h"
#include "perf.h"
#include "progress.h"
#include "watchdog.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct green_options run_green_options(const struct options *options)
{
	struct green_options result = { .workers = (unsigned)options->workers };
	if (options->engine && !strcmp(options->engine, "io_uring"))
		result.engine = GREEN_ENGINE_URING;
	else if (options->engine && !strcmp(options->engine, "epoll"))
		result.engine = GREEN_ENGINE_EPOLL;
	return result;
}

static void complain(const struct run *run, const char *kind, const char *format, va_list arguments)
{
	progress_clear();
	fprintf(stderr, "greenbench: %s: %s", run->bench, kind);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

int run_wrong(struct run *run, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	complain(run, "wrong: ", format, arguments);
	va_end(arguments);
	return run->status = EXIT_WRONG;
}

int run_cannot(struct run *run, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	complain(run, "cannot run: ", format, arguments);
	va_end(arguments);
	return run->status = EXIT_CANNOT;
}

int run_spawn(struct run *run, green_t *thread, const struct green_attr *attr, green_fn fn,
              void *arg)
{
	int error = green_spawn(thread, attr, fn, arg);
	if (error)
		return run_cannot(run, "a green thread could not be spawned: %s", strerror(-error));
	return 0;
}

void *run_alloc(struct run *run, size_t count, size_t size)
{
	size_t bytes = (count * size + 63) / 64 * 64;
	void *memory = aligned_alloc(64, bytes);
	if (memory)
		memset(memory, 0, bytes);
	else
		run_cannot(run, "no memory for %zu bytes", bytes);
	return memory;
}

uint64_t run_default(uint64_t given, uint64_t otherwise)
{
	return given ? given : otherwise;
}

double run_cpu_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

void run_mark(struct run *run)
{
	run->instructions = perf_read();
	run->cpu_ns = run_cpu_ns();
}

double run_costs(struct run *run, double operations)
{
	double instructions = perf_read() - run->instructions, ns = run_cpu_ns() - run->cpu_ns;
	result_measure(&run->result, "cpu_ns_per_op", "ns, all CPUs", ns / operations);
	result_measure(&run->result, "instructions_per_op", "instructions",
	               instructions / operations);
	return ns / operations;
}

void run_result_info(struct result *result, const struct green_info *info)
{
	result_number(result, "workers", info->workers);
	result_text(result, "engine", info->engine);
	result_text(result, "stacks", info->stacks);
}

/* One pass, or as many as --duration asks for. */
static int passes(struct run *run, run_round_fn round, void *arg)
{
	double seconds = run->timed || run->result.muted ? 0 : run->options->duration_s;
	int64_t end_ns = green_now() + (int64_t)(seconds * 1e9);
	int status;
	do
		status = round(run, arg);
	while (!status && seconds > 0 && green_now() < end_ns);
	return status;
}

static int one_round(struct run *run, unsigned number, run_round_fn round, void *arg)
{
	static char phase[64]; /* read by the watchdog's thread */
	if (number)
		snprintf(phase, sizeof(phase), "round %u of %u", number, run->rounds);
	else
		snprintf(phase, sizeof(phase), "warm-up");
	watchdog_phase(phase, run->options->duration_s + watchdog_limit_s());
	progress("%s: %s", run->bench, phase);
	run->result.muted = number == 0;
	int status = passes(run, round, arg);
	watchdog_phase("clean-up", watchdog_limit_s());
	if (!status)
		result_round(&run->result);
	return status;
}

/* What a failed round has started is still there, and uses what the bench would free now. */
static _Noreturn void end_at_once(int status)
{
	child_kill_all();
	fflush(stdout);
	_exit(status);
}

int run_rounds(struct run *run, run_round_fn round, void *arg)
{
	if (!run->timed && run->options->duration_s > 0)
		result_number(&run->result, "duration_s", run->options->duration_s);
	for (unsigned number = 0; number <= run->rounds; number++) {
		int status = one_round(run, number, round, arg);
		if (status)
			end_at_once(status);
	}
	result_summary(&run->result);
	return run->status;
}

static void *first_thread(void *arg)
{
	struct run *run = arg;
	struct green_info info;
	if (green_info(&info) < 0)
		return NULL;
	run->workers = info.workers;
	run_result_info(&run->result, &info);
	run->status = run->body(run);
	return run;
}

/* Bad values are the user's, the rest is what the machine does not give. */
static int start_error(struct run *run, int error)
{
	const char *text = green_error();
	run_cannot(run, "%s", *text ? text : strerror(-error));
	return error == -EINVAL ? EXIT_USAGE : EXIT_CANNOT;
}

static int run_started(struct run *run)
{
	void *ran = NULL;
	int error = green_run(first_thread, run, &ran);
	if (error == -EDEADLK)
		return run_wrong(run, "all green threads wait for ever");
	if (error)
		return start_error(run, error);
	return ran ? run->status : EXIT_WRONG;
}

int run_bench(const struct options *options, const char *bench, int (*body)(struct run *run))
{
	struct run run = { .options = options, .bench = bench, .body = body };
	run.rounds = (unsigned)run_default(options->rounds, 5);
	struct green_options green = run_green_options(options);
	perf_open();
	int error = green_init(&green);
	if (error)
		return start_error(&run, error);
	int status = EXIT_CANNOT;
	if (result_open(&run.result, bench, options->json, run.rounds) == 0) {
		status = run_started(&run);
		result_close(&run.result);
	}
	green_fini();
	return status;
}
