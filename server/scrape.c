/* Prometheus text, line by line. Pages are small and read once a second: nothing is indexed. */
#include "server/scrape.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/utf8.h"

/* Of a histogram, more than any of ours has: what a page can make us do is bounded. */
#define BUCKETS_MAX 64
#define PREFIX "unmask_"

/* One line "unmask_NAME{labels} value". */
typedef struct series {
    const char *labels; /* behind the brace; [label_bytes], may be empty */
    size_t label_bytes;
    double value;
} series;

/* Is the line that begins at `line` a series of `name` with `suffix`? */
static bool read_series(const char *line, const char *name, const char *suffix, series *out)
{
    size_t prefix = strlen(PREFIX), length = strlen(name), tail = strlen(suffix);
    const char *at = line + prefix + length + tail, *end;
    size_t rest;

    if (strncmp(line, PREFIX, prefix) != 0 || strncmp(line + prefix, name, length) != 0 ||
        strncmp(line + prefix + length, suffix, tail) != 0 || (*at != '{' && *at != ' '))
        return false;
    *out = (series){.labels = at};
    if (*at == '{') {
        rest = strcspn(at, "\n"); /* no further: a page of such lines would be searched for each */
        end = memmem(at, rest, "} ", 2);
        if (!end)
            return false;
        out->labels = at + 1;
        out->label_bytes = (size_t)(end - at - 1);
        at = end + 1;
    }
    out->value = strtod(at, NULL);
    return true;
}

/* The next line, or NULL. */
static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');

    return end && end[1] ? end + 1 : NULL;
}

static bool has_label(const series *s, const char *label)
{
    return !label || memmem(s->labels, s->label_bytes, label, strlen(label)) != NULL;
}

double um_scrape_sum(const char *page, const char *name, const char *label)
{
    double sum = 0;
    series s;

    for (const char *line = page; line; line = next_line(line))
        if (read_series(line, name, "", &s) && has_label(&s, label))
            sum += s.value;
    return sum;
}

/* The value of a label of one series; NULL where it has none. */
static const char *find_label(const series *s, const char *label, size_t *length)
{
    char start[64];
    const char *at, *end;

    snprintf(start, sizeof(start), "%s=\"", label);
    at = memmem(s->labels, s->label_bytes, start, strlen(start));
    if (!at)
        return NULL;
    at += strlen(start);
    end = memchr(at, '"', s->label_bytes - (size_t)(at - s->labels));
    *length = end ? (size_t)(end - at) : 0;
    return at;
}

const char *um_scrape_next(const char *page, const char *name, const char *label, char *out,
                           size_t size, double *count)
{
    const char *value, *next;
    size_t length;
    series s;

    out[0] = '\0';
    for (const char *line = page; line; line = next_line(line)) {
        if (!read_series(line, name, "", &s))
            continue;
        value = find_label(&s, label, &length);
        if (value)
            snprintf(out, size, "%.*s", (int)(length < size ? length : size), value);
        um_utf8_make_printable(out);
        *count = s.value;
        next = next_line(line);
        return next ? next : line + strlen(line);
    }
    return NULL;
}

/* The bucket of `page` with this bound; 0 where it has none. */
static double bucket_count(const char *page, const char *name, double bound)
{
    const char *value;
    size_t length;
    series s;

    for (const char *line = page; line; line = next_line(line)) {
        if (!read_series(line, name, "_bucket", &s))
            continue;
        value = find_label(&s, "le", &length);
        if (value && strtod(value, NULL) == bound) /* "+Inf" is read as infinity */
            return s.value;
    }
    return 0;
}

double um_scrape_quantile(const char *before, const char *page, const char *name, double quantile)
{
    double total =
        bucket_count(page, name, (double)INFINITY) - bucket_count(before, name, (double)INFINITY);
    double rank = quantile * total, below = 0, lower = 0;
    int32_t buckets = 0;
    const char *value;
    size_t length;
    series s;

    if (!(total > 0))
        return (double)NAN;
    for (const char *line = page; line; line = next_line(line)) {
        double bound, count;

        if (!read_series(line, name, "_bucket", &s) || !(value = find_label(&s, "le", &length)))
            continue;
        bound = strtod(value, NULL);
        count = s.value - bucket_count(before, name, bound);
        if (isinf(bound) || ++buckets > BUCKETS_MAX)
            break;
        if (count >= rank && count > below)
            return lower + (bound - lower) * (rank - below) / (count - below);
        below = count;
        lower = bound;
    }
    return lower;
}
