// SPDX-License-Identifier: MIT
// Programs that a program starts beside itself: as many as were packed, again and again.
//
//     spawn        with /usr/bin/cat packed twice beside it
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct running { pid_t pid; int to, from; };

// cat between two pipes.
static int start(struct running *child)
{
    int in[2], out[2];
    posix_spawn_file_actions_t actions;
    char *arguments[] = { "cat", "-u", NULL };

    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        return errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    int error = posix_spawn(&child->pid, "/usr/bin/cat", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    child->to = in[1];
    child->from = out[0];
    if (error) {
        close(child->to);
        close(child->from);
    }
    return error;
}

static int says(struct running *child, const char *text)
{
    char answer[64] = "";
    size_t length = strlen(text);
    return write(child->to, text, length) == (ssize_t)length
        && read(child->from, answer, sizeof answer) == (ssize_t)length
        && memcmp(answer, text, length) == 0;
}

static int ends(struct running *child)
{
    int status;
    close(child->to);
    close(child->from);
    return waitpid(child->pid, &status, 0) == child->pid && status == 0;
}

int main(void)
{
    struct running one, two, three;
    char *mine = malloc(100000);
    int good = 0;

    memset(mine, 7, 100000);
    for (int turn = 0; turn < 5; turn++) {
        int began = start(&one) == 0 && start(&two) == 0;
        good += began && says(&one, "one") && says(&two, "two") && says(&one, "one again");
        if (turn == 0)
            printf("third: %s\n", strerrorname_np(start(&three)));
        good += began && ends(&one) && ends(&two);
    }
    printf("good %d\n", good);

    pid_t pid = vfork();
    if (pid == 0) {
        execl("/usr/bin/echo", "echo", "never", NULL);
        _exit(errno);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    printf("not packed: %s\n", strerrorname_np(WEXITSTATUS(status)));
    for (int i = 0; i < 100000; i++)
        if (mine[i] != 7)
            return 1;
    printf("%d\n", system("exit 3") >> 8);
    return 0;
}
