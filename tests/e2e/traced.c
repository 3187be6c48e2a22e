/* SPDX-License-Identifier: MIT
 *
 * Programs for greentrace to look at, which know the truth about themselves.
 *
 *	traced count      threads that sleep and join; prints, of each kind, how often it
 *	                  parked and for how long: "sleep COUNT NANOSECONDS"
 *	traced sort       a comparison that sleeps, called by libc's qsort()
 *	traced block      a system call that blocks its worker for 30 ms, five times
 *	traced hog        100 ms of computing, three times
 *	traced quiet      neither
 *	traced lazy       render() reads an attribute, which does I/O the first time
 *	traced eager      render() does not
 *	traced more       as eager, and one call more that may switch
 *	traced deep       a call that may switch, below more stack than is searched
 *	traced nested     the same, below more frames than are kept
 *	traced large      the same depth of frames four times, on a stack of 512 KiB that is
 *	                  wanted some time after the start
 *	traced chain      a sleeper wakes a relay, that wakes another, that wakes a sink
 *	traced heirs      a thread wakes another, and ends; seconds later its heir, which has
 *	                  its place in the table, wakes another elsewhere
 *	traced crowd      64 system calls that block a worker for 100 ms, at once
 *	traced talk       twenty bytes through a pipe, one each 2 ms
 *	traced punt       ten times fsync(2), which takes a thread of the kernel
 *	traced hostile    names that are made to harm a terminal
 *	traced wait       sleeps a hundred times, 100 ms each
 *	traced serve      switches until it reads a q; then says how often: "done COUNT"
 *
 * Says "ready PID" when it runs.  With UNSEEN in the environment its parent, which traces it,
 * is stopped until it has ended.
 */
#include <fcntl.h>
#include <green.h>
#include <green_io.h>
#include <green_sync.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, noclone))
#define EVIL "evil\033[31m\a"
#define SLEEPERS 4
#define SLEEPS 150

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- count ------------------------------------------------------------------- */

static _Atomic int64_t slept_ns, joined_ns;

static void *sleeper(void *arg)
{
	for (int i = 0; i < SLEEPS; i++) {
		int64_t before = now();
		green_sleep(GREEN_MS(2));
		slept_ns += now() - before;
	}
	return arg;
}

/* What others do on this CPU between the clock and the wait is no part of the wait. */
static void keep_others_away(void)
{
	const struct sched_param first = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
		perror("traced: durations may be wrong");
}

static void *count(void *arg)
{
	for (int i = 0; i < SLEEPERS; i++) {
		green_t thread;
		if (green_spawn(&thread, NULL, sleeper, NULL) != 0)
			return "no thread";
		int64_t before = now();
		green_join(thread, NULL);
		joined_ns += now() - before;
	}
	printf("sleep %d %lld\njoin %d %lld\n", SLEEPERS * SLEEPS, (long long)slept_ns, SLEEPERS,
	       (long long)joined_ns);
	return arg;
}

/* ---- deep -------------------------------------------------------------------- */

KEPT int compare(const void *a, const void *b)
{
	green_sleep(GREEN_MS(1));
	return *(const int *)a - *(const int *)b;
}

KEPT void sort_table(void)
{
	int values[] = { 5, 3, 8, 1, 9, 2, 7 };

	qsort(values, sizeof(values) / sizeof(values[0]), sizeof(values[0]), compare);
	__asm__ volatile("" ::"r"(values) : "memory");
}

static void *sort(void *arg)
{
	sort_table();
	return arg;
}

/* ---- what does not switch ------------------------------------------------------ */

KEPT void legacy_call(void)
{
	struct timespec t = { .tv_nsec = 30000000 };

	syscall(SYS_nanosleep, &t, NULL);
}

/* The vDSO has to ask the kernel for it. */
static int64_t cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *block(void *arg)
{
	for (int i = 0; i < 5; i++) {
		green_sleep(GREEN_MS(5));
		legacy_call();
		cpu_now();
	}
	return arg;
}

static volatile unsigned long sink;

/* Of CPU time, whoever else wants the CPU. */
KEPT void crunch(void)
{
	int64_t end = cpu_now() + 100000000;

	while (cpu_now() < end)
		for (int i = 0; i < 100000; i++)
			sink += (unsigned long)i;
}

static void *hog(void *arg)
{
	for (int i = 0; i < 3; i++) {
		green_sleep(GREEN_MS(5));
		crunch();
	}
	return arg;
}

static void *quiet(void *arg)
{
	for (int i = 0; i < 50; i++)
		green_sleep(GREEN_MS(2));
	return arg;
}

/* ---- contracts ----------------------------------------------------------------- */

static bool loaded;

