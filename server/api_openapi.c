#include "server/api_openapi.h"

#include "server/app.h"
#include "server/openapi.h"
#include "server/version.h"

/* Made once: it is the same for as long as the server runs. */
void um_api_openapi(void *context, um_exchange *exchange)
{
    um_app *app = context;
    um_buf *document = &app->openapi;
    um_err err = {0};

    if (document->length == 0) {
        um_api_rules rules = {.max_choices = (int32_t)app->config->max_n};

        if (um_openapi_write(&rules, um_version(), document, &err) != UM_OK) {
            um_buf_deinit(document);
            um_exchange_reply_error(exchange, &err);
            return;
        }
    }
    um_exchange_reply(exchange, 200, "application/json", um_buf_view(document), document->length);
}
