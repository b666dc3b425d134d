import CheckpointIO
import Glibc

/// A linear layer of a model: its path, and the shape [outputSize, inputSize] of its weight.
package struct LinearModule: Sendable, Equatable {
    /// Such as `model.layers.0.self_attn.q_proj`.
    package let path: String
    /// Rows of the weight.
    package let outputSize: Int
    /// Columns of the weight.
    package let inputSize: Int

    /// A layer; see the properties.
    package init(path: String, outputSize: Int, inputSize: Int) {
        self.path = path
        self.outputSize = outputSize
        self.inputSize = inputSize
    }
}

/// A Llama checkpoint seen by Hugging Face's names and row order, whatever its layout; every tensor that the
/// architecture needs is there in the right shape.
package final class ModelCheckpoint: Sendable {
    /// The files behind it.
    package let checkpoint: Checkpoint
    /// Sizes and constants.
    package let configuration: LlamaConfiguration
    /// The model's tensors by Hugging Face's names, in checkpoint order.
    package let tensorNames: [String]
    /// Tensors of the checkpoint, by its own names, that are no part of the model; they are not used.
    package let unknownTensors: [String]
    private let records: [String: TensorRecord]

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
        let isGGUF = checkpoint.layout == .gguf
        var names: [String] = []
        var unknown: [String] = []
        var records: [String: TensorRecord] = [:]
        for tensor in checkpoint.tensors {
            let name = isGGUF ? CheckpointNames.huggingFace(of: tensor.name) : tensor.name
            if let name, CheckpointNames.gguf(of: name) != nil {
                names.append(name)
                records[name] = tensor
            } else if tensor.name != CheckpointNames.ggufRotaryFactors, !tensor.name.hasSuffix(Self.derivedSuffix) {
                unknown.append(tensor.name)
            }
        }
        switch checkpoint.layout {
        case .gguf: configuration = try LlamaConfiguration(gguf: checkpoint)
        case .huggingFace(let directory):
            let file = joinedPath(directory, "config.json")
            guard let json = checkpoint.configuration else { throw ModelError.missingConfiguration(file: file) }
            let isTied = LlamaConfiguration.asksForTiedEmbeddings(json)
            configuration = try LlamaConfiguration(
                configuration: json, file: file,
                embeddingsAreTied: isTied ? try Self.tensorsAllowTying(checkpoint, records) : nil)
        }
        self.checkpoint = checkpoint
        self.records = records
        // A head that is tied all the same is the embedding, and no tensor of its own.
        let isTied = configuration.tiedEmbeddings
        tensorNames = names.filter { !(isTied && $0 == CheckpointNames.outputHead) }
        let layerCount = configuration.layerCount
        unknownTensors = unknown + names.filter { Self.layer(of: $0).map { $0 >= layerCount } ?? false }
    }

    /// As transformers does: a head that is there and differs from the embedding is not tied, whatever config.json
    /// says.
    private static func tensorsAllowTying(
        _ checkpoint: Checkpoint, _ records: [String: TensorRecord]
    ) throws -> Bool {
        guard let head = records[CheckpointNames.outputHead], let embedding = records[CheckpointNames.embedding] else {
            return true
        }
        guard head.encoding == embedding.encoding, head.shape == embedding.shape else { return false }
        return try checkpoint.withBytes(of: head) { left in
            try checkpoint.withBytes(of: embedding) { right in
                left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
            }
        }
    }

    private static func layer(of name: String) -> Int? {
        let parts = name.split(separator: ".")
        return parts.count > 2 && parts[1] == "layers" ? Int(parts[2]) : nil
    }

    /// Whether the model has the tensor `name` (Hugging Face's).
    package func contains(_ name: String) -> Bool { record(of: name) != nil }

    /// The shape of a tensor by Hugging Face's name.
    package func shape(of name: String) -> [Int]? { record(of: name)?.shape }

    /// Where a tensor lies; its rows may be permuted (see `readFloats`).
    package func record(of name: String) -> TensorRecord? {
        if configuration.tiedEmbeddings, name == CheckpointNames.outputHead { return nil }
        return records[name]
    }

    /// Every linear layer: those of layer 0, 1, ... in the order q, k, v, o, gate, up, down, then an output head of its
    /// own.
    package var linearModules: [LinearModule] {
        var modules: [LinearModule] = []
        for layer in 0..<configuration.layerCount {
            for (part, output, input) in projections {
                modules.append(
                    LinearModule(
                        path: CheckpointNames.module(part, layer: layer), outputSize: output, inputSize: input))
            }
        }
        if !configuration.tiedEmbeddings {
            modules.append(
                LinearModule(
                    path: CheckpointNames.outputHeadModule, outputSize: configuration.vocabularySize,
                    inputSize: configuration.hiddenSize))
        }
        return modules
    }

    /// The values of a linear layer's weight, [outputSize, inputSize] in the Hugging Face order. Throws what
    /// `readFloats` throws.
    package func weights(of module: LinearModule) throws -> [Float] {
        let name = CheckpointNames.weight(of: module.path)
        var values = [Float](repeating: 0, count: module.outputSize * module.inputSize)
        try values.withUnsafeMutableBufferPointer { try readFloats(name, into: $0) }
        return values
    }

    /// The projections of one layer with their output and input sizes.
    private var projections: [(part: String, output: Int, input: Int)] {
        let hidden = configuration.hiddenSize
        return [
            ("self_attn.q_proj", configuration.querySize, hidden),
            ("self_attn.k_proj", configuration.keyValueSize, hidden),
            ("self_attn.v_proj", configuration.keyValueSize, hidden),
            ("self_attn.o_proj", hidden, configuration.querySize),
            ("mlp.gate_proj", configuration.intermediateSize, hidden),
            ("mlp.up_proj", configuration.intermediateSize, hidden),
            ("mlp.down_proj", hidden, configuration.intermediateSize),
        ]
    }

    /// Checks that every tensor of the architecture is there in the shape that the configuration gives, and no bias
    /// that the configuration denies. Throws `missingTensor`, `wrongShape` or `unexpectedTensor` for the first that is
    /// not.
    package func validate() throws(ModelError) {
        let hidden = configuration.hiddenSize
        try check(CheckpointNames.embedding, [configuration.vocabularySize, hidden])
        for layer in 0..<configuration.layerCount {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                let module = CheckpointNames.module(norm, layer: layer)
                try check(CheckpointNames.weight(of: module), [hidden])
                try checkBias(of: module, isWanted: false, size: hidden)
            }
            for (part, output, input) in projections {
                let module = CheckpointNames.module(part, layer: layer)
                try check(CheckpointNames.weight(of: module), [output, input])
                let isWanted = part.hasPrefix("mlp.") ? configuration.hasMLPBias : configuration.hasAttentionBias
                try checkBias(of: module, isWanted: isWanted, size: output)
            }
        }
        try check(CheckpointNames.finalNorm, [hidden])
        if !configuration.tiedEmbeddings {
            try check(CheckpointNames.outputHead, [configuration.vocabularySize, hidden])
        }
        try checkBias(of: CheckpointNames.outputHeadModule, isWanted: false, size: configuration.vocabularySize)
    }

    private func checkBias(of module: String, isWanted: Bool, size: Int) throws(ModelError) {
        let name = CheckpointNames.bias(of: module)
        if isWanted { return try check(name, [size]) }
        guard let record = records[name] else { return }
        throw .unexpectedTensor(
            file: checkpoint.files[record.fileIndex], tensor: record.name, reason: "the configuration has no such bias")
    }

    private func check(_ name: String, _ shape: [Int]) throws(ModelError) {
        let ownName = checkpoint.layout == .gguf ? CheckpointNames.gguf(of: name)! : name
        guard let record = records[name] else {
            throw .missingTensor(file: checkpoint.path, tensor: ownName, shape: shape)
        }
        guard record.shape == shape else {
            throw .wrongShape(
                file: checkpoint.files[record.fileIndex], tensor: ownName, expected: shape, found: record.shape)
        }
    }
}

extension ModelCheckpoint {
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
        guard isPermuted(name) else {
            return try checkpoint.readFloats(of: record, rows: rows, into: destination)
        }
        let rowCount = record.shape[0]
        let width = record.elementCount / rowCount
        let wanted = rows ?? 0..<rowCount
        precondition(destination.count == wanted.count * width, "a destination of another size")
        if record.shape.count == 1 {
            let stored = try checkpoint.floats(of: record)
            for (place, row) in wanted.enumerated() { destination[place] = stored[storedRow(row)] }
            return
        }
        for (place, row) in wanted.enumerated() {
            let source = storedRow(row)
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

    /// Whether the checkpoint holds the rows of `name` in GGUF's order: Llama's query and key projections there.
    package func isPermuted(_ name: String) -> Bool {
        checkpoint.layout == .gguf && CheckpointNames.isPermutedInGGUF(name)
    }

    /// The row of a GGUF file that holds Hugging Face's row `row` of a permuted tensor.
    package func storedRow(_ row: Int) -> Int { RotaryRows.gguf(row, headSize: configuration.headSize) }
}
