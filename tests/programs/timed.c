/*
 * timed: runs a command and says what it cost, itself and all it waited for.
 *
 *   timed FILE COMMAND [ARG ...]
 *
 * Writes start= end= (seconds of CLOCK_MONOTONIC) user= sys= switches= (voluntary) peak= (KiB) status= to FILE.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct rusage u;
	double start, end;
	int status;
	pid_t pid;
	FILE *out;

	if (argc < 3)
		return 2;
	start = now();
	pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid)
		return 1;
	end = now();
	out = fopen(argv[1], "w");
	if (!out)
		return 1;
	fprintf(out, "start=%.6f end=%.6f user=%.6f sys=%.6f switches=%ld peak=%ld status=%d\n", start, end,
		u.ru_utime.tv_sec + u.ru_utime.tv_usec / 1e6, u.ru_stime.tv_sec + u.ru_stime.tv_usec / 1e6,
		u.ru_nvcsw, u.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return fclose(out) != 0;
}
