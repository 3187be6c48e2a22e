/* SPDX-License-Identifier: MIT
 *
 * struct image: an ELF object in memory, as somebody needs to know it who changes its
 * code: where its text lies, where each function begins and ends, which addresses of code
 * its data hold.
 *
 * Functions are those of its unwind table (.eh_frame_hdr), which a stripped object has,
 * too, and static functions are in.
 */
#ifndef INTERCEPT_IMAGE_H
#define INTERCEPT_IMAGE_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
	uintptr_t bias;
	const ElfW(Phdr) * headers;
	unsigned headers_count;
	uintptr_t text, text_end; /* the executable segment, in bytes */
	uintptr_t frame_header;   /* .eh_frame_hdr */
	const int32_t *table;     /* pairs: function, its entry in .eh_frame; both from the
	                             header, ascending */
	uint32_t functions;
};

/* What of info can be used.  False: no or several executable segments, or no table of
 * functions in the usual form. */
bool image_open(struct image *image, const struct dl_phdr_info *info);

/* One function: [start, end). signal_frame: where handlers return to, whose bytes
 * unwinders recognise. */
struct function {
	uintptr_t start, end;
	bool signal_frame;
};

/* Number i of image.functions, in ascending order; false: its entry has an unusual form. */
bool image_function(const struct image *image, uint32_t i, struct function *function);

/* The last function that starts at address or before; -1: none does.  number: what was
 * found for an address not above it, or -1. */
long image_find(const struct image *image, long number, uintptr_t address);

/* Does a loaded segment that is not executable have all of these bytes? */
bool image_has_data(const struct image *image, uintptr_t address, size_t size);

/* Calls fn for each word of its data that relocation made an address (of anything). */
void image_pointers(const struct image *image, void (*fn)(void *arg, uintptr_t value), void *arg);

#endif
