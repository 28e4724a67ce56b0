// SPDX-License-Identifier: MIT
// Never ends by itself: spins with hints, with system calls, or with neither.
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    volatile unsigned long rounds = 0;

    for (;;) {
        rounds++;
        if (!strcmp(how, "hints"))
            __asm__ volatile("yield");
        if (!strcmp(how, "calls"))
            getppid();
    }
}
