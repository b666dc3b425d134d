import CheckpointIO
import Models
import TensorCore

/// Why a transform of an adapter or a checkpoint cannot be made.
package enum TransformError: WordedError, Equatable {
    /// The transform needs gates, and the adapter has none.
    case notGated(adapter: String, method: String, need: Wording)
    /// A ranking rule that no table entry has.
    case unknownRule(String, known: [String])
    /// How many modules to keep is neither a percentage nor a count that fits.
    case badKeepRule(String, expected: String)
    /// A selection file does not have its form.
    case malformedSelection(file: String, problem: String)
    /// A merge would leave every weight as it is.
    case nothingToMerge(adapter: String, reason: Wording)
    /// A merge is given one adapter twice.
    case repeatedAdapter(String, first: String)
    /// Something that an adapter holds has no place in the base, or more than one.
    case unplaced(adapter: String, NamingError)
    /// The output is the input, or lies where it would destroy it.
    case outputIsInput(path: String)
    /// A tensor to be changed cannot be: missing, of a type without arithmetic, or of another shape.
    case unusableTensor(base: String, tensor: String, reason: String)
    /// The base is sound, but its kind cannot be written yet.
    case unsupported(path: String, reason: Wording)
    /// A parameter's value is known, but cannot be here.
    case unsuitableValue(Parameter, String, reason: Wording)

    package var wording: Wording {
        switch self {
        case .notGated(let adapter, let method, let need):
            "\(adapter): is a dense adapter (\(method)), which has no gates; \(need)"
        case .unknownRule(let name, let known):
            "unknown ranking rule '\(name)'; known rules: \(known.joined(separator: ", "))"
        case .badKeepRule(let text, let expected): "\(.keep) '\(text)': expected \(expected)"
        case .malformedSelection(let file, let problem): "\(file): is not a module selection: \(problem)"
        case .nothingToMerge(let adapter, let reason): "\(adapter): merging would change nothing: \(reason)"
        case .repeatedAdapter(let path, let first):
            path == first
                ? "\(path): is given twice; give it once, with the sum of the weights"
                : "\(path): is the same adapter as \(first); give it once, with the sum of the weights"
        case .unplaced(let adapter, let error): "\(adapter): \(error)"
        case .outputIsInput(let path): "\(path): the output would replace the input; choose another name"
        case .unusableTensor(let base, let tensor, let reason): "\(base): tensor '\(tensor)' \(reason)"
        case .unsupported(let path, let reason): "\(path): \(reason)"
        case .unsuitableValue(let parameter, let value, let reason): "\(parameter, value): \(reason)"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .badKeepRule, .repeatedAdapter, .unknownRule: .usage
        case .notGated, .malformedSelection, .nothingToMerge, .unusableTensor: .badData
        case .unsupported, .unsuitableValue: .unsupported
        case .unplaced(_, let error): error.exitStatus
        case .outputIsInput: .cannotCreate
        }
    }
}

extension TransformError {
    /// The error of a sum that has no place in its type: it overflows, or a number that is none in the base reaches others.
    static func badSum(base: String, tensor: String, type: String, baseIsBad: Bool) -> TransformError {
        .unusableTensor(
            base: base, tensor: tensor,
            reason: baseIsBad
                ? "would have more numbers that are NaN or infinite than it has in the base: the update spreads them, or a "
                    + "sum is too large for \(type)"
                : "and its update have a sum that \(type) cannot hold")
    }
}

/// Throws `TransformError.outputIsInput` where making `output` would destroy one of `inputs`; see `wouldReplace`.
package func checkOutput(_ output: String, keeps inputs: [String]) throws(TransformError) {
    if inputs.contains(where: { wouldReplace(output, input: $0) }) { throw .outputIsInput(path: output) }
}
