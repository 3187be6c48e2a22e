/* SPDX-License-Identifier: MIT
 *
 * Libraries whose calls are left alone: where the code of all objects lies.
 */
#include "green.h"
#include "intercept/link.h"
#include "runtime.h"

#include <errno.h>
#include <link.h>
#include <string.h>

static bool is_named(const char *path, const char *library)
{
	const char *name = strrchr(path, '/');
	size_t n = strlen(library);

	name = name ? name + 1 : path;
	return strncmp(name, library, n) == 0 && (name[n] == 0 || name[n] == '.' || name[n] == '-');
}

/* The parts of libc: what calls them is looked for. */
static bool is_libc(const char *path)
{
	static const char *const parts[] = { "libc",       "libpthread",   "libresolv",
		                             "libnss_dns", "libnss_files", "ld-linux-x86-64" };

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (is_named(path, parts[i]))
			return true;
	return false;
}

struct collect {
	const char *library;
	bool found, full;
};

/* In order of addresses; one that is there already is exempt if either says so. */
static void add_range(struct collect *c, const struct link_range *range)
{
	unsigned at = link_ranges_count;

	while (at > 0 && link_ranges[at - 1].start > range->start)
		at--;
	if (at > 0 && link_ranges[at - 1].start == range->start) {
		link_ranges[at - 1].exempt |= range->exempt;
		return;
	}
	if (link_ranges_count == LINK_RANGES) {
		c->full = true;
		return;
	}
	memmove(&link_ranges[at + 1], &link_ranges[at],
	        (link_ranges_count - at) * sizeof(link_ranges[0]));
	link_ranges[at] = *range;
	link_ranges_count++;
}

static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct collect *c = arg;
	struct link_range range = { .exempt = is_named(info->dlpi_name, c->library),
		                    .libc = is_libc(info->dlpi_name) };

	(void)size;
	c->found |= range.exempt;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		range.start = info->dlpi_addr + p->p_vaddr;
		range.end = range.start + p->p_memsz;
		add_range(c, &range);
	}
	return 0;
}

int green_intercept_exempt(const char *library)
{
	struct collect c = { .library = library };

	if (!library || !*library)
		return -EINVAL;
	if (runtime_usable() == 0)
		return -EBUSY;
	dl_iterate_phdr(add_object, &c);
	if (c.full)
		return -ENOMEM;
	return c.found ? 0 : -ENOENT;
}
