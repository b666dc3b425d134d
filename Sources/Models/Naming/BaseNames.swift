import CheckpointIO

// How to use it: `BaseNames(tensors, modelType:, configuration:)` once a base, `.fitted(to:)` with all matrices of the
// adapter (it settles between two readings of the adapter's prefix by which one fits all of them), then `places(of:)` or
// `tensor(for:)` for each. A path is the module's without wrappers and without the adapter's part
// (`model.layers.0.self_attn.q_proj`); a key is a tensor's name in the same way (`model.embed_tokens.weight`).

/// The tensors of a base by their own names, and what an adapter's names mean among them.
package struct BaseNames: Sendable {
    /// The base's tensors; `modelType` and `configuration` are those of `config.json`, nil where there is none.
    package init(_ tensors: [NamedShape], modelType: String?, configuration: JSONValue?) {
    }

    /// The same names, with each prefix that the adapter could mean in several ways read in the one way that fits all of
    /// `matrices`, where there is exactly one.
    package func fitted(to matrices: [SizedMatrix]) -> BaseNames {
        self
    }

    /// Where a matrix lies, one list for each expert (one list for all else). `outputSize` and `inputSize` are those of the
    /// update, for each expert; of an embedding the vocabulary and the width; of a convolution `inputSize` is in * k...
    package func places(
        of matrix: AdaptedMatrix, outputSize: Int, inputSize: Int
    ) throws(NamingError) -> [[MatrixPlace]] {
        throw .unknown(name: matrix.path, nearest: [], cause: .otherModel)
    }

    /// The base's tensor that a saved value takes the place of, or what it is beside them.
    package func tensor(for key: String) throws(NamingError) -> SavedPlace {
        throw .unknown(name: key, nearest: [], cause: .otherModel)
    }
}
