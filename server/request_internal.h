/*
 * Shared by the request_*_json.c files only: readers of the fields that are more than a scalar. A
 * reader gets the value (never null) and the name to use in errors.
 */
#ifndef UM_SERVER_REQUEST_INTERNAL_H
#define UM_SERVER_REQUEST_INTERNAL_H

#include "server/request_json.h"

um_status umi_read_messages(um_api_request *request, const um_api_rules *rules, um_json *value,
                            const char *label, um_err *err);
um_status umi_read_prompt(um_api_request *request, const um_api_rules *rules, um_json *value,
                          const char *label, um_err *err);

/* A field's name made on the spot: umi_labelled("%s[%zu]", parent, index).text */
typedef struct umi_label {
    char text[UM_ERR_FIELD_BYTES];
} umi_label;
umi_label umi_labelled(const char *format, ...) UM_PRINTF(1, 2);

/* The value is this very string. Strings of a body may hold U+0000, names do not. */
bool umi_is_word(const um_json *value, const char *word);

/* "`label` is a string; expected an integer" */
um_status umi_wrong_type(const um_json *value, const char *label, const char *expected,
                         um_err *err);

#endif
