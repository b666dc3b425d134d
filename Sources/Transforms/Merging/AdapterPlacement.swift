import Adapters
import CheckpointIO
import Models
import TensorCore
import Threads

/// Where everything that an adapter holds goes in a base.
struct AdapterPlacement {
    /// An update and the tensors of the base that it changes.
    struct Update {
        /// What changes.
        enum Subject: Sendable, Equatable {
            /// A linear layer of `AdapterDirectory.modules`.
            case module(String)
            /// The update at this place of `AdapterExtras.updates`.
            case matrix(Int)
        }

        let subject: Subject
        /// What messages and tables call it.
        let name: String
        /// Where its matrix lies, a list for each expert.
        let places: [[MatrixPlace]]
        /// The head that becomes a tensor of its own, where the update is of one that is the embedding so far.
        var untiedHead: String?
        /// The layer's bias in the base; nil where there is none.
        var bias: String?
        /// Whether the update has a part for the bias.
        var changesBias = false
        /// Whether the layer's bias lies in a tensor with others', and would have to change.
        var hasFusedBias = false
    }

    /// A value that takes the place of a tensor. An object, since the thousands of tensors that have none should not have
    /// room for it.
    final class Value: Sendable {
        let tensor: AdapterTensor
        /// The base's tensor; nil where it has none.
        let source: String?
        /// The tensor of the output.
        let target: String
        /// Whether the module was trained as a copy of its own, so that what was tied to it no longer is.
        let isOwnCopy: Bool

        init(tensor: AdapterTensor, source: String?, target: String, isOwnCopy: Bool) {
            self.tensor = tensor
            self.source = source
            self.target = target
            self.isOwnCopy = isOwnCopy
        }
    }

    /// Rows of a tensor; an object for the same reason.
    final class Rows: Sendable {
        let tensor: String
        let rows: AdapterExtras.TokenRows

        init(tensor: String, rows: AdapterExtras.TokenRows) {
            self.tensor = tensor
            self.rows = rows
        }
    }

    /// Whole numbers that take the place of a tensor of the base.
    final class Integers: Sendable {
        let tensor: AdapterIntegers
        let target: String

        init(tensor: AdapterIntegers, target: String) {
            self.tensor = tensor
            self.target = target
        }
    }

    /// The linear layers in their order, then all other updates.
    private(set) var updates: [Update] = []
    /// Values in the order of the adapter.
    private(set) var values: [Value] = []
    /// Rows of embeddings.
    private(set) var rows: [Rows] = []
    /// Whole numbers in the order of the adapter.
    private(set) var integers: [Integers] = []
    /// The name of something that takes a tensor's place; nil where nothing does.
    var replaced: String? { values.first?.target ?? rows.first?.tensor ?? integers.first?.target }

    /// Modules that a thread places at a time.
    private static let modulesOfAPart = 64

    /// Places an adapter. Throws `NamingError`, and `AdapterError` for shapes that do not fit and for modules that are
    /// too many or too few (`TargetCoverage`).
    init(_ adapter: AdapterDirectory, base: ModelCheckpoint, names: BaseNames) throws {
        let team = ThreadTeam.whole
        let modules = adapter.modules
        let matrices = try team.map(modules.count, grain: Self.modulesOfAPart) { place in
            let size = try Self.size(of: modules[place], adapter, base, names)
            return SizedMatrix(.linear(path: modules[place]), outputSize: size.output, inputSize: size.input)
        }
        let names = names.fitted(
            to: matrices + adapter.extras.updates.map(\.sizedMatrix), factors: adapter.configuration.expertFactors)
        updates = try team.map(modules.count, grain: Self.modulesOfAPart) { place in
            let (module, matrix) = (modules[place], matrices[place])
            var update = try Self.update(.module(module), module, matrix, names)
            update.bias = names.existing(CheckpointNames.bias(of: module))
            update.changesBias =
                adapter.tensor(module, PEFTNames.loraBias) != nil
                || update.bias != nil && adapter.configuration.scalesBias(of: module)
            update.hasFusedBias =
                update.bias == nil && adapter.configuration.scalesBias(of: module)
                && names.fusedRows(of: CheckpointNames.bias(of: module), count: matrix.outputSize) != nil
            if let bias = update.bias, update.changesBias, base.shape(of: bias) != [matrix.outputSize] {
                throw NamingError.wrongShape(
                    name: module, tensor: bias, update: [matrix.outputSize], found: base.shape(of: bias) ?? [])
            }
            try adapter.checkMethod(
                at: LinearModule(path: module, outputSize: matrix.outputSize, inputSize: matrix.inputSize))
            return update
        }
        for (index, matrix) in adapter.extras.updates.enumerated() {
            var update = try Self.update(.matrix(index), matrix.displayName, matrix.sizedMatrix, names)
            update.bias = names.existing(CheckpointNames.bias(of: matrix.path))
            update.changesBias = matrix.bias != nil
            updates.append(update)
        }
        let targets = TargetCoverage(adapter, base: base, names: names)
        try targets.check(updates)
        let placed = try place(adapter, base, names)
        try ValueCoverage(adapter, base: base, names: names, targets: targets, placed: placed)
            .check(updates, rows: rows)
    }

