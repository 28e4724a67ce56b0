// SPDX-License-Identifier: MIT
// Ends as its argument says: each is something that a trusted application cannot survive, or should.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";

    puts("before");
    fflush(stdout);
    if (!strcmp(how, "write"))
        *(volatile int *)8 = 1;
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "trap"))
        __builtin_trap();
    if (!strcmp(how, "execute"))
        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
               == MAP_FAILED ? 3 : 4;
    return 0;
}
