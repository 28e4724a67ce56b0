// SPDX-License-Identifier: MIT
//
// Threads as pthreads use them: create, join, locks, thread-local storage, cancellation,
// preemption.

#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void *return_argument(void *argument)
{
    return argument;
}

static void *sleep_long(void *argument)
{
    for (;;) {
        pause();
    }
    return argument;
}

CASE(thread_returns_its_value_to_join)
{
    pthread_t thread;
    int something;
    void *value = NULL;
    EXPECT_EQ(pthread_create(&thread, NULL, return_argument, &something), 0);
    EXPECT_EQ(pthread_join(thread, &value), 0);
    EXPECT(value == &something);
}

CASE(hundred_threads_run_at_once)
{
    enum { THREADS = 100 };
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    size_t size = 64 * 1024 < PTHREAD_STACK_MIN ? PTHREAD_STACK_MIN : 64 * 1024;
    EXPECT_EQ(pthread_attr_setstacksize(&attributes, size), 0);
    for (uintptr_t i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&threads[i], &attributes, return_argument, (void *)i), 0);
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        void *value;
        EXPECT_EQ(pthread_join(threads[i], &value), 0);
        EXPECT_EQ((uintptr_t)value, i);
    }
}

static void *tell_identity(void *argument)
{
    pid_t *ids = argument;
    ids[0] = getpid();
    ids[1] = (pid_t)syscall(SYS_gettid);
    ids[2] = getppid();
    return NULL;
}

CASE(thread_shares_pid_but_not_tid)
{
    pid_t ids[3];
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, tell_identity, ids), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(ids[0], getpid());
    EXPECT(ids[1] != getpid());
    EXPECT_EQ(ids[2], getppid());
}

static _Thread_local int local = 5;

static void *change_local(void *argument)
{
    EXPECT_EQ(local, 5);
    local = *(int *)argument;
    sched_yield();
    EXPECT_EQ(local, *(int *)argument);
    return NULL;
}

CASE(thread_local_storage_is_local)
{
    int values[2] = {100, 200};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, change_local, &values[i]), 0);
    }
    local = 6;
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    EXPECT_EQ(local, 6);
}

struct counter {
    pthread_mutex_t mutex;
    long count;
};

static void *count_up(void *argument)
{
    struct counter *counter = argument;
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&counter->mutex);
        counter->count++;
        pthread_mutex_unlock(&counter->mutex);
    }
    return NULL;
}

CASE(mutex_excludes)
{
    struct counter counter = {PTHREAD_MUTEX_INITIALIZER, 0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, count_up, &counter), 0);
    }
    for (int i = 0; i < 4; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    EXPECT_EQ(counter.count, 80000);
}

struct turns {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int turn;
};

struct player {
    struct turns *turns;
    int parity;
};

static void *take_turns(void *argument)
{
    const struct player *player = argument;
    struct turns *turns = player->turns;
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&turns->mutex);
        while (turns->turn % 2 != player->parity) {
            pthread_cond_wait(&turns->changed, &turns->mutex);
        }
        turns->turn++;
        pthread_cond_broadcast(&turns->changed);
        pthread_mutex_unlock(&turns->mutex);
    }
    return NULL;
}

CASE(condition_variable_alternates_two_threads)
{
    struct turns turns = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct player players[2] = {{&turns, 0}, {&turns, 1}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, take_turns, &players[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    EXPECT_EQ(turns.turn, 1000);
}

CASE(condition_variable_times_out)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    struct timespec deadline;
    uint64_t start = check_now_ns();
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_nsec += 50 * 1000000;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    pthread_mutex_lock(&mutex);
    EXPECT_EQ(pthread_cond_timedwait(&never, &mutex, &deadline), ETIMEDOUT);
    EXPECT(check_now_ns() - start >= 45 * NS_PER_MS);
}

static void *pass_barrier(void *barrier)
{
    pthread_barrier_wait(barrier);
    return NULL;
}

CASE(barrier_lets_all_pass_together)
{
    enum { THREADS = 8 };
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    EXPECT_EQ(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, pass_barrier, &barrier), 0);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
}

CASE(semaphore_works_between_processes)
{
    sem_t *semaphore = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(semaphore != MAP_FAILED);
    EXPECT_OK(sem_init(semaphore, 1, 0));
    pid_t pid;
    CHILD (pid) {
        EXPECT_OK(sem_wait(semaphore));
        EXPECT_OK(sem_wait(semaphore));
    }
    EXPECT_OK(sem_post(semaphore));
    EXPECT_OK(sem_post(semaphore));
    EXPECT_EXITED(pid, 0);
    EXPECT_ERRNO(sem_trywait(semaphore), EAGAIN);
}