    /// Places values and rows; the values as they were placed, those of the base's own among them.
    private mutating func place(
        _ adapter: AdapterDirectory, _ base: ModelCheckpoint, _ names: BaseNames
    ) throws -> [ValueCoverage.Placed] {
        var placed: [ValueCoverage.Placed] = []
        let untied = NameSet(updates.compactMap(\.untiedHead))
        func add(_ name: String, _ tensor: AdapterTensor, isOwnCopy: Bool) throws {
            if let count = tensor.shape.first, let (whole, first) = names.fusedRows(of: name, count: count) {
                placed.append((name, whole))
                let rows = AdapterExtras.TokenRows(path: name, tokens: Array(first..<first + count), values: tensor)
                return self.rows.append(Rows(tensor: whole, rows: rows))
            }
            let (source, target): (String?, String) =
                switch try names.tensor(for: name) {
                case .existing(let tensor): (tensor, tensor)
                case .tied(let head, let embedding):
                    // What is saved beside the adapter is the shared embedding once more, under the name of one half.
                    (embedding, !isOwnCopy && names.isHalf(head) ? embedding : head)
                case .new(let name): (nil, name)
                }
            placed.append((name, target))
            let tensor = try source.map { try Self.fitted(tensor, to: $0, base, names) } ?? tensor
            // peft writes an embedding or a head that has an update as it is, too.
            let isUpdated = source?.hasSameBytes(as: target) == true || untied.contains(target)
            if !isOwnCopy, let source, isUpdated, try base.holdsExactly(tensor, in: source) { return }
            values.append(Value(tensor: tensor, source: source, target: target, isOwnCopy: isOwnCopy))
        }
        for tensor in adapter.savedModules {
            try add(String(tensor.name.dropFirst(PEFTNames.prefix.count)), tensor, isOwnCopy: true)
        }
        for value in adapter.extras.values { try add(value.name, value.tensor, isOwnCopy: false) }
        for entry in adapter.extras.integers where !entry.areOriginal {
            guard case .existing(let tensor) = try names.tensor(for: entry.name) else {
                throw NamingError.unknown(name: entry.name, nearest: [], cause: .otherModules)
            }
            integers.append(Integers(tensor: entry.tensor, target: tensor))
            placed.append((entry.name, tensor))
        }
        for entry in adapter.extras.rows {
            let name = CheckpointNames.weight(of: entry.path)
            switch try names.tensor(for: name) {
            case .existing(let tensor), .tied(_, let tensor):
                guard names.rowsDropped(of: tensor) == 0 else {
                    throw NamingError.wrongShape(
                        name: name, tensor: tensor, update: entry.values.shape, found: base.shape(of: tensor) ?? [])
                }
                rows.append(Rows(tensor: tensor, rows: entry))
                if let head = base.storedHead(of: tensor) { rows.append(Rows(tensor: head, rows: entry)) }
            case .new: throw NamingError.unknown(name: name, nearest: [], cause: .otherModel)
            }
        }
        return placed
    }

