/* SPDX-License-Identifier: MIT
 *
 * First the text is scanned for the two bytes of a system call, and for far jumps.
 * Functions that have the former are decoded from their first instruction on: that tells
 * which are instructions, and where short jumps go.  Then room is made.
 */
#include "intercept/site.h"
#include "intercept/decode.h"

#include <emmintrin.h>
#include <string.h>

#define JUMP_SIZE 5
#define SHORT_JUMP_REACH 120 /* a little less than what a signed byte allows */
#define TABLE_ENTRIES_MAX 4096
#define STUB_SIZE_MAX 64

struct search {
	const struct image *image;
	struct site_scratch bits;
	uint32_t decoded_to; /* functions below this number */
	struct site *sites;  /* max of them; the candidates' addresses, at first */
	unsigned max, candidates;
};

/* ---- bits ---------------------------------------------------------------------- */

static size_t words(const struct image *image)
{
	return (image->text_end - image->text) / 64 + 1;
}

size_t site_scratch_size(const struct image *image)
{
	return 3 * words(image) * sizeof(uint64_t);
}

static bool in_text(const struct image *image, uintptr_t address)
{
	return address - image->text < image->text_end - image->text;
}

static bool is_set(const struct search *s, const uint64_t *bits, uintptr_t address)
{
	uintptr_t at = address - s->image->text;

	return bits[at / 64] >> (at % 64) & 1;
}

static void set(const struct search *s, uint64_t *bits, uintptr_t address)
{
	uintptr_t at = address - s->image->text;

	bits[at / 64] |= (uint64_t)1 << (at % 64);
}

/* ---- who jumps where ------------------------------------------------------------ */

static void add_target(void *search, uintptr_t address)
{
	struct search *s = search;

	if (in_text(s->image, address))
		set(s, s->bits.targets, address);
}

/* Offsets from the table's own address, as compilers write them for a switch. */
static void add_table(struct search *s, uintptr_t table)
{
	for (unsigned i = 0; i < TABLE_ENTRIES_MAX; i++) {
		int32_t offset;

		if (!image_has_data(s->image, table + (uintptr_t)4 * i, sizeof(offset)))
			return;
		memcpy(&offset, (const void *)(table + (uintptr_t)4 * i), sizeof(offset));
		if (!in_text(s->image, table + (uintptr_t)(intptr_t)offset))
			return;
		add_target(s, table + (uintptr_t)(intptr_t)offset);
	}
}

static void add_reference(struct search *s, const uint8_t *code, const struct insn *insn)
{
	uintptr_t at = (uintptr_t)code;
	int32_t offset;

	if (insn->relative) {
		add_target(s, insn_target(code, insn, at));
	} else if (insn->rip_relative) {
		memcpy(&offset, code + insn->disp_at, sizeof(offset));
		at += insn->length + (uintptr_t)(intptr_t)offset;
		if (in_text(s->image, at))
			add_target(s, at);
		else
			add_table(s, at);
	}
}

/* ---- scanning ------------------------------------------------------------------- */

/* What two bytes in a row may be the opcode of, wherever they lie. */
enum kind { KIND_NONE, KIND_OFFSET, KIND_SYSCALL };

/* Call, jump, the conditional ones, lea of an address by rip, xbegin: four bytes follow
 * that say where. */
static enum kind kind_of(uint8_t before, uint8_t byte)
{
	if ((byte & 0xfe) == 0xe8 || (before == 0x0f && (byte & 0xf0) == 0x80) ||
	    (before == 0x8d && (byte & 0xc7) == 0x05) || (before == 0xc7 && byte == 0xf8))
		return KIND_OFFSET;
	return before == 0x0f && byte == 0x05 ? KIND_SYSCALL : KIND_NONE;
}

/* The same of sixteen bytes, as two masks with a bit for each. */
static void kinds_of(const uint8_t *code, unsigned *offsets, unsigned *syscalls)
{
	const __m128i bytes = _mm_loadu_si128((const void *)code);
	const __m128i before = _mm_loadu_si128((const void *)(code - 1));
	const __m128i escape = _mm_cmpeq_epi8(before, _mm_set1_epi8(0x0f));
#define IS(value, mask, wanted)                                           \
	_mm_cmpeq_epi8(_mm_and_si128(value, _mm_set1_epi8((char)(mask))), \
	               _mm_set1_epi8((char)(wanted)))
	const __m128i branch = IS(bytes, 0xfe, 0xe8);
	const __m128i jcc = _mm_and_si128(escape, IS(bytes, 0xf0, 0x80));
	const __m128i lea = _mm_and_si128(IS(before, 0xff, 0x8d), IS(bytes, 0xc7, 0x05));
	const __m128i begin = _mm_and_si128(IS(before, 0xff, 0xc7), IS(bytes, 0xff, 0xf8));
	const __m128i call = _mm_and_si128(escape, IS(bytes, 0xff, 0x05));
#undef IS
	*offsets = (unsigned)_mm_movemask_epi8(
		_mm_or_si128(_mm_or_si128(branch, jcc), _mm_or_si128(lea, begin)));
	*syscalls = (unsigned)_mm_movemask_epi8(call);
}

