// SPDX-License-Identifier: MIT
//
// Pipes, poll, select: capacity, atomicity, ends that go away, readiness, timeouts.

#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct ends {
    int read;
    int write;
};

static struct ends new_pipe(int flags)
{
    int fds[2];
    EXPECT_OK(pipe2(fds, flags));
    return (struct ends){fds[0], fds[1]};
}

/// What poll says about one descriptor right now.
static int readiness(int fd, short events)
{
    struct pollfd poller = {.fd = fd, .events = events};
    EXPECT(poll(&poller, 1, 0) >= 0);
    return poller.revents;
}

CASE(pipe_flags_and_errors)
{
    struct ends pipe = new_pipe(O_CLOEXEC | O_NONBLOCK);
    char byte;
    EXPECT_EQ(fcntl(pipe.read, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(pipe.write, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_WRONLY);
    EXPECT_ERRNO(write(pipe.read, "x", 1), EBADF);
    EXPECT_ERRNO(read(pipe.write, &byte, 1), EBADF);
    int fds[2];
    EXPECT_ERRNO(pipe2(fds, O_APPEND), EINVAL);
    EXPECT_ERRNO(syscall(SYS_pipe2, 8, 0), EFAULT);
}

CASE(empty_pipe_is_eagain_then_end_of_file)
{
    struct ends pipe = new_pipe(O_NONBLOCK);
    char byte;
    EXPECT_ERRNO(read(pipe.read, &byte, 1), EAGAIN);
    EXPECT_EQ(read(pipe.read, &byte, 0), 0);
    EXPECT_EQ(write(pipe.write, "x", 1), 1);
    EXPECT_OK(close(pipe.write));
    EXPECT_EQ(read(pipe.read, &byte, 1), 1);
    EXPECT_EQ(read(pipe.read, &byte, 1), 0);
}

CASE(pipe_holds_64_kib_and_tells_how_much)
{
    struct ends pipe = new_pipe(O_NONBLOCK);
    static char block[65536 + 4096];
    EXPECT_EQ(fcntl(pipe.write, F_GETPIPE_SZ), 65536);
    EXPECT_EQ(write(pipe.write, block, sizeof block), 65536);
    EXPECT_ERRNO(write(pipe.write, block, 1), EAGAIN);
    int available = 0;
    EXPECT_OK(ioctl(pipe.read, FIONREAD, &available));
    EXPECT_EQ(available, 65536);
    EXPECT_EQ(readiness(pipe.write, POLLOUT), 0);
    EXPECT_EQ(read(pipe.read, block, sizeof block), 65536);
    EXPECT_EQ(readiness(pipe.write, POLLOUT), POLLOUT);
}

CASE(small_nonblocking_write_is_all_or_nothing)
{
    struct ends pipe = new_pipe(O_NONBLOCK);
    static char block[65536];
    EXPECT_EQ(write(pipe.write, block, 65536 - PIPE_BUF), 65536 - PIPE_BUF);
    EXPECT_EQ(write(pipe.write, block, 1), 1);
    EXPECT_ERRNO(write(pipe.write, block, PIPE_BUF), EAGAIN);
    EXPECT_EQ(write(pipe.write, block, PIPE_BUF - 1), PIPE_BUF - 1);
}

CASE(concurrent_writes_of_pipe_buf_do_not_mix)
{
    enum { WRITERS = 4, ROUNDS = 20 };
    struct ends pipe = new_pipe(0);
    pid_t pids[WRITERS];
    char block[PIPE_BUF];
    for (int i = 0; i < WRITERS; i++) {
        CHILD (pids[i]) {
            memset(block, 'a' + i, sizeof block);
            for (int round = 0; round < ROUNDS; round++) {
                EXPECT_EQ(write(pipe.write, block, sizeof block), PIPE_BUF);
            }
        }
    }
    for (int i = 0; i < WRITERS * ROUNDS; i++) {
        size_t length = 0;
        while (length < sizeof block) {
            length += (size_t)EXPECT_OK(read(pipe.read, block + length, sizeof block - length));
        }
        for (size_t at = 1; at < sizeof block; at++) {
            EXPECT_EQ(block[at], block[0]);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        EXPECT_EXITED(pids[i], 0);
    }
}

CASE(blocking_write_of_a_megabyte_arrives_whole)
{
    struct ends pipe = new_pipe(0);
    static unsigned char block[1 << 20];
    pid_t pid;
    CHILD (pid) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (unsigned char)(i * 7 >> 3);
        }
        EXPECT_EQ(write(pipe.write, block, sizeof block), sizeof block);
    }
    EXPECT_OK(close(pipe.write));
    size_t length = 0;
    ssize_t count;
    while ((count = read(pipe.read, block + length, sizeof block - length)) > 0) {
        length += (size_t)count;
    }
    EXPECT_EQ(length, sizeof block);
    for (size_t i = 0; i < sizeof block; i++) {
        EXPECT_EQ(block[i], (unsigned char)(i * 7 >> 3));
    }
    EXPECT_EXITED(pid, 0);
}

CASE(reader_that_goes_away_is_epipe)
{
    struct ends pipe = new_pipe(0);
    signal(SIGPIPE, SIG_IGN);
    EXPECT_OK(close(pipe.read));
    EXPECT_ERRNO(write(pipe.write, "x", 1), EPIPE);
    EXPECT_EQ(readiness(pipe.write, POLLOUT), POLLOUT | POLLERR);
}

CASE(blocked_writer_learns_that_the_reader_left)
{
    struct ends pipe = new_pipe(0);
    static char block[200000];
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(close(pipe.read));
        signal(SIGPIPE, SIG_IGN);
        ssize_t count = write(pipe.write, block, sizeof block);
        EXPECT(count == -1 ? errno == EPIPE : count >= 65536 && count < (ssize_t)sizeof block);
    }
    check_sleep_ms(20);
    EXPECT_OK(close(pipe.read));
    EXPECT_EXITED(pid, 0);
}

