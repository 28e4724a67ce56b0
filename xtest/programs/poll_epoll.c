// SPDX-License-Identifier: MIT
//
// epoll, eventfd and timerfd.

#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int new_epoll(void)
{
    return (int)EXPECT_OK(epoll_create1(EPOLL_CLOEXEC));
}

static void watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

/// The number of events ready right now; the first goes to `event`.
static int ready(int epoll, struct epoll_event *event)
{
    struct epoll_event events[4];
    int count = (int)EXPECT_OK(epoll_wait(epoll, events, 4, 0));
    if (count > 0 && event) {
        *event = events[0];
    }
    return count;
}

static void add(int fd, uint64_t value)
{
    EXPECT_EQ(write(fd, &value, sizeof value), sizeof value);
}

static uint64_t take(int fd)
{
    uint64_t value = 0;
    EXPECT_EQ(read(fd, &value, sizeof value), sizeof value);
    return value;
}

CASE(level_triggered_events_stay_until_served)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    struct epoll_event event = {0};
    watch(epoll, fd, EPOLLIN);
    EXPECT_EQ(ready(epoll, NULL), 0);
    add(fd, 1);
    EXPECT_EQ(ready(epoll, &event), 1);
    EXPECT_EQ(event.events, EPOLLIN);
    EXPECT_EQ(event.data.fd, fd);
    EXPECT_EQ(ready(epoll, NULL), 1);
    take(fd);
    EXPECT_EQ(ready(epoll, NULL), 0);
}

CASE(edge_triggered_events_come_once_per_change)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    watch(epoll, fd, EPOLLIN | EPOLLET);
    add(fd, 1);
    EXPECT_EQ(ready(epoll, NULL), 1);
    EXPECT_EQ(ready(epoll, NULL), 0);
    add(fd, 1);
    EXPECT_EQ(ready(epoll, NULL), 1);
    EXPECT_EQ(ready(epoll, NULL), 0);
    EXPECT_EQ(take(fd), 2);
}

CASE(oneshot_events_need_rearming)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN | EPOLLONESHOT);
    EXPECT_EQ(ready(epoll, NULL), 1);
    EXPECT_EQ(ready(epoll, NULL), 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
    EXPECT_EQ(ready(epoll, NULL), 1);
    EXPECT_EQ(ready(epoll, NULL), 0);
}

CASE(modification_changes_interest_and_data)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    watch(epoll, fd, EPOLLIN);
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 0x123456789abcdef0};
    EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
    event.data.u64 = 0;
    EXPECT_EQ(ready(epoll, &event), 1);
    EXPECT_EQ(event.events, EPOLLOUT);
    EXPECT_EQ(event.data.u64, 0x123456789abcdef0);
    EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
    EXPECT_EQ(ready(epoll, NULL), 0);
}

CASE(epoll_ctl_errors_name_the_reason)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    int file = check_file("f", "", 0);
    struct epoll_event event = {.events = EPOLLIN};
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event), ENOENT);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event), ENOENT);
    EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), EEXIST);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event), EPERM);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, 12345, &event), EBADF);
    EXPECT_ERRNO(epoll_ctl(12345, EPOLL_CTL_ADD, fd, &event), EBADF);
    EXPECT_ERRNO(epoll_ctl(fd, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(epoll, 99, fd, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, (struct epoll_event *)8), EFAULT);
}

CASE(epoll_wait_errors_name_the_reason)
{
    int epoll = new_epoll();
    struct epoll_event event;
    EXPECT_ERRNO(epoll_create1(0x1), EINVAL);
#ifdef SYS_epoll_create
    EXPECT_ERRNO(syscall(SYS_epoll_create, 0), EINVAL);
#endif
    EXPECT_ERRNO(epoll_wait(epoll, &event, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_epoll_pwait, epoll, &event, -1, 0, NULL, 8), EINVAL);
    EXPECT_ERRNO(epoll_wait(12345, &event, 1, 0), EBADF);
    EXPECT_ERRNO(epoll_wait(STDOUT_FILENO, &event, 1, 0), EINVAL);
    int fd = (int)EXPECT_OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    EXPECT_ERRNO(syscall(SYS_epoll_pwait, epoll, (void *)8, 1, 0, NULL, 8), EFAULT);
    EXPECT_EQ(ready(epoll, NULL), 1);
}

