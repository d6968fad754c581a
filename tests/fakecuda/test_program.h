/* tests/test.h for C++: its C headers come first, then its own functions with C linkage. */
#ifndef FAKECUDA_TEST_PROGRAM_H
#define FAKECUDA_TEST_PROGRAM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "tests/test.h"
}

#endif
