// A step on a GPU: everything is queued, nothing is waited for. What depends on earlier steps (how many there were, and what the rules carry
// on) lies on the device, where a step that finds an infinite gradient leaves it alone; so a CUDA graph may hold a step.
#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>

#include "../check.h"
#include "../device.h"
#include "../step.h"
#include "../target.h"
#include "engine.h"

namespace dlk {
namespace {

class DeviceStep {
 public:
  // members: which parameters of the optimizer are each engine's. record: StepRecord of each slot, numbers: kRowNumbers of each, control:
  // StepControl, all beside the parameters. trust: the step rule whose tensors have rates of their own; -1: none. second: the update rule that
  // applies them, where the engines' rule has left the sums for it; else the sums are those of squares of parameters and gradients. directed:
  // the engines' rule gets directions instead of gradients, and a row for each tensor, from `apply`.
  DeviceStep(std::vector<Engine*> engines, std::vector<std::vector<std::size_t>> members, const py::object& record,
             const py::object& numbers, const py::object& control, int trust, const std::string& second, bool directed)
      : engines_(std::move(engines)),
        members_(std::move(members)),
        trust_(trust),
        second_(find_update(second)),
        directed_(directed) {
    record_ = static_cast<StepRecord*>(keep(record));
    numbers_ = static_cast<double*>(keep(numbers));
    control_ = static_cast<StepControl*>(keep(control));
    tables_.resize(engines_.size());
  }

  // Takes and checks the gradients; returns a byte for each parameter, 1 where there is one.
  py::bytes read(const py::list& grads, bool zero_grads) {
    if (engines_.size() == 1) {
      engines_[0]->read(grads, zero_grads);
      return engines_[0]->there();
    }
    std::vector<py::list> each;
    for (const std::vector<std::size_t>& members : members_) {
      each.emplace_back();
      for (const std::size_t i : members) each.back().append(grads[i]);
    }
    Engine::read_all(engines_, each, zero_grads);
    std::string pattern(grads.size(), '\0');
    for (std::size_t e = 0; e < engines_.size(); ++e) {
      for (std::size_t k = 0; k < members_[e].size(); ++k) pattern[members_[e][k]] = engines_[e]->there()[k];
    }
    return pattern;
  }

  // Which slot of numbers is each parameter's.
  void assign(const std::vector<int>& slot) {
    slots_.clear();
    for (const std::vector<std::size_t>& members : members_) {
      slots_.emplace_back();
      for (const std::size_t i : members)
        slots_.back().push_back(directed_ ? static_cast<int>(slots_.back().size()) : slot[i]);
    }
    for (Table& k : tables_) k.current = false;
  }

  // The start of a step. rows: (rule, slot, maximize, options, learning rate: a number or a scalar of the device). scale: likewise.
  void begin(const std::vector<std::tuple<int, int, bool, std::vector<double>, py::object>>& rows, bool checks,
             const py::object& scale, double max_norm, const py::object& report) {
    const char* const op = engines_[0]->name().c_str();
    const TensorView& now = engines_[0]->now();
    const OnDevice on_device(op, now);
    const Scalars until_the_launch(scalars_);
    std::vector<StepRow> row;
    for (const auto& [rule, slot, maximize, options, rate] : rows) {
      StepRow r{};
      r.option[0] = scalar(rate, "lr", r.rate, r.rate_dtype);
      std::memcpy(r.option + 1, options.data(), options.size() * sizeof(double));
      r.rule = rule;
      r.slot = slot;
      r.maximize = maximize;
      row.push_back(r);
    }
    StepArgs a{};
    a.row = row.data();
    a.rows = static_cast<std::int64_t>(row.size());
    a.record = record_;
    a.numbers = numbers_;
    a.control = control_;
    a.checks = checks;
    a.scale = scalar(scale, "grad_scale", a.scale_at, a.scale_dtype);
    a.max_norm = max_norm;
    a.queue = now.queue;
    if (!report.is_none()) {
      Array out;
      read_array(out, report.ptr(), op, "report");
      a.report = static_cast<double*>(out.view.data);
    }
    bring(op, now);
    std::vector<const KeptTensors*> parts;
    for (const Table& t : tables_) parts.push_back(t.tensors.get());
    begin_on_device(op, parts, a, squares_, partial_, arrived_);
  }