CASE(nested_epoll_is_readable_when_inside_is)
{
    int inner = new_epoll();
    int outer = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    watch(inner, fd, EPOLLIN);
    watch(outer, inner, EPOLLIN);
    EXPECT_EQ(ready(outer, NULL), 0);
    add(fd, 1);
    EXPECT_EQ(ready(outer, NULL), 1);
    struct pollfd poller = {.fd = outer, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    take(fd);
    EXPECT_EQ(ready(outer, NULL), 0);
}

CASE(epoll_in_a_circle_is_eloop)
{
    int one = new_epoll();
    int two = new_epoll();
    struct epoll_event event = {.events = EPOLLIN};
    watch(one, two, EPOLLIN);
    EXPECT_ERRNO(epoll_ctl(two, EPOLL_CTL_ADD, one, &event), ELOOP);
}

CASE(closed_descriptors_leave_epoll)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    int copy = (int)EXPECT_OK(dup(fd));
    EXPECT_OK(close(fd));
    // The open file lives on in the copy, and so does its registration.
    EXPECT_EQ(ready(epoll, NULL), 1);
    EXPECT_OK(close(copy));
    EXPECT_EQ(ready(epoll, NULL), 0);
}

CASE(hang_up_is_reported_unasked)
{
    int fds[2];
    int epoll = new_epoll();
    struct epoll_event event = {0};
    EXPECT_OK(pipe(fds));
    watch(epoll, fds[0], 0);
    EXPECT_EQ(ready(epoll, NULL), 0);
    EXPECT_OK(close(fds[1]));
    EXPECT_EQ(ready(epoll, &event), 1);
    EXPECT_EQ(event.events, EPOLLHUP);
}

CASE(epoll_wait_takes_turns_when_there_is_more)
{
    int epoll = new_epoll();
    int seen = 0;
    int fds[3];
    struct epoll_event event;
    for (int i = 0; i < 3; i++) {
        fds[i] = (int)EXPECT_OK(eventfd(1, 0));
        watch(epoll, fds[i], EPOLLIN);
    }
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 1);
        seen |= 1 << (event.data.fd - fds[0]);
    }
    EXPECT_EQ(seen, 7);
}

CASE(epoll_wait_waits_its_time)
{
    int epoll = new_epoll();
    struct epoll_event event;
    uint64_t start = check_now_ns();
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 40), 0);
    uint64_t elapsed = check_now_ns() - start;
    EXPECT(elapsed >= 40 * NS_PER_MS && elapsed < SOON_NS);
}

CASE(epoll_wait_wakes_on_a_write_and_on_a_late_add)
{
    int epoll = new_epoll();
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    struct epoll_event event;
    watch(epoll, fd, EPOLLIN);
    pid_t pid;
    CHILD (pid) {
        check_sleep_ms(20);
        add(fd, 1);
    }
    EXPECT_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    EXPECT_EXITED(pid, 0);
    take(fd);
    CHILD (pid) {
        check_sleep_ms(20);
        watch(epoll, (int)EXPECT_OK(eventfd(1, 0)), EPOLLIN);
        check_sleep_ms(20);
        add(fd, 1);
    }
    EXPECT_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    EXPECT_EXITED(pid, 0);
}

