/* SPDX-License-Identifier: MIT
 *
 * Reading program headers, the unwind table and relocations of a loaded object.
 */
#include "intercept/image.h"

#include <string.h>

#ifndef DT_RELR
#define DT_RELRSZ 35
#define DT_RELR 36
#endif

/* Pointer encodings of DWARF in .eh_frame. */
enum {
	ENC_ABSOLUTE = 0x00,
	ENC_UDATA4 = 0x03,
	ENC_UDATA8 = 0x04,
	ENC_SDATA4 = 0x0b,
	ENC_SDATA8 = 0x0c,
	ENC_FORM = 0x0f,
	ENC_DATA_RELATIVE = 0x30,
};

static uint32_t load32(uintptr_t at)
{
	uint32_t value;

	memcpy(&value, (const void *)at, sizeof(value));
	return value;
}

static uint64_t load64(uintptr_t at)
{
	uint64_t value;

	memcpy(&value, (const void *)at, sizeof(value));
	return value;
}

/* ---- opening ------------------------------------------------------------------ */

static bool open_table(struct image *image, uintptr_t header, size_t size)
{
	const uint8_t *h = (const uint8_t *)header;

	if (size < 12 || h[0] != 1 || (h[1] & ENC_FORM) != ENC_SDATA4 || h[2] != ENC_UDATA4 ||
	    h[3] != (ENC_DATA_RELATIVE | ENC_SDATA4))
		return false;
	image->frame_header = header;
	image->functions = load32(header + 8);
	image->table = (const int32_t *)(header + 12);
	return image->functions <= (size - 12) / 8 && header % sizeof(int32_t) == 0;
}

bool image_open(struct image *image, const struct dl_phdr_info *info)
{
	unsigned executable = 0;
	bool table = false;

	*image = (struct image){ .bias = info->dlpi_addr,
		                 .headers = info->dlpi_phdr,
		                 .headers_count = info->dlpi_phnum };
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && p->p_flags & PF_X) {
			executable++;
			image->text = image->bias + p->p_vaddr;
			image->text_end = image->text + p->p_filesz;
		} else if (p->p_type == PT_GNU_EH_FRAME) {
			table = open_table(image, image->bias + p->p_vaddr, p->p_memsz);
		}
	}
	uintptr_t size = image->text_end - image->text;
	return executable == 1 && table && size > INT8_MAX && size <= INT32_MAX;
}

bool image_has_data(const struct image *image, uintptr_t address, size_t size)
{
	for (unsigned i = 0; i < image->headers_count; i++) {
		const ElfW(Phdr) *p = &image->headers[i];
		uintptr_t start = image->bias + p->p_vaddr;

		if (p->p_type == PT_LOAD && !(p->p_flags & PF_X) && p->p_flags & PF_R &&
		    address >= start && size <= p->p_memsz && address - start <= p->p_memsz - size)
			return true;
	}
	return false;
}

/* ---- functions ---------------------------------------------------------------- */

struct reader {
	uintptr_t at, end;
	bool bad;
};

static uint8_t next_byte(struct reader *r)
{
	if (r->at >= r->end) {
		r->bad = true;
		return 0;
	}
	return *(const uint8_t *)r->at++;
}

/* Signed or not: only skipped. */
static void skip_leb(struct reader *r)
{
	while (next_byte(r) & 0x80)
		;
}

/* 0: of no fixed size. */
static unsigned encoded_size(uint8_t encoding)
{
	switch (encoding & ENC_FORM) {
	case ENC_UDATA4:
	case ENC_SDATA4:
		return 4;
	case ENC_ABSOLUTE:
	case ENC_UDATA8:
	case ENC_SDATA8:
		return 8;
	default:
		return 0;
	}
}

