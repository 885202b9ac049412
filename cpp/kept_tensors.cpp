#include "kept_tensors.h"

#include "check.h"
#include "target.h"

namespace dlk {
namespace {

void done(const char* what, int error) { check::device_status(what, error); }

}  // namespace

KeptTensors::KeptTensors(const UpdateCall& call, const std::vector<UpdateTensor>& tensors, bool sums)
    : call_(call), with_sums_(sums) {
  const Entry<UpdateArgs>& entry = target_for(Device::cuda).update->entry[call.index];
  states_ = entry.ins;
  sums_ = entry.outs;
  for (int k = 0; k < states_; ++k) scales_ = scales_ || call.kept[k] >= Kept::bytes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const UpdateTensor& t = tensors[i];
    const std::int64_t before = table_.units;
    const std::size_t from = chunk_.size();
    for (std::int64_t first = 0; first < t.n; first += kLongest) {
      chunk_.push_back(piece_of(t, call, states_, first, kLongest));
      tensor_.push_back(static_cast<int>(i));
      ahead_.push_back(first * bytes_of(call.dtype));
      table_.units += blocks_of(chunk_.back().n);
    }
    first_unit_.resize(chunk_.size(), before);
    units_.resize(chunk_.size(), table_.units - before);
    if (from < chunk_.size()) table_.blocks = blocks_of(t.first + t.n);
  }
  for (std::size_t k = kGradientsPerLaunch; k < chunk_.size(); ++k) {
    const Chunk& first = chunk_[k - kGradientsPerLaunch];
    crowded_ = crowded_ || (first.first + first.n - 1) / kBlock == chunk_[k].first / kBlock;
  }
  const bool master = call.precision >= Precision::master;
  grad_.resize(chunk_.size());
  table_.chunk = chunk_.data();
  table_.chunks = static_cast<std::int64_t>(chunk_.size());
  table_.stride = table_words(states_, sums_, scales_, master);
  table_.master_at = master ? 1 + states_ + (scales_ ? states_ : 0) : 0;
}

double* KeptTensors::sums(int j) const {
  return reinterpret_cast<double*>(static_cast<char*>(table_.memory) + (table_bytes(table_) + 7) / 8 * 8) +
         j * table_.units;
}

void KeptTensors::write(void* memory, const std::vector<int>& row, void* queue) {
  table_.memory = memory;
  std::int64_t units = 0;
  for (std::size_t k = 0; k < chunk_.size(); ++k) {
    chunk_[k].group = row[static_cast<std::size_t>(tensor_[k])];
    for (int j = 0; j < sums_; ++j) chunk_[k].sum[j] = sums(j) + units;
    units += blocks_of(chunk_[k].n);
  }
  TableArgs a{};
  a.table = table_;
  a.states = states_;
  a.sums = sums_;
  a.scales = scales_;
  a.first_unit = first_unit_.data();
  a.units = units_.data();
  a.queue = queue;
  done("table of tensors", target_for(Device::cuda).step->keep(a));
}

void KeptTensors::bring(const std::vector<void*>& grad) {
  any_ = false;
  for (std::size_t k = 0; k < chunk_.size(); ++k) {
    void* const g = grad[static_cast<std::size_t>(tensor_[k])];
    grad_[k] = g == nullptr ? nullptr : static_cast<char*>(g) + ahead_[k];
    any_ = any_ || g != nullptr;
  }
}

void KeptTensors::update(UpdateCall call, bool own_rows) const {
  const Entry<UpdateArgs>& entry = target_for(Device::cuda).update->entry[call.index];
  UpdateArgs a = arguments_of(call);
  a.table = &table_;
  a.grad = grad_.data();
  a.own_rows = own_rows;
  done(entry.name, entry.run[static_cast<int>(call.dtype)](a));
}

void KeptTensors::magnitude(double* partial, double* total, unsigned* arrived, const StepArgs* then,
                            void* queue) const {
  MagnitudeArgs m{};
  m.table = &table_;
  m.grad = grad_.data();
  m.blocks = table_.blocks;
  m.partial = partial;
  m.total = total;
  m.arrived = arrived;
  m.then = then;
  m.queue = queue;
  const Entry<MagnitudeArgs>& entry = magnitude_entry(target_for(Device::cuda), "squares");
  done(entry.name, entry.run[static_cast<int>(call_.dtype)](m));
}

void KeptTensors::squares(void* queue) const {
  const Entry<MagnitudeArgs>& entry = magnitude_entry(target_for(Device::cuda), "squares");
  for (const bool values : {true, false}) {
    MagnitudeArgs m{};
    m.table = &table_;
    m.grad = grad_.data();
    m.each = true;
    m.values = values;
    m.blocks = table_.units;
    m.partial = sums(values ? 0 : 1);
    m.queue = queue;
    const Dtype wide = call_.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    const Dtype dtype = values && table_.master_at > 0 ? wide : call_.dtype;
    done(entry.name, entry.run[static_cast<int>(dtype)](m));
  }
}

void KeptTensors::trust(int rule, const double* rows, double* own, void* queue) const {
  TrustArgs a{};
  a.rule = rule;
  for (int j = 0; j < kMaxSums; ++j) a.sums[j] = sums(j);
  a.rows = rows;
  a.own = own;
  a.table = &table_;
  a.grad = grad_.data();
  a.queue = queue;
  done("rates of tensors", target_for(Device::cuda).step->trust(a));
}

}  // namespace dlk
