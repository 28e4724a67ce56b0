// SPDX-License-Identifier: MIT
//
// Socket pairs and unix sockets: kinds, names, descriptors in messages, credentials, shutdown.

#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct pair {
    int a;
    int b;
};

static struct pair new_pair(int type)
{
    int fds[2];
    EXPECT_OK(socketpair(AF_UNIX, type, 0, fds));
    return (struct pair){fds[0], fds[1]};
}

static int new_socket(int type)
{
    return (int)EXPECT_OK(socket(AF_UNIX, type, 0));
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

static int bind_to(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_to(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, option, &value, &length));
    EXPECT_EQ(length, sizeof value);
    return value;
}

CASE(socket_creation_checks_its_arguments)
{
    int fds[2];
    EXPECT_ERRNO(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
    EXPECT_ERRNO(socket(AF_UNIX, 99, 0), EINVAL);
    EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 99), EPROTONOSUPPORT);
    EXPECT_ERRNO(socketpair(AF_INET, SOCK_STREAM, 0, fds), EOPNOTSUPP);
    EXPECT_ERRNO(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, 8), EFAULT);
    int fd = (int)EXPECT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    EXPECT_EQ(option_of(fd, SO_TYPE), SOCK_STREAM);
    EXPECT_EQ(option_of(fd, SO_DOMAIN), AF_UNIX);
    EXPECT_EQ(option_of(fd, SO_ERROR), 0);
    EXPECT_EQ(option_of(fd, SO_ACCEPTCONN), 0);
}

CASE(socket_calls_on_other_files_are_enotsock)
{
    int file = check_file("f", "", 0);
    EXPECT_ERRNO(listen(file, 1), ENOTSOCK);
    EXPECT_ERRNO(bind_to(file, "x"), ENOTSOCK);
    EXPECT_ERRNO(send(file, "x", 1, 0), ENOTSOCK);
    EXPECT_ERRNO(accept(file, NULL, NULL), ENOTSOCK);
    EXPECT_ERRNO(shutdown(file, SHUT_RD), ENOTSOCK);
    EXPECT_ERRNO(listen(12345, 1), EBADF);
    EXPECT_ERRNO(lseek(new_socket(SOCK_STREAM), 0, SEEK_SET), ESPIPE);
}

CASE(stream_pair_joins_bytes_both_ways)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char text[8] = {0};
    EXPECT_EQ(write(pair.a, "ab", 2), 2);
    EXPECT_EQ(write(pair.a, "cd", 2), 2);
    EXPECT_EQ(read(pair.b, text, 3), 3);
    EXPECT_STR(text, "abc");
    EXPECT_EQ(read(pair.b, text, 8), 1);
    EXPECT_EQ(send(pair.b, "back", 4, 0), 4);
    EXPECT_EQ(recv(pair.a, text, 8, 0), 4);
}

CASE(datagram_and_packet_pairs_keep_boundaries)
{
    static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        struct pair pair = new_pair(types[i]);
        char text[8] = {0};
        EXPECT_EQ(write(pair.a, "abcdef", 6), 6);
        EXPECT_EQ(write(pair.a, "gh", 2), 2);
        EXPECT_EQ(recv(pair.b, text, 2, MSG_TRUNC), 6);
        EXPECT_STR(text, "ab");
        EXPECT_EQ(read(pair.b, text, 8), 2);
        EXPECT_ERRNO(recv(pair.b, text, 8, MSG_DONTWAIT), EAGAIN);
        EXPECT_EQ(send(pair.a, "", 0, 0), 0);
        EXPECT_EQ(recv(pair.b, text, 8, 0), 0);
    }
}

CASE(truncated_message_is_flagged)
{
    struct pair pair = new_pair(SOCK_DGRAM);
    char text[2];
    struct iovec vector = {text, sizeof text};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    EXPECT_EQ(write(pair.a, "abcdef", 6), 6);
    EXPECT_EQ(recvmsg(pair.b, &message, 0), 2);
    EXPECT_EQ(message.msg_flags & MSG_TRUNC, MSG_TRUNC);
}