  // The rest of it.
  void finish(bool zero_grads, std::uint64_t seed) {
    const TensorView& now = engines_[0]->now();
    const OnDevice on_device(engines_[0]->name().c_str(), now);
    for (std::size_t e = 0; e < engines_.size(); ++e) {
      UpdateCall call = call_of(e, now);
      call.zero_grads = zero_grads;
      call.seed = seed;
      if (trust_ < 0) {
        tables_[e].tensors->update(call, false);
      } else {
        take_own_rates(*tables_[e].tensors, tables_[e].own, call);
      }
      engines_[e]->forget();
    }
  }

  // The rest of it by directions, None where there is none, with a row of numbers for each member of each engine.
  void apply(const std::vector<py::list>& directions, const std::vector<py::object>& rows) {
    const TensorView& now = engines_[0]->now();
    const char* const op = engines_[0]->name().c_str();
    const OnDevice on_device(op, now);
    for (std::size_t e = 0; e < engines_.size(); ++e) engines_[e]->read(directions[e], false);
    bring(op, now);
    for (std::size_t e = 0; e < engines_.size(); ++e) {
      Array numbers;
      read_array(numbers, rows[e].ptr(), op, "rows");
      UpdateCall call = call_of(e, now);
      call.params = static_cast<const double*>(numbers.view.data);
      tables_[e].tensors->update(call, false);
      engines_[e]->forget();
    }
  }

 private:
  struct Table {
    std::unique_ptr<KeptTensors> tensors;
    Result memory;
    double* own = nullptr;  // rows of numbers of each chunk
    int moves = 0;          // of the engine, when this was made
    bool current = false;
  };

  // Tells the tables of the gradients that the engines have read; they are made where there is none, or it is no longer true.
  void bring(const char* op, const TensorView& now) {
    std::int64_t blocks = 0;
    for (std::size_t e = 0; e < engines_.size(); ++e) {
      Table& k = tables_[e];
      if (k.tensors == nullptr || k.moves != engines_[e]->moves()) {
        // There may be no memory: then nothing has changed.
        auto made = std::make_unique<KeptTensors>(engines_[e]->call(), engines_[e]->tensors(), trust_ >= 0);
        const std::int64_t table = (made->bytes() + 7) / 8;
        Result memory;
        k.own = room(memory, table + (trust_ < 0 ? 0 : kRowNumbers * made->chunks()), op, now) + table;
        k.memory = std::move(memory);
        k.tensors = std::move(made);
        k.moves = engines_[e]->moves();
        k.current = false;
      }
      if (!k.current) k.tensors->write(k.memory.array.view.data, slots_[e], now.queue);
      k.current = true;
      k.tensors->bring(engines_[e]->gradients());
      blocks = std::max(blocks, k.tensors->blocks());
    }
    if (squares_ != nullptr) return;
    const auto engines = static_cast<std::int64_t>(engines_.size());
    squares_ = room(scratch_, engines + 1 + magnitude_room(blocks), op, now);
    arrived_ = reinterpret_cast<unsigned*>(squares_ + engines);
    partial_ = squares_ + engines + 1;
  }

  UpdateCall call_of(std::size_t e, const TensorView& now) const {
    UpdateCall call = engines_[e]->call();
    call.queue = now.queue;
    call.params = numbers_;
    call.control = control_;
    return call;
  }

  // Numbers on the device, all 0.
  double* room(Result& r, std::int64_t numbers, const char* op, const TensorView& now) {
    new_array(r, engines_[0]->first_parameter(), Element::f64, 1, &numbers, op);
    clear(op, now, r.array.view.data, 8 * numbers);
    return static_cast<double*>(r.array.view.data);
  }

