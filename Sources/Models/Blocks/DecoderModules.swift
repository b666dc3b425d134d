/// The modules that decoders share, by Llama's names.
extension ModuleTemplate {
    /// The embedding of tokens.
    static var embedding: Self {
        Self(.embedding, .embedding, isInLayer: false) {
            [$0.configuration.vocabularySize, $0.configuration.hiddenSize]
        }
    }

    /// The norm behind the last layer.
    static var finalNorm: Self {
        Self(.finalNorm, .norm, isInLayer: false) { [$0.configuration.hiddenSize] }
    }

    /// The output head, of a language model.
    static var outputHead: Self {
        Self(.outputHead, .outputHead, isInLayer: false) {
            [$0.configuration.vocabularySize, $0.configuration.hiddenSize]
        }.with { $0.isPresent = { $0.configuration.task == nil } }
    }

    /// The head for sequences of a decoder.
    static var score: Self {
        Self(.score, .classifier, isInLayer: false) {
            [$0.configuration.task?.labels.count ?? 0, $0.configuration.hiddenSize]
        }.with { $0.isOfHead = true }
    }

    /// A norm of the stream, in every layer.
    static func norm(_ part: ModulePart) -> Self { Self(part, .norm) { [$0.configuration.hiddenSize] } }

    /// A norm of each head, in every layer.
    static func headNorm(_ part: ModulePart) -> Self { Self(part, .norm) { [$0.configuration.headSize] } }

    /// The query, key, value and output projections of every layer.
    ///
    /// - Parameters:
    ///   - hasBias: whether q, k and v have biases.
    ///   - outputHasBias: whether o has one.
    ///   - rotatedRows: the order of the rows of q and k in GGUF files.
    static func attention(
        hasBias: @escaping @Sendable (Model) -> Bool, outputHasBias: @escaping @Sendable (Model) -> Bool,
        rotatedRows: @escaping @Sendable (Model) -> RowOrder = { _ in .asInHuggingFace }
    ) -> [Self] {
        [
            Self(.query, .projection, hasBias: hasBias, ggufRows: rotatedRows) {
                [$0.configuration.querySize, $0.configuration.hiddenSize]
            },
            Self(.key, .projection, hasBias: hasBias, ggufRows: rotatedRows) {
                [$0.configuration.keyValueSize, $0.configuration.hiddenSize]
            },
            Self(.value, .projection, hasBias: hasBias) {
                [$0.configuration.keyValueSize, $0.configuration.hiddenSize]
            },
            Self(.output, .projection, hasBias: outputHasBias) {
                [$0.configuration.hiddenSize, $0.configuration.querySize]
            },
        ]
    }

    /// The projection of gate and up together, and the down projection, of every layer.
    static var fusedFeedForward: [Self] {
        [
            Self(.gateUp, .projection) {
                [2 * $0.configuration.intermediateSize, $0.configuration.hiddenSize]
            },
            Self(.down, .projection) { [$0.configuration.hiddenSize, $0.configuration.intermediateSize] },
        ]
    }

    /// The gate, up and down projections of every layer.
    static func feedForward(hasBias: @escaping @Sendable (Model) -> Bool = { _ in false }) -> [Self] {
        [
            Self(.gate, .projection, hasBias: hasBias) {
                [$0.configuration.intermediateSize, $0.configuration.hiddenSize]
            },
            Self(.up, .projection, hasBias: hasBias) {
                [$0.configuration.intermediateSize, $0.configuration.hiddenSize]
            },
            Self(.down, .projection, hasBias: hasBias) {
                [$0.configuration.hiddenSize, $0.configuration.intermediateSize]
            },
        ]
    }
}