CASE(poll_sees_pipe_data_and_hang_up)
{
    struct ends pipe = new_pipe(0);
    EXPECT_EQ(readiness(pipe.read, POLLIN), 0);
    EXPECT_EQ(readiness(pipe.write, POLLOUT), POLLOUT);
    EXPECT_EQ(write(pipe.write, "x", 1), 1);
    EXPECT_EQ(readiness(pipe.read, POLLIN), POLLIN);
    EXPECT_EQ(readiness(pipe.read, 0), 0);
    EXPECT_OK(close(pipe.write));
    EXPECT_EQ(readiness(pipe.read, POLLIN), POLLIN | POLLHUP);
    char byte;
    EXPECT_EQ(read(pipe.read, &byte, 1), 1);
    EXPECT_EQ(readiness(pipe.read, POLLIN), POLLHUP);
}

CASE(poll_marks_bad_and_skips_negative_descriptors)
{
    struct pollfd pollers[3] = {{.fd = 12345, .events = POLLIN},
                                {.fd = -1, .events = POLLIN, .revents = 77},
                                {.fd = check_file("f", "", 0), .events = POLLIN | POLLOUT}};
    EXPECT_EQ(poll(pollers, 3, -1), 2);
    EXPECT_EQ(pollers[0].revents, POLLNVAL);
    EXPECT_EQ(pollers[1].revents, 0);
    EXPECT_EQ(pollers[2].revents, POLLIN | POLLOUT);
#ifdef SYS_poll // Not on every processor.
    EXPECT_ERRNO(syscall(SYS_poll, (void *)8, 1, 0), EFAULT);
    EXPECT_ERRNO(syscall(SYS_poll, pollers, 0x7fffffff, 0), EINVAL);
#endif
}

CASE(poll_waits_its_time_and_not_forever)
{
    struct ends pipe = new_pipe(0);
    struct pollfd poller = {.fd = pipe.read, .events = POLLIN};
    uint64_t start = check_now_ns();
    EXPECT_EQ(poll(&poller, 1, 50), 0);
    uint64_t elapsed = check_now_ns() - start;
    EXPECT(elapsed >= 50 * NS_PER_MS && elapsed < SOON_NS);
    EXPECT_EQ(poll(NULL, 0, 10), 0);
}

