# stf_infer._cuda: kernels for every device that is supported, and the static runtime, so that the module can be imported
# where there is no driver.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80)  # until the compiler's version is known
  set(STF_CHOOSES_ARCHITECTURES ON)
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "nvcc is ${CMAKE_CUDA_COMPILER_VERSION}; 12.0 or later is wanted")
endif()
if(STF_CHOOSES_ARCHITECTURES)
  set(STF_ARCHITECTURES 75 80 86 87 89 90)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND STF_ARCHITECTURES 100 120)
  endif()
  list(GET STF_ARCHITECTURES -1 newest)
  list(TRANSFORM STF_ARCHITECTURES APPEND -real)
  # Devices that come later translate the newest for themselves.
  set(CMAKE_CUDA_ARCHITECTURES ${STF_ARCHITECTURES} ${newest}-virtual)
endif()

set(CMAKE_CUDA_STANDARD 17)
pybind11_add_module(_cuda
  csrc/bind/cuda_module.cpp
  csrc/bind/cuda_metrics.cpp
  csrc/bind/cuda_starfm.cpp
  csrc/device/device_cuda.cu
  csrc/fill/fill_cuda.cu
  csrc/gather/gather_cuda.cu
  csrc/blend/blend_cuda.cu
  csrc/metrics/usable_cuda.cu
  csrc/metrics/pairs_cuda.cu
  csrc/metrics/angles_cuda.cu
  csrc/metrics/errors_cuda.cu
  csrc/metrics/windows_cuda.cu
  csrc/noise/noise_cuda.cu
  csrc/starfm/starfm_cuda.cu)
target_include_directories(_cuda PRIVATE csrc/include csrc)
set_target_properties(_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
# -fmad=false: the bits are those of the CPU, see STF_OPTIONS.
target_compile_options(_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false --expt-relaxed-constexpr --threads=2>
  $<$<COMPILE_LANGUAGE:CXX>:${STF_OPTIONS}>)
install(TARGETS _cuda LIBRARY DESTINATION stf_infer)
