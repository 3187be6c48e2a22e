/* SPDX-License-Identifier: MIT
 *
 * What libdwfl calls to find the files of a target, kept from what it would wait at or does
 * not expect.
 */
#include "modules.h"
#include "core.h"
#include "escape.h"
#include "files.h"
#include "greenps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---------------------------------------------------------------------- */

/* The file by the mapping itself, which may be of a file that has been deleted, or by its
 * path as the process sees it, which may be in a container. */
static int open_mapped(const struct target *t, const struct mapping *m)
{
	char path[64 + 4096];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)t->pid,
	         m->start, m->end);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d/root%s", (int)t->pid, m->path);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* What is no ELF file, libdwfl takes for a compressed one, and forgets the name of. */
static int only_elf(int fd, char **file, Elf **elf)
{
	if (fd < 0)
		return -1;
	*elf = elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL);
	if (*elf && elf_kind(*elf) == ELF_K_ELF)
		return fd;
	elf_end(*elf);
	*elf = NULL;
	close(fd);
	free(*file);
	*file = NULL;
	return -1;
}

static int find_elf(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base, char **file,
                    Elf **elf)
{
	const struct target *t = *arg;

	for (size_t i = 0; t && i < t->mappings_count; i++) {
		if (t->mappings[i].start != base)
			continue;
		int fd = open_mapped(t, &t->mappings[i]);
		if (fd < 0)
			break;
		*file = strdup(name);
		return only_elf(fd, file, elf);
	}
	return only_elf(dwfl_linux_proc_find_elf(module, arg, name, base, file, elf), file, elf);
}

/* Its debug information lies beside a file, by a name that stands in the file or follows from
 * its own. */
static int find_debuginfo(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base,
                          const char *file, const char *debuglink, GElf_Word crc, char **found)
{
	if (debuglink && (!*debuglink || strchr(debuglink, '/')))
		debuglink = NULL;
	int fd = dwfl_standard_find_debuginfo(module, arg, name, base, file, debuglink,
	                                      debuglink ? crc : 0, found);
	Elf *elf = NULL;
	fd = only_elf(fd, found, &elf);
	elf_end(elf);
	return fd;
}

/* An object file that the process has mapped, for whatever reason: its sections are nowhere.
 * libdwfl calls this without looking whether it is there. */
static int no_section_address(Dwfl_Module *module, void **arg, const char *name, Dwarf_Addr base,
                              const char *section, GElf_Word number, const GElf_Shdr *header,
                              Dwarf_Addr *address)
{
	(void)module;
	(void)arg;
	(void)name;
	(void)base;
	(void)section;
	(void)number;
	(void)header;
	(void)address;
	return -1;
}

/* What find_elf() gets for its arg. */
static int tell_target(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                       void *target)
{
	(void)module;
	(void)name;
	(void)base;
	*userdata = target;
	return DWARF_CB_OK;
}

/* The auxiliary vector, where libdw looks for the vdso, can be read by the process's user
 * alone; the mappings by all who may trace it. */
static int report_process(Dwfl *dwfl, pid_t pid)
{
	int error = dwfl_linux_proc_report(dwfl, pid);
	char path[64];

	if (error != EACCES)
		return error;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	if (!maps)
		return errno;
	error = dwfl_linux_proc_maps_report(dwfl, maps);
	fclose(maps);
	return error;
}

/* ---- at the end --------------------------------------------------------------- */

/* Names that are missing for that reason look like any that never were there. */
static void tell_if_cut_short(int fd, const char *name)
{
	static dev_t device;
	static ino_t inode; /* told of already */
	char shown[300];
	struct stat st;

	if (!file_is_cut_short(fd) || fstat(fd, &st) != 0 ||
	    (st.st_dev == device && st.st_ino == inode))
		return;
	device = st.st_dev;
	inode = st.st_ino;
	complain("%s: the file has been cut short: names and call paths of it may be missing",
	         escape_text(shown, sizeof(shown), name, false));
}

/* Of a process: those that have been looked into. */
static int look_again(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                      void *target)
{
	const struct target *t = target;
	const char *file = NULL;
	int fd = -1;
	(void)userdata;
	(void)name;

	dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, &file, NULL);
	for (size_t i = 0; file && fd < 0 && i < t->mappings_count; i++)
		if (t->mappings[i].start == base)
			fd = open_mapped(t, &t->mappings[i]);
	if (fd < 0)
		return DWARF_CB_OK;
	tell_if_cut_short(fd, file);
	close(fd);
	return DWARF_CB_OK;
}

/* Of a core: libdwfl does not tell which it found by their names in it.  What is mapped in
 * one part is no library. */
static void look_at_named(const struct target *t)
{
	for (size_t i = 0; i + 1 < t->mappings_count; i++) {
		const struct mapping *m = &t->mappings[i];
		if (m->offset != 0 || strcmp(m->path, m[1].path) != 0)
			continue;
		int fd = file_open_regular(m->path);
		if (fd < 0)
			continue;
		tell_if_cut_short(fd, m->path);
		close(fd);
	}
}

/* ---- all of it ----------------------------------------------------------------- */

Dwfl *modules_open(const struct target *t)
{
	static char *debuginfo_path;
	static const Dwfl_Callbacks of_process = {
		.find_elf = find_elf,
		.find_debuginfo = find_debuginfo,
		.section_address = no_section_address,
		.debuginfo_path = &debuginfo_path,
	};
	static const Dwfl_Callbacks of_core = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = find_debuginfo,
		.section_address = no_section_address,
		.debuginfo_path = &debuginfo_path,
	};

	elf_version(EV_CURRENT);
	return dwfl_begin(t->core ? &of_core : &of_process);
}

bool modules_report(Dwfl *dwfl, struct target *t, Elf **core)
{
	bool reported;

	dwfl_report_begin(dwfl);
	if (t->core) {
		*core = elf_begin(core_fd(t->core), ELF_C_READ, NULL);
		reported = *core && dwfl_core_file_report(dwfl, *core, t->executable) >= 0;
	} else {
		reported = report_process(dwfl, t->pid) == 0;
	}
	if (dwfl_report_end(dwfl, NULL, NULL) != 0 || !reported)
		return false;
	if (!t->core)
		dwfl_getmodules(dwfl, tell_target, t, 0);
	return true;
}

void modules_close(Dwfl *dwfl, struct target *t)
{
	if (t->core)
		look_at_named(t);
	else
		dwfl_getmodules(dwfl, look_again, t, 0);
	dwfl_end(dwfl);
}
