/* SPDX-License-Identifier: MIT
 *
 * Libraries with their blocking calls, from so many POSIX threads at once; for
 * scripts/greenrun-libraries.sh, which runs it natively and under greenrun.
 *
 *	libraries NAME THREADS ROUNDS ADDRESS
 *
 * Each thread makes one connection (or what the library has instead) and then ROUNDS
 * calls, of which most take 100 ms elsewhere; every answer is checked.  Prints the seconds
 * that this took, and how many rounds were begun on another CPU than the one before.
 * Connections to PostgreSQL, which starts a process for each, are made before that.
 */
#define _GNU_SOURCE
#include "libraries.h"

#include <curl/curl.h>
#include <hiredis/hiredis.h>
#include <libmemcached/memcached.h>
#include <libpq-fe.h>
#include <libxml/parser.h>
#include <libxml/xmlerror.h>
#include <mysql.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(LINK_MODE)
#include <green.h>
#endif

const char *address;
static int rounds;

static _Atomic unsigned long moves;

bool goes_on(int i)
{
	static _Thread_local int before;
	int cpu = sched_getcpu();

	if (i > 0 && cpu != before)
		moves++;
	before = cpu;
	return i < rounds;
}

static pthread_barrier_t all_connected;
static double start;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of all threads: what they do from here on is what counts. */
static void connected(void)
{
	if (pthread_barrier_wait(&all_connected) == PTHREAD_BARRIER_SERIAL_THREAD)
		start = now();
}

/* ---- libcurl: a file of 2,000 bytes ----------------------------------------- */

static size_t counts(char *data, size_t size, size_t count, void *sum)
{
	(void)data;
	*(size_t *)sum += size * count;
	return size * count;
}

static bool use_curl(int number)
{
	CURL *curl = curl_easy_init();
	bool good = curl != NULL;
	size_t sum = 0;

	(void)number;
	curl_easy_setopt(curl, CURLOPT_URL, address);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, counts);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sum);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	for (int i = 0; good && goes_on(i); i++)
		good = curl_easy_perform(curl) == CURLE_OK;
	curl_easy_cleanup(curl);
	return good && sum == (size_t)rounds * 2000;
}

/* ---- hiredis: waits 100 ms for a list that stays empty, then a value ---------- */

static bool redis_says(redisContext *redis, const char *command, const char *expected)
{
	redisReply *reply = redisCommand(redis, command);
	bool good = reply && (expected ? reply->type == REDIS_REPLY_STRING &&
	                                         strcmp(reply->str, expected) == 0
	                               : reply->type != REDIS_REPLY_ERROR);

	if (reply)
		freeReplyObject(reply);
	return good;
}

static bool use_hiredis(int number)
{
	redisContext *redis = redisConnectUnix(address);
	char set[64], get[64], value[32];
	bool good = redis && !redis->err;

	snprintf(value, sizeof(value), "value-%d", number);
	snprintf(set, sizeof(set), "SET key-%d %s", number, value);
	snprintf(get, sizeof(get), "GET key-%d", number);
	for (int i = 0; good && goes_on(i); i++)
		good = redis_says(redis, set, NULL) &&
		       redis_says(redis, "BLPOP nothing 0.1", NULL) &&
		       redis_says(redis, get, value);
	if (redis)
		redisFree(redis);
	return good;
}

/* ---- libpq and libmariadb: sleep, and what was asked for --------------------- */

static bool use_libpq(int number)
{
	PGconn *c = PQconnectdb(address);
	bool good = PQstatus(c) == CONNECTION_OK;
	char query[96], expected[16];

	snprintf(query, sizeof(query), "select %d from pg_sleep(0.1)", number);
	snprintf(expected, sizeof(expected), "%d", number);
	if (!good)
		fputs(PQerrorMessage(c), stderr);
	connected();
	for (int i = 0; good && goes_on(i); i++) {
		PGresult *r = PQexec(c, query);
		good = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 &&
		       strcmp(PQgetvalue(r, 0, 0), expected) == 0;
		PQclear(r);
	}
	PQfinish(c);
	return good;
}

static bool use_mariadb(int number)
{
	MYSQL *c = mysql_init(NULL);
	bool good = mysql_real_connect(c, NULL, "root", NULL, NULL, 0, address, 0) != NULL;
	char query[96], expected[16];

	snprintf(query, sizeof(query), "select %d, sleep(0.1)", number);
	snprintf(expected, sizeof(expected), "%d", number);
	for (int i = 0; good && goes_on(i); i++) {
		MYSQL_RES *r = mysql_query(c, query) ? NULL : mysql_store_result(c);
		MYSQL_ROW row = r ? mysql_fetch_row(r) : NULL;
		good = row && strcmp(row[0], expected) == 0;
		mysql_free_result(r);
	}
	mysql_close(c);
	mysql_thread_end();
	return good;
}

/* ---- sqlite3: rows of its own in a table in memory --------------------------- */

static int takes_sum(void *sum, int columns, char **values, char **names)
{
	(void)names;
	*(long *)sum = columns == 1 && values[0] ? atol(values[0]) : -1;
	return 0;
}

static bool use_sqlite(int number)
{
	sqlite3 *db = NULL;
	bool good = sqlite3_open(":memory:", &db) == SQLITE_OK &&
	            sqlite3_exec(db, "create table t (n integer)", NULL, NULL, NULL) == SQLITE_OK;
	char insert[64];
	long sum = 0;

	snprintf(insert, sizeof(insert), "insert into t values (%d)", number);
	for (int i = 0; good && goes_on(i); i++) {
		good = sqlite3_exec(db, insert, NULL, NULL, NULL) == SQLITE_OK;
		sqlite3_sleep(100);
	}
	good = good && sqlite3_exec(db, "select sum(n) from t", takes_sum, &sum, NULL) == SQLITE_OK;
	sqlite3_close(db);
	return good && sum == (long)number * rounds;
}