KEPT int attribute(bool lazily)
{
	char text[16];
	int fd;

	if (loaded || !lazily)
		return 1;
	fd = green_open("/proc/self/comm", O_RDONLY, 0);
	loaded = green_read(fd, text, sizeof(text)) > 0;
	green_close(fd);
	return loaded;
}

KEPT int render(bool lazily)
{
	int n = 0;

	for (int i = 0; i < 10; i++)
		n += attribute(lazily);
	__asm__ volatile("" ::: "memory");
	return n;
}

KEPT void added_call(void)
{
	green_yield();
	__asm__ volatile("" ::: "memory");
}

static int ends[2];

static void *writer(void *arg)
{
	if (getenv("SLOW_PEER"))
		legacy_call();
	if (write(ends[1], "x", 1) != 1)
		return "not written";
	return arg;
}

/* The peer may be fast or slow: whether the read parks depends on that. */
static void exchange(void)
{
	green_t thread;
	char c;

	if (pipe(ends) || green_spawn(&thread, NULL, writer, NULL) != 0)
		return;
	green_yield();
	green_read(ends[0], &c, 1);
	green_join(thread, NULL);
}

static void *lazy(void *arg)
{
	exchange();
	render(true);
	return arg;
}

static void *eager(void *arg)
{
	exchange();
	render(false);
	return arg;
}

static void *more(void *arg)
{
	exchange();
	render(false);
	added_call();
	return arg;
}

KEPT int deeper(int n)
{
	volatile char room[2000];

	memset((char *)room, n, sizeof(room));
	if (n == 0)
		green_yield();
	return n ? deeper(n - 1) + room[n] : room[0];
}

static void *deep(void *arg)
{
	render(deeper(15) < 0);
	green_sleep(GREEN_MS(100)); /* for those who look how deep it was */
	return arg;
}

KEPT int nest(int n)
{
	int sum = n ? nest(n - 1) + n : green_yield();

	__asm__ volatile("" ::: "memory");
	return sum;
}

static void *nested(void *arg)
{
	return nest(150) ? arg : NULL;
}

static void *deepest(void *arg)
{
	deeper(63);
	return arg;
}

static void *large(void *arg)
{
	const struct green_attr attr = { .stack_size = 512 << 10 };
	green_t thread;

	green_sleep(GREEN_MS(50));
	if (green_spawn(&thread, &attr, deepest, NULL) != 0)
		return "no thread";
	green_join(thread, NULL);
	return arg;
}

/* ---- requests of io_uring ------------------------------------------------------- */

KEPT void *speaker(void *arg)
{
	for (int i = 0; i < 20; i++) {
		green_sleep(GREEN_MS(2));
		if (green_write(ends[1], "x", 1) != 1)
			return "not written";
	}
	return arg;
}

static void *talk(void *arg)
{
	green_t thread;
	char c;

	if (pipe(ends) || green_spawn(&thread, NULL, speaker, NULL) != 0)
		return "no pipe";
	for (int i = 0; i < 20; i++)
		if (green_read(ends[0], &c, 1) != 1)
			return "not read";
	green_join(thread, NULL);
	return arg;
}

KEPT void flush_file(int fd)
{
	green_fsync(fd);
	__asm__ volatile("" ::: "memory");
}

static void *punt(void *arg)
{
	char path[] = "/tmp/traced.XXXXXX";
	int fd = mkstemp(path);

	for (int i = 0; i < 10 && fd >= 0; i++) {
		if (green_write(fd, "x", 1) != 1)
			return "not written";
		flush_file(fd);
	}
	unlink(path);
	return arg;
}

/* ---- who wakes whom ------------------------------------------------------------- */

#define ROUNDS 20
static green_sem_t stages[3];

KEPT void *relay_one(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		green_sem_wait(&stages[0]);
		green_sem_post(&stages[1]);
	}
	return arg;
}

KEPT void *relay_two(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		green_sem_wait(&stages[1]);
		green_sem_post(&stages[2]);
	}
	return arg;
}

KEPT void *sink_of_all(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		green_sem_wait(&stages[2]);
	return arg;
}

static void *chain(void *arg)
{
	void *(*const all[])(void *) = { relay_one, relay_two, sink_of_all };
	green_t threads[3];

	for (int i = 0; i < 3; i++)
		if (green_spawn(&threads[i], NULL, all[i], NULL) != 0)
			return "no thread";
	for (int i = 0; i < ROUNDS; i++) {
		green_sleep(GREEN_MS(2));
		green_sem_post(&stages[0]);
	}
	for (int i = 0; i < 3; i++)
		green_join(threads[i], NULL);
	return arg;
}

KEPT void *testator(void *arg)
{
	green_sem_post(arg);
	return arg;
}

KEPT void *heir(void *arg)
{
	green_sem_post(arg);
	return NULL;
}

