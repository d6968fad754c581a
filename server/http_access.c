/*
 * May this request pass? Everything that can be decided from the request line and the headers, in
 * the order that decides which of several faults is told: header size, framing, URL, method, host,
 * key, 503 gate, media type, body size. Also CORS, because its headers go on every answer.
 */
#include "server/http_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/http_error.h"

#define CORS_HEADER_LIST_MAX 4096

/* Paths of the OpenAI, vLLM and Mercury APIs that this build does not serve. Their clients should
 * read "not supported here", not "no such URL". Each also stands for everything below it. */
static const char *const not_served[] = {
    "/v1/embeddings",  "/v1/files",      "/v1/batches",       "/v1/audio",
    "/v1/moderations", "/v1/images",     "/v1/assistants",    "/v1/threads",
    "/v1/responses",   "/v1/videos",     "/v1/vector_stores", "/v1/fine_tuning",
    "/v1/uploads",     "/v1/realtime",   "/v1/evals",         "/v1/containers",
    "/v1/fim",         "/v1/edit",       "/v1/apply",         "/v1/conversations",
    "/v1/tokenize",    "/v1/detokenize", "/v1/organization",  "/v1/chat/completions/models",
    "/tokenize",       "/detokenize",
};

/* ---- URL and method ------------------------------------------------------------------------ */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False for a broken escape or %00, which no name contains. */
static bool percent_decode(const char *text, um_buf *out)
{
    for (; *text; text++) {
        int high, low;

        if (*text != '%') {
            um_buf_char(out, *text);
            continue;
        }
        high = hex_digit(text[1]);
        low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || high + low == 0)
            return false;
        um_buf_char(out, (char)(high * 16 + low));
        text += 2;
    }
    return true;
}

static bool path_matches(const um_route *route, const char *url)
{
    size_t length = strlen(route->path);

    if (route->flags & UM_ROUTE_PREFIX)
        return strncmp(url, route->path, length) == 0 && url[length];
    return strcmp(url, route->path) == 0;
}

/* The route for the method, or NULL; `allow` lists what the URL offers, nothing when it is unknown. */
static const um_route *find_route(const um_http *http, const char *url, const char *method,
                                  um_buf *allow)
{
    const um_route *found = NULL;
    bool head = strcmp(method, "HEAD") == 0;

    for (const um_route *route = http->options.routes; route->method; route++) {
        if (!path_matches(route, url))
            continue;
        if (!found && strcmp(route->method, head ? "GET" : method) == 0)
            found = route;
        um_buf_printf(allow, "%s%s", allow->length > 0 ? ", " : "",
                      strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method);
    }
    return found;
}

static void refuse_url(um_exchange *exchange, const char *url)
{
    for (size_t i = 0; i < UM_COUNT_OF(not_served); i++) {
        size_t length = strlen(not_served[i]);

        if (strncmp(url, not_served[i], length) == 0 && (url[length] == '/' || !url[length])) {
            umi_exchange_refuse(exchange, 404, "endpoint_not_supported",
                                "This server does not offer this endpoint.");
            return;
        }
    }
    umi_exchange_refuse(exchange, 404, "unknown_url", "There is nothing at this URL.");
}

/* ---- framing and size ---------------------------------------------------------------------- */

/* The library's own refusal has neither a request id nor a JSON body, so it is given room for more
 * than we accept; what exceeds even that is answered by the library. */
