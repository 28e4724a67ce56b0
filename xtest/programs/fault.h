// SPDX-License-Identifier: MIT
//
// Runs code that is meant to fault and tells which signal came, with which code and address.

#ifndef FAULT_H
#define FAULT_H

/// What a handler saw. `signal` is 0 if nothing faulted.
struct fault {
    int signal;
    int code;
    void *address;
};

/// Calls `action(argument)`, catching SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP on an alternate
/// stack. The handlers are gone afterwards.
struct fault fault_of(void (*action)(void *argument), void *argument);

/// Ready-made actions on an address.
void fault_read(void *address);
void fault_write(void *address);
void fault_call(void *address);

#endif
