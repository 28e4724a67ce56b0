// SPDX-License-Identifier: MIT
//
// TCP and UDP over the loopback interface.

#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int new_socket(int type)
{
    return (int)EXPECT_OK(socket(AF_INET, type, 0));
}

static int bind_to(int fd, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    EXPECT_OK(getsockname(fd, (struct sockaddr *)&address, &length));
    EXPECT_EQ(length, sizeof address);
    return ntohs(address.sin_port);
}

static int new_server(int type)
{
    int server = new_socket(type);
    EXPECT_OK(bind_to(server, 0));
    EXPECT_OK(listen(server, 5));
    EXPECT(port_of(server) != 0);
    return server;
}

/// A port that nobody listens at: one that was just given and freed.
static uint16_t free_port(void)
{
    int fd = new_socket(SOCK_STREAM);
    EXPECT_OK(bind_to(fd, 0));
    uint16_t port = port_of(fd);
    EXPECT_OK(close(fd));
    return port;
}

struct pair {
    int client;
    int server;
};

static struct pair new_connection(void)
{
    int listener = new_server(SOCK_STREAM);
    int client = new_socket(SOCK_STREAM);
    EXPECT_OK(connect_to(client, port_of(listener)));
    int server = (int)EXPECT_OK(accept(listener, NULL, NULL));
    EXPECT_OK(close(listener));
    return (struct pair){client, server};
}

static int error_of(int fd)
{
    int error = -1;
    socklen_t length = sizeof error;
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    return error;
}

CASE(tcp_connection_carries_bytes_and_names)
{
    int listener = new_server(SOCK_STREAM);
    int client = new_socket(SOCK_STREAM);
    EXPECT_OK(connect_to(client, port_of(listener)));
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int server = (int)EXPECT_OK(accept(listener, (struct sockaddr *)&address, &length));
    EXPECT_EQ(length, sizeof address);
    EXPECT_EQ(address.sin_family, AF_INET);
    EXPECT_EQ(ntohl(address.sin_addr.s_addr), INADDR_LOOPBACK);
    EXPECT_EQ(ntohs(address.sin_port), port_of(client));
    EXPECT_OK(getpeername(client, (struct sockaddr *)&address, &length));
    EXPECT_EQ(ntohs(address.sin_port), port_of(listener));
    char text[8] = {0};
    EXPECT_EQ(send(client, "ping", 4, 0), 4);
    EXPECT_EQ(recv(server, text, 4, MSG_WAITALL), 4);
    EXPECT_STR(text, "ping");
    EXPECT_EQ(write(server, "pong", 4), 4);
    EXPECT_EQ(recv(client, text, 4, MSG_WAITALL), 4);
    EXPECT_STR(text, "pong");
}

CASE(tcp_connection_to_nobody_is_refused)
{
    int fd = new_socket(SOCK_STREAM);
    EXPECT_ERRNO(connect_to(fd, free_port()), ECONNREFUSED);
    struct sockaddr_in wrong = loopback(1);
    wrong.sin_family = 99;
    EXPECT_ERRNO(connect(fd, (struct sockaddr *)&wrong, sizeof wrong), EAFNOSUPPORT);
    EXPECT_ERRNO(connect(fd, (struct sockaddr *)&wrong, 4), EINVAL);
    EXPECT_ERRNO(connect(fd, (struct sockaddr *)8, sizeof wrong), EFAULT);
}

CASE(tcp_ports_are_exclusive)
{
    int one = new_server(SOCK_STREAM);
    int two = new_socket(SOCK_STREAM);
    EXPECT_ERRNO(bind_to(two, port_of(one)), EADDRINUSE);
    EXPECT_ERRNO(bind_to(one, 0), EINVAL);
    struct sockaddr_in foreign = loopback(0);
    foreign.sin_addr.s_addr = htonl(0xc0000201); // 192.0.2.1, of the documentation range
    EXPECT_ERRNO(bind(two, (struct sockaddr *)&foreign, sizeof foreign), EADDRNOTAVAIL);
    EXPECT_OK(close(one));
}

CASE(server_port_can_be_taken_again_with_reuseaddr)
{
    uint16_t port = 0;
    // The second round finds the first one's connection in the time-wait state.
    for (int round = 0; round < 2; round++) {
        int one = 1;
        int listener = new_socket(SOCK_STREAM);
        EXPECT_OK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
        EXPECT_OK(bind_to(listener, port));
        EXPECT_OK(listen(listener, 1));
        port = port_of(listener);
        int client = new_socket(SOCK_STREAM);
        EXPECT_OK(connect_to(client, port));
        int server = (int)EXPECT_OK(accept(listener, NULL, NULL));
        EXPECT_OK(close(server));
        EXPECT_OK(close(client));
        EXPECT_OK(close(listener));
    }
}

