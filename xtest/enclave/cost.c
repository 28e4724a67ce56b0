// SPDX-License-Identifier: MIT
// What a system call costs beside a plain function call of equal work. Who runs this takes the time
// from a `begin` to its `end`, from outside: here is no clock.
//
//     cost [COUNT]
//
// Lines: "begin NAME COUNT" and "end NAME COUNT". A plain function is called twenty times as often, as it
// is quick, and the program sleeps after each line, so that the line gets out.
//
// Equal work: a function, never inlined, that comes to the same result by the same steps from data
// of the program's own; what is compared is the way there and back, and the kernel's care.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLAIN __attribute__((noinline))
#define WRITABLE 1

struct process { int number; };
struct file { unsigned flags; long (*write)(struct file *, const void *, size_t); };
struct thread { struct process *process; struct file **files; size_t count; };

// Volatile, so that each call reads it: a kernel does not know who calls either.
static struct thread *volatile current;

static PLAIN long plain_getpid(void)
{
    return current->process->number;
}

static PLAIN long plain_write(unsigned descriptor, const void *from, size_t count)
{
    struct thread *thread = current;
    if (descriptor >= thread->count)
        return -EBADF;
    struct file *file = thread->files[descriptor];
    if (!file || !(file->flags & WRITABLE))
        return -EBADF;
    if ((uintptr_t)from + count < (uintptr_t)from)
        return -EFAULT;
    return file->write(file, from, count);
}

static long write_null(struct file *file, const void *from, size_t count)
{
    (void)file;
    (void)from;
    return (long)count;
}

static int null_device;
static char buffer[4096];

static long sum_empty(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++) {
        sum++;
        __asm__ volatile("" : "+r"(sum));
    }
    return sum;
}

static long sum_plain_getpid(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += plain_getpid();
    return sum;
}

static long sum_getpid(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += getpid();
    return sum;
}

static long sum_plain_write(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += plain_write((unsigned)null_device, buffer, sizeof buffer);
    return sum;
}

static long sum_write(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += write(null_device, buffer, sizeof buffer);
    return sum;
}

// Not answered at once: all registers are stored, the vector registers among them.
static long sum_getppid(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + getppid();
    return sum;
}

enum each { ONE, NUMBER, LENGTH };

static const struct {
    const char *name;
    long (*sum)(long);
    long times;
    enum each each;
} OPERATIONS[] = {
    { "empty", sum_empty, 20, ONE },
    { "plain_getpid", sum_plain_getpid, 20, NUMBER },
    { "getpid", sum_getpid, 1, NUMBER },
    { "plain_write", sum_plain_write, 20, LENGTH },
    { "write", sum_write, 1, LENGTH },
    { "getppid", sum_getppid, 1, ONE },
};

static void say(const char *what, const char *name, long count)
{
    dprintf(1, "%s %s %ld\n", what, name, count);
    usleep(2000);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000;
    static struct process process;
    static struct file null = { WRITABLE, write_null };
    static struct file *files[16];
    static struct thread thread = { &process, files, 16 };
    int bad = 0;

    null_device = open("/dev/null", O_WRONLY);
    if (null_device < 0 || null_device >= 16)
        return 1;
    process.number = getpid();
    files[null_device] = &null;
    current = &thread;
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
        long times = count * OPERATIONS[i].times;
        say("begin", OPERATIONS[i].name, times);
        long sum = OPERATIONS[i].sum(times);
        say("end", OPERATIONS[i].name, times);
        const long expected[] = { 1, process.number, (long)sizeof buffer };
        bad |= sum != expected[OPERATIONS[i].each] * times;
    }
    return bad;
}
