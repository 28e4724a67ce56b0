// SPDX-License-Identifier: MIT
//
// Pseudo terminals: line editing, echo, signals from keys, window size, job control, hang-up.

#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct terminal {
    int master;
    int slave;
    char path[32];
};

static struct terminal new_terminal(void)
{
    struct terminal terminal;
    int unlock = 0;
    unsigned number = 0;
    terminal.master = (int)EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    EXPECT_OK(ioctl(terminal.master, TIOCSPTLCK, &unlock));
    EXPECT_OK(ioctl(terminal.master, TIOCGPTN, &number));
    snprintf(terminal.path, sizeof terminal.path, "/dev/pts/%u", number);
    terminal.slave = (int)EXPECT_OK(open(terminal.path, O_RDWR | O_NOCTTY));
    return terminal;
}

static void change(int fd, tcflag_t off, tcflag_t on)
{
    struct termios settings;
    EXPECT_OK(tcgetattr(fd, &settings));
    settings.c_lflag = (settings.c_lflag & ~off) | on;
    EXPECT_OK(tcsetattr(fd, TCSANOW, &settings));
}

static void type(int fd, const char *keys)
{
    EXPECT_EQ(write(fd, keys, strlen(keys)), strlen(keys));
}

static void expect_read(int fd, const char *expected)
{
    char text[256] = {0};
    size_t length = 0;
    while (length < strlen(expected)) {
        ssize_t count = read(fd, text + length, sizeof text - 1 - length);
        EXPECT(count > 0);
        length += (size_t)count;
    }
    EXPECT_STR(text, expected);
}

static int is_readable(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    return poll(&poller, 1, 0) == 1 && (poller.revents & POLLIN);
}

/// In a child: makes the slave the controlling terminal of a new session.
static void take_terminal(const struct terminal *terminal)
{
    EXPECT_OK(setsid());
    EXPECT_OK(ioctl(terminal->slave, TIOCSCTTY, 0));
}

CASE(terminals_are_told_from_files)
{
    struct terminal terminal = new_terminal();
    struct termios settings;
    struct stat status;
    int file = check_file("f", "", 0);
    EXPECT_EQ(isatty(terminal.slave), 1);
    EXPECT_EQ(isatty(terminal.master), 1);
    EXPECT_ERRNO(tcgetattr(file, &settings), ENOTTY);
    EXPECT_ERRNO(ioctl(terminal.slave, 0x5499, 0), ENOTTY);
    EXPECT_ERRNO(ioctl(terminal.slave, TCGETS, 8), EFAULT);
    EXPECT_ERRNO(lseek(terminal.slave, 0, SEEK_SET), ESPIPE);
    EXPECT_OK(fstat(terminal.slave, &status));
    EXPECT(S_ISCHR(status.st_mode));
    EXPECT_STR(ttyname(terminal.slave), terminal.path);
}

CASE(locked_slave_cannot_be_opened)
{
    int master = (int)EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    unsigned number = 0;
    char path[32];
    EXPECT_OK(ioctl(master, TIOCGPTN, &number));
    snprintf(path, sizeof path, "/dev/pts/%u", number);
    EXPECT_ERRNO(open(path, O_RDWR | O_NOCTTY), EIO);
    int unlock = 0;
    EXPECT_OK(ioctl(master, TIOCSPTLCK, &unlock));
    EXPECT_OK(close((int)EXPECT_OK(open(path, O_RDWR | O_NOCTTY))));
    EXPECT_OK(close(master));
    EXPECT_ERRNO(access(path, F_OK), ENOENT);
}

CASE(new_terminals_have_linux_settings)
{
    struct terminal terminal = new_terminal();
    struct termios settings;
    EXPECT_OK(tcgetattr(terminal.slave, &settings));
    tcflag_t wanted = ICANON | ECHO | ISIG | IEXTEN | ECHOE | ECHOK;
    EXPECT_EQ(settings.c_lflag & wanted, wanted);
    EXPECT_EQ(settings.c_iflag & ICRNL, ICRNL);
    EXPECT_EQ(settings.c_oflag & (OPOST | ONLCR), OPOST | ONLCR);
    EXPECT_EQ(settings.c_cc[VINTR], 3);
    EXPECT_EQ(settings.c_cc[VEOF], 4);
    EXPECT_EQ(settings.c_cc[VERASE], 127);
    EXPECT_EQ(cfgetospeed(&settings), B38400);
}

CASE(settings_are_kept_and_shared_by_both_ends)
{
    struct terminal terminal = new_terminal();
    struct termios settings;
    EXPECT_OK(tcgetattr(terminal.slave, &settings));
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = 3;
    EXPECT_OK(tcsetattr(terminal.slave, TCSAFLUSH, &settings));
    struct termios seen;
    EXPECT_OK(tcgetattr(terminal.master, &seen));
    EXPECT_EQ(seen.c_lflag & (ICANON | ECHO | ISIG), 0);
    EXPECT_EQ(seen.c_cc[VMIN], 3);
}

