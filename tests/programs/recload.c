/*
 * recload: loads for measuring recorders. Writes one line of key=value pairs to FILE when done.
 *
 *   recload FILE syscalls N      one pinned process a CPU makes N getpid calls
 *   recload FILE sched N         4 groups of 20 senders and 20 receivers pass N messages a pair over pipes
 *   recload FILE quiet SECONDS   sleeps
 *
 * start= end= (seconds of CLOCK_MONOTONIC) wall= user= sys= switches= (of all its processes)
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GROUPS 4
#define PAIRS 20

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
	return t.tv_sec + t.tv_usec / 1e6;
}

static void syscalls(long n)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu, i;
	for (cpu = 0; cpu < cpus; cpu++)
		if (!fork()) {
			cpu_set_t set;
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			sched_setaffinity(0, sizeof(set), &set);
			for (i = 0; i < n; i++)
				syscall(SYS_getpid);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
}

/* Every sender of a group writes to every receiver's pipe; a receiver reads until all has come. */
static void group(long n)
{
	static int pipes[PAIRS][2];
	char message[100];
	long i, pair, got;
	memset(message, 'x', sizeof(message));
	for (pair = 0; pair < PAIRS; pair++)
		if (pipe(pipes[pair]))
			_exit(1);
	for (pair = 0; pair < PAIRS; pair++) {
		if (!fork()) {
			long want = n * PAIRS * (long)sizeof(message);
			while (want > 0 && (got = read(pipes[pair][0], message, sizeof(message))) > 0)
				want -= got;
			_exit(0);
		}
		if (!fork()) {
			for (i = 0; i < n; i++)
				for (pair = 0; pair < PAIRS; pair++)
					if (write(pipes[pair][1], message, sizeof(message)) < 0)
						_exit(1);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	_exit(0);
}

int main(int argc, char **argv)
{
	struct rusage own, children;
	double start = now(), end;
	long n, i;
	FILE *out;

	if (argc != 4)
		return 2;
	n = atol(argv[3]);
	if (!strcmp(argv[2], "syscalls"))
		syscalls(n);
	else if (!strcmp(argv[2], "sched")) {
		for (i = 0; i < GROUPS; i++)
			if (!fork())
				group(n);
		while (wait(NULL) > 0)
			;
	} else
		sleep(n);
	end = now();
	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	out = fopen(argv[1], "w");
	if (!out)
		return 1;
	fprintf(out, "start=%.6f end=%.6f wall=%.6f user=%.6f sys=%.6f switches=%ld\n", start, end, end - start,
		seconds(own.ru_utime) + seconds(children.ru_utime), seconds(own.ru_stime) + seconds(children.ru_stime),
		own.ru_nvcsw + children.ru_nvcsw);
	return fclose(out) != 0;
}
