/* SPDX-License-Identifier: MIT
 *
 * The probes' notes: such as tracers read them, in the file as well as in memory.
 */
#include "harness.h"

#include "probes.h"
#include "trace.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- the notes ------------------------------------------------------------------- */

static const struct expected {
	const char *name;
	unsigned arguments;
	const uint16_t *semaphore;
} expected[] = {
	{ "flush", 4, &trace_hot.sem.flush },
	{ "resume", 6, &trace_hot.sem.resume },
	{ "stack", 6, &trace_hot.sem.stack },
	{ "enter", 4, &trace_hot.sem.enter },
	{ "spawn", 5, &trace_semaphores.spawn },
	{ "exit", 2, &trace_semaphores.exit },
	{ "worker_start", 3, &trace_semaphores.worker_start },
	{ "worker_stop", 3, &trace_semaphores.worker_stop },
	{ "block_enter", 4, &trace_semaphores.block_enter },
	{ "block_exit", 4, &trace_semaphores.block_exit },
	{ "lock_wait", 4, &trace_semaphores.lock_wait },
	{ "steal", 3, &trace_semaphores.steal },
	{ "hibernate", 3, &trace_semaphores.hibernate },
	{ "restore", 3, &trace_semaphores.restore },
	{ "noswitch", 4, &trace_semaphores.noswitch },
	{ "stuck", 3, &trace_semaphores.stuck },
	{ "stack_grow", 4, &trace_semaphores.stack_grow },
};
#define PROBES (sizeof(expected) / sizeof(expected[0]))

static struct {
	uintptr_t bias;
	unsigned seen[PROBES], strangers;
} notes;

static int first_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	notes.bias = info->dlpi_addr;
	return 1;
}

/* The kernel counts up in the page of the file: it must come from there. */
static bool from_file(const Elf64_Ehdr *elf, uint64_t address)
{
	const Elf64_Phdr *p = (const void *)((const char *)elf + elf->e_phoff);

	for (unsigned i = 0; i < elf->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && (p[i].p_flags & PF_W) && address >= p[i].p_vaddr &&
		    address + 2 <= p[i].p_vaddr + p[i].p_filesz)
			return true;
	return false;
}

static unsigned count_arguments(const char *text)
{
	unsigned n = 0;

	for (const char *at = text; (at = strchr(at, '@')); at++) {
		n++;
		/* 64 bits each, in a register. */
		CHECK(at > text && at[-1] == '8' && at[1] == '%');
	}
	return n;
}

static void check_note(const Elf64_Ehdr *elf, const char *desc, bool running)
{
	static const unsigned char nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	const char *provider = desc + 24, *name = provider + strlen(provider) + 1;
	uint64_t at[3];

	memcpy(at, desc, sizeof(at));
	if (strcmp(provider, TRACE_PROVIDER) != 0)
		return;
	for (unsigned i = 0; i < PROBES; i++) {
		if (strcmp(name, expected[i].name) != 0)
			continue;
		notes.seen[i]++;
		CHECK_EQ(count_arguments(name + strlen(name) + 1), expected[i].arguments);
		CHECK(from_file(elf, at[2]));
		if (!running)
			return;
		CHECK_EQ(notes.bias + at[2], (uintptr_t)expected[i].semaphore);
		CHECK(!memcmp((const void *)(notes.bias + at[0]), nop5, sizeof(nop5)));
		return;
	}
	notes.strangers++;
}

static void read_notes(const char *path, bool running)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(notes.seen, 0, sizeof(notes.seen));
	notes.strangers = 0;
	REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	const char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	REQUIRE(file != MAP_FAILED);
	const Elf64_Ehdr *elf = (const void *)file;
	const Elf64_Shdr *s = (const void *)(file + elf->e_shoff);
	const char *names = file + s[elf->e_shstrndx].sh_offset;
	for (unsigned i = 0; i < elf->e_shnum; i++) {
		if (strcmp(names + s[i].sh_name, ".note.stapsdt") != 0)
			continue;
		const char *at = file + s[i].sh_offset, *end = at + s[i].sh_size;
		while (at < end) {
			const Elf64_Nhdr *n = (const void *)at;
			CHECK_EQ(n->n_type, 3);
			at += sizeof(*n) + ((n->n_namesz + 3) & ~3u);
			check_note(elf, at, running);
			at += (n->n_descsz + 3) & ~3u;
		}
	}
	munmap((void *)(uintptr_t)file, (size_t)st.st_size);
	close(fd);
	for (unsigned i = 0; i < PROBES; i++)
		CHECK_EQ(notes.seen[i], 1);
	CHECK_EQ(notes.strangers, 0);
}

TEST(each_probe_has_one_note_that_is_true)
{
	dl_iterate_phdr(first_object, NULL);
	read_notes("/proc/self/exe", true);
}

TEST(notes_outlive_strip)
{
	char path[] = "/tmp/test_probes.XXXXXX", command[200];
	int fd = mkstemp(path);

	REQUIRE(fd >= 0);
	close(fd);
	if (system("command -v strip >/dev/null") != 0) {
		unlink(path);
		SKIP("no strip(1)");
	}
	snprintf(command, sizeof(command), "strip -o %s /proc/%d/exe", path, getpid());
	CHECK_EQ(system(command), 0);
	read_notes(path, false);
	unlink(path);
}

TEST(hot_semaphores_are_one_word)
{
	CHECK_EQ(sizeof(trace_hot), 8);
	CHECK_EQ((uintptr_t)&trace_hot % 8, 0);
	CHECK_EQ(trace_info.size, sizeof(trace_info));
	CHECK_EQ(trace_info.record_size, 32);
}