CASE(canonical_mode_gives_whole_lines)
{
    struct terminal terminal = new_terminal();
    char text[16] = {0};
    type(terminal.master, "hel");
    EXPECT_EQ(is_readable(terminal.slave), 0);
    type(terminal.master, "lo\nmore\n");
    EXPECT(is_readable(terminal.slave));
    EXPECT_EQ(read(terminal.slave, text, sizeof text), 6);
    EXPECT_STR(text, "hello\n");
    EXPECT_EQ(read(terminal.slave, text, 2), 2);
    EXPECT_EQ(read(terminal.slave, text, sizeof text), 3);
}

CASE(erase_and_kill_edit_the_line)
{
    struct terminal terminal = new_terminal();
    change(terminal.slave, ECHO, 0);
    type(terminal.master, "abX\177c\n");
    expect_read(terminal.slave, "abc\n");
    type(terminal.master, "wrong\025right\n");
    expect_read(terminal.slave, "right\n");
    type(terminal.master, "one two\027three\n");
    expect_read(terminal.slave, "one three\n");
}

CASE(end_of_file_key_ends_a_read)
{
    struct terminal terminal = new_terminal();
    char text[8] = {0};
    type(terminal.master, "ab\004");
    EXPECT_EQ(read(terminal.slave, text, sizeof text), 2);
    EXPECT_STR(text, "ab");
    type(terminal.master, "\004");
    EXPECT_EQ(read(terminal.slave, text, sizeof text), 0);
    type(terminal.master, "c\n");
    EXPECT_EQ(read(terminal.slave, text, sizeof text), 2);
}

CASE(input_is_echoed_and_output_processed)
{
    struct terminal terminal = new_terminal();
    type(terminal.master, "hi\n");
    expect_read(terminal.master, "hi\r\n");
    type(terminal.slave, "out\n");
    expect_read(terminal.master, "out\r\n");
    type(terminal.master, "\001\n");
    expect_read(terminal.master, "^A\r\n");
    change(terminal.slave, ECHO, 0);
    type(terminal.master, "secret\n");
    EXPECT_EQ(is_readable(terminal.master), 0);
}

CASE(carriage_return_becomes_newline)
{
    struct terminal terminal = new_terminal();
    type(terminal.master, "line\r");
    expect_read(terminal.slave, "line\n");
}

CASE(raw_mode_gives_single_bytes)
{
    struct terminal terminal = new_terminal();
    struct termios settings;
    EXPECT_OK(tcgetattr(terminal.slave, &settings));
    cfmakeraw(&settings);
    EXPECT_OK(tcsetattr(terminal.slave, TCSANOW, &settings));
    type(terminal.master, "x");
    expect_read(terminal.slave, "x");
    type(terminal.master, "\003\r\177");
    expect_read(terminal.slave, "\003\r\177");
    type(terminal.slave, "a\n");
    expect_read(terminal.master, "a\n");
    settings.c_cc[VMIN] = 0;
    settings.c_cc[VTIME] = 0;
    EXPECT_OK(tcsetattr(terminal.slave, TCSANOW, &settings));
    char byte;
    EXPECT_EQ(read(terminal.slave, &byte, 1), 0);
    settings.c_cc[VTIME] = 1;
    EXPECT_OK(tcsetattr(terminal.slave, TCSANOW, &settings));
    uint64_t start = check_now_ns();
    EXPECT_EQ(read(terminal.slave, &byte, 1), 0);
    EXPECT(check_now_ns() - start >= 80 * NS_PER_MS);
}

CASE(nonblocking_terminal_is_eagain)
{
    struct terminal terminal = new_terminal();
    char byte;
    int fd = (int)EXPECT_OK(open(terminal.path, O_RDWR | O_NOCTTY | O_NONBLOCK));
    EXPECT_ERRNO(read(fd, &byte, 1), EAGAIN);
    type(terminal.master, "partial");
    EXPECT_ERRNO(read(fd, &byte, 1), EAGAIN);
    int waiting = -1;
    EXPECT_OK(ioctl(fd, FIONREAD, &waiting));
    EXPECT_EQ(waiting, 0);
    type(terminal.master, "\n");
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_OK(ioctl(fd, FIONREAD, &waiting));
    EXPECT_EQ(waiting, 8);
    EXPECT_OK(tcflush(fd, TCIFLUSH));
    EXPECT_ERRNO(read(fd, &byte, 1), EAGAIN);
}

CASE(window_size_is_kept_and_announced)
{
    struct terminal terminal = new_terminal();
    struct winsize size = {50, 120, 0, 0};
    struct winsize seen;
    EXPECT_OK(ioctl(terminal.slave, TIOCGWINSZ, &seen));
    EXPECT_EQ(seen.ws_row, 0);
    struct gate ready = gate_new();
    pid_t pid;
    CHILD (pid) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        sigprocmask(SIG_BLOCK, &set, NULL);
        take_terminal(&terminal);
        gate_open(ready);
        EXPECT_EQ(sigwaitinfo(&set, NULL), SIGWINCH);
        EXPECT_OK(ioctl(terminal.slave, TIOCGWINSZ, &seen));
        EXPECT_EQ(seen.ws_row, 50);
        EXPECT_EQ(seen.ws_col, 120);
    }
    gate_wait(ready);
    EXPECT_OK(ioctl(terminal.master, TIOCSWINSZ, &size));
    EXPECT_EXITED(pid, 0);
}

