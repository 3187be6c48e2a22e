/* SPDX-License-Identifier: MIT
 *
 * ELF images for tests of rewriting: made up of a few functions, or a library's file.
 */
#ifndef IMAGE_FIXTURE_H
#define IMAGE_FIXTURE_H

#include "harness.h"

#include "intercept/image.h"
#include "intercept/site.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- made up -------------------------------------------------------------------- */

#define MADE_FUNCTIONS_MAX 8
#define MADE_TEXT_AT 0x1000
#define MADE_TEXT_SIZE 0x1000

/* The lowest page is data: .eh_frame_hdr with its table, a CIE for functions and one for
 * signal frames, their FDEs; from `tables` on whatever a test wants.  The next is text. */
struct made {
	uint8_t *memory;
	ElfW(Phdr) headers[3];
	struct dl_phdr_info info;
	unsigned functions;
	size_t text_used;
	struct image image;
	uint8_t *scratch;
};

#define MADE_FRAMES 0x200
#define MADE_CIE 0x100
#define MADE_CIE_SIGNAL 0x140
#define MADE_TABLES 0x400

HARNESS_UNUSED static void made_put(struct made *m, size_t at, const void *bytes, size_t size)
{
	memcpy(m->memory + at, bytes, size);
}

HARNESS_UNUSED static void made_put32(struct made *m, size_t at, uint32_t value)
{
	made_put(m, at, &value, sizeof(value));
}

HARNESS_UNUSED static void made_cie(struct made *m, size_t at, const char *augmentation)
{
	size_t n = strlen(augmentation) + 1;
	uint8_t tail[] = { 1, 0x78, 16, 1, 0x1b }; /* alignments, return address, 'R' */

	made_put32(m, at, 32);
	made_put(m, at + 8, "\1", 1);
	made_put(m, at + 9, augmentation, n);
	made_put(m, at + 9 + n, tail, sizeof(tail));
}

HARNESS_UNUSED static struct made *made_begin(void)
{
	static struct made made;
	struct made *m = &made;

	memset(m, 0, sizeof(*m));
	m->memory = mmap(NULL, MADE_TEXT_AT + MADE_TEXT_SIZE, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(m->memory != MAP_FAILED);
	memset(m->memory + MADE_TEXT_AT, 0x06, MADE_TEXT_SIZE); /* no instruction */
	made_put(m, 0, "\1\x1b\3\x3b", 4);
	made_cie(m, MADE_CIE, "zR");
	made_cie(m, MADE_CIE_SIGNAL, "zRS");
	return m;
}

/* One more function with these bytes, and after it padding to the next multiple of 16. */
HARNESS_UNUSED static uintptr_t made_function(struct made *m, const uint8_t *code, size_t size,
                                              bool signal_frame)
{
	size_t at = MADE_TEXT_AT + m->text_used, fde = MADE_FRAMES + 32 * m->functions;
	size_t cie = signal_frame ? MADE_CIE_SIGNAL : MADE_CIE;

	REQUIRE(m->functions < MADE_FUNCTIONS_MAX);
	made_put(m, at, code, size);
	made_put32(m, fde, 28);
	made_put32(m, fde + 4, (uint32_t)(fde + 4 - cie));
	made_put32(m, fde + 8, (uint32_t)(at - (fde + 8)));
	made_put32(m, fde + 12, (uint32_t)size);
	made_put32(m, 12 + 8 * m->functions, (uint32_t)at);
	made_put32(m, 16 + 8 * m->functions, (uint32_t)fde);
	m->functions++;
	m->text_used = (m->text_used + size + 15) & ~(size_t)15;
	for (size_t i = at + size; i < MADE_TEXT_AT + m->text_used; i++)
		m->memory[i] = 0x90;
	return (uintptr_t)m->memory + at;
}

HARNESS_UNUSED static void made_end(struct made *m)
{
	made_put32(m, 8, m->functions);
	m->headers[0] = (ElfW(Phdr)){ .p_type = PT_LOAD,
		                      .p_flags = PF_R,
		                      .p_filesz = MADE_TEXT_AT,
		                      .p_memsz = MADE_TEXT_AT };
	m->headers[1] = (ElfW(Phdr)){ .p_type = PT_LOAD,
		                      .p_flags = PF_R | PF_X,
		                      .p_vaddr = MADE_TEXT_AT,
		                      .p_filesz = MADE_TEXT_SIZE,
		                      .p_memsz = MADE_TEXT_SIZE };
	m->headers[2] = (ElfW(Phdr)){ .p_type = PT_GNU_EH_FRAME, .p_memsz = MADE_CIE };
	m->info = (struct dl_phdr_info){ .dlpi_addr = (uintptr_t)m->memory,
		                         .dlpi_name = "made",
		                         .dlpi_phdr = m->headers,
		                         .dlpi_phnum = 3 };
	REQUIRE(image_open(&m->image, &m->info));
	m->scratch = calloc(1, site_scratch_size(&m->image));
	REQUIRE(m->scratch);
}

/* ---- a file ---------------------------------------------------------------------- */

/* Its segments at their places, not relocated, all readable; false: no such file, or none
 * that image_open() takes.  Stays mapped. */
HARNESS_UNUSED static bool map_file(const char *path, struct image *image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uintptr_t end = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	REQUIRE(file != MAP_FAILED);
	const ElfW(Ehdr) *header = (const void *)file;
	const ElfW(Phdr) *p = (const void *)(file + header->e_phoff);
	for (unsigned i = 0; i < header->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_vaddr + p[i].p_memsz > end)
			end = p[i].p_vaddr + p[i].p_memsz;
	uint8_t *memory =
		mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(memory != MAP_FAILED);
	for (unsigned i = 0; i < header->e_phnum; i++)
		if (p[i].p_type == PT_LOAD)
			memcpy(memory + p[i].p_vaddr, file + p[i].p_offset, p[i].p_filesz);
	struct dl_phdr_info info = { .dlpi_addr = (uintptr_t)memory,
		                     .dlpi_name = path,
		                     .dlpi_phdr = p,
		                     .dlpi_phnum = header->e_phnum };
	return image_open(image, &info);
}

#endif
