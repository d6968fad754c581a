/* Safetensors files of any bytes: what is accepted must lie inside the file, each byte once. */
#include "core/model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    um_checkpoint *checkpoint = NULL;
    um_err err = {0};
    size_t bytes = 0, count;

    if (um_checkpoint_parse(data, size, "fuzz.safetensors", &checkpoint, &err) != UM_OK) {
        UM_ASSERT(checkpoint == NULL);
        UM_ASSERT(err.message[0] != '\0');
        return 0;
    }
    count = um_checkpoint_count(checkpoint);
    for (size_t i = 0; i < count; i++) {
        const um_checkpoint_tensor *t = um_checkpoint_at(checkpoint, i);

        UM_ASSERT((const uint8_t *)t->data >= data);
        UM_ASSERT((const uint8_t *)t->data + t->bytes <= data + size);
        UM_ASSERT(um_checkpoint_find(checkpoint, t->name) == t);
        um_checkpoint_discard(checkpoint, t);
        bytes += t->bytes;
    }
    UM_ASSERT(bytes < size);
    (void)um_checkpoint_hash(checkpoint); /* reads a sample of every tensor */
    um_checkpoint_close(checkpoint);
    return 0;
}
