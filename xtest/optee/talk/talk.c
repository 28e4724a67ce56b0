// SPDX-License-Identifier: MIT
// Keeps its host busy: output, a file of the image, input, the time of day, short sleeps. Prints
// how many rounds it came through; whatever the host answers must not do more than end it.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 10, good = 0;
    char bytes[4096];

    // A host may send any signal at any time; those of lies shall not end this.
    for (int number = 1; number < 32; number++)
        signal(number, SIG_IGN);
    for (int round = 0; round < rounds; round++) {
        if (write(1, "a line\n", 7) == 7)
            good++;
        // Nothing else goes on until the host has answered.
        if (read(0, bytes, 16) > 0)
            good++;
        if (round % 8 == 0) {
            struct timespec now;
            int file = open("/talk", O_RDONLY);
            (void)!pread(file, bytes, sizeof bytes, round * 4096);
            close(file);
            clock_gettime(CLOCK_REALTIME, &now);
            usleep(500);
        }
    }
    printf("rounds %d, good %d\n", rounds, good);
    return 7;
}
