/*
 * Faults of the fake device: one line on stderr, then the program ends with FAULT_EXIT. A test may
 * install a hook instead; then the faulty call returns failure and the program goes on.
 *
 *     fakecuda: shared race: thread 1 writes offset 8208 that thread 8 read with no barrier
 *     between; kernel attend<64>, block (0,0,3), thread (1,0,0), at attn.cu:64: st.shared.f32 ...
 */
#ifndef FAKECUDA_REPORT_H
#define FAKECUDA_REPORT_H

#include <functional>
#include <string>

namespace fakecuda
{

constexpr int FAULT_EXIT = 97;

struct Report {
    std::string kind; /* "shared race", "global bounds", "unknown instruction", ... */
    std::string text; /* what, value, bound */
    std::string
        place; /* kernel, block, thread, file:line: instruction; empty for host-side faults */

    std::string line() const;
};

using ReportHook = std::function<void(const Report &)>;

/* nullptr: print and end. */
void set_report_hook(ReportHook hook);

/* Prints and ends the program, or calls the hook and returns. Not through C++ exceptions, so the
 * runtime may call it below C code. */
void report(const Report &fault);
void report(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

} // namespace fakecuda

#endif
