/* SPDX-License-Identifier: MIT
 *
 * libc where it waits inside itself: the resolver, stdio, other programs.
 */
#include "libraries.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names, of which dns_server.c says the addresses --------------------------- */

bool use_dns(int number)
{
	const struct addrinfo wanted = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
	char name[64], expected[INET_ADDRSTRLEN], found[INET_ADDRSTRLEN];
	bool good = true;

	for (int i = 0; good && goes_on(i); i++) {
		struct addrinfo *list = NULL;
		snprintf(name, sizeof(name), "h%d-%d.green.test", number, i);
		snprintf(expected, sizeof(expected), "10.%d.%d.%d", i, number / 256, number % 256);
		good = getaddrinfo(name, "80", &wanted, &list) == 0 &&
		       getnameinfo(list->ai_addr, list->ai_addrlen, found, sizeof(found), NULL, 0,
		                   NI_NUMERICHOST) == 0 &&
		       strcmp(found, expected) == 0;
		if (list)
			freeaddrinfo(list);
	}
	return good;
}

/* ---- lines that another thread writes ------------------------------------------- */

struct feed {
	int fd, number;
};

static void *feed(void *argument)
{
	const struct feed *f = argument;
	char line[32];
	int length;

	for (int i = 0; goes_on(i); i++) {
		usleep(100000);
		length = snprintf(line, sizeof(line), "%d %d\n", f->number, i);
		if (write(f->fd, line, (size_t)length) != length)
			break;
	}
	close(f->fd);
	return NULL;
}

bool use_pipes(int number)
{
	int ends[2];
	pthread_t feeder;
	char line[32], expected[32];

	if (pipe(ends) < 0)
		return false;
	struct feed f = { ends[1], number };
	FILE *file = fdopen(ends[0], "r");
	bool good = file && pthread_create(&feeder, NULL, feed, &f) == 0;
	for (int i = 0; good && goes_on(i); i++) {
		snprintf(expected, sizeof(expected), "%d %d\n", number, i);
		good = fgets(line, sizeof(line), file) && strcmp(line, expected) == 0;
	}
	good = good && !fgets(line, sizeof(line), file) && feof(file);
	if (file)
		pthread_join(feeder, NULL);
	return file && fclose(file) == 0 && good;
}

/* ---- another program's output, and its end ----------------------------------------- */

bool use_popen(int number)
{
	char command[64], line[32] = "", expected[32];
	bool good = true;

	snprintf(command, sizeof(command), "sleep 0.1; echo %d", number);
	snprintf(expected, sizeof(expected), "%d\n", number);
	for (int i = 0; good && goes_on(i); i++) {
		FILE *f = popen(command, "r");
		good = f && fgets(line, sizeof(line), f) && strcmp(line, expected) == 0;
		good = f && pclose(f) == 0 && good;
	}
	return good;
}

bool use_system(int number)
{
	(void)number;
	for (int i = 0; goes_on(i); i++)
		if (system("sleep 0.1; exit 3") >> 8 != 3)
			return false;
	return true;
}
