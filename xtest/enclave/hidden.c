// SPDX-License-Identifier: MIT
// Data among code that is a system call to whoever jumps there.
int main(void)
{
    unsigned int word;

    __asm__("b 2f\n1:\t.word 0xd4000001\n2:\tldr %w0, 1b" : "=r"(word));
    return word == 0xd4000001 ? 0 : 1;
}