/* The opcode's last byte lies at code + at. */
static void add_far_target(struct search *s, const uint8_t *code, uintptr_t at)
{
	int32_t offset;

	memcpy(&offset, code + at + 1, sizeof(offset));
	add_target(s, s->image->text + at + 5 + (uintptr_t)(intptr_t)offset);
}

static void add_candidate(struct search *s, uintptr_t at)
{
	if (s->candidates < s->max)
		s->sites[s->candidates].at = s->image->text + at - 1;
	s->candidates++;
}

/* All of the text, without knowing where instructions begin: possible system calls, in
 * ascending order, and whatever might be a jump with a four-byte offset, or take the
 * address of code. */
static void scan(struct search *s)
{
	uintptr_t size = s->image->text_end - s->image->text, at = 1;
	const uint8_t *code = (const uint8_t *)s->image->text;
	unsigned offsets, syscalls;

	for (; at + 16 + 4 <= size; at += 16) {
		kinds_of(code + at, &offsets, &syscalls);
		for (; offsets; offsets &= offsets - 1)
			add_far_target(s, code, at + (unsigned)__builtin_ctz(offsets));
		for (; syscalls; syscalls &= syscalls - 1)
			add_candidate(s, at + (unsigned)__builtin_ctz(syscalls));
	}
	for (; at < size; at++) {
		enum kind kind = kind_of(code[at - 1], code[at]);

		if (kind == KIND_OFFSET && at + 4 < size)
			add_far_target(s, code, at);
		else if (kind == KIND_SYSCALL)
			add_candidate(s, at);
	}
}

/* ---- instructions --------------------------------------------------------------- */

/* Where it stopped, because it did not know an instruction, or at the end. */
static uintptr_t decode_range(struct search *s, uintptr_t at, uintptr_t end)
{
	struct insn insn;

	for (; at < end && insn_decode((const uint8_t *)at, end - at, &insn); at += insn.length) {
		set(s, s->bits.starts, at);
		add_reference(s, (const uint8_t *)at, &insn);
	}
	return at;
}

/* With what lies between it and the next one: padding, and code that hides from unwinders,
 * such as libc's clone() from where there are two threads in it. */
static void decode_function(struct search *s, uint32_t number)
{
	struct function f, next;

	if (!image_function(s->image, number, &f))
		return;
	if (number + 1 == s->image->functions || !image_function(s->image, number + 1, &next))
		next.start = f.end;
	if (f.signal_frame || decode_range(s, f.start, f.end) >= f.end)
		decode_range(s, f.end, next.start);
}

/* The function of a possible site, and its neighbours that a short jump could come from.
 * Sites come in ascending order. */
static void decode_around(struct search *s, uintptr_t site)
{
	long first = image_find(s->image, site - INT8_MAX - INSN_MAX);
	long last = image_find(s->image, site + INT8_MAX + INSN_MAX);

	if (first < (long)s->decoded_to)
		first = (long)s->decoded_to;
	for (; first <= last; first++)
		decode_function(s, (uint32_t)first);
	if (last >= (long)s->decoded_to)
		s->decoded_to = (uint32_t)last + 1;
}

/* ---- room ----------------------------------------------------------------------- */

/* endbr64, where indirect branches land. */
static bool is_landing(uintptr_t at)
{
	static const uint8_t landing[] = { 0xf3, 0x0f, 0x1e, 0xfa };

	return memcmp((const void *)at, landing, sizeof(landing)) == 0;
}

/* May it be executed elsewhere?  What goes somewhere else may not, and landings shall stay
 * where they are. */
static bool can_move(uintptr_t at, struct insn *insn)
{
	return insn_decode((const uint8_t *)at, INSN_MAX, insn) && insn->flow == FLOW_NEXT &&
	       !is_landing(at);
}

/* Code between functions may be none: only what sets the number of a call looks like it. */
static bool is_believable(const struct search *s, uintptr_t site)
{
	long number = image_find(s->image, site);
	const uint8_t *code = (const uint8_t *)site;
	struct function f;

	if (number >= 0 && image_function(s->image, (uint32_t)number, &f) && site < f.end)
		return true;
	return is_set(s, s->bits.starts, site - 5) && code[-5] == 0xb8 && code[-3] < 2 &&
	       code[-2] == 0 && code[-1] == 0;
}

/* [endbr64]; mov $nr, %eax; syscall; …, a short function: libc's in assembly look like it,
 * and a few others. */
static int32_t stub_number(const struct search *s, uintptr_t site)
{
	long number = image_find(s->image, site);
	const uint8_t *code = (const uint8_t *)site - 5;
	struct function f;
	int32_t nr;

	if (number < 0 || !image_function(s->image, (uint32_t)number, &f) || code[0] != 0xb8 ||
	    f.end - f.start > STUB_SIZE_MAX ||
	    (f.start != site - 5 && (f.start != site - 9 || !is_landing(f.start))))
		return -1;
	memcpy(&nr, code + 1, sizeof(nr));
	return nr;
}