static void *spin(void *argument)
{
    volatile int *stop = argument;
    while (!*stop) {
    }
    return NULL;
}

CASE(spinning_thread_does_not_starve_others)
{
    volatile int stop = 0;
    pthread_t spinner;
    EXPECT_EQ(pthread_create(&spinner, NULL, spin, (void *)&stop), 0);
    for (int i = 0; i < 5; i++) {
        check_sleep_ms(5);
    }
    stop = 1;
    EXPECT_EQ(pthread_join(spinner, NULL), 0);
}

CASE(spinning_process_does_not_starve_others)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        for (;;) {
            __asm__ volatile("");
        }
    }
    check_sleep_ms(20);
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(sleeping_thread_can_be_cancelled)
{
    pthread_t thread;
    void *value;
    EXPECT_EQ(pthread_create(&thread, NULL, sleep_long, NULL), 0);
    EXPECT_EQ(pthread_cancel(thread), 0);
    EXPECT_EQ(pthread_join(thread, &value), 0);
    EXPECT(value == PTHREAD_CANCELED);
}

static void *fork_and_wait(void *argument)
{
    pid_t pid;
    CHILD (pid) {
        // Only the calling thread lives on in the child.
        EXPECT_EQ(syscall(SYS_gettid), getpid());
    }
    EXPECT_EXITED(pid, 0);
    return argument;
}

CASE(fork_in_a_thread_copies_that_thread_only)
{
    pthread_t sleeper;
    pthread_t forker;
    EXPECT_EQ(pthread_create(&sleeper, NULL, sleep_long, NULL), 0);
    EXPECT_EQ(pthread_create(&forker, NULL, fork_and_wait, NULL), 0);
    EXPECT_EQ(pthread_join(forker, NULL), 0);
}

static volatile sig_atomic_t signalled_thread;

static void note_thread(int signal)
{
    (void)signal;
    signalled_thread = (sig_atomic_t)syscall(SYS_gettid);
}

static void *wait_until_signalled(void *argument)
{
    *(volatile pid_t *)argument = (pid_t)syscall(SYS_gettid);
    while (!signalled_thread) {
        sched_yield();
    }
    return NULL;
}

CASE(signal_to_a_thread_runs_on_that_thread)
{
    signal(SIGUSR1, note_thread);
    volatile pid_t tid = 0;
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_until_signalled, (void *)&tid), 0);
    while (!tid) {
        sched_yield();
    }
    EXPECT_EQ(pthread_kill(thread, SIGUSR1), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(signalled_thread, tid);
    // A joined thread may still be on its way out.
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0) {
        sched_yield();
    }
    EXPECT_EQ(errno, ESRCH);
    EXPECT_ERRNO(syscall(SYS_tgkill, getpid(), -1, 0), EINVAL);
}

CASE(fatal_signal_to_one_thread_ends_the_process)
{
    pid_t pid;
    CHILD (pid) {
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, sleep_long, NULL), 0);
        pthread_kill(thread, SIGTERM);
        sleep_long(NULL);
    }
    EXPECT_KILLED(pid, SIGTERM);
}

static void *fill_floats(void *argument)
{
    double *value = argument;
    for (int i = 0; i < 2000; i++) {
        double product = *value;
        sched_yield();
        *value = product + 1.0;
    }
    return NULL;
}

CASE(floating_point_state_belongs_to_the_thread)
{
    double values[3] = {0.5, 1000.25, -7.75};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(pthread_create(&threads[i], NULL, fill_floats, &values[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    }
    EXPECT(values[0] == 2000.5 && values[1] == 3000.25 && values[2] == 1992.25);
}

CASE(sched_calls_answer_sensibly)
{
    EXPECT_EQ(sched_yield(), 0);
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
    EXPECT_ERRNO(sched_getscheduler(-1), EINVAL);
    EXPECT_ERRNO(sched_getscheduler(0x3fffffff), ESRCH);
    cpu_set_t set;
    EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
    EXPECT(CPU_COUNT(&set) >= 1);
    EXPECT_ERRNO(syscall(SYS_sched_getaffinity, 0, 1, &set), EINVAL);
    EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
}
