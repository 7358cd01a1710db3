/*
 * windows: threads that work in response-time windows and say themselves when, for how long, and on how much CPU time.
 *
 *   windows FILE THREADS ROUNDS MODE [MARKER]
 *
 * Each round of each thread is one window, from work_begin to work_end: 0, 2 or 4 ms of work and a sleep of 1 ms; the
 * last round of each thread sleeps 30 ms. MODE: 0 nothing besides, 1 texts to the file MARKER, 2 marker system calls,
 * 3 the same under a seccomp filter that refuses them. The call chain is thr, request, parse, burn.
 * FILE gets a line a window: tid, the times before and after its begin, before and after its end, CPU time inside (ns).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))
#define THRESHOLD_MS 20

static int mode, rounds, marker = -1;
static FILE *out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile unsigned long sink;

static long long clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

APART void burn(long long ns)
{
	/* This clock is read without a system call. */
	long long end = clock_ns(CLOCK_MONOTONIC) + ns;
	while (clock_ns(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 1000; i++)
			sink += i * i;
	__asm__ volatile("");
}

APART void parse(int ms)
{
	burn(ms * 1000000LL);
	__asm__ volatile("");
}

APART void work_begin(int id, int threshold)
{
	int ret = -38;
	__asm__ volatile("" ::"r"(id), "r"(threshold));
	if (mode == 1) {
		char text[64];
		int n = snprintf(text, sizeof text, "start %d\n", threshold);
		if (write(marker, text, n) != n)
			perror("marker");
	} else if (mode >= 2) {
		syscall(761203101, &ret, threshold);
	}
}

APART void work_end(int id)
{
	int ret = -38;
	__asm__ volatile("" ::"r"(id));
	if (mode == 1) {
		if (write(marker, "stop\n", 5) != 5)
			perror("marker");
	} else if (mode >= 2) {
		syscall(761203102, &ret);
	}
}

APART void request(int id, int cpu_ms, int sleep_ms)
{
	long long at[4], cpu;
	struct timespec time = { sleep_ms / 1000, sleep_ms % 1000 * 1000000L };

	at[0] = clock_ns(CLOCK_MONOTONIC);
	work_begin(id, THRESHOLD_MS);
	at[1] = clock_ns(CLOCK_MONOTONIC);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	parse(cpu_ms);
	nanosleep(&time, 0);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	at[2] = clock_ns(CLOCK_MONOTONIC);
	work_end(id);
	at[3] = clock_ns(CLOCK_MONOTONIC);
	pthread_mutex_lock(&lock);
	fprintf(out, "%d %lld %lld %lld %lld %lld\n", (int)syscall(SYS_gettid), at[0], at[1], at[2], at[3], cpu);
	pthread_mutex_unlock(&lock);
	__asm__ volatile("");
}

static void *thr(void *number)
{
	for (int i = 0; i < rounds; i++)
		request((int)(long)number * 1000 + i, i % 3 * 2, i == rounds - 1 ? 30 : 1);
	return 0;
}

static int refuse_markers(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 761203101, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 761203102, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
	pthread_t threads[256];
	int count;

	if (argc < 5)
		return 2;
	count = atoi(argv[2]);
	rounds = atoi(argv[3]);
	mode = atoi(argv[4]);
	out = fopen(argv[1], "w");
	if (!out || count < 1 || count > 256)
		return 2;
	if (mode == 1) {
		marker = open(argc > 5 ? argv[5] : "/sys/kernel/tracing/trace_marker", O_WRONLY);
		if (marker < 0) {
			perror("marker");
			return 1;
		}
	}
	if (mode == 3 && refuse_markers()) {
		perror("seccomp");
		return 1;
	}
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], 0, thr, (void *)i))
			return 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], 0);
	return fclose(out) != 0;
}