static bool headers_are_short(um_exchange *exchange)
{
    char message[96];

    if (MHD_get_connection_info(exchange->connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
            ->header_size <= UMI_HEADER_BYTES_MAX)
        return true;
    snprintf(message, sizeof(message), "Request line and headers are longer than %d bytes.",
             UMI_HEADER_BYTES_MAX);
    exchange->close = true;
    umi_exchange_refuse(exchange, 431, "request_headers_too_large", message);
    return false;
}

typedef struct framing {
    unsigned lengths, encodings;
    bool chunked;
} framing;

static enum MHD_Result count_framing(void *context, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    framing *seen = context;

    (void)kind;
    if (strcasecmp(name, "Content-Length") == 0)
        seen->lengths++;
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        seen->encodings++;
        seen->chunked = value && strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

/* Two readings of where a body ends let one request hide in another behind a proxy. */
static bool framing_is_plain(um_exchange *exchange)
{
    framing seen = {0};

    MHD_get_connection_values(exchange->connection->mhd, MHD_HEADER_KIND, count_framing, &seen);
    if (seen.lengths + seen.encodings <= 1 && (seen.encodings == 0 || seen.chunked))
        return true;
    umi_exchange_refuse(exchange, 400, "invalid_value",
                        "The request must have one Content-Length, or Transfer-Encoding: chunked.");
    return false;
}

uint64_t umi_access_announced(const um_exchange *exchange)
{
    const char *length = umi_exchange_request_header(exchange, "Content-Length");

    return length ? strtoull(length, NULL, 10) : 0; /* the library has checked the digits */
}

bool umi_access_has_body(const um_exchange *exchange)
{
    return umi_access_announced(exchange) > 0 ||
           umi_exchange_request_header(exchange, "Transfer-Encoding");
}

/* ---- host and key -------------------------------------------------------------------------- */

static bool is_loopback_name(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* A web page may point its own name at 127.0.0.1 and talk to a server that asks for no key; the
 * Host header then still holds the page's name. */
static bool host_allowed(const um_exchange *exchange)
{
    const um_http_options *options = &exchange->http->options;
    const char *host = umi_exchange_request_header(exchange, "Host");
    const char *port;
    char name[256];
    size_t length;

    if (!exchange->http->loopback || options->key_count > 0 || !host)
        return true; /* every browser sends Host */
    port = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
    length = !port ? strlen(host) : (size_t)(port - host) + (*port == ']');
    if (length >= sizeof(name))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    if (is_loopback_name(name) || strcasecmp(name, options->host) == 0)
        return true;
    for (size_t i = 0; i < options->allowed_host_count; i++)
        if (strcasecmp(name, options->allowed_hosts[i]) == 0)
            return true;
    return false;
}

/* Always looks at all 256 bytes of all keys, so that time tells nothing about them. */
static bool key_known(um_exchange *exchange, const char *key, size_t length)
{
    const um_http_options *options = &exchange->http->options;
    uint8_t padded[sizeof(options->keys->padded)] = {0};
    size_t found = options->key_count;

    memcpy(padded, key, length < sizeof(padded) ? length : 0);
    for (size_t i = 0; i < options->key_count; i++) {
        uint8_t difference = 0;

        for (size_t k = 0; k < sizeof(padded); k++)
            difference |= padded[k] ^ options->keys[i].padded[k];
        found = difference == 0 ? i : found;
    }
    if (found == options->key_count)
        return false;
    snprintf(exchange->key_name, sizeof(exchange->key_name), "%s", options->keys[found].name);
    return true;
}

static bool key_accepted(um_exchange *exchange)
{
    const um_http_options *options = &exchange->http->options;
    const char *header = umi_exchange_request_header(exchange, "Authorization");
    const um_route *route = exchange->route;
    size_t length;

    if (options->key_count == 0)
        return true;
    if ((route->flags & UM_ROUTE_OPEN) &&
        !(options->metrics_auth && strcmp(route->path, "/metrics") == 0))
        return true;
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return false;
    header += 7 + strspn(header + 7, " ");
    length = strlen(header);
    while (length > 0 && (header[length - 1] == ' ' || header[length - 1] == '\t'))
        length--;
    return length > 0 && key_known(exchange, header, length);
}

/* ---- media type ---------------------------------------------------------------------------- */

static bool is_json_type(const char *type)
{
    size_t length = strlen(type);

    return strcasecmp(type, UMI_JSON) == 0 ||
           (length > 5 && strcasecmp(type + length - 5, "+json") == 0);
}

/* Every parameter but charset is ignored. */
static bool charset_is_utf8(const char *parameters)
{
    while (parameters && *parameters) {
        parameters += strspn(parameters, "; \t");
        if (strncasecmp(parameters, "charset=", 8) == 0) {
            const char *value = parameters + 8 + (parameters[8] == '"');

            return strncasecmp(value, "utf-8", 5) == 0 &&
                   (value[5] == '\0' || strchr("\"; \t", value[5]));
        }
        parameters = strchr(parameters, ';');
    }
    return true;
}

/* text/plain and forms are what `curl -d` sends; but a web page may send them across sites without
 * asking first, so they pass only without Origin. */
static bool media_type_accepted(const um_exchange *exchange)
{
    const char *header = umi_exchange_request_header(exchange, "Content-Type");
    const char *encoding = umi_exchange_request_header(exchange, "Content-Encoding");
    char type[128];
    size_t length;

    if (encoding && *encoding && strcasecmp(encoding, "identity") != 0)
        return false;
    if (!header || !*header)
        return true;
    length = strcspn(header, "; \t");
    if (length >= sizeof(type))
        return false;
    memcpy(type, header, length);
    type[length] = '\0';
    if (!charset_is_utf8(header + length))
        return false;
    if (is_json_type(type))
        return true;
    return !umi_exchange_request_header(exchange, "Origin") &&
           (strcasecmp(type, "text/plain") == 0 ||
            strcasecmp(type, "application/x-www-form-urlencoded") == 0);
}

/* ---- CORS ---------------------------------------------------------------------------------- */

static const char *matching_origin(const um_exchange *exchange)
{
    const um_http_options *options = &exchange->http->options;
    const char *origin = umi_exchange_request_header(exchange, "Origin");

    for (size_t i = 0; origin && i < options->cors_origin_count; i++)
        if (strcmp(options->cors_origins[i], "*") == 0 ||
            strcmp(options->cors_origins[i], origin) == 0)
            return origin;
    return NULL;
}

static void add_cors_headers(um_exchange *exchange)
{
    const char *origin = matching_origin(exchange);

    if (!origin)
        return;
    um_exchange_header(exchange, "Access-Control-Allow-Origin", origin);
    um_exchange_header(exchange, "Vary", "Origin");
    um_exchange_header(exchange, "Access-Control-Expose-Headers",
                       "x-request-id, openai-processing-ms, retry-after, retry-after-ms, "
                       "x-should-retry, x-unmask-ignored");
}

static bool is_header_list(const char *text)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789, \t"
                                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t length = strlen(text);

    return length > 0 && length <= CORS_HEADER_LIST_MAX && strspn(text, allowed) == length;
}

/* Browsers' SDKs send a dozen x-stainless-* headers, and "*" would not cover authorization, so the
 * requested list is reflected. */
static void answer_options(um_exchange *exchange, um_buf *allow)
{
    const char *headers = umi_exchange_request_header(exchange, "Access-Control-Request-Headers");

    if (!umi_exchange_request_header(exchange, "Access-Control-Request-Method")) {
        um_buf_text(allow, ", OPTIONS");
        um_exchange_header(exchange, "Allow", um_buf_view(allow));
    } else if (matching_origin(exchange)) {
        um_exchange_header(exchange, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        um_exchange_header(exchange, "Access-Control-Max-Age", "600");
        if (headers && is_header_list(headers))
            um_exchange_header(exchange, "Access-Control-Allow-Headers", headers);
    }
    umi_exchange_no_content(exchange);
}

/* ---- the checks in their order ------------------------------------------------------------- */

/* False: refused with 503. */
static bool gate_open(um_exchange *exchange)
{
    const um_http *http = exchange->http;
    um_err err = {0};
    um_status status = UM_OK;
    um_http_reject reason;

    if (http->options.gate && (exchange->route->flags & (UM_ROUTE_READY | UM_ROUTE_GENERATES)))
        status = http->options.gate(http->options.context, &err);
    if (status == UM_OK)
        return true;
    reason = status == UM_E_LOADING    ? UM_HTTP_REJECT_LOADING
             : status == UM_E_DRAINING ? UM_HTTP_REJECT_DRAINING
                                       : UM_HTTP_REJECT_ENGINE;
    umi_http_reject(exchange->http, exchange->route, reason);
    exchange->close = exchange->close || status == UM_E_DRAINING;
    umi_exchange_refuse(exchange, 503, um_http_error_find(status)->code,
                        err.message[0] ? err.message : um_status_text(status));
    return false;
}

/* Host and key: who asks. */
static bool caller_accepted(um_exchange *exchange, um_buf *allow, bool options)
{
    if (!host_allowed(exchange)) {
        umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_AUTH);
        umi_exchange_refuse(exchange, 403, "host_not_allowed",
                            "This Host is not allowed; see --allowed-host.");
        return false;
    }
    if (options) {
        answer_options(exchange, allow);
        return false;
    }
    if (!key_accepted(exchange)) {
        umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_AUTH);
        um_exchange_header(exchange, "WWW-Authenticate", "Bearer");
        umi_exchange_refuse(exchange, 401, "invalid_api_key",
                            "No valid API key in the Authorization header.");
        return false;
    }
    return true;
}

/* Media type and announced size: what is to come. */
static bool content_accepted(um_exchange *exchange)
{
    if (exchange->post && !media_type_accepted(exchange)) {
        umi_http_reject(exchange->http, exchange->route, UM_HTTP_REJECT_BAD_REQUEST);
        umi_exchange_refuse(exchange, 415, "unsupported_media_type",
                            "The body must be application/json in UTF-8, not encoded.");
        return false;
    }
    if (umi_access_announced(exchange) > exchange->http->options.body_bytes_max) {
        umi_exchange_too_large(exchange);
        return false;
    }
    if (umi_access_announced(exchange) > umi_http_body_room(exchange->http)) {
        umi_exchange_no_room(exchange);
        return false;
    }
    return true;
}

/* URL and method: what is asked for. Sets the route, which OPTIONS has none of. */
static bool target_found(um_exchange *exchange, const char *url, const char *method, bool options,
                         um_buf *allow)
{
    const um_route *route = find_route(exchange->http, url, method, allow);
    bool known = allow->length > 0;

    if (route && (route->flags & UM_ROUTE_PREFIX))
        known = percent_decode(url + strlen(route->path), &exchange->tail);
    if (um_buf_failed(allow) || um_buf_failed(&exchange->tail)) {
        umi_exchange_refuse(exchange, 503, "overloaded", "No memory for the request.");
    } else if (!known) {
        refuse_url(exchange, url);
    } else if (!route && !options) {
        um_exchange_header(exchange, "Allow", um_buf_view(allow));
        umi_exchange_refuse(exchange, 405, "method_not_allowed",
                            "This URL does not offer this method; see Allow.");
    } else {
        exchange->route = route;
        if (route && (route->flags & UM_ROUTE_GENERATES))
            exchange->http->generations++;
        return true;
    }
    return false;
}

bool umi_access_check(um_exchange *exchange, const char *url, const char *method)
{
    bool options = strcmp(method, "OPTIONS") == 0, passed;
    um_buf allow = {0};

    add_cors_headers(exchange);
    passed = headers_are_short(exchange) && framing_is_plain(exchange) &&
             target_found(exchange, url, method, options, &allow) &&
             caller_accepted(exchange, &allow, options) && gate_open(exchange) &&
             content_accepted(exchange);
    um_buf_deinit(&allow);
    return passed;
}
