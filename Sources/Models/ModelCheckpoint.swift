import CheckpointIO
import Compute
import Synchronization
import TensorCore

/// A linear layer of a model: its path, and the shape [outputSize, inputSize] of its weight.
package struct LinearModule: Sendable, Equatable {
    /// Such as `model.layers.0.self_attn.q_proj`.
    package let path: String
    /// Rows of the weight.
    package let outputSize: Int
    /// Columns of the weight.
    package let inputSize: Int
    /// Whether a bias is added.
    package let hasBias: Bool
    /// Whether it is an expert's or a router's, which in memory is no linear layer: `all-linear` does not mean it.
    package let isOfMixture: Bool
    /// The path of the parameter whose part it is, in which transformers holds this projection of all experts, such as
    /// `model.layers.0.mlp.experts.gate_up_proj`; nil for a module of its own.
    package let parameter: String?

    /// A layer; see the properties.
    package init(
        path: String, outputSize: Int, inputSize: Int, hasBias: Bool = false, isOfMixture: Bool = false,
        parameter: String? = nil
    ) {
        self.path = path
        self.outputSize = outputSize
        self.inputSize = inputSize
        self.hasBias = hasBias
        self.isOfMixture = isOfMixture
        self.parameter = parameter
    }
}

/// A model's checkpoint, whatever its layout and whatever model it is.
///
/// Where `ArchitectureTable` knows the architecture and the checkpoint is what its graph needs, tensors go by Hugging
/// Face's names and row order and the model can compute. A checkpoint of an architecture that is not known, or that asks
/// for more than the graph can do, has tensors that the graph would not read or goes by other names, is *generic*: each
/// tensor goes by the name that it has in the file (in a GGUF file by Hugging Face's, where `GGUFNames` has it), and what the tensors are to the model follows from names and shapes
/// (`GenericTensors`). Nothing that needs no forward pass asks which of the two it is. What is refused at opening is a
/// known architecture whose configuration is unsound, or of whose tensors some are there and others are not.
package final class ModelCheckpoint: Sendable {
    /// The files behind it.
    package let checkpoint: Checkpoint
    /// The architecture, whose graph is known; or why the checkpoint is generic.
    private let graph: Result<any Architecture, ModelError>
    /// The language model inside a generic checkpoint, where that is known; or why it cannot compute.
    private let text: Result<TextPart?, ModelError>
    /// Every tensor that the model has.
    package let specifications: ModelTensors
    /// The model's tensors by name, in checkpoint order.
    package let tensorNames: [String]
    /// Tensors of the checkpoint, by its own names, that are no part of the known architecture; nothing computes with
    /// them.
    package let unknownTensors: [String]
    /// Whether it was opened as a model with a head for sequences.
    let isAskedForHead: Bool
    /// The model's tensors.
    private let records: NameTable<TensorRecord>
    /// All others, by the checkpoint's own names.
    private let others: NameTable<TensorRecord>
    private let knownFingerprint = Mutex<BaseFingerprint?>(nil)

    /// Opens what `Checkpoint.open` opens.
    ///
    /// Throws what that throws, what reading an output head does, and `ModelError` for a checkpoint of a known
    /// architecture that is damaged: `badConfiguration`, `missingTensor`, `wrongShape`.
    ///
    /// - Parameter task: what a head for sequences is asked for; a model that has none gets one then, in the place of
    ///   another head, and its tensors go by the names that they have beside it.
    package static func open(_ path: String, as task: SequenceTask? = nil) throws -> ModelCheckpoint {
        try open(Checkpoint.open(path), as: task)
    }

    /// The same of a checkpoint whose type is not known and that is to be computed as the architecture `name`; nil for its
    /// own.
    ///
    /// Throws besides `ModelError.unknownArchitecture` for a name that is none, `.unsupportedConfiguration` for a checkpoint
    /// whose type is known and for a field that the architecture does not have and that may change what is computed, and
    /// what is wrong with the tensors.
    package static func open(_ path: String, as name: String?) throws -> ModelCheckpoint {
        guard let name else { return try open(path) }
        let checkpoint = try Checkpoint.open(path)
        return try open(checkpoint, as: try ArchitectureTable.read(checkpoint, as: name))
    }

    private static func open(_ checkpoint: Checkpoint, as architecture: any Architecture) throws -> ModelCheckpoint {
        let model = ModelCheckpoint(checkpoint, architecture, isAskedForHead: false)
        do {
            try model.validate(architecture)
        } catch let other as OtherNames {
            throw other.problem
        }
        return model
    }

    /// The architectures as which a checkpoint of an unknown type could be computed, by its tensors and fields.
    private var fittingArchitectures: [String] {
        ArchitectureTable.all.map { $0.names.modelType }.filter { name in
            guard let architecture = try? ArchitectureTable.read(checkpoint, as: name),
                let model = try? Self.open(checkpoint, as: architecture)
            else { return false }
            return (try? model.checkGraphReadsAll()) != nil
        }
    }

    /// The model of a checkpoint that is open; throws as the variant for a path.
    package static func open(_ checkpoint: Checkpoint, as task: SequenceTask? = nil) throws -> ModelCheckpoint {
        do {
            let architecture = try ArchitectureTable.read(checkpoint, as: task)
            let model = ModelCheckpoint(checkpoint, architecture, isAskedForHead: task != nil)
            try model.validate(architecture)
            return model
        } catch let other as OtherNames {
            return ModelCheckpoint(checkpoint, try GenericTensors(checkpoint), other.problem, text: .success(nil))
        } catch let problem as ModelError where problem.leavesNamesAndShapes {
            let text: Result<TextPart?, ModelError>
            do {
                text = .success(try TextPart(checkpoint))
            } catch let other as ModelError {
                // What is wrong with the language model inside says more than that the whole is not known.
                text = .failure(other)
            }
            return ModelCheckpoint(checkpoint, try GenericTensors(checkpoint), problem, text: text)
        }
    }

    /// A tensor of a known architecture is missing as from files that name all of them in another way, or that hold a part
    /// of the model.
    private struct OtherNames: Error {
        let problem: ModelError
    }

    /// A checkpoint of a known architecture, before its tensors are checked.
    private init(_ checkpoint: Checkpoint, _ architecture: any Architecture, isAskedForHead: Bool) {
        self.isAskedForHead = isAskedForHead
        // A configuration of more layers than there are tensors lacks some: one of those that are listed then.
        let tensors = ModelTensors(architecture.specifications(limit: checkpoint.tensors.count + 1))
        let isGGUF = checkpoint.layout == .gguf
        var names: [String] = []
        var unknown: [String] = []
        var records: NameTable<TensorRecord> = [:]
        var others: NameTable<TensorRecord> = [:]
        for tensor in checkpoint.tensors {
            let found =
                isGGUF ? tensors[gguf: tensor.name] : tensors[architecture.ownName(of: tensor.name, among: tensors)]
            // A head that is tied all the same is the embedding, and no tensor of its own.
            if let found, found.tiedTo == nil {
                names.append(found.name)
                records[found.name] = tensor
                continue
            }
            others[tensor.name] = tensor
            if found == nil, !RotaryScaling.ggufFactorTensors.contains(tensor.name),
                !tensor.name.hasSuffix(Self.derivedSuffix)
            {
                unknown.append(tensor.name)
            }
        }
        self.checkpoint = checkpoint
        graph = .success(architecture)
        self.records = records
        self.others = others
        specifications = tensors
        tensorNames = names
        unknownTensors = unknown
        text = .success(nil)
    }

    /// A generic checkpoint.
    private init(
        _ checkpoint: Checkpoint, _ tensors: GenericTensors, _ problem: ModelError, text: Result<TextPart?, ModelError>
    ) {
        isAskedForHead = false
        self.checkpoint = checkpoint
        self.text = text
        graph = .failure(problem)
        specifications = tensors.specifications
        records = NameTable(tensors.records.map { ($0.name, $0.record) }, uniquingKeysWith: { first, _ in first })
        others = [:]
        tensorNames = tensors.records.map(\.name)
        unknownTensors = []
    }

    /// What is known of the model beside its tensors; nil for a generic checkpoint. `requireGraph` is for those who cannot
    /// do without.
    package var architecture: (any Architecture)? { try? graph.get() }

    /// The language model inside a checkpoint that has more; nil where there is none that can compute.
    package var textPart: TextPart? { (try? text.get()) ?? nil }

    /// Why a checkpoint is generic; nil where it is not.
    package var graphProblem: ModelError? { if case .failure(let problem) = graph { problem } else { nil } }

    /// Tensors that old checkpoints hold though they follow from the configuration.
    private static let derivedSuffix = ".rotary_emb.inv_freq"

    /// The architecture, for what cannot be done without one: a forward pass, or another format's names and metadata.
    ///
    /// - Parameter purpose: what needs it, in words that begin a sentence: `training`.
    ///
    /// Throws `ModelError.noGraph`, or what is wrong with a checkpoint of a known architecture.
    package func requireGraph(for purpose: String) throws(ModelError) -> any Architecture {
        if purpose == Self.computing, let part = try text.get() { return part.architecture }
        switch graph {
        case .success(let architecture): return architecture
        case .failure(.unknownArchitecture(let file, let name)):
            throw .noGraph(
                file: file, name: name, purpose: purpose, fitting: purpose == Self.computing ? fittingArchitectures : []
            )
        case .failure(let problem): throw problem
        }
    }

    /// Sizes and constants of a model that can compute. Throws what `requireGraph` throws.
    package var configuration: ModelConfiguration {
        get throws(ModelError) { try requireGraph(for: Self.computing).configuration }
    }

    /// Whether the model has the tensor `name`.
    package func contains(_ name: String) -> Bool { records[name] != nil }

    /// The shape of a tensor of the checkpoint, as `record` finds it.
    package func shape(of name: String) -> [Int]? { record(of: name)?.shape }

    /// Where a tensor lies: one of the model by its name there, any other by the checkpoint's own. Its rows may be in
    /// another order (see `readFloats`).
    package func record(of name: String) -> TensorRecord? { records[name] ?? others[name] }

    /// Every linear layer: those of layer 0, 1, ... in the order of computation, then an output head of its own; of a
    /// generic checkpoint in the order of the files.
    package var linearModules: [LinearModule] { specifications.linearModules() }

    /// The parts of packed parameters that the graph's experts have; none of a generic checkpoint.
    package var expertModules: [ExpertModule] { architecture?.expertModules ?? [] }

    /// Whether the output head is the embedding.
    package var hasTiedHead: Bool { specifications.outputHead?.tiedTo != nil }

    /// The values of a linear layer's weight, [outputSize, inputSize] in the Hugging Face order. Throws what
    /// `readFloats` throws.
    package func weights(of module: LinearModule) throws -> [Float] {
        let name = CheckpointNames.weight(of: module.path)
        let (rows, columns) = (module.outputSize, module.inputSize)
        var values = [Float](repeating: 0, count: rows * columns)
        try values.withUnsafeMutableBufferPointer { try readFloats(name, into: $0) }
        guard specifications[name]?.isTransposed ?? false else { return values }
        return [Float](unsafeUninitializedCapacity: values.count) { target, count in
            for row in 0..<rows {
                for column in 0..<columns { target[row * columns + column] = values[column * rows + row] }
            }
            count = values.count
        }
    }

    /// The model over this checkpoint's weights, which stay where they are unless `storage` says otherwise. Throws what
    /// `checkRuns` and reading them throw.
    package func makeModel(_ context: ComputeContext, _ storage: WeightStorage = .inPlace) throws -> any Model {
        let architecture = try requireGraph(for: Self.computing)
        try checkRuns()
        func loader(_ text: TextPart?) -> WeightLoader {
            WeightLoader(
                checkpoint: self, configuration: architecture.configuration, context: context, storage: storage,
                text: text)
        }
        let model = try architecture.makeModel(loader(textPart))
        if let images = textPart?.images, let decoder = model as? Decoder {
            decoder.images = try ImageEmbedding(loader(nil), images, LLaVANames(checkpoint))
        }
        return model
    }

    /// The fingerprint; `find` finds it the first time.
    func fingerprintOnce(_ find: () throws -> BaseFingerprint) throws -> BaseFingerprint {
        if let known = knownFingerprint.withLock({ $0 }) { return known }
        let found = try find()
        knownFingerprint.withLock { $0 = found }
        return found
    }

    /// What a forward pass is needed for, for `requireGraph`.
    package static let computing = "training, evaluation and generation"
    /// What the names, row orders and fields of both kinds of checkpoints are needed for.
    package static let conversion = "a conversion between Hugging Face's files and GGUF"

    /// Throws `CheckpointError.inputChanged` where one of the files was written to since it was opened: what was computed
    /// over its mapping means nothing then.
    package func checkUnchanged() throws(CheckpointError) {
        for mapping in checkpoint.mappings { try mapping.checkUnchanged() }
    }

    /// Checks that every tensor of the architecture is there in the shape that the configuration gives, and no bias
    /// that the configuration denies. Throws `missingTensor`, `wrongShape` or `unexpectedTensor` for the first that is
    /// not; `OtherNames` where that is no damage.
    private func validate(_ architecture: any Architecture) throws {
        let isGGUF = checkpoint.layout == .gguf
        let hasLayers = specifications.all.contains { $0.layer != nil && records[$0.name] != nil }
        for tensor in specifications.all where tensor.tiedTo == nil {
            let ownName = isGGUF ? tensor.ggufName ?? tensor.name : tensor.name
            guard let record = records[tensor.name] else {
                // A head is made where there is none.
                if tensor.isOfHead { continue }
                // A model without one of its layers' tensors is damaged; without all of them, it goes by other names;
                // without an embedding or head, it is a part of one.
                let problem = ModelError.missingTensor(file: checkpoint.path, tensor: ownName, shape: tensor.shape)
                // Experts may lie packed.
                let hasOtherNames = tensor.layer == nil || !hasLayers || tensor.isOfMixture
                throw hasOtherNames ? OtherNames(problem: problem) : problem
            }
            // A convolution of single channels has an axis of 1, which GGUF files leave out.
            let shape = isGGUF ? tensor.ggufShape : tensor.shape
            guard record.shape == shape else {
                if let packed = PackedQuantization(checkpoint) {
                    throw ModelError.packedWeights(path: checkpoint.path, packed)
                }
                let problem = ModelError.wrongShape(
                    file: checkpoint.files[record.fileIndex], tensor: ownName, expected: shape,
                    found: record.shape)
                // A head of other classes than the configuration counts can still be worked on by its name.
                throw tensor.isOfHead ? OtherNames(problem: problem) : problem
            }
        }
        let biases = unknownTensors.filter { specifications.hasModule(ofBias: $0, inGGUF: isGGUF) }
        if let name = biases.first {
            throw ModelError.unexpectedTensor(
                file: others[name].map { checkpoint.files[$0.fileIndex] } ?? checkpoint.path, tensor: name,
                reason: "the configuration has no such bias"
                    + (biases.count > 1 ? " (nor \(biases.count - 1) more that are there)" : "")
                    + "; it denies biases that the model has, or the model is no "
                    + "'\(architecture.names.modelType)', as it calls itself")
        }
    }
}

