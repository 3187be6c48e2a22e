/* SPDX-License-Identifier: MIT
 *
 * Preloaded into greenps or greentrace: what happens to a file of the target just when
 * libelf has opened it for the CUT_AT-th time, from 1.  CUT_FILE names it; it keeps CUT_SIZE
 * bytes.  How often it was opened is written to CUT_COUNT, a file.
 */
#include <dlfcn.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int opened;

static int is_it(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(getenv("CUT_FILE"), &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static void count(void)
{
	FILE *f = fopen(getenv("CUT_COUNT"), "w");

	if (!f || fprintf(f, "%d\n", ++opened) < 0 || fclose(f) != 0)
		abort();
}

Elf *elf_begin(int fd, Elf_Cmd command, Elf *within)
{
	Elf *(*begin)(int, Elf_Cmd, Elf *) =
		(Elf * (*)(int, Elf_Cmd, Elf *)) dlsym(RTLD_NEXT, "elf_begin");
	Elf *elf = begin(fd, command, within);

	if (!within && is_it(fd)) {
		count();
		if (opened == atoi(getenv("CUT_AT")) &&
		    truncate(getenv("CUT_FILE"), atoll(getenv("CUT_SIZE"))) != 0)
			abort();
	}
	return elf;
}
