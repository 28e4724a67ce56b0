// SPDX-License-Identifier: MIT
// Calls examples/wallet-ta over libteec, as a program does that knows GlobalPlatform's four untyped
// parameters and nothing of this project. Without arguments it tries the commands in a new wallet; with
// FROM and CALLS it asks so often for addresses of sixteen accounts and compares.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tee_client_api.h>

enum { ADDRESS = 1, ALLOW = 2, LEFT = 3, SIGN = 4, UNKNOWN = 77 };
enum { NEW = 1, PIN_LENGTH = 2, WRONG_PIN = 3, OVER_LIMIT = 5 };
enum { ACCOUNTS = 16 };

static const TEEC_UUID WALLET = {
    0x0b7c5d26, 0x93e1, 0x4f0a, { 0x8c, 0x5e, 0x41, 0xd2, 0xb6, 0xf0, 0xa9, 0xc8 }
};
// examples/signer exports no commands.
static const TEEC_UUID SIGNER = {
    0x5f0c1a3e, 0x8d4b, 0x4c56, { 0x9b, 0x1f, 0x2a, 0x7e, 0x6d, 0x0c, 0x9f, 0x31 }
};

static TEEC_Context context;
static TEEC_Session session;

static void want(const char *what, TEEC_Result found, TEEC_Result wanted)
{
    if (found != wanted) {
        fprintf(stderr, "%s: 0x%08x, not 0x%08x\n", what, found, wanted);
        exit(1);
    }
}

static TEEC_Result open_session(const TEEC_UUID *application, TEEC_Session *opened)
{
    uint32_t origin;
    return TEEC_OpenSession(&context, opened, application, TEEC_LOGIN_PUBLIC, NULL, NULL, &origin);
}

static TEEC_Result invoke(uint32_t command, TEEC_Operation *operation)
{
    uint32_t origin;
    return TEEC_InvokeCommand(&session, command, operation, &origin);
}

static TEEC_Result address(uint32_t account, uint8_t bytes[32])
{
    TEEC_Operation operation = { 0 };
    operation.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_MEMREF_TEMP_OUTPUT, TEEC_NONE, TEEC_NONE);
    operation.params[0].value.a = account;
    operation.params[1].tmpref.buffer = bytes;
    operation.params[1].tmpref.size = 32;
    return invoke(ADDRESS, &operation);
}

static TEEC_Result allow(const char *pin, uint64_t amount)
{
    TEEC_Operation operation = { 0 };
    operation.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_VALUE_INPUT, TEEC_NONE, TEEC_NONE);
    operation.params[0].tmpref.buffer = (void *)pin;
    operation.params[0].tmpref.size = strlen(pin);
    operation.params[1].value.a = (uint32_t)amount;
    operation.params[1].value.b = (uint32_t)(amount >> 32);
    return invoke(ALLOW, &operation);
}

static uint64_t left(void)
{
    TEEC_Operation operation = { 0 };
    operation.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_OUTPUT, TEEC_NONE, TEEC_NONE, TEEC_NONE);
    want("left", invoke(LEFT, &operation), TEEC_SUCCESS);
    return operation.params[0].value.a | (uint64_t)operation.params[0].value.b << 32;
}

static TEEC_Result sign(uint64_t amount, size_t digest_size, uint8_t *signature, size_t *size)
{
    static uint8_t digest[64] = { 1, 2, 3 };
    TEEC_Operation operation = { 0 };
    operation.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INPUT, TEEC_MEMREF_TEMP_INPUT,
                                            TEEC_VALUE_INPUT, TEEC_MEMREF_TEMP_OUTPUT);
    operation.params[0].value.a = 7;
    operation.params[1].tmpref.buffer = digest;
    operation.params[1].tmpref.size = digest_size;
    operation.params[2].value.a = (uint32_t)amount;
    operation.params[2].value.b = (uint32_t)(amount >> 32);
    operation.params[3].tmpref.buffer = signature;
    operation.params[3].tmpref.size = *size;
    TEEC_Result result = invoke(SIGN, &operation);
    *size = operation.params[3].tmpref.size;
    return result;
}

static void hexadecimal(const char *name, const uint8_t *bytes, size_t size)
{
    printf("%s ", name);
    for (size_t at = 0; at < size; at++)
        printf("%02x", bytes[at]);
    printf("\n");
}

// Everything that a command can say, in a wallet that nobody has opened before.
static void try_all(void)
{
    uint8_t bytes[32], signature[64];
    size_t size = sizeof signature;
    TEEC_Operation operation = { 0 };
    TEEC_Session refused;

    want("an application without commands", open_session(&SIGNER, &refused), TEEC_ERROR_NOT_SUPPORTED);
    want("no wallet yet", address(7, bytes), NEW);
    want("a PIN too short", allow("123", 100), PIN_LENGTH);
    want("allow", allow("1234", (uint64_t)5 << 32), TEEC_SUCCESS);
    want("a wrong PIN", allow("9999", 100), WRONG_PIN);
    want("an unknown command", invoke(UNKNOWN, &operation), TEEC_ERROR_NOT_SUPPORTED);
    want("no parameters", invoke(ADDRESS, &operation), TEEC_ERROR_BAD_PARAMETERS);
    want("a digest of 31 bytes", sign(1, 31, signature, &size), TEEC_ERROR_BAD_PARAMETERS);
    size = 10;
    want("too little room", sign(1, 32, signature, &size), TEEC_ERROR_SHORT_BUFFER);
    want("as much as it takes", size, sizeof signature);
    want("more than was allowed", sign((uint64_t)6 << 32, 32, signature, &size), OVER_LIMIT);
    want("sign", sign(3, 32, signature, &size), TEEC_SUCCESS);
    want("the signature's size", size, sizeof signature);
    if (left() != ((uint64_t)5 << 32) - 3)
        want("left", 0, 1);
    want("address", address(7, bytes), TEEC_SUCCESS);
    hexadecimal("address", bytes, sizeof bytes);
    hexadecimal("signature", signature, sizeof signature);
}

// Each answer has to be the account's that was asked for.
static void call(uint32_t from, uint32_t calls)
{
    uint8_t known[ACCOUNTS][32], bytes[32];

    for (uint32_t at = 0; at < ACCOUNTS; at++)
        want("address", address(from + at, known[at]), TEEC_SUCCESS);
    for (uint32_t at = 0; at < calls; at++) {
        memset(bytes, 0, sizeof bytes);
        want("address", address(from + at % ACCOUNTS, bytes), TEEC_SUCCESS);
        if (memcmp(bytes, known[at % ACCOUNTS], sizeof bytes) != 0) {
            fprintf(stderr, "call %u: the answer to another\n", at);
            exit(1);
        }
    }
    printf("%u\n", calls);
}

int main(int argc, char **argv)
{
    want("context", TEEC_InitializeContext(NULL, &context), TEEC_SUCCESS);
    want("session", open_session(&WALLET, &session), TEEC_SUCCESS);
    if (argc == 3)
        call((uint32_t)atoi(argv[1]), (uint32_t)atoi(argv[2]));
    else
        try_all();
    TEEC_CloseSession(&session);
    TEEC_FinalizeContext(&context);
    return 0;
}
