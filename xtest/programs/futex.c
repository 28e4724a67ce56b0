// SPDX-License-Identifier: MIT
//
// futex, robust lists and thread ids in memory, by raw system calls.

#include "check.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long futex(volatile uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout, volatile uint32_t *second, uint32_t third)
{
    return syscall(SYS_futex, word, operation, value, timeout, second, third);
}

static long wake(volatile uint32_t *word, uint32_t count)
{
    return futex(word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/// Wakes until somebody was there to be woken.
static void wake_one_for_sure(volatile uint32_t *word)
{
    while (wake(word, 1) != 1) {
        sched_yield();
    }
}

CASE(futex_wait_on_another_value_is_eagain)
{
    uint32_t word = 5;
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 4, NULL, NULL, 0), EAGAIN);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
}

CASE(futex_wake_without_waiters_is_zero)
{
    uint32_t word = 0;
    EXPECT_EQ(wake(&word, 1), 0);
    EXPECT_EQ(wake(&word, INT32_MAX), 0);
}

CASE(futex_wait_times_out)
{
    uint32_t word = 0;
    struct timespec timeout = {0, 40 * 1000000};
    uint64_t start = check_now_ns();
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0), ETIMEDOUT);
    uint64_t elapsed = check_now_ns() - start;
    EXPECT(elapsed >= 40 * NS_PER_MS && elapsed < SOON_NS);
}

CASE(futex_wait_bitset_takes_an_absolute_deadline)
{
    uint32_t word = 0;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    int operation = FUTEX_WAIT_BITSET_PRIVATE;
    EXPECT_ERRNO(futex(&word, operation, 0, &deadline, NULL, 1), ETIMEDOUT);
    clock_gettime(CLOCK_REALTIME, &deadline);
    operation |= FUTEX_CLOCK_REALTIME;
    EXPECT_ERRNO(futex(&word, operation, 0, &deadline, NULL, 1), ETIMEDOUT);
}

