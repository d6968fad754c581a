/* `unmask serve`: the server until it is told to stop. */
#include "server/app.h"
#include "server/commands.h"

um_status um_cmd_serve(const um_config *config, um_err *err)
{
    if (config->arguments.count > 0)
        return um_fail(err, UM_E_VALUE, "serve takes options only, not \"%.64s\"",
                       config->arguments.items[0]);
    return um_app_run(config, err);
}
