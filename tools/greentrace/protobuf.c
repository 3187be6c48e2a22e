/* SPDX-License-Identifier: MIT
 *
 * Writing protocol buffers: a field is a number with its type in the low three bits, and
 * numbers are seven bits a byte, the lowest first.
 */
#include "protobuf.h"

#include <stdlib.h>
#include <string.h>

enum wire { WIRE_NUMBER = 0, WIRE_FIXED = 1, WIRE_BYTES = 2 };

#define ROOM_FIRST 256
#define NUMBER_MAX 10 /* bytes of a number */

static bool make_room(struct message *m, size_t more)
{
	size_t room = m->room ? m->room : ROOM_FIRST;

	if (m->failed)
		return false;
	if (m->room - m->size >= more)
		return true;
	while (room - m->size < more)
		room *= 2;
	unsigned char *data = realloc(m->data, room);
	if (!data) {
		m->failed = true;
		return false;
	}
	m->data = data;
	m->room = room;
	return true;
}

static void put_number(struct message *m, uint64_t n)
{
	if (!make_room(m, NUMBER_MAX))
		return;
	for (; n >= 0x80; n >>= 7)
		m->data[m->size++] = (unsigned char)(n | 0x80);
	m->data[m->size++] = (unsigned char)n;
}

static void put_bytes(struct message *m, const void *data, size_t size)
{
	if (size == 0 || !make_room(m, size))
		return;
	memcpy(m->data + m->size, data, size);
	m->size += size;
}

static void put_key(struct message *m, unsigned field, enum wire wire)
{
	put_number(m, (uint64_t)field << 3 | wire);
}

void message_number(struct message *m, unsigned field, uint64_t value)
{
	put_key(m, field, WIRE_NUMBER);
	put_number(m, value);
}

void message_fixed(struct message *m, unsigned field, uint64_t value)
{
	unsigned char bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (unsigned char)(value >> 8 * i);
	put_key(m, field, WIRE_FIXED);
	put_bytes(m, bytes, sizeof(bytes));
}

void message_bytes(struct message *m, unsigned field, const void *data, size_t size)
{
	put_key(m, field, WIRE_BYTES);
	put_number(m, size);
	put_bytes(m, data, size);
}

void message_text(struct message *m, unsigned field, const char *text)
{
	message_bytes(m, field, text, strlen(text));
}

void message_message(struct message *m, unsigned field, const struct message *inner)
{
	m->failed = m->failed || inner->failed;
	message_bytes(m, field, inner->data, inner->size);
}

void message_free(struct message *m)
{
	free(m->data);
	memset(m, 0, sizeof(*m));
}
