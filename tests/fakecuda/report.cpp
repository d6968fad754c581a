/* Faults: one line, then the end of the program or a test's hook. See report.h. */
#include "tests/fakecuda/report.h"

#include <cstdarg>
#include <cstdio>
#include <unistd.h>
#include <utility>

namespace fakecuda
{

static ReportHook &installed_hook()
{
    static ReportHook *const hook = new ReportHook; /* lives on: exit handlers may report */
    return *hook;
}

std::string Report::line() const
{
    std::string line = "fakecuda: " + kind + ": " + text;

    return place.empty() ? line : line + "; " + place;
}

void set_report_hook(ReportHook hook)
{
    installed_hook() = std::move(hook);
}

void report(const Report &fault)
{
    if (installed_hook()) {
        installed_hook()(fault);
        return;
    }
    fflush(stdout);
    fprintf(stderr, "%s\n", fault.line().c_str());
    fflush(stderr);
    _exit(FAULT_EXIT); /* exit handlers would run kernels and leak checks on a broken state */
}

void report(const char *kind, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report(Report{kind, text, ""});
}

} // namespace fakecuda
