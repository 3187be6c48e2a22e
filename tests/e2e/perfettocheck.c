/* SPDX-License-Identifier: MIT
 *
 * Reads a timeline in Perfetto's format from standard input, by a decoder of its own, and
 * checks it as a reader would: fields have the right types, names and tracks are defined
 * before they are used, slices of a track are nested, each arrow has two ends.  Prints
 * each slice and instant, the track first:
 *	TRACK<TAB>NAME<TAB>NANOSECONDS
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 16

struct span {
	const unsigned char *at, *end;
};

struct field {
	unsigned number, type;
	uint64_t value; /* types 0 and 1 */
	struct span bytes;
};

struct track {
	uint64_t uuid, parent;
	struct span name;
	uint64_t open[DEPTH], since[DEPTH]; /* names, times */
	unsigned depth;
};

struct event {
	uint64_t time, track, type, name, category, from, to;
	size_t order;
};

static struct track *tracks;
static size_t tracks_count, events_count, names_count;
static struct event *events;
static struct span *names; /* from 1 on */
static bool categories[16];

static void bad(const char *what)
{
	fprintf(stderr, "perfettocheck: %s\n", what);
	exit(1);
}

/* Room for one more behind count elements of size bytes: how many there are depends on how
 * fast the traced program ran, so there is no bound but memory. */
static void *grown(void *array, size_t count, size_t size)
{
	if (count & (count - 1))
		return array;
	void *more = realloc(array, (count ? count * 2 : 1) * size);
	if (!more)
		bad("no memory");
	return more;
}

/* ---- decoding ------------------------------------------------------------------ */

static uint64_t number_of(struct span *s)
{
	uint64_t n = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (s->at == s->end)
			bad("a number is cut short");
		n |= (uint64_t)(*s->at & 0x7f) << shift;
		if (!(*s->at++ & 0x80))
			return n;
	}
	bad("a number has too many bytes");
	return 0;
}

static bool next(struct span *s, struct field *f)
{
	if (s->at == s->end)
		return false;
	uint64_t key = number_of(s);
	memset(f, 0, sizeof(*f));
	f->number = (unsigned)(key >> 3);
	f->type = key & 7;
	if (f->type == 0) {
		f->value = number_of(s);
	} else if (f->type == 1) {
		if (s->end - s->at < 8)
			bad("a fixed number is cut short");
		memcpy(&f->value, s->at, 8);
		s->at += 8;
	} else if (f->type == 2) {
		uint64_t size = number_of(s);
		if (size > (uint64_t)(s->end - s->at))
			bad("a length leads beyond the end");
		f->bytes = (struct span){ s->at, s->at + size };
		s->at += size;
	} else {
		bad("a field of a type that is not used");
	}
	return true;
}

/* The one field of a message; its type must be the one wanted. */
static struct field only(struct span s, unsigned number, unsigned type)
{
	struct field f, found = { 0 };

	while (next(&s, &f))
		if (f.number == number) {
			if (f.type != type || found.number)
				bad("a field is of another type, or there twice");
			found = f;
		}
	return found;
}

/* ---- packets ------------------------------------------------------------------- */

static struct track *track_of(uint64_t uuid)
{
	for (size_t i = 0; i < tracks_count; i++)
		if (tracks[i].uuid == uuid)
			return &tracks[i];
	return NULL;
}

static void take_track(struct span s)
{
	tracks = grown(tracks, tracks_count, sizeof(tracks[0]));
	struct track *t = memset(&tracks[tracks_count++], 0, sizeof(*t));
	struct span thread = only(s, 4, 2).bytes, process = only(s, 3, 2).bytes;

	t->uuid = only(s, 1, 0).value;
	t->parent = only(s, 5, 0).value;
	t->name = only(s, 2, 2).bytes;
	if (thread.at) {
		t->name = only(thread, 5, 2).bytes;
		if (!only(thread, 1, 0).value || !only(thread, 2, 0).value)
			bad("a thread without numbers");
	}
	if (process.at) {
		t->name = only(process, 6, 2).bytes;
		if (!only(process, 1, 0).value)
			bad("a process without a number");
	}
	if (!t->uuid || !t->name.at)
		bad("a track without a number or a name");
	if (t->parent && !track_of(t->parent))
		bad("a track without its parent");
}

