/* SPDX-License-Identifier: MIT
 *
 * Reads JSON objects, one a line, from standard input, strictly (RFC 8259).
 *
 *	jsoncheck [KEY=TEXT | KEY]...
 *
 * The object of the last line must have each KEY: with =TEXT that string, without
 * it any number.  Exit status: 0, or 1 with a line that says what is wrong.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32
#define KEYS_MAX 256

static const char *at;
static int depth, line_number;

static struct {
	const char *key, *value;
	size_t key_len, value_len;
} members[KEYS_MAX]; /* of the outermost object */
static int member_count;

static void bad(const char *what)
{
	printf("line %d: %s at: %.40s\n", line_number, what, at);
	exit(1);
}

static void space(void)
{
	at += strspn(at, " \t\r");
}

static void expect(char c)
{
	if (*at != c)
		bad("unexpected character");
	at++;
}

static void string(void)
{
	expect('"');
	while (*at != '"') {
		if ((unsigned char)*at < 0x20)
			bad("control character in a string");
		if (*at++ != '\\')
			continue;
		if (*at == 'u') {
			for (int i = 1; i <= 4; i++)
				if (!isxdigit((unsigned char)at[i]))
					bad("bad \\u");
			at += 4;
		} else if (!*at || !strchr("\"\\/bfnrt", *at)) {
			bad("bad escape");
		}
		at++;
	}
	at++;
}

static void digits(void)
{
	if (!isdigit((unsigned char)*at))
		bad("a digit is missing");
	while (isdigit((unsigned char)*at))
		at++;
}

static void number(void)
{
	if (*at == '-')
		at++;
	if (*at == '0')
		at++;
	else
		digits();
	if (*at == '.') {
		at++;
		digits();
	}
	if (*at == 'e' || *at == 'E') {
		at++;
		if (*at == '+' || *at == '-')
			at++;
		digits();
	}
}

static void value(void);

static void member(void)
{
	const char *key = at + 1;

	string();
	size_t key_len = (size_t)(at - 1 - key);
	space();
	expect(':');
	space();
	const char *start = at;
	value();
	if (depth != 1)
		return;
	if (member_count == KEYS_MAX)
		bad("too many members");
	members[member_count].key = key;
	members[member_count].key_len = key_len;
	members[member_count].value = start;
	members[member_count++].value_len = (size_t)(at - start);
}

static void sequence(char end, void (*element)(void))
{
	if (++depth > DEPTH_MAX)
		bad("too deep");
	at++;
	space();
	while (*at != end) {
		element();
		space();
		if (*at == end)
			break;
		expect(',');
		space();
		if (*at == end)
			bad("comma before the end");
	}
	at++;
	depth--;
}

static void value(void)
{
	static const char *const words[] = { "true", "false", "null" };

	if (*at == '{') {
		sequence('}', member);
		return;
	}
	if (*at == '[') {
		sequence(']', value);
		return;
	}
	if (*at == '"') {
		string();
		return;
	}
	for (int i = 0; i < 3; i++)
		if (!strncmp(at, words[i], strlen(words[i]))) {
			at += strlen(words[i]);
			return;
		}
	number();
}

static void check_line(const char *line)
{
	line_number++;
	member_count = 0;
	at = line;
	if (*at != '{')
		bad("no object");
	value();
	space();
	if (*at && *at != '\n')
		bad("something follows the object");
	for (int i = 0; i < member_count; i++)
		for (int j = 0; j < i; j++)
			if (members[i].key_len == members[j].key_len &&
			    !strncmp(members[i].key, members[j].key, members[i].key_len))
				bad("a key occurs twice");
}

static bool wanted(const char *want)
{
	size_t key_len = strcspn(want, "=");

	for (int i = 0; i < member_count; i++) {
		const char *v = members[i].value;
		if (members[i].key_len != key_len || strncmp(members[i].key, want, key_len) != 0)
			continue;
		if (!want[key_len])
			return *v == '-' || isdigit((unsigned char)*v);
		const char *text = want + key_len + 1;
		return *v == '"' && members[i].value_len == strlen(text) + 2 &&
		       !strncmp(v + 1, text, strlen(text));
	}
	return false;
}

int main(int argc, char **argv)
{
	char *line = NULL, *last = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) >= 0) {
		check_line(line);
		free(last);
		last = strdup(line);
	}
	if (!last) {
		printf("no line\n");
		return 1;
	}
	line_number--;
	check_line(last);
	for (int i = 1; i < argc; i++)
		if (!wanted(argv[i])) {
			printf("the summary lacks %s: %s", argv[i], last);
			return 1;
		}
	return 0;
}