/* How the entries of this CIE write addresses; false: as nobody here can read. */
static bool read_cie(uintptr_t cie, unsigned *pointer_size, bool *signal_frame)
{
	struct reader r = { .at = cie + 8, .end = cie + 4 + load32(cie) };
	const char *augmentation;
	uint8_t version;

	*pointer_size = 8;
	*signal_frame = false;
	version = next_byte(&r);
	augmentation = (const char *)r.at;
	while (next_byte(&r))
		;
	if (version >= 4)
		r.at += 2;
	skip_leb(&r); /* code alignment, data alignment, return address */
	skip_leb(&r);
	skip_leb(&r);
	if (r.bad || (augmentation[0] && augmentation[0] != 'z'))
		return false;
	if (augmentation[0])
		skip_leb(&r);
	for (const char *a = augmentation; *a && !r.bad; a++) {
		if (*a == 'R')
			*pointer_size = encoded_size(next_byte(&r));
		else if (*a == 'L')
			next_byte(&r);
		else if (*a == 'P')
			r.at += encoded_size(next_byte(&r));
		else if (*a == 'S')
			*signal_frame = true;
		else if (*a != 'z' && *a != 'B')
			return false;
	}
	return !r.bad && *pointer_size;
}

bool image_function(const struct image *image, uint32_t i, struct function *function)
{
	uintptr_t fde = image->frame_header + (uintptr_t)(intptr_t)image->table[2 * i + 1];
	uint32_t length = load32(fde);
	unsigned size;

	if (length < 12 || length >= 0xfffffff0 ||
	    !read_cie(fde + 4 - load32(fde + 4), &size, &function->signal_frame))
		return false;
	function->start = image->frame_header + (uintptr_t)(intptr_t)image->table[2 * i];
	function->end = function->start + (size == 4 ? load32(fde + 8 + 4) : load64(fde + 8 + 8));
	return function->start >= image->text && function->end <= image->text_end &&
	       function->start < function->end;
}

long image_find(const struct image *image, long number, uintptr_t address)
{
	intptr_t offset = (intptr_t)(address - image->frame_header);

	while (number + 1 < (long)image->functions && image->table[2 * (number + 1)] <= offset)
		number++;
	return number;
}

/* ---- relocations --------------------------------------------------------------- */

struct relocations {
	uintptr_t rela, rela_size, relr, relr_size;
};

static struct relocations find_relocations(const struct image *image)
{
	struct relocations r = { 0 };

	for (unsigned i = 0; i < image->headers_count; i++) {
		const ElfW(Phdr) *p = &image->headers[i];

		if (p->p_type != PT_DYNAMIC)
			continue;
		for (const ElfW(Dyn) *d = (const void *)(image->bias + p->p_vaddr); d->d_tag; d++) {
			uintptr_t value = d->d_un.d_val;

			if (d->d_tag == DT_RELA)
				r.rela = value;
			else if (d->d_tag == DT_RELASZ)
				r.rela_size = value;
			else if (d->d_tag == DT_RELR)
				r.relr = value;
			else if (d->d_tag == DT_RELRSZ)
				r.relr_size = value;
		}
	}
	/* The dynamic linker has made addresses of offsets, in most objects. */
	if (r.rela && r.rela < image->bias)
		r.rela += image->bias;
	if (r.relr && r.relr < image->bias)
		r.relr += image->bias;
	return r;
}

/* Offsets and bitmaps of the 63 words after the last offset. */
static void packed_pointers(const struct image *image, const struct relocations *r,
                            void (*fn)(void *arg, uintptr_t value), void *arg)
{
	uintptr_t where = 0;

	for (uintptr_t at = r->relr; at < r->relr + r->relr_size; at += 8) {
		uint64_t entry = load64(at);

		if (!(entry & 1)) {
			where = image->bias + entry;
			fn(arg, load64(where));
			where += 8;
			continue;
		}
		if (!where) /* begins with a bitmap: of which words? */
			return;
		for (unsigned i = 0; i < 63; i++)
			if (entry >> (i + 1) & 1)
				fn(arg, load64(where + 8 * i));
		where += (uintptr_t)63 * 8;
	}
}

void image_pointers(const struct image *image, void (*fn)(void *arg, uintptr_t value), void *arg)
{
	struct relocations r = find_relocations(image);
	const ElfW(Rela) *rela = (const void *)r.rela;

	for (size_t i = 0; rela && i < r.rela_size / sizeof(*rela); i++) {
		unsigned long type = ELF64_R_TYPE(rela[i].r_info);

		if (type == R_X86_64_RELATIVE || type == R_X86_64_IRELATIVE)
			fn(arg, image->bias + (uintptr_t)rela[i].r_addend);
	}
	if (r.relr)
		packed_pointers(image, &r, fn, arg);
}
