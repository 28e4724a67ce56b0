// SPDX-License-Identifier: MIT
// Says hello, as a packed program: its start is compared with that of a plain trusted application.
#include <unistd.h>

int main(void)
{
    return write(1, "hello\n", 6) == 6 ? 0 : 1;
}
