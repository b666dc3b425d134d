import CheckpointIO
import TensorCore

/// How another program has packed a checkpoint's weights: into words of several numbers, beside tensors of scales.
/// Nothing can be added to such a weight, and its shape is not the layer's.
package struct PackedQuantization: Sendable, Equatable {
    /// Whose it is, such as "MLX (4 bits, groups of 64)".
    package let words: String
    /// Whether `mlx_lm.convert` undoes it.
    package let isMLX: Bool

    /// What the fields of a configuration say; nil where they tell of none.
    init?(configuration: JSONValue?) {
        let fields = configuration?["quantization"] ?? configuration?["quantization_config"]
        guard let fields, fields.objectValue != nil else { return nil }
        let bits = fields["bits"]?.integer(in: .sizes)
        let group = fields["group_size"]?.integer(in: .sizes)
        let numbers = [bits.map { "\($0) bits" }, group.map { "groups of \($0)" }].compactMap { $0 }
        let tail = numbers.isEmpty ? "" : " (\(numbers.joined(separator: ", ")))"
        if let method = fields["quant_method"]?.stringValue {
            self.init(words: "'\(method)'\(tail)", isMLX: false)
        } else {
            guard bits != nil, group != nil else { return nil }
            self.init(words: "MLX" + tail, isMLX: true)
        }
    }

    private init(words: String, isMLX: Bool) {
        self.words = words
        self.isMLX = isMLX
    }

    /// How the weights among these tensors are packed; nil where none is.
    init?(_ checkpoint: Checkpoint) {
        guard checkpoint.layout != .gguf else { return nil }
        let weight = CheckpointNames.weight(of: "")
        var isPacked = false
        var isMLX = false
        for record in checkpoint.tensors where !record.encoding.holdsReals {
            if record.name.hasSuffix(weight) {
                let stem = record.name.dropLast(weight.count)
                isMLX = record.encoding == .plain(.u32) && checkpoint.record(stem + ".scales") != nil
                isPacked = isMLX
            } else {
                isPacked = PlaceProbe.packedWeights.contains { record.name.hasSuffix("." + $0) }
            }
            if isPacked { break }
        }
        guard isPacked else { return nil }
        let said = PackedQuantization(configuration: checkpoint.configuration)
        self = said ?? PackedQuantization(words: isMLX ? "MLX" : "another program", isMLX: isMLX)
    }

    /// What to use in its place.
    package var remedy: String {
        "take the model that it was made of" + (isMLX ? ", or let mlx_lm.convert dequantize it" : "")
    }
}

extension ModelCheckpoint {
    /// How another program has packed its weights; nil where none did.
    package var packedQuantization: PackedQuantization? { PackedQuantization(checkpoint) }

    /// What `body` gives, which looks for an adapter's modules among the weights. Where it does not find them and the
    /// weights are packed by another program, that is the reason: throws `ModelError.packedWeights` then.
    package func tellingOfPackedWeights<R>(_ body: () throws -> R) throws -> R {
        do { return try body() } catch let error as any ReportableError {
            guard error.exitStatus == .badData, let packed = packedQuantization else { throw error }
            throw ModelError.packedWeights(path: checkpoint.path, packed)
        }
    }
}
