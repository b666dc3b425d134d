import Adapters
import CheckpointIO
import Models
import TensorCore
import Threads

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

    /// A tensor of the base, and what holds its sum with the update; of a tensor that the base lacks the output's alone.
    package struct TensorPair: Sendable, Hashable {
        /// The base's tensor.
        package let source: String?
        /// The output's.
        package let target: String
    }

    /// One module of one adapter.
    package struct Module: Sendable, Equatable {
        /// The module's path, as the adapter has it.
        package let module: String
        /// The tensors that change, by the base's names and by the output's; other ones only for an output head that was
        /// the embedding so far.
        package fileprivate(set) var tensors: [TensorPair]
        /// The factor on the update: c of the gate, 1 for a dense adapter; the adapter's weight comes on top.
        package let factor: Double
        /// sqrt(sum |S M - factor M|^2 / sum |W0 x|^2) over the tokens of the statistics, times the adapter's weight; 0
        /// for a dense adapter.
        package let expectedError: Double
        /// Why nothing is merged, where nothing is.
        package let omission: Omission?
        /// The layer's bias, where it changes too.
        package var bias: String?
        /// Whether the adapter has the whole weight (`modules_to_save`), which takes the place of the base's.
        package var isWhole = false

        /// The first of the tensors that change: the only one but for packed experts.
        package var target: String { tensors[0].target }
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
        package private(set) var modules: [Module]

        /// The modules whose weights change.
        package var merged: [Module] { modules.filter { $0.omission == nil } }

        /// The same where values that were saved whole go to other tensors than those that they were placed at.
        fileprivate func moving(_ moved: NameTable<String>) -> Part {
            guard !moved.isEmpty else { return self }
            var part = self
            for place in modules.indices where modules[place].isWhole {
                guard let target = moved[modules[place].target] else { continue }
                part.modules[place].tensors = [TensorPair(source: modules[place].tensors[0].source, target: target)]
            }
            return part
        }
    }

    /// A tensor of the output that is not the base's, with everything that changes it.
    struct Tensor {
        /// What becomes of it.
        enum Role {
            /// Updates are added to a weight.
            case weight
            /// Updates are added to a bias.
            case bias
            /// An adapter's values take its place, or that of some rows.
            case replaced
            /// It is an output head, so far the embedding, with the embedding's old weights: the embedding has changed.
            case copied
        }

        /// One adapter's update, or a part of it.
        struct Contribution {
            /// The adapter's place in `parts`.
            let part: Int
            /// What changes.
            let subject: AdapterPlacement.Update.Subject
            /// The expert whose matrix it is; 0 but for packed parameters.
            let expert: Int
            /// Where it lies.
            let place: MatrixPlace
        }

        /// The base's tensor; nil where it has none.
        let source: String?
        /// The tensor of the output.
        let target: String
        /// What becomes of it.
        var role: Role
        /// In the order of the adapters; several only where they are added, none for a copy.
        var contributions: [Contribution] = []
        /// What takes the base's place before any update.
        var value: AdapterPlacement.Value?
        /// What takes the place of rows before any update.
        var rows: AdapterPlacement.Rows?
        /// Whole numbers that take the base's place.
        var integers: AdapterPlacement.Integers?
    }

    /// The adapters, in the order in which they were given.
    package let parts: [Part]
    /// Every tensor that changes, once.
    let tensors: [Tensor]
    private let places: NameTable<Int>

    /// What becomes of the output's tensor `target`; nil for a copy of the base's.
    func tensor(_ target: String) -> Tensor? { places[target].map { tensors[$0] } }

    /// The tensors that the base lacks: a head that becomes a tensor of its own, and new ones.
    func added(to base: ModelCheckpoint) -> [Tensor] { tensors.filter { base.record(of: $0.target) == nil } }

    /// Whether a head that was the embedding so far becomes a tensor of its own.
    var untiesHead: Bool { untiesStoredHead || tensors.contains { $0.source != nil && $0.source != $0.target } }
    private let untiesStoredHead: Bool

    /// Decides how `adapters` are merged.
    ///
    /// - Parameters:
    ///   - placements: where everything of each adapter goes.
    ///   - names: the base's.
    ///
    /// Throws `TransformError.unsupported` for an update that no weight or no sum of weights can hold,
    /// `AdapterError.missingStatistics` for a gated adapter without statistics, `TransformError.nothingToMerge` for an
    /// adapter of which no module ever fires or every update is zero.
    init(
        _ adapters: [WeightedAdapter], placements: [AdapterPlacement], base: ModelCheckpoint, names: BaseNames,
        gates: MergeGates
    ) throws {
        let parts = try zip(adapters, placements).map {
            try Self.part($0, $1, base: base, gates: gates, isAlone: adapters.count == 1)
        }
        var sums = TensorSums()
        for (index, (part, placement)) in zip(parts, placements).enumerated() {
            for value in placement.values { try sums.add(value, of: part.name) }
            for rows in placement.rows { try sums.add(rows, of: part.name) }
            for integers in placement.integers { try sums.add(integers, of: part.name) }
            for (module, update) in zip(part.modules, placement.updates) where module.omission == nil {
                try sums.add(update, of: index, changesBias: module.bias != nil, adapter: part.name)
            }
        }
        try sums.settleTies(of: base, names)
        self.parts = parts.map { $0.moving(sums.moved) }
        tensors = sums.tensors
        places = sums.places
        untiesStoredHead = sums.untiesStoredHead
    }

    private static func part(
        _ weighted: WeightedAdapter, _ placement: AdapterPlacement, base: ModelCheckpoint, gates: MergeGates,
        isAlone: Bool
    ) throws -> Part {
        let adapter = weighted.adapter
        let outcomes = try ThreadTeam.whole.map(placement.updates.count, grain: modulesOfAPart) {
            try outcome(of: placement.updates[$0], weighted, base: base, gates: gates, isAlone: isAlone)
        }
        var modules = outcomes.map(\.module)
        var isMoving = outcomes.contains(where: \.isMoving)
        if weighted.weight != 1, let whole = placement.replaced {
            throw refusal(
                adapter.displayName,
                "it holds '\(whole)' whole, which takes the place of the base's, so no weight can be put on it")
        }
        func addWhole(_ name: String, _ source: String?, _ target: String) {
            isMoving = true
            modules.append(
                Module(
                    module: name, tensors: [TensorPair(source: source, target: target)], factor: 1, expectedError: 0,
                    omission: nil, isWhole: true))
        }
        for value in placement.values { addWhole(value.displayName, value.source, value.target) }
        for rows in placement.rows { addWhole(rows.rows.path, rows.tensor, rows.tensor) }
        for integers in placement.integers { addWhole(integers.target, integers.target, integers.target) }
        let isGated = adapter.configuration.isGated
        let part = Part(
            name: adapter.displayName, method: adapter.configuration.methodName, weight: weighted.weight,
            gates: isGated ? gates : nil, source: isGated ? adapter.statistics?.source : nil, modules: modules)
        guard isMoving else {
            let reason: Wording =
                modules.contains { $0.omission == nil }
                ? "every update is zero; has the adapter been trained?"
                : modules.contains(where: \.neverFires)
                    ? "no module's gate ever opened over the tokens of \(part.source ?? "its statistics")"
                    : "the rank of every module is 0"
            throw TransformError.nothingToMerge(adapter: part.name, reason: reason)
        }
        return part
    }

    /// Modules that a thread looks at at a time.
    private static let modulesOfAPart = 64

    /// What is done with an update, and whether it is more than zeros.
    private static func outcome(
        of update: AdapterPlacement.Update, _ weighted: WeightedAdapter, base: ModelCheckpoint, gates: MergeGates,
        isAlone: Bool
    ) throws -> (module: Module, isMoving: Bool) {
        let adapter = weighted.adapter
        guard case .module(let path) = update.subject else {
            try check(matrix: update, weighted, isAlone: isAlone)
            let gate = adapter.gate(of: update.subject)
            let module = Module(
                module: update.name, tensors: update.tensors, factor: gate?.factor ?? 1,
                expectedError: (gate?.expectedError ?? 0) * abs(weighted.weight), omission: nil,
                bias: update.changesBias ? update.bias : nil)
            return (module, adapter.isMoving(update.subject))
        }
        let change = adapter.weightChange(of: path, inputSize: base.inputSize(of: update))
        try check(change, of: update, weighted, isAlone: isAlone)
        let replacement = try change.replacingGate(of: path, in: adapter, by: gates).replacement
        let omission: Omission? = change.rank == 0 ? .rankZero : replacement.neverFires ? .neverFires : nil
        let module = Module(
            module: path, tensors: update.tensors, factor: replacement.factor,
            expectedError: replacement.expectedError * abs(weighted.weight), omission: omission,
            bias: omission == nil && (change.bias != nil || update.changesBias) ? update.bias : nil)
        return (module, omission == nil && Float(replacement.factor * weighted.weight) != 0 && change.isMoving)
    }

    static func refusal(_ adapter: String, _ reason: String) -> TransformError {
        .unsupported(path: adapter, reason: "cannot be merged: " + reason)
    }

    /// Throws `TransformError.unsupported` for an update of DoRA's beside another adapter's.
    private static func check(
        matrix update: AdapterPlacement.Update, _ weighted: WeightedAdapter, isAlone: Bool
    ) throws {
        if update.changesBias, update.bias == nil { throw noBias(of: update, weighted.adapter) }
        guard case .matrix(let index) = update.subject, weighted.adapter.extras.updates[index].magnitude != nil else {
            return
        }
        try checkRescaling(weighted, isAlone: isAlone)
        if update.places.joined().contains(where: { $0.rows.lowerBound > 0 }) {
            throw refusal(
                weighted.adapter.displayName,
                "DoRA of '\(update.name)' takes norms over rows that the GGUF file does not have; merge into the Hugging Face "
                    + "checkpoint")
        }
    }

    private static func noBias(of update: AdapterPlacement.Update, _ adapter: AdapterDirectory) -> TransformError {
        refusal(
            adapter.displayName,
            "it has a bias for \(update.name) (lora_bias), and the base has no tensor "
                + "'\(CheckpointNames.bias(of: update.name))' that could take it")
    }

    private static func checkRescaling(_ weighted: WeightedAdapter, isAlone: Bool) throws {
        let method = weighted.adapter.configuration.methodName
        if !isAlone {
            throw refusal(
                weighted.adapter.displayName,
                "\(method) rescales the rows of the weight, so it does not add up with another adapter's update; merge it "
                    + "alone")
        }
        if weighted.weight != 1 {
            throw refusal(
                weighted.adapter.displayName,
                "\(method) rescales the rows of the weight, so it has no part that a weight could take")
        }
    }

    /// Throws `TransformError.unsupported` for a change that this base, or this company, cannot take up.
    private static func check(
        _ change: WeightChange, of update: AdapterPlacement.Update, _ weighted: WeightedAdapter, isAlone: Bool
    ) throws {
        let adapter = weighted.adapter
        func refusal(_ reason: String) -> TransformError { Self.refusal(adapter.displayName, reason) }
        let isWhole = update.places.joined().count == 1 && update.places[0][0].expert == nil
        switch change {
        case .none(let reason): throw refusal(reason)
        case .rescaled:
            try checkRescaling(weighted, isAlone: isAlone)
            // The norms of a packed matrix's columns are not formed.
            if !isWhole, update.places.joined().contains(where: { $0.isTransposed || $0.step > 1 }) {
                throw refusal(
                    "DoRA of '\(update.name)', which is a part of a transposed tensor or alternates with another's rows, is "
                        + "not known")
            }
        case .scaled:
            if !isAlone {
                throw refusal(
                    "\(adapter.configuration.methodName) scales the weight, so it does not add up with another adapter's "
                        + "update; merge it alone")
            }
            let parts = update.places.joined()
            if parts.contains(where: { $0.expert != nil || $0.isTransposed && !isWhole || $0.step > 1 }) {
                throw refusal("'\(update.name)' is a part of a tensor, whose rows are not scaled apart")
            }
            if update.hasFusedBias {
                throw refusal(
                    "the bias of '\(update.name)' is a part of another tensor, whose rows are not scaled apart")
            }
        case .added(let low):
            if low.bias != nil, update.bias == nil {
                throw noBias(of: update, adapter)
            }
        }
    }
}