static void take_name(struct span text)
{
	names = grown(names, names_count + 1, sizeof(names[0]));
	names[++names_count] = text;
}

static void take_names(struct span s)
{
	struct field f;

	while (next(&s, &f)) {
		uint64_t id = only(f.bytes, 1, 0).value;
		struct span text = only(f.bytes, 2, 2).bytes;
		if (!text.at || id == 0)
			bad("a name without a number or a text");
		if (f.number == 1 && id < 16)
			categories[id] = true;
		else if (f.number == 2 && id == names_count + 1)
			take_name(text);
		else
			bad("a name with another number");
	}
}

static void take_event(struct span s, struct field time)
{
	struct event e = {
		.time = time.value,
		.track = only(s, 11, 0).value,
		.type = only(s, 9, 0).value,
		.name = only(s, 10, 0).value,
		.category = only(s, 3, 0).value,
		.from = only(s, 47, 1).value,
		.to = only(s, 48, 1).value,
		.order = events_count,
	};

	if (!time.number || !track_of(e.track) || e.type < 1 || e.type > 3 ||
	    e.name > names_count || (e.type != 2 && !e.name) ||
	    (e.category && (e.category > 15 || !categories[e.category])))
		bad("an event without a time, or that names what is not there");
	events = grown(events, events_count, sizeof(events[0]));
	events[events_count++] = e;
}

static void take_packet(struct span s, bool first)
{
	uint64_t flags = only(s, 13, 0).value;
	struct field track = only(s, 60, 2), event = only(s, 11, 2), interned = only(s, 12, 2);

	if (only(s, 10, 0).value != 1 || flags != (first ? 3 : 2))
		bad("a packet that is not one of the sequence");
	if (interned.number)
		take_names(interned.bytes);
	if (track.number)
		take_track(track.bytes);
	if (event.number)
		take_event(event.bytes, only(s, 8, 0));
}

/* ---- slices -------------------------------------------------------------------- */

static int earlier(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void print(const struct track *t, uint64_t name, uint64_t ns)
{
	printf("%.*s\t%.*s\t%llu\n", (int)(t->name.end - t->name.at), (const char *)t->name.at,
	       (int)(names[name].end - names[name].at), (const char *)names[name].at,
	       (unsigned long long)ns);
}

static void play(const struct event *e)
{
	struct track *t = track_of(e->track);

	if (e->type == 3) {
		print(t, e->name, 0);
	} else if (e->type == 1) {
		if (t->depth == DEPTH)
			bad("slices are nested too deep");
		t->open[t->depth] = e->name;
		t->since[t->depth++] = e->time;
	} else {
		if (t->depth == 0)
			bad("a slice ends that has not begun");
		t->depth--;
		print(t, t->open[t->depth], e->time - t->since[t->depth]);
	}
}

/* Arrows have the numbers from 1 on, so there are never more than events. */
static void check_flows(void)
{
	unsigned char *ends = calloc(events_count + 1, 1);

	if (!ends)
		bad("no memory");
	for (size_t i = 0; i < events_count; i++) {
		if (events[i].from > events_count || events[i].to > events_count)
			bad("the number of an arrow is too large");
		ends[events[i].from] |= 1;
		ends[events[i].to] |= 2;
	}
	for (size_t i = 1; i <= events_count; i++)
		if (ends[i] == 1 || ends[i] == 2)
			bad("an arrow has one end");
	free(ends);
}

static struct span whole(FILE *f)
{
	size_t size = 0, room = 1 << 20;
	unsigned char *file = NULL;

	do {
		room *= 2;
		unsigned char *more = realloc(file, room);
		if (!more)
			bad("no memory");
		file = more;
		size += fread(file + size, 1, room - size, f);
	} while (size == room);
	return (struct span){ file, file + size };
}

int main(void)
{
	struct span s = whole(stdin);
	struct field f;
	bool first = true;

	while (next(&s, &f)) {
		if (f.number != 1 || f.type != 2)
			bad("what is no packet");
		take_packet(f.bytes, first);
		first = false;
	}
	if (first)
		bad("there is nothing");
	check_flows();
	qsort(events, events_count, sizeof(events[0]), earlier);
	for (size_t i = 0; i < events_count; i++)
		play(&events[i]);
	for (size_t i = 0; i < tracks_count; i++)
		if (tracks[i].depth)
			bad("a slice has no end");
	return 0;
}
