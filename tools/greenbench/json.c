/* SPDX-License-Identifier: MIT
 *
 * Picking members out of a flat JSON object.
 */
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *member(const char *object, const char *key)
{
	char quoted[96];
	int length = snprintf(quoted, sizeof(quoted), "\"%s\"", key);
	for (const char *at = object; (at = strstr(at, quoted)); at += length) {
		const char *value = at + length + strspn(at + length, " \t\r\n");
		if (*value == ':')
			return value + 1 + strspn(value + 1, " \t\r\n");
	}
	return NULL;
}

double json_number(const char *object, const char *key)
{
	const char *value = member(object, key);
	if (!value)
		return NAN;
	char *end;
	double number = strtod(value, &end);
	return end == value ? NAN : number;
}

bool json_text(const char *object, const char *key, char *buf, size_t size)
{
	const char *value = member(object, key);
	if (!value || *value != '"')
		return false;
	snprintf(buf, size, "%.*s", (int)strcspn(value + 1, "\""), value + 1);
	return true;
}

char *json_last_line(char *text)
{
	size_t length = strlen(text);
	while (length && text[length - 1] == '\n')
		text[--length] = '\0';
	char *line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	return *line == '{' ? line : NULL;
}
