import CheckpointIO
import Compute

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

    /// A layer; see the properties.
    package init(path: String, outputSize: Int, inputSize: Int, hasBias: Bool = false) {
        self.path = path
        self.outputSize = outputSize
        self.inputSize = inputSize
        self.hasBias = hasBias
    }
}

/// A model's checkpoint seen by Hugging Face's names and row order, whatever its layout; every tensor that the
/// architecture needs is there in the right shape.
package final class ModelCheckpoint: Sendable {
    /// The files behind it.
    package let checkpoint: Checkpoint
    /// What the model is.
    package let architecture: any Architecture
    /// Sizes and constants.
    package let configuration: ModelConfiguration
    /// Every tensor that the architecture has.
    package let specifications: ModelTensors
    /// The model's tensors by Hugging Face's names, in checkpoint order.
    package let tensorNames: [String]
    /// Tensors of the checkpoint, by its own names, that are no part of the model; they are not used.
    package let unknownTensors: [String]
    private let records: [String: TensorRecord]
    /// Biases that the architecture does not have, of modules that it has.
    private let unexpectedBiases: [TensorRecord]

    /// Tensors that old checkpoints hold though they follow from the configuration.
    private static let derivedSuffix = ".rotary_emb.inv_freq"

    /// Opens a Hugging Face directory, a safetensors file with `config.json` beside it, or a GGUF file.
    ///
    /// Throws what `Checkpoint.open` throws, `ModelError` for a configuration that is missing, unsound or unsupported,
    /// and for tensors that are missing or of the wrong shape.
    package static func open(_ path: String) throws -> ModelCheckpoint {
        try open(Checkpoint.open(path))
    }

    /// The model of a checkpoint that is open; throws as the variant for a path.
    package static func open(_ checkpoint: Checkpoint) throws -> ModelCheckpoint {
        let model = try ModelCheckpoint(checkpoint)
        try model.validate()
        return model
    }

    private init(_ checkpoint: Checkpoint) throws {
        architecture = try ArchitectureTable.read(checkpoint)
        // A configuration of more layers than there are tensors lacks some: one of those that are listed then.
        let tensors = ModelTensors(architecture.specifications(layerLimit: checkpoint.tensors.count + 1))
        let isGGUF = checkpoint.layout == .gguf
        var names: [String] = []
        var unknown: [String] = []
        var biases: [TensorRecord] = []
        var records: [String: TensorRecord] = [:]
        for tensor in checkpoint.tensors {
            if let found = isGGUF ? tensors[gguf: tensor.name] : tensors[tensor.name] {
                // A head that is tied all the same is the embedding, and no tensor of its own.
                if found.tiedTo != nil { continue }
                names.append(found.name)
                records[found.name] = tensor
            } else if tensors.hasModule(ofBias: tensor.name, inGGUF: isGGUF) {
                biases.append(tensor)
            } else if tensor.name != RotaryScaling.ggufFactors, !tensor.name.hasSuffix(Self.derivedSuffix) {
                unknown.append(tensor.name)
            }
        }
        self.checkpoint = checkpoint
        self.records = records
        configuration = architecture.configuration
        specifications = tensors
        tensorNames = names
        unknownTensors = unknown
        unexpectedBiases = biases
    }

    /// Whether the model has the tensor `name` (Hugging Face's).
    package func contains(_ name: String) -> Bool { record(of: name) != nil }

    /// The shape of a tensor by Hugging Face's name.
    package func shape(of name: String) -> [Int]? { record(of: name)?.shape }

    /// Where a tensor lies; its rows may be in another order (see `readFloats`).
    package func record(of name: String) -> TensorRecord? { records[name] }

    /// Every linear layer: those of layer 0, 1, ... in the order of computation, then an output head of its own.
    package var linearModules: [LinearModule] { specifications.linearModules() }

    /// The values of a linear layer's weight, [outputSize, inputSize] in the Hugging Face order. Throws what
    /// `readFloats` throws.
    package func weights(of module: LinearModule) throws -> [Float] {
        let name = CheckpointNames.weight(of: module.path)
        var values = [Float](repeating: 0, count: module.outputSize * module.inputSize)
        try values.withUnsafeMutableBufferPointer { try readFloats(name, into: $0) }
        return values
    }

    /// The model over this checkpoint's weights, which stay where they are unless `storage` says otherwise. Throws what
    /// `checkRuns` and reading them throw.
    package func makeModel(_ context: ComputeContext, _ storage: WeightStorage = .inPlace) throws -> any Model {
        try checkRuns()
        return try architecture.makeModel(WeightLoader(checkpoint: self, context: context, storage: storage))
    }

    /// Throws `CheckpointError.inputChanged` where one of the files was written to since it was opened: what was computed
    /// over its mapping means nothing then.
    package func checkUnchanged() throws(CheckpointError) {
        for mapping in checkpoint.mappings { try mapping.checkUnchanged() }
    }

    /// Checks that every tensor of the architecture is there in the shape that the configuration gives, and no bias
    /// that the configuration denies. Throws `missingTensor`, `wrongShape` or `unexpectedTensor` for the first that is
    /// not.
    package func validate() throws(ModelError) {
        for tensor in specifications.all where tensor.tiedTo == nil {
            let ownName = checkpoint.layout == .gguf ? tensor.ggufName : tensor.name
            guard let record = records[tensor.name] else {
                throw .missingTensor(file: checkpoint.path, tensor: ownName, shape: tensor.shape)
            }
            guard record.shape == tensor.shape else {
                throw .wrongShape(
                    file: checkpoint.files[record.fileIndex], tensor: ownName, expected: tensor.shape,
                    found: record.shape)
            }
        }
        if let record = unexpectedBiases.first {
            let others = unexpectedBiases.count - 1
            throw .unexpectedTensor(
                file: checkpoint.files[record.fileIndex], tensor: record.name,
                reason: "the configuration has no such bias"
                    + (others > 0 ? " (nor \(others) more that are there)" : "")
                    + "; it denies biases that the model has, or the model is no "
                    + "'\(architecture.names.modelType)', as it calls itself")
        }
    }
}

extension ModelCheckpoint {
    /// The order in which the checkpoint holds the rows of `name` (Hugging Face's name).
    package func rowOrder(of name: String) -> RowOrder {
        guard checkpoint.layout == .gguf else { return .asInHuggingFace }
        return specifications[name]?.ggufRows ?? .asInHuggingFace
    }

    /// The weight of a module that can be trained whole as training begins with it, in F32.
    ///
    /// Throws `ModelError.tiedModule` where head and embedding are one tensor: peft would train a copy of it for the
    /// one and leave the other, which is seldom meant. An adapter of peft's that was made so can still be used.
    package func initialWeight(of module: TensorSpecification) throws -> [Float] {
        if configuration.tiedEmbeddings {
            throw ModelError.tiedModule(file: checkpoint.path, module: module.moduleName)
        }
        return try floats(module.name)
    }

    /// Decodes rows (along the first axis; nil is all) of the tensor `name` to floats, in Hugging Face's row order.
    ///
    /// `destination` must have exactly as many elements. Throws `unknownTensor` and
    /// `CheckpointError.unsupportedEncoding`.
    package func readFloats(
        _ name: String, rows: Range<Int>? = nil, into destination: UnsafeMutableBufferPointer<Float>
    ) throws {
        guard let record = record(of: name) else {
            throw ModelError.unknownTensor(file: checkpoint.path, tensor: name)
        }
        let order = rowOrder(of: name)
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
