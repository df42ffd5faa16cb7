// Answers requests through TensorFlow's C++ loader, with XLA disabled as TensorFlow Serving has it.
//
//   load_saved_model (<version directory> <requests> <answers>)...
//
// Requests and answers are TFRecords of `NameAttrList`: a signature's name and tensors by name.

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/compiler/jit/flags.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/lib/io/record_writer.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/public/session.h"

namespace {

using tensorflow::NameAttrList;
using tensorflow::SavedModelBundleLite;
using tensorflow::Tensor;

absl::Status Answer(const SavedModelBundleLite& model, const NameAttrList& request,
                    NameAttrList* answer) {
  const auto& signatures = model.GetSignatures();
  const auto found = signatures.find(request.name());
  if (found == signatures.end()) return absl::NotFoundError("no signature " + request.name());
  const auto& signature = found->second;

  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const auto& [name, value] : request.attr()) {
    const auto input = signature.inputs().find(name);
    Tensor tensor;
    if (input == signature.inputs().end() || !tensor.FromProto(value.tensor())) {
      return absl::InvalidArgumentError("not a tensor of the signature: " + name);
    }
    inputs.emplace_back(input->second.name(), tensor);
  }
  std::vector<std::string> names, fetches;
  for (const auto& [name, output] : signature.outputs()) {
    names.push_back(name);
    fetches.push_back(output.name());
  }
  std::vector<Tensor> outputs;
  const absl::Status status = model.GetSession()->Run(inputs, fetches, {}, &outputs);
  if (!status.ok()) return status;

  answer->set_name(request.name());
  for (size_t i = 0; i < names.size(); ++i) {
    outputs[i].AsProtoTensorContent((*answer->mutable_attr())[names[i]].mutable_tensor());
  }
  return absl::OkStatus();
}

absl::Status AnswerAll(const std::string& version, const std::string& requests,
                       const std::string& answers) {
  SavedModelBundleLite model;
  absl::Status status =
      LoadSavedModel({}, {}, version, {"serve"}, &model);
  if (!status.ok()) return status;

  std::unique_ptr<tensorflow::RandomAccessFile> from;
  std::unique_ptr<tensorflow::WritableFile> to;
  status = tensorflow::Env::Default()->NewRandomAccessFile(requests, &from);
  if (!status.ok()) return status;
  status = tensorflow::Env::Default()->NewWritableFile(answers, &to);
  if (!status.ok()) return status;
  tensorflow::io::SequentialRecordReader reader(from.get());
  tensorflow::io::RecordWriter writer(to.get());
  for (tensorflow::tstring record; (status = reader.ReadRecord(&record)).ok();) {
    NameAttrList request, answer;
    if (!request.ParseFromArray(record.data(), static_cast<int>(record.size()))) {
      return absl::DataLossError("no NameAttrList in " + requests);
    }
    status = Answer(model, request, &answer);
    if (!status.ok()) return status;
    status = writer.WriteRecord(answer.SerializeAsString());
    if (!status.ok()) return status;
  }
  // The end of the file.
  if (!absl::IsOutOfRange(status)) return status;
  return writer.Close();
}

}  // namespace

int main(int count, char** arguments) {
  tensorflow::DisableXlaCompilation();
  for (int i = 1; i + 2 < count; i += 3) {
    const absl::Status status = AnswerAll(arguments[i], arguments[i + 1], arguments[i + 2]);
    if (!status.ok()) {
      std::cerr << arguments[i] << ": " << status << std::endl;
      return 1;
    }
  }
}
