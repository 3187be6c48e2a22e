/* SPDX-License-Identifier: MIT
 *
 * Options: what green_init() was given, what the environment says, defaults.
 */
#include "options.h"
#include "feature.h"
#include "overflow.h"
#include "stack.h"
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char error_text[512];

static const char *const debug_names[] = { "engine", "stuck", "flight" };
#define DEBUG_COUNT (sizeof(debug_names) / sizeof(debug_names[0]))
#define DEBUG_ALL ((1u << DEBUG_COUNT) - 1)
static bool hibernation_asked; /* written before any worker exists, as */
static unsigned debug_topics;  /* a bit for each; written before any worker exists */

void error_set(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error_text, sizeof(error_text), format, args);
	va_end(args);
}

const char *green_error(void)
{
	return error_text;
}

/* The bits of a topic with n characters; 0: there is none of that name. */
static unsigned debug_bits(const char *topic, size_t n)
{
	if (n == 3 && memcmp(topic, "all", 3) == 0)
		return DEBUG_ALL;
	for (unsigned i = 0; i < DEBUG_COUNT; i++)
		if (n == strlen(debug_names[i]) && memcmp(topic, debug_names[i], n) == 0)
			return 1u << i;
	return 0;
}

bool debug_has(const char *topic)
{
	return debug_topics & debug_bits(topic, strlen(topic));
}

/* ---- environment ---------------------------------------------------------- */

int options_number(const char *name, bool suffix, uint64_t least, uint64_t most, uint64_t *number)
{
	const char *text = secure_getenv(name);
	char *end;

	if (!text)
		return 0;
	errno = 0;
	unsigned long long n =
		text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : (end = NULL, 0);
	unsigned shift = 0;
	if (end && suffix && *end) {
		const char *units = "KMG", *unit = strchr(units, *end & ~0x20);
		if (unit && *unit) {
			shift = 10 * (unsigned)(unit - units + 1);
			end++;
		}
	}
	if (!end || *end || errno || n > most >> shift || n << shift < least) {
		error_set("%s=%.60s: not a number from %llu to %llu%s", name, text,
		          (unsigned long long)least, (unsigned long long)most,
		          suffix ? " (K, M and G may follow)" : "");
		return -EINVAL;
	}
	*number = n << shift;
	return 1;
}

static int env_engine(struct green_options *o)
{
	const char *text = secure_getenv("GREEN_ENGINE");

	if (!text || strcmp(text, "auto") == 0) {
		if (text)
			o->engine = GREEN_ENGINE_AUTO;
	} else if (strcmp(text, "io_uring") == 0) {
		o->engine = GREEN_ENGINE_URING;
	} else if (strcmp(text, "epoll") == 0) {
		o->engine = GREEN_ENGINE_EPOLL;
	} else {
		error_set("GREEN_ENGINE=%.60s: must be auto, io_uring or epoll", text);
		return -EINVAL;
	}
	return 0;
}

/* *value: the index of what the variable says among the words; unchanged when it is
 * not set. */
static int env_word(const char *name, const char *const *words, int *value)
{
	const char *text = secure_getenv(name);
	char list[64] = "";

	if (!text)
		return 0;
	for (int i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0) {
			*value = i;
			return 1;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
		         !i             ? ""
		         : words[i + 1] ? ", "
		                        : " or ",
		         words[i]);
	}
	error_set("%s=%.60s: must be %s", name, text, list);
	return -EINVAL;
}

static int env_words(struct green_options *o)
{
	static const char *const noswitch[] = { "log", "abort", "count", "off", NULL };
	static const char *const overflow[] = { "abort", "end", NULL };
	static const char *const scrub[] = { "none", "dirty", "always", NULL };
	int r, n;

	if ((r = env_word("GREEN_OVERFLOW", overflow, &n)) < 0)
		return r;
	if (r)
		o->overflow = (enum green_overflow)(GREEN_OVERFLOW_ABORT + n);
	if ((r = env_word("GREEN_NOSWITCH", noswitch, &n)) < 0)
		return r;
	if (r)
		o->noswitch = (enum green_noswitch_mode)n;
	if ((r = env_word("GREEN_SCRUB", scrub, &n)) < 0)
		return r;
	if (r)
		o->scrub = (enum green_scrub)(GREEN_SCRUB_NONE + n);
	return 0;
}

static int env_debug(void)
{
	const char *text = secure_getenv("GREEN_DEBUG");

	debug_topics = 0;
	while (text && *text) {
		size_t n = strcspn(text, ",");
		unsigned bits = debug_bits(text, n);
		if (!bits) {
			error_set("GREEN_DEBUG: unknown topic '%.*s': expected engine, stuck, "
			          "flight or all, separated by commas",
			          (int)(n < 60 ? n : 60), text);
			return -EINVAL;
		}
		debug_topics |= bits;
		text += n + (text[n] == ',');
	}
	return 0;
}

