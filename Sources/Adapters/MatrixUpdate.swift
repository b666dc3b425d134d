import TensorCore

/// LoRA's or DoRA's update of what is no linear layer: an embedding, a convolution, or parameters of a module, such as
/// the packed weights of experts (peft's `target_parameters`). It can be merged; experts' are trained as those of modules of
/// their own (`ExpertUpdates`), the others are not.
package struct MatrixUpdate: Sendable {
    /// What the update is of.
    package enum Form: Sendable, Equatable {
        /// An embedding [V, H]: A [r, V], B [H, r], dW = s (B A)^T.
        case embedding
        /// A convolution [out, in, k...]: A [r, in, k...], B [out, r, 1...], dW = s B A over all but the first axis.
        case convolution
        /// A module's parameter [E, ...], or one without an axis of experts (`expertCount` 1): A [E r, in], whose rows
        /// run (expert, r), and B [out, E r], whose columns run (r, expert). `name` is the parameter's.
        case parameter(name: String, expertCount: Int)
    }

    /// The module's path.
    package let path: String
    /// What the update is of.
    package let form: Form
    /// A.
    package let a: AdapterTensor
    /// B.
    package let b: AdapterTensor
    /// The bias of B, [out], of peft's `lora_bias`; a convolution's alone.
    package var bias: AdapterTensor?
    /// DoRA's magnitudes; nil for LoRA.
    package let magnitude: AdapterTensor?
    /// r of one expert.
    package let rank: Int
    /// s.
    package let scale: Float
    /// Each expert's tau, of a gated adapter of parameters; else none.
    package var thresholds: [Float] = []
    /// What stands for the experts' gates, where something does: the factor on their updates together, and the relative error
    /// over all of their tokens.
    package var gate: (factor: Double, expectedError: Double)?

    /// An update; see the properties.
    package init(
        path: String, form: Form, a: AdapterTensor, b: AdapterTensor, magnitude: AdapterTensor? = nil, rank: Int,
        scale: Float
    ) {
        (self.path, self.form, self.rank, self.scale) = (path, form, rank, scale)
        (self.a, self.b, self.magnitude) = (a, b, magnitude)
    }

    /// Rows of the matrix: outputs, or an embedding's tokens.
    package var rowCount: Int { form == .embedding ? a.shape.last ?? 0 : b.shape.first ?? 0 }
    /// Columns of the matrix; of a convolution all but the first axis together.
    package var width: Int { form == .embedding ? b.shape.first ?? 0 : a.rowWidth }
    /// Matrices that are updated.
    package var expertCount: Int { if case .parameter(_, let count) = form { count } else { 1 } }
    /// What messages and tables call it.
    package var displayName: String {
        if case .parameter(let name, _) = form { path + "." + name } else { path }
    }

    /// What the update makes of the matrix of `expert`, [rowCount, width], as `WeightChange` has it; of an embedding the
    /// matrix as it is stored.
    package func change(ofExpert expert: Int = 0) -> LowRankChange {
        switch form {
        case .convolution:
            return LowRankChange(
                a: a.values, b: b.values, rank: rank, scale: scale, bias: bias?.values.map { scale * $0 })
        case .embedding:
            return LowRankChange(
                a: Self.transposed(b.values, rows: b.shape[0]), b: Self.transposed(a.values, rows: rank), rank: rank,
                scale: scale)
        case .parameter(_, let count):
            var inner = [Float](repeating: 0, count: rank * width)
            inner.withUnsafeMutableBufferPointer {
                a.copyRows(expert * rank..<(expert + 1) * rank, to: $0.baseAddress!)
            }
            return LowRankChange(
                a: inner, b: b.columns(from: expert, step: count, count: rank), rank: rank, scale: scale)
        }
    }

    /// Every number that is not 0 in A as well as in B, or magnitudes, which may change rows.
    package var isMoving: Bool {
        magnitude != nil || scale != 0 && a.values.contains { $0 != 0 } && b.values.contains { $0 != 0 }
    }

    /// A matrix of so many rows with rows and columns exchanged.
    package static func transposed(_ values: [Float], rows: Int) -> [Float] {
        let columns = rows == 0 ? 0 : values.count / rows
        return [Float](unsafeUninitializedCapacity: values.count) { result, filled in
            for row in 0..<rows {
                for column in 0..<columns { result[column * rows + row] = values[row * columns + column] }
            }
            filled = values.count
        }
    }
}

/// What an adapter holds beside updates of linear layers and layers of `modules_to_save`, which every command knows:
/// it can be merged.
package struct AdapterExtras: Sendable {
    /// Rows of an embedding that take the place of the base's (`trainable_token_indices`).
    package struct TokenRows: Sendable {
        /// The embedding's path.
        package let path: String
        /// The rows, in the order of the values.
        package let tokens: [Int]
        /// [tokens, width].
        package let values: AdapterTensor

        /// Rows; see the properties.
        package init(path: String, tokens: [Int], values: AdapterTensor) {
            self.path = path
            self.tokens = tokens
            self.values = values
        }
    }

    /// A tensor of the model.
    package struct Value: Sendable {
        /// Its name in the model, such as `model.embed_tokens.weight`.
        package let name: String
        /// What it holds.
        package let tensor: AdapterTensor
    }

    /// Whole numbers of the model.
    package struct Integers: Sendable {
        /// Their name in the model, such as `bn.num_batches_tracked`.
        package let name: String
        /// What takes the place of the base's, or is compared with it.
        package let tensor: AdapterIntegers
        /// Whether they are what the module had before it was trained.
        package let areOriginal: Bool

        init(key: AdapterKey, tensor: AdapterIntegers) {
            (name, areOriginal) =
                switch key.part {
                case .original(let last): (key.path + "." + last, true)
                case .value(let last): (key.path.isEmpty ? last : key.path + "." + last, false)
                case .factor, .tokenRows: (key.path, false)
                }
            self.tensor = tensor
        }
    }

    /// Updates of embeddings, convolutions and parameters.
    package var updates: [MatrixUpdate] = []
    /// Tensors that take the place of the base's before any update.
    package var values: [Value] = []
    /// What modules were before they were trained whole, which is compared with the base.
    package var originals: [Value] = []
    /// Rows of embeddings.
    package var rows: [TokenRows] = []
    /// Whole numbers of modules that were trained whole.
    package var integers: [Integers] = []
    /// Output projections inside torch's MultiheadAttention, to whose weight peft 0.21 adds the update twice, in its
    /// forward pass as in its merge: once as part of the attention, once as a layer of its own. An adapter that was
    /// trained so means that.
    package var attentionOutputs: NameSet = []

    /// The updates of parameters, which are taken out.
    mutating func takeParameters() -> [MatrixUpdate] {
        let isParameter = updates.map { if case .parameter = $0.form { true } else { false } }
        defer { updates = zip(updates, isParameter).filter { !$0.1 }.map(\.0) }
        return zip(updates, isParameter).filter(\.1).map(\.0)
    }

    /// Whether there is nothing.
    package var isEmpty: Bool {
        updates.isEmpty && values.isEmpty && originals.isEmpty && rows.isEmpty && integers.isEmpty
    }

    /// The tensors that are trained numbers.
    package var tensors: [AdapterTensor] {
        updates.flatMap { [$0.a, $0.b] + [$0.bias, $0.magnitude].compactMap { $0 } } + values.map(\.tensor)
            + rows.map(\.values)
    }
}
