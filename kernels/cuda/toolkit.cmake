# Finds a CUDA 13 toolkit with the headers of cuBLASLt and enables its language. Included from the
# top level, so that tests see it too. Where the parts lie is known to scripts/setup_cuda alone,
# which also brings what is missing.
#
# Sets UM_HAVE_CUDA; UM_CUBLAS_INCLUDE; UM_CUDA_TOOLS (folder of cuobjdump and nvdisasm);
# UM_CUDA_FLAGS for every .cu file of ours.
if(NOT UM_CUDA MATCHES "^(ON|OFF|AUTO)$")
    message(FATAL_ERROR "UM_CUDA is '${UM_CUDA}'; known are ON, OFF, AUTO")
endif()
set(UM_HAVE_CUDA OFF)
if(UM_CUDA STREQUAL "OFF")
    return()
endif()

execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/setup_cuda paths
    OUTPUT_VARIABLE lines OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" lines "${lines}")
foreach(line IN LISTS lines)
    if(line MATCHES "^(UM_[A-Z_]+)=(.*)$")
        set(${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
    endif()
endforeach()
find_program(UM_CUDA_HOST_COMPILER g++ DOC "Compiler of the host half of .cu files")
if(NOT UM_NVCC OR NOT UM_CUBLAS_INCLUDE OR NOT UM_CUDA_HOST_COMPILER)
    if(UM_CUDA STREQUAL "ON")
        message(FATAL_ERROR "UM_CUDA is ON, but nvcc is '${UM_NVCC}', the folder of cublasLt.h "
            "'${UM_CUBLAS_INCLUDE}', g++ '${UM_CUDA_HOST_COMPILER}'; scripts/setup_cuda brings them")
    endif()
    message(STATUS "No CUDA plugin: toolkit incomplete (scripts/setup_cuda brings it)")
    return()
endif()

# Machine code for what the numbers of docs/gpu-model.md are about; PTX for every later device, and
# for the interpreter of the tests. A sanitized build runs only the latter.
set(UM_CUDA_ARCHITECTURES "80-real;90-real;100-real;80-virtual")
if(UM_SANITIZE)
    set(UM_CUDA_ARCHITECTURES "80-virtual")
endif()
set(CMAKE_CUDA_ARCHITECTURES ${UM_CUDA_ARCHITECTURES} CACHE STRING "Targets of nvcc")
set(CMAKE_CUDA_COMPILER ${UM_NVCC} CACHE FILEPATH "nvcc")
set(CMAKE_CUDA_HOST_COMPILER ${UM_CUDA_HOST_COMPILER} CACHE FILEPATH "Host compiler of nvcc")
set(CMAKE_CUDA_RUNTIME_LIBRARY None) # named by what links it: NVIDIA's, or the tests' own
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
# C++ by the sibling of the C compiler: a program and its plugin must share one sanitizer runtime.
get_filename_component(um_compiler_dir ${CMAKE_C_COMPILER} DIRECTORY)
get_filename_component(um_compiler_name ${CMAKE_C_COMPILER} NAME)
string(REPLACE clang clang++ um_compiler_name ${um_compiler_name})
string(REPLACE gcc g++ um_compiler_name ${um_compiler_name})
if(EXISTS ${um_compiler_dir}/${um_compiler_name} AND um_compiler_name MATCHES "\\+\\+")
    set(CMAKE_CXX_COMPILER ${um_compiler_dir}/${um_compiler_name} CACHE FILEPATH "C++ compiler")
endif()
enable_language(CXX)
enable_language(CUDA)
# The module of CMake 3.25.1 (Debian 12) would mark a library of older toolkits as deprecated without
# asking whether it is there, for projects that require 3.25.
set(minimum ${CMAKE_MINIMUM_REQUIRED_VERSION})
set(CMAKE_MINIMUM_REQUIRED_VERSION 3.24)
find_package(CUDAToolkit 13 REQUIRED)
set(CMAKE_MINIMUM_REQUIRED_VERSION ${minimum})
set(UM_HAVE_CUDA ON)

# --no-compress and -lineinfo: the interpreter reads the PTX and names source lines. -fmad=false: as
# for C, which products fuse is written in the code. Spilled registers and local memory are errors.
set(UM_CUDA_FLAGS -lineinfo --no-compress -fmad=false
    -Xptxas=-warn-spills,-warn-lmem-usage,-Werror
    -Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-Wdouble-promotion
    -Xcompiler=-ffp-contract=off,-fno-math-errno)
if(UM_WERROR)
    list(APPEND UM_CUDA_FLAGS -Werror=all-warnings -Xcompiler=-Werror)
endif()