  void take_own_rates(const KeptTensors& tensors, double* own, UpdateCall call) const {
    const bool zero_grads = call.zero_grads;
    if (second_ < 0) {
      tensors.squares(call.queue);
    } else {
      call.zero_grads = false;
      tensors.update(call, false);
      call.index = second_;
    }
    tensors.trust(trust_, numbers_, own, call.queue);
    call.params = own;
    call.zero_grads = zero_grads;
    tensors.update(call, true);
  }

  void* keep(const py::object& array) {
    Array a;
    read_array(a, array.ptr(), engines_[0]->name().c_str(), "memory of the step");
    held_.push_back(array);
    return a.view.data;
  }

  // A number, or where it lies.
  double scalar(const py::object& value, const char* what, const void*& at, Dtype& dtype) {
    if (PyFloat_Check(value.ptr()) != 0) return PyFloat_AS_DOUBLE(value.ptr());
    const char* const op = engines_[0]->name().c_str();
    scalars_.emplace_back();
    Array& a = scalars_.back();
    read_array(a, value.ptr(), op, what);
    check::same_stream(op, what, a.view, "params[0]", engines_[0]->now());
    if ((a.view.element != Element::f32 && a.view.element != Element::f64) || size_of(a.view) != 1)
      check::fail_value(std::string(op) + ": " + what + " on the device must be one float32 or float64 number.");
    at = a.view.data;
    dtype = dtype_of(a.view.element);
    return 0;
  }

  std::vector<Engine*> engines_;
  std::vector<std::vector<std::size_t>> members_;
  std::vector<std::vector<int>> slots_;  // of the members
  // What was lent for a step: given back when the kernel that reads it is queued.
  struct Scalars {
    std::deque<Array>& all;
    explicit Scalars(std::deque<Array>& a) : all(a) {}
    ~Scalars() { all.clear(); }
    Scalars(const Scalars&) = delete;
    Scalars& operator=(const Scalars&) = delete;
  };

  std::deque<Array> scalars_;
  std::vector<py::object> held_;
  std::vector<Table> tables_;  // of each engine
  Result scratch_;
  StepRecord* record_;
  double* numbers_;
  StepControl* control_;
  double *squares_ = nullptr, *partial_ = nullptr;
  unsigned* arrived_ = nullptr;
  int trust_, second_;
  bool directed_;
};

}  // namespace

void init_device_step(py::module_& m) {
  py::class_<DeviceStep>(m, "DeviceStep")
      .def(py::init<std::vector<Engine*>, std::vector<std::vector<std::size_t>>, const py::object&, const py::object&,
                    const py::object&, int, const std::string&, bool>(),
           py::keep_alive<1, 2>())
      .def("read", &DeviceStep::read)
      .def("assign", &DeviceStep::assign)
      .def("begin", &DeviceStep::begin)
      .def("finish", &DeviceStep::finish)
      .def("apply", &DeviceStep::apply);
  m.attr("row_numbers") = kRowNumbers;
  m.def("trusted_rows", &trusted_rows);
  m.def("step_rule", [](const std::string& name) {
    const int rule = find_step_rule(name);
    if (rule < 0) throw py::value_error("no step rule " + name);
    return rule;
  });
  // (numbers, carried) of a step, counted from 1; options: the learning rate first.
  m.def("step_numbers",
        [](const std::string& name, const std::vector<double>& options, double step, std::vector<double> carried) {
          const int rule = find_step_rule(name);
          if (rule < 0 || options.size() != static_cast<std::size_t>(step_rule(rule).options) ||
              carried.size() != static_cast<std::size_t>(step_rule(rule).carried)) {
            throw py::value_error("step_numbers: " + name);
          }
          std::vector<double> numbers = step_numbers(rule, options, step, carried);
          return std::make_pair(std::move(numbers), std::move(carried));
        });
}

}  // namespace dlk
