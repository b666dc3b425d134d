/// What a tensor is to a model.
package enum TensorRole: String, Sendable {
    /// The embedding of tokens, [vocabularySize, hiddenSize]; can be trained whole.
    case embedding
    /// The output head, [vocabularySize, hiddenSize], a linear module outside the layers; can be trained whole.
    case outputHead = "output_head"
    /// The weight of a linear module inside a layer, which an adapter can wrap.
    case projection
    /// The weight of a norm.
    case norm
    /// The bias of a module.
    case bias
    /// The matrices of a layer's experts in one tensor, [experts, ...], which no adapter wraps.
    case experts
    /// The weight of a linear module as another program quantized it, in blocks of integers; no adapter wraps it.
    case quantized
    /// The weight of a layer of a head for whole sequences, outside the layers; can be trained whole.
    case classifier
    /// What no architecture speaks of: a convolution, a table, a buffer.
    case other
}

/// A tensor that a model has: what checkpoints call it, and what must be true of it.
package struct TensorSpecification: Sendable, Equatable {
    /// Hugging Face's name, such as `model.layers.3.self_attn.q_proj.weight`.
    package let name: String
    /// GGUF's name, such as `blk.3.attn_q.weight`; nil where it is not known.
    package let ggufName: String?
    /// The path of the module whose it is, such as `model.layers.3.self_attn.q_proj`.
    package let module: String
    /// The module's path inside its layer, such as `self_attn.q_proj`; the whole path outside the layers.
    package let part: String
    /// The layer, where it is in one.
    package let layer: Int?
    /// Extents, row-major, as Hugging Face has them.
    package let shape: [Int]
    /// What it is to the model.
    package let role: TensorRole
    /// The order of its rows in GGUF files.
    package let ggufRows: RowOrder
    /// The tensor that stands for this one, so that a checkpoint need not have it.
    package let tiedTo: String?
    /// Whether a linear module's weight is stored as [inputSize, outputSize], as GPT-2's `Conv1D` has it.
    package var isTransposed = false
    /// Whether it is the weight of a mixture's expert or router, which files hold as a linear module's and a model in memory
    /// packed with others, or as a parameter of the router's.
    package var isOfMixture = false
    /// Whether it is of a head for whole sequences, which is trained whole, and which a checkpoint need not have.
    package var isOfHead = false
    /// The order of its columns in GGUF files, and what they hold for its values.
    package var ggufColumns = RowOrder.asInHuggingFace
    package var ggufValues = GGUFValueForm.same

    /// Extents in GGUF files, which leave out the axis of single channels of a convolution.
    package var ggufShape: [Int] { shape.count == 3 && shape[1] == 1 ? [shape[0], shape[2]] : shape }

    /// How GGUF files hold it.
    package var ggufForm: GGUFForm { GGUFForm(rows: ggufRows, columns: ggufColumns, values: ggufValues) }

    /// Rows and columns of a linear module's weight as it is multiplied with, [outputSize, inputSize].
    package var linearShape: (outputSize: Int, inputSize: Int)? {
        guard shape.count == 2 else { return nil }
        return isTransposed ? (shape[1], shape[0]) : (shape[0], shape[1])
    }

    /// The last part of the module's path, by which users and peft name it.
    package var moduleName: String { String(module.split(separator: ".").last ?? "") }
}

