/* SPDX-License-Identifier: MIT
 *
 * ANSI sequences and termios, no more.
 */
#include "terminal.h"

#include <poll.h>
#include <stdio.h>
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

bool terminal_key(enum sites_order *order)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (!is_open || poll(&in, 1, 0) != 1 || read(STDIN_FILENO, &key, 1) != 1)
		return false;
	if (key == 's')
		*order = *order == BY_QUEUED ? BY_TOTAL : *order + 1;
	return key == 'q';
}
