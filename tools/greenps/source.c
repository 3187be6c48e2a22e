/* SPDX-License-Identifier: MIT */
#include "source.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_of_system(const char *path)
{
	static const char *const places[] = { "/usr/include/", "/usr/lib/gcc/", "/usr/lib/llvm" };

	for (size_t i = 0; path && i < sizeof(places) / sizeof(places[0]); i++)
		if (strncmp(path, places[i], strlen(places[i])) == 0)
			return true;
	return false;
}

static bool number_in(Dwarf_Die *die, unsigned name, Dwarf_Word *number)
{
	Dwarf_Attribute attribute;

	return dwarf_formudata(dwarf_attr(die, name, &attribute), number) == 0;
}

/* Where that has been put into another function: the path; NULL: not said. */
static const char *call_of(Dwarf_Die *inlined, Dwarf_Files *files, int *line)
{
	Dwarf_Word file, number;

	if (!number_in(inlined, DW_AT_call_file, &file) ||
	    !number_in(inlined, DW_AT_call_line, &number))
		return NULL;
	*line = (int)number;
	return dwarf_filesrc(files, (size_t)file, NULL, NULL);
}

/* The innermost call that is not in a header of the system; NULL: none. */
static const char *caller(Dwfl_Module *module, uint64_t address, int *line)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = dwfl_module_addrdie(module, address, &bias), *scopes = NULL;
	Dwarf_Files *files;
	const char *found = NULL;

	if (!unit || dwarf_getsrcfiles(unit, &files, NULL) != 0)
		return NULL;
	int count = dwarf_getscopes(unit, address - bias, &scopes);
	for (int i = 0; i < count && dwarf_tag(&scopes[i]) != DW_TAG_subprogram; i++) {
		if (dwarf_tag(&scopes[i]) != DW_TAG_inlined_subroutine)
			continue;
		found = call_of(&scopes[i], files, line);
		if (found && !is_of_system(found))
			break;
		found = NULL;
	}
	if (count > 0)
		free(scopes);
	return found;
}

const char *source_of(Dwfl_Module *module, uint64_t address, int *line)
{
	Dwfl_Line *entry = dwfl_module_getsrc(module, address);
	const char *path = entry ? dwfl_lineinfo(entry, NULL, line, NULL, NULL, NULL) : NULL;
	int call_line;

	if (!is_of_system(path))
		return path;
	const char *calls = caller(module, address, &call_line);
	if (!calls)
		return path;
	*line = call_line;
	return calls;
}
