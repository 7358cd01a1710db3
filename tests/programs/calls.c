/* Known calls with known arguments: work() COUNT times, byvalue() and name_of() three times at most. Prints COUNT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct inner { short tag; const char *label; };
struct thing { int id; char name[16]; struct inner in; struct inner *next; };
enum color { RED, GREEN = 7 };

static volatile long sink;

__attribute__((noinline)) long work(int n, struct thing *t, const char *text, enum color c)
{
	long sum = n;
	sum += t->id;
	sum += (long)strlen(text) + c;
	return sum;
}

__attribute__((noinline)) static int byvalue(struct inner in, unsigned char small)
{
	sink += in.tag + small;
	return in.tag;
}

__attribute__((noinline)) char *name_of(int n)
{
	static char buf[32];
	snprintf(buf, sizeof buf, "name-%d", n);
	return buf;
}

static inline __attribute__((always_inline)) long inlined_one(long v)
{
	sink += v * 3;
	return sink;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 10;
	struct inner deep = { 77, "deep" };
	struct thing t = { 5, "thing-name", { 3, "inside" }, &deep };
	for (long i = 0; i < count; i++) {
		t.id = (int)i;
		sink += work((int)i, &t, "hello", i & 1 ? GREEN : RED);
		if (i < 3)
			byvalue(t.in, (unsigned char)i), sink += name_of((int)i)[0];
		inlined_one(i);
	}
	printf("%ld\n", count);
	return 0;
}
