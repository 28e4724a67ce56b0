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
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLAIN __attribute__((noinline))
#define READABLE 1
#define WRITABLE 2
#define MESSAGE 64
#define RING 4096
#define BUCKETS 64

struct process { int number; struct process *volatile parent; };
struct ring { char bytes[RING]; size_t start, length; void *readers, *writers; };
struct file {
    unsigned flags;
    long (*read)(struct file *, void *, size_t);
    long (*write)(struct file *, const void *, size_t);
    long position, size;
    struct ring *ring;
};
struct thread {
    struct process *process;
    struct file **files;
    size_t count;
    uint64_t mask, pending;
};
struct waiter { struct waiter *next; uintptr_t address; };

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

static PLAIN long plain_getppid(void)
{
    struct process *parent = current->process->parent;
    return parent ? parent->number : 0;
}

static PLAIN long plain_read(unsigned descriptor, void *to, size_t count)
{
    struct thread *thread = current;
    if (descriptor >= thread->count)
        return -EBADF;
    struct file *file = thread->files[descriptor];
    if (!file || !(file->flags & READABLE))
        return -EBADF;
    if ((uintptr_t)to + count < (uintptr_t)to)
        return -EFAULT;
    return file->read(file, to, count);
}

// A pipe's two ends: copied in one or two pieces; somebody may wait at the other end.
static long read_ring(struct file *file, void *to, size_t count)
{
    struct ring *ring = file->ring;
    if (count > ring->length)
        count = ring->length;
    size_t first = RING - ring->start < count ? RING - ring->start : count;
    memcpy(to, ring->bytes + ring->start, first);
    memcpy((char *)to + first, ring->bytes, count - first);
    ring->start = (ring->start + count) % RING;
    ring->length -= count;
    return ring->writers ? -EAGAIN : (long)count;
}

static long write_ring(struct file *file, const void *from, size_t count)
{
    struct ring *ring = file->ring;
    if (count > RING - ring->length)
        return -EAGAIN;
    size_t end = (ring->start + ring->length) % RING;
    size_t first = RING - end < count ? RING - end : count;
    memcpy(ring->bytes + end, from, first);
    memcpy(ring->bytes, (const char *)from + first, count - first);
    ring->length += count;
    return ring->readers ? -EAGAIN : (long)count;
}

static PLAIN long plain_lseek(unsigned descriptor, long offset, int from)
{
    struct thread *thread = current;
    if (descriptor >= thread->count)
        return -EBADF;
    struct file *file = thread->files[descriptor];
    if (!file)
        return -EBADF;
    if (file->ring)
        return -ESPIPE;
    long base = from == SEEK_SET ? 0 : from == SEEK_CUR ? file->position : file->size;
    if (base + offset < 0)
        return -EINVAL;
    return file->position = base + offset;
}

static struct waiter *volatile buckets[BUCKETS];

static PLAIN long plain_wake(uint32_t *word, int operation, long count)
{
    uintptr_t address = (uintptr_t)word;
    if (address % 4 || operation != FUTEX_WAKE_PRIVATE)
        return -EINVAL;
    long woken = 0;
    struct waiter *waiter = buckets[(address >> 2) * 0x9e3779b97f4a7c15u >> 58];
    for (; waiter && woken < count; waiter = waiter->next)
        woken += waiter->address == address;
    return woken;
}

static PLAIN long plain_sigprocmask(int how, const uint64_t *new, uint64_t *old, size_t size)
{
    struct thread *thread = current;
    if (size != sizeof *new)
        return -EINVAL;
    uint64_t before = thread->mask;
    if (new) {
        uint64_t mask = *new & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
        if (how == SIG_BLOCK)
            thread->mask |= mask;
        else if (how == SIG_UNBLOCK)
            thread->mask &= ~mask;
        else
            thread->mask = mask;
    }
    if (old)
        *old = before;
    return thread->pending & ~thread->mask ? -EINTR : 0;
}

static int null_device, regular, ends[2];
static char buffer[4096];
static uint32_t word;
static uint64_t mask, before;

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

static long sum_plain_getppid(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + plain_getppid();
    return sum;
}

static long sum_getppid(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + getppid();
    return sum;
}

static long sum_plain_pipe(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++) {
        sum += plain_write((unsigned)ends[1], buffer, MESSAGE);
        sum += plain_read((unsigned)ends[0], buffer, MESSAGE);
    }
    return sum;
}

static long sum_pipe(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++) {
        sum += write(ends[1], buffer, MESSAGE);
        sum += read(ends[0], buffer, MESSAGE);
    }
    return sum;
}

static long sum_plain_lseek(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += plain_lseek((unsigned)regular, 1, SEEK_SET);
    return sum;
}

static long sum_lseek(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += lseek(regular, 1, SEEK_SET);
    return sum;
}

static long sum_plain_wake(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + plain_wake(&word, FUTEX_WAKE_PRIVATE, 1);
    return sum;
}

static long sum_wake(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
    return sum;
}

static long sum_plain_sigprocmask(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + plain_sigprocmask(SIG_SETMASK, &mask, &before, sizeof mask);
    return sum;
}

static long sum_sigprocmask(long count)
{
    long sum = 0;
    for (long i = 0; i < count; i++)
        sum += 1 + syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
    return sum;
}

enum each { ONE, NUMBER, LENGTH, BOTH_ENDS };

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
    { "plain_getppid", sum_plain_getppid, 20, ONE },
    { "getppid", sum_getppid, 1, ONE },
    { "plain_pipe", sum_plain_pipe, 10, BOTH_ENDS },
    { "pipe", sum_pipe, 1, BOTH_ENDS },
    { "plain_lseek", sum_plain_lseek, 20, ONE },
    { "lseek", sum_lseek, 1, ONE },
    { "plain_futex_wake", sum_plain_wake, 20, ONE },
    { "futex_wake", sum_wake, 1, ONE },
    { "plain_sigprocmask", sum_plain_sigprocmask, 20, ONE },
    { "sigprocmask", sum_sigprocmask, 1, ONE },
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
    static struct ring ring;
    static struct file null = { .flags = WRITABLE, .write = write_null };
    static struct file plain = { .flags = WRITABLE, .write = write_null };
    static struct file reading = { .flags = READABLE, .read = read_ring, .ring = &ring };
    static struct file writing = { .flags = WRITABLE, .write = write_ring, .ring = &ring };
    static struct file *files[16];
    static struct thread thread = { .process = &process, .files = files, .count = 16 };
    int bad = 0;

    null_device = open("/dev/null", O_WRONLY);
    regular = open("/tmp/cost", O_RDWR | O_CREAT, 0600);
    if (null_device < 0 || regular < 0 || pipe(ends) != 0 || ends[1] >= 16)
        return 1;
    process.number = getpid();
    files[null_device] = &null;
    files[regular] = &plain;
    files[ends[0]] = &reading;
    files[ends[1]] = &writing;
    current = &thread;
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
        long times = count * OPERATIONS[i].times;
        say("begin", OPERATIONS[i].name, times);
        long sum = OPERATIONS[i].sum(times);
        say("end", OPERATIONS[i].name, times);
        const long expected[] = { 1, process.number, (long)sizeof buffer, 2 * MESSAGE };
        bad |= sum != expected[OPERATIONS[i].each] * times;
    }
    return bad;
}
