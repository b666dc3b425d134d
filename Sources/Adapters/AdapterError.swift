import CheckpointIO
import TensorCore

/// Why an adapter's configuration or directory cannot be used.
package enum AdapterError: ReportableError, Equatable {
    /// A method's name on the command line that no table entry has.
    case unknownMethod(String, known: [String])
    /// A `peft_type` of a file that this program does not know.
    case unknownAdapterType(file: String, found: String, known: [String])
    /// A field of a configuration that would change the result and is not supported with that value.
    case unsupportedField(file: String, field: String, value: String, remedy: String?)
    /// A field, or the whole file, does not have the form it needs.
    case malformed(file: String, what: String, expected: String, found: String)
    /// A regular expression does not compile.
    case badExpression(String, reason: String)
    /// A setting that cannot be, such as rank 0.
    case badSetting(name: String, expected: String, found: String)
    /// A target (or all of them together) selects no module.
    case matchesNothing(target: String, nearest: [String])
    /// Every module that a target selects is excluded.
    case matchesExcluded(target: String, excluded: String)
    /// A module list names a module that the targets do not match or the base does not have.
    case unknownModule(String, source: String, nearest: [String])
    /// A module list names a module of the base that the targets, exclusions or layers leave out.
    case untargetedSelection(String, source: String, targets: String)
    /// A file of the directory is missing.
    case missingFile(String, remedy: String?)
    /// A tensor that the configuration calls for is missing.
    case missingTensor(file: String, tensor: String)
    /// A tensor that all modules share is missing, because its writer meant to draw it again.
    case missingSharedTensor(file: String, tensor: String)
    /// A tensor that does not belong here, and why.
    case unknownTensor(file: String, tensor: String, reason: String)
    /// A tensor that means something which this program cannot do, and what.
    case unsupportedTensor(file: String, tensor: String, reason: String)
    /// The method cannot be at a module, and why.
    case unsupportedModule(String, source: String, reason: String)
    /// An adapter has tensors of a module that its targets do not match.
    case untargetedModule(String, adapter: String, targets: String)
    /// An adapter's targets match modules of the base for which it has no tensors.
    case modulesWithoutTensors(adapter: String, count: Int, first: String, found: Int)
    /// An adapter lacks tensors of the base that a field of its configuration calls for.
    case missingParts(adapter: String, field: String, count: Int, first: String)
    /// A row of an embedding is trained that the base does not have: it has `count` of them.
    case noSuchToken(file: String, tensor: String, token: Int, count: Int)
    /// A tensor's shape disagrees with the configuration, its partner or the base.
    case wrongShape(file: String, tensor: String, expected: [Int], found: [Int])
    /// A tensor does not fit the base that has a module of its name.
    case otherModel(file: String, tensor: String, expected: [Int], found: [Int])
    /// The same where what is expected are axes whose extents only the base tells.
    case wrongAxes(file: String, tensor: String, expected: String, found: [Int])
    /// A tensor holds NaN or an infinity.
    case notFinite(file: String, tensor: String, index: Int)
    /// The adapter was made for another base model.
    case wrongBase(adapter: String, base: String, difference: String)
    /// The adapter is of a model with a head for another task than the base, a language model, has.
    case otherTask(adapter: String, task: AdapterTask)
    /// Statistics are needed and the directory has none (or not for this module).
    case missingStatistics(adapter: String, module: String?, remedy: String)

    package var description: String {
        switch self {
        case .unknownMethod(let name, let known):
            "unknown adapter method '\(name)'; known methods: \(known.joined(separator: ", "))"
        case .unknownAdapterType(let file, let found, let known):
            "\(file): peft_type '\(found)' is not supported; known types: \(known.joined(separator: ", "))"
        case .unsupportedField(let file, let field, let value, let remedy):
            "\(file): '\(field)' is \(value), which is not supported" + Self.tail(remedy)
        case .malformed(let file, let what, let expected, let found):
            "\(file): \(what) should be \(expected), found \(found)"
        case .badExpression(let pattern, let reason):
            "'\(pattern)' is not a valid regular expression: \(reason)"
        case .badSetting(let name, let expected, let found):
            "\(name) must be \(expected), not \(found)"
        case .matchesNothing(let target, let nearest):
            "target '\(target)' matches no linear module of the base" + Self.nearestTail(nearest)
        case .matchesExcluded(let target, let excluded):
            "target '\(target)': every module that it matches is excluded (\(excluded)); leave one of the two out"
        case .unknownModule(let module, let source, let nearest):
            "\(source): module '\(module)' is not among the modules to adapt" + Self.nearestTail(nearest)
        case .untargetedSelection(let module, let source, let targets):
            "\(source): module '\(module)' is not among the modules to adapt: the targets (\(targets)) do not match it, or "
                + "it is excluded or in another layer"
        case .missingFile(let path, let remedy):
            "\(path): no such file" + Self.tail(remedy)
        case .missingTensor(let file, let tensor):
            "\(file): tensor '\(tensor)' is missing"
        case .missingSharedTensor(let file, let tensor):
            "\(file): tensor '\(tensor)' is missing, and only PyTorch's random stream could draw it again; save the "
                + "adapter with peft's save_projection=True"
        case .unknownTensor(let file, let tensor, let reason):
            "\(file): tensor '\(tensor)' \(reason)"
        case .unsupportedTensor(let file, let tensor, let reason):
            "\(file): tensor '\(tensor)' \(reason)"
        case .unsupportedModule(let module, let source, let reason): "\(source): module '\(module)': \(reason)"
        case .untargetedModule(let module, let adapter, let targets):
            "\(adapter): it has tensors of module '\(module)', which its target_modules (\(targets)) do not match; peft "
                + "would drop them in silence"
        case .modulesWithoutTensors(let adapter, let count, let first, let found):
            "\(adapter): its target_modules match \(count) modules of this base that it has no tensors of (it has them of "
                + "\(found) others), first '\(first)': it belongs to another base, or a part of it is missing; if neither "
                + "is so, list its modules in target_modules"
        case .missingParts(let adapter, let field, let count, let first):
            "\(adapter): its '\(field)' calls for '\(first)'"
                + (count > 1 ? " and \(count - 1) more" : "")
                + " of this base, which it does not have: a part of it is missing, or it belongs to another base"
        case .noSuchToken(let file, let tensor, let token, let count):
            "\(file): tensor '\(tensor)' has a row for token \(token), and the base's embedding has \(count) tokens, 0 to "
                + "\(count - 1)"
        case .wrongShape(let file, let tensor, let expected, let found):
            "\(file): tensor '\(tensor)' has shape \(found), expected \(expected)"
        case .otherModel(let file, let tensor, let expected, let found):
            "\(file): tensor '\(tensor)' has shape \(found), and the base needs \(expected): the adapter is probably of "
                + "another model"
        case .wrongAxes(let file, let tensor, let expected, let found):
            "\(file): tensor '\(tensor)' has shape \(found), expected \(expected)"
        case .notFinite(let file, let tensor, let index):
            "\(file): tensor '\(tensor)' holds a NaN or infinity at element \(index)"
        case .wrongBase(let adapter, let base, let difference):
            "\(adapter): this adapter belongs to another base than \(base): \(difference)"
        case .otherTask(let adapter, let task):
            "\(adapter): it is an adapter for \(task.words) (\(task.evidence)), and the base runs as a causal language "
                + "model, which has no such head; 'merge' puts it into a checkpoint for that task"
        case .missingStatistics(let adapter, let module, let remedy):
            "\(adapter): no token statistics" + (module.map { " for module '\($0)'" } ?? "") + "; \(remedy)"
        }
    }

    package var exitStatus: ExitStatus {
        switch self {
        case .unknownMethod, .badExpression, .badSetting: .usage
        case .unknownAdapterType, .otherTask, .unsupportedField, .missingSharedTensor, .unsupportedTensor,
            .unsupportedModule:
            .unsupported
        case .missingFile: .missingInput
        case .untargetedSelection, .matchesNothing, .matchesExcluded, .unknownModule, .malformed, .missingTensor,
            .unknownTensor,
            .wrongShape, .otherModel, .wrongAxes, .notFinite,
            .wrongBase, .missingStatistics, .untargetedModule, .modulesWithoutTensors, .missingParts, .noSuchToken:
            .badData
        }
    }

    private static func tail(_ remedy: String?) -> String { remedy.map { "; \($0)" } ?? "" }

    private static func nearestTail(_ nearest: [String]) -> String {
        nearest.isEmpty ? "" : "; nearest: \(nearest.joined(separator: ", "))"
    }
}
