/*
 * A fresh directory for one test, and its removal. Problems end the test program: a test without
 * its directory has nothing to say.
 */
#ifndef UM_TESTS_SUPPORT_TEMP_DIR_H
#define UM_TESTS_SUPPORT_TEMP_DIR_H

#include <stddef.h>

#define UM_TEMP_PATH_BYTES 256

/* Makes a directory under $TMPDIR (or /tmp); `path` has UM_TEMP_PATH_BYTES. */
void um_temp_dir_make(char *path);
/* Removes it with all that is in it. */
void um_temp_dir_remove(const char *path);
/* Writes (or replaces) one file in it. */
void um_temp_dir_write(const char *path, const char *name, const void *bytes, size_t count);

#endif
