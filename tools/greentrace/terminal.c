/* SPDX-License-Identifier: MIT
 *
 * ANSI sequences and termios, no more.
 */
#include "terminal.h"
#include "escape.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool is_open;

void terminal_open(const struct options *o)
{
	struct termios now;

	if (o->summary || o->json || o->argv || o->command != TOP || !isatty(STDOUT_FILENO) ||
	    tcgetattr(STDIN_FILENO, &before) != 0)
		return;
	now = before;
	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	is_open = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

void terminal_close(void)
{
	if (is_open)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	is_open = false;
}

/* Home, and all below it. */
void terminal_clear(void)
{
	if (is_open)
		fputs("\033[H\033[J", stdout);
}

/* A filter as it is typed, and the one that holds. */
static char typed[64], filter[64];
static bool typing;

static void draw_line(void)
{
	char shown[300];

	printf("\r\033[Kfilter: %s", escape_text(shown, sizeof(shown), typed, false));
	fflush(stdout);
}

/* Of a line that is being typed. */
static void take_letter(struct look *look, char key)
{
	size_t n = strlen(typed);

	if (key == '\n' || key == '\r') {
		memcpy(filter, typed, sizeof(filter));
		look->filter = filter[0] ? filter : NULL;
	} else if (key == 27) {
		typed[0] = 0;
	} else if ((key == 8 || key == 127) && n > 0) {
		typed[n - 1] = 0;
	} else if ((unsigned char)key >= ' ' && key != 127 && n + 1 < sizeof(typed)) {
		typed[n] = key;
		typed[n + 1] = 0;
	}
	typing = key != '\n' && key != '\r' && key != 27;
	if (typing)
		draw_line();
	else
		fputs("\r\033[K", stdout);
}

bool terminal_key(struct look *look)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (!is_open || poll(&in, 1, 0) != 1 || read(STDIN_FILENO, &key, 1) != 1)
		return false;
	if (typing) {
		take_letter(look, key);
		return false;
	}
	if (key == 's')
		look->order = look->order == BY_QUEUED ? BY_TOTAL : look->order + 1;
	if (key == 'f') {
		typing = true;
		typed[0] = 0;
		draw_line();
	}
	return key == 'q';
}

void terminal_line(const struct look *look)
{
	char shown[300];

	if (!is_open)
		return;
	if (look->filter)
		printf("only rows with \"%s\"\n",
		       escape_text(shown, sizeof(shown), look->filter, false));
	if (typing)
		draw_line();
	fflush(stdout);
}
