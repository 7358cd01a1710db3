/*
 * rtrec_window.h: a program marks its own response-time windows.
 *
 *     rtrec_window_start(20);          a window of this thread that is slow from 20 ms on
 *     ... work ...
 *     rtrec_window_stop();
 *
 *     rtrec rt --window-magic ./program && rtrec report --windows
 *
 * Two system calls that no kernel implements: they cost well under a microsecond, need no rights and no library, and are
 * harmless when nobody records. Programs built for diagnose-tools make the same ones. Under a seccomp filter that answers
 * with an error they still count, with the session's threshold; a filter that kills the program must let them pass.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef RTREC_WINDOW_H
#define RTREC_WINDOW_H

#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>

#define RTREC_WINDOW_START 761203101L
#define RTREC_WINDOW_STOP 761203102L

/* Begins a window of the calling thread; one that is open begins anew. */
static inline void rtrec_window_start(unsigned threshold_ms)
{
	int saved = errno;

	syscall(RTREC_WINDOW_START, (long)threshold_ms, (long)threshold_ms);
	errno = saved;
}

/* Ends it. */
static inline void rtrec_window_stop(void)
{
	int saved = errno;

	syscall(RTREC_WINDOW_STOP, 0L, 0L);
	errno = saved;
}

#endif
