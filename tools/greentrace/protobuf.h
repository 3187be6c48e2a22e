/* SPDX-License-Identifier: MIT
 *
 * struct message: a message of protocol buffers, as it is being written.
 */
#ifndef PROTOBUF_H
#define PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message {
	unsigned char *data; /* allocated; kept when the message is begun anew */
	size_t size, room;
	bool failed; /* no memory: it is not complete */
};

/* Empty again. */
static inline void message_begin(struct message *m)
{
	m->size = 0;
	m->failed = false;
}
void message_free(struct message *m);

/* Fields of the types (u)int32, (u)int64, bool and enum; fixed64; string and bytes; and of
 * a message. */
void message_number(struct message *m, unsigned field, uint64_t value);
void message_fixed(struct message *m, unsigned field, uint64_t value);
void message_bytes(struct message *m, unsigned field, const void *data, size_t size);
void message_text(struct message *m, unsigned field, const char *text);
void message_message(struct message *m, unsigned field, const struct message *inner);

#endif