CASE(peek_leaves_the_data)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char text[4] = {0};
    int available = 0;
    EXPECT_EQ(write(pair.a, "abc", 3), 3);
    EXPECT_EQ(recv(pair.b, text, 2, MSG_PEEK), 2);
    EXPECT_STR(text, "ab");
    EXPECT_OK(ioctl(pair.b, FIONREAD, &available));
    EXPECT_EQ(available, 3);
    EXPECT_EQ(recv(pair.b, text, 3, 0), 3);
    EXPECT_STR(text, "abc");
    EXPECT_ERRNO(recv(pair.b, text, 3, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
}

CASE(waitall_waits_for_all)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char text[7] = {0};
    pid_t pid;
    CHILD (pid) {
        EXPECT_EQ(write(pair.a, "abc", 3), 3);
        check_sleep_ms(20);
        EXPECT_EQ(write(pair.a, "def", 3), 3);
    }
    EXPECT_EQ(recv(pair.b, text, 6, MSG_WAITALL), 6);
    EXPECT_STR(text, "abcdef");
    EXPECT_EXITED(pid, 0);
}

CASE(closed_peer_is_end_of_file_and_epipe)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char byte;
    EXPECT_OK(close(pair.a));
    EXPECT_EQ(read(pair.b, &byte, 1), 0);
    EXPECT_ERRNO(send(pair.b, "x", 1, MSG_NOSIGNAL), EPIPE);
    pid_t pid;
    CHILD (pid) {
        send(pair.b, "x", 1, 0);
    }
    EXPECT_KILLED(pid, SIGPIPE);
    struct pollfd poller = {.fd = pair.b, .events = POLLIN | POLLOUT | POLLRDHUP};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents & (POLLHUP | POLLRDHUP), POLLHUP | POLLRDHUP);
}

CASE(close_with_unread_data_resets_the_peer)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char byte;
    EXPECT_EQ(write(pair.a, "x", 1), 1);
    EXPECT_OK(close(pair.b));
    EXPECT_ERRNO(read(pair.a, &byte, 1), ECONNRESET);
}

CASE(shutdown_closes_one_direction)
{
    struct pair pair = new_pair(SOCK_STREAM);
    char byte;
    EXPECT_EQ(write(pair.a, "x", 1), 1);
    EXPECT_OK(shutdown(pair.a, SHUT_WR));
    EXPECT_ERRNO(send(pair.a, "y", 1, MSG_NOSIGNAL), EPIPE);
    EXPECT_EQ(read(pair.b, &byte, 1), 1);
    EXPECT_EQ(read(pair.b, &byte, 1), 0);
    EXPECT_EQ(write(pair.b, "z", 1), 1);
    EXPECT_EQ(read(pair.a, &byte, 1), 1);
    EXPECT_ERRNO(shutdown(pair.a, 99), EINVAL);
}

CASE(full_socket_is_eagain_and_drains)
{
    struct pair pair = new_pair(SOCK_STREAM | SOCK_NONBLOCK);
    static char block[4096];
    size_t sent = 0;
    ssize_t count;
    while ((count = write(pair.a, block, sizeof block)) > 0) {
        sent += (size_t)count;
        EXPECT(sent < 64u << 20);
    }
    EXPECT_EQ(errno, EAGAIN);
    struct pollfd poller = {.fd = pair.a, .events = POLLOUT};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    while ((count = read(pair.b, block, sizeof block)) > 0) {
        sent -= (size_t)count;
    }
    EXPECT_EQ(sent, 0);
    EXPECT_EQ(poll(&poller, 1, 0), 1);
}