extension ModelCheckpoint {
    /// The order in which the checkpoint holds the rows of `name`, a name of the model's: as in Hugging Face's files
    /// for every other one, since a tensor by a GGUF file's own name is what it is there.
    package func rowOrder(of name: String) -> RowOrder { storedForm(of: name).rows }

    /// How the checkpoint holds the tensor `name`: its order of rows and columns, and what it holds for its values.
    package func storedForm(of name: String) -> GGUFForm {
        guard checkpoint.layout == .gguf else { return .same }
        return specifications[name]?.ggufForm ?? .same
    }

    /// The weight of a module that can be trained whole as training begins with it, in F32.
    ///
    /// Throws `ModelError.tiedModule` where head and embedding are one tensor: peft would train a copy of it for the
    /// one and leave the other, which is seldom meant. An adapter of peft's that was made so can still be used.
    package func initialWeight(of module: TensorSpecification) throws -> [Float] {
        if hasTiedHead {
            throw ModelError.tiedModule(file: checkpoint.path, module: module.moduleName)
        }
        return try floats(module.name)
    }

    /// Decodes rows (along the first axis; nil is all) of the tensor `name` to floats, in Hugging Face's order and values
    /// where the model names it.
    ///
    /// `destination` must have exactly as many elements. Throws `unknownTensor` and
    /// `CheckpointError.unsupportedEncoding`.
    package func readFloats(
        _ name: String, rows: Range<Int>? = nil, into destination: UnsafeMutableBufferPointer<Float>
    ) throws {
        guard let record = record(of: name) else {
            throw ModelError.unknownTensor(file: checkpoint.path, tensor: name)
        }
        let form = storedForm(of: name)
        try readRows(of: record, rows, form.rows, into: destination)
        guard form.columns.isPermuted || form.values != .same else { return }
        let width = form.columns.isPermuted ? record.shape.last ?? 1 : 1
        for start in stride(from: 0, to: destination.count, by: width) {
            let stored = Array(destination[start..<start + width])
            for column in 0..<width {
                destination[start + column] = form.values.huggingFace(stored[form.columns.gguf(column)])
            }
        }
    }

