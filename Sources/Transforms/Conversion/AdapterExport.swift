import Adapters
import CheckpointIO
import Models
import TensorCore

/// What an adapter can be exported to.
package enum ExportFormat: String, Sendable, CaseIterable {
    /// A directory for peft 0.21.
    case peft
    /// A directory for mlx-lm.
    case mlx
    /// A GGUF file for llama.cpp.
    case ggufLoRA = "gguf-lora"
    /// The adapter with its gates, and a Python module that puts it into a transformers model.
    case torch

    /// The program that reads it.
    package var program: String {
        switch self {
        case .peft: "peft"
        case .mlx: "mlx-lm"
        case .ggufLoRA: "llama.cpp"
        case .torch: "PyTorch"
        }
    }

    /// Whether an export needs the base: mlx-lm counts layers from the last one, and GGUF permutes rows within heads.
    package var needsBase: Bool { self == .mlx || self == .ggufLoRA }
}

/// An adapter on its way to another program; checked before anything is written.
package struct AdapterExport: Sendable {
    /// One module's part.
    package struct Module: Sendable, Equatable {
        /// The module's path.
        package let module: String
        /// What stands for its gate; nil where the gate is kept.
        package let replacement: GateReplacement?
        /// Why it is not written, where it is not.
        package let omission: String?
    }

    /// The adapter, its modules in the base's order where the base is known.
    let adapter: AdapterDirectory
    /// The base, where one was given.
    let base: ModelCheckpoint?
    /// Every module of the adapter.
    package let modules: [Module]
    /// What is written.
    package let format: ExportFormat
    /// What becomes of the gates; nil where there are none or they are kept.
    package let gates: MergeGates?
    /// Whether peft gets a LoRA whatever the method.
    let isFolded: Bool

    /// The base's mapped files, which must not change before an export that is made from them has its name.
    var inputs: [MappedFile] { base?.checkpoint.mappings ?? [] }

    /// The modules that are written.
    var written: [Module] { modules.filter { $0.omission == nil } }

    /// Checks that `adapter` can be exported.
    ///
    /// - Parameters:
    ///   - gates: what becomes of the gates; must be given for a gated adapter unless the format keeps them.
    ///   - base: the base, against which the adapter is checked; must be given where the format needs it.
    ///   - asLoRA: whether peft is to get a LoRA, into which the method's own form is folded.
    ///
    /// Throws `TransformError.unsupported` (exit 69) for what the format cannot hold,
    /// `AdapterError.missingStatistics` for gates without statistics, and what checking against the base throws.
    package init(
        _ adapter: AdapterDirectory, to format: ExportFormat, gates: MergeGates? = nil, base: ModelCheckpoint? = nil,
        asLoRA: Bool = false
    ) throws {
        precondition(base != nil || !format.needsBase && !asLoRA, "the base is needed")
        let adapter =
            try base.map { base in
                try base.tellingOfPackedWeights {
                    try adapter.validated(against: base.modules(for: adapter.configuration))
                }
            } ?? adapter
        let isGated = adapter.configuration.isGated
        func refusal(_ reason: Wording) -> TransformError {
            .unsupported(path: adapter.displayName, reason: "cannot be exported to \(format.rawValue): \(reason)")
        }
        if format != .torch, isGated, gates == nil {
            throw refusal(
                "\(format.program) has no place for the gates of \(adapter.configuration.methodName); give \(.gates, "scale") "
                    + "(each update times its gate's least-squares factor) or \(.gates, "drop") (all gates open), or export "
                    + "to torch, which keeps them")
        }
        if let parameter = adapter.packedParameters.first, format != .peft || asLoRA {
            throw refusal(
                "it has no form for the experts of '\(parameter.module).\(parameter.name)', which lie packed; export to "
                    + "peft, or merge the adapter")
        }
        self.adapter = adapter
        self.base = base
        self.format = format
        self.gates = isGated && format != .torch ? gates : nil
        isFolded = format == .mlx || format == .ggufLoRA || format == .peft && asLoRA
        if format == .mlx || format == .ggufLoRA, !adapter.savedModules.isEmpty {
            let names = adapter.configuration.modulesToSave.joined(separator: ", ")
            throw refusal("it cannot hold the layers that were trained whole (\(names)); merge the adapter instead")
        }
        /// Where peft's form of the method is not ours at a module with a bias, which only the base tells.
        func checkDense(_ module: String) throws {
            let linear = base?.modules(for: adapter.configuration).first { $0.path.hasSameBytes(as: module) }
            guard let reason = Self.denseObstacle(module, linear, adapter) else { return }
            let doubt =
                linear == nil ? "only the base, which is not given, tells whether this layer has a bias; if so, " : ""
            throw refusal(
                "\(module): \(doubt)\(reason); merge the adapter, or export it to torch, which keeps it as it is")
        }
        var modules: [Module] = []
        for module in adapter.modules {
            if format == .torch {
                modules.append(Module(module: module, replacement: nil, omission: nil))
                continue
            }
            let change = adapter.weightChange(of: module, inputSize: Self.inputSize(of: module, adapter, base))
            let replacement = try change.replacingGate(of: module, in: adapter, by: gates ?? .drop).replacement
            if let reason = Self.obstacle(change, replacement, format, isFolded: isFolded) {
                throw refusal("\(module): \(reason)")
            }
            if format == .peft { try checkDense(module) }
            let isEmpty = isFolded && Self.rank(of: change) == 0
            modules.append(
                Module(
                    module: module, replacement: replacement,
                    omission: replacement.neverFires ? "the gate never opens" : isEmpty ? "the rank is 0" : nil))
        }
        self.modules = modules
        if written.isEmpty { throw refusal("no module's gate ever opens and no update is left") }
    }

    /// Why peft cannot have the method at a module, of which nil is one with a bias; nil where it can.
    private static func denseObstacle(_ path: String, _ linear: LinearModule?, _ adapter: AdapterDirectory) -> String? {
        var dense = adapter.configuration
        dense.isGated = false
        let module = linear ?? LinearModule(path: path, outputSize: 0, inputSize: 0, hasBias: true)
        return dense.kind.method.obstacle(at: module, dense)
    }

    /// Whether only the base tells if an adapter can be exported to a format that does not need it otherwise.
    package static func asksForBase(_ adapter: AdapterDirectory, to format: ExportFormat) -> Bool {
        format == .peft && adapter.modules.contains { denseObstacle($0, nil, adapter) != nil }
    }

    /// Why the change of a module has no form in the format; nil where it has one.
    private static func obstacle(
        _ change: WeightChange, _ replacement: GateReplacement, _ format: ExportFormat, isFolded: Bool
    ) -> Wording? {
        switch change {
        case .none(let reason): return "\(reason); export to torch instead"
        case .rescaled:
            if format == .ggufLoRA { return "llama.cpp knows no DoRA; merge the adapter instead" }
            if format == .peft, isFolded { return "DoRA is no LoRA; leave out \(.asLoRA)" }
            if replacement.neverFires || replacement.factor == 1 { return nil }
            return "DoRA's update times the gate's factor \(replacement.factor) is no DoRA any more, as part of it is "
                + "(m/n - 1) W0 x; give \(.gates, "drop"), merge the adapter or export to torch"
        case .scaled:
            if format == .peft, !isFolded { return nil }
            return "it scales the weight, which no low-rank update does; "
                + (format == .peft ? "leave out \(.asLoRA)" : "merge the adapter instead")
        case .added(let low):
            guard low.bias != nil, format == .mlx || format == .ggufLoRA else { return nil }
            return "\(format.program) has no place for the bias of its B (lora_bias); merge the adapter instead"
        }
    }

    private static func rank(of change: WeightChange) -> Int? {
        switch change {
        case .added(let low), .rescaled(let low, _, _): low.rank
        case .scaled, .none: nil
        }
    }

    /// Columns of the module's weight: the base's, or else those of the tensor that has them. Shared tensors, which are
    /// as wide as the widest module, tell enough where nothing is folded.
    private static func inputSize(
        of module: String, _ adapter: AdapterDirectory, _ base: ModelCheckpoint?
    ) -> Int {
        if let shape = base?.shape(of: CheckpointNames.weight(of: module)) { return shape[1] }
        for role in adapter.configuration.tensorRoles(of: module) {
            guard let axis = role.axes.firstIndex(of: .inputSize) else { continue }
            if let tensor = adapter.tensor(module, role.suffix) { return tensor.shape[axis] }
        }
        let shared = adapter.configuration.kind.method.sharedRoles.compactMap { role in
            role.axes.firstIndex(of: .inputSize).map { adapter.shared(role.suffix).shape[$0] }
        }
        return shared.min() ?? 0
    }

    /// Writes the export, a file for GGUF and a directory for the others; it appears complete or not at all.
    ///
    /// Throws `CheckpointError`.
    package func write(to output: OutputTarget) throws -> ExportReport {
        var notes: [String] = []
        switch format {
        case .peft: notes = try writePEFT(to: output)
        case .mlx: notes = try writeMLX(to: output)
        case .ggufLoRA: notes = try writeGGUF(to: output)
        case .torch: notes = try writeTorch(to: output)
        }
        return ExportReport(
            format: format, method: adapter.configuration.methodName, modules: modules, gates: gates,
            source: gates == nil ? nil : adapter.statistics?.source, notes: notes)
    }
}

