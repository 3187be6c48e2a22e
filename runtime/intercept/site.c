/* SPDX-License-Identifier: MIT
 *
 * First the text is scanned for the two bytes of a system call, and for far jumps.
 * Functions that have the former are decoded from their first instruction on: that tells
 * which are instructions, and where short jumps go.  Then room is made.
 */
#include "intercept/site.h"
#include "arch/cpu.h"
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
	long first, last;    /* functions around the last site */
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

/* The same of sixteen bytes: those that are have all bits set. */
static inline __m128i offsets_in(__m128i before, __m128i bytes, __m128i escape)
{
#define IS(value, mask, wanted)                                           \
	_mm_cmpeq_epi8(_mm_and_si128(value, _mm_set1_epi8((char)(mask))), \
	               _mm_set1_epi8((char)(wanted)))
	const __m128i branch = IS(bytes, 0xfe, 0xe8);
	const __m128i jcc = _mm_and_si128(escape, IS(bytes, 0xf0, 0x80));
	const __m128i lea = _mm_and_si128(IS(before, 0xff, 0x8d), IS(bytes, 0xc7, 0x05));
	const __m128i begin = _mm_and_si128(IS(before, 0xff, 0xc7), IS(bytes, 0xff, 0xf8));
#undef IS
	return _mm_or_si128(_mm_or_si128(branch, jcc), _mm_or_si128(lea, begin));
}

/* Of 64 bytes: a bit for each that may be an opcode with an offset behind it, and how many
 * those are; for system calls a bit for each place modulo 16. */
struct block {
	uint64_t offsets;
	unsigned count, syscalls;
};

static inline struct block look_at(const uint8_t *code)
{
	__m128i sum = _mm_setzero_si128(), calls = sum;
	struct block block = { 0 };

#pragma GCC unroll 4
	for (unsigned i = 0; i < 64; i += 16) {
		const __m128i bytes = _mm_loadu_si128((const void *)(code + i));
		const __m128i before = _mm_loadu_si128((const void *)(code + i - 1));
		const __m128i escape = _mm_cmpeq_epi8(before, _mm_set1_epi8(0x0f));
		const __m128i offsets = offsets_in(before, bytes, escape);
		const __m128i call = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x05));

		calls = _mm_or_si128(calls, _mm_and_si128(escape, call));
		sum = _mm_sub_epi8(sum, offsets);
		block.offsets |= (uint64_t)(unsigned)_mm_movemask_epi8(offsets) << i;
	}
	sum = _mm_sad_epu8(sum, _mm_setzero_si128());
	block.count = (unsigned)(_mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4));
	block.syscalls = (unsigned)_mm_movemask_epi8(calls);
	return block;
}

/* Opcodes whose targets are still to be noted: what so many of 64 bytes are cannot be
 * foretold, so they are gathered first, without a branch for each. */
#define FAR_MAX 1024
struct far {
	uint32_t at[FAR_MAX + 128]; /* their last bytes, in the text */
	unsigned count;
};

static void note_far(struct search *s, struct far *far)
{
	const uintptr_t size = s->image->text_end - s->image->text;
	const uint8_t *code = (const uint8_t *)s->image->text;
	uint64_t *targets = s->bits.targets;

	for (unsigned i = 0; i < far->count; i++) {
		uintptr_t at = far->at[i];
		int32_t offset;

		memcpy(&offset, code + at + 1, sizeof(offset));
		at += 5 + (uintptr_t)(intptr_t)offset;
		if (at < size)
			targets[at / 64] |= (uint64_t)1 << (at % 64);
	}
	far->count = 0;
}

static inline void gather(struct far *far, uintptr_t at, struct block block)
{
	const uint64_t none = (uint64_t)1 << 63; /* for the built-in; beyond the count */
	unsigned i = 0;

	do
		for (unsigned end = i + 4; i < end; i++) {
			far->at[far->count + i] =
				(uint32_t)at + (unsigned)__builtin_ctzll(block.offsets | none);
			block.offsets &= block.offsets - 1;
		}
	while (unlikely(i < block.count));
	far->count += block.count;
}

static void add_candidate(struct search *s, uintptr_t at)
{
	if (s->candidates < s->max)
		s->sites[s->candidates].at = s->image->text + at - 1;
	s->candidates++;
}

/* From at to end, where one of the places that bits has, modulo 16, is that of one. */
static void add_candidates(struct search *s, uintptr_t at, uintptr_t end, unsigned bits)
{
	const uint8_t *code = (const uint8_t *)s->image->text;

	for (uintptr_t from = at; from < end; from += 16)
		for (unsigned left = bits; left; left &= left - 1) {
			uintptr_t it = from + (unsigned)__builtin_ctz(left);

			if (it < end && kind_of(code[it - 1], code[it]) == KIND_SYSCALL)
				add_candidate(s, it);
		}
}

/* All of the text, without knowing where instructions begin: possible system calls, in
 * ascending order, and whatever might be a jump with a four-byte offset, or take the
 * address of code. */
