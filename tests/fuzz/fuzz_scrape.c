/* A page of /metrics of any bytes: the first half is the page before, the second the page. What comes
 * out is printable and a number. */
#include <math.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/utf8.h"
#include "server/scrape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_series(const char *page)
{
    char text[16], printable[16];
    double value = 0;
    const char *at = page;

    while ((at = um_scrape_next(at, "requests", "reason", text, sizeof(text), &value))) {
        UM_ASSERT(strlen(text) < sizeof(text));
        memcpy(printable, text, sizeof(text));
        um_utf8_make_printable(printable);
        UM_ASSERT(strcmp(text, printable) == 0);
        UM_ASSERT(at > page);
    }
    um_scrape_sum(page, "requests", "reason=\"a\"");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = um_mem_zalloc(size + 2), *page;

    if (!text)
        return 0;
    memcpy(text, data, size / 2);
    page = text + size / 2 + 1;
    memcpy(page, data + size / 2, size - size / 2);
    read_series(page);
    um_scrape_quantile(text, page, "seconds", 0.5);
    um_scrape_quantile(text, page, "seconds", 0.99);
    um_mem_free(text);
    return 0;
}