CASE(poll_wakes_when_another_process_writes)
{
    struct ends pipe = new_pipe(0);
    pid_t pid;
    CHILD (pid) {
        check_sleep_ms(20);
        EXPECT_EQ(write(pipe.write, "x", 1), 1);
    }
    struct pollfd poller = {.fd = pipe.read, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLIN);
    EXPECT_EXITED(pid, 0);
}

static volatile sig_atomic_t handled;

static void note(int signal)
{
    (void)signal;
    handled = 1;
}

CASE(poll_is_interrupted_even_with_restart)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    pid_t pid = check_pester(SIGUSR1);
    EXPECT_ERRNO(poll(NULL, 0, -1), EINTR);
    EXPECT_ERRNO(select(0, NULL, NULL, NULL, NULL), EINTR);
    check_end(pid);
}

CASE(ppoll_swaps_the_mask_atomically)
{
    sigset_t blocked;
    sigset_t none;
    signal(SIGUSR1, note);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(handled, 0);
    EXPECT_ERRNO(ppoll(NULL, 0, NULL, &none), EINTR);
    EXPECT_EQ(handled, 1);
    struct timespec bad = {0, -1};
    EXPECT_ERRNO(ppoll(NULL, 0, &bad, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ppoll, NULL, 0, NULL, &none, 4), EINVAL);
}

CASE(pselect_swaps_the_mask_and_checks)
{
    sigset_t blocked;
    sigset_t none;
    signal(SIGUSR1, note);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_ERRNO(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
    EXPECT_EQ(handled, 1);
    struct timespec bad = {-1, 0};
    EXPECT_ERRNO(pselect(0, NULL, NULL, NULL, &bad, NULL), EINVAL);
}

CASE(select_reports_in_the_sets)
{
    struct ends pipe = new_pipe(0);
    fd_set readers;
    fd_set writers;
    FD_ZERO(&readers);
    FD_ZERO(&writers);
    FD_SET(pipe.read, &readers);
    FD_SET(pipe.write, &writers);
    struct timeval timeout = {1, 0};
    EXPECT_EQ(select(pipe.write + 1, &readers, &writers, NULL, &timeout), 1);
    EXPECT(!FD_ISSET(pipe.read, &readers));
    EXPECT(FD_ISSET(pipe.write, &writers));
    EXPECT_EQ(write(pipe.write, "x", 1), 1);
    FD_SET(pipe.read, &readers);
    EXPECT_EQ(select(pipe.write + 1, &readers, &writers, NULL, &timeout), 2);
    EXPECT(FD_ISSET(pipe.read, &readers));
}

CASE(select_times_out_with_empty_sets)
{
    struct ends pipe = new_pipe(0);
    fd_set readers;
    FD_ZERO(&readers);
    FD_SET(pipe.read, &readers);
    struct timeval timeout = {0, 30000};
    uint64_t start = check_now_ns();
    EXPECT_EQ(select(pipe.read + 1, &readers, NULL, NULL, &timeout), 0);
    EXPECT(check_now_ns() - start >= 30 * NS_PER_MS);
    EXPECT(!FD_ISSET(pipe.read, &readers));
    EXPECT_EQ(timeout.tv_sec, 0);
    EXPECT_EQ(timeout.tv_usec, 0);
}

CASE(select_refuses_bad_arguments)
{
    fd_set readers;
    FD_ZERO(&readers);
    FD_SET(150, &readers);
    struct timeval bad = {-1, 0};
    EXPECT_ERRNO(select(151, &readers, NULL, NULL, NULL), EBADF);
    EXPECT_ERRNO(select(-1, NULL, NULL, NULL, NULL), EINVAL);
    EXPECT_ERRNO(select(0, NULL, NULL, NULL, &bad), EINVAL);
#ifdef SYS_select
    EXPECT_ERRNO(syscall(SYS_select, 5, (void *)8, NULL, NULL, NULL), EFAULT);
#endif
}
