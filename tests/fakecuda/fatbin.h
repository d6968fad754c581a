/*
 * The fat binary that nvcc puts into an object: a header, then one entry per target. Only PTX is of
 * use here.
 */
#ifndef FAKECUDA_FATBIN_H
#define FAKECUDA_FATBIN_H

#include <string>
#include <string_view>

namespace fakecuda
{

/* The PTX of the object that `wrapper` (the argument of __cudaRegisterFatBinary) describes: the
 * newest target that this device runs. Empty with `fault` set when there is none to be read. The
 * text lives as long as the object. */
std::string_view find_ptx(const void *wrapper, std::string *fault);

constexpr int DEVICE_ARCH = 90; /* compute capability 9.0 */

} // namespace fakecuda

#endif
