import CheckpointIO
import Models
import TensorCore

/// What an adapter in a GGUF file holds: llama.cpp's form, `<weight>.lora_a` [rank, inputSize] and `.lora_b`
/// [outputSize, rank] beside each other.
package struct GGUFAdapterFacts: Sendable, Equatable {
    /// One adapted weight.
    package struct Module: Sendable, Equatable {
        /// The module's path, by Hugging Face's names where it has one.
        package let name: String
        /// Columns of B.
        package let rank: Int
        /// Columns of A and rows of B.
        package let inputSize: Int
        package let outputSize: Int
    }

    /// `adapter.type`, such as `lora`.
    package let method: String
    /// `general.architecture` of the base.
    package let architecture: String?
    /// `adapter.lora.alpha`; B A counts alpha / rank times.
    package let alpha: Double?
    /// The adapted weights, in the order of their A.
    package let modules: [Module]
    /// Tensors that belong to no pair of A and B.
    package let otherTensors: [String]
    /// What the file says of the base, such as its name; nil where it says nothing.
    package let base: String?

    private static let suffixes = (a: ".lora_a", b: ".lora_b")

    /// The facts of a GGUF file that says it is an adapter; nil for any other.
    init?(_ checkpoint: Checkpoint) {
        guard let metadata = checkpoint.metadata, metadata["general.type"]?.stringValue == "adapter" else { return nil }
        method = metadata["adapter.type"]?.stringValue ?? "unknown"
        architecture = metadata["general.architecture"]?.stringValue
        alpha = metadata["adapter.lora.alpha"]?.doubleValue
        let known = architecture.flatMap { ArchitectureTable.named(gguf: $0) }
        let key = "general.base_model.0."
        base = ["repo_url", "name", "url"].lazy.compactMap { metadata[key + $0]?.stringValue }.first
        var modules: [Module] = []
        var paired: NameSet = []
        for tensor in checkpoint.tensors where tensor.name.hasSuffix(Self.suffixes.a) {
            let weight = String(tensor.name.dropLast(Self.suffixes.a.count))
            guard let other = checkpoint.record(weight + Self.suffixes.b), tensor.shape.count == 2,
                other.shape.count == 2, let rank = other.shape.last, tensor.shape[0] == rank
            else { continue }
            paired.formUnion([tensor.name, other.name])
            let suffix = "." + (weight.split(separator: ".").last.map(String.init) ?? "")
            let name = known?.modulePath(ofGGUFWeight: weight) ?? weight
            modules.append(
                Module(
                    name: name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name, rank: rank,
                    inputSize: tensor.shape[1], outputSize: other.shape[0]))
        }
        self.modules = modules
        otherTensors = checkpoint.tensors.map(\.name).filter { !paired.contains($0) }
    }
}
