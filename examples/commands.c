/* SPDX-License-Identifier: MIT
 *
 * Shell commands at once, by popen(3), fgets(3) and pclose(3): plain functions of libc,
 * which block, called in green threads.
 *
 *	commands COMMAND...
 *
 * green_intercept_all() has what they wait for park the green thread that called, so that
 * one worker serves all of them.  Nothing in run_command() knows of green threads, and
 * where calls cannot be intercepted it does the same, one command after the other.
 * The output comes in the order of the commands.
 *
 * Exit status: 0; 1 when a command could not be run or failed; 2 for a bad command line.
 */
#include <green.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command {
	const char *line;
	char *output;
	size_t size;
	int status;
};

/* ---- knows nothing of green threads ---------------------------------------- */

static void *run_command(void *arg)
{
	struct command *c = arg;
	char line[512];
	FILE *text = open_memstream(&c->output, &c->size), *from = popen(c->line, "r");

	c->status = -1;
	if (text && from)
		while (fgets(line, sizeof(line), from))
			fputs(line, text);
	if (from)
		c->status = pclose(from);
	if (text)
		fclose(text);
	return NULL;
}

/* ---- does --------------------------------------------------------------------- */

static int count;

static void *run_all(void *arg)
{
	struct command *commands = arg;
	green_t *threads = calloc((size_t)count, sizeof(*threads));

	for (int i = 0; threads && i < count; i++)
		if (green_spawn(&threads[i], NULL, run_command, &commands[i]) < 0)
			run_command(&commands[i]);
	for (int i = 0; threads && i < count; i++)
		green_join(threads[i], NULL);
	free(threads);
	return NULL;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2) {
		fprintf(stderr, "Usage: commands COMMAND...\n");
		return 2;
	}
	count = argc - 1;
	struct command *commands = calloc((size_t)count, sizeof(*commands));
	for (int i = 0; commands && i < count; i++)
		commands[i].line = argv[i + 1];
	if (green_intercept_all() < 0)
		fprintf(stderr, "commands: one after the other: %s\n", green_error());
	if (!commands || green_run(run_all, commands, NULL) < 0) {
		fprintf(stderr, "commands: %s\n", commands ? green_error() : "no memory");
		free(commands);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		if (commands[i].output)
			fwrite(commands[i].output, 1, commands[i].size, stdout);
		failed |= commands[i].status != 0;
		free(commands[i].output);
	}
	free(commands);
	return failed;
}