extension AdapterPlacement.Update {
    /// The tensors that it changes, each once.
    fileprivate var tensors: [MergePlan.TensorPair] {
        var seen: NameSet = []
        return places.joined().compactMap { place in
            guard seen.insert(place.tensor).inserted else { return nil }
            return MergePlan.TensorPair(source: place.tensor, target: untiedHead ?? place.tensor)
        }
    }
}

extension AdapterPlacement.Value {
    /// What reports call it: a module's path where it is its weight.
    fileprivate var displayName: String {
        let weight = CheckpointNames.weight(of: "")
        return target.hasSuffix(weight) ? String(target.dropLast(weight.count)) : target
    }
}

extension AdapterDirectory {
    /// What stands in an update for gates.
    fileprivate func gate(
        of subject: AdapterPlacement.Update.Subject
    ) -> (factor: Double, expectedError: Double)? {
        guard case .matrix(let index) = subject else { return nil }
        return extras.updates[index].gate
    }

    /// Whether an update is more than zeros.
    fileprivate func isMoving(_ subject: AdapterPlacement.Update.Subject) -> Bool {
        guard case .matrix(let index) = subject else { return true }
        return extras.updates[index].isMoving
    }
}

extension ModelCheckpoint {
    /// Columns of the matrix [out, in] of a linear layer.
    func inputSize(of update: AdapterPlacement.Update) -> Int {
        guard let place = update.places.first?.first, let shape = shape(of: place.tensor) else { return 0 }
        let matrix = place.expert == nil ? shape[...] : shape.dropFirst()
        return (place.isTransposed ? matrix.first : matrix.last) ?? 0
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
