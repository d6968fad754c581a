/*
 * The C writer of tiny checkpoints as a program, for tests in other languages:
 *     write_tiny_checkpoint DIR KV_HEADS f32|bf16|f16 SHARDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tiny_checkpoint.h"

int main(int argc, char **argv)
{
    static const um_dtype dtypes[] = {UM_F32, UM_BF16, UM_F16};
    um_tiny_options options = {0};
    um_err err = {0};
    bool known = false;

    if (argc != 5)
        return 2;
    options.kv_heads = (int32_t)strtol(argv[2], NULL, 10);
    options.shards = (int32_t)strtol(argv[4], NULL, 10);
    for (size_t i = 0; i < UM_COUNT_OF(dtypes); i++) {
        if (strcmp(argv[3], um_dtype_name(dtypes[i])) != 0)
            continue;
        options.dtype = dtypes[i];
        known = true;
    }
    if (!known || um_tiny_checkpoint_write(argv[1], &options, &err) != UM_OK) {
        fprintf(stderr, "write_tiny_checkpoint: %s\n", known ? err.message : "unknown dtype");
        return 1;
    }
    return 0;
}
