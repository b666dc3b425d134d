import CheckpointIO
import Compute
import TensorCore

/// Where a model's frozen matrices are while it computes.
package enum WeightStorage: Sendable {
    /// In the checkpoint's mapped files where they can be used there, copied otherwise.
    case inPlace
    /// In memory of their own, in the computation's type: for those who change them.
    case copied
}

/// Reads named tensors of a checkpoint into a context's type.
package struct WeightLoader {
    /// The checkpoint, whose tensors have been checked.
    let checkpoint: ModelCheckpoint
    /// Sizes and constants of its architecture.
    let configuration: ModelConfiguration
    /// Type, memory and threads.
    let context: ComputeContext
    /// Where frozen matrices are to be.
    let storage: WeightStorage
    /// What the checkpoint calls the tensors of a language model that is a part of it; nil where it is the whole.
    let text: TextPart?

    /// What the checkpoint calls a module or tensor of the model.
    func name(of own: String) -> String { text?.name(of: own) ?? own }

    /// A vector in F32.
    func vector(_ own: String) throws -> Tensor {
        let name = name(of: own)
        let count = (checkpoint.shape(of: name) ?? []).reduce(1, *)
        let tensor = context.tensor([count], .f32)
        try checkpoint.readFloats(
            name, into: UnsafeMutableBufferPointer(start: tensor.floats, count: count))
        return tensor
    }

    /// `module.weight` and, where there is one, `module.bias`.
    func linear(_ module: String, softcap: Float? = nil) throws -> FrozenLinear {
        let name = name(of: CheckpointNames.weight(of: module))
        let biasName = CheckpointNames.bias(of: module)
        let bias = checkpoint.contains(self.name(of: biasName)) ? try vector(biasName) : nil
        return FrozenLinear(try mapped(name) ?? DenseMatrix(try matrix(name)), bias: bias, softcap: softcap)
    }

    /// The norm of a module, which multiplies by its weight w, or 1 + w, times a factor.
    func norm(_ module: String, addsOne: Bool = false, factor: Float = 1) throws -> RMSNorm {
        let weight = try vector(CheckpointNames.weight(of: module))
        if addsOne || factor != 1 {
            for index in 0..<weight.count { weight.floats[index] = (weight.floats[index] + (addsOne ? 1 : 0)) * factor }
        }
        return RMSNorm(weight: weight, epsilon: configuration.rmsNormEpsilon)
    }

    /// The LayerNorm of a module, with a bias where there is one.
    func layerNorm(_ module: String) throws -> LayerNorm {
        let bias = CheckpointNames.bias(of: module)
        return LayerNorm(
            weight: try vector(CheckpointNames.weight(of: module)),
            bias: checkpoint.contains(name(of: bias)) ? try vector(bias) : nil, epsilon: configuration.rmsNormEpsilon)
    }

    /// A tensor of a head, in F32 and not trained; nil where the checkpoint has none.
    func headTensor(_ own: String) throws -> TrainableWeight? {
        guard checkpoint.contains(name(of: own)) else { return nil }
        let weight = TrainableWeight(try floats(own), context)
        weight.collectsGradient = false
        return weight
    }

    /// A whole tensor in F32, in its own shape.
    func floats(_ own: String) throws -> Tensor {
        let name = name(of: own)
        let tensor = context.tensor(checkpoint.shape(of: name) ?? [0], .f32)
        try checkpoint.readFloats(name, into: UnsafeMutableBufferPointer(start: tensor.floats, count: tensor.count))
        return tensor
    }

    /// The weights of a layer.
    func layer(_ index: Int, behind prefix: String = ModulePart.layerPrefix) -> LayerWeights {
        LayerWeights(loader: self, index: index, prefix: prefix)
    }

    /// The matrix where it lies in the checkpoint; nil where it cannot be used from there, or is to be copied.
    private func mapped(_ name: String) -> (any FrozenMatrix)? {
        guard storage == .inPlace, checkpoint.storedForm(of: name) == .same, let record = checkpoint.record(of: name)
        else {
            return nil
        }
        return MappedMatrix(record, in: checkpoint.checkpoint.mapping(of: record), context)
    }

    /// Rows decoded at a time: a few megabytes of F32.
    private static let rowsAtATime = 1024

    private func matrix(_ name: String) throws -> Tensor {
        let shape = checkpoint.shape(of: name) ?? [0, 0]
        let (rows, columns) = (shape[0], shape.count > 1 ? shape[1] : 1)
        let tensor = context.tensor([rows, columns])
        var start = 0
        while start < rows {
            let end = min(rows, start + Self.rowsAtATime)
            let part = context.tensor([end - start, columns], .f32)
            try checkpoint.readFloats(
                name, rows: start..<end, into: UnsafeMutableBufferPointer(start: part.floats, count: part.count))
            context.convert(part, into: tensor, at: start)
            start = end
        }
        // The copy is what is computed with; the mapped pages need not stay in memory.
        if let record = checkpoint.record(of: name) { checkpoint.checkpoint.advise(record, willNeed: false) }
        return tensor
    }
}

/// The weights of one layer, by the parts' names inside it.
struct LayerWeights {
    let loader: WeightLoader
    /// The layer, from 0.
    let index: Int
    /// What stands before its number.
    let prefix: String

    /// A norm of the layer.
    func norm(_ part: ModulePart, addsOne: Bool = false) throws -> RMSNorm {
        try loader.norm(path(part), addsOne: addsOne)
    }

    /// The path of a module of the layer.
    func path(_ part: ModulePart) -> String { part.path(layer: index, behind: prefix) }

    /// A LayerNorm of the layer.
    func layerNorm(_ part: ModulePart) throws -> LayerNorm { try loader.layerNorm(path(part)) }

    /// Dropout of the layer, at the place of transformers' module `name` in it.
    func dropout(_ rate: Double, _ name: String) -> HiddenDropout? {
        rate > 0 ? HiddenDropout(rate: Float(rate), place: prefix + "\(index)." + name) : nil
    }

    /// A vector of the layer that is no module's, by its name inside the layer.
    func vector(_ name: String) throws -> Tensor { try loader.vector(prefix + "\(index).\(name)") }

    /// The place of a projection of the layer, with the frozen one in it.
    func projection(_ part: ModulePart) throws -> ProjectionSlot {
        let path = path(part)
        return ProjectionSlot(PlainProjection(path: loader.name(of: path), frozen: try loader.linear(path)))
    }
}
