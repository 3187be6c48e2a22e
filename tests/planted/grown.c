/* SPDX-License-Identifier: MIT
 *
 * A form is read into 40 KB on the stack: each thread that has read one has a stack ten
 * times as large from then on, and the first time costs a page fault for each page.
 */
#include "planted.h"

#define FORMS 100

KEPT static size_t form_read(char *to, size_t size)
{
	memset(to, '=', size); /* planted */
	NO_JUMP;
	return size;
}

KEPT static size_t handle_large(void)
{
	char form[40000];
	size_t n = form_read(form, sizeof(form));

	__asm__ volatile("" ::"r"(form) : "memory");
	return n;
}

KEPT static size_t handle_small(void)
{
	char form[400];
	size_t n = form_read(form, sizeof(form));

	__asm__ volatile("" ::"r"(form) : "memory");
	return n;
}

static void *reader(void *arg)
{
	size_t n = well ? handle_small() : handle_large();

	green_sleep(GREEN_MS(5)); /* keeps its stack */
	return n ? arg : "nothing read";
}

static void *serve(void *arg)
{
	green_t readers[FORMS];

	for (int i = 0; i < FORMS; i++)
		if (green_spawn(&readers[i], NULL, reader, NULL) != 0)
			return "no thread";
	for (int i = 0; i < FORMS; i++)
		green_join(readers[i], NULL);
	return arg;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