CASE(eventfd_counts_and_resets)
{
    int fd = (int)EXPECT_OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
    uint64_t value;
    add(fd, 4);
    EXPECT_EQ(take(fd), 7);
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
    value = UINT64_MAX;
    EXPECT_ERRNO(write(fd, &value, sizeof value), EINVAL);
    EXPECT_ERRNO(write(fd, &value, 4), EINVAL);
    EXPECT_ERRNO(read(fd, &value, 4), EINVAL);
    add(fd, UINT64_MAX - 1);
    value = 1;
    EXPECT_ERRNO(write(fd, &value, sizeof value), EAGAIN);
    struct pollfd poller = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN);
    EXPECT_ERRNO(eventfd(0, 0x40), EINVAL);
}

CASE(eventfd_as_semaphore_gives_one_at_a_time)
{
    int fd = (int)EXPECT_OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    uint64_t value;
    EXPECT_EQ(take(fd), 1);
    EXPECT_EQ(take(fd), 1);
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
}

CASE(eventfd_blocks_reader_until_written)
{
    int fd = (int)EXPECT_OK(eventfd(0, 0));
    pid_t pid;
    CHILD (pid) {
        check_sleep_ms(20);
        add(fd, 5);
    }
    EXPECT_EQ(take(fd), 5);
    EXPECT_EXITED(pid, 0);
}

CASE(timerfd_expires_and_counts)
{
    int fd = (int)EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    uint64_t value;
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
    struct itimerspec time = {{0, 5 * 1000000}, {0, 5 * 1000000}};
    EXPECT_OK(timerfd_settime(fd, 0, &time, NULL));
    check_sleep_ms(40);
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT(take(fd) >= 7);
    struct itimerspec seen;
    EXPECT_OK(timerfd_gettime(fd, &seen));
    EXPECT_EQ(seen.it_interval.tv_nsec, 5 * 1000000);
    EXPECT(seen.it_value.tv_nsec > 0 && seen.it_value.tv_nsec <= 5 * 1000000);
    struct itimerspec off = {{0, 0}, {0, 0}};
    EXPECT_OK(timerfd_settime(fd, 0, &off, &seen));
    EXPECT_EQ(seen.it_interval.tv_nsec, 5 * 1000000);
}

CASE(timerfd_takes_absolute_times)
{
    int fd = (int)EXPECT_OK(timerfd_create(CLOCK_REALTIME, 0));
    struct itimerspec time = {{0, 0}, {1, 0}};
    // Long past: expires at once, and once only.
    EXPECT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
    EXPECT_EQ(take(fd), 1);
    fd = (int)EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0));
    uint64_t start = check_now_ns();
    uint64_t deadline = start + 30 * NS_PER_MS;
    time.it_value.tv_sec = (time_t)(deadline / 1000000000);
    time.it_value.tv_nsec = (long)(deadline % 1000000000);
    EXPECT_OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, NULL));
    EXPECT_EQ(take(fd), 1);
    EXPECT(check_now_ns() >= deadline);
}

CASE(timerfd_refuses_bad_arguments)
{
    int fd = (int)EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0));
    struct itimerspec bad = {{0, 0}, {0, 1000000000}};
    struct itimerspec good = {{0, 0}, {0, 0}};
    uint64_t value = 1;
    EXPECT_ERRNO(timerfd_create(99, 0), EINVAL);
    EXPECT_ERRNO(timerfd_create(CLOCK_MONOTONIC, 0x40), EINVAL);
    EXPECT_ERRNO(timerfd_settime(fd, 0, &bad, NULL), EINVAL);
    EXPECT_ERRNO(timerfd_settime(fd, 0x40, &good, NULL), EINVAL);
    EXPECT_ERRNO(timerfd_settime(12345, 0, &good, NULL), EBADF);
    EXPECT_ERRNO(timerfd_settime(STDOUT_FILENO, 0, &good, NULL), EINVAL);
    EXPECT_ERRNO(read(fd, &value, 4), EINVAL);
    EXPECT_ERRNO(write(fd, &value, sizeof value), EINVAL);
}