static void scan(struct search *s)
{
	uintptr_t size = s->image->text_end - s->image->text, at = 1;
	const uint8_t *code = (const uint8_t *)s->image->text;
	struct far far;

	far.count = 0;
	for (; at + 64 + 4 <= size; at += 64) {
		struct block block = look_at(code + at);

		gather(&far, at, block);
		if (unlikely(far.count > FAR_MAX))
			note_far(s, &far);
		if (unlikely(block.syscalls))
			add_candidates(s, at, at + 64, block.syscalls);
	}
	for (uintptr_t last = at; last + 4 < size; last++)
		if (kind_of(code[last - 1], code[last]) == KIND_OFFSET)
			far.at[far.count++] = (uint32_t)last;
	note_far(s, &far);
	add_candidates(s, at, size, 0xffff);
}

/* ---- instructions --------------------------------------------------------------- */

static bool decode_at(const struct search *s, uintptr_t at, struct insn *insn)
{
	return insn_decode((const uint8_t *)at, s->image->text_end - at, insn) != 0;
}

/* Where it stopped, because it did not know an instruction, or at the end. */
static uintptr_t decode_range(struct search *s, uintptr_t at, uintptr_t end)
{
	struct insn insn;

	for (; at < end && decode_at(s, at, &insn) && at + insn.length <= end; at += insn.length) {
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
	s->first = image_find(s->image, s->first, site - INT8_MAX - INSN_MAX);
	s->last = image_find(s->image, s->last, site + INT8_MAX + INSN_MAX);
	long first = s->first < (long)s->decoded_to ? (long)s->decoded_to : s->first;

	for (; first <= s->last; first++)
		decode_function(s, (uint32_t)first);
	if (s->last >= (long)s->decoded_to)
		s->decoded_to = (uint32_t)s->last + 1;
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
static bool can_move(const struct search *s, uintptr_t at, struct insn *insn)
{
	return decode_at(s, at, insn) && insn->flow == FLOW_NEXT && !is_landing(at);
}

/* Code between functions may be none: only what sets the number of a call looks like it. */
static bool is_believable(const struct search *s, uintptr_t site, const struct function *f)
{
	const uint8_t *code = (const uint8_t *)site;

	if (site < f->end)
		return true;
	return is_set(s, s->bits.starts, site - 5) && code[-5] == 0xb8 && code[-3] < 2 &&
	       code[-2] == 0 && code[-1] == 0;
}

/* Does the code return to the caller at once, unless there is an error to be told? */
static bool returns(const uint8_t *code, const uint8_t *end)
{
	static const uint8_t compare[] = { 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff }; /* with -4095 */

	if (end - code > 12 && memcmp(code, compare, sizeof(compare)) == 0) {
		code += sizeof(compare);
		if (code[0] == 0x73) /* jae */
			code += 2;
		else if (code[0] == 0x0f && code[1] == 0x83)
			code += 6;
	}
	return end - code > 0 && *code == 0xc3;
}

/* [endbr64]; mov $nr, %eax; syscall; [cmp $-4095, %rax; jae 1f]; ret: what libc's functions
 * in assembly look like, and a few others in C that have no arguments either.  No register
 * that a function need not keep is read behind the call but rax. */
static int32_t stub_number(uintptr_t site, const struct function *f)
{
	const uint8_t *code = (const uint8_t *)site - 5;
	int32_t nr;

	if (!f->end || code[0] != 0xb8 || f->end - f->start > STUB_SIZE_MAX ||
	    !returns((const uint8_t *)site + 2, (const uint8_t *)f->end) ||
	    (f->start != site - 5 && (f->start != site - 9 || !is_landing(f->start))))
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
		if (is_set(s, s->bits.targets, at) || !can_move(s, before, &insn) ||
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
		if (!in_text(s->image, end + INSN_MAX) || !decode_at(s, end, &insn) ||
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
		if (!is_set(s, s->bits.starts, at) || !decode_at(s, at, &insn))
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
static bool is_unreached(const struct site *site, struct function f)
{
	struct insn insn;

	if (f.signal_frame || site->at >= f.end)
		return false;
	while (f.start < site->at && insn_decode((const uint8_t *)f.start, f.end - f.start, &insn))
		f.start += insn.length;
	return f.start < site->at;
}

static void take(const struct search *s, uintptr_t from, uintptr_t to)
{
	for (; from < to; from++)
		set(s, s->bits.taken, from);
}

/* function: the last one that begins before the site; all zero if there is none. */
static bool make_room(const struct search *s, struct site *site, const struct function *function)
{
	site->pad = 0;
	if (!is_believable(s, site->at, function))
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
	site->stub_nr = stub_number(site->at, function);
	return true;
}

unsigned sites_find(const struct image *image, void *scratch, struct site *sites, unsigned max,
                    unsigned *left)
{
	struct search s = { .image = image, .sites = sites, .max = max, .first = -1, .last = -1 };
	unsigned count = 0, candidates;
	long number = -1;

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
		struct function f = { 0 };

		number = image_find(image, number, site.at);
		if (number < 0 || !image_function(image, (uint32_t)number, &f))
			f = (struct function){ 0 };
		if (!is_set(&s, s.bits.starts, site.at))
			*left += is_unreached(&site, f);
		else if (make_room(&s, &site, &f))
			sites[count++] = site;
		else
			++*left;
	}
	return count;
}
