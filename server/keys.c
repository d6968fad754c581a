#include "server/keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

#define KEY_BYTES_MIN 8
#define KEY_BYTES_MAX 255
#define LINE_BYTES 1024

typedef struct key_list {
    um_http_key *keys;
    size_t count;
} key_list;

/* `where` and `number` tell the reader which key is wrong without showing it. */
static um_status add_key(key_list *list, const char *name, size_t name_length, const char *key,
                         size_t length, const char *where, size_t number, um_err *err)
{
    um_http_key *grown;

    if (length < KEY_BYTES_MIN || length > KEY_BYTES_MAX)
        return um_fail_field(err, UM_E_VALUE, where,
                             "%s: key %zu has %zu bytes; %d to %d are allowed", where, number,
                             length, KEY_BYTES_MIN, KEY_BYTES_MAX);
    if (name_length >= sizeof(grown->name))
        return um_fail_field(err, UM_E_VALUE, where, "%s: the name of key %zu has over %zu bytes",
                             where, number, sizeof(grown->name) - 1);
    grown = um_mem_realloc(list->keys, (list->count + 1) * sizeof(*grown));
    if (!grown)
        return um_fail(err, UM_E_NOMEM, "%s: no memory for key %zu", where, number);
    list->keys = grown;
    grown += list->count++;
    *grown = (um_http_key){0};
    if (name_length > 0)
        memcpy(grown->name, name, name_length);
    else /* whoever has a key of their own is served in their own turn */
        snprintf(grown->name, sizeof(grown->name), "key-%zu", list->count);
    memcpy(grown->padded, key, length);
    return UM_OK;
}

static um_status add_line(key_list *list, const char *line, size_t number, um_err *err)
{
    const char *begin = line + strspn(line, " \t\r\n"), *end = begin + strlen(begin);
    const char *colon;

    while (end > begin && strchr(" \t\r\n", end[-1]))
        end--;
    if (begin == end || *begin == '#')
        return UM_OK;
    colon = memchr(begin, ':', (size_t)(end - begin));
    if (!colon)
        return add_key(list, "", 0, begin, (size_t)(end - begin), "--api-key-file, line", number,
                       err);
    return add_key(list, begin, (size_t)(colon - begin), colon + 1, (size_t)(end - colon - 1),
                   "--api-key-file, line", number, err);
}

static um_status add_file(key_list *list, const char *path, um_err *err)
{
    FILE *file = fopen(path, "r");
    um_status status = UM_OK;
    char line[LINE_BYTES];

    if (!file)
        return um_fail_field(err, UM_E_IO, "--api-key-file", "--api-key-file %s: %s", path,
                             strerror(errno));
    for (size_t number = 1; status == UM_OK && fgets(line, sizeof(line), file); number++) {
        /* The rest of a line that was cut would pass for a key, of a comment even. */
        if (strlen(line) + 1 == sizeof(line) && line[sizeof(line) - 2] != '\n')
            status = um_fail_field(err, UM_E_VALUE, "--api-key-file",
                                   "--api-key-file: line %zu is longer than %zu bytes", number,
                                   sizeof(line) - 2);
        else
            status = add_line(list, line, number, err);
    }
    if (status == UM_OK && ferror(file))
        status = um_fail_field(err, UM_E_IO, "--api-key-file", "--api-key-file %s: cannot be read",
                               path);
    fclose(file);
    return status;
}

um_status um_keys_load(const um_config *config, um_http_key **keys, size_t *count, um_err *err)
{
    key_list list = {0};
    um_status status = UM_OK;

    for (size_t i = 0; i < config->api_key.count && status == UM_OK; i++)
        status = add_key(&list, "", 0, config->api_key.items[i], strlen(config->api_key.items[i]),
                         "--api-key", i + 1, err);
    if (status == UM_OK && config->api_key_file)
        status = add_file(&list, config->api_key_file, err);
    /* A file caught while it is being written must not open the server to everybody. */
    if (status == UM_OK && config->api_key_file && list.count == 0)
        status = um_fail_field(err, UM_E_VALUE, "--api-key-file", "--api-key-file %s: holds no key",
                               config->api_key_file);
    if (status != UM_OK) {
        um_mem_free(list.keys);
        list = (key_list){0};
    }
    *keys = list.keys;
    *count = list.count;
    return status;
}