/* ---- libmemcached: a value of its own ----------------------------------------- */

static bool use_memcached(int number)
{
	memcached_st *m = memcached_create(NULL);
	bool good = m && memcached_server_add_unix_socket(m, address) == MEMCACHED_SUCCESS;
	char key[32], value[32];
	memcached_return_t r;

	snprintf(key, sizeof(key), "key-%d", number);
	for (int i = 0; good && goes_on(i); i++) {
		snprintf(value, sizeof(value), "value-%d-%d", number, i);
		good = memcached_set(m, key, strlen(key), value, strlen(value), 0, 0) ==
		       MEMCACHED_SUCCESS;
		usleep(100000);
		size_t size = 0;
		char *found = memcached_get(m, key, strlen(key), &size, NULL, &r);
		good = good && found && size == strlen(value) && memcmp(found, value, size) == 0;
		free(found);
	}
	if (m)
		memcached_free(m);
	return good;
}

/* ---- libxml2: a document by HTTP; an error of the thread's own ------------------ */

static bool use_libxml2(int number)
{
	const int quiet = XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
	char broken[32], tag[32];
	bool good = true;

	/* "Premature end of data in tag t7 line 1" */
	snprintf(broken, sizeof(broken), "<t%d>", number);
	snprintf(tag, sizeof(tag), " t%d ", number);
	for (int i = 0; good && goes_on(i); i++) {
		xmlDocPtr document = xmlReadFile(address, NULL, quiet);
		xmlNodePtr root = document ? xmlDocGetRootElement(document) : NULL;
		good = root && xmlChildElementCount(root) == 20;
		xmlFreeDoc(document);
		xmlFreeDoc(xmlReadMemory(broken, (int)strlen(broken), NULL, NULL, quiet));
		usleep(100000);
		const xmlError *error = xmlGetLastError();
		good = good && error && error->message && strstr(error->message, tag);
		xmlResetLastError();
	}
	return good;
}

/* ---- all of them --------------------------------------------------------------- */

static const struct {
	const char *name;
	bool (*use)(int number);
} all[] = {
	{ "curl", use_curl },
	{ "hiredis", use_hiredis },
	{ "libpq", use_libpq },
	{ "mariadb", use_mariadb },
	{ "memcached", use_memcached },
	{ "libxml2", use_libxml2 },
	{ "sqlite", use_sqlite },
	{ "openssl", use_openssl },
	{ "dns", use_dns },
	{ "pipes", use_pipes },
	{ "popen", use_popen },
	{ "system", use_system },
	{ "exceptions", use_exceptions },
};

static bool (*use)(int number);

static void *run(void *number)
{
	return use((int)(intptr_t)number) ? NULL : number;
}

static int threads, bad;

/* Built with LINK_MODE: from green threads, with their calls intercepted. */
#if defined(LINK_MODE)
static void *run_all(void *unused)
{
	const struct green_attr attr = { .migratable = true, .stack_size = 256 << 10 };
	green_t *handles = calloc((size_t)threads + 1, sizeof(*handles));

	for (int i = 1; handles && i <= threads; i++)
		if (green_spawn(&handles[i], &attr, run, (void *)(intptr_t)i) < 0)
			bad++;
	for (int i = 1; handles && i <= threads; i++) {
		void *result = NULL;
		if (handles[i] != GREEN_NONE)
			green_join(handles[i], &result);
		bad += result != NULL;
	}
	free(handles);
	return unused;
}

static void intercept(void)
{
	if (green_intercept_all() < 0 || green_init(NULL) < 0) {
		fputs(green_error(), stderr);
		exit(1);
	}
}
#else
static void *run_all(void *unused)
{
	pthread_t *handles = calloc((size_t)threads + 1, sizeof(*handles));

	for (int i = 1; handles && i <= threads; i++)
		if (pthread_create(&handles[i], NULL, run, (void *)(intptr_t)i)) {
			perror("pthread_create");
			exit(1);
		}
	for (int i = 1; handles && i <= threads; i++) {
		void *result;
		pthread_join(handles[i], &result);
		bad += result != NULL;
	}
	free(handles);
	return unused;
}

static void intercept(void)
{
}

#define green_run(fn, arg, result) ((fn)(arg), 0)
#endif

int main(int argc, char **argv)
{
	intercept(); /* first: there is one thread yet */
	threads = argc > 2 ? atoi(argv[2]) : 0;

	rounds = argc > 3 ? atoi(argv[3]) : 1;
	address = argc > 4 ? argv[4] : "";
	for (size_t i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i].name, argv[1]) == 0)
			use = all[i].use;
	if (!use || threads < 1)
		return fputs("usage: libraries NAME THREADS ROUNDS [ADDRESS]\n", stderr), 2;
	curl_global_init(CURL_GLOBAL_ALL);
	mysql_library_init(0, NULL, NULL);
	xmlInitParser();
	pthread_barrier_init(&all_connected, NULL, (unsigned)threads);
	start = now();
	if (green_run(run_all, NULL, NULL) < 0)
		bad++;
	printf("%.4f %lu\n", now() - start, moves);
	if (bad)
		fprintf(stderr, "%d of %d threads with a wrong answer\n", bad, threads);
	return bad ? 1 : 0;
}