/* Where the window of the site begins; 0: there can be none. */
static uintptr_t find_window(const struct search *s, uintptr_t site)
{
	uintptr_t at = site;

	while (site + 2 - at < JUMP_SIZE) {
		uintptr_t before = at - 1;
		struct insn insn;

		/* All before the first instruction go on into the next. */
		while (!is_set(s, s->bits.starts, before))
			if (--before < s->image->text || site - before > INSN_MAX)
				return 0;
		if (is_set(s, s->bits.targets, at) || !can_move(before, &insn) ||
		    before + insn.length != at || is_set(s, s->bits.taken, before))
			return 0;
		at = before;
	}
	for (uintptr_t inner = at + 1; inner < site + 2; inner++)
		if (is_set(s, s->bits.targets, inner))
			return 0;
	return at;
}

static bool is_padding(const uint8_t *code, const struct insn *insn)
{
	const uint8_t opcode = code[insn->opcode_at];

	if (insn->opcode_at > 0 && code[insn->opcode_at - 1] == 0x0f)
		return opcode == 0x1f;
	return (opcode == 0x90 && code[0] != 0xf3) || opcode == 0xcc;
}

/* Five bytes of padding from at on that nobody jumps to. */
static bool is_free_padding(const struct search *s, uintptr_t at)
{
	struct insn insn;
	uintptr_t end = at;

	while (end - at < JUMP_SIZE) {
		if (!in_text(s->image, end + INSN_MAX) ||
		    !insn_decode((const uint8_t *)end, INSN_MAX, &insn) ||
		    !is_padding((const uint8_t *)end, &insn))
			return false;
		end += insn.length;
	}
	for (uintptr_t inner = at; inner < at + JUMP_SIZE; inner++)
		if (is_set(s, s->bits.targets, inner) || is_set(s, s->bits.taken, inner))
			return false;
	return true;
}

/* Padding in reach of a short jump at the site; 0: there is none. */
static uintptr_t find_pad(const struct search *s, uintptr_t site)
{
	uintptr_t from = site - SHORT_JUMP_REACH, to = site + SHORT_JUMP_REACH;
	struct insn insn;

	if (from < s->image->text)
		from = s->image->text;
	if (to > s->image->text_end)
		to = s->image->text_end;
	for (uintptr_t at = from; at < to; at++) {
		if (!is_set(s, s->bits.starts, at) ||
		    !insn_decode((const uint8_t *)at, INSN_MAX, &insn))
			continue;
		if ((insn.flow == FLOW_JUMP || insn.flow == FLOW_INDIRECT ||
		     insn.flow == FLOW_END) &&
		    at + insn.length < to && is_free_padding(s, at + insn.length))
			return at + insn.length;
	}
	return 0;
}

/* Is it code of a function that the decoder could not follow to there?  (Else the two
 * bytes are part of another instruction, or no code.) */
static bool is_unreached(const struct search *s, uintptr_t site)
{
	long number = image_find(s->image, site);
	struct function f;
	struct insn insn;

	if (number < 0 || !image_function(s->image, (uint32_t)number, &f) || f.signal_frame ||
	    site >= f.end)
		return false;
	while (f.start < site && insn_decode((const uint8_t *)f.start, f.end - f.start, &insn))
		f.start += insn.length;
	return f.start < site;
}

static void take(const struct search *s, uintptr_t from, uintptr_t to)
{
	for (; from < to; from++)
		set(s, s->bits.taken, from);
}

static bool make_room(const struct search *s, struct site *site)
{
	site->pad = 0;
	if (!is_believable(s, site->at))
		return false;
	site->window = find_window(s, site->at);
	if (!site->window) {
		site->window = site->at;
		site->pad = find_pad(s, site->at);
		if (!site->pad)
			return false;
		take(s, site->pad, site->pad + JUMP_SIZE);
	}
	take(s, site->window, site->at + 2);
	site->stub_nr = stub_number(s, site->at);
	return true;
}

unsigned sites_find(const struct image *image, void *scratch, struct site *sites, unsigned max,
                    unsigned *left)
{
	struct search s = { .image = image, .sites = sites, .max = max };
	unsigned count = 0, candidates;

	s.bits.starts = scratch;
	s.bits.targets = s.bits.starts + words(image);
	s.bits.taken = s.bits.targets + words(image);
	scan(&s);
	candidates = s.candidates < max ? s.candidates : max;
	*left = s.candidates - candidates;
	for (unsigned i = 0; i < candidates; i++)
		decode_around(&s, sites[i].at);
	image_pointers(image, add_target, &s);
	for (unsigned i = 0; i < candidates; i++) {
		struct site site = { .at = sites[i].at };

		if (!is_set(&s, s.bits.starts, site.at))
			*left += is_unreached(&s, site.at);
		else if (make_room(&s, &site))
			sites[count++] = site;
		else
			++*left;
	}
	return count;
}
