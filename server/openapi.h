/*
 * GET /openapi.json: an OpenAPI 3.1 document. Paths, answers and shapes are written by hand in
 * openapi.json, which is embedded; the schemas of the bodies are made from the tables that read them
 * (request_fields.c), so that document and code cannot part.
 *
 * Any thread; no state.
 */
#ifndef UM_SERVER_OPENAPI_H
#define UM_SERVER_OPENAPI_H

#include "server/request_json.h"

/* Appends the document. Of the rules only max_choices counts. UM_E_OVERLOADED. */
um_status um_openapi_write(const um_api_rules *rules, const char *version, um_buf *out,
                           um_err *err);

/* openapi.json; made by CMake. */
extern const unsigned char umi_openapi_text[];
extern const size_t umi_openapi_length;

#endif