CASE(unconnected_tcp_socket_refuses_data)
{
    int fd = new_socket(SOCK_STREAM);
    char byte;
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
    EXPECT_ERRNO(recv(fd, &byte, 1, 0), ENOTCONN);
    EXPECT_ERRNO(getpeername(fd, (struct sockaddr *)&address, &length), ENOTCONN);
    EXPECT_ERRNO(shutdown(fd, SHUT_RDWR), ENOTCONN);
    EXPECT_ERRNO(accept(fd, NULL, NULL), EINVAL);
}

CASE(nonblocking_connect_completes_by_poll)
{
    int listener = new_server(SOCK_STREAM);
    int client = new_socket(SOCK_STREAM | SOCK_NONBLOCK);
    int result = connect_to(client, port_of(listener));
    EXPECT(result == 0 || errno == EINPROGRESS);
    struct pollfd poller = {.fd = client, .events = POLLOUT};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLOUT);
    EXPECT_EQ(error_of(client), 0);
    EXPECT_OK(accept(listener, NULL, NULL));
    // The first call after completion may report it.
    EXPECT(connect_to(client, port_of(listener)) == 0 || errno == EISCONN);
    EXPECT_ERRNO(connect_to(client, port_of(listener)), EISCONN);
}

CASE(failed_nonblocking_connect_tells_by_so_error)
{
    int client = new_socket(SOCK_STREAM | SOCK_NONBLOCK);
    int result = connect_to(client, free_port());
    if (result < 0 && errno == EINPROGRESS) {
        struct pollfd poller = {.fd = client, .events = POLLOUT};
        EXPECT_EQ(poll(&poller, 1, -1), 1);
        EXPECT_EQ(poller.revents & POLLERR, POLLERR);
        EXPECT_EQ(error_of(client), ECONNREFUSED);
        EXPECT_EQ(error_of(client), 0);
    } else {
        EXPECT_EQ(result, -1);
        EXPECT_EQ(errno, ECONNREFUSED);
    }
}

CASE(half_closed_connection_still_answers)
{
    struct pair pair = new_connection();
    char text[8] = {0};
    EXPECT_EQ(send(pair.client, "ask", 3, 0), 3);
    EXPECT_OK(shutdown(pair.client, SHUT_WR));
    EXPECT_ERRNO(send(pair.client, "x", 1, MSG_NOSIGNAL), EPIPE);
    EXPECT_EQ(recv(pair.server, text, 3, MSG_WAITALL), 3);
    EXPECT_EQ(recv(pair.server, text, 8, 0), 0);
    struct pollfd poller = {.fd = pair.server, .events = POLLIN | POLLRDHUP};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN | POLLRDHUP);
    EXPECT_EQ(send(pair.server, "answer", 6, 0), 6);
    EXPECT_EQ(recv(pair.client, text, 6, MSG_WAITALL), 6);
    EXPECT_OK(close(pair.server));
    EXPECT_EQ(recv(pair.client, text, 8, 0), 0);
}

CASE(megabyte_over_tcp_arrives_whole)
{
    struct pair pair = new_connection();
    static unsigned char block[1 << 20];
    pid_t pid;
    CHILD (pid) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (unsigned char)(i * 13 >> 4);
        }
        EXPECT_EQ(send(pair.client, block, sizeof block, 0), sizeof block);
    }
    EXPECT_OK(close(pair.client));
    EXPECT_EQ(recv(pair.server, block, sizeof block, MSG_WAITALL), sizeof block);
    for (size_t i = 0; i < sizeof block; i++) {
        EXPECT_EQ(block[i], (unsigned char)(i * 13 >> 4));
    }
    EXPECT_EQ(recv(pair.server, block, 1, 0), 0);
    EXPECT_EXITED(pid, 0);
}

CASE(linger_zero_resets_the_peer)
{
    struct pair pair = new_connection();
    struct linger linger = {1, 0};
    char byte;
    EXPECT_OK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    EXPECT_OK(close(pair.client));
    EXPECT_ERRNO(recv(pair.server, &byte, 1, 0), ECONNRESET);
}