CASE(controlling_terminal_is_dev_tty)
{
    struct terminal terminal = new_terminal();
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(setsid());
        EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
        EXPECT_ERRNO(tcgetpgrp(terminal.slave), ENOTTY);
        // Opening a terminal without O_NOCTTY takes it.
        EXPECT_OK(open(terminal.path, O_RDWR));
        int fd = (int)EXPECT_OK(open("/dev/tty", O_RDWR));
        EXPECT_EQ(tcgetpgrp(fd), getpgrp());
        EXPECT_EQ(tcgetsid(fd), getpid());
        type(fd, "via tty");
        EXPECT_OK(ioctl(fd, TIOCNOTTY));
    }
    signal(SIGHUP, SIG_IGN);
    EXPECT(waitpid(pid, NULL, WNOHANG) >= 0);
    expect_read(terminal.master, "via tty");
}

CASE(interrupt_key_signals_the_foreground_group)
{
    static const struct {
        const char *key;
        int signal;
    } keys[] = {{"\003", SIGINT}, {"\034", SIGQUIT}};
    for (int i = 0; i < 2; i++) {
        struct terminal terminal = new_terminal();
        struct gate ready = gate_new();
        pid_t pid;
        CHILD (pid) {
            take_terminal(&terminal);
            gate_open(ready);
            for (;;) {
                pause();
            }
        }
        gate_wait(ready);
        type(terminal.master, keys[i].key);
        EXPECT_KILLED(pid, keys[i].signal);
    }
}

CASE(suspend_key_stops_the_foreground_group)
{
    struct terminal terminal = new_terminal();
    struct gate ready = gate_new();
    pid_t pid;
    CHILD (pid) {
        take_terminal(&terminal);
        pid_t job = check_fork();
        if (job == 0) {
            setpgid(0, 0);
            gate_open(ready);
            for (;;) {
                pause();
            }
        }
        setpgid(job, job);
        EXPECT_OK(tcsetpgrp(terminal.slave, job));
        gate_wait(ready);
        type(terminal.master, "\032");
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
        check_end(job);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(background_read_stops_with_sigttin)
{
    struct terminal terminal = new_terminal();
    pid_t pid;
    CHILD (pid) {
        take_terminal(&terminal);
        pid_t job;
        char byte;
        CHILD (job) {
            setpgid(0, 0);
            EXPECT_EQ(read(terminal.slave, &byte, 1), 1);
            EXPECT_EQ(byte, 'k');
        }
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
        EXPECT_OK(tcsetpgrp(terminal.slave, job));
        type(terminal.master, "k\n");
        EXPECT_OK(kill(-job, SIGCONT));
        EXPECT_EXITED(job, 0);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(background_read_with_sigttin_ignored_is_eio)
{
    struct terminal terminal = new_terminal();
    pid_t pid;
    CHILD (pid) {
        take_terminal(&terminal);
        pid_t job;
        CHILD (job) {
            char byte;
            signal(SIGTTIN, SIG_IGN);
            setpgid(0, 0);
            EXPECT_ERRNO(read(terminal.slave, &byte, 1), EIO);
        }
        EXPECT_EXITED(job, 0);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(background_tcsetpgrp_stops_with_sigttou)
{
    struct terminal terminal = new_terminal();
    pid_t pid;
    CHILD (pid) {
        take_terminal(&terminal);
        EXPECT_ERRNO(tcsetpgrp(terminal.slave, 0x3fffffff), ESRCH);
        EXPECT_ERRNO(tcsetpgrp(terminal.slave, -1), EINVAL);
        pid_t job;
        CHILD (job) {
            setpgid(0, 0);
            tcsetpgrp(terminal.slave, getpgrp());
        }
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
        check_end(job);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(closing_the_master_hangs_up)
{
    struct terminal terminal = new_terminal();
    struct gate ready = gate_new();
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(close(terminal.master));
        take_terminal(&terminal);
        gate_open(ready);
        for (;;) {
            pause();
        }
    }
    gate_wait(ready);
    EXPECT_OK(close(terminal.master));
    EXPECT_KILLED(pid, SIGHUP);
    char byte;
    EXPECT_EQ(read(terminal.slave, &byte, 1), 0);
    EXPECT_ERRNO(write(terminal.slave, "x", 1), EIO);
    struct pollfd poller = {.fd = terminal.slave, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents & POLLHUP, POLLHUP);
}

CASE(closing_the_slave_is_eio_at_the_master)
{
    struct terminal terminal = new_terminal();
    char text[8];
    type(terminal.slave, "bye");
    EXPECT_OK(close(terminal.slave));
    EXPECT_EQ(read(terminal.master, text, sizeof text), 3);
    EXPECT_ERRNO(read(terminal.master, text, sizeof text), EIO);
    struct pollfd poller = {.fd = terminal.master, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents & POLLHUP, POLLHUP);
    EXPECT_OK(open(terminal.path, O_RDWR | O_NOCTTY));
    EXPECT_EQ(poll(&poller, 1, 0), 0);
}
