/* SPDX-License-Identifier: MIT
 *
 * Very many POSIX threads alive at once, and what each costs: it knows nothing of green
 * threads.  Compare
 *
 *	many_threads 30000		greenrun --stack 64K many_threads 1000000
 *
 * Prints how long creating and joining took, and the memory that the process and the
 * kernel took for each, while all of them waited.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MOST 100000000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_wait = PTHREAD_COND_INITIALIZER, go = PTHREAD_COND_INITIALIZER;
static size_t waiting;
static int may_go;

static void *waits(void *argument)
{
	pthread_mutex_lock(&mutex);
	waiting++;
	pthread_cond_signal(&all_wait);
	while (!may_go)
		pthread_cond_wait(&go, &mutex);
	pthread_mutex_unlock(&mutex);
	return argument;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A line of a file of /proc, in bytes; 0 when there is none. */
static double kilobytes(const char *file, const char *name)
{
	char line[256];
	double found = 0;
	FILE *f = fopen(file, "r");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			found = strtod(line + strlen(name), NULL) * 1024;
	if (f)
		fclose(f);
	return found;
}

struct memory {
	double resident, page_tables, kernel_stacks;
};

static struct memory memory_now(void)
{
	return (struct memory){ kilobytes("/proc/self/status", "VmRSS:"),
		                kilobytes("/proc/self/status", "VmPTE:"),
		                kilobytes("/proc/meminfo", "KernelStack:") };
}

/* The number of threads asked for; 0: that is none. */
static size_t number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && n <= THREADS_MOST ? n : 0;
}

int main(int argc, char **argv)
{
	size_t wanted = argc > 1 ? number(argv[1]) : 10000, count;
	struct memory before, after;
	double start, created, joined, each;
	pthread_t *threads;
	int error = 0;

	if (!wanted)
		return fprintf(stderr, "Usage: many_threads [1 to %d]\n", THREADS_MOST), 2;
	threads = calloc(wanted, sizeof(*threads));
	if (!threads)
		return perror("many_threads"), 1;
	before = memory_now();
	start = now();
	memset(threads, 1, wanted * sizeof(*threads));
	before.resident += (double)(wanted * sizeof(*threads));
	for (count = 0; count < wanted; count++)
		if ((error = pthread_create(&threads[count], NULL, waits, (void *)(count + 1))))
			break;
	pthread_mutex_lock(&mutex);
	while (waiting < count)
		pthread_cond_wait(&all_wait, &mutex);
	created = now();
	after = memory_now();
	may_go = 1;
	pthread_cond_broadcast(&go);
	pthread_mutex_unlock(&mutex);
	for (size_t i = 0; i < count; i++) {
		void *result;
		if (pthread_join(threads[i], &result) || result != (void *)(i + 1))
			return fprintf(stderr, "thread %zu: wrong result\n", i), 1;
	}
	joined = now();
	each = count ? 1.0 / (double)count : 0;
	printf("threads %zu  created %.3f s (%.2f us each)  ended and joined %.3f s\n", count,
	       created - start, (created - start) * 1e6 * each, joined - created);
	printf("bytes each: resident %.0f  page tables %.0f  kernel stacks (machine) %.0f\n",
	       (after.resident - before.resident) * each,
	       (after.page_tables - before.page_tables) * each,
	       (after.kernel_stacks - before.kernel_stacks) * each);
	if (error)
		printf("thread %zu could not be created: %s\n", count, strerror(error));
	return count < wanted;
}