/// What an export wrote, and what was lost on the way.
package struct ExportReport: Sendable {
    /// What was written.
    package let format: ExportFormat
    /// The adapter's method, such as `ts-lora`.
    package let method: String
    /// Every module of the adapter.
    package let modules: [AdapterExport.Module]
    /// What became of the gates; nil where there are none or they are kept.
    package let gates: MergeGates?
    /// The set of tokens that factors, sparsities and errors are of; nil where there are none.
    package let source: String?
    /// What was folded, padded or left out, a sentence each.
    package let notes: [String]

    /// Modules that were written.
    package var writtenCount: Int { modules.count { $0.omission == nil } }
}

// MARK: Low-rank form

/// A module's update as B A alone, with what the format needs before its values are at hand.
struct FoldedModule: Sendable {
    /// The module's path.
    let module: String
    /// Columns of the weight.
    let inputSize: Int
    /// Rows of the weight.
    let outputSize: Int
    /// Columns of B, at least 1.
    let rank: Int
    /// What B A is multiplied by, the gate's factor included.
    let scale: Float
}

extension AdapterExport {
    /// The written modules in their low-rank form; the values come one module at a time from `change(of:)`.
    var foldedModules: [FoldedModule] {
        written.map { entry in
            let inputSize = Self.inputSize(of: entry.module, adapter, base)
            let (low, _) = change(of: entry)
            return FoldedModule(
                module: entry.module, inputSize: inputSize, outputSize: low.b.count / low.rank, rank: low.rank,
                scale: low.scale)
        }
    }

