// The targets as an ordered list of values, best first; the first one that this machine supports is used.
// DLKERNELS_TARGET=avx2 in the environment, or set_target("avx2"), forces one and refuses what cannot run here.
#pragma once
#include <string>
#include <vector>

#include "../kernels/abi.h"
#include "tensor.h"

namespace dlk {

std::vector<std::string> built_targets();
const char* build_flags();  // of the kernels
std::vector<std::string> supported_targets();

const Target& cpu_target();
void set_cpu_target(const std::string& name);

// The CUDA target arrives from a module of its own, when there is one.
void register_cuda_target(const Target* target);
const Target& target_for(Device device);

// Index of an op in the tables of every target; -1 if there is none.
int find_map(const std::string& name, const std::string& pass);
int find_rows(const std::string& name, const std::string& pass);
int find_reduce(const std::string& name, const std::string& pass);
int find_update(const std::string& name);
// Of a kernel that the library itself needs: throws if it is missing.
int required(int index);

}  // namespace dlk
