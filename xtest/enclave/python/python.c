// SPDX-License-Identifier: MIT
// Python's own main function, linked position-independent: Debian's executable is not.
int Py_BytesMain(int argc, char **argv);

int main(int argc, char **argv)
{
    return Py_BytesMain(argc, argv);
}
