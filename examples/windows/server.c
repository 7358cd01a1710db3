/*
 * A server in miniature: every third request is slow.
 *
 *     cc -O2 -o server server.c && rtrec rt --window-magic --sample 1ms --user-stack dwarf ./server && rtrec report --windows
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <time.h>

#include "rtrec_window.h"

static void handle(int number)
{
	struct timespec wait = { 0, (number % 3 == 2 ? 30 : 2) * 1000000L };

	nanosleep(&wait, 0);
}

int main(void)
{
	for (int number = 0; number < 9; number++) {
		rtrec_window_start(20);
		handle(number);
		rtrec_window_stop();
	}
	return 0;
}
