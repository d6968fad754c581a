#include "tests/support/temp_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/check.h"

#define OPEN_FILES_MAX 8

void um_temp_dir_make(char *path)
{
    const char *parent = getenv("TMPDIR");

    snprintf(path, UM_TEMP_PATH_BYTES, "%s/unmask-test-XXXXXX", parent ? parent : "/tmp");
    UM_ASSERT(mkdtemp(path) != NULL);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void um_temp_dir_remove(const char *path)
{
    UM_ASSERT(nftw(path, remove_entry, OPEN_FILES_MAX, FTW_DEPTH | FTW_PHYS) == 0);
}

void um_temp_dir_write(const char *path, const char *name, const void *bytes, size_t count)
{
    char full[UM_TEMP_PATH_BYTES + 64];
    FILE *file;

    UM_ASSERT(snprintf(full, sizeof(full), "%s/%s", path, name) < (int)sizeof(full));
    file = fopen(full, "wb");
    UM_ASSERT(file != NULL);
    UM_ASSERT(fwrite(bytes, 1, count, file) == count);
    UM_ASSERT(fclose(file) == 0);
}
