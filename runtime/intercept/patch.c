/* SPDX-License-Identifier: MIT
 *
 * Choosing objects, writing trampolines, changing text.
 */
#include "intercept/patch.h"
#include "intercept/entry.h"
#include "intercept/decode.h"
#include "intercept/site.h"
#include "arch/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((uintptr_t)4096)
#define IMAGES_MAX 64 /* with room for trampolines; further ones are not rewritten */
#define SITES_MAX 4096
#define TRAMPOLINE_SPARE 32 /* beside what goes along: lea, jmp */
#define NEAR ((uintptr_t)1 << 30)
#define STEP ((uintptr_t)1 << 20)

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct patch {
	struct image image;
	const char *path;
	struct site *sites;
	unsigned count;
	uint8_t *trampolines; /* mapped near the image; NULL: none needed */
	size_t size, used;
	uint32_t *jumps; /* for each site, where its trampoline begins */
};

static struct patch patches[IMAGES_MAX];
static unsigned patches_count, sites_count, left_count;

/* ---- choosing ------------------------------------------------------------------- */

/* Since glibc 2.34 all but the first two are empty. */
static bool is_libc(const char *path)
{
	static const char *const names[] = { "libc.so.", "ld-linux-x86-64.so.", "libpthread.so.",
		                             "librt.so.", "libanl.so." };
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Not the program: where one is not position-independent its code has addresses that
 * nothing tells of, and it comes without a name in any case.  Nor the vDSO. */
static int choose(struct dl_phdr_info *info, size_t size, void *everything)
{
	struct patch *p = &patches[patches_count];

	(void)size;
	if (patches_count == IMAGES_MAX || !info->dlpi_name || !strchr(info->dlpi_name, '/') ||
	    !(*(bool *)everything || is_libc(info->dlpi_name)) || !image_open(&p->image, info))
		return 0;
	uintptr_t here = (uintptr_t)patch_start;
	if (here >= p->image.text && here < p->image.text_end)
		return 0;
	p->path = info->dlpi_name;
	patches_count++;
	return 0;
}

/* ---- memory ----------------------------------------------------------------------- */

static void *allocate(size_t size)
{
	long error;

	return sys_map(size, 0, &error);
}

static bool find_sites(struct patch *p)
{
	size_t scratch_size = site_scratch_size(&p->image);
	size_t list_size = SITES_MAX * sizeof(struct site);
	void *scratch = allocate(scratch_size);
	unsigned left = 0;

	p->sites = allocate(list_size);
	if (scratch && p->sites)
		p->count = sites_find(&p->image, scratch, p->sites, SITES_MAX, &left);
	sys_unmap(scratch, scratch_size);
	left_count += left;
	if (!p->count) {
		sys_unmap(p->sites, list_size);
		p->sites = NULL;
	}
	return scratch && (p->sites || !p->count);
}

static bool is_error(long r)
{
	return r < 0 && r > -4096;
}

/* Memory that jumps from all of the image reach, and that reaches the image. */
static void *map_near(const struct image *image, size_t size)
{
	uintptr_t low = image->text & -PAGE, high = (image->text_end + PAGE) & -PAGE;

	for (uintptr_t distance = STEP; distance < NEAR; distance += STEP) {
		uintptr_t places[] = { low - distance, high + distance };

		for (unsigned i = 0; i < 2; i++) {
			long r = sys6(SYS_mmap, places[i], size, PROT_READ | PROT_WRITE,
			              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

			if ((uintptr_t)r == places[i])
				return (void *)r;
			if (!is_error(r)) /* kernels before 4.17 take it for a hint */
				sys_unmap((void *)r, size);
		}
	}
	return NULL;
}

/* ---- trampolines ------------------------------------------------------------------- */

struct writer {
	uint8_t *at;
	bool unreachable;
};

static void put(struct writer *w, const void *bytes, size_t size)
{
	memcpy(w->at, bytes, size);
	w->at += size;
}

/* Four bytes that count from behind themselves. */
static void put_offset(struct writer *w, uintptr_t target)
{
	intptr_t offset = (intptr_t)(target - (uintptr_t)(w->at + 4));
	int32_t value = (int32_t)offset;

	w->unreachable |= value != offset;
	put(w, &value, sizeof(value));
}

/* The instructions before the call, so that they do the same here. */
static void put_window(struct writer *w, const struct site *site)
{
	for (uintptr_t at = site->window; at < site->at;) {
		uint8_t *copy = w->at;
		struct insn insn;
		int32_t offset;

		insn_decode((const uint8_t *)at, INSN_MAX, &insn);
		put(w, (const void *)at, insn.length);
		if (insn.rip_relative) {
			memcpy(&offset, copy + insn.disp_at, sizeof(offset));
			intptr_t moved = offset + (intptr_t)(at - (uintptr_t)copy);
			offset = (int32_t)moved;
			w->unreachable |= offset != moved;
			memcpy(copy + insn.disp_at, &offset, sizeof(offset));
		}
		at += insn.length;
	}
}

static uintptr_t entry_of(const struct site *site)
{
	return (uintptr_t)(site->stub_nr == SYS_sched_yield ? intercept_yield_entry
	                                                    : intercept_entry);
}

static void put_trampoline(struct writer *w, const struct site *site)
{
	static const uint8_t lea_rcx[] = { 0x48, 0x8d, 0x0d }, jump[] = { 0xe9 };
	static const uint8_t jump_indirect[] = { 0xff, 0x25, 0, 0, 0, 0 };
	uintptr_t entry = entry_of(site);
	intptr_t distance;

	put_window(w, site);
	put(w, lea_rcx, sizeof(lea_rcx));
	put_offset(w, site->at + 2);
	distance = (intptr_t)(entry - (uintptr_t)w->at);
	if (distance == (int32_t)distance && distance > INT32_MIN + INSN_MAX) {
		put(w, jump, sizeof(jump));
		put_offset(w, entry);
	} else {
		put(w, jump_indirect, sizeof(jump_indirect));
		put(w, &entry, sizeof(entry));
	}
}

/* What goes along is decoded from the text, which is unchanged so far. */
static int make_trampolines(struct patch *p, const char **why)
{
	size_t size = 0;

	for (unsigned i = 0; i < p->count; i++)
		size += p->sites[i].at - p->sites[i].window + TRAMPOLINE_SPARE;
	p->size = (size + PAGE - 1) & -PAGE;
	p->jumps = allocate(p->count * sizeof(*p->jumps));
	p->trampolines = p->jumps ? map_near(&p->image, p->size) : NULL;
	if (!p->trampolines) {
		*why = "there is no memory near libc for trampolines";
		return -ENOMEM;
	}
	struct writer w = { .at = p->trampolines };
	for (unsigned i = 0; i < p->count; i++) {
		p->jumps[i] = (uint32_t)(w.at - p->trampolines);
		put_trampoline(&w, &p->sites[i]);
	}
	p->used = (size_t)(w.at - p->trampolines);
	sys_name(p->trampolines, p->size, "libgreen trampolines");
	if (w.unreachable) {
		*why = "libc's data are out of reach of trampolines";
		return -ERANGE;
	}
	long r = sys3(SYS_mprotect, p->trampolines, p->size, PROT_READ | PROT_EXEC);
	if (r < 0)
		*why = "memory that was written cannot be made executable (SELinux, seccomp)";
	return (int)r;
}

/* ---- changing text ------------------------------------------------------------------ */

/* Whether a page of the object's file may be changed and executed: tried on a copy, for
 * text that cannot be made executable again would be the end. */
static int try_text(const struct patch *p, const char **why)
{
	long fd = sys4(SYS_openat, AT_FDCWD, p->path, O_RDONLY | O_CLOEXEC, 0);
	long r;

	if (fd < 0) {
		*why = "libc's file cannot be read";
		return (int)fd;
	}
	r = sys6(SYS_mmap, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	sys1(SYS_close, fd);
	if (is_error(r)) {
		*why = "libc's file cannot be mapped";
		return (int)r;
	}
	volatile uint8_t *copy = (uint8_t *)r;
	r = sys3(SYS_mprotect, copy, PAGE, PROT_READ | PROT_WRITE);
	if (r == 0) {
		copy[0] = 0xcc;
		r = sys3(SYS_mprotect, copy, PAGE, PROT_READ | PROT_EXEC);
	}
	sys_unmap((void *)copy, PAGE);
	if (r < 0)
		*why = "libc's text cannot be changed (SELinux, seccomp)";
	return (int)r;
}

/* Byte by byte: nothing of libc's may be called meanwhile, and compilers make calls of
 * other loops. */
static void write_jump(volatile uint8_t *at, const uint8_t *to)
{
	int32_t offset = (int32_t)(to - (const uint8_t *)(at + 5));

	at[0] = 0xe9;
	for (unsigned i = 0; i < 4; i++)
		at[i + 1] = (uint8_t)((uint32_t)offset >> 8 * i);
}

static void write_jumps(const struct patch *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		const struct site *site = &p->sites[i];
		const uint8_t *trampoline = p->trampolines + p->jumps[i];

		if (!site->pad) {
			write_jump((volatile uint8_t *)site->window, trampoline);
			continue;
		}
		volatile uint8_t *at = (volatile uint8_t *)site->at;
		write_jump((volatile uint8_t *)site->pad, trampoline);
		at[0] = 0xeb;
		at[1] = (uint8_t)(int8_t)(site->pad - (site->at + 2));
	}
}

static int change_text(const struct patch *p, const char **why)
{
	uintptr_t start = p->image.text & -PAGE;
	size_t size = ((p->image.text_end + PAGE - 1) & -PAGE) - start;
	long r = sys3(SYS_mprotect, start, size, PROT_READ | PROT_WRITE);

	if (r < 0) {
		*why = "libc's text cannot be made writable";
		return (int)r;
	}
	write_jumps(p);
	r = sys3(SYS_mprotect, start, size, PROT_READ | PROT_EXEC);
	if (r < 0) /* tried before; libc cannot even be called to say so */
		__builtin_trap();
	return 0;
}

static void forget(struct patch *p)
{
	sys_unmap(p->sites, SITES_MAX * sizeof(struct site));
	sys_unmap(p->jumps, p->count * sizeof(*p->jumps));
	p->sites = NULL;
	p->jumps = NULL;
}

static int prepare(struct patch *p, const char **why)
{
	int r;

	if (!find_sites(p)) {
		*why = "there is no memory to look for libc's system calls";
		return -ENOMEM;
	}
	if (!p->count)
		return 0;
	r = try_text(p, why);
	return r < 0 ? r : make_trampolines(p, why);
}

static void give_up(void)
{
	for (unsigned i = 0; i < patches_count; i++) {
		forget(&patches[i]);
		sys_unmap(patches[i].trampolines, patches[i].size);
	}
	patches_count = left_count = 0;
}

int patch_start(bool everything, const char **why)
{
	uint64_t all = ~(uint64_t)0, mask;
	int r = 0;

	dl_iterate_phdr(choose, &everything);
	for (unsigned i = 0; i < patches_count && r == 0; i++)
		r = prepare(&patches[i], why);
	if (r == 0 && !patches_count) {
		*why = "no libc was found";
		r = -ENOENT;
	}
	if (r < 0) {
		give_up();
		return r;
	}
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(mask));
	for (unsigned i = 0; i < patches_count && r == 0; i++) {
		if (!patches[i].count)
			continue;
		r = change_text(&patches[i], why);
		sites_count += r == 0 ? patches[i].count : 0;
	}
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	for (unsigned i = 0; i < patches_count; i++)
		forget(&patches[i]);
	return sites_count ? 0 : r;
}

/* ---- for others --------------------------------------------------------------------- */

bool patch_contains(uintptr_t pc)
{
	for (unsigned i = 0; i < patches_count; i++)
		if (pc - (uintptr_t)patches[i].trampolines < patches[i].used)
			return true;
	return false;
}

unsigned patch_sites(void)
{
	return sites_count;
}

unsigned patch_left(void)
{
	return left_count;
}