CASE(stream_server_serves_by_path)
{
    int server = new_socket(SOCK_STREAM);
    EXPECT_OK(bind_to(server, "socket"));
    EXPECT_OK(listen(server, 5));
    EXPECT_EQ(option_of(server, SO_ACCEPTCONN), 1);
    struct stat status;
    EXPECT_OK(stat("socket", &status));
    EXPECT(S_ISSOCK(status.st_mode));
    EXPECT_ERRNO(open("socket", O_RDWR), ENXIO);
    pid_t pid;
    CHILD (pid) {
        int client = new_socket(SOCK_STREAM);
        char text[8] = {0};
        EXPECT_OK(connect_to(client, "socket"));
        EXPECT_EQ(write(client, "ping", 4), 4);
        EXPECT_EQ(read(client, text, 8), 4);
        EXPECT_STR(text, "pong");
        EXPECT_ERRNO(connect_to(client, "socket"), EISCONN);
    }
    int peer = (int)EXPECT_OK(accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    EXPECT_EQ(fcntl(peer, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(peer, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    char text[8] = {0};
    struct pollfd poller = {.fd = peer, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(read(peer, text, 8), 4);
    EXPECT_EQ(write(peer, "pong", 4), 4);
    EXPECT_EXITED(pid, 0);
}

CASE(unix_connection_errors_name_the_reason)
{
    int fd = new_socket(SOCK_STREAM);
    EXPECT_ERRNO(connect_to(fd, "missing"), ENOENT);
    close(check_file("file", "", 0));
    EXPECT_ERRNO(connect_to(fd, "file"), ECONNREFUSED);
    int bound = new_socket(SOCK_STREAM);
    EXPECT_OK(bind_to(bound, "bound"));
    EXPECT_ERRNO(connect_to(fd, "bound"), ECONNREFUSED);
    EXPECT_ERRNO(bind_to(fd, "bound"), EADDRINUSE);
    EXPECT_ERRNO(bind_to(bound, "twice"), EINVAL);
    EXPECT_ERRNO(bind_to(fd, "missing/x"), ENOENT);
    EXPECT_ERRNO(listen(fd, 1), EINVAL);
    EXPECT_ERRNO(accept(bound, NULL, NULL), EINVAL);
    EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    EXPECT_ERRNO(recv(fd, &fd, 1, MSG_DONTWAIT), EINVAL);
    int datagram = new_socket(SOCK_DGRAM);
    EXPECT_OK(listen(bound, 1));
    EXPECT_ERRNO(connect_to(datagram, "bound"), EPROTOTYPE);
    EXPECT_ERRNO(listen(datagram, 1), EOPNOTSUPP);
    EXPECT_ERRNO(send(datagram, "x", 1, 0), ENOTCONN);
}

CASE(nonblocking_accept_and_full_backlog_are_eagain)
{
    int server = new_socket(SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_OK(bind_to(server, "socket"));
    EXPECT_OK(listen(server, 1));
    EXPECT_ERRNO(accept(server, NULL, NULL), EAGAIN);
    int result = 0;
    int connected = 0;
    while (connected < 10) {
        result = connect_to(new_socket(SOCK_STREAM | SOCK_NONBLOCK), "socket");
        if (result < 0) {
            break;
        }
        connected++;
    }
    EXPECT_EQ(result, -1);
    EXPECT_EQ(errno, EAGAIN);
    struct pollfd poller = {.fd = server, .events = POLLIN};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_OK(accept(server, NULL, NULL));
}

CASE(abstract_names_leave_no_file)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, "\0strongroom-test", 16);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 16;
    int server = new_socket(SOCK_STREAM);
    EXPECT_OK(bind(server, (struct sockaddr *)&address, length));
    EXPECT_OK(listen(server, 1));
    EXPECT_ERRNO(bind(new_socket(SOCK_STREAM), (struct sockaddr *)&address, length), EADDRINUSE);
    int client = new_socket(SOCK_STREAM);
    EXPECT_OK(connect(client, (struct sockaddr *)&address, length));
    struct sockaddr_un peer;
    socklen_t peer_length = sizeof peer;
    EXPECT_OK(getpeername(client, (struct sockaddr *)&peer, &peer_length));
    EXPECT_EQ(peer_length, length);
    EXPECT(memcmp(&peer, &address, length) == 0);
    EXPECT_OK(close(server));
    EXPECT_ERRNO(connect(new_socket(SOCK_STREAM), (struct sockaddr *)&address, length),
                 ECONNREFUSED);
}

CASE(datagrams_go_by_name_and_carry_the_sender)
{
    int server = new_socket(SOCK_DGRAM);
    int client = new_socket(SOCK_DGRAM);
    EXPECT_OK(bind_to(server, "server"));
    EXPECT_OK(bind_to(client, "client"));
    struct sockaddr_un address = address_of("server");
    EXPECT_EQ(sendto(client, "hi", 2, 0, (struct sockaddr *)&address, sizeof address), 2);
    struct sockaddr_un sender;
    socklen_t length = sizeof sender;
    char text[8];
    EXPECT_EQ(recvfrom(server, text, 8, 0, (struct sockaddr *)&sender, &length), 2);
    EXPECT_STR(sender.sun_path, "client");
    EXPECT_OK(connect_to(client, "server"));
    EXPECT_EQ(send(client, "again", 5, 0), 5);
    EXPECT_OK(close(server));
    EXPECT_ERRNO(send(client, "x", 1, 0), ECONNREFUSED);
}

/// Sends `fd` beside one byte.
static void send_descriptor(int socket, int fd)
{
    char byte = 'f';
    struct iovec vector = {&byte, 1};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {0};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    EXPECT_EQ(sendmsg(socket, &message, 0), 1);
}

/// Receives a descriptor; -1 if none came.
static int receive_descriptor(int socket, size_t control_length, int *flags)
{
    char byte;
    int fd = -1;
    struct iovec vector = {&byte, 1};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {0};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = control_length};
    EXPECT_EQ(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_len == CMSG_LEN(sizeof fd)) {
        EXPECT_EQ(header->cmsg_type, SCM_RIGHTS);
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    }
    *flags = message.msg_flags;
    return fd;
}

CASE(descriptors_travel_in_messages)
{
    struct pair pair = new_pair(SOCK_STREAM);
    int file = check_file("f", "abc", 3);
    pid_t pid;
    CHILD (pid) {
        send_descriptor(pair.a, check_file("g", "from the child", 14));
    }
    EXPECT_EXITED(pid, 0);
    int flags;
    int received = receive_descriptor(pair.b, CMSG_SPACE(sizeof(int)), &flags);
    EXPECT(received >= 0);
    EXPECT_EQ(fcntl(received, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(lseek(received, 0, SEEK_CUR), 14);
    send_descriptor(pair.a, file);
    EXPECT_OK(close(file));
    received = receive_descriptor(pair.b, CMSG_SPACE(sizeof(int)), &flags);
    EXPECT_EQ(lseek(received, 0, SEEK_SET), 0);
    char text[4] = {0};
    EXPECT_EQ(read(received, text, 3), 3);
    EXPECT_STR(text, "abc");
}

CASE(descriptor_without_room_is_dropped_and_flagged)
{
    struct pair pair = new_pair(SOCK_STREAM);
    int fds[2];
    EXPECT_OK(pipe(fds));
    send_descriptor(pair.a, fds[1]);
    EXPECT_OK(close(fds[1]));
    int flags;
    EXPECT_EQ(receive_descriptor(pair.b, 0, &flags), -1);
    EXPECT_EQ(flags & MSG_CTRUNC, MSG_CTRUNC);
    char byte;
    EXPECT_EQ(read(fds[0], &byte, 1), 0);
}

CASE(descriptors_in_flight_die_with_their_socket)
{
    struct pair pair = new_pair(SOCK_STREAM);
    int fds[2];
    EXPECT_OK(pipe(fds));
    send_descriptor(pair.a, fds[1]);
    EXPECT_OK(close(fds[1]));
    EXPECT_OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
    char byte;
    EXPECT_ERRNO(read(fds[0], &byte, 1), EAGAIN);
    EXPECT_OK(close(pair.a));
    EXPECT_OK(close(pair.b));
    EXPECT_EQ(read(fds[0], &byte, 1), 0);
}

CASE(peer_credentials_are_told)
{
    struct pair pair = new_pair(SOCK_STREAM);
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    EXPECT_OK(getsockopt(pair.a, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    EXPECT_EQ(credentials.pid, getpid());
    EXPECT_EQ(credentials.uid, getuid());
    EXPECT_EQ(credentials.gid, getgid());
}

CASE(receive_timeout_is_eagain)
{
    struct pair pair = new_pair(SOCK_STREAM);
    struct timeval timeout = {0, 30000};
    char byte;
    EXPECT_OK(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    uint64_t start = check_now_ns();
    EXPECT_ERRNO(recv(pair.a, &byte, 1, 0), EAGAIN);
    EXPECT(check_now_ns() - start >= 30 * NS_PER_MS);
    EXPECT_ERRNO(setsockopt(pair.a, SOL_SOCKET, SO_RCVTIMEO, &timeout, 2), EINVAL);
    EXPECT_ERRNO(setsockopt(pair.a, SOL_SOCKET, 9999, &timeout, 4), ENOPROTOOPT);
    EXPECT_ERRNO(getsockopt(pair.a, SOL_SOCKET, SO_TYPE, &byte, (socklen_t *)8), EFAULT);
}