    /// scale B A of a written module with its gate's factor in scale and bias, and DoRA's magnitudes.
    func change(of entry: Module) -> (change: LowRankChange, magnitude: [Float]?) {
        let open = adapter.weightChange(
            of: entry.module, inputSize: Self.inputSize(of: entry.module, adapter, base))
        let change = try? open.replacingGate(of: entry.module, in: adapter, by: gates ?? .drop).change
        switch change {
        case .added(let low): return (low.folded, nil)
        case .rescaled(let low, let magnitude, _): return (low, magnitude)
        case .scaled, .some(.none), nil: preconditionFailure("'\(entry.module)' was checked")
        }
    }

    /// What to say of a method that has become a LoRA.
    var foldingNote: String? {
        let kind = adapter.configuration.kind
        return isFolded && kind.peftType != LoRASettings.peftType ? "\(kind) folded exactly into LoRA" : nil
    }
}

extension AdapterDirectory {
    /// What the adapter, every gate open, makes of a module's weight, which has `inputSize` columns.
    func weightChange(of module: String, inputSize: Int) -> WeightChange {
        let change = configuration.kind.method.weightChange(of: module, inputSize: inputSize, in: self)
        return extras.attentionOutputs.contains(module) ? change.multiplied(by: 2) : change
    }
}
