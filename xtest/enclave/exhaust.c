// SPDX-License-Identifier: MIT
// Takes the kernel's own memory in several ways until it refuses, gives everything back, and goes on.
// Prints, for each way, how the refusal was called, and whether it went on.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 200000
#define POLLED (1 << 20)

static int descriptors[MOST];

static int close_all(int count)
{
    for (int i = 0; i < count; i++)
        close(descriptors[i]);
    return 0;
}

static int opened(int index)
{
    return descriptors[index] = open("/dev/null", O_RDONLY);
}

static int named(int index)
{
    char path[300];
    snprintf(path, sizeof path, "/tmp/%d-%0200d", index, 0);
    return mkdir(path, 0700);
}

static int unname(int count)
{
    char path[300];
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/tmp/%d-%0200d", i, 0);
        rmdir(path);
    }
    return 0;
}

// Two sockets, and as much as they take in between.
static int crowded(int index)
{
    static char bytes[32768];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
        return -1;
    descriptors[2 * index] = pair[0];
    descriptors[2 * index + 1] = pair[1];
    while (write(pair[0], bytes, sizeof bytes) > 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int close_pairs(int count)
{
    // The one that was refused has its pair too, if it got so far.
    return close_all(2 * (count + 1));
}

static const struct {
    const char *name;
    int (*take)(int);
    int (*give)(int);
} WAYS[] = {
    { "open files", opened, close_all },
    { "names", named, unname },
    { "sockets", crowded, close_pairs },
};

// More than the kernel has in all, for one call.
static int polled_at_once(void)
{
    static struct pollfd many[POLLED];
    for (size_t i = 0; i < POLLED; i++)
        many[i].fd = -1;
    return poll(many, POLLED, 0);
}

int main(void)
{
    struct rlimit limit = { POLLED, POLLED };
    setrlimit(RLIMIT_NOFILE, &limit);
    int polled = polled_at_once();
    printf("a million to poll: %s\n", polled < 0 && errno == ENOMEM ? "ENOMEM" : strerror(errno));
    for (size_t way = 0; way < sizeof WAYS / sizeof *WAYS; way++) {
        int refused[2], again = 0;
        for (int round = 0; round < 2; round++) {
            int count = 0;
            memset(descriptors, 0xff, sizeof descriptors);
            while (count < MOST / 2 - 1 && WAYS[way].take(count) >= 0)
                count++;
            refused[round] = errno;
            again += count > 0; // how many depends on the gaps that others have left
            fprintf(stderr, "%s: %d\n", WAYS[way].name, count);
            WAYS[way].give(count);
        }
        printf("%s: %s, %s\n", WAYS[way].name,
               refused[0] == ENOMEM && refused[1] == ENOMEM ? "ENOMEM" : strerror(refused[0]),
               again == 2 ? "goes on" : "does not go on");
    }
    return 0;
}