CASE(accept_waits_in_another_process)
{
    int listener = new_server(SOCK_STREAM);
    pid_t pid;
    CHILD (pid) {
        int server = (int)EXPECT_OK(accept(listener, NULL, NULL));
        EXPECT_EQ(write(server, "served", 6), 6);
    }
    check_sleep_ms(10);
    char text[8] = {0};
    int client = new_socket(SOCK_STREAM);
    EXPECT_OK(connect_to(client, port_of(listener)));
    EXPECT_EQ(recv(client, text, 6, MSG_WAITALL), 6);
    EXPECT_STR(text, "served");
    EXPECT_EXITED(pid, 0);
}

CASE(closed_listener_refuses_and_resets)
{
    int listener = new_server(SOCK_STREAM | SOCK_NONBLOCK);
    uint16_t port = port_of(listener);
    EXPECT_ERRNO(accept(listener, NULL, NULL), EAGAIN);
    int waiting = new_socket(SOCK_STREAM);
    EXPECT_OK(connect_to(waiting, port));
    EXPECT_OK(close(listener));
    char byte;
    EXPECT_ERRNO(recv(waiting, &byte, 1, 0), ECONNRESET);
    EXPECT_ERRNO(connect_to(new_socket(SOCK_STREAM), port), ECONNREFUSED);
}

CASE(tcp_options_are_kept)
{
    int fd = new_socket(SOCK_STREAM);
    int value = 1;
    socklen_t length = sizeof value;
    EXPECT_OK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value));
    value = 0;
    EXPECT_OK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length));
    EXPECT_EQ(value, 1);
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
    EXPECT_EQ(value, SOCK_STREAM);
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &length));
    EXPECT_EQ(value, IPPROTO_TCP);
    value = 1;
    EXPECT_OK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    EXPECT_ERRNO(setsockopt(fd, IPPROTO_TCP, 9999, &value, sizeof value), ENOPROTOOPT);
    EXPECT_ERRNO(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 1), EINVAL);
}

CASE(udp_datagrams_carry_the_sender)
{
    int one = new_socket(SOCK_DGRAM);
    int two = new_socket(SOCK_DGRAM);
    EXPECT_OK(bind_to(one, 0));
    EXPECT_OK(bind_to(two, 0));
    struct sockaddr_in address = loopback(port_of(two));
    struct sockaddr *target = (struct sockaddr *)&address;
    EXPECT_EQ(sendto(one, "abcdef", 6, 0, target, sizeof address), 6);
    EXPECT_EQ(sendto(one, "", 0, 0, target, sizeof address), 0);
    struct sockaddr_in sender;
    socklen_t length = sizeof sender;
    char text[8] = {0};
    EXPECT_EQ(recvfrom(two, text, 3, MSG_TRUNC, (struct sockaddr *)&sender, &length), 6);
    EXPECT_STR(text, "abc");
    EXPECT_EQ(ntohs(sender.sin_port), port_of(one));
    EXPECT_EQ(recv(two, text, 8, 0), 0);
    EXPECT_ERRNO(recv(two, text, 8, MSG_DONTWAIT), EAGAIN);
}

CASE(connected_udp_filters_and_learns_of_refusal)
{
    int one = new_socket(SOCK_DGRAM);
    int two = new_socket(SOCK_DGRAM);
    int stranger = new_socket(SOCK_DGRAM);
    char text[8];
    EXPECT_OK(bind_to(one, 0));
    EXPECT_OK(bind_to(two, 0));
    EXPECT_OK(connect_to(one, port_of(two)));
    struct sockaddr_in address = loopback(port_of(one));
    EXPECT_EQ(sendto(stranger, "x", 1, 0, (struct sockaddr *)&address, sizeof address), 1);
    EXPECT_ERRNO(recv(one, text, 8, MSG_DONTWAIT), EAGAIN);
    EXPECT_EQ(sendto(two, "yes", 3, 0, (struct sockaddr *)&address, sizeof address), 3);
    EXPECT_EQ(recv(one, text, 8, 0), 3);
    EXPECT_OK(close(two));
    EXPECT_EQ(send(one, "x", 1, 0), 1);
    EXPECT_ERRNO(recv(one, text, 8, 0), ECONNREFUSED);
    EXPECT_ERRNO(send(stranger, "x", 1, 0), EDESTADDRREQ);
}

CASE(udp_refuses_too_long_datagrams)
{
    int one = new_socket(SOCK_DGRAM);
    static char block[70000];
    struct sockaddr_in address = loopback(9);
    EXPECT_ERRNO(sendto(one, block, sizeof block, 0, (struct sockaddr *)&address, sizeof address),
                 EMSGSIZE);
    EXPECT_ERRNO(listen(one, 1), EOPNOTSUPP);
}