KEPT void await_testator(void)
{
	green_t thread;

	if (green_spawn(&thread, NULL, testator, &stages[0]) != 0)
		return;
	green_sem_wait(&stages[0]);
	green_join(thread, NULL);
}

KEPT void await_heir(void)
{
	green_t thread;

	if (green_spawn(&thread, NULL, heir, &stages[0]) != 0)
		return;
	green_sem_wait(&stages[0]);
	green_join(thread, NULL);
}

static void *heirs(void *arg)
{
	await_testator();
	green_sleep(GREEN_MS(2500));
	await_heir();
	green_sleep(GREEN_MS(200)); /* for those who look who they were */
	return arg;
}

/* ---- many workers ---------------------------------------------------------------- */

KEPT void *sleep_past(void *arg)
{
	const struct timespec t = { .tv_nsec = 100000000 };

	syscall(SYS_nanosleep, &t, NULL);
	return arg;
}

static void *crowd(void *arg)
{
	green_t threads[64];

	for (int i = 0; i < 64; i++)
		if (green_spawn(&threads[i], NULL, sleep_past, NULL) != 0)
			return "no thread";
	for (int i = 0; i < 64; i++)
		green_join(threads[i], NULL);
	return arg;
}

/* ---- names ---------------------------------------------------------------------- */

/* The test gives it such a name. */
KEPT void evil_function(void)
{
	green_sleep(GREEN_MS(1));
	__asm__ volatile("" ::: "memory");
}

static void *hostile(void *arg)
{
	char path[] = "/tmp/" EVIL "XXXXXX", c;
	int fd = mkstemp(path);

	prctl(PR_SET_NAME, EVIL);
	green_set_name(green_self(), EVIL);
	for (int i = 0; i < 3; i++)
		evil_function();
	green_read(fd, &c, 1);
	unlink(path);
	return arg;
}

/* ---- load ----------------------------------------------------------------------- */

static _Atomic bool over;
static _Atomic unsigned long rounds;

static void *busy(void *arg)
{
	while (!over) {
		green_yield();
		if (++rounds % 64 == 0) {
			syscall(SYS_getppid); /* as many as sleeps */
			green_sleep(GREEN_US(50));
		}
	}
	return arg;
}

/* Seldom enough to be seen by no sample. */
static void *patient(void *arg)
{
	while (!over)
		green_sleep(GREEN_MS(100));
	return arg;
}

static void *wait_long(void *arg)
{
	green_t thread;

	if (green_spawn(&thread, NULL, patient, NULL) != 0)
		return "no thread";
	green_sleep(GREEN_S(60)); /* as long as anybody looks at it */
	over = true;
	return green_join(thread, NULL) ? "not joined" : arg;
}

static void *serve(void *arg)
{
	green_t threads[8], rare;
	char c;

	if (green_spawn(&rare, NULL, patient, NULL) != 0)
		return "no thread";
	for (int i = 0; i < 8; i++)
		if (green_spawn(&threads[i], NULL, busy, NULL) != 0)
			return "no thread";
	/* Whoever looks from now on finds what it does, however busy the machine is. */
	while (rounds < 1000)
		green_sleep(GREEN_MS(1));
	printf("ready %d\n", (int)getpid());
	while (green_read(0, &c, 1) > 0 && c != 'q')
		;
	over = true;
	for (int i = 0; i < 8; i++)
		green_join(threads[i], NULL);
	green_join(rare, NULL);
	printf("done %lu\n", rounds);
	return arg;
}

/* Maps a file for nothing but to be found among the mappings. */
static void map(const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	if (mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		perror("mmap");
	close(fd);
}

static void go_unseen(void)
{
	pid_t tracer = getppid(), self = getpid();

	if (fork() == 0) {
		while (getppid() == self)
			usleep(1000);
		kill(tracer, SIGCONT);
		_exit(0);
	}
	kill(tracer, SIGSTOP);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void *(*fn)(void *);
	} all[] = { { "count", count },     { "sort", sort },      { "block", block },
		    { "hog", hog },         { "quiet", quiet },    { "lazy", lazy },
		    { "eager", eager },     { "more", more },      { "deep", deep },
		    { "hostile", hostile }, { "chain", chain },    { "talk", talk },
		    { "punt", punt },       { "wait", wait_long }, { "serve", serve },
		    { "large", large },     { "heirs", heirs },    { "crowd", crowd },
		    { "nested", nested } };
	void *result = NULL;

	/* Where only a parent may look, this lets the test's tools look too. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("UNSEEN"))
		go_unseen();
	map(getenv("MAPPED"));
	for (size_t i = 0; argc == 2 && i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(argv[1], all[i].name) == 0) {
			if (all[i].fn == count)
				keep_others_away();
			if (all[i].fn != serve)
				printf("ready %d\n", (int)getpid());
			return green_run(all[i].fn, NULL, &result) != 0 || result;
		}
	return 2;
}
