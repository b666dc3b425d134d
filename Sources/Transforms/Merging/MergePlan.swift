import Adapters
import CheckpointIO
import Models
import TensorCore

/// An adapter, and how much of it a merge adds.
package struct WeightedAdapter: Sendable {
    /// The adapter.
    package var adapter: AdapterDirectory
    /// The factor on its updates; finite and not 0.
    package let weight: Double

    /// An adapter with a weight, which must be finite and not 0.
    package init(_ adapter: AdapterDirectory, weight: Double = 1) {
        precondition(weight.isFinite && weight != 0, "a weight that adds something")
        self.adapter = adapter
        self.weight = weight
    }
}

/// How the modules of adapters are to be merged into a base, decided and checked before anything is written.
package struct MergePlan: Sendable {
    /// Why a module's weight stays as the base has it.
    package enum Omission: Sendable, Equatable {
        /// The gate never opened over the tokens of the statistics.
        case neverFires
        /// AdaLoRA took all of its rank.
        case rankZero
    }

    /// One module of one adapter.
    package struct Module: Sendable, Equatable {
        /// The module's path.
        package let module: String
        /// The base's tensor that the update is added to.
        package let source: String
        /// The tensor that holds the sum; not `source` only for an output head that was the embedding so far.
        package let target: String
        /// The factor on the update: c of the gate, 1 for a dense adapter; the adapter's weight comes on top.
        package let factor: Double
        /// sqrt(sum |S M - factor M|^2 / sum |W0 x|^2) over the tokens of the statistics, times the adapter's weight; 0
        /// for a dense adapter.
        package let expectedError: Double
        /// Why nothing is merged, where nothing is.
        package let omission: Omission?
        /// Whether the layer's bias changes too.
        package var changesBias = false
        /// Whether the adapter has the whole weight (`modules_to_save`), which takes the place of the base's.
        package var isWhole = false

        /// Whether the gate never opened over the tokens of the statistics.
        package var neverFires: Bool { omission == .neverFires }
    }

    /// One adapter.
    package struct Part: Sendable {
        /// Where it was read from.
        package let name: String
        /// Its method's name, such as `ts-lora`.
        package let method: String
        /// The factor on its updates.
        package let weight: Double
        /// What is done with its gates; nil for a dense adapter.
        package let gates: MergeGates?
        /// The set of tokens that factors and errors are of; nil for a dense adapter.
        package let source: String?
        /// Every module of the adapter, in the base's order, and behind them the layers that were trained whole.
        package let modules: [Module]

        /// The modules whose weights change.
        package var merged: [Module] { modules.filter { $0.omission == nil } }
    }

    /// A tensor of the output that is not the base's, with everything that changes it.
    struct Tensor: Sendable, Equatable {
        /// What becomes of it.
        enum Role {
            /// Updates are added to a weight.
            case weight
            /// Updates are added to a bias.
            case bias
            /// An adapter's weight takes its place.
            case replaced
            /// It is an output head, so far the embedding, with the embedding's old weights: the embedding has changed.
            case copied
        }

        /// One adapter's module.
        struct Contribution: Sendable, Equatable {
            /// The adapter's place in `parts`.
            let part: Int
            let module: Module
        }

        /// The base's tensor.
        let source: String
        /// The tensor of the output.
        let target: String
        let role: Role
        /// In the order of the adapters; several only where they are added, none for a copy.
        var contributions: [Contribution]
    }

    /// The adapters, in the order in which they were given.
    package let parts: [Part]
    /// Every tensor that changes, once.
    let tensors: [Tensor]

    /// The head that becomes a tensor of its own; nil where it stays what it is.
    var untiedHead: Tensor? { tensors.first { $0.source != $0.target } }

    /// Decides how `adapters`, whose modules are checked against the base, are merged.
    ///
    /// - Parameter wholeModules: the layers that each adapter holds whole.
    ///
    /// Throws `TransformError.unsupported` for an update that no weight or no sum of weights can hold,
    /// `AdapterError.missingStatistics` for a gated adapter without statistics, `TransformError.nothingToMerge` for an
    /// adapter of which no module ever fires or every update is zero.
    init(
        _ adapters: [WeightedAdapter], wholeModules: [[TensorSpecification]], base: ModelCheckpoint, gates: MergeGates
    ) throws {
        parts = try zip(adapters, wholeModules).map {
            try Self.part($0, $1, base: base, gates: gates, isAlone: adapters.count == 1)
        }
        var tensors: [Tensor] = []
        var places: [String: Int] = [:]
        for (index, part) in parts.enumerated() {
            for module in part.merged {
                let contribution = Tensor.Contribution(part: index, module: module)
                func add(_ source: String, _ target: String, _ role: Tensor.Role) throws {
                    if let place = places[target] {
                        guard role != .replaced, tensors[place].role != .replaced else {
                            throw Self.refusal(
                                part.name,
                                "'\(module.module)' is saved whole, here or in another adapter, and one weight "
                                    + "cannot be that and something else")
                        }
                        tensors[place].contributions.append(contribution)
                    } else {
                        places[target] = tensors.count
                        tensors.append(
                            Tensor(source: source, target: target, role: role, contributions: [contribution]))
                    }
                }
                try add(module.source, module.target, module.isWhole ? .replaced : .weight)
                let bias = CheckpointNames.bias(of: module.module)
                if module.changesBias { try add(bias, bias, .bias) }
            }
        }
        if let head = base.specifications.outputHead, let embedding = head.tiedTo, places[embedding] != nil,
            places[head.name] == nil
        {
            tensors.append(Tensor(source: embedding, target: head.name, role: .copied, contributions: []))
        }
        self.tensors = tensors
    }

    private static func part(
        _ weighted: WeightedAdapter, _ wholeModules: [TensorSpecification], base: ModelCheckpoint, gates: MergeGates,
        isAlone: Bool
    ) throws -> Part {
        let adapter = weighted.adapter
        var modules: [Module] = []
        var isMoving = false
        for module in adapter.modules {
            let target = CheckpointNames.weight(of: module)
            let source = base.specifications[target]?.tiedTo ?? target
            let change = adapter.weightChange(of: module, inputSize: base.shape(of: source)?.last ?? 0)
            try check(change, of: module, weighted, base: base, isAlone: isAlone)
            let replacement = try change.replacingGate(of: module, in: adapter, by: gates).replacement
            let omission: Omission? = change.rank == 0 ? .rankZero : replacement.neverFires ? .neverFires : nil
            if omission == nil, Float(replacement.factor * weighted.weight) != 0, change.isMoving { isMoving = true }
            modules.append(
                Module(
                    module: module, source: source, target: target, factor: replacement.factor,
                    expectedError: replacement.expectedError * abs(weighted.weight), omission: omission,
                    changesBias: omission == nil && change.bias != nil))
        }
        if weighted.weight != 1, let whole = wholeModules.first {
            throw refusal(
                adapter.displayName,
                "it holds '\(whole.module)' whole, which takes the place of the base's, so no weight can be put on it")
        }
        for whole in wholeModules {
            isMoving = true
            modules.append(
                Module(
                    module: whole.module, source: whole.tiedTo ?? whole.name, target: whole.name, factor: 1,
                    expectedError: 0, omission: nil, isWhole: true))
        }
        let isGated = adapter.configuration.isGated
        let part = Part(
            name: adapter.displayName, method: adapter.configuration.methodName, weight: weighted.weight,
            gates: isGated ? gates : nil, source: isGated ? adapter.statistics?.source : nil, modules: modules)
        guard isMoving else {
            let reason =
                modules.contains { $0.omission == nil }
                ? "every update is zero; has the adapter been trained?"
                : modules.contains(where: \.neverFires)
                    ? "no module's gate ever opened over the tokens of \(part.source ?? "its statistics")"
                    : "the rank of every module is 0"
            throw TransformError.nothingToMerge(adapter: part.name, reason: reason)
        }
        return part
    }

    private static func refusal(_ adapter: String, _ reason: String) -> TransformError {
        .unsupported(path: adapter, reason: "cannot be merged: " + reason)
    }

    /// Throws `TransformError.unsupported` for a change that this base, or this company, cannot take up.
    private static func check(
        _ change: WeightChange, of module: String, _ weighted: WeightedAdapter, base: ModelCheckpoint, isAlone: Bool
    ) throws {
        let adapter = weighted.adapter
        func refusal(_ reason: String) -> TransformError { Self.refusal(adapter.displayName, reason) }
        switch change {
        case .none(let reason): throw refusal(reason)
        case .rescaled:
            let method = adapter.configuration.methodName
            if !isAlone {
                throw refusal(
                    "\(method) rescales the rows of the weight, so it does not add up with another adapter's update; "
                        + "merge it alone")
            }
            if weighted.weight != 1 {
                throw refusal("\(method) rescales the rows of the weight, so it has no part that a weight could take")
            }
        case .scaled:
            if !isAlone {
                throw refusal(
                    "\(adapter.configuration.methodName) scales the weight, so it does not add up with another adapter's "
                        + "update; merge it alone")
            }
        case .added(let low):
            let bias = CheckpointNames.bias(of: module)
            if low.bias != nil, !base.contains(bias) {
                throw refusal(
                    "it has a bias for \(module) (lora_bias), and the base has no tensor '\(bias)' that could take it")
            }
        }
    }
}

extension WeightChange {
    fileprivate var lowRank: LowRankChange? {
        switch self {
        case .added(let low), .rescaled(let low, _, _): low
        case .scaled, .none: nil
        }
    }

    fileprivate var rank: Int? { lowRank?.rank }

    fileprivate var bias: [Float]? { lowRank?.bias }

    /// Whether it is more than zeros. Whether new row lengths are those of the base shows only in the merge.
    fileprivate var isMoving: Bool {
        if case .scaled(let change) = self { return change.factors.contains { $0 != 1 } }
        guard case .added(let low) = self else { return true }
        let hasProduct = low.scale != 0 && low.folded.a.contains { $0 != 0 } && low.b.contains { $0 != 0 }
        return hasProduct || low.bias?.contains { $0 != 0 } ?? false
    }
}