    /// A value without the rows that the base's tensor lacks; throws `NamingError.wrongShape` where it does not have them.
    private static func fitted(
        _ value: AdapterTensor, to tensor: String, _ base: ModelCheckpoint, _ names: BaseNames
    ) throws(NamingError) -> AdapterTensor {
        let dropped = names.rowsDropped(of: tensor)
        guard dropped > 0 else { return value }
        let shape = base.shape(of: tensor) ?? []
        guard let rows = shape.first, value.shape == [rows + dropped] + shape.dropFirst() else {
            throw .wrongShape(name: value.name, tensor: tensor, update: value.shape, found: shape)
        }
        return AdapterTensor(
            name: value.name, shape: shape, values: Array(value.values.dropFirst(dropped * value.rowWidth)))
    }

    private static func update(
        _ subject: Update.Subject, _ name: String, _ matrix: SizedMatrix, _ names: BaseNames
    ) throws -> Update {
        if case .linear(let path) = matrix.matrix, let (head, embedding) = names.tie(ofHead: path) {
            let place = MatrixPlace(tensor: embedding, rows: 0..<matrix.outputSize)
            return Update(subject: subject, name: name, places: [[place]], untiedHead: head)
        }
        if case .embedding(let path) = matrix.matrix, let half = try names.half(at: path) {
            guard names.holds(half.original, [matrix.outputSize, matrix.inputSize]) else {
                throw NamingError.unknown(name: path, nearest: [], cause: .otherModel)
            }
            let place = MatrixPlace(tensor: half.original, rows: 0..<matrix.outputSize)
            return Update(subject: subject, name: name, places: [[place]], untiedHead: half.copy)
        }
        let places = try names.places(
            of: matrix.matrix, outputSize: matrix.outputSize, inputSize: matrix.inputSize)
        return Update(subject: subject, name: name, places: places)
    }

    /// The sizes of a linear layer: as the adapter's own tensors tell, else as the base's weight has them.
    private static func size(
        of module: String, _ adapter: AdapterDirectory, _ base: ModelCheckpoint, _ names: BaseNames
    ) throws -> (output: Int, input: Int) {
        let own = adapter.size(of: module)
        if let output = own.output, let input = own.input { return (output, input) }
        let weight = CheckpointNames.weight(of: module)
        if let output = own.output, let (tensor, _) = names.fusedRows(of: weight, count: output),
            let input = base.shape(of: tensor)?.last
        {
            return (output, input)
        }
        let tensor: String
        switch try names.tensor(for: weight) {
        case .existing(let name), .tied(_, let name): tensor = name
        case .new: throw NamingError.unknown(name: module, nearest: [], cause: .otherModel)
        }
        guard let found = base.specifications[tensor]?.linearShape else {
            throw NamingError.unknown(name: module, nearest: [], cause: .otherModules)
        }
        return (own.output ?? found.outputSize, own.input ?? found.inputSize)
    }
}

extension ModelCheckpoint {
    /// The output head that the files hold though it is tied to the embedding `tensor`; nil for none.
    func storedHead(of tensor: String) -> String? {
        guard let head = specifications.outputHead, head.tiedTo?.hasSameBytes(as: tensor) == true,
            record(of: head.name) != nil
        else {
            return nil
        }
        return head.name
    }

    /// The names of the base's tensors, as adapters' names are looked up among them: in a GGUF file those that stand for
    /// a checkpoint's alone, where that is known.
    var names: BaseNames {
        let gguf = GGUFNames(of: checkpoint)
        let names =
            gguf == nil
            ? tensorNames + unknownTensors
            : tensorNames.filter { !(record(of: $0)?.name.hasSameBytes(as: $0) ?? false) }
        let tensors = names.map { NamedShape(name: $0, shape: shape(of: $0) ?? []) }
        var found = BaseNames(
            tensors, modelType: modelType ?? gguf?.expertsModelType, configuration: checkpoint.configuration,
            isGGUF: checkpoint.layout == .gguf)
        found.droppedRows = gguf?.droppedRows
        return found
    }

    private var modelType: String? { checkpoint.configuration?["model_type"]?.stringValue }
}

extension MatrixUpdate {
    /// What is updated, with the sizes of the update.
    fileprivate var sizedMatrix: SizedMatrix {
        let matrix: AdaptedMatrix =
            switch form {
            case .embedding: .embedding(path: path)
            case .convolution: .convolution(path: path)
            case .parameter(let name, let count): .parameter(module: path, name: name, expertCount: count)
            }
        return SizedMatrix(matrix, outputSize: rowCount, inputSize: width)
    }
}