static int env_features(const struct green_options *o)
{
	char bad[80];

	feature_reset();
	if (feature_parse(o->features, bad, sizeof(bad)) < 0) {
		error_set("features: unknown word '%s': expected -NAME of green_info()", bad);
		return -EINVAL;
	}
	if (feature_parse(secure_getenv("GREEN_FEATURES"), bad, sizeof(bad)) < 0) {
		error_set("GREEN_FEATURES: unknown word '%s': expected -NAME of green_info()", bad);
		return -EINVAL;
	}
	return 0;
}

static int env_all(struct green_options *o)
{
	uint64_t n;
	int r;

	if ((r = options_number("GREEN_WORKERS", false, 1, WORKERS_MAX, &n)) < 0)
		return r;
	if (r)
		o->workers = (unsigned)n;
	if ((r = options_number("GREEN_STACK_SIZE", true, 1, STACK_SIZE_MAX, &n)) < 0)
		return r;
	if (r)
		o->stack_size = n;
	if ((r = options_number("GREEN_GUARD_SIZE", true, 1, STACK_GUARD_MAX, &n)) < 0)
		return r;
	if (r)
		o->guard_size = n;
	if ((r = options_number("GREEN_THREADS_MAX", true, 1, THREADS_MAX_DEFAULT, &n)) < 0)
		return r;
	if (r)
		o->threads_max = n;
	if ((r = options_number("GREEN_OFFLOAD_MAX", false, 1, 4096, &n)) < 0)
		return r;
	if (r)
		o->offload_max = (unsigned)n;
	if ((r = options_number("GREEN_STUCK_MS", false, 1, 3600000, &n)) < 0)
		return r;
	if (r)
		o->stuck_ns = GREEN_MS(n);
	if ((r = options_number("GREEN_HIBERNATE_MS", false, 0, 3600000, &n)) < 0)
		return r;
	if (r)
		o->hibernate_after_ns = n ? GREEN_MS(n) : GREEN_FOREVER;
	if ((r = options_number("GREEN_STACK_BYTES_MAX", true, 1, SIZE_MAX, &n)) < 0)
		return r;
	if (r)
		o->stack_bytes_max = n;
	if ((r = options_number("GREEN_PIN", false, 0, 1, &n)) < 0)
		return r;
	if (r)
		o->no_pin = !n;
	if ((r = options_number("GREEN_FLIGHT", false, 0, FLIGHT_RECORDS_MAX, &n)) < 0)
		return r;
	if (r)
		o->flight_records = n ? n : GREEN_FLIGHT_OFF;
	if ((r = options_number("GREEN_FLIGHT_SIGNAL", false, 0, 64, &n)) < 0)
		return r;
	if (r)
		o->flight_signal = (int)n;
	if ((r = env_engine(o)) < 0 || (r = env_words(o)) < 0 || (r = env_debug()) < 0)
		return r;
	return env_features(o);
}

/* ---- CPUs ----------------------------------------------------------------- */

static unsigned long mask[WORKERS_MAX / 64];
static long mask_bytes;

unsigned cpus_allowed(int *cpus, unsigned max)
{
	unsigned n = 0;

	mask_bytes = sys3(SYS_sched_getaffinity, 0, sizeof(mask), mask);
	for (long i = 0; i < mask_bytes * 8 && n < max; i++)
		if (mask[i / 64] >> (i % 64) & 1)
			cpus[n++] = (int)i;
	if (n == 0)
		cpus[n++] = -1;
	return n;
}

unsigned cpus_for(int *cpus, unsigned workers)
{
	int allowed[WORKERS_MAX], here = sched_getcpu();
	unsigned n = cpus_allowed(allowed, WORKERS_MAX), first = 0;

	while (workers < n && first < n && allowed[first] != here)
		first++;
	for (unsigned i = 0; i < n; i++)
		cpus[i] = workers < n ? allowed[(first + i) % n] : allowed[i];
	return n;
}

void cpus_unbind(void)
{
	if (rt.cpus[0] >= 0 && mask_bytes > 0)
		sys3(SYS_sched_setaffinity, 0, mask_bytes, mask);
}

/* Quota of one cgroup v2 directory; 0: none. */
static unsigned quota_of(const char *dir)
{
	char path[512];
	long long quota, period;
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/cpu.max", dir);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
		n = (unsigned)((quota + period - 1) / period);
	fclose(f);
	return n;
}

