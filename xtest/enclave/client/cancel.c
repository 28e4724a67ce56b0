// SPDX-License-Identifier: MIT
// Loaded before libteec into a client: asks to cancel each call that takes longer than a while.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <tee_client_api.h>
#include <unistd.h>

#define WHILE_US 20000

static void *cancel(void *operation)
{
    usleep(WHILE_US);
    TEEC_RequestCancellation(operation);
    return NULL;
}

TEEC_Result TEEC_InvokeCommand(TEEC_Session *session, uint32_t command, TEEC_Operation *operation,
                               uint32_t *origin)
{
    TEEC_Result (*invoke)(TEEC_Session *, uint32_t, TEEC_Operation *, uint32_t *) =
        (TEEC_Result(*)(TEEC_Session *, uint32_t, TEEC_Operation *, uint32_t *))dlsym(
            RTLD_NEXT, "TEEC_InvokeCommand");
    pthread_t canceller;

    pthread_create(&canceller, NULL, cancel, operation);
    TEEC_Result result = invoke(session, command, operation, origin);
    pthread_join(canceller, NULL);
    return result;
}
