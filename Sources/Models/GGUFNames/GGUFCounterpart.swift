import Glibc

/// What a tensor of a GGUF file is in the Hugging Face checkpoint that the file was made from.
package struct GGUFCounterpart: Sendable, Equatable {
    /// Hugging Face's name, such as `model.layers.3.self_attn.q_proj.weight`; of experts that lie packed in one tensor
    /// `model.layers.3.mlp.experts.gate_proj`.
    package let name: String
    /// How the GGUF file holds it.
    package let form: GGUFForm
}

/// How a GGUF file holds a tensor of a Hugging Face checkpoint.
package struct GGUFForm: Sendable, Equatable {
    /// The order of its rows.
    package let rows: RowOrder
    /// The order of the columns of a matrix; columns stand for the rows in what is said of `RowOrder`.
    package let columns: RowOrder
    /// What became of its values.
    package let values: GGUFValueForm

    /// As Hugging Face's files hold it, unless told otherwise.
    package init(
        rows: RowOrder = .asInHuggingFace, columns: RowOrder = .asInHuggingFace, values: GGUFValueForm = .same
    ) {
        (self.rows, self.columns, self.values) = (rows, columns, values)
    }

    /// As Hugging Face's files hold it.
    package static let same = GGUFForm()
}

/// What the conversion to GGUF does to the values of a tensor.
package enum GGUFValueForm: Sendable, Equatable {
    /// Nothing.
    case same
    /// 1 + w in place of w: norms that multiply by 1 + w.
    case plusOne
    /// -exp(w) in place of w: the decay of a state-space or delta-rule layer.
    case negatedExponential

    /// What a GGUF file holds for Hugging Face's value.
    package func gguf(_ value: Float) -> Float {
        switch self {
        case .same: value
        case .plusOne: value + 1
        case .negatedExponential: -exp(value)
        }
    }

    /// Hugging Face's value for what a GGUF file holds, as near as rounding lets it be.
    package func huggingFace(_ value: Float) -> Float {
        switch self {
        case .same: value
        case .plusOne: value - 1
        case .negatedExponential: log(-value)
        }
    }
}
