/* SPDX-License-Identifier: MIT
 *
 * Is that the program that wrote the core file?  Both may say so by their build-ids: libdwfl
 * would take the names of any file that it is given, and do without those of one that it
 * cannot read.
 */
#include "program.h"
#include "core.h"
#include "escape.h"
#include "files.h"
#include "greenps.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <gelf.h>
#include <string.h>
#include <unistd.h>

#define HEAD_SIZE 4096 /* what core files have of programs at least */

static bool is_program(Elf *elf)
{
	GElf_Ehdr e;

	return elf && elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &e) &&
	       (e.e_type == ET_EXEC || e.e_type == ET_DYN) && e.e_machine == EM_X86_64;
}

/* False: both have build-ids, or the one in the core file alone, and they are not the same. */
static bool may_be_same(Elf *elf, char *head, size_t size)
{
	const void *id, *id_in_core;
	Elf *in_core = elf_memory(head, size);
	ssize_t n = dwelf_elf_gnu_build_id(elf, &id);
	ssize_t n_in_core = in_core ? dwelf_elf_gnu_build_id(in_core, &id_in_core) : 0;
	bool same = n_in_core <= 0 || (n == n_in_core && memcmp(id, id_in_core, (size_t)n) == 0);

	elf_end(in_core);
	return same;
}

int program_check(struct target *t, const char *path)
{
	char shown[512], head[HEAD_SIZE];
	size_t size = core_program_head(t, head, sizeof(head));
	int status = EXIT_OK, fd = file_open_regular(path);
	Elf *elf = NULL;

	escape_text(shown, sizeof(shown), path, false);
	if (fd < 0)
		return problem("--program %s: %s", shown, strerror(errno));
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL);
	if (!is_program(elf))
		status = problem("--program %s: not a program", shown);
	else if (!may_be_same(elf, head, size))
		status = problem("--program %s: not the program that wrote %s: they have different "
		                 "build-ids",
		                 shown, core_path(t->core));
	elf_end(elf);
	close(fd);
	return status;
}
