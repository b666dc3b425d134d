import CheckpointIO
import TensorCore
import Transforms

/// The type of files that `name` means.
///
/// Throws `WorkflowError.unsupported` for a type that other programs write, and `badValue` for a name that is none.
func namedType(_ name: String, for parameter: Parameter) throws(WorkflowError) -> QuantizationMix {
    if let mix = QuantizationMix(named: name) { return mix }
    let known = QuantizationMix.all.map { $0.name.lowercased() }.joined(separator: ", ")
    if TypeNames.isUnwritten(name) {
        throw .unsupported("\(parameter, name): tspeft reads such tensors, but writes none; it writes \(known)")
    }
    let remedy = TypeNames.meansKept(name) ? " (leave it out and types stay)" : ""
    throw .badValue(parameter, expected: "one of \(known)\(remedy)", found: "'\(name)'")
}