/// A module of an architecture, from which come the specifications of its tensors in every layer.
package struct ModuleTemplate<Model: Architecture>: Sendable {
    /// What checkpoints call it.
    let part: ModulePart
    /// Whether it stands in layers.
    let isInLayer: Bool
    /// What its weight is.
    let role: TensorRole
    /// The weight's extents.
    let shape: @Sendable (Model) -> [Int]
    /// The order of the rows of weight and bias in GGUF files.
    let ggufRows: @Sendable (Model) -> RowOrder
    /// Whether it has a bias, as long as the weight has rows.
    let hasBias: @Sendable (Model) -> Bool
    /// The order of the weight's columns in GGUF files.
    var ggufColumns: @Sendable (Model) -> RowOrder = { _ in .asInHuggingFace }
    /// What GGUF files hold for the values of weight and bias.
    var ggufValues = GGUFValueForm.same
    /// Whether GGUF files of the architecture may have it.
    var isInGGUF = true
    /// Whether its names are those of one tensor, and not of a module that has a weight.
    var isTensor = false
    /// How many there are of it side by side, each with its number in place of the `*` in its path; GGUF files have them
    /// together in one tensor, so that each by itself has no name there. Nil for a module that there is one of.
    var copies: (@Sendable (Model) -> Int)?
    /// Which of the layers have one.
    var isInLayers: @Sendable (Model, Int) -> Bool = { _, _ in true }
    /// Whether it is of a mixture of experts, for `TensorSpecification.isOfMixture`.
    var isOfMixture = false
    /// Whether it is of a head, for `TensorSpecification.isOfHead`.
    var isOfHead = false
    /// Whether a model has it at all.
    var isPresent: @Sendable (Model) -> Bool = { _ in true }

    init(
        _ part: ModulePart, _ role: TensorRole, isInLayer: Bool = true,
        hasBias: @escaping @Sendable (Model) -> Bool = { _ in false },
        ggufRows: @escaping @Sendable (Model) -> RowOrder = { _ in .asInHuggingFace },
        shape: @escaping @Sendable (Model) -> [Int]
    ) {
        self.part = part
        self.isInLayer = isInLayer
        self.role = role
        self.shape = shape
        self.ggufRows = ggufRows
        self.hasBias = hasBias
    }

    /// The names of the weight: of Hugging Face's files or GGUF's, inside the layer or whole.
    func weightName(inGGUF isGGUF: Bool) -> String {
        let name = isGGUF ? part.gguf : part.path
        return isTensor ? name : ModulePart.Kind.weight.name(of: name)
    }

    /// The same template with what `change` makes of it.
    func with(_ change: (inout Self) -> Void) -> Self {
        var copy = self
        change(&copy)
        return copy
    }

    /// Weight and bias of the module, in a layer or outside.
    func specifications(_ model: Model, layer: Int?) -> [TensorSpecification] {
        if let layer, !isInLayers(model, layer) { return [] }
        guard let copies else { return specifications(model, layer: layer, part) }
        return (0..<copies(model)).flatMap { copy in
            let path = part.path.split(separator: "*", omittingEmptySubsequences: false).joined(separator: "\(copy)")
            return specifications(model, layer: layer, ModulePart(path, gguf: part.gguf))
        }
    }

    private func specifications(_ model: Model, layer: Int?, _ part: ModulePart) -> [TensorSpecification] {
        let module = layer.map { part.path(layer: $0, behind: Model.layerPrefix) } ?? part.path
        let gguf = layer.map { part.gguf(layer: $0) } ?? part.gguf
        let shape = shape(model)
        func tensor(_ kind: ModulePart.Kind, _ shape: [Int], _ role: TensorRole) -> TensorSpecification {
            var tensor = TensorSpecification(
                name: isTensor ? module : kind.name(of: module),
                ggufName: copies != nil || !isInGGUF ? nil : isTensor ? gguf : kind.name(of: gguf),
                module: module, part: part.path, layer: layer, shape: shape, role: role, ggufRows: ggufRows(model),
                tiedTo: tied(role, model))
            if kind == .weight { tensor.ggufColumns = ggufColumns(model) }
            tensor.ggufValues = ggufValues
            tensor.isOfMixture = isOfMixture
            tensor.isOfHead = isOfHead
            return tensor
        }
        return [tensor(.weight, shape, role)] + (hasBias(model) ? [tensor(.bias, [shape[0]], .bias)] : [])
    }

    /// The embedding's weight for an output head that is tied to it.
    private func tied(_ role: TensorRole, _ model: Model) -> String? {
        guard role == .outputHead, model.configuration.tiedEmbeddings else { return nil }
        return Model.modules.first { $0.role == .embedding }.map { ModulePart.Kind.weight.name(of: $0.part.path) }
    }
}