unsigned cpus_quota(void)
{
	char line[400], dir[450];
	unsigned least = 0;
	FILE *f = fopen("/proc/self/cgroup", "re");

	dir[0] = 0;
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = 0;
			snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s", line + 3);
		}
	if (f)
		fclose(f);
	/* The tightest of the group and all above it. */
	while (strlen(dir) >= strlen("/sys/fs/cgroup")) {
		unsigned n = quota_of(dir);
		if (n && (!least || n < least))
			least = n;
		*strrchr(dir, '/') = 0;
	}
	return least;
}

static void default_workers(struct green_options *o)
{
	int cpus[WORKERS_MAX];
	unsigned n = cpus_allowed(cpus, WORKERS_MAX), quota = cpus_quota();

	o->workers = quota && quota < n ? quota : n;
}

bool options_hibernation_asked(void)
{
	return hibernation_asked;
}

/* The runtime's own, or greenrun's. */
static bool is_of_faults(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL ||
	       sig == SIGTRAP || sig == SIGSYS;
}

static int check_flight(const struct green_options *o)
{
	if (o->flight_records > FLIGHT_RECORDS_MAX && o->flight_records != GREEN_FLIGHT_OFF) {
		error_set("flight_records: %zu is above %d", o->flight_records, FLIGHT_RECORDS_MAX);
		return -EINVAL;
	}
	if ((unsigned)o->flight_signal > 64) {
		error_set("flight_signal: %d is no signal", o->flight_signal);
		return -EINVAL;
	}
	if (is_of_faults(o->flight_signal)) {
		error_set("flight_signal: %d is what a fault sends: take another (SIGUSR2: %d)",
		          o->flight_signal, SIGUSR2);
		return -EINVAL;
	}
	return 0;
}

int options_resolve(struct green_options *o)
{
	int r = env_all(o);

	if (r < 0)
		return r;
	if (o->workers > WORKERS_MAX) {
		error_set("workers: %u is above %d", o->workers, WORKERS_MAX);
		return -EINVAL;
	}
	if (o->stack_size > STACK_SIZE_MAX) {
		error_set("stack_size: %zu is above %zu", o->stack_size, STACK_SIZE_MAX);
		return -EINVAL;
	}
	if (o->guard_size > STACK_GUARD_MAX) {
		error_set("guard_size: %zu is above %zu", o->guard_size, STACK_GUARD_MAX);
		return -EINVAL;
	}
	if ((unsigned)o->overflow > GREEN_OVERFLOW_END) {
		error_set("overflow: %d is no enum green_overflow", (int)o->overflow);
		return -EINVAL;
	}
	if ((unsigned)o->scrub > GREEN_SCRUB_ALWAYS) {
		error_set("scrub: %d is no enum green_scrub", (int)o->scrub);
		return -EINVAL;
	}
	if ((unsigned)o->engine > GREEN_ENGINE_EPOLL) {
		error_set("engine: %d is no enum green_engine", (int)o->engine);
		return -EINVAL;
	}
	if (o->stuck_ns < 0) {
		error_set("stuck_ns: %lld is negative", (long long)o->stuck_ns);
		return -EINVAL;
	}
	if (o->hibernate_after_ns < 0) {
		error_set("hibernate_after_ns: %lld is negative", (long long)o->hibernate_after_ns);
		return -EINVAL;
	}
	if ((r = check_flight(o)) < 0)
		return r;
	if ((unsigned)o->noswitch > GREEN_NOSWITCH_OFF) {
		error_set("noswitch: %d is no enum green_noswitch_mode", (int)o->noswitch);
		return -EINVAL;
	}
	if (!o->flight_records)
		o->flight_records = FLIGHT_RECORDS_DEFAULT;
	else if (o->flight_records == GREEN_FLIGHT_OFF)
		o->flight_records = 0;
	if (!o->scrub)
		o->scrub = GREEN_SCRUB_NONE;
	if (!o->overflow)
		o->overflow = GREEN_OVERFLOW_ABORT;
	if (!o->guard_size && o->overflow == GREEN_OVERFLOW_END)
		o->guard_size = OVERFLOW_GUARD_PAGES * (size_t)sysconf(_SC_PAGESIZE);
	if (!o->workers)
		default_workers(o);
	hibernation_asked = o->hibernate_after_ns != 0;
	if (!o->hibernate_after_ns)
		o->hibernate_after_ns = HIBERNATE_DEFAULT_NS;
	if (!o->offload_max)
		o->offload_max = 64;
	if (!o->stuck_ns)
		o->stuck_ns = GREEN_MS(100);
	return 0;
}