CASE(futex_refuses_bad_arguments)
{
    uint32_t words[2] = {0, 0};
    volatile uint32_t *crooked = (volatile uint32_t *)((char *)words + 1);
    struct timespec bad = {0, 1000000000};
    struct timespec negative = {-1, 0};
    EXPECT_ERRNO(futex(crooked, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(words, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(words, FUTEX_WAIT_PRIVATE, 0, &negative, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(words, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(words, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(words, 99, 0, NULL, NULL, 0), ENOSYS);
    EXPECT_ERRNO(futex(NULL, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(words, FUTEX_WAIT_PRIVATE, 0, (struct timespec *)8, NULL, 0), EFAULT);
}

static volatile uint32_t shared_word;
static volatile uint32_t second_word;
static volatile uint32_t woken;

static void *wait_once(void *argument)
{
    EXPECT_OK(futex(&shared_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return argument;
}

static void *wait_for_bits(void *argument)
{
    uint32_t bits = *(uint32_t *)argument;
    EXPECT_OK(futex(&shared_word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, bits));
    __atomic_or_fetch(&woken, bits, __ATOMIC_SEQ_CST);
    return argument;
}

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    EXPECT_EQ(pthread_create(thread, NULL, body, argument), 0);
}

CASE(futex_wake_wakes_the_number_asked_for)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        start(&threads[i], wait_once, NULL);
    }
    wake_one_for_sure(&shared_word);
    wake_one_for_sure(&shared_word);
    wake_one_for_sure(&shared_word);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    EXPECT_EQ(woken, 3);
}

CASE(futex_bitset_wakes_only_matching_waiters)
{
    pthread_t threads[2];
    uint32_t bits[2] = {1, 2};
    start(&threads[0], wait_for_bits, &bits[0]);
    start(&threads[1], wait_for_bits, &bits[1]);
    while (futex(&shared_word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 2) != 1) {
        sched_yield();
    }
    EXPECT_EQ(pthread_join(threads[1], NULL), 0);
    EXPECT_EQ(woken, 2);
    while (futex(&shared_word, FUTEX_WAKE_BITSET_PRIVATE, 9, NULL, NULL, 5) != 1) {
        sched_yield();
    }
    EXPECT_EQ(pthread_join(threads[0], NULL), 0);
    EXPECT_EQ(woken, 3);
}

/// Requeues everybody, without waking, until `count` waiters have moved.
static void requeue(int count)
{
    const struct timespec *all = (const struct timespec *)(uintptr_t)100;
    for (int moved = 0; moved < count;) {
        moved +=
            (int)EXPECT_OK(futex(&shared_word, FUTEX_REQUEUE_PRIVATE, 0, all, &second_word, 0));
        sched_yield();
    }
}

CASE(futex_requeue_moves_waiters)
{
    pthread_t threads[2];
    start(&threads[0], wait_once, NULL);
    start(&threads[1], wait_once, NULL);
    requeue(2);
    EXPECT_EQ(woken, 0);
    // A waiter that Linux wakes spuriously goes back to its first word; rarely more than one does.
    long moved = 0;
    long back = 0;
    while (moved + back < 2) {
        moved += wake(&second_word, 10);
        back += wake(&shared_word, 10);
        sched_yield();
    }
    EXPECT(moved > 0);
    EXPECT_EQ(pthread_join(threads[0], NULL), 0);
    EXPECT_EQ(pthread_join(threads[1], NULL), 0);
}

CASE(futex_cmp_requeue_compares_first)
{
    shared_word = 3;
    const struct timespec *all = (const struct timespec *)(uintptr_t)100;
    EXPECT_ERRNO(futex(&shared_word, FUTEX_CMP_REQUEUE_PRIVATE, 1, all, &second_word, 4), EAGAIN);
    EXPECT_EQ(futex(&shared_word, FUTEX_CMP_REQUEUE_PRIVATE, 1, all, &second_word, 3), 0);
    EXPECT_ERRNO(futex(&shared_word, FUTEX_CMP_REQUEUE_PRIVATE, (uint32_t)-1, all, &second_word, 3),
                 EINVAL);
}

CASE(futex_wake_op_changes_the_second_word)
{
    second_word = 5;
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5);
    EXPECT_EQ(futex(&shared_word, FUTEX_WAKE_OP_PRIVATE, 1, (struct timespec *)(uintptr_t)1,
                    &second_word, operation),
              0);
    EXPECT_EQ(second_word, 8);
}

CASE(shared_futex_works_between_processes)
{
    volatile uint32_t *words =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(words != MAP_FAILED);
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(futex(words, FUTEX_WAIT, 0, NULL, NULL, 0));
    }
    while (futex(words, FUTEX_WAKE, 1, NULL, NULL, 0) != 1) {
        sched_yield();
    }
    EXPECT_EXITED(pid, 0);
}

CASE(shared_futex_is_found_by_file_not_by_address)
{
    int fd = check_file("f", "", 0);
    EXPECT_OK(ftruncate(fd, (off_t)PAGE));
    volatile uint32_t *one = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile uint32_t *two = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(one != MAP_FAILED && two != MAP_FAILED && one != two);
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(futex(one, FUTEX_WAIT, 0, NULL, NULL, 0));
    }
    while (futex(two, FUTEX_WAKE, 1, NULL, NULL, 0) != 1) {
        sched_yield();
    }
    EXPECT_EXITED(pid, 0);
}

CASE(private_futex_does_not_reach_another_process)
{
    volatile uint32_t *word = (volatile uint32_t *)check_pages(1);
    pid_t pid;
    CHILD (pid) {
        struct timespec timeout = {0, 100 * 1000000};
        EXPECT_ERRNO(futex(word, FUTEX_WAIT, 0, &timeout, NULL, 0), ETIMEDOUT);
    }
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
        check_sleep_ms(5);
    }
    EXPECT_EXITED(pid, 0);
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(futex_wait_is_interrupted_by_a_handler)
{
    uint32_t word = 0;
    struct sigaction action = {.sa_handler = nothing};
    EXPECT_OK(sigaction(SIGUSR1, &action, NULL));
    pid_t pid = check_pester(SIGUSR1);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINTR);
    check_end(pid);
}

static int change_and_exit(void *argument)
{
    (void)argument;
    syscall(SYS_exit, 0);
    return 0;
}

CASE(child_tid_is_cleared_and_woken_at_exit)
{
    volatile uint32_t tid = 77;
    unsigned char *stack = check_pages(16);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_CHILD_CLEARTID;
    EXPECT_OK(clone(change_and_exit, stack + 16 * PAGE, flags, NULL, NULL, NULL, &tid));
    while (tid == 77) {
        futex(&tid, FUTEX_WAIT, 77, NULL, NULL, 0);
    }
    EXPECT_EQ(tid, 0);
}

CASE(set_tid_address_returns_the_thread_id)
{
    int word;
    pid_t pid;
    CHILD (pid) {
        EXPECT_EQ(syscall(SYS_set_tid_address, &word), getpid());
    }
    EXPECT_EXITED(pid, 0);
}

struct robust_lock {
    struct robust_list link;
    volatile uint32_t word;
};

CASE(robust_list_marks_the_lock_of_a_dead_owner)
{
    struct robust_lock *lock =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT((void *)lock != MAP_FAILED);
    pid_t pid;
    CHILD (pid) {
        static struct robust_list_head head;
        head.list.next = &lock->link;
        head.futex_offset = offsetof(struct robust_lock, word);
        head.list_op_pending = NULL;
        lock->link.next = &head.list;
        lock->word = (uint32_t)getpid();
        EXPECT_OK(syscall(SYS_set_robust_list, &head, sizeof head));
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(lock->word, FUTEX_OWNER_DIED);
}

CASE(robust_list_with_bad_pointers_harms_nobody)
{
    pid_t pid;
    CHILD (pid) {
        static struct robust_list_head head;
        head.list.next = (struct robust_list *)8;
        EXPECT_OK(syscall(SYS_set_robust_list, &head, sizeof head));
    }
    EXPECT_EXITED(pid, 0);
    CHILD (pid) {
        // A list that never ends.
        static struct robust_lock lock;
        static struct robust_list_head head;
        head.list.next = &lock.link;
        lock.link.next = &lock.link;
        EXPECT_OK(syscall(SYS_set_robust_list, &head, sizeof head));
    }
    EXPECT_EXITED(pid, 0);
    struct robust_list_head unused;
    EXPECT_ERRNO(syscall(SYS_set_robust_list, &unused, sizeof unused - 1), EINVAL);
}

CASE(robust_mutex_passes_on_from_a_dead_process)
{
    pthread_mutex_t *mutex =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(mutex != MAP_FAILED);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    EXPECT_EQ(pthread_mutex_init(mutex, &attributes), 0);
    pid_t pid;
    CHILD (pid) {
        EXPECT_EQ(pthread_mutex_lock(mutex), 0);
    }
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
    EXPECT_EQ(pthread_mutex_consistent(mutex), 0);
    EXPECT_EQ(pthread_mutex_unlock(mutex), 0);
}
