#include <stddef.h>
#include <stdint.h>

/// libFuzzer's own main, in the runtime that -sanitize=fuzzer links.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*test)(const uint8_t *data, size_t size));
