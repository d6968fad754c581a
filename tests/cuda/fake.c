/* See fake.h. */
#include "tests/cuda/fake.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "tests/test.h"

enum { KERNELS_MAX = 256 };

const char *fake_plugin(void)
{
    const char *real = getenv("UM_CUDA_TEST_PLUGIN");

    return real ? real : UM_CUDA_FAKE_PLUGIN;
}

um_backend *fake_open_tile(size_t tile_bytes)
{
    um_backend_options options = {
        .name = "cuda", .plugin = fake_plugin(), .tile_bytes = tile_bytes};
    um_backend *backend = NULL;
    um_err err = {0};

    if (um_backend_open(&options, &backend, &err) != UM_OK)
        UM_FATAL(err.message);
    return backend;
}

um_backend *fake_open(void)
{
    return fake_open_tile(0);
}

/* A function of the runtime, which is in the plugin. Storage of a function pointer is written as
 * POSIX asks for, since C has no cast from an object pointer. */
static void find(const char *name, void *function)
{
    void *plugin = dlopen(fake_plugin(), RTLD_NOW | RTLD_NOLOAD);
    void *address = plugin ? dlsym(plugin, name) : NULL;

    if (!address)
        UM_FATAL("the fake plugin is not open or not complete");
    memcpy(function, &address, sizeof(address));
    dlclose(plugin); /* um_backend_open holds it */
}

fakecuda_counts fake_counts(void)
{
    void (*counters)(fakecuda_counts * out);
    fakecuda_counts counts;

    find("fakecuda_counters", &counters);
    counters(&counts);
    return counts;
}

void fake_reset_kernels(void)
{
    void (*reset)(void);

    find("fakecuda_reset_kernels", &reset);
    reset();
}

static void add(fakecuda_kernel *sum, const fakecuda_kernel *k)
{
    sum->launches += k->launches;
    sum->blocks += k->blocks;
    sum->warp_instructions += k->warp_instructions;
    sum->mma += k->mma;
    sum->barriers += k->barriers;
    sum->shared_waves += k->shared_waves;
    sum->shared_ideal += k->shared_ideal;
    sum->global_sectors += k->global_sectors;
    sum->global_ideal += k->global_ideal;
    sum->bytes_read += k->bytes_read;
    sum->bytes_written += k->bytes_written;
    sum->atomics += k->atomics;
}

fakecuda_kernel fake_kernel(const char *name)
{
    static fakecuda_kernel kernels[KERNELS_MAX];
    size_t (*list)(fakecuda_kernel * out, size_t capacity);
    fakecuda_kernel sum = {0};
    size_t count;

    find("fakecuda_kernels", &list);
    count = list(kernels, KERNELS_MAX);
    UM_ASSERT(count <= KERNELS_MAX);
    for (size_t i = 0; i < count; i++)
        if (strstr(kernels[i].name, name))
            add(&sum, &kernels[i]);
    return sum;
}

void fake_set(const char *name, const char *value)
{
    bool (*set)(const char *name, const char *value);

    find("fakecuda_set", &set);
    UM_CHECK(set(name, value));
}
