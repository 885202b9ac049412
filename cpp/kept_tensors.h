// The tensors of an optimizer on a GPU, kept there between steps: a step brings their gradients alone.
#pragma once
#include <memory>
#include <vector>

#include "plan.h"

namespace dlk {

class KeptTensors {
 public:
  // Cuts the tensors into chunks. The call says how they are stored. sums: there is room for two of each unit.
  KeptTensors(const UpdateCall& call, const std::vector<UpdateTensor>& tensors, bool sums);

  // Memory of the device that the table takes, and the sums.
  std::int64_t bytes() const { return table_bytes(table_) + 8 + (with_sums_ ? 8 * kMaxSums * table_.units : 0); }
  std::int64_t units() const { return table_.units; }
  std::int64_t blocks() const { return table_.blocks; }
  std::int64_t chunks() const { return table_.chunks; }

  // Queues the making of the table. row: of numbers, of each tensor.
  void write(void* memory, const std::vector<int>& row, void* queue);
  // The gradient of each tensor, null where there is none.
  void bring(const std::vector<void*>& grad);
  bool any() const { return any_; }
  // Are there more neighbors within one block than a launch can be given the gradients of?
  bool crowded() const { return crowded_; }

  // Queued: the rule of `call`, or another one that keeps the same state. rows: own_rows has one for each chunk.
  void update(UpdateCall call, bool own_rows) const;
  // The norm of the gradients, and then the start of a step: MagnitudeArgs.
  void magnitude(double* partial, double* total, unsigned* arrived, const StepArgs* then, void* queue) const;
  // The same for each tensor: the sums of squares of each unit, of the tensor itself and of its gradient, to where a rule leaves its sums.
  void squares(void* queue) const;
  // A row for each chunk in `own`, from those sums: TrustArgs.
  void trust(int rule, const double* rows, double* own, void* queue) const;

 private:
  double* sums(int j) const;

  UpdateCall call_;
  std::vector<Chunk> chunk_;
  std::vector<int> tensor_;  // of each chunk
  std::vector<std::int64_t> ahead_, first_unit_, units_;
  std::vector<void*> grad_;
  TensorTable table_{};
  int states_ = 0, sums_ = 0;
  bool scales_ = false, any_ = false, with_sums_ = false, crowded_ = false;
};

}  // namespace dlk
