/* SPDX-License-Identifier: MIT
 *
 * A program of plain threads and libc for greentrace_greenrun.sh: what is to be found in it
 * stands in functions of their own.  With -DADDED one of them makes a call more.  Argument:
 * "past", then it sleeps past libc too; "unseen", then also its parent, which traces it, is
 * stopped until it is through.
 */
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CLERKS 8
#define SALES 20
#define LINES 10
#define apart __attribute__((noinline))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];

static apart int read_line(FILE *f)
{
	char line[64];

	return fgets(line, sizeof(line), f) != NULL;
}

static apart void write_line(FILE *f, int number)
{
	fprintf(f, "line %d\n", number);
	fflush(f);
}

static apart void account(void)
{
	pthread_mutex_lock(&mutex);
	usleep(1000);
#ifdef ADDED
	fdatasync(1);
#endif
	pthread_mutex_unlock(&mutex);
}

/* A bare system has no /etc/hosts, and knows no localhost. */
static apart int resolve(void)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int r = getaddrinfo("localhost", "80", &hint, &found);

	if (r == 0)
		freeaddrinfo(found);
	return r == EAI_NONAME || r == EAI_AGAIN ? 0 : r;
}

/* A system call that no rewriting of libc's reaches. */
static apart long sleep_past_libc(void)
{
	struct timespec t = { .tv_nsec = 30000000 };
	long r;

	__asm__ volatile("syscall"
	                 : "=a"(r)
	                 : "0"((long)SYS_nanosleep), "D"(&t), "S"(0L)
	                 : "rcx", "r11", "memory");
	return r;
}

static void *reader(void *arg)
{
	FILE *f = fdopen(ends[0], "r");

	while (read_line(f))
		;
	fclose(f);
	return arg;
}

static void *clerk(void *arg)
{
	for (int i = 0; i < SALES; i++)
		account();
	return arg;
}

int main(int argc, char **argv)
{
	const bool unseen = argc > 1 && strcmp(argv[1], "unseen") == 0;
	pthread_t threads[CLERKS + 1];

	if (unseen)
		kill(getppid(), SIGSTOP);
	if (pipe(ends))
		return 1;
	if (pthread_create(&threads[CLERKS], NULL, reader, NULL))
		return 1;
	for (int i = 0; i < CLERKS; i++)
		if (pthread_create(&threads[i], NULL, clerk, NULL))
			return 1;
	FILE *f = fdopen(ends[1], "w");
	for (int i = 0; i < LINES; i++) {
		write_line(f, i);
		usleep(20000);
	}
	fclose(f);
	int r = resolve();
	if (argc > 1)
		sleep_past_libc();
	for (int i = 0; i <= CLERKS; i++)
		pthread_join(threads[i], NULL);
	if (unseen)
		kill(getppid(), SIGCONT);
	return r ? 1 : 0;
}
