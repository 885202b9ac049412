# What a C or C++ project needs to build on the installed library: the header, find_package(dlkernels) and pkg-config, all
# relocatable, because a wheel is unpacked anywhere. Every destination is relative to the Python package (or to the prefix).
include(CMakePackageConfigHelpers)

install(TARGETS dlkernels EXPORT dlkernelsTargets LIBRARY DESTINATION lib COMPONENT python INCLUDES DESTINATION include)
install(DIRECTORY cpp/include/ DESTINATION include COMPONENT devel)

set(_cmake_dir lib/cmake/dlkernels)
install(EXPORT dlkernelsTargets NAMESPACE dlkernels:: DESTINATION ${_cmake_dir} COMPONENT devel)
configure_package_config_file(cmake/dlkernelsConfig.cmake.in "${PROJECT_BINARY_DIR}/dlkernelsConfig.cmake"
  INSTALL_DESTINATION ${_cmake_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/dlkernelsConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/dlkernelsConfig.cmake" "${PROJECT_BINARY_DIR}/dlkernelsConfigVersion.cmake"
  DESTINATION ${_cmake_dir} COMPONENT devel)

configure_file(cmake/dlkernels.pc.in "${PROJECT_BINARY_DIR}/dlkernels.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/dlkernels.pc" DESTINATION lib/pkgconfig COMPONENT devel)
