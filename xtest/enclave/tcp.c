// SPDX-License-Identifier: MIT
// tcp serve PORT: takes one connection and sends back what comes, in capitals.
// tcp ask PORT WORDS: connects, sends the words, prints what comes back.
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in address_of(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int serve(const char *port)
{
    struct sockaddr_in address = address_of(port);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4))
        return fail("listen");
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
        return fail("accept");
    char bytes[4096];
    ssize_t count, total = 0;
    while ((count = read(connection, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            bytes[i] = toupper((unsigned char)bytes[i]);
        if (write(connection, bytes, count) != count)
            return fail("write");
        total += count;
        if (bytes[count - 1] == '\n')
            break;
    }
    printf("served %zd bytes\n", total);
    return count < 0 ? fail("read") : 0;
}

static int ask(const char *port, const char *words)
{
    struct sockaddr_in address = address_of(port);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address))
        return fail("connect");
    if (dprintf(connection, "%s\n", words) < 0)
        return fail("write");
    char bytes[4096];
    ssize_t count = read(connection, bytes, sizeof bytes - 1);
    if (count < 0)
        return fail("read");
    printf("answer %.*s", (int)count, bytes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "ask"))
        return ask(argv[2], argv[3]);
    return 2;
}