    /// Decodes rows of a tensor that the file holds in another order.
    private func readRows(
        of record: TensorRecord, _ rows: Range<Int>?, _ order: RowOrder,
        into destination: UnsafeMutableBufferPointer<Float>
    ) throws {
        guard order.isPermuted else {
            return try checkpoint.readFloats(of: record, rows: rows, into: destination)
        }
        let rowCount = record.shape[0]
        let width = record.elementCount / rowCount
        let wanted = rows ?? 0..<rowCount
        precondition(destination.count == wanted.count * width, "a destination of another size")
        if record.shape.count == 1 {
            let stored = try checkpoint.floats(of: record)
            for (place, row) in wanted.enumerated() { destination[place] = stored[order.gguf(row)] }
            return
        }
        for (place, row) in wanted.enumerated() {
            let source = order.gguf(row)
            let target = UnsafeMutableBufferPointer(rebasing: destination[place * width..<(place + 1) * width])
            try checkpoint.readFloats(of: record, rows: source..<source + 1, into: target)
        }
    }

    /// A whole tensor as floats, row-major; see `readFloats`.
    package func floats(_ name: String) throws -> [Float] {
        guard let record = record(of: name) else {
            throw ModelError.unknownTensor(file: checkpoint.path, tensor: name)
        }
        var values = [Float](repeating: 0, count: record.elementCount)
        try values.withUnsafeMutableBufferPointer { try readFloats(name, into: $0) }
        return values
    }
}
