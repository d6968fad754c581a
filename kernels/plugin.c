/*
 * Finds, loads and enters the plugin of the cuda backend. A plugin stays loaded: its code may be
 * running threads of the driver, and messages point into it.
 */
#include "kernels/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_NAME "unmask-cuda.so"
#define PATH_BYTES 4096

/* The plugin beside the running program; false when its path cannot be told. */
static bool path_beside_program(char path[PATH_BYTES])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_BYTES - sizeof(PLUGIN_NAME));
    char *slash;

    if (length <= 0 || length >= (ssize_t)(PATH_BYTES - sizeof(PLUGIN_NAME)))
        return false;
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (!slash)
        return false;
    memcpy(slash + 1, PLUGIN_NAME, sizeof(PLUGIN_NAME));
    return true;
}

static um_status load(const char *path, umi_plugin_open *out, um_err *err)
{
    void *library, *entry;
    const char *reason;

    if (access(path, F_OK) != 0)
        return um_fail(err, UM_E_NOT_FOUND, "there is no plugin %s", path);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        reason = dlerror();
        return um_fail(err, UM_E_NOT_FOUND, "plugin %s", reason ? reason : path);
    }
    entry = dlsym(library, UMI_PLUGIN_ENTRY);
    (void)dlclose(library); /* stays loaded */
    if (!entry)
        return um_fail(err, UM_E_UNSUPPORTED, "plugin %s has no function %s", path,
                       UMI_PLUGIN_ENTRY);
    memcpy(out, &entry, sizeof(entry));
    return UM_OK;
}

um_status umi_plugin_load(const um_backend_options *options, um_backend **out, um_err *err)
{
    const umi_plugin_abi abi = UMI_PLUGIN_ABI;
    const char *path = options->plugin;
    char beside[PATH_BYTES];
    umi_plugin_open open = NULL;
    um_status status;

    *out = NULL;
    if (!path || path[0] == '\0') {
        if (!path_beside_program(beside))
            return um_fail(err, UM_E_NOT_FOUND, "no plugin: /proc/self/exe cannot be read");
        path = beside;
    }
    status = load(path, &open, err);
    if (status != UM_OK)
        return status;
    UM_ASSERT(open != NULL);
    return open(&abi, options, out, err);
}
