/* SPDX-License-Identifier: MIT
 *
 * Checks of OpenMP, whose library makes its futex calls itself: prints one line for
 * each, as conform does; --list and --after NAME as there.
 */
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4, SIZE = 100000 };

static bool omp_parallel(void)
{
	int seen[THREADS] = { 0 }, count = 0;

#pragma omp parallel num_threads(THREADS)
	{
		seen[omp_get_thread_num()]++;
#pragma omp atomic
		count++;
	}
	for (int i = 0; i < THREADS; i++)
		if (seen[i] != 1)
			return false;
	return count == THREADS;
}

static bool omp_for_and_reduction(void)
{
	static int values[SIZE];
	long sum = 0;

#pragma omp parallel for num_threads(THREADS)
	for (int i = 0; i < SIZE; i++)
		values[i] = i;
#pragma omp parallel for num_threads(THREADS) reduction(+ : sum) schedule(dynamic, 100)
	for (int i = 0; i < SIZE; i++)
		sum += values[i];
	return sum == (long)SIZE * (SIZE - 1) / 2;
}

static bool omp_critical(void)
{
	long count = 0;

#pragma omp parallel num_threads(THREADS)
	for (int i = 0; i < 5000; i++) {
#pragma omp critical
		count++;
	}
	return count == THREADS * 5000;
}

static bool omp_barriers(void)
{
	int came = 0, bad = 0;

#pragma omp parallel num_threads(THREADS)
	for (int round = 1; round <= 100; round++) {
#pragma omp atomic
		came++;
#pragma omp barrier
#pragma omp critical
		if (came != round * THREADS)
			bad++;
#pragma omp barrier
	}
	return bad == 0;
}

static bool omp_waits(void)
{
	double before = omp_get_wtime();

#pragma omp parallel num_threads(THREADS)
	usleep(50000);
	return omp_get_wtime() - before < 1.0 && omp_get_wtime() - before >= 0.05;
}

static bool omp_single_and_sections(void)
{
	int single = 0, first = 0, second = 0;

#pragma omp parallel num_threads(THREADS)
	{
#pragma omp single
		single++;
#pragma omp sections
		{
#pragma omp section
			first = 1;
#pragma omp section
			second = 2;
		}
	}
	return single == 1 && first == 1 && second == 2;
}

static long fibonacci(int n)
{
	long a, b;

	if (n < 2)
		return n;
#pragma omp task shared(a)
	a = fibonacci(n - 1);
#pragma omp task shared(b)
	b = fibonacci(n - 2);
#pragma omp taskwait
	return a + b;
}

static bool omp_tasks(void)
{
	long result = 0;

#pragma omp parallel num_threads(THREADS)
#pragma omp single
	result = fibonacci(15);
	return result == 610;
}

static bool omp_task_dependences(void)
{
	int value = 0;

#pragma omp parallel num_threads(THREADS)
#pragma omp single
	for (int i = 0; i < 100; i++) {
#pragma omp task depend(inout : value) firstprivate(i)
		value = value * 2 % 1000003 + i;
	}
	int expected = 0;
	for (int i = 0; i < 100; i++)
		expected = expected * 2 % 1000003 + i;
	return value == expected;
}

static bool omp_locks(void)
{
	omp_lock_t lock;
	omp_nest_lock_t nest;
	int count = 0, nested = 0;

	omp_init_lock(&lock);
	omp_init_nest_lock(&nest);
#pragma omp parallel num_threads(THREADS)
	for (int i = 0; i < 1000; i++) {
		omp_set_lock(&lock);
		count++;
		omp_unset_lock(&lock);
		omp_set_nest_lock(&nest);
		omp_set_nest_lock(&nest);
		nested++;
		omp_unset_nest_lock(&nest);
		omp_unset_nest_lock(&nest);
	}
	omp_destroy_lock(&lock);
	omp_destroy_nest_lock(&nest);
	return count == THREADS * 1000 && nested == THREADS * 1000;
}

static int private_value = 1;
#pragma omp threadprivate(private_value)

static bool omp_threadprivate(void)
{
	int bad = 0;

	omp_set_dynamic(0);
#pragma omp parallel num_threads(THREADS)
	private_value = 100 + omp_get_thread_num();
#pragma omp parallel num_threads(THREADS)
	{
		usleep(1000);
#pragma omp critical
		if (private_value != 100 + omp_get_thread_num())
			bad++;
	}
	return bad == 0;
}

static bool omp_nested(void)
{
	int count = 0;

	omp_set_max_active_levels(2);
#pragma omp parallel num_threads(2)
#pragma omp parallel num_threads(2)
	{
#pragma omp atomic
		count++;
	}
	return count == 4;
}

static bool omp_ordered(void)
{
	int next = 0, bad = 0;

#pragma omp parallel for ordered num_threads(THREADS) schedule(static, 1)
	for (int i = 0; i < 200; i++) {
#pragma omp ordered
		if (i != next++)
			bad++;
	}
	return bad == 0;
}

static const struct {
	const char *name;
	bool (*run)(void);
} checks[] = {
	{ "omp_parallel", omp_parallel }, { "omp_for_and_reduction", omp_for_and_reduction },
	{ "omp_critical", omp_critical }, { "omp_barriers", omp_barriers },
	{ "omp_waits", omp_waits },       { "omp_single_and_sections", omp_single_and_sections },
	{ "omp_tasks", omp_tasks },       { "omp_task_dependences", omp_task_dependences },
	{ "omp_locks", omp_locks },       { "omp_threadprivate", omp_threadprivate },
	{ "omp_nested", omp_nested },     { "omp_ordered", omp_ordered },
};

int main(int argc, char **argv)
{
	const char *after = argc > 2 && strcmp(argv[1], "--after") == 0 ? argv[2] : NULL;
	bool good = true, list = argc > 1 && strcmp(argv[1], "--list") == 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		const char *name = checks[i].name;
		if (list) {
			puts(name);
		} else if (!after && (argc != 2 || strcmp(argv[1], name) == 0)) {
			bool is = checks[i].run();
			printf("%s %s%s\n", is ? "ok" : "not ok", name, is ? "" : ": wrong result");
			fflush(stdout);
			good &= is;
		}
		if (after && strcmp(after, name) == 0)
			after = NULL;
	}
	return good ? 0 : 1;
}
