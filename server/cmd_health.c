/*
 * `unmask health`: is the server of these options ready? For images, which have no curl, and for
 * probes.
 */
#include <stdio.h>

#include "server/commands.h"
#include "server/http_get.h"

#define SECONDS_MAX 4 /* below the timeouts that probes come with, so that the reason is told */
#define ANSWER_BYTES_MAX 4096

um_status um_cmd_health(const um_config *config, um_err *err)
{
    static const um_http_get_options options = {
        .path = "/health", .seconds_max = SECONDS_MAX, .bytes_max = ANSWER_BYTES_MAX};
    um_http_address address;
    um_buf body = {0};
    unsigned http_status = 0;
    um_status status;

    if (config->arguments.count > 0)
        return um_fail(err, UM_E_VALUE, "health takes options only, not \"%.64s\"",
                       config->arguments.items[0]);
    status = um_http_address_make(config->host, config->port, &address, err);
    if (status == UM_OK)
        status = um_http_get(&address, &options, &http_status, &body, err);
    if (status == UM_OK && http_status != 200)
        status = um_fail(err, UM_E_IO, "%s/health: status %u: %.300s", address.text, http_status,
                         um_buf_view(&body));
    if (status == UM_OK)
        puts("ready");
    um_buf_deinit(&body);
    return status;
}
